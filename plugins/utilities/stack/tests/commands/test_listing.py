"""What `stack streams` says: bookmarks in words, drift, and datasets of no source."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from stack.project import Plugin, Setting
from stack.streams.catalog import Run, Stream, changes, readable
from stack.streams.listing import Listing, SourceReport, StreamReport, lines
from stack.warehouse import Orphan, unclaimed
from target_bigquery_arrow.column_types import ColumnType, Kind
from target_bigquery_arrow.layout import METADATA

STRING, INT64 = ColumnType(Kind.STRING), ColumnType(Kind.INT64)


def plugin(name: str = "target-x", **settings: Any) -> Plugin:
    found = {
        key: Setting(key, value, value, "meltano_yml", False, None)
        for key, value in settings.items()
    }
    return Plugin("loaders", name, None, "x", "X", None, "", {}, found)


@pytest.mark.parametrize(
    ("bookmarks", "words"),
    [
        ({"s": {"replication_key": "xmin", "replication_key_value": 755}}, "transaction 755"),
        ({"s": {"airbyte_state": {"at": "2026-01-31T12:00:00+02:00"}}}, "2026-01-31 10:00:00"),
        ({"s": {"airbyte_state": {"states": [{}], "state": {}}}}, "one in each of 1 partitions"),
        (
            {
                "s": {
                    "airbyte_state": {"use_global_cursor": True, "states": [{}], "state": {"n": 7}}
                }
            },
            "7",
        ),
        ({"s": {"airbyte_state": {"__ab_full_refresh_sync_complete": True}}}, None),
        (
            {"s": {"replication_key": "at", "replication_key_value": "2026-01-31T12:00:00+02:00"}},
            "2026-01-31 10:00:00",
        ),
        ({"s": {"partitions": [{}, {}]}}, "one in each of 2 partitions"),
        ({"s": {"date_updated": "2026-01-31", "offset": {}}}, "2026-01-31 00:00:00"),
        (
            {"s": {"created": 1795656470}, "s_events": {"updates_created": 1795051670000}},
            "2026-11-26 01:27:50, events 2026-11-19 01:27:50",
        ),
        ({"s": {"id": 1795656470}}, "1795656470"),
        ({"s": "2026-01-31T00:00:00Z"}, "2026-01-31 00:00:00"),
        ({"s": {}}, None),
        ({}, None),
    ],
)
def test_bookmarks_of_each_kind_are_told_in_words(bookmarks: Any, words: str | None) -> None:
    assert readable("s", bookmarks) == words


def stream(**properties: str) -> Stream:
    schemas = {name: {"type": kind} for name, kind in properties.items()}
    return Stream("public-s", "FULL_TABLE", None, ["id"], True, schemas, list(schemas))


def found(loader: Plugin, one: Stream, **columns: ColumnType) -> list[str]:
    return changes(one, loader, "s", {**columns, **METADATA})


def test_a_table_that_is_as_its_catalog_has_no_changes() -> None:
    assert found(plugin(), stream(id="integer", Name="string"), id=INT64, name=STRING) == []


def test_changes_are_told_as_the_loader_makes_them() -> None:
    said = found(
        plugin(),
        stream(id="integer", new="string", size="object", age="integer"),
        id=INT64,
        size=STRING,
        size__json=ColumnType(Kind.JSON),
        age=INT64,
        age__string=STRING,
        gone=STRING,
    )
    assert said == [
        "new column 'new' (STRING): not in the table yet",
        "column 'size' is STRING in the table and JSON in the stream: values go into 'size__json'",
        "column 'size__json' holds what came for 'size' as JSON",
        "column 'age__string' holds what came for 'age' as STRING",
        "column 'gone' is no longer in the catalog: it stays as it is",
    ]


def test_changes_follow_the_loaders_schema_drift() -> None:
    new = stream(id="integer", new="string")
    (frozen,) = found(plugin(schema_drift="freeze"), new, id=INT64)
    assert frozen == "new column 'new' (STRING) left out: frozen"
    (failing,) = found(plugin(schema_drift="fail"), new, id=INT64)
    assert failing.startswith("the next load fails: Stream 'public-s', table 's': column 'new'")


def test_what_is_dropped_on_its_way_is_not_missed() -> None:
    maps = {"public-s": {"email": None, "hash": "md5(email)"}}
    loader = plugin(stream_maps=maps)
    one = stream(id="integer", email="string")
    assert found(loader, one, id=INT64, hash=STRING) == []
    (kept,) = found(loader, one, id=INT64, hash=STRING, email=STRING)
    assert kept.startswith("column 'email' is no longer")


@pytest.mark.parametrize(
    "settings",
    [
        {"flattening_enabled": True, "flattening_max_depth": 1},
        {"stream_maps": {"public-s": "no map"}},
    ],
)
def test_what_the_loader_refuses_is_told_and_the_other_streams_are_listed(settings: Any) -> None:
    inside = {"type": "object", "properties": {"b": {"type": "string"}}}
    schemas = {"id": {"type": "integer"}, "a__b": {"type": "string"}, "a": inside}
    one = Stream("public-s", "FULL_TABLE", None, ["id"], True, schemas, list(schemas))
    said = found(plugin(**settings), one, id=INT64, a__b=STRING, a=ColumnType(Kind.JSON))
    assert [text.startswith("the next load fails: ") for text in said] == [True]


THERE = ["product", "helpdesk", "ann_helpdesk", "ann_product", "dbt_ann", "joe_product", "dbt"]
NAMED = ["product", "close"]


def test_production_never_proposes_a_developers_dataset() -> None:
    assert unclaimed(THERE, NAMED) == ["dbt", "dbt_ann", "helpdesk"]


@pytest.mark.parametrize("developer", ["ann", "ann_"])
def test_a_developer_is_shown_none_but_the_own_datasets(developer: str) -> None:
    assert unclaimed(THERE, ["ann_product"], developer) == ["ann_helpdesk"]
    longer = [*THERE, "ann_b_product", "dbt_ann_b"]
    assert unclaimed(longer, ["ann_product"], developer) == ["ann_helpdesk"]


def test_a_listing_reads_as_tables() -> None:
    now = datetime.now(UTC)
    began = datetime(2026, 1, 31, 4, tzinfo=UTC)
    read = StreamReport(
        *("users", ["users"], "INCREMENTAL", "updated_at", True, "2026-01-31 04:00:00", {}),
        *(1234, 5, now - timedelta(hours=50), ["new column 'x' (STRING)"]),
    )
    never = StreamReport(
        "tags", ["tags"], "FULL_TABLE", None, False, None, {}, None, None, None, []
    )
    report = SourceReport(
        *("notes", "notes", "notes-daily", "0 4 * * *"),
        Run("FAIL", began, began + timedelta(seconds=9)),
        *(now, None, [read, never], ["drafts"], ["old"], []),
    )
    removal = "bq rm -r -d p:help"
    state = "prod:tap-old-to-target-bigquery"
    listing = Listing("prod", [report], [Orphan("help", 1, removal)], [state], ["It's late."])
    assert "\n".join(map(click.unstyle, lines(listing))) == EXPECTED


EXPECTED = """\
! It's late.

notes → dataset notes (notes-daily, at 0 4 * * *)
  Last run 2026-01-31 04:00 UTC failed after 9 s

  stream  replication                bookmark              rows  deleted  newest row
  users   incremental by updated_at  2026-01-31 04:00:00  1,234        5  2 d
  tags    full table                 -                        -        -  never loaded

  ! users: new column 'x' (STRING)
  No stream fills old any more.
  Not selected: drafts.

Raw datasets that no source's file names: orphaned
  help, 1 table. If nobody needs it: bq rm -r -d p:help

States of no source: it would go on from there if it came back
  To begin from the start instead: meltano state clear prod:tap-old-to-target-bigquery"""
