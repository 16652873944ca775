"""Streams that are read by a feed of changes: ChangedObjects and ChangedParts."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tap_airbyte_manifest.errors import TapError
from tap_airbyte_manifest.runtime import notes

from .api import Answer, Api, Request, served
from .manifests import Manifest, option, paginator, requester, selector, source
from .singer import Run, Tap, Target

PAGE = 5
ISO = "%Y-%m-%dT%H:%M:%SZ"


class Shop(Api):
    """Orders with lines, and a feed of what has changed, the latest first.

    Attributes:
        orders: by ID.
        feed: moment and ID of each change.
        meanwhile: called before each answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.orders = {f"o{number}": self.order(f"o{number}") for number in range(12)}
        self.feed: list[tuple[datetime, str]] = []
        self.meanwhile: Callable[[Request], None] = lambda _: None

    @staticmethod
    def order(id_: str, name: str = "new") -> dict[str, Any]:
        return {"id": id_, "name": name, "lines": [{"id": f"{id_}-{n}"} for n in range(2)]}

    def change(self, id_: str = "o3", at: datetime | None = None, *, delete: bool = False) -> None:
        if delete:
            del self.orders[id_]
        else:
            self.orders[id_] = self.order(id_, "changed")
        self.feed.append((at or datetime.now(UTC), id_))

    def answer(self, request: Request) -> Answer:
        self.meanwhile(request)
        return super().answer(request)

    def serve_orders(self, request: Request, id_: str = "") -> Answer:
        if id_:
            order = self.orders.get(id_)
            return Answer(order) if order else Answer({"error": "gone"}, 404)
        return self.page(request, list(self.orders.values())[::-1])

    def serve_feed(self, request: Request) -> Answer:
        since, until = request.query["since"], request.query["until"]
        found = [
            {"id": str(number), "of": id_}
            for number, (at, id_) in enumerate(self.feed)
            if since <= at.strftime(ISO) <= until
        ]
        return self.page(request, found[::-1])

    @staticmethod
    def page(request: Request, rows: list[dict[str, Any]]) -> Answer:
        ids = [row["id"] for row in rows]
        start = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = rows[start : start + PAGE]
        return Answer({"data": page, "next": page[-1]["id"] if start + PAGE < len(rows) else None})


PAGES = paginator(
    {
        "type": "CursorPagination",
        "cursor_value": "{{ response.next }}",
        "stop_condition": "{{ not response.next }}",
    },
    option("after"),
)
IGNORED = {
    "type": "DefaultErrorHandler",
    "response_filters": [
        {"type": "HttpResponseFilter", "http_codes": [404], "action": "IGNORE"},
        {"type": "HttpResponseFilter", "http_codes": [403], "action": "FAIL"},
    ],
}
BROKEN = {
    "type": "DefaultErrorHandler",
    "response_filters": [
        {"type": "HttpResponseFilter", "http_codes": [403], "action": "FAIL"},
        {
            "type": "HttpResponseFilter",
            "predicate": "{{ 'data' not in response }}",
            "action": "RETRY",
        },
    ],
}
WHOLE = {"type": "SimpleRetriever", "paginator": PAGES}
WHOLE |= {"requester": requester("/orders", use_cache=True, error_handler=BROKEN)}
FEED = {"type": "SimpleRetriever", "paginator": PAGES, "record_selector": selector("data")}
FEED["requester"] = requester(
    "/feed",
    use_cache=True,
    error_handler=BROKEN,
    request_parameters={
        "since": "{{ stream_interval.start_time }}",
        "until": "{{ stream_interval.end_time }}",
    },
)
ONE = {"type": "SimpleRetriever"}
ONE["requester"] = requester(
    "/orders/{{ stream_partition.object_id }}", use_cache=True, error_handler=IGNORED
)
CHANGED = {"type": "CustomRetriever", "changes_retriever": FEED, "retention_period": "P30D"}
COMPONENTS = "tap_airbyte_manifest.components"


def changed_stream(name: str, retriever: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    moment = {"type": "string", "format": "date-time"}
    properties = {"id": text, "name": text, "as_of": moment, "_sdc_deleted_at": moment}
    return {
        "type": "DeclarativeStream",
        "name": name,
        "primary_key": ["id"],
        "retriever": CHANGED | retriever,
        "incremental_sync": {
            "type": "DatetimeBasedCursor",
            "cursor_field": "as_of",
            "start_datetime": "1970-01-01T00:00:00Z",
            "datetime_format": ISO,
            "lookback_window": "PT1H",
        },
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"type": "object", "properties": properties},
        },
    }


ORDERS = changed_stream(
    "orders",
    {
        "class_name": f"{COMPONENTS}.ChangedObjects",
        "list_retriever": WHOLE | {"record_selector": selector("data")},
        "object_retriever": ONE | {"record_selector": selector()},
        "changed_id": "{{ record.of }}",
        "missing_is_deleted": True,
    },
)
# As if lines were in two places.
LINES = changed_stream(
    "lines",
    {
        "class_name": f"{COMPONENTS}.ChangedParts",
        "list_retrievers": [WHOLE | {"record_selector": selector("data", "*", "lines", "*")}] * 2,
        "object_retrievers": [ONE | {"record_selector": selector("lines", "*")}] * 2,
        "changed_ids": ["{{ record.of }}"] * 2,
    },
)
SHOP: Manifest = source(
    ORDERS,
    LINES,
    concurrency_level={"type": "ConcurrencyLevel", "default_concurrency": 1},
)


@pytest.fixture
def shop() -> Iterator[Shop]:
    with served(Shop()) as running:
        assert isinstance(running, Shop)
        yield running


@pytest.fixture
def extractor(shop: Shop, tmp_path: Path) -> Tap:
    return Tap(tmp_path, SHOP, {"url": shop.url, "api_key": "key-of-the-api"})


def load(target: Target, run: Run) -> Target:
    assert run.error is None
    target.load(run.messages)
    return target


def live(target: Target, name: str = "orders") -> dict[str, Any]:
    rows = target.rows(name)
    return {row["id"]: row.get("name") for row in rows if not row.get("_sdc_deleted_at")}


def names(shop: Shop) -> dict[str, Any]:
    return {id_: order["name"] for id_, order in shop.orders.items()}


def aged(state: dict[str, Any], days: float) -> dict[str, Any]:
    """A state as if the last run had been that long ago."""
    at = (datetime.now(UTC) - timedelta(days=days)).strftime(ISO)
    bookmarks = {
        name: {**bookmark, "airbyte_state": {"as_of": at}}
        for name, bookmark in state["bookmarks"].items()
    }
    return {"bookmarks": bookmarks}


def asked(shop: Shop) -> list[str]:
    return [request.path for request in shop.requests]


def test_a_later_run_asks_for_the_feed_and_once_for_each_object_that_it_names(
    shop: Shop, extractor: Tap
) -> None:
    target = load(Target(), extractor.sync())
    assert live(target) == names(shop)
    assert live(target, "lines").keys() == {f"{id_}-{n}" for id_ in shop.orders for n in (0, 1)}
    assert asked(shop).count("/orders") == 3

    for id_ in ("o3", "o5", "o3", "new", "o3", "o3"):
        shop.change(id_)
    shop.requests.clear()
    run = extractor.sync(target.state)
    assert live(load(target, run)) == names(shop)
    assert [record["id"] for record in run.records("orders")] == ["o3", "new", "o5"]
    assert sorted(asked(shop)) == ["/feed", "/feed", "/orders/new", "/orders/o3", "/orders/o5"]
    assert not run.activated


def test_an_object_is_deleted_only_if_the_api_says_that_it_is_missing(
    shop: Shop, extractor: Tap
) -> None:
    target = load(Target(), extractor.sync())
    shop.change("o1", delete=True)
    shop.change("o2")
    shop.faults["/orders/o2"] = lambda _: Answer({"error": "not for you"}, 403)
    run = extractor.sync(target.state)
    assert run.error
    assert run.bookmarks == target.state["bookmarks"]

    shop.faults.clear()
    shop.requests.clear()
    run = extractor.sync(target.state)
    assert live(load(target, run)) == names(shop)
    (gone,) = [each for each in run.records("orders") if each["id"] == "o1"]
    assert gone.keys() == {"id", "as_of", "_sdc_deleted_at"}
    # Its lines too come of this answer.
    assert asked(shop).count("/orders/o1") == 1
    shop.change("o1")
    assert live(load(target, extractor.sync(target.state))) == names(shop)


def test_after_a_gap_all_is_read_in_full_and_deletes_are_seen(shop: Shop, extractor: Tap) -> None:
    target = load(Target(), extractor.sync())
    state = aged(target.state, 31)
    shop.change("o1", datetime.now(UTC) - timedelta(days=30.5), delete=True)
    shop.feed.clear()
    run = extractor.sync(state)
    assert live(load(target, run)) == names(shop)
    assert live(target, "lines").keys() == {f"{id_}-{n}" for id_ in shop.orders for n in (0, 1)}
    assert run.activated == {"orders", "lines"}
    # The state that moves stands for the deletes.
    versions = [each["type"] for each in run.messages if each.get("stream", "orders") == "orders"]
    before = versions[: versions.index("ACTIVATE_VERSION")]
    states = [each for each in run.messages if each["type"] == "STATE"][: before.count("STATE")]
    assert {each["value"]["bookmarks"]["orders"]["airbyte_state"]["as_of"] for each in states} == {
        state["bookmarks"]["orders"]["airbyte_state"]["as_of"]
    }
    told = [line for line in run.log if "everything is read in full" in line]
    assert len(told) == 1
    assert "of those of the last 30 days only" in told[0]


def test_where_nothing_changes_there_is_no_gap(shop: Shop, extractor: Tap) -> None:
    state = load(Target(), extractor.sync()).state
    shop.requests.clear()
    for _ in range(3):
        run = extractor.sync(aged(state, 20))
        assert asked(shop) == ["/feed"]
        shop.requests.clear()
        (as_of,) = {bookmark["airbyte_state"]["as_of"] for bookmark in run.bookmarks.values()}
        assert as_of == notes.started.strftime(ISO)
        assert not run.activated


def test_what_changes_while_it_is_read_is_read_again(shop: Shop, extractor: Tap) -> None:
    """Moved, added or deleted on a page that was or will be read; changed after it was fetched."""

    def during_the_list(request: Request) -> None:
        if request.query.get("after"):
            shop.meanwhile = lambda _: None
            shop.change("o11")
            shop.change("o0", delete=True)
            shop.change("added")

    shop.meanwhile = during_the_list
    target = load(Target(), extractor.sync())
    assert live(load(target, extractor.sync(target.state))) == names(shop)

    def after_it_was_fetched(request: Request) -> None:
        if request.path == "/orders/o5":
            shop.meanwhile = lambda _: None
            shop.orders["o4"]["name"] = "changed again"
            shop.feed.append((datetime.now(UTC), "o4"))

    shop.change("o5")
    shop.change("o4")
    shop.meanwhile = after_it_was_fetched
    load(target, extractor.sync(target.state))
    assert live(load(target, extractor.sync(target.state))) == names(shop)


def test_a_run_that_breaks_off_at_any_message_is_resumed(shop: Shop, extractor: Tap) -> None:
    first = extractor.sync().messages
    for id_ in ("o3", "o5", "new"):
        shop.change(id_)
    shop.change("o1", delete=True)
    state = load(Target(), Run(first, [], None)).state
    second = extractor.sync(state).messages
    dice = random.Random(3)
    for end in (0, len(first) - 1, *dice.sample(range(len(first)), 3)):
        target = Target()
        target.load(first[:end])
        assert live(load(target, extractor.sync(target.state))) == names(shop)
    for end in (1, len(second) - 1, *dice.sample(range(len(second)), 3)):
        target = load(Target(), Run(first, [], None))
        target.load(second[:end])
        assert live(load(target, extractor.sync(target.state))) == names(shop)


def test_a_feed_that_may_not_be_read_is_told_by_the_first_run(shop: Shop, extractor: Tap) -> None:
    shop.faults["/feed"] = lambda _: Answer({"error": "not for you"}, 403)
    run = extractor.sync()
    assert run.error
    assert [line for line in run.log if "Stream 'orders': HTTP 403" in line]


def test_an_answer_that_breaks_off_is_not_kept_for_the_next_try(shop: Shop, extractor: Tap) -> None:
    for path in ("/feed", "/orders"):

        def once(_: Request, path: str = path) -> Answer:
            del shop.faults[path]
            return Answer(b'{"data": [{"id"')

        shop.faults[path] = once
    target = load(Target(), extractor.sync())
    assert live(target) == names(shop)


def test_the_check_asks_for_each_stream_that_is_selected(
    shop: Shop, extractor: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor.settings["manifest"] = SHOP | {
        "check": {"type": "CheckStream", "stream_names": ["lines", "orders"]}
    }
    arguments = ("--config", extractor.file("config", extractor.settings), "--check")
    extractor.command(*arguments)
    shop.faults["/orders"] = lambda _: Answer({"error": "not for you"}, 403)
    with pytest.raises(TapError, match=r"Stream lines .* HTTP 403 for GET .*/orders: not for you"):
        extractor.command(*arguments)
    for select in ('["*.*", "!lines.*"]', '["orders.*"]'):
        monkeypatch.setenv("MELTANO_EXTRACT__SELECT", select)
        with pytest.raises(TapError, match="Stream orders"):
            extractor.command(*arguments)
