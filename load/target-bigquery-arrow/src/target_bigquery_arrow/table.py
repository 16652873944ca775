"""A table of the dataset, held by one run: its lock, its jobs and its staging tables."""

import hashlib
import itertools
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import filelock

from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.warehouse import Warehouse

STAGING_PREFIX = "_sdc_staging__"
STAGING_MAXIMUM_AGE_HOURS = 24


class Table:
    """One table, which no other process of this machine and user can load at the same time.

    There is one of these for each table and run, so that its jobs never share an id.

    Attributes:
        target: the table's full name.
    """

    def __init__(self, name: str, warehouse: Warehouse, run: str) -> None:
        """Lock the table, and drop what killed runs left of it.

        Raises:
            LoadError: another run holds the table.
        """
        self.name = name
        self.target = f"{warehouse.dataset}.{name}"
        self.warehouse = warehouse
        self._run = run
        self._numbers = itertools.count(1)
        self._lock = _locked(f"{warehouse.namespace}.{name}")
        self._drop_leftovers()

    def execute(self, sql: str, step: str) -> int:
        """Run one statement and return the rows that it changed."""
        return self.warehouse.execute(sql, self.job(step))

    def counts(self, sql: str, step: str) -> Sequence[int]:
        """Run a query for one row of numbers."""
        return self.warehouse.fetch_row(sql, self.job(step))

    def job(self, step: str) -> str:
        """Return an identifier for the next job."""
        return f"{self._job_prefix}{next(self._numbers)}_{step}"

    def staging_table(self, step: str) -> str:
        """Return a name for the next staging table."""
        return f"{self._staging_prefix}{self._run}_{next(self._numbers)}_{step}"

    def qualified(self, table: str) -> str:
        """Return the full name of another table of the dataset."""
        return f"{self.warehouse.dataset}.{table}"

    def check_equal(self, expected: int, before: str, found: int, after: str) -> None:
        """Compare two counts of the same rows.

        Raises:
            LoadError: they differ.
        """
        if expected == found:
            return
        message = (
            f"Table {self.target}: {expected} rows {before}, but {found} {after}. No state has "
            f"moved past them; the next run reads them again. If it happens again, look at the "
            f"jobs '{self._job_prefix}…' in BigQuery's job history."
        )
        raise LoadError(message)

    def close(self) -> None:
        """Let the next run have the table."""
        self._lock.release()

    @property
    def _job_prefix(self) -> str:
        return f"target_bigquery_arrow_{self._run}_{self.name}_"

    @property
    def _staging_prefix(self) -> str:
        machine = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
        return f"{STAGING_PREFIX}{self.name}__{machine}_"

    def _drop_leftovers(self) -> None:
        """Drop what killed runs left: this machine's, since the lock is ours, and any old ones."""
        for table, age_hours in self.warehouse.tables(f"{STAGING_PREFIX}{self.name}__"):
            if table.startswith(self._staging_prefix) or age_hours > STAGING_MAXIMUM_AGE_HOURS:
                self.warehouse.drop_table(table)


def _locked(resource: str) -> filelock.FileLock:
    """Lock a table against other processes of this machine, for as long as this one lives."""
    directory = Path(tempfile.gettempdir()) / f"target-bigquery-arrow-{os.getuid()}"
    lock = filelock.FileLock(directory / f"{hashlib.sha256(resource.encode()).hexdigest()}.lock")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        message = (
            f"Another run is loading {resource}. Let it end, then run again; two loads of one "
            f"table at once would overtake each other."
        )
        raise LoadError(message) from error
    except OSError as error:
        message = (
            f"Can't write the lock of {resource} into {directory} ({error.strerror}). Give that "
            f"folder to user {os.getuid()}, or set TMPDIR to another."
        )
        raise LoadError(message) from error
    return lock
