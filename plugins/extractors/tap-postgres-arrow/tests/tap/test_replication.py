"""What is live in the warehouse is what is in Postgres: after changes, deletes and breakdowns."""

import copy
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tap_postgres_arrow.errors import TapError
from target_bigquery_arrow.errors import LoadError

from .pipeline import Pipeline, Row

THINGS = "create table things (id int primary key, name text, big text)"


def rows(pipeline: Pipeline, table: str = "things") -> list[Row]:
    return sorted(pipeline.loaded(table), key=lambda row: row["id"])


def ids(pipeline: Pipeline, *, deleted: bool = False) -> list[int]:
    return sorted(row["id"] for row in pipeline.loaded("things", deleted=deleted))


def is_equal(pipeline: Pipeline, table: str = "things") -> bool:
    return rows(pipeline, table) == sorted(pipeline.source(table), key=lambda row: row["id"])


def kinds(messages: list[Row]) -> list[str]:
    return [message["type"] for message in messages]


@pytest.fixture
def things(pipeline: Pipeline) -> Pipeline:
    pipeline.sql(THINGS, "insert into things select g, 'thing ' || g from generate_series(1, 10) g")
    pipeline.run()
    assert is_equal(pipeline)
    return pipeline


def rows_received(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> int:
    """Run; return how many rows were transferred."""
    caplog.clear()
    with caplog.at_level("INFO"):
        pipeline.run()
    (counts,) = [r for r in caplog.records if "rows received" in r.msg]
    assert isinstance(counts.args, tuple)
    return int(counts.args[1])  # type: ignore[call-overload]


def test_only_what_has_changed_is_transferred(
    things: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    things.sql("update things set name = 'new' where id <= 2", "insert into things values (11)")
    assert rows_received(things, caplog) == 3
    assert is_equal(things)


def test_nothing_changed_is_nothing_sent(things: Pipeline) -> None:
    assert kinds(things.run()) == ["STATE", "SCHEMA", "STATE"]


def test_freezing_changes_nothing(things: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    things.sql("update things set name = 'frozen' where id = 1", "vacuum freeze things")
    assert rows_received(things, caplog) == 1
    things.sql("vacuum full things")
    assert rows_received(things, caplog) == 0
    assert is_equal(things)


def test_deleted_rows_are_marked_and_no_other_is_touched(things: Pipeline) -> None:
    before = {row["id"]: row for row in things.query("select * from things")}
    things.sql("delete from things where id in (3, 4)")
    things.run()
    after = {row["id"]: row for row in things.query("select * from things")}
    assert {key for key in after if after[key]["_sdc_deleted_at"]} == {3, 4}
    assert all(after[key] == before[key] for key in after.keys() - {3, 4})


def test_a_key_that_comes_back_is_live_again(things: Pipeline) -> None:
    things.sql("delete from things where id = 3")
    things.run()
    things.sql("insert into things values (3, 'again')")
    things.run()
    assert is_equal(things)
    assert ids(things, deleted=True) == []


def test_as_many_inserted_as_deleted_are_told_apart(things: Pipeline) -> None:
    things.sql("delete from things where id = 3", "insert into things values (33)")
    things.run()
    assert is_equal(things)
    assert ids(things, deleted=True) == [3]


@pytest.mark.parametrize("emptied", ["truncate things", "delete from things"])
def test_a_table_that_is_emptied_is_guarded(things: Pipeline, emptied: str) -> None:
    floor = things.state["bookmarks"]["public-things"]["replication_key_value"]
    things.sql(emptied)
    with pytest.raises(LoadError, match=r"things.*max_delete_fraction"):
        things.run()
    bookmark = things.state["bookmarks"]["public-things"]
    assert (len(ids(things)), bookmark["replication_key_value"]) == (10, floor)
    things.settings["max_delete_fraction"] = 1
    things.run()
    assert (len(ids(things)), len(ids(things, deleted=True))) == (0, 10)


def test_a_table_that_is_read_in_full_is_guarded_too(things: Pipeline) -> None:
    things.metadata["public-things"] = {"replication-method": "FULL_TABLE"}
    things.sql("delete from things where id > 4")
    with pytest.raises(LoadError, match="max_delete_fraction"):
        things.run()
    assert len(ids(things)) == 10


def test_a_transaction_that_is_open_across_a_run_is_picked_up_by_the_next(
    things: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    with things.connect() as other:
        with other.transaction():
            other.execute("update things set name = 'late' where id = 1")
            other.execute("insert into things values (99)")
            other.execute("delete from things where id = 2")
            # Later ones end before it, and are read by both runs.
            things.sql("insert into things values (50)")
            assert rows_received(things, caplog) == 1
            assert is_equal(things)
        assert rows_received(things, caplog) == 3
    assert is_equal(things)
    assert rows_received(things, caplog) == 0


def test_a_prepared_transaction_counts_as_open(things: Pipeline) -> None:
    with things.connect() as other:
        other.execute("begin")
        other.execute("insert into things values (99)")
        other.execute("prepare transaction 'later'")
    things.sql("insert into things values (50)")
    things.run()
    things.sql("commit prepared 'later'")
    things.run()
    assert is_equal(things)


@pytest.mark.parametrize(
    "change",
    [
        "alter table things add column extra text default 'not in any row'",
        "alter table things drop column name",
        "alter table things alter column id type bigint",
        # The whole table changes places with another, whose rows are older than the last run.
        "alter table things rename to old; alter table others rename to things; drop table old",
    ],
)
def test_a_schema_that_changes_leaves_nothing_behind(things: Pipeline, change: str) -> None:
    things.sql(
        "create table others (id int primary key, name text, big text)",
        "insert into others values (7, 'seven'), (77, 'seventy-seven')",
    )
    things.settings["max_delete_fraction"] = 1
    things.run()
    things.sql(change)
    things.run()
    columns = things.source("things limit 1")[0].keys()
    found = [{name: row[name] for name in columns} for row in rows(things)]
    assert found == sorted(things.source("things"), key=lambda row: row["id"])


def test_a_partition_that_is_attached_is_read_and_one_that_is_detached_is_deleted(
    pipeline: Pipeline,
) -> None:
    pipeline.sql(
        "create table things (id int primary key, name text) partition by range (id)",
        "create table low partition of things for values from (0) to (100)",
        "insert into things values (1, 'one')",
        "create table high (id int primary key, name text)",
        "insert into high values (101, 'older than the last run'), (102, 'this one too')",
    )
    pipeline.deselected = {("public-high",)}
    pipeline.run()
    assert is_equal(pipeline)
    pipeline.sql("alter table things attach partition high for values from (100) to (200)")
    pipeline.run()
    assert is_equal(pipeline)
    pipeline.sql("alter table things detach partition low")
    pipeline.run()
    assert is_equal(pipeline)


def test_another_cluster_behind_the_same_address_is_read_in_full(things: Pipeline) -> None:
    bookmark = things.state["bookmarks"]["public-things"]
    bookmark |= {"cluster": "another", "replication_key_value": 1}
    assert "ACTIVATE_VERSION" in kinds(things.run())
    bookmark = things.state["bookmarks"]["public-things"]
    bookmark["replication_key_value"] += 2**33
    things.sql("update things set name = 'after the restore' where id = 1")
    things.run()
    assert is_equal(things)


def test_composite_keys(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create table things "
        "(id uuid, day date, price numeric(12, 2), primary key (id, day, price))",
        "insert into things select gen_random_uuid(), '2020-01-01'::date + g, g / 3.0 "
        "from generate_series(1, 9) g",
    )
    pipeline.run()
    pipeline.sql("delete from things where day in (select min(day) from things)")
    pipeline.run()
    assert (len(pipeline.loaded("things")), len(pipeline.loaded("things", deleted=True))) == (8, 1)


def test_by_a_column_what_is_at_or_past_the_last_value_is_read(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.sql(
        "create table things (id int primary key, at timestamptz not null)",
        "insert into things select g, '2020-01-01'::date + g from generate_series(1, 10) g",
        "insert into things values (11, 'infinity')",
    )
    pipeline.metadata["public-things"] = {"replication-key": "at"}
    pipeline.run()
    pipeline.sql("insert into things values (12, '2020-03-01')", "delete from things where id = 4")
    # The row at the last value, the infinite one, the new one.
    assert rows_received(pipeline, caplog) == 3
    assert ids(pipeline) == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    pipeline.metadata["public-things"]["detect-deletes"] = False
    pipeline.sql("delete from things where id = 5")
    assert "KEYS" not in kinds(pipeline.run())


def test_a_row_from_the_future_does_not_freeze_a_column_bookmark(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.sql(
        "create table things (id int primary key, at timestamp not null)",
        "insert into things values (1, '2020-01-01'), (2, '2999-01-01')",
    )
    pipeline.metadata["public-things"] = {"replication-key": "at", "detect-deletes": False}
    pipeline.run()
    assert "'at' is in the future in 1 rows (up to 2999-01-01 00:00:00)" in caplog.text
    bookmark = pipeline.state["bookmarks"]["public-things"]
    assert bookmark["replication_key_value"] == "2020-01-01 00:00:00"
    pipeline.sql("insert into things values (3, '2020-02-01')")
    pipeline.run()
    assert ids(pipeline) == [1, 2, 3]
    # An earlier version of the tap, or another extractor, has passed that row.
    bookmark = pipeline.state["bookmarks"]["public-things"]
    bookmark["replication_key_value"] = "2999-01-01 00:00:00"
    pipeline.sql("insert into things values (4, '2020-03-01')")
    pipeline.run()
    assert ids(pipeline) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("column", "values", "overlap"),
    [
        ("timestamptz", ["2020-01-10", "2020-01-09", "2020-01-01"], "2 days"),
        ("date", ["2020-01-10", "2020-01-09", "2020-01-01"], "1 day"),
        ("bigint", ["100", "95", "50"], "10"),
    ],
)
def test_rows_that_are_committed_late_are_read_within_an_overlap(
    pipeline: Pipeline, column: str, values: list[str], overlap: str
) -> None:
    greatest, late, too_late = values
    pipeline.sql(
        f"create table things (id int primary key, at {column} not null)",
        f"insert into things values (1, '{greatest}')",
    )
    pipeline.metadata["public-things"] = {
        "replication-key": "at",
        "replication-key-overlap": overlap,
        "detect-deletes": False,
    }
    pipeline.run()
    pipeline.sql(f"insert into things values (2, '{late}'), (3, '{too_late}')")
    pipeline.run()
    assert ids(pipeline) == [1, 2]


@pytest.mark.parametrize(("key", "overlap"), [("name", "1 day"), ("at", "some days")])
def test_an_overlap_that_does_not_go_with_its_column(
    pipeline: Pipeline, key: str, overlap: str
) -> None:
    pipeline.sql(
        "create table things (id int primary key, name text not null, at date not null)",
        "insert into things values (1, 'one', '2020-01-01')",
    )
    pipeline.metadata["public-things"] = {"replication-key": key}
    pipeline.run()
    pipeline.metadata["public-things"]["replication-key-overlap"] = overlap
    with pytest.raises(TapError, match=r"'public-things'.*replication-key-overlap"):
        pipeline.run()


def test_every_run_begins_with_the_state_that_it_was_given(pipeline: Pipeline) -> None:
    pipeline.sql("create table things (id int primary key)")
    first, *_ = pipeline.run()
    assert first == {"type": "STATE", "value": {"bookmarks": {}}}
    given = copy.deepcopy(pipeline.state)
    # The row count, by which a run tells that nothing was deleted, holds for one run only.
    del given["bookmarks"]["public-things"]["rows"]
    first, *_ = pipeline.run()
    assert first == {"type": "STATE", "value": given}


def test_moving_on_from_another_extractors_bookmark(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create table things (id int primary key, at timestamptz not null)",
        "insert into things select g, '2020-01-01'::date + g from generate_series(1, 10) g",
    )
    at = {"replication_key": "at", "replication_key_value": "2020-01-06T00:00:00+00:00"}
    pipeline.state = {"bookmarks": {"public-things": at}}
    pipeline.metadata["public-things"] = {"replication-key": "at", "detect-deletes": False}
    pipeline.run()
    assert ids(pipeline) == [5, 6, 7, 8, 9, 10]
    pipeline.metadata.clear()
    pipeline.run()
    assert len(ids(pipeline)) == 10


def test_tables_and_views_that_are_read_in_full(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create table base (id int, name text)",
        "insert into base select g from generate_series(1, 5) g",
        "create view things as select distinct id from base",
    )
    pipeline.metadata["public-things"] = {"table-key-properties": ["id"]}
    pipeline.run()
    pipeline.sql("delete from base where id = 2")
    pipeline.run()
    assert ids(pipeline) == [1, 3, 4, 5]
    assert sorted(row["id"] for row in pipeline.loaded("base")) == [1, 3, 4, 5]


def test_all_streams_are_read_at_one_moment(pipeline: Pipeline) -> None:
    """A row never arrives ahead of one that it refers to, however long the run takes."""
    tables = [f"t{number}" for number in range(6)]
    pipeline.sql(*(f"create table {table} (id int primary key)" for table in tables))
    pipeline.settings["max_parallel_streams"] = 2
    tap = pipeline.start_tap()
    for number in range(10_000):
        if tap.poll() is not None:
            break
        values = ";".join(f"insert into {table} values ({number})" for table in tables)
        pipeline.postgres.execute(f"begin; {values}; commit")
    output, _ = tap.communicate(timeout=60)
    pipeline.load(output.decode())
    found = [sorted(row["id"] for row in pipeline.loaded(table)) for table in tables]
    assert all(rows == found[0] for rows in found)


def test_many_files_are_one_table(pipeline: Pipeline) -> None:
    pipeline.settings["batch_bytes"] = 2**20
    pipeline.sql(
        THINGS,
        "insert into things select g, md5(g::text), repeat(md5(random()::text), 30) "
        "from generate_series(1, 60000) g",
    )
    messages = pipeline.run()
    assert kinds(messages).count("BATCH") > 1
    assert is_equal(pipeline)
    assert not list(pipeline.directory.glob("tap-postgres-arrow-*")), "files are left behind"


@pytest.mark.parametrize("victim", ["tap", "loader", "both"])
@pytest.mark.parametrize("seconds", [0.8, pytest.param(1.6, marks=pytest.mark.thorough)])
def test_a_killed_run_is_made_up_for_by_the_next(
    things: Pipeline, victim: str, seconds: float
) -> None:
    things.sql(
        "insert into things select g, 'more', md5(g::text) from generate_series(100, 50000) g",
        "delete from things where id = 1",
    )
    tap = things.start_tap()
    loader = things.start_loader(stdin=tap.stdout)
    assert tap.stdout
    tap.stdout.close()
    time.sleep(seconds)
    for name, process in {"tap": tap, "loader": loader}.items():
        if victim in (name, "both"):
            process.send_signal(signal.SIGKILL)
    states, _ = loader.communicate(timeout=60)
    tap.wait(timeout=60)
    things.keep(states)
    things.run()
    assert is_equal(things)
    assert {name for name in tables(things) if name.startswith("_sdc")} == set()


def tables(pipeline: Pipeline) -> set[str]:
    return {table.table_id for table in pipeline.emulator.client().list_tables(pipeline.name)}


def test_a_row_that_was_loaded_by_a_run_that_broke_off_and_is_gone_by_the_next_is_seen_as_deleted(
    things: Pipeline,
) -> None:
    things.sql("insert into things values (11)")
    *messages, last = things.extract()
    assert last["type"] == "STATE"
    things.load("".join(line(message).decode() for message in messages))
    assert 11 in ids(things)
    things.sql("delete from things where id = 11")
    things.run()
    assert is_equal(things)


def test_the_second_of_two_runs_at_once_refuses(things: Pipeline) -> None:
    things.sql("insert into things select g from generate_series(100, 200) g")
    first = things.start_loader(stdin=subprocess.PIPE)
    assert first.stdin
    messages = things.extract()
    rows_are_in = kinds(messages).index("BATCH") + 1
    first.stdin.write(b"".join(line(message) for message in messages[:rows_are_in]))
    first.stdin.flush()
    while not has_locked_a_table(first.pid):
        assert first.poll() is None
        time.sleep(0.05)
    with pytest.raises(LoadError, match="Another run is loading"):
        things.run()
    first.stdin.write(b"".join(line(message) for message in messages[rows_are_in:]))
    things.keep(first.communicate(timeout=60)[0])
    assert is_equal(things)


def has_locked_a_table(process: int) -> bool:
    files = Path(f"/proc/{process}/fd").iterdir()
    return any(file.resolve().match("target-bigquery-arrow*/*.lock") for file in files)


def line(message: Row) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_each_state_says_that_no_stream_depends_on_another(pipeline: Pipeline) -> None:
    """So that one that fails in the loader keeps its bookmark, and holds no other's back."""
    pipeline.sql("create table one (id int primary key)", "create table two (id int primary key)")
    first, *others = [m for m in pipeline.extract() if m["type"] == "STATE"]
    assert first["value"] == {"bookmarks": {}}
    assert [message["independent"] for message in others] == [True, True]
