"""What streams are: their types, what is selected of them, and when they are complete."""

from collections.abc import Callable
from typing import Any

import pytest
from tap_airbyte_manifest.catalog import normalized
from tap_airbyte_manifest.records import Fitting

from . import manifests
from .api import Answer, Api
from .manifests import by_date, source, stream
from .singer import Tap, Target

MakeTap = Callable[..., Tap]
UNIX_TIME = {"type": ["null", "string", "integer"], "format": "date-time"}


@pytest.mark.parametrize(
    ("declared", "target"),
    [
        ({"type": "string"}, {"type": ["null", "string"]}),
        ({"type": ["string"], "format": "date"}, {"type": ["null", "string"], "format": "date"}),
        ({"type": ["integer", "number", "null"]}, {"type": ["null", "number"]}),
        (
            {"type": ["string", "integer"], "format": "date-time"},
            {"type": ["null", "string"], "format": "date-time", "x-unix-time": True},
        ),
        ({"type": ["string", "object"]}, {}),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, {"type": ["null", "boolean"]}),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, {}),
        ({"enum": ["a", "b"]}, {"type": ["null", "string"]}),
        ({}, {}),
        (True, {}),
    ],
)
def test_each_property_has_one_type_and_may_be_null(declared: Any, target: Any) -> None:
    assert normalized({"properties": {"a": declared}})["properties"]["a"] == target


@pytest.mark.parametrize(
    ("declared", "value", "fitting"),
    [
        ({"type": "integer"}, 5, {"a": 5}),
        ({"type": "integer"}, "5", {"a": 5}),
        ({"type": "integer"}, 5.5, {"a": None, "a__json": 5.5}),
        ({"type": "integer"}, 2**63, {"a": None, "a__json": 2**63}),
        ({"type": "number"}, "1.50", {"a": 1.5}),
        (
            {"type": "number"},
            "0.12345678901234567890",
            {"a": None, "a__json": "0.12345678901234567890"},
        ),
        ({"type": "number"}, "n/a", {"a": None, "a__json": "n/a"}),
        ({"type": "boolean"}, "true", {"a": True}),
        ({"type": "boolean"}, "yes", {"a": None, "a__json": "yes"}),
        ({"type": "string"}, 5, {"a": "5"}),
        ({"type": "string"}, {"b": 1}, {"a": None, "a__json": {"b": 1}}),
        ({"type": "string", "format": "date-time"}, "2024-01-02", {"a": "2024-01-02T00:00:00"}),
        ({"type": "string", "format": "date-time"}, 1704153600, {"a": None, "a__json": 1704153600}),
        (UNIX_TIME, 1704153600, {"a": "2024-01-02T00:00:00+00:00"}),
        (UNIX_TIME, 1704153600.5, {"a": "2024-01-02T00:00:00.500000+00:00"}),
        (UNIX_TIME, -1, {"a": "1969-12-31T23:59:59+00:00"}),
        (UNIX_TIME, "2024-01-02T00:00:00Z", {"a": "2024-01-02T00:00:00Z"}),
        (UNIX_TIME, 1704153600000, {"a": None, "a__json": 1704153600000}),
        (UNIX_TIME, True, {"a": None, "a__json": True}),
        ({"type": "string", "format": "date"}, "2024-01-02T00:00:00Z", {"a": "2024-01-02"}),
        ({"type": "string", "format": "date"}, "soon", {"a": None, "a__json": "soon"}),
        ({"type": "array", "items": {"type": "string"}}, "one", {"a": None, "a__json": "one"}),
        ({"type": "array", "items": {"type": "string"}}, [None], {"a": None, "a__json": [None]}),
        ({"type": "object"}, "anything", {"a": "anything"}),
        ({}, [1, "2"], {"a": [1, "2"]}),
        (None, 5, {"a": 5}),
    ],
)
def test_a_value_fits_its_type_or_is_kept_beside(declared: Any, value: Any, fitting: Any) -> None:
    properties = {} if declared is None else {"a": declared}
    assert Fitting(normalized({"properties": properties}))({"a": value}) == fitting


def test_properties_that_are_not_selected_are_not_read(tap: MakeTap) -> None:
    extractor = tap(source(stream(paginator=manifests.OFFSETS)))
    catalog = extractor.catalog()
    for entry in catalog["streams"][0]["metadata"]:
        if entry["breadcrumb"][-1:] in (["name"], ["id"]):
            entry["metadata"]["selected"] = False
    run = extractor.sync(catalog=catalog)
    assert run.records()[0].keys() == {"id", "group", "amount", "updated_at", "tags"}
    (schema,) = [each["schema"] for each in run.messages if each["type"] == "SCHEMA"]
    assert schema["properties"].keys() == run.records()[0].keys()


def test_select_holds_for_what_the_schema_does_not_have(
    tap: MakeTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = tap(source(stream(paginator=manifests.OFFSETS, types={})))
    for select, found in {
        '["*.*"]': {"id", "name", "group", "amount", "updated_at", "tags"},
        '["items.*", "!items.name", "!*.tags"]': {"id", "group", "amount", "updated_at"},
        '["items.name"]': {"id", "name"},
    }.items():
        monkeypatch.setenv("MELTANO_EXTRACT__SELECT", select)
        assert extractor.sync().records()[0].keys() == found


def test_a_stream_that_is_not_selected_keeps_its_state(api: Api, tap: MakeTap) -> None:
    extractor = tap(source(stream("read", paginator=manifests.OFFSETS), stream("other")))
    catalog = extractor.catalog()
    catalog["streams"][1]["metadata"][0]["metadata"]["selected"] = False
    before = {"bookmarks": {"other": {"airbyte_state": {"kept": "as it is"}}}, "more": 1}
    run = extractor.sync(before, catalog)
    assert run.bookmarks["other"] == before["bookmarks"]["other"]
    assert len(api.requests) == 4


def test_what_the_schema_does_not_have_is_read(api: Api, tap: MakeTap) -> None:
    types = {"id": {"type": "integer"}}
    run = tap(source(stream(paginator=manifests.OFFSETS, types=types))).sync()
    assert run.records() == api.rows


DATED = source(stream(paginator=manifests.OFFSETS, incremental=by_date()))


def test_an_incremental_stream_can_be_read_in_full(api: Api, tap: MakeTap) -> None:
    extractor, target = tap(DATED), Target()
    target.load(extractor.sync().messages)
    del api.items[3]
    run = extractor.sync(target.state, extractor.catalog(items="FULL_TABLE"))
    target.load(run.messages)
    assert target.rows() == api.rows
    assert run.activated == {"items"}


def test_a_later_start_date_does_not_make_earlier_rows_deleted(tap: MakeTap) -> None:
    state = {"bookmarks": tap(DATED).sync().bookmarks}
    later = tap(DATED, {"start_date": "2024-02-01T00:00:00Z"})
    for _ in range(2):
        run = later.sync(state, later.catalog(items="FULL_TABLE"))
        assert len(run.records()) == 30
        assert not run.activated
        assert "earlier runs read from an earlier start" in str(run.log)
        state = {"bookmarks": run.bookmarks}
    assert tap(DATED).sync(state, later.catalog(items="FULL_TABLE")).activated == {"items"}


def test_children_of_parents_that_a_start_date_hides(tap: MakeTap) -> None:
    parents = stream("parents", paginator=manifests.OFFSETS, incremental=by_date())
    parents_of = manifests.children(parents, parent_key="group")
    manifest = source(
        stream(path="/groups/{{ stream_partition['code'] }}", partition_router=parents_of)
    )
    run = tap(manifest).sync()
    assert run.activated == {"items"}
    later = tap(manifest, {"start_date": "2024-02-01T00:00:00Z"})
    assert not later.sync({"bookmarks": run.bookmarks}).activated


def test_tokens_that_change_with_each_use_are_kept_in_the_state(api: Api, tap: MakeTap) -> None:
    extractor, target = tap(manifests.FULL["OAuth"]), Target()
    for _ in range(2):
        run = extractor.sync(target.state)
        target.load(run.messages)
        assert run.error is None
        assert target.rows() == api.rows
        assert "refresh-token" not in str(run.log)
        # The new one is told before any record that may be lost.
        kinds = [message["type"] for message in run.messages]
        kept = next(
            index for index, message in enumerate(run.messages) if api.refresh_token in str(message)
        )
        assert kinds[kept] == "STATE"
        assert kept < kinds.index("RECORD")


def test_a_token_that_stays_good_is_kept_too(api: Api, tap: MakeTap) -> None:
    extractor = tap(manifests.FULL["OAuth"])
    state = {"bookmarks": extractor.sync().bookmarks}
    last = api.refresh_token
    assert "key-of-the-api" not in str(state)
    # This time the answer has no new refresh token.
    answer = {"access_token": f"access-for-{last}", "expires_in": 1}
    api.faults["/token"] = lambda request: (
        Answer(answer) if request.form["refresh_token"] == last else Answer(None, 400)
    )
    for _ in range(2):
        run = extractor.sync(state)
        assert run.error is None
        state = {"bookmarks": run.bookmarks}


def test_a_token_that_the_user_sets_anew_comes_before_the_kept_one(api: Api, tap: MakeTap) -> None:
    state = {"bookmarks": tap(manifests.FULL["OAuth"]).sync().bookmarks}
    api.refresh_token = "set-by-the-user"
    given = {"tokens": {"refresh_token": "set-by-the-user"}}
    assert tap(manifests.FULL["OAuth"], given).sync(state).error is None


def test_a_check_does_not_spend_a_token(api: Api, tap: MakeTap) -> None:
    extractor = tap(manifests.FULL["OAuth"])
    with pytest.raises(Exception, match="Run the extractor's job"):
        extractor.command("--config", extractor.file("config", extractor.settings), "--check")
    assert not api.asked("/token")


def test_what_stands_in_the_environment_gets_the_types_of_the_spec(tap: MakeTap) -> None:
    manifest = source(stream())
    properties = manifest["spec"]["connection_specification"]["properties"]
    properties |= {
        "count": {"type": "integer", "default": 3},
        "fast": {"type": "boolean"},
        "names": {"type": "array"},
        "unset": {"type": "string"},
    }
    extractor = tap(manifest, {"fast": "true", "names": '["a"]', "unset": ""})
    from tap_airbyte_manifest.tap import Tap as Program

    found = Program(extractor.settings).config
    assert {name: found.get(name) for name in ("count", "fast", "names", "unset")} == {
        "count": 3,
        "fast": True,
        "names": ["a"],
        "unset": None,
    }


def test_a_manifest_may_be_a_path_text_or_a_mapping(
    tap: MakeTap, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    manifest = manifests.FULL["offset pages"]
    (tmp_path / "shop.manifest.yaml").write_text(json.dumps(manifest))
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(tmp_path))
    catalogs = [
        tap(form).catalog()
        for form in (manifest, json.dumps(manifest, indent=1), "shop.manifest.yaml")
    ]
    assert catalogs[0] == catalogs[1] == catalogs[2]


def test_a_page_that_comes_back_once_is_no_fault(api: Api, tap: MakeTap) -> None:
    pages = iter([api.rows[:20], api.rows[:20], api.rows[20:40], []])
    api.faults["/offset"] = lambda _: Answer({"data": next(pages)})
    assert tap(source(stream(paginator=manifests.OFFSETS))).sync().error is None
