"""What can't be read is a clear error: stream, cause and fix; exit 1, and no state for it."""

import datetime
import itertools
import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tap_postgres_arrow import database
from tap_postgres_arrow.database import StreamRef, explained, require_version
from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.tap import TapPostgresArrow

from .pipeline import Pipeline, Row

SLOW = """
create view slow as select g as id from generate_series(1, 9999) g where pg_sleep(0.01) is null
"""
READING_IT = "from pg_stat_activity where state = 'active' and query like 'COPY%slow%'"


def wait_until_it_reads(pipeline: Pipeline) -> None:
    while not pipeline.postgres.execute(f"select 1 {READING_IT}").fetchall():
        time.sleep(0.05)


def failure(pipeline: Pipeline) -> str:
    with pytest.raises(TapError) as caught:
        pipeline.extract()
    return str(caught.value)


def states(messages: list[Row]) -> list[set[str]]:
    """Which streams each STATE has a bookmark of."""
    return [set(m["value"]["bookmarks"]) for m in messages if m["type"] == "STATE"]


def bookmarks(output: bytes | str) -> dict[str, Any]:
    """The bookmarks of the last STATE that a tap has written."""
    *_, last = (m for m in map(json.loads, output.splitlines()) if m["type"] == "STATE")
    found: dict[str, Any] = last["value"]["bookmarks"]
    return found


def waits(pipeline: Pipeline) -> list[Path]:
    """What waits for a loader, or is left of a run."""
    return list(pipeline.directory.glob("tap-postgres-arrow-*"))


@pytest.mark.parametrize(
    ("grant", "denied"),
    [("select (id) on t", "permission denied for table t"), ("usage on schema public", "table t")],
)
def test_no_rights_on_a_table_or_a_column(pipeline: Pipeline, grant: str, denied: str) -> None:
    reader = f"reader_{pipeline.name}"
    pipeline.sql(
        "create table t (id int primary key, secret text)",
        f"create role {reader} login",
        f"grant {grant} to {reader}",
    )
    pipeline.settings["user"] = reader
    text = failure(pipeline)
    assert "Stream 'public-t': permission denied for table t" in text
    assert denied in text
    assert f'grant select on "public"."t" to {reader}' in text
    assert "select: ['*.*', '!public-t.*']" in text
    if grant.startswith("select"):
        pipeline.deselected = {("public-t", "secret")}
        assert pipeline.extract()


@pytest.mark.parametrize(
    ("definition", "rules", "problem"),
    [
        ("view t as select 1 as id", {}, "is a view: no xmin"),
        ("table t (id int)", {}, "no primary key and no unique index"),
        ("table t (id int primary key)", {"replication-key": "nope"}, "no column 'nope'"),
        (
            "table t (id int)",
            {"replication-method": "LOG_BASED"},
            "no replication method LOG_BASED",
        ),
        ("table t (id int)", {"table-key-properties": ["nope"]}, "key column 'nope' isn't in"),
    ],
)
def test_what_cannot_be_replicated_so(
    pipeline: Pipeline, definition: str, rules: dict[str, Any], problem: str
) -> None:
    pipeline.sql(f"create {definition}")
    by_xmin = {"replication-method": "INCREMENTAL", "replication-key": "xmin"}
    pipeline.metadata["public-t"] = by_xmin | rules
    text = failure(pipeline)
    assert "Stream 'public-t'" in text
    assert problem in text
    assert "`metadata`" in text


def test_partitions_on_another_server_are_not_read_by_xmin(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create extension postgres_fdw",
        "create server other foreign data wrapper postgres_fdw",
        "create table t (id int) partition by range (id)",
        "create foreign table t_1 partition of t for values from (1) to (9) server other",
    )
    pipeline.metadata["public-t"] = {
        "replication-method": "INCREMENTAL",
        "replication-key": "xmin",
        "table-key-properties": ["id"],
    }
    assert "partitions are on another server" in failure(pipeline)


def test_a_replication_key_with_nulls(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create table t (id int primary key, at timestamptz)",
        "insert into t values (1, now()), (2, null)",
    )
    pipeline.metadata["public-t"] = {"replication-key": "at"}
    assert "replication key 'at' is null in 1 rows" in failure(pipeline)


MISFITS = [
    ("numeric(12, 2)", "NaN", "a NUMERIC has"),
    ("numeric", "Infinity", "a BIGNUMERIC has"),
    ("numeric", "1e60", "a BIGNUMERIC has"),
    ("timestamptz", "20000-01-01", "years 0001 to 9999"),
    ("date", "0044-03-15 BC", "years 0001 to 9999"),
    ("time", "24:00", "a TIME ends at"),
    ("text[]", "{a,NULL}", "null element"),
    ("text[]", "{{a},{b}}", "more than one dimension"),
    ("timestamp[]", "{294276-12-31}", "years 0001 to 9999"),
    ("date[]", "{0044-03-15 BC}", "years 0001 to 9999"),
    ("numeric(12, 2)[]", "{NaN}", "a NUMERIC has"),
]


def test_a_value_that_does_not_fit_is_named_with_its_row_and_each_advice_works(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    for number, (column, value, _) in enumerate(MISFITS):
        pipeline.sql(
            f"create table t{number} (id int primary key, c {column})",
            f"insert into t{number} (id) select g from generate_series(1, 999) g",
            f"update t{number} set c = '{value}' where id in (77, 78)",
        )
    said = [failure(pipeline), *caplog.messages]
    for number, (column, value, holds) in enumerate(MISFITS):
        start = f"Stream 'public-t{number}', column 'c', row with id = 77: "
        (line,) = (line for line in said if line.startswith(start))
        assert holds in line, f"{column}: {value}"
    streams = {f"public-t{number}" for number in range(len(MISFITS))}
    for types in (["null", "string"], ["null", "object", "array"]):
        pipeline.schema = {stream: {"c": {"type": types}} for stream in streams}
        first, *_, last = states(pipeline.extract())
        assert (first, last) == (set(), streams)
    pipeline.schema.clear()
    pipeline.settings["invalid_values"] = "nullify"
    first, *_, last = states(pipeline.extract())
    assert (first, last) == (set(), streams)


def test_only_the_values_that_do_not_fit_are_nullified_and_the_log_says_so(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.settings["invalid_values"] = "nullify"
    pipeline.sql(
        "create table t (id int primary key, d date, ds date[])",
        "insert into t values (1, '20107-05-28', '{2024-01-31,20107-05-28}')",
        "insert into t values (2, '2024-01-31', '{infinity}')",
    )
    pipeline.run()
    day, last = datetime.date(2024, 1, 31), datetime.date.max
    assert sorted(pipeline.loaded("t"), key=lambda row: row["id"]) == [
        {"id": 1, "d": None, "ds": [day]},
        {"id": 2, "d": day, "ds": [last]},
    ]
    assert (
        "1 values of column 'd' don't fit its type and arrive as null. The first: row with "
        "id = 1" in caplog.text
    )
    pipeline.sql(
        "create table keyed (d date primary key)", "insert into keyed values ('20107-1-1')"
    )
    assert "column 'd', row with d = " in failure(pipeline)


def test_a_stream_that_has_failed_at_its_first_load_has_made_no_table(pipeline: Pipeline) -> None:
    """So that another type for the column isn't one more column."""
    pipeline.sql(
        "create table t (id int primary key, d date)",
        "insert into t values (1, '20107-05-28'), (2, '2024-01-31')",
    )
    with pytest.raises(TapError):
        pipeline.run()
    pipeline.schema["public-t"] = {"d": {"type": ["null", "string"]}}
    pipeline.run()
    assert pipeline.columns("t") == {"id": "INTEGER", "d": "STRING"}
    assert {row["d"] for row in pipeline.loaded("t")} == {"20107-05-28", "2024-01-31"}


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_stream_that_fails_has_no_state_and_the_others_are_read_all_the_same(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, at_once: int
) -> None:
    pipeline.settings["max_parallel_streams"] = at_once
    pipeline.sql(
        "create table a (id int primary key)",
        "create table b (id int primary key, n numeric)",
        "create view c as select 1 / (g - 1) as id from generate_series(1, 1) g",
        "create view d as select 1 as id from pg_sleep(0.5)",
        "insert into b values (1, 'NaN')",
    )
    said = f"{failure(pipeline)}\n{caplog.text}"
    assert bookmarks(pipeline.written.getvalue()).keys() == {"public-a", "public-d"}
    assert "Stream 'public-b', column 'n'" in said
    assert "Stream 'public-c', column 'id': division by zero" in said
    assert "Traceback" not in said


def test_a_statement_that_takes_too_long(pipeline: Pipeline) -> None:
    pipeline.settings["statement_timeout"] = "50ms"
    pipeline.sql("create view slow as select 1 as id from pg_sleep(5)")
    text = failure(pipeline)
    assert "Stream 'public-slow': canceling statement due to statement timeout" in text
    assert "Raise the extractor's `statement_timeout`" in text


def test_a_table_that_is_locked_is_not_waited_for(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database.SESSION, "lock_timeout", "50ms")
    pipeline.sql("create table t (id int primary key)")
    with pipeline.connect() as other, other.transaction():
        other.execute("lock table t")
        assert 'holds "public"."t" locked' in failure(pipeline)


def test_a_connection_that_is_lost_while_rows_are_read(pipeline: Pipeline) -> None:
    pipeline.sql(SLOW)
    tap = pipeline.start_tap()
    wait_until_it_reads(pipeline)
    pipeline.sql(f"select pg_terminate_backend(pid) {READING_IT}")
    output, log = tap.communicate(timeout=60)
    assert tap.returncode == 1
    assert bookmarks(output) == {}
    assert b"terminating connection due to administrator command. The connection was lost" in log
    assert b"Run again" in log
    assert b"Traceback" not in log


def test_a_tap_that_is_told_to_stop_stops(pipeline: Pipeline) -> None:
    pipeline.sql(SLOW)
    tap = pipeline.start_tap()
    wait_until_it_reads(pipeline)
    tap.terminate()
    output, log = tap.communicate(timeout=20)
    assert tap.returncode == 128 + signal.SIGTERM
    assert bookmarks(output) == {}
    assert b"Traceback" not in log
    assert not waits(pipeline)


def test_a_full_disk(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create table t (id int primary key, noise text)",
        "insert into t select g, gen_random_uuid() from generate_series(1, 100000) g",
    )
    tap = pipeline.start_tap(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    )
    output, log = tap.communicate(timeout=60)
    assert tap.returncode == 1
    assert bookmarks(output) == {}
    assert f"Stream 'public-t': can't write to {pipeline.directory}".encode() in log
    assert b"set TMPDIR to a larger disk" in log
    assert not waits(pipeline)


def test_a_loader_that_has_ended_is_no_reason_to_go_on(pipeline: Pipeline) -> None:
    pipeline.sql("create table t (id int primary key)", "insert into t values (1)")
    tap = pipeline.start_tap()
    assert tap.stdout
    tap.stdout.close()
    assert tap.wait(timeout=60) == 1
    assert not waits(pipeline)


def test_a_server_that_cannot_be_reached_and_a_password_that_is_wrong(pipeline: Pipeline) -> None:
    pipeline.settings |= {"port": 1, "password": "not-to-be-shown"}
    with pytest.raises(
        TapError, match=r"Can't connect to Postgres: nothing listens there .*refused.*`port`"
    ) as caught:
        TapPostgresArrow(config=pipeline.config).connection.close()
    assert "not-to-be-shown" not in str(caught.value)


@pytest.mark.parametrize("change", ["truncate t", "alter table t alter id type bigint"])
def test_a_table_that_is_rewritten_after_the_snapshot_does_not_count_as_empty(
    pipeline: Pipeline, change: str
) -> None:
    pipeline.sql("create table t (id int primary key)", "insert into t values (1)")
    with TapPostgresArrow(config=pipeline.config, catalog=pipeline.catalog()) as tap:
        assert tap.streams
        pipeline.sql(change)
        with pytest.raises(TapError, match=r"'public-t'.*truncated or rewritten.*Run again"):
            tap.run()


def test_an_old_server() -> None:
    with pytest.raises(TapError, match="version 12; the tap needs 13"):
        require_version(120_018)


def test_a_pool_that_lends_a_server_for_one_statement_only() -> None:
    # As PgBouncer puts it, under `pool_mode = statement`.
    error = RuntimeError("FATAL: transaction blocks not allowed in statement pooling mode")
    text = str(explained(error, StreamRef("public-t", '"public"."t"'), "reader"))
    assert "pool_mode` is `transaction` or `session`" in text


@pytest.mark.parametrize("option", ["config", "state", "catalog"])
@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b'{"password": hunter2', "is no JSON: Expecting value: line 1 column 14 (char 13)."),
        (b'["hunter2"]', "is none: it holds no object."),
        (b'{"password": "hunter2\xff"}', "is no JSON: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_file_of_an_option_that_cannot_be_read(
    tmp_path: Path, option: str, text: bytes, error: str
) -> None:
    arguments, bad = with_a_bad_file(tmp_path, option, text)
    with pytest.raises(TapError) as caught:
        TapPostgresArrow.cli.main(arguments, standalone_mode=False)
    assert f"The file of `--{option}`, {bad}, {error}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_error_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    arguments, bad = with_a_bad_file(tmp_path, "config", b'["hunter2"]')
    tap = Path(sys.executable).with_name("tap-postgres-arrow")
    done = subprocess.run([tap, *arguments], capture_output=True, text=True, check=False)
    (line,) = (line for line in done.stderr.splitlines() if "INFO" not in line)
    assert done.returncode == 1
    assert f"The file of `--config`, {bad}, is none" in line
    assert "hunter2" not in done.stderr


def with_a_bad_file(folder: Path, option: str, text: bytes) -> tuple[list[str], Path]:
    """Arguments of the tap, of which the file of one option is bad; and that file."""
    bad, good = folder / "bad.json", folder / "good.json"
    bad.write_bytes(text)
    good.write_text("{}")
    arguments = {"--config": good} | {f"--{option}": bad}
    return list(map(str, itertools.chain(*arguments.items()))), bad
