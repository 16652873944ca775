"""How rows leave the tap: as Parquet files in BATCH messages, or one by one as RECORDs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, override

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tap_postgres_arrow.column_types import Field, Kind
from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.handover import Handover, ParquetFiles, writing
from tap_postgres_arrow.output import Output

EXTRACTED_AT = "_sdc_extracted_at"
SEQUENCE = "_sdc_sequence"
TABLE_VERSION = "_sdc_table_version"
# What the loader can't know of a file's rows, as it goes into each.
METADATA: Mapping[str, pa.DataType] = {
    EXTRACTED_AT: pa.timestamp("us", "UTC"),
    SEQUENCE: pa.int64(),
    TABLE_VERSION: pa.int64(),
}
METADATA_SCHEMA: Mapping[str, Any] = {
    EXTRACTED_AT: {"type": ["null", "string"], "format": "date-time"},
    SEQUENCE: {"type": ["null", "integer"]},
    TABLE_VERSION: {"type": ["null", "integer"]},
}


def conform(stream: str, fields: Sequence[Field], batch: pa.RecordBatch) -> list[pa.Array]:
    """Return a batch's columns in the types in which they travel.

    Raises:
        TapError: a value doesn't fit.
    """
    columns = []
    for field, values in zip(fields, batch.columns, strict=True):
        try:
            columns.append(field.convert(values))
        except ValueError as error:
            message = (
                f"Stream '{stream}', column '{field.name}': {error}. Correct the value at the "
                f"source, or declare a type that holds it in the extractor's `schema`, e.g. "
                f"`{{type: ['null', string]}}`, or `{{type: ['null', object, array]}}` for JSON."
            )
            raise TapError(message) from error
    return columns


class Emitter(ABC):
    """Takes one stream's rows."""

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Take some rows, as Postgres sent them.

        Raises:
            TapError: a value doesn't fit its type, or the disk is full.
        """

    @abstractmethod
    def close(self) -> None:
        """Give away what is left.

        Raises:
            TapError: the disk is full.
        """


class BatchEmitter(Emitter):
    """Writes Parquet files. No value of a row becomes an object of Python's.

    Args:
        stream: the stream's name.
        fields: its columns.
        handover: where files go.
        send: takes each file's URL.
        metadata: constants for the columns that are named so; none for a file of keys.
    """

    def __init__(
        self,
        stream: str,
        fields: Sequence[Field],
        handover: Handover,
        send: Callable[[str], None],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare to write."""
        self._stream = stream
        self._fields = fields
        self._constants = {
            name: pa.scalar(value, METADATA[name]) for name, value in (metadata or {}).items()
        }
        self._handover = handover
        self._send = send
        self._files: ParquetFiles | None = None

    @override
    def write(self, batch: pa.RecordBatch) -> None:
        columns = conform(self._stream, self._fields, batch)
        columns += [pa.repeat(value, batch.num_rows) for value in self._constants.values()]
        names = [*(field.name for field in self._fields), *self._constants]
        # Without the extension types and the metadata that Arrow would write into the file.
        rows = pa.RecordBatch.from_arrays([_plain(column) for column in columns], names)
        if self._files is None:
            # Keys, which have no metadata, are announced when they are all there.
            waits = bool(self._constants)
            self._files = ParquetFiles(self._handover, rows.schema, self._send, waits=waits)
        with writing(self._stream):
            self._files.write(rows)

    @override
    def close(self) -> None:
        if self._files:
            with writing(self._stream):
                self._files.close()


class RecordEmitter(Emitter):
    """Writes RECORD messages, for targets that know no Parquet. Slow, as that is.

    Args:
        stream: the stream's name.
        fields: its columns.
        output: takes the messages.
        envelope: what each message says beside its record.
    """

    def __init__(
        self, stream: str, fields: Sequence[Field], output: Output, envelope: Mapping[str, Any]
    ) -> None:
        """Prepare to write."""
        self._stream = stream
        self._fields = fields
        self._output = output
        self._envelope = {"type": "RECORD", "stream": stream, **envelope}

    @override
    def write(self, batch: pa.RecordBatch) -> None:
        columns = conform(self._stream, self._fields, batch)
        values = [
            self._values(field, column) for field, column in zip(self._fields, columns, strict=True)
        ]
        names = [field.name for field in self._fields]
        self._output.write_records(
            [
                {**self._envelope, "record": dict(zip(names, row, strict=True))}
                for row in zip(*values, strict=True)
            ]
        )

    @override
    def close(self) -> None:
        """Nothing is ever left."""

    def _values(self, field: Field, column: pa.Array) -> list[Any]:
        if field.kind is Kind.FLOAT:
            self._require_finite(field, column)
        values: list[Any] = _plain(column).to_pylist()
        if field.kind is Kind.JSON:
            return [None if text is None else msgspec.Raw(text.encode()) for text in values]
        return values

    def _require_finite(self, field: Field, column: pa.Array) -> None:
        numbers = column.flatten() if field.repeated else column
        if pc.all(pc.is_finite(numbers)).as_py() is False:
            message = (
                f"Stream '{self._stream}', column '{field.name}': JSON has no NaN and no infinity. "
                f"Use `emit: batches`, or declare the column as a string in the extractor's "
                f"`schema`."
            )
            raise TapError(message)


def _plain(column: pa.Array) -> pa.Array:
    """Return a column without Arrow's name for what Postgres has and Arrow has not."""
    return column.storage if isinstance(column, pa.ExtensionArray) else column
