"""The BigQuery emulator: local-bigquery on loopback, with DuckDB's extensions from their wheels.

Run as `python -m sandbox.bigquery`.
"""

import functools
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import duckdb

from sandbox.settings import HOST

EXTENSIONS = ("ducklake", "icu", "spatial")


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--grpc-port", type=int, required=True)
@click.option("--project", required=True)
@click.option("--directory", type=click.Path(path_type=Path), required=True)
def main(port: int, grpc_port: int, project: str, directory: Path) -> None:
    """Serve the emulator until it is stopped; its data stays in DIRECTORY."""
    offer_extensions(directory)
    name_ctas_destination()
    remember_the_catalog()
    read_values_as_bigquery()

    from local_bigquery import cli  # type: ignore[import-untyped]

    cli.main(
        [
            *("--host", HOST, "--port", str(port), "--grpc-port", str(grpc_port)),
            *("--project", project, "--data-dir", str(directory / "data")),
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


def name_ctas_destination() -> None:
    """Make a CREATE TABLE AS SELECT job name its table as `destinationTable`, as BigQuery does.

    local-bigquery 0.3.2 leaves it out, and dbt-bigquery reads it after every table that it builds.
    """
    from local_bigquery.jobs import query  # type: ignore[import-untyped]

    execute = query.execute

    @functools.wraps(execute)
    def execute_naming_destination(*arguments: Any, **options: Any) -> Any:
        statistics, children, destination = execute(*arguments, **options)
        if destination is None and statistics.statementType == "CREATE_TABLE_AS_SELECT":
            destination = statistics.ddlTargetTable
        return statistics, children, destination

    query.execute = execute_naming_destination


def remember_the_catalog() -> None:
    """Make looking a table up cost the same however many tables there are.

    local-bigquery 0.3.2 reads DuckDB's whole catalog for it, several times a query: more than half
    of the time of a dbt build. What was found holds until DuckLake's next snapshot, which every
    change makes; a query's result is looked up by its name.
    """
    from local_bigquery.engine import database  # type: ignore[import-untyped]

    all_objects, fetch = database.objects, database.fetch
    remembered: dict[Any, tuple[int, Any]] = {}

    @functools.wraps(all_objects)
    def objects(project: str, dataset: str, table: str | None = None) -> Any:
        if project != "emulator" or table is None:
            return all_objects(project, dataset, table)
        with database.cursor() as cursor:
            try:
                cursor.execute(f"select 1 from {database.quote(project, dataset, table)} limit 0")
            except duckdb.CatalogException:
                return []
        return [(table, "TABLE", 0)]

    @functools.wraps(fetch)
    def fetch_unless_known(sql: str, parameters: list[Any] | None = None) -> Any:
        if not parameters or "FROM duckdb_" not in sql:
            return fetch(sql, parameters)
        if parameters[0] == "emulator" and "FROM duckdb_columns()" in sql:
            return []  # which columns of a result are NOT NULL
        snapshot = latest_snapshot(parameters[0])
        if snapshot is None:
            return fetch(sql, parameters)
        key = (sql, *parameters)
        if key not in remembered or remembered[key][0] != snapshot:
            remembered[key] = (snapshot, fetch(sql, parameters))
        return remembered[key][1]

    def latest_snapshot(project: str) -> int | None:
        catalog = database.quote(f"__ducklake_metadata_{project}", "ducklake_snapshot")
        try:
            ((snapshot,),) = fetch(f"select max(snapshot_id) from {catalog}")
        except duckdb.Error:  # not a project
            return None
        return int(snapshot)

    database.objects, database.fetch = objects, fetch_unless_known


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


if __name__ == "__main__":
    main()
