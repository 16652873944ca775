"""One stream's way into its table."""

import logging
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from target_bigquery_arrow import statements
from target_bigquery_arrow.batches import BatchFile, reading
from target_bigquery_arrow.buffer import ParquetFile, StreamBuffer
from target_bigquery_arrow.completeness import Completeness, listed
from target_bigquery_arrow.decoder import NewPropertiesError, RecordDecoder
from target_bigquery_arrow.deletes import SourceKeys, delete_older_versions, delete_unlisted
from target_bigquery_arrow.drift import SchemaDrift, reconcile
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.file_mapping import FileMapping
from target_bigquery_arrow.layout import Layout, new_columns
from target_bigquery_arrow.messages import Record
from target_bigquery_arrow.staging import StagingTable, absent, of_records
from target_bigquery_arrow.table import Table
from target_bigquery_arrow.warehouse import Warehouse

logger = logging.getLogger(__name__)


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

    Attributes:
        layout: the columns that its rows have now.
        buffer: its records that are not in a staging table yet.
        staging: the load job of its that is under way, or was the last.
        max_delete_fraction: how much of the table ACTIVATE_VERSION may delete.
    """

    def __init__(self, layout: Layout, warehouse: Warehouse, options: LoadOptions) -> None:
        """Lock the table and compare it with the layout; nothing is altered before a load.

        Raises:
            LoadError: another run holds the table, or `schema_drift` forbids the change.
        """
        self.counts = Counts()
        self.completeness = Completeness()
        self.staging: Future[None] | None = None
        self.max_delete_fraction = 1.0
        self._options = options
        self._warehouse = warehouse
        self._table = Table(layout.table, warehouse, options.run)
        self._staged: list[StagingTable] = []
        self._keys: SourceKeys | None = None
        self._keys_are_stale = False
        self._table_is_empty = False
        self.adopt(layout)

    @property
    def target(self) -> str:
        """Return the full name of its table."""
        return self._table.target

    @property
    def is_uncommitted(self) -> bool:
        """Return whether it has had messages that are not in the table yet."""
        return (
            self.counts.received > self.counts.loaded
            or self._keys is not None
            or self.completeness.version is not None
        )

    def adopt(self, layout: Layout) -> None:
        """Go on with another layout. There must be no rows left of the one before.

        Raises:
            LoadError: `schema_drift` forbids the change.
        """
        existing = self._warehouse.table_types(layout.table)
        self._table_exists = existing is not None
        drift = self._options.drift
        self._plan = reconcile(layout, layout.types if existing is None else existing, drift)
        for finding in self._plan.report:
            logger.warning("Schema drift in table %s: %s", self.target, finding)
        self.layout = self._plan.layout
        left_out = {column.property for column in layout.columns}
        left_out -= {column.property for column in self.layout.columns}
        self._decoder = RecordDecoder(self.layout, drift, left_out)
        self._files = FileMapping(self._plan, drift, left_out)
        self.buffer = self._new_buffer()

    def append(self, record: Record) -> None:
        """Take one record."""
        self._count_received(1, record.version)
        self.buffer.append(record)

    def spill(self) -> None:
        """Write its records to disk.

        Raises:
            LoadError: a value doesn't fit its type, a key is null, or the disk is full.
        """
        try:
            self.buffer.spill()
        except NewPropertiesError as found:
            self._gain(found.names)
            self.buffer.spill()

    def _gain(self, properties: Collection[str]) -> None:
        """Go on with a column more for each property that records have and the SCHEMA doesn't.

        Raises:
            LoadError: a property can't have a column.
        """
        added = new_columns(self.layout, properties)
        logger.warning(
            "Stream '%s': properties of its records are not in its SCHEMA message: %s. They are "
            "kept as JSON. Declare them in the extractor's `schema` to give them a type.",
            self.layout.stream,
            listed(sorted(properties)),
        )
        records = self.buffer.take_pending()
        if file := self.buffer.close():
            self._stage_records(file)
        self.adopt(replace(self.layout, columns=(*self.layout.columns, *added)))
        for staged in self._staged:
            staged.expressions = {
                name: staged.expressions.get(name, absent(kind))
                for name, kind in self.layout.types.items()
            }
        for record in records:
            self.buffer.append(record)

    def is_loadable(self, file: BatchFile) -> bool:
        """Return whether a load job takes a file of the tap's as it is.

        Raises:
            LoadError: a column holds what its property can't.
        """
        return self._files.is_loadable(file)

    def stage(self, file: BatchFile, version: int | None) -> Callable[[], None]:
        """Take a file of the tap's; return the work of bringing it into a staging table.

        Raises:
            LoadError: the file doesn't fit the stream.
        """
        new = self._files.rows(self._table.staging_table("staged"), file, version)
        table = next((known for known in self._staged if known.is_alike(new)), new)
        if table is new:
            self._staged.append(new)
        self._count_received(file.rows, version)
        return partial(self._load, table, file)

    def stage_keys(
        self, files: Sequence[BatchFile], max_delete_fraction: float
    ) -> list[Callable[[], None]]:
        """Take the keys that the source holds now; return the work of staging each file.

        Raises:
            LoadError: a file doesn't hold the stream's key.
        """
        name = self._table.staging_table("keys")
        table = StagingTable(name, columns={}, expressions=self._files.no_keys())
        for file in files:
            table = self._files.keys(name, file)
        self._keys = SourceKeys(table, sum(file.rows for file in files), max_delete_fraction)
        return [partial(self._load, table, file) for file in files]

    def wait(self) -> None:
        """Wait until the files taken so far are in staging tables.

        Raises:
            LoadError: one is not.
        """
        if self.staging:
            self.staging.result()

    def check(self) -> None:
        """See whether staging has failed, without waiting for it.

        Raises:
            LoadError: it has.
        """
        if self.staging and self.staging.done():
            self.staging.result()

    def commit(self) -> None:
        """Put all rows into the table, and see to it that the table is there.

        Raises:
            LoadError: BigQuery failed, the rows counted on the way don't agree, or more have gone
                than `max_delete_fraction` allows.
        """
        self.wait()
        self.spill()
        if file := self._take_file():
            self._stage_records(file)
        self._ensure_table(sum(staged.size for staged in self._staged))
        for staged in self._staged:
            self.counts.merged += self._write(staged)
            self.counts.loaded += staged.rows
            self._warehouse.drop_table(staged.name)
        self._staged = []
        self._table.check_equal(self.counts.received, "received", self.counts.loaded, "loaded")
        if self._keys:
            self.counts.deleted += delete_unlisted(
                self._table, self.layout, self._keys, hard_delete=self._options.hard_delete
            )
            self._keys = None
        # Where the version came after the records, the state that follows stands for the deletes.
        self.activate_version()

    def activate_version(self) -> None:
        """Mark, or remove, the rows that a complete read of the source didn't have.

        Without proof that it was complete, nothing happens. All that was read must be in the table.

        Raises:
            LoadError: a record came without its version, so old and new can't be told apart, or
                more rows have gone than `max_delete_fraction` allows.
        """
        version = self.completeness.version
        if version is None or not self.completeness.is_complete:
            return
        if self.counts.versionless:
            message = (
                f"Stream '{self.layout.stream}': ACTIVATE_VERSION {version} would delete the "
                f"{self.counts.versionless} records that bear no `version`. Set "
                f"`process_activate_version_messages: false` on the loader, or use a release of "
                f"the extractor that sends versions."
            )
            raise LoadError(message)
        self.counts.deleted += delete_older_versions(
            self._table,
            self.layout,
            version,
            max_delete_fraction=self.max_delete_fraction,
            hard_delete=self._options.hard_delete,
        )
        self.completeness.version = None

    @property
    def has_open_version(self) -> bool:
        """Return whether rows may have gone that are not marked, for want of proof."""
        return self.completeness.version is not None or self._keys_are_stale

    def abandon(self) -> None:
        """Let go of the rows at hand: the stream has failed."""
        self.buffer.discard()
        self._staged = []
        self._keys = None

    def close(self) -> None:
        """Let the next run have the table."""
        self._table.close()

    def _count_received(self, rows: int, version: int | None) -> None:
        self.counts.received += rows
        if self._keys:  # what came later isn't among them
            self._keys = None
            self._keys_are_stale = True
        if version is None:
            self.counts.versionless += rows

    def _load(self, staged: StagingTable, file: ParquetFile | BatchFile) -> None:
        with reading(self.layout.stream, file.path):
            loaded = self._warehouse.load_parquet(
                file.path, staged.name, staged.columns, self._table.job("load")
            )
        self._table.check_equal(file.rows, f"in {file.path.name}", loaded, "loaded")
        staged.rows += loaded
        staged.size += file.size

    def _stage_records(self, file: ParquetFile) -> None:
        name = self._table.staging_table("staged")
        self._staged.append(of_records(name, self.layout, self._plan.casts))
        self._load(self._staged[-1], file)
        file.path.unlink()

    def _ensure_table(self, size: int) -> None:
        if not self._table_exists:
            partitioned = size >= self._options.partition_bytes
            self._warehouse.create_table(self.layout, partitioned=partitioned)
            self._table_exists = self._table_is_empty = True
        if self._plan.added:
            sql = statements.add_columns(self.target, self._plan.added)
            self._table.execute(sql, "add_columns")
            self._plan.added.clear()
        while self._plan.widened:
            name, column = self._plan.widened.popitem()
            self._table.execute(statements.widen_column(self.target, name, column), "widen_column")

    def _write(self, staged: StagingTable) -> int:
        """Put staged rows into the table; return how many it came to."""
        if not self.layout.keys:
            return self._insert(staged)
        written = self._fill(staged) if self._table_is_empty else self._merge(staged)
        self._table_is_empty = False
        if self._options.hard_delete and self.layout.reports_deletes:
            sql = statements.remove_deleted(self.target)
            self.counts.deleted += self._table.execute(sql, "remove_deleted")
        return written

    def _insert(self, staged: StagingTable) -> int:
        sql = statements.insert(self.target, self._table.qualified(staged.name), staged.expressions)
        inserted = self._table.execute(sql, "insert")
        self._table.check_equal(staged.rows, "loaded", inserted, "inserted")
        return inserted

    def _fill(self, staged: StagingTable) -> int:
        """Put the first rows into a table that this run has made: it takes one statement."""
        source = self._table.qualified(staged.name)
        sql = statements.fill(self.target, source, self.layout, staged.expressions)
        filled = self._table.execute(sql, "fill")
        self._table.check_equal(
            filled, "inserted", self._warehouse.row_count(self._table.name), "in the table"
        )
        self._check_order(staged, filled)
        return filled

    def _merge(self, staged: StagingTable) -> int:
        typed = self._table.staging_table("typed")
        source = self._table.qualified(typed)
        sql = statements.type_and_deduplicate(
            source, self._table.qualified(staged.name), self.layout, staged.expressions
        )
        self._table.execute(sql, "type")
        distinct = self._warehouse.row_count(typed)
        self._check_order(staged, distinct)
        sql = statements.merge(self.target, source, self.layout, self._plan.superseded)
        merged = self._table.execute(sql, "merge")
        self._table.check_equal(distinct, "distinct by key", merged, "merged")
        self._warehouse.drop_table(typed)
        return merged

    def _check_order(self, staged: StagingTable, distinct: int) -> None:
        """Say so where nothing tells which of two rows with one key is the later."""
        if distinct < staged.rows and not staged.in_order:
            logger.warning(
                "Stream '%s': %d rows share a key with another of the same files, which don't "
                "tell the later of two: which one stays is left to chance.",
                self.layout.stream,
                staged.rows - distinct,
            )

    def _take_file(self) -> ParquetFile | None:
        """Finish the file of records at hand, and begin the next."""
        file = self.buffer.close()
        self.buffer = self._new_buffer()
        return file

    def _new_buffer(self) -> StreamBuffer:
        path = self._options.directory / f"{uuid.uuid4()}.parquet"
        return StreamBuffer(self.layout, self._decoder, path)
