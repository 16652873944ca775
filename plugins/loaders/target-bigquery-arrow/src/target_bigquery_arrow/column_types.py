"""From JSON Schema to Arrow to BigQuery.

The mapping is total: whatever has no type of its own becomes JSON, never nothing.
README.md shows it as a table.
"""

import base64
import datetime
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import GenericAlias
from typing import Any

import msgspec
import pyarrow as pa

JSONSchema = Mapping[str, Any]

INT64_RANGE = (-(2**63), 2**63 - 1)
BEYOND_FLOAT64 = Decimal("1e400")
# The largest NUMERIC and BIGNUMERIC that Arrow's decimals can carry, as (precision, scale).
NUMERIC = pa.decimal128(38, 9)
BIGNUMERIC = pa.decimal256(76, 38)


class Kind(StrEnum):
    """A BigQuery type, by its GoogleSQL name."""

    INT64 = "INT64"
    FLOAT64 = "FLOAT64"
    NUMERIC = "NUMERIC"
    BIGNUMERIC = "BIGNUMERIC"
    BOOL = "BOOL"
    STRING = "STRING"
    BYTES = "BYTES"
    DATE = "DATE"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"
    DATETIME = "DATETIME"  # only in staging: what Parquet's timestamps without a zone are loaded as
    JSON = "JSON"


NUMERIC_KINDS = (Kind.INT64, Kind.NUMERIC, Kind.BIGNUMERIC, Kind.FLOAT64)
TEXT_KINDS = (Kind.STRING, Kind.TIMESTAMP, Kind.DATE, Kind.TIME, Kind.BYTES)

# How a value of each kind is written to the Parquet files of the RECORD path. Three kinds travel as
# text and get their type in SQL: load jobs refuse Parquet into JSON; BIGNUMERIC is wider than most
# Parquet readers allow for; and the local emulator can't load BYTES.
ARROW_TYPES: Mapping[Kind, pa.DataType] = {
    Kind.INT64: pa.int64(),
    Kind.FLOAT64: pa.float64(),
    Kind.NUMERIC: NUMERIC,
    Kind.BIGNUMERIC: pa.string(),
    Kind.BOOL: pa.bool_(),
    Kind.STRING: pa.string(),
    Kind.BYTES: pa.string(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
    Kind.TIMESTAMP: pa.timestamp("us", "UTC"),
    Kind.JSON: pa.string(),
}
MOMENTS: Mapping[Kind, tuple[pa.Scalar, pa.Scalar]] = {
    Kind.DATE: (
        pa.scalar(datetime.date.min, ARROW_TYPES[Kind.DATE]),
        pa.scalar(datetime.date.max, ARROW_TYPES[Kind.DATE]),
    ),
    Kind.TIMESTAMP: (
        pa.scalar(datetime.datetime.min, ARROW_TYPES[Kind.TIMESTAMP]),
        pa.scalar(datetime.datetime.max, ARROW_TYPES[Kind.TIMESTAMP]),
    ),
}
TYPED_IN_SQL = (Kind.BIGNUMERIC, Kind.BYTES, Kind.JSON)
PYTHON_TYPES: Mapping[Kind, Any] = {
    Kind.INT64: int,
    Kind.FLOAT64: float,
    Kind.NUMERIC: Decimal,
    Kind.BIGNUMERIC: Decimal,
    Kind.BOOL: bool,
    Kind.STRING: str,
    Kind.BYTES: str,
    Kind.DATE: str,
    Kind.TIME: str,
    Kind.TIMESTAMP: str,
    Kind.JSON: msgspec.Raw,
}
STRING_FORMATS = {"date-time": Kind.TIMESTAMP, "date": Kind.DATE, "time": Kind.TIME}
DECIMAL_FORMATS = ("singer.decimal", "x-singer.decimal", "decimal")


@dataclass(frozen=True)
class ColumnType:
    """The type of a column: nullable, or REPEATED for an array of scalars."""

    kind: Kind
    repeated: bool = False

    def __str__(self) -> str:
        """Return the type as GoogleSQL writes it."""
        return f"ARRAY<{self.kind}>" if self.repeated else str(self.kind)

    @property
    def arrow(self) -> pa.DataType:
        """Return the type that the column has in a Parquet file."""
        scalar = ARROW_TYPES[self.kind]
        return pa.list_(scalar) if self.repeated else scalar

    @property
    def python(self) -> Any:
        """Return the type that a JSON value must decode to."""
        scalar = PYTHON_TYPES[self.kind]
        if self.kind is Kind.JSON:
            return scalar
        value = GenericAlias(list, (scalar,)) if self.repeated else scalar
        return value | None


JSON = ColumnType(Kind.JSON)


def column_type(schema: object) -> ColumnType:
    """Return the column type for the JSON Schema of one property.

    Any value will do: what isn't a schema, or says something that isn't known, says nothing.
    """
    types = {_single_type(branch) for branch in branches(schema)}
    if len(types) == 1:
        return types.pop()
    kinds = {column.kind for column in types if not column.repeated}
    if not types or len(kinds) < len(types):
        return JSON
    if kinds <= set(NUMERIC_KINDS):
        return ColumnType(max(kinds, key=NUMERIC_KINDS.index))
    if kinds <= set(TEXT_KINDS):
        return ColumnType(Kind.STRING)
    return JSON


def branches(schema: object) -> list[JSONSchema]:
    """Return the non-null alternatives of a schema, each with a single type."""
    if not isinstance(schema, Mapping):
        return [{}]
    for union in ("anyOf", "oneOf"):
        if isinstance(alternatives := schema.get(union), list) and alternatives:
            common = {keyword: rule for keyword, rule in schema.items() if keyword != union}
            return [
                branch
                for alternative in alternatives
                if isinstance(alternative, Mapping)
                for branch in branches({**common, **alternative})
            ]
    types = schema.get("type")
    if types is None:
        return [schema]
    if not isinstance(types, list):
        types = [types]
    return [{**schema, "type": name} for name in types if name != "null"]


def _single_type(schema: JSONSchema) -> ColumnType:
    match schema.get("type"):
        case "boolean":
            return ColumnType(Kind.BOOL)
        case "integer":
            return ColumnType(_integer_kind(schema))
        case "number":
            return ColumnType(_number_kind(schema))
        case "string":
            return ColumnType(_string_kind(schema))
        case "array":
            return _array_type(schema)
        case _:
            return JSON


def _integer_kind(schema: JSONSchema) -> Kind:
    lowest = _number(schema, "minimum", INT64_RANGE[0])
    highest = _number(schema, "maximum", INT64_RANGE[1])
    if INT64_RANGE[0] <= lowest and highest <= INT64_RANGE[1]:
        return Kind.INT64
    return _decimal_kind(precision=max(_digits(lowest), _digits(highest)), scale=0)


def _number_kind(schema: JSONSchema) -> Kind:
    if schema.get("format") in DECIMAL_FORMATS:
        return _declared_decimal_kind(schema)
    step = _number(schema, "multipleOf", 0)
    if step <= 0:
        return Kind.FLOAT64
    exponent = step.normalize().as_tuple().exponent
    scale = max(0, -exponent) if isinstance(exponent, int) else 0
    return _decimal_kind(precision=29 + scale, scale=scale)


def _string_kind(schema: JSONSchema) -> Kind:
    if schema.get("format") in DECIMAL_FORMATS:
        return _declared_decimal_kind(schema)
    if schema.get("contentEncoding") == "base64":
        return Kind.BYTES
    return STRING_FORMATS.get(str(schema.get("format")), Kind.STRING)


def _declared_decimal_kind(schema: JSONSchema) -> Kind:
    precision, scale = _number(schema, "precision", 0), _number(schema, "scale", 0)
    return _decimal_kind(precision=precision, scale=scale) if precision > 0 else Kind.BIGNUMERIC


def _decimal_kind(*, precision: Decimal | int, scale: Decimal | int) -> Kind:
    """Return the narrowest decimal type. NUMERIC has 29 digits before the point and 9 after."""
    return Kind.NUMERIC if scale <= 9 and precision - scale <= 29 else Kind.BIGNUMERIC


def _number(schema: JSONSchema, keyword: str, default: int) -> Decimal:
    """Return a keyword's number; an infinity, which stands for `1e400`, is a large one."""
    value = schema.get(keyword)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return Decimal(default)
    number = Decimal(value if isinstance(value, int) else repr(value))
    return number if number.is_finite() else BEYOND_FLOAT64.copy_sign(number)


def _digits(number: Decimal) -> int:
    return number.adjusted() + 1


def _array_type(schema: JSONSchema) -> ColumnType:
    if not isinstance(schema.get("items"), Mapping):
        return JSON
    item = column_type(schema["items"])
    # An array of arrays doesn't exist in BigQuery, and what is typed in SQL can't be inside one.
    if item.repeated or item.kind in TYPED_IN_SQL:
        return JSON
    return ColumnType(item.kind, repeated=True)


def to_arrow(values: Sequence[Any], column: ColumnType) -> pa.Array:
    """Convert decoded JSON values to one Arrow column.

    Raises:
        ValueError, ArithmeticError, pa.ArrowException: a value doesn't fit the type.
    """
    if not column.repeated:
        return _to_arrow(values, column.kind)
    # BigQuery doesn't distinguish a null array from an empty one.
    lists = [value or [] for value in values]
    offsets = [0, *itertools.accumulate(map(len, lists))]
    items = _to_arrow(list(itertools.chain.from_iterable(lists)), column.kind)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)


def _to_arrow(values: Sequence[Any], kind: Kind) -> pa.Array:
    convert = CONVERTERS.get(kind)
    return convert(values) if convert else pa.array(values, ARROW_TYPES[kind])


def _timestamps(values: Sequence[str | None]) -> pa.Array:
    return _moments(values, Kind.TIMESTAMP, _timestamp)


def _timestamp(value: str) -> datetime.datetime:
    """Parse ISO 8601. No offset means UTC; digits beyond BigQuery's microseconds are dropped."""
    parsed = datetime.datetime.fromisoformat(value)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)


def _dates(values: Sequence[str | None]) -> pa.Array:
    return _moments(values, Kind.DATE, _date)


def _date(value: str) -> datetime.date:
    parsed = datetime.datetime.fromisoformat(value)
    if parsed.time() != datetime.time():
        message = "it has a time of day"
        raise ValueError(message)
    return parsed.date()


def _moments(
    values: Sequence[str | None], kind: Kind, parse: Callable[[str], datetime.date]
) -> pa.Array:
    """Parse dates or timestamps: by Arrow at once, or one by one where Arrow won't."""
    try:
        moments = pa.array(values, pa.string()).cast(ARROW_TYPES[kind])
    except pa.ArrowInvalid:
        parsed = [None if value is None else parse(value) for value in values]
        moments = pa.array(parsed, ARROW_TYPES[kind])
    first, last = MOMENTS[kind]
    # Here, since it is slow to import and the BATCH path does without.
    import pyarrow.compute as pc

    extremes = pc.min_max(moments)
    if extremes["min"].is_valid and not (
        first.value <= extremes["min"].value and extremes["max"].value <= last.value
    ):
        message = "BigQuery has the years 0001 to 9999"
        raise ValueError(message)
    return moments


def _times(values: Sequence[str | None]) -> pa.Array:
    parsed = [None if value is None else datetime.time.fromisoformat(value) for value in values]
    if any(value is not None and value.tzinfo for value in parsed):
        message = "a TIME has no time zone"
        raise ValueError(message)
    return pa.array(parsed, ARROW_TYPES[Kind.TIME])


def _bignumerics(values: Sequence[Decimal | None]) -> pa.Array:
    pa.array(values, BIGNUMERIC)  # refuses what doesn't fit
    return pa.array([None if value is None else f"{value:f}" for value in values], pa.string())


def _numerics(values: Sequence[Decimal | None]) -> pa.Array:
    return pa.array(values, NUMERIC)


def _base64(values: Sequence[str | None]) -> pa.Array:
    """Check base64, and write it the one right way: equal bytes, equal texts."""
    decoded = [
        None if value is None else base64.b64decode(value, validate=True) for value in values
    ]
    encoded = [None if value is None else base64.b64encode(value) for value in decoded]
    return pa.array(encoded, pa.binary()).cast(pa.string())


def _json_texts(values: Sequence[msgspec.Raw]) -> pa.Array:
    """Return JSON as the tap wrote it. A bare `null` is SQL's null."""
    texts = (bytes(value) for value in values)
    return pa.array([None if text == b"null" else text for text in texts], pa.binary()).cast(
        pa.string()
    )


CONVERTERS: Mapping[Kind, Callable[[Sequence[Any]], pa.Array]] = {
    Kind.TIMESTAMP: _timestamps,
    Kind.DATE: _dates,
    Kind.TIME: _times,
    Kind.NUMERIC: _numerics,
    Kind.BIGNUMERIC: _bignumerics,
    Kind.BYTES: _base64,
    Kind.JSON: _json_texts,
}
