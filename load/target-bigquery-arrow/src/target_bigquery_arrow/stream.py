"""One stream's way into its table."""

import hashlib
import logging
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import filelock

from target_bigquery_arrow import statements
from target_bigquery_arrow.buffer import ParquetFile, StreamBuffer
from target_bigquery_arrow.completeness import Completeness
from target_bigquery_arrow.drift import SchemaDrift, reconcile
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import Layout
from target_bigquery_arrow.messages import Record
from target_bigquery_arrow.warehouse import Warehouse

logger = logging.getLogger(__name__)

STAGING_PREFIX = "_sdc_staging__"
STAGING_MAXIMUM_AGE_HOURS = 24


@dataclass(frozen=True)
class LoadOptions:
    """What is the same for every stream of a run.

    Attributes:
        directory: a private folder for Parquet files.
        run: this run's identifier, in the names of its jobs and staging tables.
        drift: what to do when the table has other columns.
        hard_delete: remove deleted rows instead of marking them.
        partition_bytes: a table whose first load is this large is partitioned.
    """

    directory: Path
    run: str
    drift: SchemaDrift
    hard_delete: bool
    partition_bytes: int


@dataclass
class Counts:
    """Rows of one stream: as they came, as they lay in staging, as they were written."""

    received: int = 0
    loaded: int = 0
    merged: int = 0
    deleted: int = 0
    versionless: int = 0


class Stream:
    """Load one stream into its table. One process at a time: the table is locked."""

    def __init__(self, layout: Layout, warehouse: Warehouse, options: LoadOptions) -> None:
        """Compare the layout with the table as it is now; nothing is altered before a load.

        Raises:
            LoadError: another run holds the table, or `schema_drift` forbids the change.
        """
        self.counts = Counts()
        self.completeness = Completeness()
        self._warehouse = warehouse
        self._options = options
        self._batch = 0
        self._lock = _locked(f"{warehouse.namespace}.{layout.table}")

        existing = warehouse.table_types(layout.table)
        self._table_exists = existing is not None
        self._plan = reconcile(
            layout, layout.types if existing is None else existing, options.drift
        )
        for finding in self._plan.report:
            logger.warning("Schema drift in table '%s': %s", layout.table, finding)
        self.layout = self._plan.layout
        self.buffer = self._new_buffer()
        self._drop_leftovers()

    @property
    def target(self) -> str:
        """Return the table's full name."""
        return f"{self._warehouse.dataset}.{self.layout.table}"

    def append(self, record: Record) -> None:
        """Take one record."""
        self.counts.received += 1
        if record.version is None:
            self.counts.versionless += 1
        self.buffer.append(record)

    def take_file(self) -> ParquetFile | None:
        """Finish the file at hand, for `load`, and begin the next."""
        file = self.buffer.close()
        self.buffer = self._new_buffer()
        return file

    def load(self, file: ParquetFile | None) -> None:
        """Put a file's rows into the table, or just see to it that the table is there.

        Raises:
            LoadError: BigQuery failed, or the rows counted on the way don't agree.
        """
        self._ensure_table(file.size if file else 0)
        if file is None:
            return
        self._batch += 1
        staged = self._staging_table("staged")
        loaded = self._warehouse.load_parquet(file.path, staged, self.layout, self._job("load"))
        self._check_equal(file.rows, "written to Parquet", loaded, "loaded")
        if self.layout.keys:
            merged = self._merge(staged)
        else:
            sql = statements.insert(
                self.target, self._qualified(staged), self.layout, self._plan.casts
            )
            merged = self._warehouse.execute(sql, self._job("insert"))
            self._check_equal(loaded, "loaded", merged, "inserted")
        self._warehouse.drop_table(staged)
        file.path.unlink()
        self.counts.loaded += loaded
        self.counts.merged += merged

    def activate_version(self, version: int) -> None:
        """Take an ACTIVATE_VERSION message, to be acted on by `delete_older_versions`.

        Raises:
            LoadError: a record came without its version, so old and new can't be told apart.
        """
        if self.counts.versionless:
            message = (
                f"Stream '{self.layout.stream}': ACTIVATE_VERSION {version} follows records that "
                f"bear no `version`, and would delete them. Set `process_activate_version_messages:"
                f" false` on the loader, or use a release of the extractor that sends versions."
            )
            raise LoadError(message)
        self.completeness.activate_version(version, self.counts.received)

    def delete_older_versions(self) -> None:
        """Mark, or remove, the rows that a complete read of the source didn't find.

        Every row must be in the table by now.
        """
        version = self.completeness.version
        if version is None:
            return
        if not self.completeness.is_complete(self.counts.received):
            logger.warning(
                "Stream '%s' ended without a sign that it was complete, so no row counts as "
                "deleted. If the extractor failed, the next run makes up for it; if it ended well, "
                "select another stream after this one.",
                self.layout.stream,
            )
            return
        sql = statements.delete_older_versions(
            self.target, version, hard_delete=self._options.hard_delete
        )
        self.counts.deleted += self._warehouse.execute(sql, self._job(f"delete_{version}"))

    def close(self) -> None:
        """Let the next run have the table."""
        self._lock.release()

    def _ensure_table(self, size: int) -> None:
        if not self._table_exists:
            partitioned = size >= self._options.partition_bytes
            self._warehouse.create_table(self.layout, partitioned=partitioned)
            self._table_exists = True
        if self._plan.added:
            sql = statements.add_columns(self.target, self._plan.added)
            self._warehouse.execute(sql, self._job("add"))
            self._plan.added.clear()
        while self._plan.widened:
            name, column = self._plan.widened.popitem()
            sql = statements.widen_column(self.target, name, column)
            self._warehouse.execute(sql, self._job(f"widen_{name}"))

    def _merge(self, staged: str) -> int:
        typed = self._staging_table("typed")
        sql = statements.type_and_deduplicate(
            self._qualified(typed), self._qualified(staged), self.layout, self._plan.casts
        )
        self._warehouse.execute(sql, self._job("type"))
        distinct = self._warehouse.row_count(typed)
        sql = statements.merge(self.target, self._qualified(typed), self.layout)
        merged = self._warehouse.execute(sql, self._job("merge"))
        self._check_equal(distinct, "distinct by key", merged, "merged")
        if self._options.hard_delete and self.layout.reports_deletes:
            sql = statements.remove_deleted(self.target)
            self.counts.deleted += self._warehouse.execute(sql, self._job("remove"))
        self._warehouse.drop_table(typed)
        return merged

    def _check_equal(self, expected: int, before: str, found: int, after: str) -> None:
        if expected == found:
            return
        message = (
            f"Table {self.target}: {expected} rows {before}, but {found} {after}. No state has "
            f"moved; the next run reads these rows again. If it happens again, look at the job "
            f"'{self._job('')}…' in BigQuery's job history."
        )
        raise LoadError(message)

    def _new_buffer(self) -> StreamBuffer:
        name = f"{self.layout.table}-{self._batch}.parquet"
        return StreamBuffer(self.layout, self._options.directory / name)

    def _job(self, step: str) -> str:
        return f"target_bigquery_arrow_{self._options.run}_{self.layout.table}_{self._batch}_{step}"

    def _staging_table(self, step: str) -> str:
        return f"{self._staging_prefix()}{self._options.run}_{self._batch}_{step}"

    def _staging_prefix(self) -> str:
        machine = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
        return f"{STAGING_PREFIX}{self.layout.table}__{machine}_"

    def _qualified(self, table: str) -> str:
        return f"{self._warehouse.dataset}.{table}"

    def _drop_leftovers(self) -> None:
        """Drop what killed runs left: this machine's, since the lock is ours, and any old ones."""
        for table, age_hours in self._warehouse.tables(f"{STAGING_PREFIX}{self.layout.table}__"):
            if table.startswith(self._staging_prefix()) or age_hours > STAGING_MAXIMUM_AGE_HOURS:
                self._warehouse.drop_table(table)


def _locked(resource: str) -> filelock.FileLock:
    """Lock a table against other processes of this machine, for as long as this one lives."""
    directory = Path(tempfile.gettempdir()) / f"target-bigquery-arrow-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    lock = filelock.FileLock(directory / f"{hashlib.sha256(resource.encode()).hexdigest()}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        message = (
            f"Another run is loading {resource}. Let it end, then run again; two loads of one "
            f"table at once would overtake each other."
        )
        raise LoadError(message) from error
    return lock
