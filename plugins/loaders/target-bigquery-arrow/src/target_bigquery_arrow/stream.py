"""One stream's way into its table."""

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from target_bigquery_arrow import statements
from target_bigquery_arrow.batches import BatchFile, reading
from target_bigquery_arrow.buffer import ParquetFile, StreamBuffer
from target_bigquery_arrow.column_types import ColumnType
from target_bigquery_arrow.completeness import Completeness, listed
from target_bigquery_arrow.decoder import NewPropertiesError, RecordDecoder
from target_bigquery_arrow.deletes import (
    SourceKeys,
    delete_older_versions,
    delete_unlisted,
    remove_deleted,
)
from target_bigquery_arrow.drift import SchemaDrift, reconcile
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.file_mapping import FileMapping
from target_bigquery_arrow.layout import DELETED_AT, SEQUENCE, Layout, new_columns
from target_bigquery_arrow.messages import Record
from target_bigquery_arrow.partitioning import (
    MAXIMUM_PARTITIONS,
    MAXIMUM_PARTITIONS_A_JOB,
    PartitionFilter,
    Partitioning,
    RangePartitioning,
    Spread,
    TimePartitioning,
    candidates,
    partitioning_for,
)
from target_bigquery_arrow.staging import StagingTable, absent, of_records
from target_bigquery_arrow.table import Dataset, Table
from target_bigquery_arrow.warehouse import TableInfo

logger = logging.getLogger(__name__)

MEBIBYTE = 2**20

# A table, what the stream's columns are made from in it, and its own columns.
type Source = tuple[str, Mapping[str, str], Iterable[str]]


@dataclass(frozen=True)
class LoadOptions:
    """What is the same for every stream of a run.

    Attributes:
        directory: a private folder for Parquet files.
        run: this run's identifier, in the names of its jobs and staging tables.
        drift: what to do when the table has other columns.
        hard_delete: remove deleted rows instead of marking them.
        partition_bytes: a table whose first load is this large is partitioned.
        repartition: rebuild tables whose partitions are not what a first load would give them.
    """

    directory: Path
    run: str
    drift: SchemaDrift
    hard_delete: bool
    partition_bytes: int
    repartition: bool


@dataclass
class Counts:
    """Rows of one stream: as they came, as they lay in staging, as they were written."""

    received: int = 0
    loaded: int = 0
    merged: int = 0
    inserted: int = 0
    deleted: int = 0
    versionless: int = 0


class Stream:
    """Load one stream into its table. One process at a time: the table is locked.

    Attributes:
        layout: the columns that its rows have now.
        staging: the load job of its that is under way, or was the last.
        is_awaited: whether a STATE waits for what it has had so far.
        max_delete_fraction: how much of the table ACTIVATE_VERSION may delete.
        schema_changes: in what its columns differed from the table's, and what was done.
        is_proven_complete: whether rows that the source no longer has have been looked for.
    """

    def __init__(self, layout: Layout, dataset: Dataset, options: LoadOptions) -> None:
        """Lock the table and ask what it is like; nothing is altered before a load.

        Raises:
            LoadError: another run holds the table.
        """
        self.counts = Counts()
        self.completeness = Completeness()
        self.staging: Future[None] | None = None
        self.is_awaited = False
        self.max_delete_fraction = 1.0
        self.schema_changes: list[str] = []
        self.is_proven_complete = False
        self._options = options
        self._dataset = dataset
        self._warehouse = dataset.warehouse
        self._table = Table(layout.table, dataset, options.run)
        self._staged: list[StagingTable] = []
        self._keys: SourceKeys | None = None
        self._keys_are_stale = False
        self._table_exists = self._table_is_new = self._table_is_empty = False
        self.adopt(layout)

    @property
    def target(self) -> str:
        """Return the full name of its table."""
        return self._table.target

    @property
    def billed(self) -> int:
        """Return the bytes that its queries have billed."""
        return self._table.bill.billed

    @property
    def pending_bytes(self) -> int:
        """Return what its records take in memory."""
        return 0 if self._asked else self._buffer.pending_bytes

    @property
    def written_bytes(self) -> int:
        """Return what its records take on disk."""
        return 0 if self._asked else self._buffer.written_bytes

    @property
    def is_uncommitted(self) -> bool:
        """Return whether it has had messages that are not in the table yet."""
        return (
            self.counts.received > self.counts.loaded
            or self._keys is not None
            or self.completeness.version is not None
        )

    @property
    def is_unprepared(self) -> bool:
        """Return whether its layout has yet to be fitted to its table."""
        return self._asked is not None

    def adopt(self, layout: Layout) -> None:
        """Go on with another layout. There must be no rows left of the one before."""
        self.layout = layout
        self._asked: Future[TableInfo | None] | None = self._dataset.info(layout.table)

    def prepare(self) -> None:
        """Fit the layout to the table, before the first row of the stream.

        Raises:
            LoadError: `schema_drift` forbids the change.
        """
        if self._asked is None:
            return
        self._info, layout = self._asked.result(), self.layout
        existing = layout.types if self._info is None else self._info.types
        drift = self._options.drift
        self._plan = reconcile(layout, existing, drift)
        self._asked = None
        for finding in self._plan.report:
            logger.warning("Schema drift in table %s: %s", self.target, finding)
        self.schema_changes += self._plan.report
        self.layout = self._plan.layout
        if self._info:
            self._table_exists = True
            self._table.bill.size = self._info.size
            partitioning = self._info.partitioning
            if partitioning and partitioning.column in self.layout.types:
                self._table.partitioning = partitioning
        left_out = {column.property for column in layout.columns}
        left_out -= {column.property for column in self.layout.columns}
        self._decoder = RecordDecoder(self.layout, drift, left_out)
        self._files = FileMapping(self._plan, drift, left_out)
        self._buffer = self._new_buffer()

    def append(self, record: Record) -> int:
        """Take one record; return what it takes in memory."""
        self._count_received(1, record.version)
        return self._buffer.append(record)

    def spill(self) -> None:
        """Write the records that are in memory to disk.

        Raises:
            LoadError: a value doesn't fit its type, a key is null, or the disk is full.
        """
        try:
            self._buffer.spill()
        except NewPropertiesError as found:
            self._gain(found.names)
            self._buffer.spill()

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
        records = self._buffer.take_pending()
        if load := self.stage_records():
            self.wait()
            load()
        self.adopt(replace(self.layout, columns=(*self.layout.columns, *added)))
        self.prepare()
        for staged in self._staged:
            staged.expressions = {
                name: staged.expressions.get(name, absent(kind))
                for name, kind in self.layout.types.items()
            }
        for record in records:
            self._buffer.append(record)

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

    def stage_records(self) -> Callable[[], None] | None:
        """Take the records so far out of the buffer; return the work of staging them, if any.

        Raises:
            LoadError: a value doesn't fit its type, or the disk is full.
        """
        self.spill()
        file = self._buffer.close()
        self._buffer = self._new_buffer()
        if file is None:
            return None
        new = of_records(self._table.staging_table("staged"), self.layout, self._plan.casts)
        # Only the last: what came after another's rows must be written after them.
        table = next((known for known in self._staged[-1:] if known.is_alike(new)), new)
        if table is new:
            self._staged.append(new)

        def work() -> None:
            self._load(table, file)
            file.path.unlink()

        return work

    def commit(self) -> None:
        """Put all rows into the table, and see to it that the table is there.

        Raises:
            LoadError: BigQuery failed, the rows counted on the way don't agree, or more have gone
                than `max_delete_fraction` allows.
        """
        self.prepare()
        self.wait()
        if load := self.stage_records():
            load()
        self._ensure_table()
        for staged in self._staged:
            self.counts.merged += self._write(staged)
            self.counts.loaded += staged.rows
            self._warehouse.drop_table(staged.name)
        if self._staged and self._options.hard_delete and self.layout.reports_deletes:
            self.counts.deleted += remove_deleted(self._table, self.layout)
        self._staged = []
        self._table.check_equal(self.counts.received, "received", self.counts.loaded, "loaded")
        if self._keys:
            self.counts.deleted += delete_unlisted(
                self._table, self.layout, self._keys, hard_delete=self._options.hard_delete
            )
            self._keys = None
            self.is_proven_complete = True
        # Where the version came after the records, the state that follows stands for the deletes.
        self.activate_version()
        self.is_awaited = False

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
        # Where this run has made the table and nothing else has come, nothing can be older.
        if not self._table_is_new or self.completeness.versions != {version}:
            self.counts.deleted += delete_older_versions(
                self._table,
                self.layout,
                version,
                max_delete_fraction=self.max_delete_fraction,
                hard_delete=self._options.hard_delete,
            )
        self.completeness.version = None
        self.is_proven_complete = True

    @property
    def has_open_version(self) -> bool:
        """Return whether rows may have gone that are not marked, for want of proof."""
        return self.completeness.version is not None or self._keys_are_stale

    def abandon(self) -> None:
        """Drop the buffered rows: the stream has failed."""
        if not self.is_unprepared:
            self._buffer.discard()
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
        if not staged.rows:
            self._warehouse.create_staging_table(staged.name, staged.columns)
        with reading(self.layout.stream, file.path):
            rows, logical_size = self._warehouse.load_parquet(
                file.path, staged.name, staged.columns, self._table.job("load")
            )
        self._table.check_equal(file.rows, f"in {file.path.name}", rows, "loaded")
        staged.rows += rows
        staged.size += file.size
        self._table.bill.size += logical_size

    def _ensure_table(self) -> None:
        if not self._table_exists:
            self._warehouse.create_table(self.layout, self._partitioning_at_first())
            self._dataset.add(self._table.name)
            self._table_exists = self._table_is_new = self._table_is_empty = True
        elif self._info:
            self._table.wait_for_others()
            if not self._info.has_key(self.layout):
                self._adopt_key(self._info)
            if self._options.repartition:
                self._repartition(self._info)
        self._info = None
        if self._plan.added:
            sql = statements.add_columns(self.target, self._plan.added)
            self._table.execute(sql, "add_columns")
            self._plan.added.clear()
        while self._plan.widened:
            self._widen(*self._plan.widened.popitem())

    def _adopt_key(self, info: TableInfo) -> None:
        """Go on by another key than the table's rows have, if there is one row a key.

        Raises:
            LoadError: the rows that are there couldn't be told from those that come.
        """
        if DELETED_AT not in info.types:
            return  # another tool's table
        if not self.layout.keys:
            # Rows of a version take the place of all others once they are whole.
            if self.counts.versionless:
                raise self._other_key(info, "no key, so that its rows would be there twice")
            return
        if missing := set(self.layout.keys) - info.types.keys():
            ((live,),) = self._table.rows(
                statements.count_live(self.target, self.layout), "count_live"
            )
            if live:
                names = ", ".join(sorted(missing))
                reason = f"key '{names}', which none of the table's {live:,} live rows has"
                raise self._other_key(info, reason)
            return
        ((_, live_without, keys),) = self._table.rows(
            statements.count_keys(self.target, self.layout), "count_keys"
        )
        if live_without:
            names = ", ".join(self.layout.keys)
            reason = f"key '{names}', which {live_without:,} of the table's live rows don't have"
            raise self._other_key(info, reason)
        ((rows,),) = self._table.rows(statements.count_rows(self.target), "count_rows")
        if rows > keys:
            self._leave_one_row_a_key(info)
        self._warehouse.note_key(self.layout)

    def _other_key(self, info: TableInfo, reason: str) -> LoadError:
        old = f" (clustered by '{', '.join(info.clustering)}')" if info.clustering else ""
        return LoadError(
            f"Stream '{self.layout.stream}': table {self.target} was loaded by another key{old}, "
            f"and now the stream has {reason}. Nothing was written. Keep the old key by "
            f"`table-key-properties` in the extractor's `metadata`; or rename or drop the table, "
            f"and read the stream in full with `meltano invoke stack resync`."
        )

    def _leave_one_row_a_key(self, info: TableInfo | None = None) -> None:
        """Repair a table in which rows share a key: of each, the latest live row stays.

        Raises:
            LoadError: BigQuery failed.
        """
        info = info or self._warehouse.table_info(self._table.name)
        if info is None:
            return
        logger.warning(
            "Table %s has several rows for some keys: it is rebuilt with the latest row of each",
            self.target,
        )
        self._table.rebuild(self.layout, info.schema, info.partitioning, one_row_a_key=True)

    def _widen(self, name: str, column: ColumnType) -> None:
        partitioning = self._table.partitioning
        if partitioning is None or partitioning.column != name:
            sql = statements.widen_column(self.target, name, column)
            self._table.execute(sql, "widen_column")
        elif info := self._warehouse.table_info(self._table.name):
            # BigQuery doesn't alter the column that a table is partitioned by.
            self._rebuild(info, None, {name: column})

    def _partitioning_at_first(self) -> Partitioning | None:
        """Choose the partitions of a table that has no rows yet, by those that are staged."""
        size = sum(staged.size for staged in self._staged)
        if size < self._options.partition_bytes:
            return None
        spreads = self._spreads(
            [(staged.name, staged.expressions, staged.columns) for staged in self._staged]
        )
        self._table.partitioning = partitioning_for(spreads, size)
        return self._table.partitioning

    def _repartition(self, info: TableInfo) -> None:
        """Rebuild the table if its partitions are not what a first load would give it."""
        if info.size < self._options.partition_bytes:
            return
        columns = {name: f"`{name}`" for name in info.types}
        spreads = self._spreads([(self.target, columns, columns)])
        wanted, current = partitioning_for(spreads, info.size), info.partitioning
        if wanted is None:
            return
        if current and current.column == wanted.column:
            highest = spreads[current.column].highest
            if not isinstance(current, RangePartitioning) or highest < current.end:
                return
        self._rebuild(info, wanted)

    def _spreads(self, sources: Sequence[Source]) -> dict[str, Spread]:
        """Return what the values are like by which the table may be partitioned."""
        found = {}
        for column in candidates(self.layout):
            kind = self.layout.types[column].kind
            tables = [(table, made[column], columns) for table, made, columns in sources]
            sql = statements.spread(column, kind, tables)
            ((lowest, highest, days),) = self._table.rows(sql, "spread")
            found[column] = Spread(lowest, highest, days)
        return found

    def _rebuild(
        self,
        info: TableInfo,
        partitioning: Partitioning | None,
        widened: Mapping[str, ColumnType] | None = None,
    ) -> None:
        logger.warning(
            "Table %s (%s MiB, partitioned %s) is rebuilt, partitioned %s",
            self.target,
            f"{info.size / MEBIBYTE:,.0f}",
            info.partitioning or "by nothing",
            partitioning or "by nothing",
        )
        self._table.rebuild(self.layout, info.schema_with(widened or {}), partitioning)

    def _write(self, staged: StagingTable) -> int:
        """Put staged rows into the table; return how many it came to."""
        if not self.layout.keys:
            return self._insert(staged)
        written = self._fill(staged) if self._table_is_empty else self._merge(staged)
        self._table_is_empty = False
        return written

    def _insert(self, staged: StagingTable) -> int:
        source = staged.name
        expressions = dict(staged.expressions)
        if not self._table_is_new:
            # The clock may have gone back since the last run.
            sql = statements.greatest_sequence(
                self.target, source, expressions[SEQUENCE], staged.columns
            )
            ((greatest, least),) = self._table.rows(sql, "sequence")
            if greatest is not None and least is not None and least <= greatest:
                expressions[SEQUENCE] += f" + {greatest - least + 1}"
        sql = statements.insert(self.target, source, expressions, staged.columns)
        inserted = self._table.execute(sql, "insert")
        self._table.check_equal(staged.rows, "loaded", inserted, "inserted")
        self.counts.inserted += inserted
        return inserted

    def _fill(self, staged: StagingTable) -> int:
        """Put the first rows into a table that this run has made: it takes one statement."""
        source = staged.name
        sql = statements.fill(self.target, source, self.layout, staged.expressions, staged.columns)
        filled = self._table.execute(sql, "fill")
        self.counts.inserted += filled
        if self._warehouse.row_count(self._table.name) > filled:
            self._leave_one_row_a_key()
        self._check_order(staged, filled)
        return filled

    def _merge(self, staged: StagingTable) -> int:
        typed = self._table.staging_table("typed")
        sql = statements.type_and_deduplicate(
            typed,
            staged.name,
            self.layout,
            staged.expressions,
            staged.columns,
        )
        self._table.execute(sql, "type")
        distinct = self._warehouse.row_count(typed)
        self._check_order(staged, distinct)
        where = self._touched(typed, distinct)
        sql = statements.merge(self.target, typed, self.layout, self._plan.superseded, where)
        changes = self._table.change(sql, "merge")
        merged = changes.total
        self.counts.inserted += changes.inserted
        if merged > distinct:
            self._leave_one_row_a_key()
            merged = distinct
        self._table.check_equal(distinct, "distinct by key", merged, "merged")
        self._warehouse.drop_table(typed)
        return merged

    def _touched(self, typed: str, rows: int) -> PartitionFilter | None:
        """Return which parts of the table typed rows go to; None where it has no partitions.

        Where the key doesn't hold the partitioning column, a row may be elsewhere than the one
        that replaces it. That takes a look at every key, unless all are found where the new rows
        go.

        Args:
            typed: the table of the rows, one for each key.
            rows: how many there are.
        """
        partitioning = self._table.partitioning
        if partitioning is None:
            return None
        where, _ = self._parts(typed, partitioning, by_key=False)
        if partitioning.column not in self.layout.keys:
            sql = statements.count_replaced(self.target, typed, self.layout, where)
            ((found,),) = self._table.rows(sql, "count_replaced")
            if found == rows:
                return where
        elif partitioning.is_bounded:
            return where
        where, count = self._parts(typed, partitioning, by_key=True)
        too_many = len(where.intervals) > MAXIMUM_PARTITIONS_A_JOB or count > MAXIMUM_PARTITIONS
        if too_many and (info := self._warehouse.table_info(self._table.name)):
            self._rebuild(info, TimePartitioning(partitioning.column, "MONTH"))
        return where

    def _parts(
        self, typed: str, partitioning: Partitioning, *, by_key: bool
    ) -> tuple[PartitionFilter, int]:
        """Return what typed rows touch, and how many partitions the table will have."""
        sql = statements.touched(self.target, typed, self.layout, partitioning, by_key=by_key)
        parts = self._table.rows(sql, "touched")
        where = PartitionFilter(partitioning.column, [(low, high) for low, high, _ in parts])
        return where, parts[0][2] if parts else 0

    def _check_order(self, staged: StagingTable, distinct: int) -> None:
        """Warn if nothing says which of two rows with the same key is the later."""
        if distinct < staged.rows and not staged.in_order:
            logger.warning(
                "Stream '%s': %d rows share a key with another of the same files, which don't "
                "tell the later of two: which one stays is left to chance.",
                self.layout.stream,
                staged.rows - distinct,
            )

    def _new_buffer(self) -> StreamBuffer:
        path = self._options.directory / f"{uuid.uuid4()}.parquet"
        return StreamBuffer(self.layout, self._decoder, path)
