"""From Postgres to JSON Schema, and from there to what travels.

A column's type is told to the world as JSON Schema, in the catalog. How it travels follows from
that schema alone, so that declaring another one in Meltano's `schema` changes how the column is
read. Both mappings are total: what has no type of its own becomes text, never nothing. README.md
shows them as a table.
"""

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tap_postgres_arrow.database import identifier

JSONSchema = dict[str, Any]

# What NUMERIC and BIGNUMERIC hold, as (digits before the point, digits after it). Source:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
NUMERIC_DIGITS = (29, 9)
BIGNUMERIC_DIGITS = (38, 38)
NUMERIC = pa.decimal128(38, 9)
BIGNUMERIC = pa.decimal256(76, 38)
# Of 64 bits, with as many after the point as the server's locale says: three at most.
MONEY_DIGITS = (19, 3)
DECIMAL_FORMATS = ("singer.decimal", "x-singer.decimal")


@dataclass(frozen=True)
class PostgresType:
    """The type of a column. A domain stands for the type below it.

    Attributes:
        name: the name in `pg_type`, or an empty text where it isn't Postgres' own.
        modifier: `atttypmod`, e.g. the precision of a numeric; -1 for none.
        element: the name of an array's element type; None where it is no array.
    """

    name: str
    modifier: int = -1
    element: str | None = None


class Kind(StrEnum):
    """How a value travels."""

    BOOLEAN = "boolean"
    INTEGER = "bigint"
    FLOAT = "double precision"
    NUMERIC = "numeric"
    BIGNUMERIC = "bignumeric"
    TEXT = "text"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamptz"
    JSON = "json"
    BYTES = "bytea"


# What infinity becomes: the first and the last that BigQuery has.
ENDS: Mapping[Kind, tuple[str, str]] = {
    Kind.DATE: ("0001-01-01", "9999-12-31"),
    Kind.TIMESTAMP: ("0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"),
}
# What an array's elements can be, where the array is one in the warehouse too.
ELEMENTS = frozenset(Kind) - {Kind.BIGNUMERIC, Kind.JSON, Kind.BYTES}

SCALARS: Mapping[str, JSONSchema] = {
    "bool": {"type": ["null", "boolean"]},
    "int2": {"type": ["null", "integer"]},
    "int4": {"type": ["null", "integer"]},
    "int8": {"type": ["null", "integer"]},
    "oid": {"type": ["null", "integer"]},
    "float4": {"type": ["null", "number"]},
    "float8": {"type": ["null", "number"]},
    "date": {"type": ["null", "string"], "format": "date"},
    "time": {"type": ["null", "string"], "format": "time"},
    "timestamp": {"type": ["null", "string"], "format": "date-time"},
    "timestamptz": {"type": ["null", "string"], "format": "date-time"},
    "bytea": {"type": ["null", "string"], "contentEncoding": "base64"},
}
TEXT: JSONSchema = {"type": ["null", "string"]}
JSON: JSONSchema = {"type": ["null", "object", "array", "string", "number", "boolean"]}
JSON_TYPES = ("json", "jsonb", "hstore", "composite")


def json_schema(column: PostgresType) -> JSONSchema:
    """Return the JSON Schema of a column."""
    if column.element is None:
        return _scalar_schema(column.name, column.modifier)
    items = _scalar_schema(column.element, column.modifier)
    if _scalar_kind(items) not in ELEMENTS:
        return dict(JSON)
    return {"type": ["null", "array"], "items": items}


def _scalar_schema(name: str, modifier: int) -> JSONSchema:
    if name in JSON_TYPES:
        return dict(JSON)
    if name == "numeric":
        return _decimal_schema(*numeric_digits(modifier))
    if name == "money":
        return _decimal_schema(*MONEY_DIGITS)
    return dict(SCALARS.get(name, TEXT))


def numeric_digits(modifier: int) -> tuple[int, int]:
    """Return how many digits a numeric has before and after the point.

    One that is declared without a precision may have any number: BIGNUMERIC's are assumed.
    """
    if modifier < 0:
        return BIGNUMERIC_DIGITS
    # As Postgres packs them: numeric_typmod_precision and _scale in utils/adt/numeric.c.
    precision = (modifier - 4) >> 16 & 0xFFFF
    scale = ((modifier - 4 & 0x7FF) ^ 0x400) - 0x400
    return max(0, precision - scale), max(0, scale)


def _decimal_schema(before: int, after: int) -> JSONSchema:
    if before <= NUMERIC_DIGITS[0] and after <= NUMERIC_DIGITS[1]:
        return {"type": ["null", "number"], "multipleOf": float(f"1e-{after}")}
    if before <= BIGNUMERIC_DIGITS[0] and after <= BIGNUMERIC_DIGITS[1]:
        return {"type": ["null", "string"], "format": DECIMAL_FORMATS[0]}
    return dict(TEXT)


def _scalar_kind(schema: Mapping[str, Any]) -> Kind:
    types = schema.get("type", [])
    names = set([types] if isinstance(types, str) else types) - {"null"}
    match sorted(names):
        case ["boolean"]:
            return Kind.BOOLEAN
        case ["integer"]:
            return Kind.INTEGER
        case ["number"]:
            return _number_kind(schema)
        case ["string"]:
            return _string_kind(schema)
        case _:
            return Kind.JSON


def _number_kind(schema: Mapping[str, Any]) -> Kind:
    step = schema.get("multipleOf")
    if schema.get("format") in DECIMAL_FORMATS:
        return Kind.BIGNUMERIC
    if step is None:
        return Kind.FLOAT
    return Kind.NUMERIC if step >= 10.0 ** -NUMERIC_DIGITS[1] else Kind.BIGNUMERIC


def _string_kind(schema: Mapping[str, Any]) -> Kind:
    if schema.get("contentEncoding") == "base64":
        return Kind.BYTES
    formats = {"date": Kind.DATE, "time": Kind.TIME, "date-time": Kind.TIMESTAMP}
    formats |= dict.fromkeys(DECIMAL_FORMATS, Kind.BIGNUMERIC)
    return formats.get(str(schema.get("format")), Kind.TEXT)


@dataclass(frozen=True)
class Field:
    """A column on its way: what is asked of Postgres, and what is written.

    Attributes:
        name: the property's name, which is the column's.
        expression: its expression in a select list.
        kind: how the value, or each element, travels.
        repeated: whether it is an array of such values.
        is_json_text: whether it is JSON text as it was inserted, which Postgres has not rewritten.
    """

    name: str
    expression: str
    kind: Kind
    repeated: bool = False
    is_json_text: bool = False

    def convert(self, values: pa.Array) -> pa.Array:
        """Return the column as it is written to a file.

        Raises:
            ValueError: a value doesn't fit the type; the text says which, and what the type holds.
        """
        if not self.repeated:
            return CONVERSIONS.get(self.kind, _as_it_is)(values)
        elements = values.flatten()
        if elements.null_count:
            message = "an array has a null element, or more than one dimension"
            raise ValueError(message)
        converted = CONVERSIONS.get(self.kind, _as_it_is)(elements)
        return pa.ListArray.from_arrays(values.offsets, converted)


def field_of(name: str, source: str, column: PostgresType, schema: Mapping[str, Any]) -> Field:
    """Return how a column travels under a JSON Schema.

    Args:
        name: the property's name.
        source: the column's name.
        column: what it is in Postgres.
        schema: what it is to be; from `json_schema`, or declared by the user.
    """
    sql = identifier(source)
    types = schema.get("type", [])
    if "array" in types and "object" not in types and isinstance(schema.get("items"), Mapping):
        kind = _scalar_kind(schema["items"])
        if kind in ELEMENTS:
            return Field(name, _array(sql, kind, column), kind, repeated=True)
    kind = _scalar_kind(schema)
    is_json_text = kind is Kind.JSON and column.name not in ("jsonb", "hstore")
    return Field(name, EXPRESSIONS[kind](sql, column), kind, is_json_text=is_json_text)


def _array(sql: str, kind: Kind, column: PostgresType) -> str:
    """Select an array whose elements travel natively, or as text.

    BigQuery doesn't tell a null array from an empty one, and has no arrays of arrays: an array of
    more dimensions becomes one with a null element, which `Field.convert` refuses. One whose
    elements are numbered from another than 1 is numbered from 1, as a slice is: nobody else knows
    such numbers.
    """
    element = Kind.TEXT if kind is Kind.NUMERIC else kind
    array = f"{sql}::numeric[]" if column.element == "money" else sql
    array = f"{array}::{element}[]"
    if kind in ENDS:
        first, last = ENDS[kind]
        array = (
            f"array_replace(array_replace({array}, '-infinity', '{first}'), 'infinity', '{last}')"
        )
    return (
        f"case when array_ndims({sql}) > 1 then array[null]::{element}[] "
        f"when array_lower({sql}, 1) <> 1 then ({array})[:] "
        f"else coalesce({array}, '{{}}') end"
    )


def _cast(kind: Kind, *native: str) -> Callable[[str, PostgresType], str]:
    """Select a value as it is where its type is one of `native`, else by a cast."""

    def expression(sql: str, column: PostgresType) -> str:
        if column.name == "money" and kind is not Kind.TEXT:
            sql = f"{sql}::numeric"
        return sql if column.name in native else f"{sql}::{kind}"

    return expression


def _decimal(sql: str, column: PostgresType) -> str:
    return f"{sql}::numeric::text" if column.name == "money" else f"{sql}::text"


def _moment(kind: Kind) -> Callable[[str, PostgresType], str]:
    """Select a date or a timestamp; infinity becomes the last one that BigQuery has."""
    first, last = ENDS[kind]

    def expression(sql: str, column: PostgresType) -> str:
        if kind is Kind.TIMESTAMP and column.name == "timestamp":
            sql = f"({sql} at time zone 'UTC')"
        elif column.name != kind:
            sql = f"({sql}::{kind})"
        return (
            f"case when isfinite({sql}) then {sql} when {sql} > '{first}' then '{last}' "
            f"when {sql} < '{last}' then '{first}' end"
        )

    return expression


def _json(sql: str, column: PostgresType) -> str:
    if column.name in ("json", "jsonb"):
        return f"{sql}::text"
    return f"{sql}::jsonb::text" if column.name == "hstore" else f"to_json({sql})::text"


EXPRESSIONS: Mapping[Kind, Callable[[str, PostgresType], str]] = {
    Kind.BOOLEAN: _cast(Kind.BOOLEAN, "bool"),
    Kind.INTEGER: _cast(Kind.INTEGER, "int2", "int4", "int8"),
    Kind.FLOAT: _cast(Kind.FLOAT, "float4", "float8"),
    Kind.NUMERIC: _decimal,
    Kind.BIGNUMERIC: _decimal,
    Kind.TEXT: _cast(Kind.TEXT, "text", "varchar", "bpchar"),
    Kind.DATE: _moment(Kind.DATE),
    Kind.TIME: _cast(Kind.TIME, "time"),
    Kind.TIMESTAMP: _moment(Kind.TIMESTAMP),
    Kind.JSON: _json,
    # Postgres breaks base64 into lines.
    Kind.BYTES: lambda sql, _: f"translate(encode({sql}::bytea, 'base64'), E'\\n', '')",
}


PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
LONE = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
# What is left of these is lone: an escaped backslash, and a pair.
PAIRED = rf"\\\\|{PAIR}"


def lone_surrogates(values: pa.Array) -> list[int]:
    """Return the places of the JSON texts that have half of a character.

    Postgres' `json` takes it; BigQuery's parser and most others refuse the whole document.
    """
    # Most batches have none: to look through all their bytes at once costs next to nothing.
    text = values.buffers()[2].to_pybytes() if len(values) and values.buffers()[2] else b""
    if b"\\" not in text or rb"\u" not in text:
        return []
    escaped = pc.or_kleene(pc.match_substring(values, r"\ud"), pc.match_substring(values, r"\uD"))
    found = pc.indices_nonzero(pc.fill_null(escaped, fill_value=False))
    alone = pc.replace_substring_regex(values.take(found), PAIRED, "")
    broken: list[int] = found.filter(pc.match_substring_regex(alone, LONE)).to_pylist()
    return broken


def without_lone_surrogates(values: pa.Array, broken: Sequence[int]) -> pa.Array:
    """Return JSON texts with U+FFFD for each half of a character in those that have one."""
    texts = [
        re.sub(rf"({PAIRED})|{LONE}", lambda found: found[1] or r"\ufffd", values[place].as_py())
        for place in broken
    ]
    mask = pc.is_in(pa.array(range(len(values))), pa.array(broken, pa.int64()))
    return pc.replace_with_mask(values, mask, pa.array(texts, values.type))


def _as_it_is(values: pa.Array) -> pa.Array:
    return values


def _within(first: Any, last: Any, arrow: pa.DataType, words: str) -> Callable[[pa.Array], Any]:
    """Check the least and the greatest value, by the numbers that stand for them."""
    lowest, highest = (pa.scalar(moment, arrow).value for moment in (first, last))

    def convert(values: pa.Array) -> pa.Array:
        extremes = pc.min_max(values)
        if extremes["min"].is_valid and not (
            lowest <= extremes["min"].value and extremes["max"].value <= highest
        ):
            raise ValueError(words)
        return values

    return convert


def _numeric(values: pa.Array) -> pa.Array:
    return _decimals(values, NUMERIC, "a NUMERIC has 29 digits before the point and 9 after it")


def _bignumeric(values: pa.Array) -> pa.Array:
    """Check what goes on as text: few readers of Parquet allow for so wide a decimal."""
    _decimals(values, BIGNUMERIC, "a BIGNUMERIC has 38 digits before the point and 38 after it")
    return values


def _decimals(values: pa.Array, arrow: pa.DataType, words: str) -> pa.Array:
    try:
        return values.cast(arrow)
    except pa.ArrowException as error:
        message = f"{words}, and no NaN or infinity ({error})"
        raise ValueError(message) from error


CONVERSIONS: Mapping[Kind, Callable[[pa.Array], pa.Array]] = {
    Kind.NUMERIC: _numeric,
    Kind.BIGNUMERIC: _bignumeric,
    Kind.DATE: _within(
        datetime.date.min, datetime.date.max, pa.date32(), "a DATE has the years 0001 to 9999"
    ),
    Kind.TIME: _within(
        datetime.time.min, datetime.time.max, pa.time64("us"), "a TIME ends at 23:59:59.999999"
    ),
    Kind.TIMESTAMP: _within(
        datetime.datetime.min,
        datetime.datetime.max,
        pa.timestamp("us", "UTC"),
        "a TIMESTAMP has the years 0001 to 9999",
    ),
}
