"""The BigQuery emulator: what it finds, what it lets nobody do, and what a kill leaves of it."""

import contextlib
import http.client
import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

import grpc
import pyarrow as pa
import pyarrow.parquet
import pytest
from google.api_core.exceptions import (
    BadRequest,
    GoogleAPICallError,
    NotFound,
    PermissionDenied,
)
from google.cloud import bigquery, bigquery_storage
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
    BigQueryReadGrpcTransport,
)
from google.cloud.bigquery_storage_v1.types import DataFormat, ReadSession
from local_servers.emulator import PROJECT, Emulator, running_emulator


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("a folder")) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> bigquery.Client:
    client = emulator.client()
    client.create_dataset("notes")
    return client


def test_tables_views_and_what_they_hold_are_found(client: bigquery.Client) -> None:
    client.create_dataset("found")
    description = "It's a name, or two: a, b"
    client.query_and_wait(
        "create table found.t "
        f'(id int64 not null, name string options (description = "{description}"))'
    )
    client.query_and_wait("insert into found.t values (1, 'a'), (2, 'b')")
    client.query_and_wait("create view found.v as select id from found.t where id > 1")
    listed = {table.table_id: table.table_type for table in client.list_tables("found")}
    assert listed == {"t": "TABLE", "v": "VIEW"}
    table = client.get_table("found.t")
    assert table.num_rows == 2
    assert [column.mode for column in table.schema] == ["REQUIRED", "NULLABLE"]
    assert [row.id for row in client.query_and_wait("select id from found.v")] == [2]

    columns = client.query_and_wait(
        "select c.table_name, c.ordinal_position, p.field_path, p.data_type, c.is_nullable, "
        "p.description from found.INFORMATION_SCHEMA.COLUMNS as c "
        "join found.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS as p using (table_name, column_name) "
        "order by 1, 2"
    )
    assert [tuple(row.values()) for row in columns] == [
        ("t", 1, "id", "INT64", "NO", None),
        ("t", 2, "name", "STRING", "YES", description),
        ("v", 1, "id", "INT64", "YES", None),
    ]
    views = "select table_name, view_definition from found.INFORMATION_SCHEMA.VIEWS"
    assert [row.table_name for row in client.query_and_wait(views)] == ["v"]
    client.query_and_wait("drop view found.v")
    assert list(client.query_and_wait(views)) == []
    for name in ("found.v", "found.never", "nowhere.t"):
        with pytest.raises(NotFound):
            client.get_table(name)
    client.delete_dataset("found", delete_contents=True)
    assert "found" not in {dataset.dataset_id for dataset in client.list_datasets()}


def test_tables_and_datasets_can_be_replaced_and_dropped_while_jobs_write_to_them(
    emulator: Emulator, client: bigquery.Client
) -> None:
    done = threading.Event()

    def write() -> None:
        writer = emulator.client()
        while not done.is_set():
            with contextlib.suppress(GoogleAPICallError):
                writer.load_table_from_json([{"id": 1}], "local.busy.t").result()

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write) for _ in range(2)]
        try:
            for _ in range(8):
                client.create_dataset("busy")
                client.query_and_wait("create or replace table busy.t as select 1 as id")
                client.query_and_wait("alter table busy.t add column name string")
                client.query_and_wait("truncate table busy.t")
                client.query_and_wait("drop table busy.t")
                client.delete_dataset("busy", delete_contents=True)
        finally:
            done.set()
    for writer in writers:
        writer.result()


@pytest.mark.parametrize(
    "statement",
    [
        "insert into changing.t values (2)",
        "update changing.t set id = 2 where true",
        "delete from changing.t where true",
        "truncate table changing.t",
        "merge changing.t using (select 2 as id) as s on false when not matched then insert row",
        "alter table changing.t add column if not exists name string",
        "create or replace table changing.t as select 1 as id",
        "begin transaction; insert into changing.t values (2); commit transaction",
    ],
)
def test_a_table_says_when_its_rows_or_columns_changed(
    client: bigquery.Client, statement: str
) -> None:
    client.create_dataset("changing", exists_ok=True)
    client.query_and_wait("create or replace table changing.t as select 1 as id")
    before = client.get_table("changing.t").modified
    time.sleep(0.002)
    client.query_and_wait("select * from changing.t")
    assert client.get_table("changing.t").modified == before
    client.query_and_wait(statement)
    assert client.get_table("changing.t").modified > before


def test_a_change_that_is_rolled_back_is_none_and_a_table_keeps_its_time_when_renamed(
    client: bigquery.Client,
) -> None:
    client.query_and_wait("create table notes.old as select 1 as id")
    before = client.get_table("notes.old").modified
    time.sleep(0.002)
    client.query_and_wait(
        "begin transaction; insert into notes.old values (2); rollback transaction"
    )
    assert client.get_table("notes.old").modified == before
    client.query_and_wait("insert into notes.old values (2)")
    changed = client.get_table("notes.old").modified
    with pytest.raises(NotFound):
        client.get_table("notes.renamed")
    client.query_and_wait("alter table notes.old rename to renamed")
    assert client.get_table("notes.renamed").modified >= changed
    with pytest.raises(NotFound):
        client.get_table("notes.old")


def test_a_table_keeps_its_time_and_a_file_that_was_half_made_is_made_again_at_the_next_start(
    tmp_path: Path,
) -> None:
    projects = tmp_path / "data" / "projects"
    projects.mkdir(parents=True)
    (projects / f"{PROJECT}.new").write_bytes(b"half a file")
    with running_emulator(tmp_path) as emulator:
        client = emulator.client()
        client.create_dataset("kept")
        for sql in ("create table kept.t as select 1 as id", "insert into kept.t values (2)"):
            client.query_and_wait(sql)
        before = client.get_table("kept.t").modified
    for _ in range(2):
        with running_emulator(tmp_path) as emulator:
            assert emulator.client().get_table("kept.t").modified == before


AGAIN = "select *, (select count(*) from again.v) as seen from again.t"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("insert into again.t values (2, date '2026-01-02')", [(1, 2), (2, 2)]),
        ("delete from again.t where true", []),
        ("alter table again.t add column name string", [(1, None, 1)]),
        ("create or replace table again.t as select '1' as id, current_date as day", [("1", 1)]),
        (
            "drop table again.t; create table again.t as select 1.5 as id, current_date as day",
            [(1.5, 1)],
        ),
        ("create or replace view again.v as select id from again.t where false", [(1, 0)]),
        ("drop table again.t", NotFound),
        ("drop view again.v", NotFound),
        ("drop schema again cascade", NotFound),
        ("alter table again.t set options (require_partition_filter = true)", BadRequest),
        (
            "create row access policy p on again.t grant to ('allUsers') filter using (id > 1)",
            [],
        ),
    ],
)
def test_a_query_that_comes_again_sees_what_was_changed_meanwhile(
    client: bigquery.Client, change: str, expected: list[tuple[object, ...]] | type[Exception]
) -> None:
    client.delete_dataset("again", delete_contents=True, not_found_ok=True)
    client.create_dataset("again")
    client.query_and_wait("create table again.t (id int64, day date) partition by day")
    client.query_and_wait("insert into again.t values (1, date '2026-01-01')")
    client.query_and_wait("create view again.v as select id from again.t where day is not null")
    for _ in range(2):
        assert rows_of(client, AGAIN) == [(1, 1)]
        assert client.get_table("again.v").schema[0].field_type == "INTEGER"
    client.query_and_wait(change)
    for _ in range(2):
        if isinstance(expected, list):
            assert rows_of(client, AGAIN) == expected
        else:
            with pytest.raises(expected):
                client.query_and_wait(AGAIN)


def rows_of(client: bigquery.Client, query: str) -> list[tuple[object, ...]]:
    """The rows of a query, in order, without days."""
    rows = client.query_and_wait(query)
    return sorted(tuple(v for k, v in row.items() if k != "day") for row in rows)


def test_the_columns_of_a_view_are_those_of_the_table_that_it_reads(tmp_path: Path) -> None:
    for kind, value in (("INTEGER", "1"), ("STRING", "'1'"), ("NUMERIC", "numeric '1.5'")):
        with running_emulator(tmp_path) as emulator:
            client = emulator.client()
            client.create_dataset("notes", exists_ok=True)
            for value_then in ("current_date", value):
                client.query_and_wait(
                    f"create or replace table notes.read as select {value_then} as id"
                )
                client.query_and_wait(
                    "create view if not exists notes.v as select id from notes.read"
                )
                client.query_and_wait(
                    "create view if not exists notes.all as select id from notes.v"
                )
                shown = client.get_table("notes.all").schema
            assert [column.field_type for column in shown] == [kind]


NAMES = [f"{dataset}.{table}" for dataset in ("one", "two") for table in ("t", "u", "v")]
VALUES = ("1", "'x'", "1.5", "numeric '2.5'", "date '2026-01-02'", "[1, 2]")
CHANGES = (
    "create or replace table {name} as select {value} as x, {other} as y",
    "create table if not exists {name} (x int64 not null)",
    "create or replace view {name} as select x from {another}",
    "create or replace view {name} as select x from {another}",
    "drop table if exists {name}",
    "drop view if exists {name}",
    "alter table {name} add column z string",
    "alter table {name} drop column y",
    "alter table {name} rename to w",
    "alter table {name} set options (description = {other})",
    "insert into {name} (x) values ({value})",
    "delete from {name} where true",
)
QUESTIONS = ("select * from {name}", "select x + 1 as y from {name}", "select avg(x) from {name}")


def asked(ask: Callable[..., object], *arguments: object) -> object:
    """What is answered, or the kind of the error."""
    try:
        return ask(*arguments)
    except GoogleAPICallError as error:
        return type(error)


def schema_of(client: bigquery.Client, name: str) -> object:
    """The columns of a table."""
    return client.get_table(name).schema


def answers(client: bigquery.Client) -> dict[str, object]:
    """What is answered about each table."""
    queries = [question.format(name=name) for question in QUESTIONS for name in NAMES]
    return {query: asked(rows_of, client, query) for query in queries} | {
        name: asked(schema_of, client, name) for name in NAMES
    }


@pytest.mark.thorough
def test_whatever_runs_at_once_answers_are_those_of_a_new_start(tmp_path: Path) -> None:
    chance = Random(2007)

    def statement() -> str:
        (name, another), (value, other) = chance.sample(NAMES, 2), chance.sample(VALUES, 2)
        text = chance.choice(CHANGES if chance.random() < 0.6 else QUESTIONS)
        return text.format(name=name, another=another, value=value, other=other)

    before: dict[str, object] = {}
    for _ in range(5):
        with running_emulator(tmp_path) as emulator:
            client = emulator.client()
            for dataset in ("one", "two"):
                client.create_dataset(dataset, exists_ok=True)
            assert not before or answers(client) == before
            with ThreadPoolExecutor(4) as pool:
                texts = [statement() for _ in range(100)]
                list(pool.map(partial(asked, client.query_and_wait), texts))
            before = answers(client)
            assert answers(client) == before
            assert any(isinstance(answer, list) for answer in before.values())


def test_a_job_that_runs_is_listed_and_can_be_cancelled(client: bigquery.Client) -> None:
    numbers = "unnest(generate_array(1, 10000))"
    job = client.query(f"select count(*) from {numbers} as a, {numbers} as b, {numbers} as c")
    assert job.job_id in {one.job_id for one in client.list_jobs(state_filter="running")}
    job.cancel()
    with pytest.raises(GoogleAPICallError, match="cancel"):
        job.result()
    assert job.job_id not in {one.job_id for one in client.list_jobs(state_filter="running")}
    assert job.job_id in {one.job_id for one in client.list_jobs(state_filter="done")}


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("(x int64)", "1"),
        ("(x any type)", "1"),
        ("(x int64, y array<int64>) returns int64", "1, [2]"),
    ],
)
def test_a_function_has_typed_parameters(
    client: bigquery.Client, signature: str, arguments: str
) -> None:
    client.create_dataset("functions", exists_ok=True)
    client.query_and_wait(f"create or replace function functions.f{signature} as (x + 1)")
    (row,) = client.query_and_wait(f"select functions.f({arguments}) as found")
    assert row["found"] == 2


@pytest.mark.parametrize("name", ["cases.T", "Cases.t"])
def test_a_table_is_found_by_its_name_in_its_case_only(client: bigquery.Client, name: str) -> None:
    client.create_dataset("cases", exists_ok=True)
    client.query_and_wait("create or replace table cases.t as select 1 as id")
    assert client.get_table("cases.t").num_rows == 1
    with pytest.raises(NotFound):
        client.get_table(name)
    with pytest.raises(NotFound):
        client.query_and_wait(f"select * from `{name}`")


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("insert into scratch values (2)", [1, 2]),
        ("update scratch set id = 3 where true", [3]),
        ("delete from scratch where id = 1", []),
        (
            "merge scratch using (select 1 as id) as s on false when not matched then insert row",
            [1, 1],
        ),
        ("create or replace temp table scratch as select 2 as id", [2]),
    ],
)
def test_a_temporary_table_of_a_script_is_in_no_dataset(
    client: bigquery.Client, statement: str, rows: list[int]
) -> None:
    found = client.query_and_wait(
        f"create temp table scratch (id int64); insert into scratch values (1); {statement}; "
        "select id from scratch order by id"
    )
    assert [row["id"] for row in found] == rows


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that is none of the emulator's."""
    file = tmp_path / "outside.csv"
    file.write_text("secret\n")
    return file


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_text('{file}')",
        "select * from read_csv('{file}')",
        "select * from read_blob('{data}/../../../../../../../../{file}')",
        "select * from glob('{file}')",
        "select * from '{file}'",
        "create table notes.copy as select * from read_csv('{file}')",
        "copy (select 1) to '{file}'",
        "copy notes.copy from '{file}'",
        "export data options(uri='{file}', format='csv', overwrite=true) as select 1 as one",
        "export data options(uri='gs://../../../{file}', format='csv') as select 1 as one",
        "export database '{file}.database'",
        "attach '{file}.duckdb' as other",
        "create schema `..`.`{file}`",
        "create schema `x' as y (data_path ''); copy (select 1) to '{file}'; --`.z",
        "install httpfs",
        "load httpfs",
        "select * from read_csv('http://127.0.0.1:1/x.csv')",
        "set enable_external_access = true",
        "set global allowed_directories = ['/']",
        "set lock_configuration = false",
        "set log_query_path = '{file}'",
    ],
)
def test_a_query_reaches_no_file_outside_and_no_network(
    emulator: Emulator, client: bigquery.Client, outside: Path, statement: str
) -> None:
    sql = statement.format(file=outside, data=emulator.directory / "data")
    with pytest.raises(GoogleAPICallError) as refused:
        client.query_and_wait(sql, job_retry=None)
    assert "secret" not in str(refused.value)
    assert outside.read_text() == "secret\n"
    assert list(outside.parent.iterdir()) == [outside]


@pytest.mark.parametrize("uri", ["{file}", "file://{file}", "gs://../../../../../../../{file}"])
def test_load_and_extract_jobs_reach_no_file_outside(
    client: bigquery.Client, outside: Path, uri: str
) -> None:
    client.query_and_wait("create or replace table notes.extracted as select 1 as one")
    uri = uri.format(file=outside)
    for start in (
        lambda: client.load_table_from_uri(uri, "notes.loaded"),
        lambda: client.extract_table("local.notes.extracted", uri),
    ):
        with pytest.raises(GoogleAPICallError):
            start().result()
    assert outside.read_text() == "secret\n"


def test_its_clients_load_query_and_read_as_before(
    emulator: Emulator, client: bigquery.Client
) -> None:
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"id": list(range(1_000))}), parquet)
    table = f"{PROJECT}.notes.numbers"
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    # Resumable in chunks, and in one request.
    client.load_table_from_file(parquet, table, rewind=True, job_config=config).result()
    client.load_table_from_json([{"id": 1_000}], table).result()
    client.query_and_wait(
        f"merge `{table}` as t using (select 1000 as id) as s on t.id = s.id "
        "when matched then delete"
    )
    storage = bigquery_storage.BigQueryReadClient(
        transport=BigQueryReadGrpcTransport(
            channel=grpc.insecure_channel(f"127.0.0.1:{emulator.grpc_port}")
        )
    )
    rows = client.query_and_wait(f"select sum(id) as sum from `{table}`")
    assert [row["sum"] for row in rows] == [499_500]
    assert client.list_rows(table).to_arrow(bqstorage_client=storage).num_rows == 1_000
    # A project is a file of its own, made when it is first named.
    client.query_and_wait("create schema other.notes")
    client.query_and_wait("create table other.notes.numbers as select 1 as one")
    # Uploads are gone once they are loaded.
    assert list((emulator.directory / "data" / "uploads").iterdir()) == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_requests_to_another_name_are_refused(emulator: Emulator, host: str) -> None:
    assert status(emulator, f"127.0.0.1:{emulator.port}") == 200
    assert status(emulator, "localhost") == 200
    assert status(emulator, host) == 400


def status(emulator: Emulator, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=30)
    connection.request("GET", f"/bigquery/v2/projects/{PROJECT}/datasets", headers={"Host": host})
    return connection.getresponse().status


def test_calls_of_grpc_to_another_name_are_refused(
    emulator: Emulator, client: bigquery.Client
) -> None:
    client.query_and_wait("create or replace table notes.called as select 1 as one")
    session = ReadSession(
        table=f"projects/{PROJECT}/datasets/notes/tables/called", data_format=DataFormat.ARROW
    )

    def call(authority: str | None) -> ReadSession:
        options = [("grpc.default_authority", authority)] if authority else []
        channel = grpc.insecure_channel(f"127.0.0.1:{emulator.grpc_port}", options)
        reader = bigquery_storage.BigQueryReadClient(
            transport=BigQueryReadGrpcTransport(channel=channel)
        )
        return reader.create_read_session(
            parent=f"projects/{PROJECT}", read_session=session, max_stream_count=1
        )

    assert len(call(None).streams) == 1
    with pytest.raises(PermissionDenied):
        call("evil.example")


def test_jobs_that_ran_when_it_was_killed_have_failed_when_it_starts_again(tmp_path: Path) -> None:
    with running_emulator(tmp_path) as emulator:
        client = emulator.client()
        client.query_and_wait("create schema notes")
        client.query_and_wait("create table notes.done as select 1 as one")
        client.query_and_wait("create view notes.seen as select one from notes.done")
        client.query_and_wait("create schema other.notes")
        client.query_and_wait("create table other.notes.done as select 2 as one")
        client.query_and_wait("insert into notes.done values (3)")
        changed = client.get_table("notes.done").modified
        endless = client.query(
            "create table notes.endless as select count(*) as n from "
            "unnest(generate_array(1, 1000000)) as a, unnest(generate_array(1, 1000000)) as b"
        )
        assert client.get_job(endless.job_id).state == "RUNNING"
        upload = emulator.directory / "data" / "uploads" / "half"
        upload.parent.mkdir(exist_ok=True)
        upload.write_text("half")
        emulator.stop()

        emulator.start()
        with pytest.raises(GoogleAPICallError, match="the emulator was killed"):
            client.get_job(endless.job_id).result(timeout=30)
        assert not upload.exists()
        states = {job.job_id: (job.state, job.error_result) for job in client.list_jobs()}
        assert sum(error is not None for _, error in states.values()) == 1
        assert {state for state, _ in states.values()} == {"DONE"}
        union = "select one from notes.seen union all select one from other.notes.done order by one"
        assert [row["one"] for row in client.query_and_wait(union)] == [1, 2, 3]
        assert client.get_table("notes.done").modified == changed


def test_data_of_an_older_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "local.ducklake").touch()
    with pytest.raises(RuntimeError, match="`meltano invoke sandbox reset` removes it"):
        Emulator(tmp_path).start()
