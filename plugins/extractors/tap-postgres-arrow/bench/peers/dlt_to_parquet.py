"""dlt's sql_database with connectorx, to Parquet files: the whole table, or what has changed."""

import sys
from datetime import datetime
from pathlib import Path

import dlt  # type: ignore[import-not-found]
from dlt.sources.sql_database import sql_table  # type: ignore[import-not-found]


def main(dsn: str, directory: str, changed_since: str | None = None) -> None:
    """Write the table to files under `directory`."""
    folder = Path(directory)
    incremental = changed_since and dlt.sources.incremental(
        "updated_at", initial_value=datetime.fromisoformat(changed_since)
    )
    table = sql_table(
        credentials=dsn, table="timeline_items", backend="connectorx", incremental=incremental
    )
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.filesystem((folder / "files").as_uri()),
        dataset_name="product",
    )
    pipeline.run(
        table,
        write_disposition="append" if incremental else "replace",
        loader_file_format="parquet",
    ).raise_on_failed_jobs()


if __name__ == "__main__":
    main(*sys.argv[1:])
