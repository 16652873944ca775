"""The BigQuery emulator: local-bigquery on loopback, with DuckDB's extensions from their wheels.

Run as `python -m local_servers.bigquery`. Everything that local-bigquery 0.3.2 lacks is added here.
"""

import contextlib
import functools
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import duckdb
from fastapi.middleware.trustedhost import TrustedHostMiddleware

from local_servers.bigquery_memory import ANY_DEFINITION, CATALOG, remember_answers
from local_servers.loopback import HOST, HOST_NAMES

EXTENSIONS = ("ducklake", "icu", "spatial")
"""Of DuckLake, local-bigquery sets options at start; no table is in one here."""
LEFT_BEHIND = ("uploads", "tmp")
"""What only a running emulator uses, in its data folder: uploaded files, what DuckDB spills."""

ATTEMPTS = 50
"""How often a statement is tried that can't be committed because of another one."""


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--grpc-port", type=int, required=True)
@click.option("--project", required=True)
@click.option("--directory", type=click.Path(path_type=Path), required=True)
def main(port: int, grpc_port: int, project: str, directory: Path) -> None:
    """Serve the emulator until it is stopped; its data stays in DIRECTORY."""
    data = directory.absolute() / "data"
    if any(data.glob("*.ducklake")):
        message = f"An older version made {data}: `meltano invoke sandbox reset` removes it."
        raise click.ClickException(message)
    offer_extensions(directory.absolute())
    confine(data)
    refuse_foreign_hosts()
    name_ctas_destination()
    remember_answers()
    bind_results_once()
    show_the_catalog_as_text()
    read_values_as_bigquery()
    let_json_be_assigned()
    change_tables_one_at_a_time()
    say_when_rows_changed()
    for name in LEFT_BEHIND:
        shutil.rmtree(data / name, ignore_errors=True)

    from local_bigquery import cli
    from local_bigquery.settings import settings

    settings.data_dir, settings.default_project_id = data, project
    fail_unfinished_jobs()
    cli.main(
        [
            *("--host", HOST, "--port", str(port), "--grpc-port", str(grpc_port)),
            *("--project", project, "--data-dir", str(data)),
        ]
    )


def offer_extensions(directory: Path) -> None:
    """Put the extension wheels where DuckDB looks, so that it downloads nothing.

    DuckDB looks under the home directory, and local-bigquery opens connections of its own without
    a setting for another place: this process gets a home inside DIRECTORY.
    """
    home = directory / "home"
    platform = duckdb.execute("pragma platform").fetchall()[0][0]
    version = f"v{duckdb.__version__}"
    folder = home / ".duckdb" / "extensions" / version / platform
    folder.mkdir(parents=True, exist_ok=True)
    for extension in EXTENSIONS:
        file = f"{extension}.duckdb_extension"
        wheel = files(f"duckdb_extension_{extension}") / "extensions" / version / file
        link = folder / file
        link.unlink(missing_ok=True)
        link.symlink_to(str(wheel))
    os.environ["HOME"] = str(home)


def confine(data: Path) -> None:
    """Let queries and jobs reach files in the folder DATA only, and nothing on the network.

    local-bigquery 0.3.2 hands `read_text`, COPY, ATTACH and INSTALL to DuckDB, and the paths of
    load and extract jobs to the file system: whoever reaches its port would have this user's files.
    DuckDB's settings: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview.
    """
    from local_bigquery.app import PROJECT_ID
    from local_bigquery.engine import database
    from local_bigquery.errors import BigQueryError
    from local_bigquery.jobs import storage

    connect, local = database._connect, storage._local
    projects = data / "projects"

    @functools.cache
    def connect_confined() -> Connection:
        projects.mkdir(parents=True, exist_ok=True)
        connection: duckdb.DuckDBPyConnection = connect()
        for file in projects.glob("*.duckdb"):
            attach_project(connection, file.stem)
        read_changes(connection)
        views = connection.execute("select sql from duckdb_views() where not internal")
        for (view,) in views.fetchall():
            CATALOG.note_view(view)
        # Extensions can't be loaded any more afterwards.
        for extension in EXTENSIONS:
            connection.load_extension(extension)
        folders = ", ".join(storage.literal(f"{data / name}/") for name in ("", "tmp"))
        connection.execute(
            "set threads = 1;"
            f"set temp_directory = {storage.literal(str(data / 'tmp'))};"
            f"set allowed_directories = [{folders}];"
            "set enable_external_access = false;"
            "set lock_configuration = true"
        )
        return Connection(connection)

    def attach_project(connection: duckdb.DuckDBPyConnection, project: str) -> None:
        # A project's name becomes a path and part of a statement.
        if not PROJECT_ID.match(project):
            raise BigQueryError("invalid", f"Invalid project ID: {project}")
        file = projects / f"{project}.duckdb"
        if not file.exists():
            make_file(file)
        path, name = storage.literal(str(file)), database.quote(project)
        connection.execute(f"attach if not exists {path} as {name}")
        database._attached.add(project)

    def make_file(file: Path) -> None:
        # Made beside its place: DuckDB refuses a file that a kill has left half made.
        draft = file.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with duckdb.connect() as scratch:
            # Functions with types of their parameters need more than the oldest format.
            options = "(storage_version 'v1.4.0')"
            scratch.execute(f"attach {storage.literal(str(draft))} as draft {options}")
            scratch.execute("detach draft")
        draft.rename(file)

    def local_path(uri: str) -> str:
        path: str = local(uri)
        if not Path(path).resolve().is_relative_to(data.resolve()):
            raise BigQueryError("accessDenied", f"Access Denied: File {uri} is not in {data}")
        return path

    database._connect, database._attach = connect_confined, attach_project
    database.projects = lambda: sorted(database._attached)
    storage._local = local_path


class Connection:
    """DuckDB's connection or cursor, with what local-bigquery 0.3.2 lacks.

    - A statement that can't be committed because of another one is repeated. DuckDB fails, for
      example, when a table is dropped that a job writes to; on BigQuery the table is dropped, and
      the job fails.
    - When a table's rows or columns change is noted, and the catalog forgets how it was.
    - Temporary tables are found without the statistics of all others, which DuckDB reads along.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Take a connection or a cursor."""
        self._connection = connection
        self._has_rows = self._is_in_transaction = False
        self._changed: set[str] = set()
        self._definitions: list[str] = []
        self._bound: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """Do as DuckDB's own does."""
        return getattr(self._connection, name)

    def cursor(self) -> "Connection":
        """Open a cursor."""
        return Connection(self._connection.cursor())

    def register(self, name: str, rows: object) -> None:
        """Offer ROWS as a view. They can be read once only."""
        self._has_rows = True
        self._connection.register(name, rows)

    def unregister(self, name: str) -> None:
        """Take the view away."""
        self._connection.unregister(name)
        self._has_rows = False

    def execute(self, sql: str, *arguments: Any) -> duckdb.DuckDBPyConnection:
        """Run SQL. Outside a transaction of several statements nothing has happened if it fails."""
        verb = sql.split(maxsplit=1)[0].upper()
        if verb == "BEGIN":
            self._is_in_transaction = True
        can_repeat = not self._is_in_transaction and not self._has_rows
        if verb in ("COMMIT", "ROLLBACK"):
            self._is_in_transaction = False
        if verb == "ROLLBACK":
            self._changed.clear()
            self._definitions.clear()
        result = self._execute(sql, *arguments, attempts=ATTEMPTS if can_repeat else 1)
        self._changed |= changed_tables(sql)
        if ANY_DEFINITION.match(sql):
            self._definitions.append(sql)
        if self._is_in_transaction:
            return result
        for definition in self._definitions:
            CATALOG.redefined(definition)
        self._definitions.clear()
        if self._changed:
            with self._connection.cursor() as cursor:
                note_changes(cursor, self._changed)
            self._changed.clear()
        return result

    def _execute(self, sql: str, *arguments: Any, attempts: int) -> duckdb.DuckDBPyConnection:
        for _ in range(attempts):
            try:
                return self._connection.execute(sql, *arguments)
            except duckdb.TransactionException as error:
                failure = error
                time.sleep(0.02)
        raise failure

    def sql(self, sql: str, *arguments: Any, **options: Any) -> Any:
        """Query."""
        if sql == "SELECT table_name FROM duckdb_tables() WHERE temporary":
            sql = "select distinct table_name from duckdb_columns() where database_name = 'temp'"
        if sql not in self._bound:
            return self._connection.sql(sql, *arguments, **options)
        if self._bound[sql] is None:
            self._bound[sql] = self._connection.sql(sql, *arguments, **options)
        return self._bound[sql]

    @contextlib.contextmanager
    def binding_once(self, sql: str) -> Iterator[None]:
        """Look up what a query names only once. Nobody fetches rows of it meanwhile."""
        self._bound[sql] = None
        try:
            yield
        finally:
            del self._bound[sql]


def refuse_foreign_hosts() -> None:
    """Refuse requests that were sent to another name than this machine's own.

    A web page whose name is made to lead to 127.0.0.1 (DNS rebinding) sends its own name.
    """
    from local_bigquery.app import app
    from local_bigquery.errors import BigQueryError
    from local_bigquery.grpc import server

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*HOST_NAMES])
    called = server._caller

    @contextlib.contextmanager
    def called_by_name(context: Any) -> Iterator[None]:
        # gRPC's Python has the name that was called in a private place only. (No page can get
        # this far: browsers don't speak HTTP/2 without TLS.)
        host = context._rpc_event.call_details.host.decode(errors="replace")
        if host.rpartition(":")[0] not in HOST_NAMES:
            raise BigQueryError("accessDenied", f"Access Denied: Host {host}")
        with called(context):
            yield

    server._caller = called_by_name


def fail_unfinished_jobs() -> None:
    """Fail the jobs that ran when the emulator was killed, which their clients wait for.

    local-bigquery 0.3.2 leaves them RUNNING for ever. They fail as a job that was cancelled does,
    which clients don't repeat by themselves: what a job had done by then is not known.
    """
    from local_bigquery.engine import database
    from local_bigquery.errors import BigQueryError
    from local_bigquery.jobs import runner, store
    from local_bigquery.models import Job, JobStatistics

    error = BigQueryError("stopped", "Job execution was stopped: the emulator was killed")
    for (resource,) in database.fetch("select resource from emulator.jobs where state <> 'DONE'"):
        job = Job.model_validate_json(resource)
        kind = str(job.configuration.jobType).lower()
        store.save(runner._done(job, JobStatistics.model_validate({kind: {}}), error))


def bind_results_once() -> None:
    """Let DuckDB find out once, instead of twice, which columns a query has before it runs it."""
    from local_bigquery.catalog import tables

    write = tables.write

    @functools.wraps(write)
    def write_binding_once(cursor: Connection, query: str, *arguments: Any, **options: Any) -> Any:
        with cursor.binding_once(query):
            return write(cursor, query, *arguments, **options)

    tables.write = write_binding_once


def name_ctas_destination() -> None:
    """Make a CREATE TABLE AS SELECT job name its table as `destinationTable`, as BigQuery does.

    local-bigquery 0.3.2 leaves it out, and dbt-bigquery reads it after every table that it builds.
    """
    from local_bigquery.jobs import query

    execute = query.execute

    @functools.wraps(execute)
    def execute_naming_destination(*arguments: Any, **options: Any) -> Any:
        statistics, children, destination = execute(*arguments, **options)
        if destination is None and statistics.statementType == "CREATE_TABLE_AS_SELECT":
            destination = statistics.ddlTargetTable
        return statistics, children, destination

    query.execute = execute_naming_destination


def show_the_catalog_as_text() -> None:
    """Give DuckDB the rows of a view of INFORMATION_SCHEMA as one text.

    local-bigquery 0.3.2 makes an expression of each value, and each rule visits all of them.
    """
    from local_bigquery.jobs.storage import literal
    from local_bigquery.sql.rules import information_schema
    from sqlglot import exp

    values = information_schema._values

    def written(value: Any) -> str:
        if isinstance(value, str):
            return str(literal(value))
        return exp.convert(value).sql("duckdb")

    def as_text(columns: list[str], rows: list[list[Any]]) -> exp.Expression:
        query: exp.Expression = values(columns, rows[:1])
        if source := query.find(exp.Values):
            texts = (f"({', '.join(map(written, row))})" for row in rows)
            text = exp.Var(this=f"(values {', '.join(texts)})")
            source.replace(exp.Table(this=text, alias=source.args["alias"]))
        return query

    information_schema._values = as_text


def read_values_as_bigquery() -> None:
    """Make functions that never fail on BigQuery not fail, and give the same answers.

    - JSON_QUERY_ARRAY and JSON_VALUE_ARRAY are null of what is no array, and the latter of an array
      with an object or an array in it: local-bigquery 0.3.2 fails on the one, and gives the other
      as text. https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions
    - LAX_INT64 keeps every digit of a whole number; local-bigquery reads it as FLOAT64.
    - SAFE_CAST to a date or a time is null outside the years 1 to 9999.
    """
    import sqlglot
    from local_bigquery.sql import rules
    from sqlglot import exp

    an_array = "case when json_type(value) = 'ARRAY' then result end"
    of_scalars = (
        "case when json_type(value) = 'ARRAY'"
        " and not list_has_any(json_type(value, '$[*]'), ['ARRAY', 'OBJECT']) then result end"
    )
    whole_number = (
        "case when json_type(value) in ('BIGINT', 'UBIGINT') then try_cast(value as bigint)"
        " when regexp_full_match(value ->> '$', '[+-]?[0-9]+')"
        " then try_cast(value ->> '$' as bigint) else result end"
    )
    within_years = (
        "case when result between '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59.999999+00'"
        " then result end"
    )

    def written(template: str, result: exp.Expression, value: exp.Expression) -> exp.Expression:
        parts = {"result": result, "value": value}
        tree = sqlglot.parse_one(template, dialect="duckdb")
        return tree.transform(
            lambda node: parts[node.name].copy() if isinstance(node, exp.Column) else node
        )

    def read(node: exp.Expression, _context: object) -> exp.Expression:
        match node:
            case exp.JSONExtractArray() | exp.JSONValueArray():
                template = an_array if isinstance(node, exp.JSONExtractArray) else of_scalars
                value = exp.JSONExtract(this=node.this, expression=node.expression)
                return written(template, node, value)
            case exp.Anonymous(this="bq.main.lax_int64", expressions=[value]):
                return written(whole_number, node, value)
            case exp.TryCast() if node.to.is_type("date", "timestamp", "timestamptz"):
                return written(within_years, node, node.this)
        return node

    rules.NODE_RULES.append(read)


def let_json_be_assigned() -> None:
    """Let UPDATE and MERGE set a column to JSON.

    local-bigquery 0.3.2 takes `set a = cast(null as json)` for a comparison, which JSON lacks.
    """
    from local_bigquery.sql import rules
    from local_bigquery.sql.rules import json
    from sqlglot import exp

    equality = json.equality

    def comparison(node: exp.Expression, context: object) -> exp.Expression:
        is_assignment = isinstance(node.parent, exp.Update) and node.arg_key == "expressions"
        return node if is_assignment else equality(node, context)

    rules.NODE_RULES[rules.NODE_RULES.index(equality)] = comparison


def change_tables_one_at_a_time() -> None:
    """Let of two `tables.insert`, or of two `tables.patch` with one etag, only one succeed.

    local-bigquery 0.3.2 looks whether a table is there, and whether it is as If-Match says, and
    then writes: what happens between, in another thread, is overwritten.
    """
    from local_bigquery.catalog import tables

    changing = threading.Lock()

    def alone(change: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(change)
        def change_alone(*arguments: Any) -> Any:
            with changing:
                return change(*arguments)

        return change_alone

    tables.create, tables.update = alone(tables.create), alone(tables.update)


def say_when_rows_changed() -> None:
    """Let `tables.get` say when a table's rows or columns last changed, as BigQuery's does.

    local-bigquery 0.3.2 has `lastModifiedTime` of metadata only.
    """
    from local_bigquery.catalog import tables

    load = tables.load

    @functools.wraps(load)
    def load_with_time(project: str, dataset: str, table: str) -> Any:
        resource = load(project, dataset, table)
        changed = CHANGES.get(tables.name(project, dataset, table).casefold(), 0)
        return resource.replace(
            lastModifiedTime=str(max(changed, int(resource.lastModifiedTime or 0)))
        )

    tables.load = load_with_time


CHANGES: dict[str, int] = {}
"""When each table's rows or columns last changed, in milliseconds of Unix time."""

_NAME = r'"(?:[^"]|"")+"'
CHANGE = re.compile(
    r"(?:insert\s+into|update|delete\s+from|truncate(?:\s+table)?|alter\s+table(?:\s+if\s+exists)?"
    r"|create(?:\s+or\s+replace)?\s+table(?:\s+if\s+not\s+exists)?)"
    rf"\s+(?P<schema>{_NAME}\.{_NAME}\.)(?P<table>{_NAME})(?:\s+rename\s+to\s+(?P<new>{_NAME}|\w+)$)?",
    re.IGNORECASE,
)
"""How statements begin that change a table, as local-bigquery gives them to DuckDB."""


def changed_tables(sql: str) -> set[str]:
    """Return the tables that a statement changes; results of queries are none."""
    change = CHANGE.match(sql)
    if not change or change["schema"].startswith('"emulator".'):
        return set()
    names = [name.strip('"') for name in (change["table"], change["new"]) if name]
    return {f'{change["schema"]}"{name}"'.casefold() for name in names}


def read_changes(connection: duckdb.DuckDBPyConnection) -> None:
    """Read when tables changed while the emulator ran before."""
    connection.execute(
        "create table if not exists emulator.changes (table_name varchar, changed bigint)"
    )
    connection.execute(
        "create or replace table emulator.changes as "
        "select table_name, max(changed) as changed from emulator.changes group by all"
    )
    CHANGES.update(connection.execute("from emulator.changes").fetchall())


def note_changes(connection: duckdb.DuckDBPyConnection, tables: set[str]) -> None:
    """Note that tables have changed now."""
    now = int(time.time() * 1000)
    for table in tables:
        CHANGES[table] = now
        connection.execute("insert into emulator.changes values (?, ?)", [table, now])


if __name__ == "__main__":
    main()
