"""What is wrong is said in one line; other streams are loaded, and no state of the failed moves."""

import copy
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tap_airbyte_manifest.errors import TapError

from . import manifests
from .api import PAGE as PAGE_SIZE
from .api import Answer, Api, Request
from .manifests import Manifest, by_date, source, stream
from .singer import Tap, Target

MakeTap = Callable[..., Tap]
ITEMS = source(stream(paginator=manifests.OFFSETS))


def edited(edit: Callable[[Manifest], object], manifest: Manifest = ITEMS) -> Manifest:
    changed = copy.deepcopy(manifest)
    edit(changed)
    return changed


def retriever(manifest: Manifest) -> dict[str, Any]:
    return manifest["streams"][0]["retriever"]  # type: ignore[no-any-return]


CUSTOM = {"type": "CustomRecordExtractor", "class_name": "source_shop.components.Extractor"}
BAD_MANIFESTS: dict[str, tuple[Any, str]] = {
    "missing": ("", "Set `manifest`"),
    "no file": ("extract/missing.yaml", "extract/missing.yaml can't be read: No such file"),
    "no YAML": ("streams: [\nversion: }", "line 2 is not YAML"),
    "a list": ("- streams\n- version\n", "holds no mapping"),
    "another type": (edited(lambda m: m.update(type="Destination")), "is of type 'Destination'"),
    "no version": (edited(lambda m: m.pop("version")), "version None"),
    "of the future": (edited(lambda m: m.update(version="99.0.0")), "version '99.0.0'"),
    "no spec": (edited(lambda m: m.pop("spec")), "has no `spec`"),
    "no check": (edited(lambda m: m.pop("check")), "'check' is a required property"),
    "unknown component": (
        edited(lambda m: retriever(m)["requester"].update(type="SoapRequester")),
        "at `streams[0].retriever.requester` a component of type SoapRequester",
    ),
    "incomplete component": (
        edited(lambda m: retriever(m).pop("record_selector")),
        "`streams[0].retriever`: 'record_selector' is a required property",
    ),
    "unknown reference": (
        edited(lambda m: retriever(m).update(paginator={"$ref": "#/definitions/none"})),
        "Undefined reference #/definitions/none",
    ),
    "reference to itself": (
        edited(lambda m: m.update(definitions={"a": {"$ref": "#/definitions/a"}})),
        "refers to itself",
    ),
    "custom Python": (
        edited(lambda m: retriever(m)["record_selector"].update(extractor=CUSTOM)),
        "custom Python, source_shop.components.Extractor, which isn't run",
    ),
    "Python of the CDK's own dependencies": (
        edited(
            lambda m: retriever(m)["record_selector"].update(
                extractor=CUSTOM | {"class_name": "requests.Session"}
            )
        ),
        "custom Python, requests.Session, which isn't run",
    ),
    "other Python of the tap than its components": (
        edited(
            lambda m: retriever(m)["record_selector"].update(
                extractor=CUSTOM | {"class_name": "tap_airbyte_manifest.components.parse_duration"}
            )
        ),
        "custom Python, tap_airbyte_manifest.components.parse_duration, which isn't run",
    ),
    "Python brought along": (
        edited(lambda m: m.update(__injected_components_py="raise SystemExit('was run')")),
        "`__injected_components_py`, which isn't run",
    ),
}


@pytest.mark.parametrize("fault", BAD_MANIFESTS)
def test_a_bad_manifest_is_refused_with_the_reason(tap: MakeTap, fault: str) -> None:
    manifest, reason = BAD_MANIFESTS[fault]
    with pytest.raises(TapError) as raised:
        tap(manifest).catalog()
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


BAD_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"api_key": ""}, "`config.api_key`. Set it"),
    "another type": ({"api_key": 5}, "`config.api_key`"),
    "not one of some": ({"region": "moon"}, "`config.region`"),
    "unknown": ({"tokens": {"other": 1}}, "doesn't know `config.tokens.other`"),
    "within another": ({"tokens": {"refresh_token": 5}}, "`config.tokens.refresh_token`"),
    "Python": ({"__injected_components_py": "raise SystemExit('was run')"}, "which isn't run"),
    "a manifest": ({"__injected_declarative_manifest": {}}, "Set it as `manifest`"),
}


@pytest.mark.parametrize("fault", BAD_SETTINGS)
def test_settings_that_the_spec_rejects(tap: MakeTap, fault: str) -> None:
    config, reason = BAD_SETTINGS[fault]
    with pytest.raises(TapError, match=re.escape(reason)):
        tap(ITEMS, config).catalog()


@pytest.mark.parametrize("setting", ["max_delete_fraction", "max_retry_seconds"])
def test_a_setting_that_is_no_number(tap: MakeTap, setting: str) -> None:
    with pytest.raises(TapError, match=f"`{setting}` is 'much': set a number"):
        tap(ITEMS, **{setting: "much"}).catalog()


def test_custom_components_of_a_package_that_was_installed_for_them(
    api: Api, tap: MakeTap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shop_components-1.0.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: shop-components\nVersion: 1.0.0\n")
    (package / "top_level.txt").write_text("shop_components\n")
    (tmp_path / "shop_components.py").write_text(
        "from airbyte_cdk.sources.declarative.extractors.record_extractor import RecordExtractor\n"
        "class Extractor(RecordExtractor):\n"
        "    def __init__(self, **options): ...\n"
        "    def extract_records(self, response):\n"
        "        yield from response.json()['data'][:2]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    custom = CUSTOM | {"class_name": "shop_components.Extractor"}
    manifest = edited(lambda m: retriever(m)["record_selector"].update(extractor=custom))
    assert tap(manifest).sync().records() == api.rows[:2]


def test_a_record_that_is_no_json(api: Api, tap: MakeTap) -> None:
    rows = b"id,name\n1,a\n2,b,too many\n3,c\n"
    api.faults["/csv"] = always(200, rows, content_type="text/csv")
    run = tap(manifests.FULL["CSV"]).sync()
    assert "Stream 'items': a record can't be written as JSON" in str(run.log)
    assert [record["id"] for record in run.records()] == [1]
    assert not run.activated


def test_a_setting_that_is_not_known(tap: MakeTap) -> None:
    with pytest.raises(TapError, match=r"`start_date` isn't known.*under `config`"):
        tap(ITEMS, start_date="2024-01-01").catalog()


def always(status: int, body: Any = None, **more: Any) -> Callable[[Request], Answer]:
    return lambda _: Answer(body, status, **more)


def without(name: str, value: Any) -> Callable[[Request], Answer]:
    def answer(request: Request) -> Answer:
        rows = [dict(row) for row in Api().rows]
        rows[30].pop(name)
        rows[30] |= {} if value is KeyError else {name: value}
        start = int(request.query.get("offset", 0))
        return Answer({"data": rows[start : start + 20]})

    return answer


WAIT = {"Retry-After": "3600"}
PAGE = [dict(row) for row in Api().rows[:20]]
FAULTS: dict[str, tuple[Callable[[Request], Answer], str]] = {
    "401": (always(401, {"message": "bad key"}), r"HTTP 401 for GET \S+/bad: bad key. .*`config`"),
    "403": (always(403), r"HTTP 403 for GET \S+/bad.*Give the credentials access.*`select`"),
    "404": (always(404), r"HTTP 404 for GET \S+/bad.*no such path"),
    "429": (always(429), r"HTTP 429 for GET \S+/bad.*rate limit.*`max_retry_seconds`"),
    "429 for an hour": (
        always(429, headers=WAIT),
        r"HTTP 429 .*asks to wait 3600 seconds; `max_retry_seconds` is 5",
    ),
    "500": (always(500), r"HTTP 500 for GET \S+/bad.*Run again later"),
    "HTML": (
        always(200, b"<!doctype html><p>Down for maintenance", content_type="text/html"),
        r"HTTP 200 for GET \S+/bad: the answer is text/html, not JSON",
    ),
    "half a JSON": (
        always(200, b'{"data": [{"id": 1},'),
        "the answer is application/json, not JSON",
    ),
    "the same page for ever": (lambda _: Answer({"data": PAGE}), "the same page again and again"),
    "no cursor": (without("updated_at", KeyError), "a record has no `updated_at`"),
    "a null cursor": (without("updated_at", None), "a record has no `updated_at`"),
    "no key": (without("id", KeyError), "a record has no `id`"),
    "a null key": (without("id", None), "a record has no `id`"),
}
PATIENT = {
    "error_handler": {
        "type": "DefaultErrorHandler",
        "backoff_strategies": [{"type": "WaitTimeFromHeader", "header": "Retry-After"}],
    }
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_stream_of_five_fails(api: Api, tap: MakeTap, fault: str) -> None:
    answer, reason = FAULTS[fault]
    api.faults["/bad"] = answer
    bad = stream(
        "bad", "/bad", paginator=manifests.OFFSETS, incremental=by_date(), requester_more=PATIENT
    )
    good = [stream(name, paginator=manifests.OFFSETS) for name in ("a", "b", "c")]
    dated = stream("dated", paginator=manifests.OFFSETS, incremental=by_date())
    extractor = tap(source(good[0], bad, *good[1:], dated), max_retry_seconds=5)
    before = {"bookmarks": {"bad": {"airbyte_state": {"updated_at": manifests.START}}, "else": 1}}
    run, target = extractor.sync(before), Target()
    target.load(run.messages)

    assert run.error == "1 of the streams failed: 'bad'. The others were read."
    (line,) = [
        line for line in run.log if line.startswith("Stream 'bad': ") and "waiting" not in line
    ]
    assert re.search(reason, line)
    assert run.activated == {"a", "b", "c"}
    assert all(target.rows(name) == api.rows for name in ("a", "b", "c", "dated"))
    assert run.bookmarks["bad"] == before["bookmarks"]["bad"]
    assert run.bookmarks["else"] == 1
    assert run.bookmarks["dated"]["airbyte_state"] == {"updated_at": api.items[60]["updated_at"]}


@pytest.mark.parametrize("incremental", [None, by_date()], ids=["full", "by date"])
def test_from_a_bad_record_on_nothing_of_its_stream_is_written(
    api: Api, tap: MakeTap, incremental: dict[str, Any] | None
) -> None:
    api.faults["/bad"] = without("id", KeyError)
    bad = stream("bad", "/bad", paginator=manifests.OFFSETS, incremental=incremental)
    run = tap(source(bad, stream(paginator=manifests.OFFSETS))).sync()
    assert [record["id"] for record in run.records("bad")] == list(range(1, 31))
    assert run.activated == {"items"}
    assert run.bookmarks.keys() == {"items"}


def test_pages_that_differ_in_nothing_that_is_read_are_read_to_the_end(
    api: Api, tap: MakeTap
) -> None:
    """Such as the one discount that each of many pages of invoices has."""

    def same_item(request: Request) -> Answer:
        page = int(request.query.get("after", 1))
        invoices = [{"id": page, "discount": api.items[1]}, {"id": -page, "discount": None}]
        return Answer({"data": invoices, "next": page + 1 if page < 12 else None})

    api.faults["/cursor"] = same_item
    following = "{{ response.get('next') }}"
    pages = {"type": "CursorPagination", "cursor_value": following}
    items = stream(path="/cursor", paginator=manifests.paginator(pages, manifests.option("after")))
    extractor = {"type": "DpathExtractor", "field_path": ["data", "*", "discount"]}
    items["retriever"]["record_selector"]["extractor"] = extractor
    run = tap(source(items)).sync()
    assert not run.error
    assert len(run.records()) == 12


def test_a_full_read_that_fails_marks_nothing(api: Api, tap: MakeTap) -> None:
    pages = itertools.count()
    api.faults["/offset"] = lambda request: (
        Answer(None, 403) if next(pages) == 2 else api.serve_offset(request)
    )
    run = tap(ITEMS).sync()
    assert "HTTP 403" in str(run.log)
    assert len(run.records()) == 40
    assert not run.activated


def test_pages_that_begin_at_the_last_record_need_records_in_order(api: Api, tap: MakeTap) -> None:
    limits = {"type": "PaginationResetLimits", "number_of_records": PAGE_SIZE}
    reset = {"type": "PaginationReset", "action": "SPLIT_USING_CURSOR", "limits": limits}
    parts = {"paginator": manifests.OFFSETS, "pagination_reset": reset}
    extractor = tap(source(stream(incremental=by_date(), **parts)))
    assert {record["id"] for record in extractor.sync().records()} == set(api.items)

    def latest_first(request: Request) -> Answer:
        found = api.serve_offset(request)
        return Answer({"data": found.body["data"][::-1]})

    api.faults["/offset"] = latest_first
    assert "don't come in the order of the cursor field" in str(extractor.sync().log)

    same = {**api.items[1], "updated_at": api.items[1]["updated_at"]}
    api.faults["/offset"] = lambda _: Answer({"data": [same | {"id": n} for n in range(PAGE_SIZE)]})
    assert "More records have the same value of the cursor field" in str(extractor.sync().log)


def ignoring(action: dict[str, Any]) -> dict[str, Any]:
    handler = {"type": "DefaultErrorHandler", "response_filters": [action]}
    return {"error_handler": handler}


@pytest.mark.parametrize("action", ["IGNORE", "SUCCESS"])
def test_an_answer_that_the_manifest_ignores_proves_no_deletes(
    api: Api, tap: MakeTap, action: str
) -> None:
    ignored = ignoring({"type": "HttpResponseFilter", "http_codes": [403], "action": action})
    source_ = tap(source(stream(paginator=manifests.OFFSETS, requester_more=ignored)))
    assert source_.sync().activated == {"items"}
    api.faults["/offset"] = always(403)
    run = source_.sync()
    assert run.error is None
    assert not run.activated
    assert "HTTP 403 was ignored" in str(run.log)


def test_an_error_under_status_200_proves_no_deletes(api: Api, tap: MakeTap) -> None:
    api.faults["/offset"] = always(200, {"error": "quota"})
    run = tap(ITEMS).sync()
    assert not run.activated
    assert "held an error instead of records" in str(run.log)


def test_html_where_a_file_was_asked_for(api: Api, tap: MakeTap) -> None:
    for kind, path in (("CSV", "/csv"), ("JSON lines", "/lines")):
        api.faults[path] = always(200, b"<p>Sign in</p>\n", content_type="text/html")
        run = tap(manifests.FULL[kind]).sync()
        assert not run.records()
        assert "the answer is HTML, not data" in str(run.log)


def test_a_server_that_can_not_be_reached(tap: MakeTap) -> None:
    run = tap(ITEMS, {"url": "http://127.0.0.1:9"}, max_retry_seconds=1).sync()
    assert "Connection refused. Correct the address, or run again later" in str(run.log)


def test_a_catalog_with_a_stream_that_is_not_there(tap: MakeTap) -> None:
    extractor = tap(ITEMS)
    catalog = extractor.catalog()
    catalog["streams"].append(copy.deepcopy(catalog["streams"][0]) | {"tap_stream_id": "gone"})
    run = extractor.sync(catalog=catalog)
    assert "Stream 'gone': the catalog selects it, but the manifest has no such stream" in str(
        run.log
    )
    assert run.activated == {"items"}


def test_a_stream_whose_definition_can_not_be_run(tap: MakeTap) -> None:
    wrong = stream("wrong", key=[["owner", "id"]])
    run = tap(source(stream(paginator=manifests.OFFSETS), wrong)).sync()
    assert "Stream 'wrong': the manifest's definition can't be run: Nested primary keys" in str(
        run.log
    )
    assert run.activated == {"items"}


def test_a_state_that_the_manifest_can_not_read(tap: MakeTap) -> None:
    dated = tap(source(stream("dated", paginator=manifests.OFFSETS, incremental=by_date())))
    before = {"bookmarks": {"dated": {"airbyte_state": {"updated_at": "the day before"}}}}
    run = dated.sync(before)
    assert not run.records("dated")
    assert run.bookmarks == before["bookmarks"]
    assert "Stream 'dated': " in str(run.log)
    assert "remove its bookmark from the state" in str(run.log)


def test_a_parent_that_fails_takes_its_children_along(api: Api, tap: MakeTap) -> None:
    api.faults["/groups"] = always(403)
    run = tap(manifests.FULL["substream"]).sync()
    assert "Stream 'items': HTTP 403" in str(run.log)
    assert not run.activated


def test_secrets_are_in_no_line(api: Api, tap: MakeTap) -> None:
    secret = "s3cret/key+with=signs"
    forms = (secret, "s3cret%2Fkey%2Bwith%3Dsigns", "czNjcmV0L2tleSt3aXRoPXNpZ25z")
    told = {"message": f"no access for {' '.join(forms)}"}
    basic = {"type": "BasicHttpAuthenticator", "username": "{{ config['api_key'] }}"}
    path = "/offset/{{ config['api_key'] | urlencode }}"
    api.faults["/offset/s3cret/key%2Bwith%3Dsigns"] = always(403, told)
    run = tap(
        source(stream(path=path, requester_more={"authenticator": basic})), {"api_key": secret}
    ).sync()
    assert "HTTP 403" in str(run.log)
    assert "****" in str(run.log)
    assert not [form for form in (*forms, "s3cret") if form in str(run.log) + str(run.messages)]


def test_the_check_says_why_it_fails(api: Api, tap: MakeTap) -> None:
    extractor = tap(ITEMS)
    extractor.command("--config", extractor.file("config", extractor.settings), "--check")
    api.faults["/offset"] = always(401)
    with pytest.raises(TapError, match=r"check failed: .*HTTP 401.*correct them under `config`"):
        extractor.command("--config", extractor.file("config", extractor.settings), "--check")
