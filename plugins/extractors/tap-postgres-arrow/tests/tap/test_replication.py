"""What is live in the warehouse is what is in Postgres: after changes, deletes and breakdowns."""

import copy
import json
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from adbc_driver_postgresql import StatementOptions
from tap_postgres_arrow import database
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


def with_things(pipeline: Pipeline) -> Pipeline:
    pipeline.sql(THINGS, "insert into things select g, 'thing ' || g from generate_series(1, 10) g")
    pipeline.run()
    assert is_equal(pipeline)
    return pipeline


@pytest.fixture
def things(pipeline: Pipeline) -> Pipeline:
    return with_things(pipeline)


@pytest.fixture
def remembered(in_memory: Pipeline) -> Pipeline:
    return with_things(in_memory)


def rows_received(pipeline: Pipeline) -> int:
    """Run; return how many rows were handed over."""
    assert pipeline.memory
    pipeline.run()
    return pipeline.memory.received


def test_only_what_has_changed_is_transferred(remembered: Pipeline) -> None:
    remembered.sql("update things set name = 'new' where id <= 2", "insert into things values (11)")
    assert rows_received(remembered) == 3
    assert is_equal(remembered)


def test_nothing_changed_is_nothing_sent(remembered: Pipeline) -> None:
    assert kinds(remembered.run()) == ["STATE", "SCHEMA", "STATE"]


def test_freezing_changes_nothing(remembered: Pipeline) -> None:
    remembered.sql("update things set name = 'frozen' where id = 1", "vacuum freeze things")
    assert rows_received(remembered) == 1
    remembered.sql("vacuum full things")
    assert rows_received(remembered) == 0
    assert is_equal(remembered)


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


def test_as_many_inserted_as_deleted_are_told_apart(remembered: Pipeline) -> None:
    remembered.sql("delete from things where id = 3", "insert into things values (33)")
    remembered.run()
    assert is_equal(remembered)
    assert ids(remembered, deleted=True) == [3]


def test_a_table_that_is_emptied_is_guarded(things: Pipeline) -> None:
    floor = things.state["bookmarks"]["public-things"]["replication_key_value"]
    things.sql("delete from things where id > 4")
    things.metadata["public-things"] = {"replication-method": "FULL_TABLE"}
    with pytest.raises(LoadError, match="max_delete_fraction"):
        things.run()
    assert len(ids(things)) == 10
    things.metadata.clear()
    for emptied in ("delete from things", "truncate things"):
        things.sql(emptied)
        with pytest.raises(LoadError, match=r"things.*max_delete_fraction"):
            things.run()
        bookmark = things.state["bookmarks"]["public-things"]
        assert (len(ids(things)), bookmark["replication_key_value"]) == (10, floor)
    things.settings["max_delete_fraction"] = 1
    things.run()
    assert (len(ids(things)), len(ids(things, deleted=True))) == (0, 10)


def test_a_transaction_that_is_open_across_a_run_is_picked_up_by_the_next(
    remembered: Pipeline,
) -> None:
    with remembered.connect() as other:
        with other.transaction():
            other.execute("update things set name = 'late' where id = 1")
            other.execute("insert into things values (99)")
            other.execute("delete from things where id = 2")
            # Later ones end before it, and are read by both runs.
            remembered.sql("insert into things values (50)")
            assert rows_received(remembered) == 1
            assert is_equal(remembered)
        assert rows_received(remembered) == 3
    assert is_equal(remembered)
    assert rows_received(remembered) == 0


def test_a_prepared_transaction_counts_as_open(remembered: Pipeline) -> None:
    with remembered.connect() as other:
        other.execute("begin")
        other.execute("insert into things values (99)")
        other.execute("prepare transaction 'later'")
    remembered.sql("insert into things values (50)")
    remembered.run()
    remembered.sql("commit prepared 'later'")
    remembered.run()
    assert is_equal(remembered)


CHANGES = {
    "widened": "alter table widened add column extra text default 'not in any row'",
    "narrowed": "alter table narrowed drop column name",
    "retyped": "alter table retyped alter column id type bigint",
    # The whole table changes places with another, whose rows are older than the last run.
    "swapped": "drop table swapped; alter table others rename to swapped",
}


def test_a_schema_that_changes_leaves_nothing_behind(in_memory: Pipeline) -> None:
    change_schemas(in_memory, *CHANGES)


def test_columns_that_come_and_go_do_so_in_bigquery(pipeline: Pipeline) -> None:
    change_schemas(pipeline, "widened", "narrowed")


def change_schemas(pipeline: Pipeline, *tables: str) -> None:
    """Load tables, change them, and load them again; see that what is live is what they hold."""
    for table in tables:
        pipeline.sql(
            f"create table {table} (id int primary key, name text, big text)",
            f"insert into {table} select g, 'thing ' || g from generate_series(1, 10) g",
        )
    if "swapped" in tables:
        pipeline.sql(
            "create table others (id int primary key, name text, big text)",
            "insert into others values (7, 'seven'), (77, 'seventy-seven')",
        )
    pipeline.settings["max_delete_fraction"] = 1
    pipeline.run()
    pipeline.sql(*(CHANGES[table] for table in tables))
    pipeline.run()
    for table in tables:
        columns = pipeline.source(f"{table} limit 1")[0].keys()
        found = [{name: row[name] for name in columns} for row in rows(pipeline, table)]
        assert found == sorted(pipeline.source(table), key=lambda row: row["id"]), table


def test_a_partition_that_is_attached_is_read_and_one_that_is_detached_is_deleted(
    in_memory: Pipeline,
) -> None:
    in_memory.sql(
        "create table things (id int primary key, name text) partition by range (id)",
        "create table low partition of things for values from (0) to (100)",
        "insert into things values (1, 'one')",
        "create table high (id int primary key, name text)",
        "insert into high values (101, 'older than the last run'), (102, 'this one too')",
    )
    in_memory.deselected = {("public-high",)}
    in_memory.run()
    assert is_equal(in_memory)
    in_memory.sql("alter table things attach partition high for values from (100) to (200)")
    in_memory.run()
    assert is_equal(in_memory)
    in_memory.sql("alter table things detach partition low")
    in_memory.run()
    assert is_equal(in_memory)


def test_another_cluster_behind_the_same_address_is_read_in_full(remembered: Pipeline) -> None:
    bookmark = remembered.state["bookmarks"]["public-things"]
    bookmark |= {"cluster": "another", "replication_key_value": 1}
    assert "ACTIVATE_VERSION" in kinds(remembered.run())
    bookmark = remembered.state["bookmarks"]["public-things"]
    bookmark["replication_key_value"] += 2**33
    remembered.sql("update things set name = 'after the restore' where id = 1")
    remembered.run()
    assert is_equal(remembered)


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


def test_by_a_column_what_is_at_or_past_the_last_value_is_read(in_memory: Pipeline) -> None:
    in_memory.sql(
        "create table things (id int primary key, at timestamptz not null)",
        "insert into things select g, '2020-01-01'::date + g from generate_series(1, 10) g",
        "insert into things values (11, 'infinity')",
    )
    in_memory.metadata["public-things"] = {"replication-key": "at"}
    in_memory.run()
    in_memory.sql("insert into things values (12, '2020-03-01')", "delete from things where id = 4")
    # The row at the last value, the infinite one, the new one.
    assert rows_received(in_memory) == 3
    assert ids(in_memory) == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    in_memory.metadata["public-things"]["detect-deletes"] = False
    in_memory.sql("delete from things where id = 5")
    assert "KEYS" not in kinds(in_memory.run())


def test_a_row_from_the_future_does_not_freeze_a_column_bookmark(
    in_memory: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    in_memory.sql(
        "create table things (id int primary key, at timestamp not null)",
        "insert into things values (1, '2020-01-01'), (2, '2999-01-01')",
    )
    in_memory.metadata["public-things"] = {"replication-key": "at", "detect-deletes": False}
    in_memory.run()
    assert "'at' is in the future in 1 rows (up to 2999-01-01 00:00:00)" in caplog.text
    bookmark = in_memory.state["bookmarks"]["public-things"]
    assert bookmark["replication_key_value"] == "2020-01-01 00:00:00"
    in_memory.sql("insert into things values (3, '2020-02-01')")
    in_memory.run()
    assert ids(in_memory) == [1, 2, 3]
    # An earlier version of the tap, or another extractor, has passed that row.
    bookmark = in_memory.state["bookmarks"]["public-things"]
    bookmark["replication_key_value"] = "2999-01-01 00:00:00"
    in_memory.sql("insert into things values (4, '2020-03-01')")
    in_memory.run()
    assert ids(in_memory) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("column", "values", "overlap"),
    [
        ("timestamptz", ["2020-01-10", "2020-01-09", "2020-01-01"], "2 days"),
        ("date", ["2020-01-10", "2020-01-09", "2020-01-01"], "1 day"),
        ("bigint", ["100", "95", "50"], "10"),
    ],
)
def test_rows_that_are_committed_late_are_read_within_an_overlap(
    in_memory: Pipeline, column: str, values: list[str], overlap: str
) -> None:
    greatest, late, too_late = values
    in_memory.sql(
        f"create table things (id int primary key, at {column} not null)",
        f"insert into things values (1, '{greatest}')",
    )
    in_memory.metadata["public-things"] = {
        "replication-key": "at",
        "replication-key-overlap": overlap,
        "detect-deletes": False,
    }
    in_memory.run()
    in_memory.sql(f"insert into things values (2, '{late}'), (3, '{too_late}')")
    in_memory.run()
    assert ids(in_memory) == [1, 2]


@pytest.mark.parametrize(("key", "overlap"), [("name", "1 day"), ("at", "some days")])
def test_an_overlap_that_does_not_go_with_its_column(
    in_memory: Pipeline, key: str, overlap: str
) -> None:
    in_memory.sql(
        "create table things (id int primary key, name text not null, at date not null)",
        "insert into things values (1, 'one', '2020-01-01')",
    )
    in_memory.metadata["public-things"] = {"replication-key": key}
    in_memory.run()
    in_memory.metadata["public-things"]["replication-key-overlap"] = overlap
    with pytest.raises(TapError, match=r"'public-things'.*replication-key-overlap"):
        in_memory.run()


def test_every_run_begins_with_the_state_that_it_was_given(in_memory: Pipeline) -> None:
    in_memory.sql("create table things (id int primary key)")
    first, *_ = in_memory.run()
    assert first == {"type": "STATE", "value": {"bookmarks": {}}}
    given = copy.deepcopy(in_memory.state)
    # The row count, by which a run tells that nothing was deleted, holds for one run only.
    del given["bookmarks"]["public-things"]["rows"]
    first, *_ = in_memory.run()
    assert first == {"type": "STATE", "value": given}


def test_moving_on_from_another_extractors_bookmark(in_memory: Pipeline) -> None:
    in_memory.sql(
        "create table things (id int primary key, at timestamptz not null)",
        "insert into things select g, '2020-01-01'::date + g from generate_series(1, 10) g",
    )
    at = {"replication_key": "at", "replication_key_value": "2020-01-06T00:00:00+00:00"}
    in_memory.state = {"bookmarks": {"public-things": at}}
    in_memory.metadata["public-things"] = {"replication-key": "at", "detect-deletes": False}
    in_memory.run()
    assert ids(in_memory) == [5, 6, 7, 8, 9, 10]
    in_memory.metadata.clear()
    in_memory.run()
    assert len(ids(in_memory)) == 10


def test_tables_and_views_that_are_read_in_full(in_memory: Pipeline) -> None:
    in_memory.sql(
        "create table base (id int, name text)",
        "insert into base select g from generate_series(1, 5) g",
        "create view things as select distinct id from base",
    )
    in_memory.metadata["public-things"] = {"table-key-properties": ["id"]}
    in_memory.run()
    in_memory.sql("delete from base where id = 2")
    in_memory.run()
    assert ids(in_memory) == [1, 3, 4, 5]
    assert sorted(row["id"] for row in in_memory.loaded("base")) == [1, 3, 4, 5]


def test_all_streams_are_read_at_one_moment(in_memory: Pipeline) -> None:
    """A row never arrives ahead of one that it refers to, however long the run takes."""
    tables = [f"t{number}" for number in range(6)]
    in_memory.sql(
        *(f"create table {table} (id int primary key)" for table in tables),
        # What is read first, so that rows are written before the tables are read.
        *(f"create view {view} as select 1 as id from pg_sleep(0.5)" for view in "ab"),
    )
    in_memory.settings["max_parallel_streams"] = 2
    has_begun, has_ended, number = threading.Event(), threading.Event(), 0

    def write() -> None:
        nonlocal number
        with in_memory.connect() as other:
            while not has_ended.is_set():
                values = ";".join(f"insert into {table} values ({number})" for table in tables)
                other.execute(f"begin; {values}; commit")
                number += 1
                has_begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        has_begun.wait(20)
        in_memory.run()
    finally:
        has_ended.set()
        writer.join()
    found = [{row["id"] for row in in_memory.loaded(table)} for table in tables]
    assert 0 < len(found[0]) < number
    assert all(rows == found[0] for rows in found)


def test_many_files_are_one_table(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.settings["batch_bytes"] = 2**20
    hint = StatementOptions.BATCH_SIZE_HINT_BYTES.value
    monkeypatch.setitem(database.BATCH_SIZE, hint, str(2**18))
    noise = "select string_agg(md5(n::text || ' ' || g), '') from generate_series(1, 30) n"
    pipeline.sql(
        THINGS,
        f"insert into things select g, 'a name', ({noise}) from generate_series(1, 4500) g",
    )
    messages = pipeline.run()
    assert kinds(messages).count("BATCH") > 1
    assert is_equal(pipeline)
    assert not list(pipeline.directory.glob("tap-postgres-arrow-*")), "files are left behind"


@pytest.mark.parametrize("seconds", [0.8, pytest.param(1.6, marks=pytest.mark.thorough)])
def test_a_killed_run_is_made_up_for_by_the_next(things: Pipeline, seconds: float) -> None:
    for number, victims in enumerate((["tap"], ["loader"], ["tap", "loader"]), start=1):
        things.sql(
            f"insert into things select {number}000 + g, 'more', md5(g::text) "
            "from generate_series(1, 999) g",
            f"delete from things where id = {number}",
        )
        tap = things.start_tap()
        loader = things.start_loader(stdin=tap.stdout)
        assert tap.stdout
        tap.stdout.close()
        time.sleep(seconds)
        for name, process in {"tap": tap, "loader": loader}.items():
            if name in victims:
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
    remembered: Pipeline,
) -> None:
    remembered.sql("insert into things values (11)")
    *messages, last = remembered.extract()
    assert last["type"] == "STATE"
    remembered.load("".join(line(message).decode() for message in messages))
    assert 11 in ids(remembered)
    remembered.sql("delete from things where id = 11")
    remembered.run()
    assert is_equal(remembered)


@pytest.mark.thorough  # The loader's own tests do it without a tap.
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
