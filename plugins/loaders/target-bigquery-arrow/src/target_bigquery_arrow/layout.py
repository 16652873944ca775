"""What a stream's SCHEMA message makes of its table."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from target_bigquery_arrow.column_types import ColumnType, Kind, column_type
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.names import valid_names

EXTRACTED_AT = "_sdc_extracted_at"
RECEIVED_AT = "_sdc_received_at"
BATCHED_AT = "_sdc_batched_at"
DELETED_AT = "_sdc_deleted_at"
SEQUENCE = "_sdc_sequence"
TABLE_VERSION = "_sdc_table_version"

# What the loader writes into every row, after the stream's own columns.
METADATA: Mapping[str, ColumnType] = {
    EXTRACTED_AT: ColumnType(Kind.TIMESTAMP),
    RECEIVED_AT: ColumnType(Kind.TIMESTAMP),
    BATCHED_AT: ColumnType(Kind.TIMESTAMP),
    DELETED_AT: ColumnType(Kind.TIMESTAMP),
    SEQUENCE: ColumnType(Kind.INT64),
    TABLE_VERSION: ColumnType(Kind.INT64),
}
# A key's columns are grouped by: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types
KEY_KINDS = frozenset(Kind) - {Kind.JSON, Kind.FLOAT64}


@dataclass(frozen=True)
class Column:
    """A column of the table, and the property that it is read from."""

    name: str
    property: str
    type: ColumnType


DELETED_AT_COLUMN = Column(DELETED_AT, DELETED_AT, METADATA[DELETED_AT])


@dataclass(frozen=True)
class Layout:
    """The columns and the key of a stream.

    Attributes:
        stream: the stream's name, as the tap sends it.
        table: the table's name, without its dataset.
        columns: the stream's own columns, without the loader's metadata.
        keys: the names of the key columns; empty where rows are only ever appended.
        reports_deletes: whether the records themselves bear `_sdc_deleted_at`.
    """

    stream: str
    table: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    reports_deletes: bool

    @property
    def types(self) -> dict[str, ColumnType]:
        """Return every column of the table by name, metadata included."""
        return {column.name: column.type for column in self.columns} | dict(METADATA)

    @property
    def key_label(self) -> str:
        """Return an identifier of this key that is a valid value of a label."""
        names = "\n".join(sorted(key.lower() for key in self.keys))
        return hashlib.sha256(names.encode()).hexdigest()[:16] if self.keys else "none"

    @property
    def arrow_schema(self) -> pa.Schema:
        """Return the schema of the stream's Parquet files."""
        return pa.schema([(name, column.arrow) for name, column in self.types.items()])

    @property
    def read_columns(self) -> tuple[Column, ...]:
        """Return the columns that are read from records: metadata only where a tap sends it."""
        return (*self.columns, DELETED_AT_COLUMN) if self.reports_deletes else self.columns


def layout_of(
    stream: str, table: str, schema: Mapping[str, Any], key_properties: Sequence[str] | None
) -> Layout:
    """Return the layout for a SCHEMA message.

    Raises:
        LoadError: there are no properties, a key isn't among them or has a type that BigQuery
            can't group by, or two properties share a column's name.
    """
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        message = (
            f"Stream '{stream}': its SCHEMA message has no properties, so there is nothing to "
            f"load. Select some in the extractor's `select`, or declare them in its `schema`."
        )
        raise LoadError(message)
    own = {name: rule for name, rule in properties.items() if name not in METADATA}
    names = valid_names(stream, own, reserved=METADATA)
    columns = tuple(Column(names[name], name, column_type(rule)) for name, rule in own.items())
    keys = _keys(stream, columns, key_properties or ())
    return Layout(stream, table, columns, keys, reports_deletes=DELETED_AT in properties)


def new_columns(layout: Layout, properties: Collection[str]) -> list[Column]:
    """Return a JSON column for each property that a layout doesn't have.

    Raises:
        LoadError: two properties share a column's name.
    """
    own = [column.property for column in layout.columns]
    names = valid_names(layout.stream, [*own, *sorted(properties)], reserved=METADATA)
    return [Column(names[name], name, ColumnType(Kind.JSON)) for name in sorted(properties)]


def _keys(stream: str, columns: Sequence[Column], key_properties: Sequence[str]) -> tuple[str, ...]:
    by_property = {column.property: column for column in columns}
    for key in key_properties:
        if key not in by_property:
            message = (
                f"Stream '{stream}': key property '{key}' is not in its SCHEMA message. Select the "
                f"column, or correct `table-key-properties` in the extractor's `metadata`."
            )
            raise LoadError(message)
        key_type = by_property[key].type
        if key_type.repeated or key_type.kind not in KEY_KINDS:
            message = (
                f"Stream '{stream}': key property '{key}' is of type {key_type}, which BigQuery "
                f"can't group by. Declare another type in the extractor's `schema` (`integer` or "
                f"`string`, say), or choose another key with `table-key-properties` in its "
                f"`metadata`."
            )
            raise LoadError(message)
    return tuple(by_property[key].name for key in key_properties)
