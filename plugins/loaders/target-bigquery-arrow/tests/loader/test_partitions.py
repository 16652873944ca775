"""A load touches, and bills, the partitions that its rows are in, and never misses a row."""

import datetime
import itertools
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import bigquery
from hypothesis import given, settings
from hypothesis import strategies as st
from target_bigquery_arrow import partitioning, stream
from target_bigquery_arrow.partitioning import (
    LAST_INT64,
    MAXIMUM_INTERVALS,
    MAXIMUM_PARTITIONS_A_JOB,
    PartitionFilter,
    RangePartitioning,
    Spread,
    TimePartitioning,
    partitioning_for,
)
from target_bigquery_arrow.table import WHOLE_COPY_PREFIX

from .driver import Loader, Message, activate, files, parquet, record, schema, state
from .flaky_proxy import Fault, FlakyProxy, Request, flaky_proxy

ID = {"id": {"type": "integer"}}
DATED = {
    "id": {"type": "string"},
    "created_at": {"type": ["string", "null"], "format": "date-time"},
}
QUERY = re.compile(rb'"query": "')


@pytest.fixture
def large(loader: Loader) -> Loader:
    """A loader for which each table is a large one."""
    loader.settings["partition_bytes"] = 0
    return loader


@pytest.fixture
def proxy(large: Loader) -> Iterator[FlakyProxy]:
    with flaky_proxy(large.emulator.port) as proxy:
        large.settings["api_endpoint"] = proxy.endpoint
        yield proxy


def statements_of(proxy: FlakyProxy) -> list[str]:
    """Note every statement that is sent from now on."""
    sent: list[str] = []

    def note(request: Request) -> Fault:
        if QUERY.search(request.body):
            sent.append(json.loads(request.body)["configuration"]["query"]["query"])
        return Fault.NONE

    proxy.fault = note
    return sent


def table(loader: Loader, name: str = "things") -> bigquery.Table:
    return loader.emulator.client().get_table(f"local.{loader.dataset}.{name}")


def moment(day: int | None) -> datetime.datetime | None:
    first = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    return None if day is None else first + datetime.timedelta(day)


def dated(rows: dict[str, int | None]) -> list[Message]:
    """Rows by id, each made on a day of its own."""
    return [
        record("things", {"id": key, "created_at": str(at) if (at := moment(day)) else None})
        for key, day in rows.items()
    ]


# Which partitions


def test_a_large_table_is_partitioned_by_an_integer_of_its_key_else_by_the_date_of_creation(
    large: Loader,
) -> None:
    large.load(
        schema("numbered", ID | {"created_at": DATED["created_at"]}),
        *(record("numbered", {"id": number}) for number in (1, 4000)),
        schema("dated", DATED),
        record("dated", {"id": "a", "created_at": "2024-01-01T00:00:00Z"}),
        schema("composed", {"org": {"type": "integer"}, **ID}, ["org", "id"]),
        *(record("composed", {"org": 1, "id": number}) for number in (1, 90)),
        schema("texts", {"id": {"type": "string"}, "seen_at": DATED["created_at"]}),
        record("texts", {"id": "a"}),
    )
    ranges = table(large, "numbered").range_partitioning
    assert (ranges.field, ranges.range_.start, ranges.range_.interval) == ("id", 0, 100)
    assert ranges.range_.end == 100 * MAXIMUM_PARTITIONS_A_JOB, "no room to grow"
    assert table(large, "dated").time_partitioning == bigquery.TimePartitioning(
        "DAY", field="created_at"
    )
    assert table(large, "composed").range_partitioning.field == "id"
    assert not table(large, "texts").time_partitioning


def test_a_small_table_is_not_partitioned(loader: Loader) -> None:
    loader.load(schema("things", ID), record("things", {"id": 1}))
    assert not table(loader).range_partitioning


@settings(deadline=None)
@given(
    bounds=st.tuples(*[st.integers(-LAST_INT64 - 1, LAST_INT64)] * 2).map(sorted),
    size=st.integers(0, 2**50),
)
def test_a_range_of_integers_never_has_more_partitions_than_a_job_may_change(
    bounds: list[int], size: int
) -> None:
    found = partitioning_for({"id": Spread(*bounds, days=0)}, size)
    assert isinstance(found, RangePartitioning)
    assert found.interval > 0
    assert -LAST_INT64 - 1 <= found.start < found.end <= LAST_INT64
    assert (found.end - found.start) // found.interval <= MAXIMUM_PARTITIONS_A_JOB
    assert (found.end - found.start) % found.interval == 0
    # The first load fills no more than a part of them.
    held = min(bounds[1], found.end) - max(bounds[0], found.start)
    assert held // found.interval <= partitioning.MOST_AT_FIRST


def test_more_days_than_a_table_can_have_for_long_are_months() -> None:
    early, late = datetime.datetime(1970, 1, 1), datetime.datetime(2030, 1, 1)
    assert partitioning_for({"at": Spread(early, late, 1500)}, 0) == TimePartitioning("at", "DAY")
    assert partitioning_for({"at": Spread(early, late, 1501)}, 0) == TimePartitioning("at", "MONTH")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 50)), max_size=300))
def test_a_filter_holds_every_interval_in_a_bounded_predicate(pairs: list[tuple[int, int]]) -> None:
    intervals, end = [], 0
    for gap, length in pairs:
        intervals.append((end + gap, end + gap + length))
        end += gap + length + 1
    sql = PartitionFilter("id", intervals).sql("t")
    found = [(int(a), int(b)) for a, b in re.findall(r"between (-?\d+) and (-?\d+)", sql)]
    assert len(found) <= MAXIMUM_INTERVALS
    for low, high in intervals:
        assert any(a <= low and high <= b for a, b in found)
    if len(intervals) <= MAXIMUM_INTERVALS:
        assert found == intervals


# What a load touches


def test_a_merge_touches_the_ranges_of_the_rows_that_came(large: Loader, proxy: FlakyProxy) -> None:
    large.load(schema("things", ID), *(record("things", {"id": n}) for n in range(4000)))
    sent = statements_of(proxy)
    large.load(schema("things", ID), *(record("things", {"id": n}) for n in (7, 8, 3000, 5000)))
    (merge,) = (sql for sql in sent if sql.startswith("merge"))
    assert "target.`id` between 7 and 8" in merge
    assert "target.`id` between 3000 and 3000" in merge
    assert len(large.by_id("things")) == 4001


def test_a_row_whose_date_of_creation_changes_is_still_one_row(
    large: Loader, proxy: FlakyProxy
) -> None:
    large.load(schema("things", DATED), *dated({"a": 0, "b": 1, "c": None, "d": 3}))
    sent = statements_of(proxy)
    large.load(schema("things", DATED), *dated({"a": 500, "b": None, "c": 2, "e": 3}))
    (merge,) = (sql for sql in sent if sql.startswith("merge"))
    assert "timestamp '2024-01-04 00:00:00.000000+00'" in merge
    found = {key: row["created_at"] for key, row in large.by_id("things").items()}
    days = {"a": 500, "b": None, "c": 2, "d": 3, "e": 3}
    assert found == {key: moment(day) for key, day in days.items()}


def test_deletes_touch_the_partitions_of_the_rows_that_have_gone(
    large: Loader, proxy: FlakyProxy, tmp_path: Any
) -> None:
    large.load(schema("things", DATED), *dated({"a": 0, "b": 1, "c": 2, "d": None}))
    sent = statements_of(proxy)
    keys = files("KEYS", "things", parquet(tmp_path, {"id": ["a", "c"]}), max_delete_fraction=1)
    large.load(schema("things", DATED), keys, state({}))
    (update,) = (sql for sql in sent if sql.startswith("update"))
    assert "created_at` between timestamp '2024-01-02" in update
    assert "created_at` is null" in update
    assert "'2024-01-01" not in update
    assert sorted(row["id"] for row in large.rows("things")) == ["a", "c"]
    sent.clear()
    large.load(schema("things", DATED), keys, state({}))
    assert not [sql for sql in sent if sql.startswith("update")], "nothing had gone"


def test_a_version_without_older_rows_runs_no_update(large: Loader, proxy: FlakyProxy) -> None:
    def full_read(version: int, *ids: int) -> list[Message]:
        rows = [record("things", {"id": number}, version=version) for number in ids]
        return [schema("things", ID), *rows, activate("things", version, max_delete_fraction=1)]

    sent = statements_of(proxy)
    large.load(*full_read(1, 1, 2, 300), state(1))
    large.load(*full_read(2, 1, 2, 300), state(2))
    assert not [sql for sql in sent if sql.startswith("update")]
    large.load(*full_read(3, 1, 2), state(3))
    (update,) = (sql for sql in sent if sql.startswith("update"))
    assert "`id` between 300 and 300" in update
    assert sorted(row["id"] for row in large.rows("things")) == [1, 2]


@pytest.mark.parametrize("loads", [3, pytest.param(6, marks=pytest.mark.thorough)])
def test_loads_of_partitioned_tables_end_as_those_of_others(large: Loader, loads: int) -> None:
    """Random loads, dates that change among them, against a dictionary."""
    chance = random.Random(11)
    days = [None, *range(-730_000, 2_900_000, 41_000)]
    expected: dict[str, datetime.datetime | None] = {}
    for _ in range(loads):
        some = {f"key {chance.randrange(30)}": chance.choice(days) for _ in range(12)}
        expected |= {key: moment(at) for key, at in some.items()}
        large.load(schema("things", DATED), *dated(some))
        found = {key: row["created_at"] for key, row in large.by_id("things").items()}
        assert found == expected


# Limits


def test_days_that_would_be_too_many_become_months(
    large: Loader, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAXIMUM_PARTITIONS", 20)
    large.load(schema("things", DATED), *dated({str(n): n for n in range(15)}))
    large.load(schema("things", DATED), *dated({str(n): n * 40 for n in range(10, 25)}))
    assert table(large).time_partitioning.type_ == "MONTH"
    assert "partitioned by day of 'created_at') is rebuilt, partitioned by month" in caplog.text
    assert len(large.by_id("things")) == 25
    assert large.tables() == {"things"}


def test_a_key_that_outgrows_its_type_is_no_longer_what_its_table_is_partitioned_by(
    large: Loader,
) -> None:
    wide = {"id": {"type": "integer", "maximum": 10**20}}
    large.load(schema("things", ID), record("things", {"id": 1}), record("things", {"id": 2}))
    large.load(
        schema("things", wide), record("things", {"id": 2}), record("things", {"id": 10**19})
    )
    assert not table(large).range_partitioning
    assert sorted(large.by_id("things")) == [1, 2, 10**19]


# Tables that are there already


def before(loader: Loader) -> None:
    loader.load(schema("things", ID), *(record("things", {"id": n}) for n in range(100)))


def test_a_table_is_repartitioned_on_request_only(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    before(loader)
    loader.settings |= {"partition_bytes": 0}
    before(loader)
    assert not table(loader).range_partitioning
    rows = loader.query("select * from things order by id")
    loader.settings |= {"repartition": True}
    loader.load(schema("things", ID), state({}))
    assert table(loader).range_partitioning.field == "id"
    assert loader.query("select * from things order by id") == rows
    assert loader.tables() == {"things"}
    caplog.clear()
    before(loader)
    assert "rebuilt" not in caplog.text


class Killed(BaseException):
    """The process has ended here, as far as BigQuery is concerned."""


@pytest.mark.parametrize("step", range(5))
def test_a_run_that_ends_while_it_repartitions_a_table_loses_no_row(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    from target_bigquery_arrow.warehouse import Warehouse

    before(loader)
    loader.settings |= {"partition_bytes": 0, "repartition": True}
    steps = itertools.count()

    def dying(method: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            statement = str(arguments[1])
            counts = statement.startswith(("insert", "alter")) or method.__name__ != "execute"
            if counts and next(steps) == step:
                raise Killed
            return method(*arguments, **options)

        return call

    # Making the copy, filling it, its name, the table's end, the copy's new name.
    for name in ("create_table", "execute", "drop_table"):
        monkeypatch.setattr(Warehouse, name, dying(getattr(Warehouse, name)))
    with pytest.raises(Killed):
        loader.load(schema("things", ID), state({}))
    monkeypatch.undo()
    before(loader)
    assert sorted(loader.by_id("things")) == list(range(100))
    assert table(loader).range_partitioning.field == "id"
    assert loader.tables() == {"things"}


def test_a_copy_that_is_no_longer_wanted_is_dropped(loader: Loader) -> None:
    before(loader)
    loader.query(f"create table {WHOLE_COPY_PREFIX}things as select * from things limit 1")
    before(loader)
    assert loader.tables() == {"things"}
    assert len(loader.rows("things")) == 100


def test_the_cap_on_what_is_billed_never_fails_a_load_of_a_larger_table(
    large: Loader, proxy: FlakyProxy
) -> None:
    large.settings["maximum_bytes_billed"] = 100
    caps: list[int] = []

    def note(request: Request) -> Fault:
        if QUERY.search(request.body):
            query = json.loads(request.body)["configuration"]["query"]
            caps.append(int(query["maximumBytesBilled"]))
        return Fault.NONE

    large.load(schema("things", ID), *(record("things", {"id": n}) for n in range(1000)))
    proxy.fault = note
    large.load(schema("things", ID), record("things", {"id": 1}))
    size = table(large).num_bytes
    assert size > 1000
    assert min(caps) >= 2 * size
