"""How rows leave the tap: as Parquet files in BATCH messages, or one by one as RECORDs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, override

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tap_postgres_arrow.batch_dir import BatchDir, ParquetFiles, writing
from tap_postgres_arrow.column_types import (
    Field,
    Kind,
    lone_surrogates,
    without_lone_surrogates,
)
from tap_postgres_arrow.database import ANY_BYTES
from tap_postgres_arrow.errors import TapError, shortened
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


class UnreadableTextError(ValueError):
    """A text that isn't UTF-8: no other type would hold it."""


class Conversion:
    """Brings one stream's rows into the types in which they travel."""

    def __init__(
        self,
        stream: str,
        fields: Sequence[Field],
        keys: Sequence[str],
        *,
        checks_text: bool,
        nullifies: bool,
    ) -> None:
        """Prepare to convert.

        Args:
            stream: the stream's name.
            fields: its columns.
            keys: the names of the key columns, which identify a row in errors.
            checks_text: whether a text needn't be UTF-8.
            nullifies: whether a value that doesn't fit becomes null. A key is an error always.
        """
        self._stream = stream
        self._fields = fields
        self._keys = keys
        self._checks_text = checks_text
        self._nullifies = nullifies
        # By column: how many of its values were changed, and what was said of the first.
        self._nullified: dict[str, tuple[int, str]] = {}
        self._repaired: dict[str, tuple[int, str]] = {}

    def columns(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """Return a batch's columns as they travel.

        Raises:
            TapError: a value doesn't fit.
        """
        return [
            self._column(field, values, batch)
            for field, values in zip(self._fields, batch.columns, strict=True)
        ]

    def warnings(self) -> Iterator[str]:
        """Return what is to be said of values that arrive as others."""
        for name, (count, first) in self._nullified.items():
            yield (
                f"{self._stream}: {count:,} values of column '{name}' don't fit its type and "
                f"arrive as null. The first: {first}"
            )
        for name, (count, first) in self._repaired.items():
            yield (
                f"{self._stream}: {count:,} values of column '{name}' have half of a character "
                f"(a lone surrogate), which arrives as U+FFFD. The first: {first}"
            )

    def _column(self, field: Field, values: pa.Array, batch: pa.RecordBatch) -> pa.Array:
        if field.is_json_text and (broken := lone_surrogates(values)):
            values = without_lone_surrogates(values, broken)
            self._note(self._repaired, field, len(broken), self._row(batch, broken[0]))
        try:
            return self._converted(field, values)
        except ValueError as error:
            row = self._row(batch, self._first_misfit(field, values))
            if self._nullifies and field.name not in self._keys:
                fitting, count = self._nullify(field, values)
                self._note(self._nullified, field, count, f"{row}: {error}.")
                return fitting
            other = (
                f"leave the column out with `select: ['!{self._stream}.{field.name}']`"
                if isinstance(error, UnreadableTextError)
                else "declare a type that holds it in its `schema`, `{type: ['null', string]}` "
                "or, for JSON, `{type: ['null', object, array]}`: a table that has the column "
                "already gets a second one for it"
            )
            message = (
                f"Stream '{self._stream}', column '{field.name}', {row}: {error}. Correct the "
                f"value at the source; or set the extractor's `invalid_values: nullify`, by which "
                f"such values alone arrive as null (in an array, are left out); or {other}."
            )
            raise TapError(message) from error

    def _converted(self, field: Field, values: pa.Array) -> pa.Array:
        if self._checks_text:
            try:
                values.validate(full=True)
            except pa.ArrowInvalid as error:
                message = f"the text is not UTF-8, and a database in {ANY_BYTES} can't convert it"
                raise UnreadableTextError(message) from error
        return field.convert(values)

    def _fits(self, field: Field, values: pa.Array) -> bool:
        try:
            self._converted(field, values)
        except ValueError:
            return False
        return True

    def _first_misfit(self, field: Field, values: pa.Array) -> int:
        """Return the place of the first value that doesn't fit, of which there is one."""
        first, end = 0, len(values)
        while end - first > 1:
            middle = (first + end) // 2
            if self._fits(field, _part(values, first, middle)):
                first = middle
            else:
                end = middle
        return first

    def _nullify(self, field: Field, values: pa.Array) -> tuple[pa.Array, int]:
        """Return the values with null for those that don't fit, and how many these are."""
        if self._fits(field, values):
            return self._converted(field, values), 0
        if len(values) > 1:
            middle = len(values) // 2
            halves = (_part(values, 0, middle), _part(values, middle, len(values)))
            (one, in_one), (two, in_two) = (self._nullify(field, half) for half in halves)
            return pa.concat_arrays([one, two]), in_one + in_two
        if field.repeated:
            elements = values.flatten()
            singly = (_part(elements, at, at + 1) for at in range(len(elements)))
            fitting = [element for element in singly if self._fits(field, _in_one_list(element))]
            kept = pa.concat_arrays(fitting) if fitting else elements.slice(0, 0)
            return self._converted(field, _in_one_list(kept)), 1
        return pa.nulls(1, self._converted(field, values.slice(0, 0)).type), 1

    def _row(self, batch: pa.RecordBatch, number: int) -> str:
        """Say which row it is: by its key, or else by its first columns."""
        names = [field.name for field in self._fields]
        told = list(self._keys) or names[:3]
        values = (f"{name} = {_shown(batch.column(names.index(name)), number)}" for name in told)
        return f"row with {', '.join(values)}"

    def _note(
        self, noted: dict[str, tuple[int, str]], field: Field, count: int, first: str
    ) -> None:
        before, first_before = noted.get(field.name, (0, first))
        noted[field.name] = (before + count, first_before)


def _part(values: pa.Array, first: int, end: int) -> pa.Array:
    """Return some values as an array of their own, whose offsets begin at zero."""
    return values.take(pa.array(range(first, end), pa.int64()))


def _in_one_list(elements: pa.Array) -> pa.Array:
    """Return an array of one list, of some elements."""
    return pa.ListArray.from_arrays(pa.array([0, len(elements)], pa.int32()), elements)


def _shown(column: pa.Array, number: int) -> str:
    """Return a value as text, whatever it is made of."""
    value = _plain(column).slice(number, 1)
    if pa.types.is_string(value.type):
        text = value.cast(pa.binary())[0].as_py()
        return "null" if text is None else shortened(text.decode(errors="backslashreplace"), 80)
    try:
        return shortened(str(value[0]), 80)
    except (ValueError, OverflowError):
        return "…"


class Emitter(ABC):
    """Takes one stream's rows."""

    @abstractmethod
    def write(self, columns: list[pa.Array]) -> None:
        """Take some rows, by columns, in the types in which they travel.

        Raises:
            TapError: one can't be written, or the disk is full.
        """

    @abstractmethod
    def close(self) -> None:
        """Write and announce what is left.

        Raises:
            TapError: the disk is full.
        """

    @abstractmethod
    def discard(self) -> None:
        """Remove what is left; after `close` there is nothing."""


class BatchEmitter(Emitter):
    """Writes Parquet files. No value of a row becomes an object of Python's.

    Args:
        stream: the stream's name.
        fields: its columns.
        batch_dir: where files go.
        send: takes each file's URL.
        metadata: constants for the columns that are named so; none for a file of keys.
    """

    def __init__(
        self,
        stream: str,
        fields: Sequence[Field],
        batch_dir: BatchDir,
        send: Callable[[str], None],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare to write."""
        self._stream = stream
        self._fields = fields
        self._constants = {
            name: pa.scalar(value, METADATA[name]) for name, value in (metadata or {}).items()
        }
        self._batch_dir = batch_dir
        self._send = send
        self._files: ParquetFiles | None = None

    @override
    def write(self, columns: list[pa.Array]) -> None:
        rows = len(columns[0])
        columns += [pa.repeat(value, rows) for value in self._constants.values()]
        names = [*(field.name for field in self._fields), *self._constants]
        # Without the extension types and the metadata that Arrow would write into the file.
        batch = pa.RecordBatch.from_arrays([_plain(column) for column in columns], names)
        if self._files is None:
            # Keys, which have no metadata, are announced when they are all there.
            waits = bool(self._constants)
            self._files = ParquetFiles(self._batch_dir, batch.schema, self._send, waits=waits)
        with writing(self._stream):
            self._files.write(batch)

    @override
    def close(self) -> None:
        if self._files:
            with writing(self._stream):
                self._files.close()

    @override
    def discard(self) -> None:
        if self._files:
            self._files.discard()


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
    def write(self, columns: list[pa.Array]) -> None:
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

    @override
    def discard(self) -> None:
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
