"""The one moment at which all streams of a run are read."""

from dataclasses import dataclass
from datetime import datetime

from tap_postgres_arrow.database import Connection

PRIVILEGES = """
select
    has_function_privilege('pg_catalog.pg_control_system()', 'execute')
    and has_function_privilege('pg_catalog.pg_control_checkpoint()', 'execute') as tells_cluster
"""
CLUSTER = """concat(
    (select system_identifier from pg_catalog.pg_control_system()), '/',
    (select timeline_id from pg_catalog.pg_control_checkpoint())
)"""
POSITION = """
select
    pg_catalog.pg_export_snapshot() as name,
    pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint as ceiling,
    pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint as next_transaction,
    {cluster} as cluster,
    pg_catalog.clock_timestamp() as taken_at
"""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that other transactions can share, and where the database stood.

    Transaction ids have 64 bits here: those of rows, with 32, wrap around.

    Attributes:
        name: what `SET TRANSACTION SNAPSHOT` takes, as long as the transaction is open.
        ceiling: the oldest transaction that was still running. All before it are in the
            snapshot, if they were committed at all; this one and later ones may come to be.
        next_transaction: the first id that was not yet given to a transaction.
        cluster: which cluster it is, and on which timeline of its history: an id means nothing
            on another. Empty where the user may not know.
        taken_at: when.
    """

    name: str
    ceiling: int
    next_transaction: int
    cluster: str
    taken_at: datetime


def export_snapshot(connection: Connection) -> Snapshot:
    """Export the snapshot of a transaction that has begun. It works on a replica too.

    Raises:
        TapError: the server can't do it.
    """
    (privileges,) = connection.rows(PRIVILEGES)
    cluster = CLUSTER if privileges["tells_cluster"] else "''"
    (position,) = connection.rows(POSITION.format(cluster=cluster))
    return Snapshot(**position)
