"""Records of one stream on their way to a Parquet file.

Raw JSON is kept until it is worth a row group, then decoded and converted column by column.
What has been converted lies on disk, so memory holds only what has not.
"""

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from target_bigquery_arrow.column_types import Kind, to_arrow
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
    record_type,
)
from target_bigquery_arrow.messages import Record

# What a record takes in memory beside its JSON: the message's envelope and its objects.
RECORD_OVERHEAD = 300


class _Sequence:
    """Numbers for `_sdc_sequence`: microseconds since the epoch, then one up for every row.

    Of two rows with one key, the later always has the greater number.
    """

    def __init__(self) -> None:
        self._next = time.time_ns() // 1_000

    def take(self, count: int) -> range:
        first = self._next
        self._next += count
        return range(first, self._next)


_sequence = _Sequence()


@dataclass(frozen=True)
class ParquetFile:
    """A file ready to be loaded: its path, its rows and its size in bytes."""

    path: Path
    rows: int
    size: int


class StreamBuffer:
    """Collect one stream's records and write them to a Parquet file."""

    def __init__(self, layout: Layout, path: Path) -> None:
        """Prepare to write to `path`, which is not created before the first row group."""
        self.layout = layout
        self.pending_bytes = 0
        self.versionless_records = 0
        self._path = path
        self._records: list[Record] = []
        self._struct = record_type(layout)
        self._decode = msgspec.json.Decoder(list[self._struct]).decode  # type: ignore[name-defined]
        self._schema = layout.arrow_schema
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def append(self, record: Record) -> None:
        """Take one record."""
        self._records.append(record)
        self.pending_bytes += len(memoryview(record.record)) + RECORD_OVERHEAD
        if record.version is None:
            self.versionless_records += 1

    @property
    def written_bytes(self) -> int:
        """Return the size of the file so far."""
        return self._path.stat().st_size if self._writer else 0

    def spill(self) -> None:
        """Convert the records at hand and write them to the file.

        Raises:
            LoadError: a value doesn't fit its type, a key is null, or the disk is full.
        """
        if not self._records:
            return
        batch = self._to_arrow(self._records)
        try:
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self._path, self._schema, compression="zstd", use_dictionary=False
                )
            self._writer.write_batch(batch)
        except OSError as error:
            message = (
                f"Stream '{self.layout.stream}': can't write to {self._path.parent} "
                f"({error.strerror}). Free some space there, or set TMPDIR to a larger disk."
            )
            raise LoadError(message) from error
        self._rows += batch.num_rows
        self._records = []
        self.pending_bytes = 0

    def close(self) -> ParquetFile | None:
        """Finish the file and return it; None where there were no rows."""
        self.spill()
        if self._writer is None:
            return None
        self._writer.close()
        return ParquetFile(self._path, self._rows, self.written_bytes)

    def _to_arrow(self, records: Sequence[Record]) -> pa.RecordBatch:
        rows = self._rows_of(records)
        columns = [
            self._convert(column, values)
            for column, values in zip(self.layout.columns, rows, strict=False)
        ]
        for column, array in zip(self.layout.columns, columns, strict=True):
            if column.name in self.layout.keys and array.null_count:
                message = (
                    f"Stream '{self.layout.stream}': key property '{column.property}' is missing "
                    f"or null in {array.null_count} of {len(array)} records. A key must be there "
                    f"in every record: choose another with `table-key-properties` in the "
                    f"extractor's `metadata`."
                )
                raise LoadError(message)
        columns.extend(self._metadata(records, rows))
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _rows_of(self, records: Sequence[Record]) -> list[tuple[Any, ...]]:
        """Return the records' values by field."""
        raws = [bytes(record.record) for record in records]
        try:
            decoded = self._decode(b"[" + b",".join(raws) + b"]")
        except msgspec.DecodeError:
            decoded = [self._decode_leniently(raw) for raw in raws]
        fields = list(zip(*map(msgspec.structs.astuple, decoded), strict=True))
        return fields or [() for _ in records]

    def _decode_leniently(self, raw: bytes) -> Any:
        """Decode one record, taking 1.0 for the integer that JSON Schema says it is.

        Raises:
            LoadError: a value doesn't fit its type.
        """
        values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        for column in self.layout.columns:
            if column.property not in values:
                continue
            value = values[column.property]
            try:
                msgspec.json.decode(value, type=column.type.python)
            except msgspec.DecodeError as error:
                integer = _integral(value) if column.type.kind is Kind.INT64 else None
                if integer is None:
                    raise self._misfit(column, value.__bytes__().decode(), error) from error
                values[column.property] = msgspec.Raw(str(integer).encode())
        return msgspec.json.decode(msgspec.json.encode(values), type=self._struct)

    def _convert(self, column: Column, values: Sequence[Any]) -> pa.Array:
        try:
            return to_arrow(values, column.type)
        except (ValueError, OverflowError, ArithmeticError, pa.ArrowException):
            for value in values:
                try:
                    to_arrow([value], column.type)
                except (ValueError, OverflowError, ArithmeticError, pa.ArrowException) as error:
                    raise self._misfit(column, value, error) from error
            raise

    def _misfit(self, column: Column, value: object, error: Exception) -> LoadError:
        text = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"
        return LoadError(
            f"Stream '{self.layout.stream}', property '{column.property}': {text} does not fit "
            f"{column.type} ({error}). Correct the value at the source, or declare the property's "
            f"true type in the extractor's `schema`."
        )

    def _metadata(self, records: Sequence[Record], rows: Sequence[Any]) -> list[pa.Array]:
        count = len(records)
        now = datetime.datetime.now(datetime.UTC)
        sequence = _sequence.take(count)
        received = pa.array([now], METADATA[RECEIVED_AT].arrow).take(pa.array([0] * count))
        extracted = to_arrow([r.time_extracted for r in records], METADATA[EXTRACTED_AT])
        deleted: Sequence[str | None] = rows[-1] if self.layout.reports_deletes else [None] * count
        by_name = {
            EXTRACTED_AT: extracted.fill_null(received[0]) if extracted.null_count else extracted,
            RECEIVED_AT: received,
            BATCHED_AT: received,
            DELETED_AT: to_arrow(deleted, METADATA[DELETED_AT]),
            SEQUENCE: pa.array(sequence, pa.int64()),
            TABLE_VERSION: pa.array([record.version for record in records], pa.int64()),
        }
        return [by_name[name] for name in METADATA]


def _integral(raw: msgspec.Raw) -> int | None:
    """Return the integer that a JSON number such as 1.0 or 1e3 stands for."""
    try:
        number = msgspec.json.decode(raw, type=float)
    except msgspec.DecodeError:
        return None
    return int(number) if number.is_integer() else None
