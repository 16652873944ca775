"""How a value is read: from a column of the raw table, or from inside a JSON column."""

from dataclasses import dataclass
from typing import Self

from target_bigquery_arrow.column_types import ColumnType, Kind

from stack.new_staging import sql
from stack.new_staging.sql import Expression, Subquery, call, macro, safe_cast


@dataclass(frozen=True)
class Value:
    """A value, and the type that it gets in staging."""

    expression: Expression
    kind: Kind


@dataclass(frozen=True)
class Raw:
    """A column of the raw table, with the type that the loader gives it."""

    column: str
    type: ColumnType

    def scalar(self, kind: Kind) -> Value:
        """Return the column: it has its type already."""
        return Value(self.column, kind)

    def joined(self) -> Value:
        """Return an array as one text, in the order that the source gives."""
        if self.type.kind is Kind.STRING:
            return Value(_joined(self.column), Kind.STRING)
        lines = (
            "select string_agg(cast(item as string), ', ' order by position)",
            f"from unnest({self.column}) as item with offset as position",
        )
        return Value(Subquery(lines), Kind.STRING)


@dataclass(frozen=True)
class Inside:
    """A place inside a JSON column: the column itself, or what lies below it."""

    column: str
    keys: tuple[str, ...] = ()

    def child(self, key: str) -> Self:
        """Return the place of one of its properties."""
        return type(self)(self.column, (*self.keys, key))

    def scalar(self, kind: Kind) -> Value:
        """Return a scalar in its type, null where it doesn't fit."""
        value = self._call("json_value")
        match kind:
            # Of several types; or base64, which stays as it is.
            case Kind.STRING | Kind.JSON | Kind.BYTES:
                return Value(value, Kind.STRING)
            # 5.0 and 1e3 are whole numbers too, and 1 is true: SAFE_CAST of the text is null.
            case Kind.INT64 | Kind.FLOAT64 | Kind.BOOL:
                return Value(call(f"lax_{kind.lower()}", self._json()), kind)
            # Some taps write a date with the time of midnight.
            case Kind.DATE:
                return Value(macro("written_day", value), Kind.DATE)
            case _:
                return Value(safe_cast(value, kind.lower()), kind)

    def joined(self) -> Value:
        """Return an array of scalars as one text."""
        return Value(_joined(self._call("json_value_array")), Kind.STRING)

    def text(self) -> Value:
        """Return whatever it is as JSON's own text."""
        return Value(call("nullif", call("to_json_string", self._json()), "'null'"), Kind.STRING)

    def items(self) -> Expression:
        """Return an array's items, each as JSON."""
        return self._call("json_query_array")

    def count(self) -> Value:
        """Return how many items an array has."""
        return Value(call("coalesce", call("array_length", self.items()), "0"), Kind.INT64)

    def _json(self) -> Expression:
        return self._call("json_query") if self.keys else self.column

    def _call(self, function: str) -> Expression:
        path = (sql.json_path(self.keys),) if self.keys else ()
        return call(function, self.column, *path)


type Place = Raw | Inside


def _joined(items: Expression) -> Expression:
    return call("nullif", call("array_to_string", items, "', '"), "''")


def as_text(value: Value) -> Expression:
    """Return a value of a key as text."""
    match value.kind:
        case Kind.STRING:
            return value.expression
        case Kind.BYTES:
            return call("to_hex", value.expression)
        case _:
            return sql.cast(value.expression, "string")
