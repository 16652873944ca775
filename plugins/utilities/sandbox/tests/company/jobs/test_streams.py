"""What is known of each stream, and reading one anew: the others stay as they are."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from ..stack import TABLES, Stack, searched_since
from .test_when_things_break import wait_for_loader

QUIET = "--log-level=warning"
CLOSE = "tap-close-to-target-bigquery"
BY_COLUMN = {
    "TAP_PRODUCT__METADATA": '{"public-timeline_items": {"replication-key": "updated_at"}}'
}


@pytest.fixture
def orphan(stack: Stack) -> Iterator[str]:
    """A raw dataset whose source's file has gone, and one of a developer's own loads."""
    stack.query("create schema helpdesk")
    stack.query("create table helpdesk.tickets as select * from intercom.tags")
    stack.query("create schema dbt_ann")
    stack.query("create schema ann_helpdesk")
    stack.query("create table ann_helpdesk.tickets as select * from intercom.tags")
    yield "helpdesk"
    for dataset in ("helpdesk", "dbt_ann", "ann_helpdesk"):
        stack.query(f"drop schema {dataset} cascade")


def test_streams_tells_rows_bookmarks_and_what_belongs_to_nothing(
    stack: Stack, orphan: str
) -> None:
    found = json.loads(stack.meltano(QUIET, "invoke", "stack", "streams", "--json"))
    assert found["notes"] == []
    orphans = {dataset["dataset"] for dataset in found["orphans"]}
    assert orphan in orphans
    assert not orphans & {"dbt_ann", "ann_helpdesk", "product", "close", "intercom", "stripe"}
    sources = {source["source"]: source for source in found["sources"]}
    assert sources.keys() >= {"product", "close", "intercom", "stripe"}

    product = {stream["stream"]: stream for stream in sources["product"]["streams"]}
    assert product.keys() == {f"public-{table}" for table in TABLES}
    for name, bookmark in stack.bookmarks().items():
        stream, table = product[name], name.removeprefix("public-")
        assert stream["bookmarks"] == {name: bookmark}
        assert stream["bookmark"] == f"transaction {bookmark['replication_key_value']}"
        assert stream["rows"] == len(stack.raw_rows(table))
        assert stream["deleted"] == len(stack.raw_rows(table, deleted=True))
        assert stream["changes"] == []
    assert sources["product"]["last_run"]["state"] == "SUCCESS"
    assert sources["close"]["not_selected"] == []


def test_a_stream_that_was_damaged_is_restored_by_a_resync_even_if_one_was_killed(
    stack: Stack,
) -> None:
    before, positions = stack.bookmarks(), stack.positions()
    stack.query("delete from product.users where role = 'admin'")
    stack.query("update product.users set name = 'damaged' where role != 'admin'")
    insert_a_row_that_has_left_the_source(stack, "users")

    run = stack.start("invoke", "stack", "resync", "product", "users")
    os.kill(wait_for_loader(run), signal.SIGKILL)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "No bookmark has moved" in output
    assert stack.positions() == positions

    output = stack.meltano("invoke", "stack", "resync", "product", "users")
    assert f"{len(stack.source_rows('users'))} rows were read" in output
    assert stack.differences() == {}
    assert ("gone",) in stack.raw_rows("users", deleted=True)
    after = stack.bookmarks()
    assert {name for name in after if after[name] != before[name]} <= {"public-users"}
    assert after.keys() == before.keys()
    stack.query("delete from product.users where id = 'gone'")


def test_a_backfill_reads_since_its_date_marks_nothing_as_deleted_and_moves_no_bookmark(
    stack: Stack,
) -> None:
    before = stack.positions()
    (middle,) = stack.query(
        "select date(approx_quantiles(updated_at, 2)[offset(1)]) as date "
        "from product.timeline_items"
    )
    insert_a_row_that_has_left_the_source(stack, "timeline_items")
    deleted = stack.raw_rows("timeline_items", deleted=True)
    stack.query("update product.timeline_items set kind = 'damaged' where id != 'gone'")
    since = ("--from", str(middle["date"]))
    stack.meltano("invoke", "stack", "backfill", "product", "timeline_items", *since, **BY_COLUMN)
    (damaged,) = stack.query(
        "select max(updated_at) as newest from product.timeline_items "
        "where kind = 'damaged' and _sdc_deleted_at is null"
    )
    assert damaged["newest"].date() < middle["date"]
    assert stack.raw_rows("timeline_items", deleted=True).keys() == deleted.keys()
    assert stack.positions() == before

    stack.meltano("invoke", "stack", "resync", "product", "timeline_items")
    assert stack.differences() == {}
    assert ("gone",) in stack.raw_rows("timeline_items", deleted=True)
    stack.query("delete from product.timeline_items where id = 'gone'")


def test_a_backfill_of_a_tool_asks_its_api_only_for_what_is_newer(stack: Stack) -> None:
    asked = len(stack.requests())
    before = stack.bookmarks(CLOSE)
    stack.meltano("invoke", "stack", "backfill", "close", "leads", "--from", "2026-01-31")
    requests = stack.requests(asked)
    assert requests
    assert {request["path"] for request in requests} == {"/api/v1/data/search/"}
    assert (
        min(searched_since(request) for request in requests) == "2026-01-31T00:00:00.000000+00:00"
    )
    assert stack.bookmarks(CLOSE) == before
    assert "backfill" not in stack.meltano(QUIET, "state", "list")


def insert_a_row_that_has_left_the_source(stack: Stack, table: str) -> None:
    (row,) = stack.query(f"select * except (id) from product.{table} limit 1")
    columns = ", ".join(row)
    stack.query(
        f"insert into product.{table} (id, {columns}) "
        f"select 'gone', {columns} from product.{table} limit 1"
    )
