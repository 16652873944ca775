"""From a Parquet file to a staging table, and from there, in SQL, to the types of a layout.

On the RECORD path the files are the loader's own. On the BATCH path they are the tap's: their
types are whatever Parquet has, and columns may be missing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from target_bigquery_arrow.column_types import NUMERIC, ColumnType, Kind
from target_bigquery_arrow.drift import HELD_BY, WIDER
from target_bigquery_arrow.layout import Layout
from target_bigquery_arrow.names import RESERVED_PREFIXES

# What a load job doesn't take in the name of a column. Source:
# https://cloud.google.com/bigquery/docs/schemas#flexible-column-names
REFUSED_NAME = re.compile(
    rf"""[!"$()*,./;?@\[\\\]^`{{}}~\x00-\x1f]|^({"|".join(RESERVED_PREFIXES)})|^$""", re.IGNORECASE
)
# A staging table that is left behind goes by itself after so many days.
STAGING_DAYS = 3
FROM_TEXT: Mapping[Kind, str] = {
    Kind.BYTES: "from_base64({})",
    # 'round': a number wider than FLOAT64 holds loses digits instead of failing the load. What
    # BigQuery refuses all the same (a number beyond FLOAT64, too many levels) is kept as text.
    Kind.JSON: (
        "if({0} is null, null, "
        "coalesce(safe.parse_json({0}, wide_number_mode => 'round'), to_json({0})))"
    ),
}


@dataclass
class StagingTable:
    """A staging table of one commit.

    Attributes:
        name: its name, without the dataset.
        columns: its columns.
        expressions: what each column of the target is made from.
        in_order: whether `_sdc_sequence` says which of two rows with the same key is the later.
        rows: how many rows have been loaded into it.
        size: the bytes of the files that they came from.
    """

    name: str
    columns: Mapping[str, ColumnType]
    expressions: Mapping[str, str]
    in_order: bool = True
    rows: int = 0
    size: int = 0

    def is_alike(self, other: "StagingTable") -> bool:
        """Return whether rows of the other could be in this one."""
        return (self.columns, self.expressions) == (other.columns, other.expressions)


def staged_type(arrow: pa.DataType) -> ColumnType | None:
    """Return what a load job makes of a type in a Parquet file; None where it won't take it."""
    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        item = staged_type(arrow.value_type)
        return None if item is None or item.repeated else ColumnType(item.kind, repeated=True)
    kind = _staged_kind(arrow)
    return None if kind is None else ColumnType(kind)


def _staged_kind(arrow: pa.DataType) -> Kind | None:
    types = pa.types
    if types.is_integer(arrow) and arrow != pa.uint64():
        return Kind.INT64
    if types.is_float32(arrow) or types.is_float64(arrow):
        return Kind.FLOAT64
    if types.is_boolean(arrow):
        return Kind.BOOL
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow):
        return Kind.STRING
    if types.is_date(arrow):
        return Kind.DATE
    if types.is_time(arrow) and arrow.unit != "ns":
        return Kind.TIME
    if types.is_timestamp(arrow) and arrow.unit != "ns":
        return Kind.TIMESTAMP if arrow.tz else Kind.DATETIME
    if types.is_decimal128(arrow):
        whole = NUMERIC.precision - NUMERIC.scale
        fits = arrow.scale <= NUMERIC.scale and arrow.precision - arrow.scale <= whole
        return Kind.NUMERIC if fits else Kind.BIGNUMERIC
    return None


def converted(column: str, staged: ColumnType, wanted: ColumnType) -> str | None:
    """Return the SQL that gives a staged column its type; None where no conversion is lossless."""
    if staged == wanted:
        return column
    if staged.repeated:
        return _converted_array(column, staged, wanted)
    if staged.kind is Kind.STRING and not wanted.repeated:
        return FROM_TEXT.get(wanted.kind, f"cast({{}} as {wanted})").format(column)
    if wanted.kind is Kind.JSON:
        return f"to_json({column})"
    if not wanted.repeated and wanted.kind in (*HELD_BY.get(staged.kind, ()), *_wider(staged.kind)):
        return f"cast({column} as {wanted})"
    return None


def _converted_array(column: str, staged: ColumnType, wanted: ColumnType) -> str | None:
    if wanted.kind is Kind.JSON:
        return f"to_json({column})"
    element = converted("element", ColumnType(staged.kind), ColumnType(wanted.kind))
    if element is None or not wanted.repeated:
        return None
    return (
        f"array(select {element} from unnest({column}) as element with offset as position "
        f"order by position)"
    )


def _wider(kind: Kind) -> tuple[Kind, ...]:
    # A moment without a zone, or a day's beginning, is UTC.
    return (Kind.TIMESTAMP,) if kind in (Kind.DATETIME, Kind.DATE) else WIDER.get(kind, ())


def absent(column: ColumnType) -> str:
    """Return the SQL for a column that the files don't have."""
    return f"cast(null as {column})"


def of_records(name: str, layout: Layout, casts: Mapping[str, ColumnType]) -> StagingTable:
    """Return a staging table for the RECORD path's own files."""
    columns, expressions = {}, {}
    for column, wanted in layout.types.items():
        staged = staged_type(wanted.arrow)
        sql = staged and converted(f"`{column}`", staged, wanted)
        assert staged and sql, wanted  # noqa: S101  the path's files are made for this
        columns[column] = staged
        expressions[column] = f"cast({sql} as {casts[column]})" if column in casts else sql
    return StagingTable(name, columns, expressions)
