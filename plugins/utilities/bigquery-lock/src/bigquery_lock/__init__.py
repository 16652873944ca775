"""A lock that processes and machines share, kept in the description of a BigQuery table.

`Lock(connect(), "acme-data.ops.lock_dbt", purpose="dbt build")` is one, in a `with` statement.
"""

from bigquery_lock.connection import Connection, LockError, connect, root_of
from bigquery_lock.lock import Held, Lock, Lost

__all__ = ["Connection", "Held", "Lock", "LockError", "Lost", "connect", "root_of"]
