"""Records of one stream on their way to a Parquet file.

Raw JSON is kept until it is worth a row group, then decoded and converted column by column.
What has been converted is on disk, so memory holds only what has not.
"""

import contextlib
import datetime
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from target_bigquery_arrow.column_types import to_arrow
from target_bigquery_arrow.decoder import RecordDecoder, misfit, null_key
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import (
    BATCHED_AT,
    DELETED_AT,
    EXTRACTED_AT,
    METADATA,
    RECEIVED_AT,
    SEQUENCE,
    TABLE_VERSION,
    Column,
    Layout,
)
from target_bigquery_arrow.messages import Record

CONVERSION_ERRORS = (ValueError, ArithmeticError, pa.ArrowException)
EXTRACTED_AT_COLUMN = Column(EXTRACTED_AT, "time_extracted", METADATA[EXTRACTED_AT])
# What a record takes in memory beside its JSON: the message's envelope and its objects.
RECORD_OVERHEAD = 300


class SequenceNumbers:
    """Numbers for `_sdc_sequence`: microseconds since the epoch, then one up for every row.

    Of two rows with one key, the later always has the greater number.
    """

    def __init__(self) -> None:
        self._next = time.time_ns() // 1_000
        self._lock = threading.Lock()

    def take(self, count: int) -> range:
        """Return the next numbers."""
        with self._lock:
            first = self._next
            self._next += count
            return range(first, self._next)


sequence = SequenceNumbers()


@dataclass(frozen=True)
class ParquetFile:
    """A file ready to be loaded: its path, its rows and its size in bytes."""

    path: Path
    rows: int
    size: int


class StreamBuffer:
    """Collect one stream's records and write them to a Parquet file.

    Attributes:
        pending_bytes: what the records that are still in memory take there.
        written_bytes: the size of the file so far.
    """

    def __init__(self, layout: Layout, decoder: RecordDecoder, path: Path) -> None:
        """Prepare to write to `path`, which is not created before the first row group."""
        self.pending_bytes = 0
        self.written_bytes = 0
        self._layout = layout
        self._decoder = decoder
        self._path = path
        self._records: list[Record] = []
        self._schema = layout.arrow_schema
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def append(self, record: Record) -> int:
        """Take one record; return what it takes in memory."""
        self._records.append(record)
        size = len(memoryview(record.record)) + RECORD_OVERHEAD
        self.pending_bytes += size
        return size

    def spill(self) -> None:
        """Convert the buffered records and write them to the file.

        Raises:
            LoadError: a value doesn't fit its type, a key is null, or the disk is full.
            NewPropertiesError: records have properties that the layout may gain. None is written.
        """
        if not self._records:
            return
        batch = self._to_arrow(self._records)
        with self._writing():
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self._path,
                    self._schema,
                    compression="zstd",
                    use_dictionary=False,
                    write_statistics=False,  # copies of the largest values
                )
            self._writer.write_batch(batch)
            self.written_bytes = self._path.stat().st_size
        self._rows += batch.num_rows
        self._records = []
        self.pending_bytes = 0

    def take_pending(self) -> list[Record]:
        """Return the records that are not in the file yet, and forget them."""
        records, self._records, self.pending_bytes = self._records, [], 0
        return records

    def close(self) -> ParquetFile | None:
        """Finish the file and return it; None where there were no rows."""
        self.spill()
        if self._writer is None:
            return None
        with self._writing():
            self._writer.close()
            self.written_bytes = self._path.stat().st_size
        return ParquetFile(self._path, self._rows, self.written_bytes)

    def discard(self) -> None:
        """Let all records go, and the file."""
        self._records = []
        self.pending_bytes = self.written_bytes = 0
        if self._writer is not None:
            with contextlib.suppress(OSError, pa.ArrowException):
                self._writer.close()
            self._path.unlink(missing_ok=True)
            self._writer = None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = (
                f"Stream '{self._layout.stream}': can't write to {self._path.parent} "
                f"({error.strerror or error}). Free some space there, or set TMPDIR to a larger "
                f"disk."
            )
            raise LoadError(message) from error

    def _to_arrow(self, records: Sequence[Record]) -> pa.RecordBatch:
        values = self._decoder.values([record.record for record in records])
        columns = {
            column.name: self._convert(column, column_values)
            for column, column_values in zip(self._layout.read_columns, values, strict=True)
        }
        for column in self._layout.columns:
            if column.name in self._layout.keys:
                self._check_key(column, columns[column.name])
        columns = self._metadata(records) | columns
        return pa.RecordBatch.from_arrays(
            [columns[name] for name in self._schema.names], schema=self._schema
        )

    def _check_key(self, column: Column, array: pa.Array) -> None:
        if array.null_count:
            raise null_key(self._layout, column, array.null_count, len(array))

    def _convert(self, column: Column, values: Sequence[Any]) -> pa.Array:
        try:
            return to_arrow(values, column.type)
        except CONVERSION_ERRORS:
            for value in values:
                try:
                    to_arrow([value], column.type)
                except CONVERSION_ERRORS as error:
                    raise misfit(self._layout, column, value, error) from error
            raise

    def _metadata(self, records: Sequence[Record]) -> dict[str, pa.Array]:
        count = len(records)
        now = pa.scalar(datetime.datetime.now(datetime.UTC), METADATA[RECEIVED_AT].arrow)
        extracted = self._convert(
            EXTRACTED_AT_COLUMN, [record.time_extracted for record in records]
        )
        return {
            EXTRACTED_AT: extracted.fill_null(now),
            RECEIVED_AT: pa.repeat(now, count),
            BATCHED_AT: pa.repeat(now, count),
            DELETED_AT: pa.nulls(count, METADATA[DELETED_AT].arrow),
            SEQUENCE: pa.array(sequence.take(count), pa.int64()),
            TABLE_VERSION: pa.array([record.version for record in records], pa.int64()),
        }
