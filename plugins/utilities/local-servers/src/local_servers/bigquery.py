"""The BigQuery emulator: local-bigquery on loopback, with DuckDB's extensions from their wheels.

Run as `python -m local_servers.bigquery`. Everything that local-bigquery 0.3.2 lacks is added here.
"""

import contextlib
import functools
import os
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

from local_servers.loopback import HOST, HOST_NAMES

EXTENSIONS = ("ducklake", "icu", "spatial")
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
    offer_extensions(directory.absolute())
    confine(data)
    refuse_foreign_hosts()
    name_ctas_destination()
    read_the_catalog_from_ducklake()
    read_values_as_bigquery()
    let_json_be_assigned()
    change_tables_one_at_a_time()
    say_when_rows_changed()
    for name in LEFT_BEHIND:
        shutil.rmtree(data / name, ignore_errors=True)

    from local_bigquery import cli  # type: ignore[import-untyped]
    from local_bigquery.settings import settings  # type: ignore[import-untyped]

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
    from local_bigquery.app import PROJECT_ID  # type: ignore[import-untyped]
    from local_bigquery.engine import database  # type: ignore[import-untyped]
    from local_bigquery.errors import BigQueryError  # type: ignore[import-untyped]
    from local_bigquery.jobs import storage  # type: ignore[import-untyped]

    connect, attach, local = database._connect, database._attach, storage._local

    @functools.cache
    def connect_confined() -> Connection:
        connection: duckdb.DuckDBPyConnection = connect()
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
        # A project's name becomes a path and part of a statement on a connection of its own.
        if not PROJECT_ID.match(project):
            raise BigQueryError("invalid", f"Invalid project ID: {project}")
        attach(connection, project)

    def local_path(uri: str) -> str:
        path: str = local(uri)
        if not Path(path).resolve().is_relative_to(data.resolve()):
            raise BigQueryError("accessDenied", f"Access Denied: File {uri} is not in {data}")
        return path

    database._connect, database._attach = connect_confined, attach_project
    storage._local = local_path


class Connection:
    """DuckDB's connection or cursor, with two faults of local-bigquery 0.3.2 worked round.

    - A statement that can't be committed because of another one is repeated. DuckLake fails, for
      example, when a table is dropped that a job writes to; on BigQuery the table is dropped, and
      the job fails.
    - Temporary tables are found without the statistics of all others, which DuckDB reads along.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Take a connection or a cursor."""
        self._connection = connection
        self._repeatable = True

    def __getattr__(self, name: str) -> Any:
        """Do as DuckDB's own does."""
        return getattr(self._connection, name)

    def cursor(self) -> "Connection":
        """Open a cursor."""
        return Connection(self._connection.cursor())

    def register(self, name: str, rows: object) -> None:
        """Offer ROWS as a view. They can be read once only."""
        self._repeatable = False
        self._connection.register(name, rows)

    def unregister(self, name: str) -> None:
        """Take the view away."""
        self._connection.unregister(name)
        self._repeatable = True

    def execute(self, sql: str, *arguments: Any) -> duckdb.DuckDBPyConnection:
        """Run SQL. Outside a transaction of several statements nothing has happened if it fails."""
        match sql.split(maxsplit=1)[0].upper():
            case "BEGIN":
                self._repeatable = False
            case "COMMIT" | "ROLLBACK":
                self._repeatable = True
                return self._connection.execute(sql, *arguments)
        for _ in range(ATTEMPTS if self._repeatable else 1):
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
        return self._connection.sql(sql, *arguments, **options)


def refuse_foreign_hosts() -> None:
    """Refuse requests that were sent to another name than this machine's own.

    A web page whose name is made to lead to 127.0.0.1 (DNS rebinding) sends its own name.
    """
    from local_bigquery.app import app
    from local_bigquery.errors import BigQueryError
    from local_bigquery.grpc import server  # type: ignore[import-untyped]

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
    from local_bigquery.models import Job, JobStatistics  # type: ignore[import-untyped]

    error = BigQueryError("stopped", "Job execution was stopped: the emulator was killed")
    for (resource,) in database.fetch("select resource from emulator.jobs where state <> 'DONE'"):
        job = Job.model_validate_json(resource)
        kind = str(job.configuration.jobType).lower()
        store.save(runner._done(job, JobStatistics.model_validate({kind: {}}), error))


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


def read_the_catalog_from_ducklake() -> None:
    """Make looking a table up cost the same however many tables there are.

    local-bigquery 0.3.2 asks DuckDB's functions, which read the whole catalog, several times a
    query: more than half of the time of a dbt build. DuckLake's own tables have the same facts:
    https://ducklake.select/docs/stable/specification/tables/overview
    """
    from local_bigquery.engine import database

    all_objects, fetch = database.objects, database.fetch

    @functools.wraps(all_objects)
    def objects(project: str, dataset: str, table: str | None = None) -> Any:
        if project != "emulator" or table is None:
            return all_objects(project, dataset, table)
        # The result of a query: DuckDB's own table, in no lake.
        with database.cursor() as cursor:
            try:
                cursor.execute(f"select 1 from {database.quote(project, dataset, table)} limit 0")
            except duckdb.CatalogException:
                return []
        return [(table, "TABLE", 0)]

    @functools.wraps(fetch)
    def fetch_from_ducklake(sql: str, parameters: list[Any] | None = None) -> Any:
        function = next((name for name in CATALOG if f"FROM {name}() " in sql), None)
        if function is None or not parameters:
            return fetch(sql, parameters)
        if parameters[0] == "emulator":
            # Which columns of a query's result are NOT NULL: none.
            return [] if function == "duckdb_columns" else fetch(sql, parameters)
        lake = database.quote(f"__ducklake_metadata_{parameters[0]}")
        name = parameters[0].replace("'", "''")
        for function, facts in CATALOG.items():
            sql = sql.replace(f"{function}()", f"({facts.format(lake=lake, project=name)})")
        try:
            return fetch(sql, parameters)
        except duckdb.CatalogException:  # There is no such project.
            return []

    database.objects, database.fetch = objects, fetch_from_ducklake


CATALOG = {
    "duckdb_schemas": """
        select '{project}' as database_name, schema_name
        from {lake}.ducklake_schema where end_snapshot is null
    """,
    "duckdb_tables": """
        select '{project}' as database_name, schema_name, table_name,
            coalesce(record_count, 0) as estimated_size
        from {lake}.ducklake_table as tables
        join {lake}.ducklake_schema as schemas using (schema_id)
        left join {lake}.ducklake_table_stats using (table_id)
        where tables.end_snapshot is null and schemas.end_snapshot is null
    """,
    "duckdb_views": """
        select '{project}' as database_name, schema_name, view_name, false as internal
        from {lake}.ducklake_view as views
        join {lake}.ducklake_schema as schemas using (schema_id)
        where views.end_snapshot is null and schemas.end_snapshot is null
    """,
    "duckdb_columns": """
        select '{project}' as database_name, schema_name, table_name, column_name,
            nulls_allowed as is_nullable
        from {lake}.ducklake_column as columns
        join {lake}.ducklake_table as tables using (table_id)
        join {lake}.ducklake_schema as schemas using (schema_id)
        where columns.end_snapshot is null and columns.parent_column is null
            and tables.end_snapshot is null and schemas.end_snapshot is null
    """,
}
"""DuckDB's catalog functions as local-bigquery uses them, from DuckLake's tables."""


def read_values_as_bigquery() -> None:
    """Make functions that never fail on BigQuery not fail, and give the same answers.

    - JSON_QUERY_ARRAY and JSON_VALUE_ARRAY are null of what is no array, and the latter of an array
      with an object or an array in it: local-bigquery 0.3.2 fails on the one, and gives the other
      as text. https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions
    - LAX_INT64 keeps every digit of a whole number; local-bigquery reads it as FLOAT64.
    - SAFE_CAST to a date or a time is null outside the years 1 to 9999.
    """
    import sqlglot
    from local_bigquery.sql import rules  # type: ignore[import-untyped]
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
    from local_bigquery.sql.rules import json  # type: ignore[import-untyped]
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
    from local_bigquery.catalog import tables  # type: ignore[import-untyped]

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

    local-bigquery 0.3.2 has `lastModifiedTime` of metadata only. DuckLake notes each change of a
    table: https://ducklake.select/docs/stable/specification/tables/ducklake_snapshot_changes
    """
    from local_bigquery.catalog import tables
    from local_bigquery.engine import database

    load = tables.load

    @functools.wraps(load)
    def load_with_time(project: str, dataset: str, table: str) -> Any:
        resource = load(project, dataset, table)
        lake = database.quote(f"__ducklake_metadata_{project}")
        try:
            found = database.fetch(
                LAST_CHANGE.format(lake=lake), [*tables.physical(project, dataset, table)[1:]]
            )
        except duckdb.CatalogException:  # The result of a query, in no lake.
            return resource
        changed = max(int(found[0][0] or 0), int(resource.lastModifiedTime or 0))
        return resource.replace(lastModifiedTime=str(changed))

    tables.load = load_with_time


LAST_CHANGE = """
    with found as (
        select table_id, tables.begin_snapshot
        from {lake}.ducklake_table as tables
        join {lake}.ducklake_schema as schemas using (schema_id)
        where schema_name = ? and table_name = ?
            and tables.end_snapshot is null and schemas.end_snapshot is null
    )
    select epoch_ms(max(snapshot_time))
    from {lake}.ducklake_snapshot
    join {lake}.ducklake_snapshot_changes using (snapshot_id)
    join found on snapshot_id >= begin_snapshot
    where snapshot_id = begin_snapshot
        or regexp_matches(changes_made, '(^|,)[a-z_]+:' || table_id || '(,|$)')
"""
"""When a table was made, altered, inserted into or deleted from."""


if __name__ == "__main__":
    main()
