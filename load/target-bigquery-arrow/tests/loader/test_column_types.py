"""JSON Schema becomes a column type: always, and always the same."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_bigquery_arrow.column_types import ColumnType, Kind, column_type, to_arrow

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
        ({"enum": ["a", "b"]}, "JSON"),
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
    assert str(column_type(schema)) == expected


KEYWORDS = [
    *("type", "format", "anyOf", "oneOf", "items", "minimum", "maximum", "multipleOf"),
    *("precision", "scale", "contentEncoding", "properties", "enum"),
]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object", "date-time", "date"]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([*TYPES, "base64", "singer.decimal", "no such thing"])
)
schemas = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYWORDS), inner),
    max_leaves=12,
)


@given(schemas)
def test_every_schema_has_a_type_that_bigquery_has(schema: Any) -> None:
    column = column_type(schema)
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
