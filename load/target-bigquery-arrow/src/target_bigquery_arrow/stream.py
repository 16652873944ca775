"""One stream's way into its table."""

import hashlib
import itertools
import logging
import os
import platform
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import filelock

from target_bigquery_arrow import statements
from target_bigquery_arrow.buffer import ParquetFile, StreamBuffer
from target_bigquery_arrow.completeness import Completeness
from target_bigquery_arrow.decoder import RecordDecoder
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
    """Load one stream into its table. One process at a time: the table is locked.

    There is one of these for each table and run, so that its jobs never share an id.
    """

    def __init__(self, layout: Layout, warehouse: Warehouse, options: LoadOptions) -> None:
        """Lock the table and compare it with the layout; nothing is altered before a load.

        Raises:
            LoadError: another run holds the table, or `schema_drift` forbids the change.
        """
        self.counts = Counts()
        self.completeness = Completeness()
        self.target = f"{warehouse.dataset}.{layout.table}"
        self._warehouse = warehouse
        self._options = options
        self._numbers = itertools.count(1)
        self._lock = _locked(f"{warehouse.namespace}.{layout.table}")
        self.adopt(layout)
        self._drop_leftovers()

    def adopt(self, layout: Layout) -> None:
        """Go on with another layout. There must be no records left of the one before.

        Raises:
            LoadError: `schema_drift` forbids the change.
        """
        existing = self._warehouse.table_types(layout.table)
        self._table_exists = existing is not None
        self._plan = reconcile(
            layout, layout.types if existing is None else existing, self._options.drift
        )
        for finding in self._plan.report:
            logger.warning("Schema drift in table %s: %s", self.target, finding)
        self.layout = self._plan.layout
        properties = {column.property for column in self.layout.columns}
        self._decoder = RecordDecoder(
            self.layout,
            self._options.drift,
            left_out={column.property for column in layout.columns} - properties,
        )
        self.buffer = self._new_buffer()

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
        if file is not None:
            staged = self._staging_table("staged")
            loaded = self._warehouse.load_parquet(file.path, staged, self.layout, self._job("load"))
            self._check_equal(file.rows, "written to Parquet", loaded, "loaded")
            self.counts.merged += (
                self._merge(staged) if self.layout.keys else self._insert(staged, loaded)
            )
            self.counts.loaded += loaded
            self._warehouse.drop_table(staged)
            file.path.unlink()
        self._check_equal(self.counts.received, "received", self.counts.loaded, "loaded")

    def activate_version(self) -> None:
        """Mark, or remove, the rows that a complete read of the source didn't have.

        All that was read must be in the table.

        Raises:
            LoadError: a record came without its version, so old and new can't be told apart.
        """
        version = self.completeness.version
        if version is None:
            return
        if self.counts.versionless:
            message = (
                f"Stream '{self.layout.stream}': ACTIVATE_VERSION {version} would delete the "
                f"{self.counts.versionless} records that bear no `version`. Set "
                f"`process_activate_version_messages: false` on the loader, or use a release of "
                f"the extractor that sends versions."
            )
            raise LoadError(message)
        if not self.completeness.is_complete:
            logger.warning(
                "Stream '%s' ended without a sign that it was read to its end, so no row of %s "
                "counts as deleted. If the extractor broke down, the next run makes up for it; if "
                "it didn't, select another stream after this one.",
                self.layout.stream,
                self.target,
            )
            return
        sql = statements.activate_version(
            self.target, version, hard_delete=self._options.hard_delete
        )
        self.counts.deleted += self._warehouse.execute(sql, self._job("activate_version"))

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
            self._warehouse.execute(sql, self._job("add_columns"))
            self._plan.added.clear()
        while self._plan.widened:
            name, column = self._plan.widened.popitem()
            sql = statements.widen_column(self.target, name, column)
            self._warehouse.execute(sql, self._job("widen_column"))

    def _insert(self, staged: str, loaded: int) -> int:
        sql = statements.insert(self.target, self._qualified(staged), self.layout, self._plan.casts)
        inserted = self._warehouse.execute(sql, self._job("insert"))
        self._check_equal(loaded, "loaded", inserted, "inserted")
        return inserted

    def _merge(self, staged: str) -> int:
        typed = self._staging_table("typed")
        sql = statements.type_and_deduplicate(
            self._qualified(typed), self._qualified(staged), self.layout, self._plan.casts
        )
        self._warehouse.execute(sql, self._job("type"))
        distinct = self._warehouse.row_count(typed)
        sql = statements.merge(
            self.target, self._qualified(typed), self.layout, self._plan.superseded
        )
        merged = self._warehouse.execute(sql, self._job("merge"))
        self._check_equal(distinct, "distinct by key", merged, "merged")
        if self._options.hard_delete and self.layout.reports_deletes:
            sql = statements.remove_deleted(self.target)
            self.counts.deleted += self._warehouse.execute(sql, self._job("remove_deleted"))
        self._warehouse.drop_table(typed)
        return merged

    def _check_equal(self, expected: int, before: str, found: int, after: str) -> None:
        if expected == found:
            return
        message = (
            f"Table {self.target}: {expected} rows {before}, but {found} {after}. No state has "
            f"moved; the next run reads these rows again. If it happens again, look at the jobs "
            f"'{self._job_prefix}…' in BigQuery's job history."
        )
        raise LoadError(message)

    def _new_buffer(self) -> StreamBuffer:
        path = self._options.directory / f"{uuid.uuid4()}.parquet"
        return StreamBuffer(self.layout, self._decoder, path)

    @property
    def _job_prefix(self) -> str:
        return f"target_bigquery_arrow_{self._options.run}_{self.layout.table}_"

    def _job(self, step: str) -> str:
        return f"{self._job_prefix}{next(self._numbers)}_{step}"

    def _staging_table(self, step: str) -> str:
        return f"{self._staging_prefix}{self._options.run}_{next(self._numbers)}_{step}"

    @property
    def _staging_prefix(self) -> str:
        machine = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
        return f"{STAGING_PREFIX}{self.layout.table}__{machine}_"

    def _qualified(self, table: str) -> str:
        return f"{self._warehouse.dataset}.{table}"

    def _drop_leftovers(self) -> None:
        """Drop what killed runs left: this machine's, since the lock is ours, and any old ones."""
        for table, age_hours in self._warehouse.tables(f"{STAGING_PREFIX}{self.layout.table}__"):
            if table.startswith(self._staging_prefix) or age_hours > STAGING_MAXIMUM_AGE_HOURS:
                self._warehouse.drop_table(table)


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
