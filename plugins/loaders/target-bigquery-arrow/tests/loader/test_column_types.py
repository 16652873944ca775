"""JSON Schema becomes a column type: always, and always the same."""

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_bigquery_arrow.column_types import ColumnType, Kind, column_type, to_arrow
from target_bigquery_arrow.json_schema import resolved

DEFINITIONS = {
    "day": {"type": "string", "format": "date"},
    "nullable day": {"anyOf": [{"$ref": "#/definitions/day"}, {"type": "null"}]},
    "a/b c": {"type": "boolean"},
    "tree": {"type": "object", "properties": {"branches": {"$ref": "#/definitions/tree"}}},
    "itself": {"$ref": "#/definitions/itself"},
}
UINT64 = {"minimum": 0, "maximum": 2**64 - 1}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "INT64"),
        ({"type": ["null", "integer"], "minimum": -(2**31), "maximum": 2**31}, "INT64"),
        ({"type": "integer", **UINT64}, "NUMERIC"),
        ({"type": "integer", "maximum": 10**30}, "BIGNUMERIC"),
        ({"type": "number"}, "FLOAT64"),
        ({"type": "number", "multipleOf": 0.01}, "NUMERIC"),
        ({"type": "number", "multipleOf": 1e-10}, "BIGNUMERIC"),
        ({"type": "string", "format": "singer.decimal"}, "BIGNUMERIC"),
        ({"type": "string", "format": "singer.decimal", "precision": 38, "scale": 9}, "NUMERIC"),
        ({"type": "string", "format": "singer.decimal", "precision": 38, "scale": 2}, "BIGNUMERIC"),
        ({"type": "boolean"}, "BOOL"),
        ({"type": ["string", "null"]}, "STRING"),
        ({"type": "string", "format": "uuid"}, "STRING"),
        ({"type": "string", "contentEncoding": "base64"}, "BYTES"),
        ({"type": "string", "format": "date"}, "DATE"),
        ({"type": "string", "format": "time"}, "TIME"),
        ({"type": "string", "format": "date-time"}, "TIMESTAMP"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "JSON"),
        ({}, "JSON"),
        ({"type": "null"}, "JSON"),
        ({"enum": ["a", "b", None]}, "STRING"),
        ({"enum": [1, 2.5]}, "FLOAT64"),
        ({"enum": ["a", 1]}, "JSON"),
        ({"const": True}, "BOOL"),
        ({"properties": {"a": {"type": "string"}}}, "JSON"),
        ({"items": {"type": "integer"}}, "ARRAY<INT64>"),
        # A bound that no type has.
        ({"type": "integer", "maximum": math.inf}, "BIGNUMERIC"),
        ({"type": "integer", "minimum": -(10**10_000)}, "BIGNUMERIC"),
        ({"type": "number", "multipleOf": math.inf}, "NUMERIC"),
        # References within the schema; `allOf` is what fits all of them.
        ({"$ref": "#/definitions/day"}, "DATE"),
        ({"$ref": "#/definitions/a~1b%20c"}, "BOOL"),
        ({"$ref": "#/definitions/nullable day"}, "DATE"),
        ({"type": "array", "items": {"$ref": "#/definitions/day"}}, "ARRAY<DATE>"),
        ({"anyOf": [{"$ref": "#/definitions/day"}, {"type": "null"}]}, "DATE"),
        ({"$ref": "#/definitions/tree"}, "JSON"),
        ({"$ref": "#/definitions/itself"}, "JSON"),
        ({"$ref": "#/definitions/missing"}, "JSON"),
        ({"$ref": "https://example.com/day.json"}, "JSON"),
        ({"allOf": [{"type": ["null", "string"]}, {"format": "date"}]}, "DATE"),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, "INT64"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "JSON"),
        ({"type": "array", "items": {"type": ["null", "string"]}}, "ARRAY<STRING>"),
        ({"type": "array", "items": {"type": "string", "format": "date"}}, "ARRAY<DATE>"),
        ({"type": "array", "items": {"type": "number", "multipleOf": 0.1}}, "ARRAY<NUMERIC>"),
        ({"type": "array", "items": {"type": "object"}}, "JSON"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, "JSON"),
        ({"type": "array"}, "JSON"),
        # Unions: the type that holds all of them, JSON where there is none.
        ({"type": ["integer", "number"]}, "FLOAT64"),
        ({"type": ["integer", "string"]}, "JSON"),
        ({"type": ["string", "object", "null"]}, "JSON"),
        ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}, "TIMESTAMP"),
        ({"type": "string", "anyOf": [{"format": "date-time"}, {"type": "null"}]}, "TIMESTAMP"),
        ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string"}]}, "STRING"),
        ({"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}, "JSON"),
    ],
)
def test_the_types_table(schema: dict[str, Any], expected: str) -> None:
    whole = {"properties": {"p": schema}, "definitions": DEFINITIONS}
    assert str(column_type(resolved(whole)["properties"]["p"])) == expected


def test_references_that_multiply_end() -> None:
    twice: dict[str, Any] = {
        f"{n}": {"allOf": [{"$ref": f"#/definitions/{n + 1}"}] * 2} for n in range(100)
    }
    resolved({"properties": {"p": {"$ref": "#/definitions/0"}}, "definitions": twice})


KEYWORDS = [
    *("type", "format", "anyOf", "oneOf", "items", "minimum", "maximum", "multipleOf"),
    *("precision", "scale", "contentEncoding", "properties", "enum", "const", "allOf", "$ref"),
]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object", "date-time", "date"]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([*TYPES, "base64", "singer.decimal", "no such thing", "#", "#/definitions"])
)
schemas = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYWORDS), inner),
    max_leaves=12,
)


@given(schemas)
def test_every_schema_has_a_type_that_bigquery_has(schema: Any) -> None:
    whole = {"properties": {"p": schema}, "definitions": schema}
    column = column_type(resolved(whole)["properties"]["p"])
    assert column.kind in Kind
    assert not (column.repeated and column.kind is Kind.JSON)
    assert to_arrow([], column).type == column.arrow


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.INT64, 2**63),
        (Kind.NUMERIC, Decimal("1e29")),
        (Kind.NUMERIC, Decimal("0.0000000001")),
        (Kind.NUMERIC, Decimal("NaN")),
        (Kind.BIGNUMERIC, Decimal("1e38")),
        (Kind.BIGNUMERIC, Decimal("1e999999")),
        (Kind.DATE, "2024-02-30"),
        (Kind.DATE, "2024-01-01T10:00:00"),
        (Kind.DATE, "0000-12-31"),
        (Kind.TIME, "24:00:00"),
        (Kind.TIME, "10:00:00+01:00"),
        (Kind.TIMESTAMP, "infinity"),
        (Kind.TIMESTAMP, "0001-01-01T00:00:00+01:00"),
        (Kind.TIMESTAMP, "9999-12-31T23:59:59-01:00"),
        (Kind.TIMESTAMP, "10000-01-01T00:00:00Z"),
        (Kind.BYTES, "not base64!"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_rather_than_bent(kind: Kind, value: Any) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        to_arrow([None, value], ColumnType(kind))
