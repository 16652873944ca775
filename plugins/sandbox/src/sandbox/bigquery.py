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


if __name__ == "__main__":
    main()
