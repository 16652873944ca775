"""Records' raw JSON, decoded to the values that a layout asks for."""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from singer_sdk.exceptions import MissingKeyPropertiesError

from target_bigquery_arrow.column_types import Kind
from target_bigquery_arrow.drift import SchemaDrift
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import METADATA, Column, Layout
from target_bigquery_arrow.logs import shown
from target_bigquery_arrow.messages import too_deep

logger = logging.getLogger(__name__)


class NullKeyError(LoadError, MissingKeyPropertiesError):
    """A record lacks a key property. Also the error that Singer's SDK has for it."""


class NewPropertiesError(Exception):
    """Records have properties that their SCHEMA doesn't have, and the table may gain them.

    Attributes:
        names: the properties.
    """

    def __init__(self, names: set[str]) -> None:
        """Take the names."""
        super().__init__()
        self.names = names


DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)
ABSENT = {Kind.JSON: msgspec.Raw(b"null")}
# Names that JSON writes with escapes, which msgspec doesn't take for a struct's fields.
ESCAPED_NAME = re.compile(r'["\\\x00-\x1f]')
LONGEST_VALUE_SHOWN = 60


class RecordDecoder:
    """Decode the records of one stream, many at a time.

    One typed decode of them all is fast. Only when it fails are they decoded one by one, which
    finds what is wrong: a value that doesn't fit is an error; so is a property that is not in the
    SCHEMA, by which the table grows (`schema_drift: evolve`), or which is reported once and then
    left out (`freeze`).
    """

    def __init__(self, layout: Layout, drift: SchemaDrift, left_out: Iterable[str] = ()) -> None:
        """Prepare to decode; `left_out` are properties that are known to have no column."""
        self._layout = layout
        self._drift = drift
        self._columns = [
            (column, msgspec.json.Decoder(column.type.python).decode)
            for column in layout.read_columns
        ]
        self._left_out = set(left_out)
        self._decode_together = self._together()

    @property
    def _properties(self) -> set[str]:
        return {column.property for column, _ in self._columns}

    def values(self, records: Sequence[msgspec.Raw]) -> list[tuple[Any, ...]]:
        """Return the records' values, property by property as in `Layout.read_columns`.

        Raises:
            LoadError: a value doesn't fit its type, or a record isn't an object.
            NewPropertiesError: the table may gain columns.
        """
        # A large one comes alone: it isn't copied.
        raws = [bytes(record) for record in records] if len(records) > 1 else list(records)
        rows = self._rows_together(raws) or map(self._decode_singly, self._objects(raws))
        return list(zip(*rows, strict=True))[: len(self._columns)]

    def _rows_together(
        self, raws: Sequence[bytes | msgspec.Raw]
    ) -> Iterable[tuple[Any, ...]] | None:
        if self._decode_together is None:
            return None
        try:
            structs = self._decode_together(b"[" + b",".join(raws) + b"]")
        except (*DECODE_ERRORS, RecursionError):
            return None
        return map(msgspec.structs.astuple, structs)

    def _together(self) -> Callable[[bytes], list[Any]] | None:
        """Return the decoder of an array of records; what they have beside them is an error.

        None where msgspec can't have it: its fields' names are as JSON writes them.
        """
        if any(map(ESCAPED_NAME.search, self._properties)):
            return None
        fields: list[tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        for index, (column, _) in enumerate(self._columns):
            names[f"field_{index}"] = column.property
            fields.append(
                (f"field_{index}", column.type.python, ABSENT.get(column.type.kind)),
            )
        for index, name in enumerate(self._left_out):
            if not ESCAPED_NAME.search(name):
                names[f"left_out_{index}"] = name
                fields.append((f"left_out_{index}", msgspec.Raw, None))
        record = msgspec.defstruct(
            "Record", fields, rename=names, forbid_unknown_fields=True, gc=False
        )
        return msgspec.json.Decoder(list[record]).decode  # type: ignore[valid-type]

    def _objects(self, raws: Sequence[bytes | msgspec.Raw]) -> list[dict[str, msgspec.Raw]]:
        try:
            objects = [msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) for raw in raws]
        except RecursionError as error:
            raise too_deep(self._layout.stream, "RECORD") from error
        except DECODE_ERRORS as error:
            raise unreadable(self._layout.stream, error) from error
        if unknown := set().union(*objects) - self._properties - self._left_out:
            if self._drift is SchemaDrift.EVOLVE and (new := unknown - METADATA.keys()):
                raise NewPropertiesError(new)
            report_unknown(self._layout, unknown - METADATA.keys(), self._drift)
            self._left_out |= unknown
            self._decode_together = self._together()
        return objects

    def _decode_singly(self, record: dict[str, msgspec.Raw]) -> tuple[Any, ...]:
        values: list[Any] = []
        for column, decode in self._columns:
            raw = record.get(column.property)
            if raw is None:
                values.append(ABSENT.get(column.type.kind))
                continue
            try:
                values.append(decode(raw))
            except (*DECODE_ERRORS, RecursionError) as error:
                integer = _integral(raw) if column.type.kind is Kind.INT64 else None
                if integer is None:
                    raise misfit(self._layout, column, raw, error) from error
                values.append(integer)
        return tuple(values)


def report_unknown(layout: Layout, unknown: Collection[str], drift: SchemaDrift) -> None:
    """Say which properties are left out, since the SCHEMA doesn't have them.

    Raises:
        LoadError: `schema_drift` forbids it.
    """
    if not unknown:
        return
    names = ", ".join(map(repr, sorted(unknown)))
    message = (
        f"Stream '{layout.stream}': properties of its records are not in its SCHEMA message: "
        f"{names}. Declare them in the extractor's `schema` to load them."
    )
    if drift is SchemaDrift.FAIL:
        raise LoadError(message)
    logger.warning("%s Until then they are left out.", message)


def null_key(layout: Layout, column: Column, nulls: int, rows: int) -> NullKeyError:
    """Return the error for a key that some record lacks."""
    return NullKeyError(
        f"Stream '{layout.stream}': key property '{column.property}' is missing or null in {nulls} "
        f"of {rows} records. A key must be there in every record: choose another with "
        f"`table-key-properties` in the extractor's `metadata`."
    )


def unreadable(stream: str, error: Exception) -> LoadError:
    """Return the error for a record that is no JSON object."""
    return LoadError(
        f"Stream '{stream}': a RECORD can't be read ({shown(error, 200)}). That is a fault of the "
        f"extractor: report it there, or try another release of it."
    )


def misfit(layout: Layout, column: Column, value: object, error: Exception) -> LoadError:
    """Return the error for a value that doesn't fit its column."""
    if isinstance(value, msgspec.Raw):
        text = bytes(value).decode(errors="replace")
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return LoadError(
        f"Stream '{layout.stream}', property '{column.property}': "
        f"{shown(text, LONGEST_VALUE_SHOWN)} does not fit {column.type} ({shown(error, 200)}). "
        f"Correct the value at the source, or declare the property's true type in the extractor's "
        f"`schema`."
    )


def _integral(raw: msgspec.Raw) -> int | None:
    """Return the integer that a JSON number such as 1.0 or 1e3 is, as JSON Schema sees it."""
    try:
        number = msgspec.json.decode(raw, type=float)
    except DECODE_ERRORS:
        return None
    # From its text: a float has no more than 53 bits.
    return int(Decimal(bytes(raw).decode())) if number.is_integer() else None
