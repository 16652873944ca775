"""The least that a columnar path can cost: ADBC's binary COPY, written to one Parquet file."""

import sys

import adbc_driver_postgresql.dbapi  # type: ignore[import-untyped]
import pyarrow.parquet as pq

# ADBC hands over uuid, enum and jsonb as they are in Postgres' protocol unless they are cast.
QUERY = """
select
    id::text,
    organisation_id::text,
    incident_id::text,
    user_id::text,
    kind::text,
    pinned,
    content::text,
    occurred_at,
    created_at,
    updated_at
from timeline_items
"""


def main(dsn: str, file: str) -> None:
    """Write the table to `file`."""
    with adbc_driver_postgresql.dbapi.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        batches = cursor.fetch_record_batch()
        with pq.ParquetWriter(file, batches.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)


if __name__ == "__main__":
    main(*sys.argv[1:])
