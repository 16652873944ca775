"""A table of the dataset, held by one run: its lock, its jobs and its staging tables."""

import contextlib
import hashlib
import itertools
import os
import platform
import pwd
import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
from google.cloud.bigquery import SchemaField

from target_bigquery_arrow import statements
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import Layout
from target_bigquery_arrow.partitioning import Partitioning
from target_bigquery_arrow.warehouse import JOB_PREFIX, Bill, Changes, TableInfo, Warehouse

STAGING_PREFIX = "_sdc_staging__"
# As `Table.staging_table` makes it: table, machine, run, number, step.
STAGING_NAME = re.compile(rf"{STAGING_PREFIX}(.+)__([0-9a-f]{{8}})_[0-9a-f]+_\d+_\w+")
# A copy of a table, known to be whole, that is to take its place.
WHOLE_COPY_PREFIX = "_sdc_rebuilt__"
STAGING_MAXIMUM_AGE_HOURS = 24
METADATA_REQUESTS = 8


class Dataset:
    """The dataset as it was when the run began: listed once, however many streams there are."""

    def __init__(self, warehouse: Warehouse) -> None:
        """Make the dataset if it does not exist, and list its tables.

        Raises:
            LoadError: the dataset is in another location.
        """
        self.warehouse = warehouse
        self._pool = ThreadPoolExecutor(METADATA_REQUESTS)
        ages = warehouse.open()
        self._tables = set(ages)
        self._staging: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
        for name, age in ages.items():
            if match := STAGING_NAME.fullmatch(name):
                self._staging[match[1]].append((name, match[2], age))

    def __contains__(self, table: str) -> bool:
        """Return whether there was such a table."""
        return table in self._tables

    def add(self, table: str) -> None:
        """Take note of a table that has come since."""
        self._tables.add(table)

    def info(self, table: str) -> Future[TableInfo | None]:
        """Ask what a table is like, beside other questions."""
        if table in self:
            return self._pool.submit(self.warehouse.table_info, table)
        missing: Future[TableInfo | None] = Future()
        missing.set_result(None)
        return missing

    def drop_leftovers(self, table: str, machine: str) -> None:
        """Drop what killed runs left of a table: this machine's, and any old ones.

        Args:
            table: a table whose lock is held.
            machine: the name of this machine in the names of staging tables.
        """
        for name, made_by, age_hours in self._staging.pop(table, ()):
            if made_by == machine or age_hours > STAGING_MAXIMUM_AGE_HOURS:
                self._pool.submit(self.warehouse.drop_table, name)

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()


class Table:
    """One table, which no other process of this machine and user can load at the same time.

    There is one of these for each table and run, so that its jobs never share an id.

    Attributes:
        name: the table's name, without its dataset.
        target: the table's full name.
        partitioning: how it is partitioned; None where it isn't.
        bill: what its queries may cost, and what they did.
    """

    def __init__(self, name: str, dataset: Dataset, run: str) -> None:
        """Lock the table, and drop what killed runs left of it.

        Raises:
            LoadError: another run holds the table.
        """
        self.name = name
        self.warehouse = dataset.warehouse
        self.target = self.qualified(name)
        self.partitioning: Partitioning | None = None
        self.bill = Bill()
        self._run = run
        self._numbers = itertools.count(1)
        self._lock = _locked(f"{self.warehouse.namespace}.{name}")
        self._machine = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
        dataset.drop_leftovers(name, self._machine)
        self._finish_rebuilding(dataset)

    def execute(self, sql: str, step: str) -> int:
        """Run one statement and return the number of rows that it changed."""
        return self.change(sql, step).total

    def change(self, sql: str, step: str) -> Changes:
        """Run one statement and return the rows that it changed, by what was done to them."""
        return self.warehouse.execute(sql, self._what(step), self.job(step), self.bill)

    def rows(self, sql: str, step: str) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        return self.warehouse.fetch_rows(sql, self._what(step), self.job(step), self.bill)

    def job(self, step: str) -> str:
        """Return an identifier for the next job."""
        return f"{self._job_prefix}{next(self._numbers)}_{step}"

    def staging_table(self, step: str) -> str:
        """Return a name for the next staging table."""
        run = f"{self._machine}_{self._run}_{next(self._numbers)}"
        return f"{STAGING_PREFIX}{self.name}__{run}_{step}"

    def wait_for_others(self) -> None:
        """Wait for what a run that was killed has left running on this table."""
        self.warehouse.wait_for_others(self.name)

    def rebuild(
        self,
        layout: Layout,
        schema: Sequence[SchemaField],
        wanted: Partitioning | None,
        *,
        one_row_a_key: bool = False,
    ) -> None:
        """Rebuild the table: with other partitions, or with one row a key.

        BigQuery can't change the partitions of a table. A copy takes its place once it is known to
        be whole; a run that breaks off leaves the table, or a copy that the next run puts there.

        Args:
            layout: the stream's columns and key, to cluster by.
            schema: the table's columns, with the types that they are to have.
            wanted: its partitions; None for none.
            one_row_a_key: leave out all rows but one of those that share a key.

        Raises:
            LoadError: BigQuery failed, or the copy hasn't as many rows.
        """
        copy = self.staging_table("rebuild")
        self.warehouse.create_table(layout, wanted, name=copy, schema=schema)
        columns = [column.name for column in schema]
        if one_row_a_key:
            sql = statements.copy_one_row_a_key(self.qualified(copy), self.target, columns, layout)
            ((keyless, _, keys),) = self.rows(
                statements.count_keys(self.target, layout), "count_keys"
            )
            count = keyless + keys
        else:
            sql = statements.copy_rows(self.qualified(copy), self.target, columns)
            ((count,),) = self.rows(statements.count_rows(self.target), "count_rows")
        copied = self.execute(sql, "rebuild")
        self.check_equal(count, "to be copied", copied, "copied")
        self._rename(copy, self._whole_copy)
        self.warehouse.drop_table(self.name)
        self._rename(self._whole_copy, self.name)
        self.partitioning = wanted

    def _finish_rebuilding(self, dataset: Dataset) -> None:
        """Put a whole copy in the place of its table, or drop it if the table is still there."""
        if self._whole_copy not in dataset:
            return
        if self.name in dataset:
            self.warehouse.drop_table(self._whole_copy)
        else:
            self._rename(self._whole_copy, self.name)
            dataset.add(self.name)

    def _rename(self, table: str, name: str) -> None:
        sql = statements.rename_table(self.qualified(table), name)
        # The local emulator looks for the new name in no dataset where the job has a default one.
        self.warehouse.execute(
            sql, self._what("rename"), self.job("rename"), self.bill, names_in_full=True
        )

    def _what(self, step: str) -> str:
        return f"table {self.target}, step '{step}'"

    @property
    def _whole_copy(self) -> str:
        return f"{WHOLE_COPY_PREFIX}{self.name}"

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
        return f"{JOB_PREFIX}{self._run}_{self.name}_"


def _locked(resource: str) -> filelock.FileLock:
    """Lock a table against other processes of this user, for as long as this one lives."""
    directory = _lock_directory()
    lock = filelock.FileLock(directory / f"{hashlib.sha256(resource.encode()).hexdigest()}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        message = (
            f"Another run is loading {resource}. Let it end, then run again; two loads of one "
            f"table at once would overtake each other."
        )
        raise LoadError(message) from error
    except OSError as error:
        raise _unlockable(directory, error) from error
    return lock


def _lock_directory() -> Path:
    """Make the folder of locks.

    It is in the user's home, by the system's list of users: services and cron have a temporary
    folder and an environment of their own. Where there is no home, it is in the temporary folder.

    Raises:
        LoadError: it can't be made there either.
    """
    homeless = Path(tempfile.gettempdir()) / f"target-bigquery-arrow-{os.getuid()}"
    with contextlib.suppress(OSError, KeyError):
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        directory = home / ".local" / "state" / "target-bigquery-arrow"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(directory, os.W_OK):
            return directory
    try:
        homeless.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unlockable(homeless, error) from error
    return homeless


def _unlockable(directory: Path, error: OSError) -> LoadError:
    return LoadError(
        f"Can't write a lock into {directory} ({error.strerror}). Give that folder to user "
        f"{os.getuid()}, or set TMPDIR to another."
    )
