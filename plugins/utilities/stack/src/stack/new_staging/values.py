"""How a value is read, in SQL: from a column of the raw table, or from inside a JSON column.

A number is a time if its name says so: nobody calls a count `updated_at`. Whether it counts seconds
or milliseconds is told by its size (macro `epoch_timestamp`). A text is parsed only if the catalog
says what is written in it, by a description, an example or a pattern: what can't be parsed would be
lost, and `created_at` alone doesn't say that it can.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from target_bigquery_arrow.column_types import ColumnType, JSONSchema, Kind

from stack.new_staging.naming import KEYWORDS, RESERVED, UNREADABLE

MAXIMUM_LINE = 100
INDENT = 4


@dataclass(frozen=True)
class Call:
    """A function or a macro, called."""

    name: str
    arguments: tuple["Expression", ...]
    suffix: str = ""
    """What follows it inside another call, such as ` as bool`."""
    close: str = ")"


@dataclass(frozen=True)
class Subquery:
    """A query that gives one value, line by line."""

    lines: tuple[str, ...]


type Expression = str | Call | Subquery


def call(name: str, *arguments: Expression) -> Call:
    """Return a call of a function."""
    return Call(name, arguments)


def safe_cast(value: Expression, kind: str) -> Call:
    """Return a cast that is null where a value doesn't fit."""
    return call("safe_cast", _followed(value, f" as {kind}"))


def cast(value: Expression, kind: str) -> Call:
    """Return a cast that can't fail."""
    return call("cast", _followed(value, f" as {kind}"))


def macro(name: str, *arguments: Expression) -> Call:
    """Return a call of one of dbt's macros, whose arguments are texts of SQL."""
    return Call(f"{{{{ {name}", tuple(_jinja_text(one) for one in arguments), close=") }}")


def surrogate_key(columns: Sequence[Expression]) -> str:
    """Return the call that makes one key of several columns."""
    return f"{{{{ surrogate_key([{', '.join(_jinja_text(column) for column in columns)}]) }}}}"


def identifier(name: str) -> str:
    """Return a column's name as SQL takes it, in backticks if it is a word of SQL or `userId`."""
    is_word = name.lower() in RESERVED | UNREADABLE
    return f"`{name}`" if is_word or name != name.lower() else name


def literal(value: str) -> str:
    """Return a string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    # dbt reads the file before BigQuery does.
    escaped = (
        escaped.replace("{", "\\x7b") if any(x in escaped for x in ("{{", "{%", "{#")) else escaped
    )
    return f"'{escaped}'"


def json_path(keys: Sequence[str]) -> str:
    """Return a JSONPath as a string literal: `'$.address.city'`."""
    parts = ["$"]
    for key in keys:
        plain = key.isascii() and key.isidentifier()
        parts.append(key if plain else json.dumps(key, ensure_ascii=False))
    return literal(".".join(parts))


def flat(expression: Expression) -> str:
    """Return an expression on one line."""
    if isinstance(expression, str):
        return expression
    if isinstance(expression, Subquery):
        return f"({' '.join(expression.lines)})"
    arguments = ", ".join(flat(argument) for argument in expression.arguments)
    return f"{expression.name}({arguments}{expression.close}{expression.suffix}"


def column(expression: Expression, name: str, *, last: bool, indent: int = 2 * INDENT) -> str:
    """Return the lines of one column of a `select`."""
    comma = "" if last else ","
    if flat(expression).rpartition(".")[2] == identifier(name):
        return _line(f"{' ' * indent}{flat(expression)}{comma}")
    name = f"`{name}`" if name in KEYWORDS else name
    if isinstance(expression, Subquery):
        inside = [f"{' ' * (indent + INDENT)}{line}" for line in expression.lines]
        lines = [f"{' ' * indent}(", *inside, f"{' ' * indent}) as {name}{comma}"]
        return "\n".join(_line(line) for line in lines)
    whole = f"{' ' * indent}{flat(expression)} as {name}{comma}"
    if len(whole) <= MAXIMUM_LINE:
        return whole
    if isinstance(expression, str):
        lines = [f"{' ' * indent}{expression}", f"{' ' * (indent + INDENT)}as {name}{comma}"]
    else:
        lines = _broken(replace(expression, suffix=f" as {name}"), indent)
        lines[-1] += comma
    return "\n".join(_line(line) for line in lines)


def _broken(expression: Expression, indent: int) -> list[str]:
    """Return an expression on as few lines as its length allows."""
    whole = f"{' ' * indent}{flat(expression)}"
    if not isinstance(expression, Call) or len(whole) <= MAXIMUM_LINE - 1:
        return [whole]
    lines = [f"{' ' * indent}{expression.name}("]
    for number, argument in enumerate(expression.arguments, 1):
        inside = _broken(argument, indent + INDENT)
        if number < len(expression.arguments):
            inside[-1] += ","
        lines += inside
    return [*lines, f"{' ' * indent}{expression.close}{expression.suffix}"]


def _line(line: str) -> str:
    """Return a line, with leave to be long where it can't be broken."""
    return line if len(line) <= MAXIMUM_LINE else f"{line}  -- noqa: layout.long_lines"


def _followed(value: Expression, suffix: str) -> Expression:
    if not isinstance(value, Call):
        return f"{flat(value)}{suffix}"
    return replace(value, suffix=f"{value.suffix}{suffix}")


def _jinja_text(expression: Expression) -> str:
    value = flat(expression).replace("\\", "\\\\")
    if "'" not in value:
        return f"'{value}'"
    escaped = value.replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True)
class Value:
    """A value, and the type that it gets in staging."""

    expression: Expression
    kind: Kind


@dataclass(frozen=True)
class RawColumn:
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
class JsonPath:
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
        path = (json_path(self.keys),) if self.keys else ()
        return call(function, self.column, *path)


type ValueSource = RawColumn | JsonPath


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
            return cast(value.expression, "string")


NUMBERS = (Kind.INT64, Kind.NUMERIC, Kind.BIGNUMERIC, Kind.FLOAT64)
UNIT = re.compile(r"_(s|sec|seconds|ms|millis|milliseconds|us|micros|microseconds|ns|nanos)$")
NUMBER_NAME = re.compile(
    r"(^|_)(at|ts|timestamp)$|^(date_)?(created|updated|modified|deleted)$"
    r"|^(create|created|update|updated|modify|modified)_time$"
)
TEXT_NAME = re.compile(
    r"(^|_)(at|on|ts|timestamp|date|time|datetime)$|^date_|^(created|updated|modified|deleted)$"
)
EPOCH = re.compile(r"\b(unix|epoch)\b", re.IGNORECASE)
ISO = re.compile(r"\b(iso[ -]?8601|rfc[ -]?3339|yyyy-mm-dd)", re.IGNORECASE)
CLOCK = re.compile(r"hh:|[ T]hh|time", re.IGNORECASE)
DATE_PATTERN = r"\d{4}-\d{2}-\d{2}"


def moment(name: str, value: Value, schema: JSONSchema) -> Value:
    """Return a number or a text as the time that it is, or as it was.

    Args:
        name: its name in snake case.
        value: how it is read.
        schema: what the catalog says of it.
    """
    said = str(schema.get("description") or "")
    base = UNIT.sub("", name)
    if value.kind in NUMBERS:
        known = NUMBER_NAME.search(base) or (EPOCH.search(said) and TEXT_NAME.search(base))
        return Value(_epoch(value), Kind.TIMESTAMP) if known else value
    if value.kind is not Kind.STRING or not TEXT_NAME.search(base):
        return value
    if EPOCH.search(said):
        number = Value(safe_cast(value.expression, "float64"), Kind.FLOAT64)
        return Value(_epoch(number), Kind.TIMESTAMP)
    match _text_kind(schema, said):
        case Kind.DATE:
            return Value(macro("written_day", value.expression), Kind.DATE)
        case Kind.TIMESTAMP:
            return Value(safe_cast(value.expression, "timestamp"), Kind.TIMESTAMP)
    return value


def sounds_like_a_time(name: str, kind: Kind) -> bool:
    """Return whether a text could be a time, by its name."""
    return kind is Kind.STRING and bool(TEXT_NAME.search(name))


def _epoch(value: Value) -> Expression:
    return macro("epoch_timestamp", value.expression)


def _text_kind(schema: JSONSchema, said: str) -> Kind | None:
    """Return the type of the time that a text is known to hold."""
    if found := ISO.search(said):
        is_date = found[1].lower() == "yyyy-mm-dd" and not CLOCK.search(said)
        return Kind.DATE if is_date else Kind.TIMESTAMP
    pattern = str(schema.get("pattern") or "")
    if DATE_PATTERN in pattern:
        return Kind.TIMESTAMP if re.search(r"T|:|\\s", pattern) else Kind.DATE
    examples = list(_examples(schema))
    if examples and all(_is_iso(example) for example in examples):
        return Kind.DATE if all(len(example) == 10 for example in examples) else Kind.TIMESTAMP
    return None


def _examples(schema: JSONSchema) -> Iterator[str]:
    given = schema.get("examples")
    for example in given if isinstance(given, list) else [given, schema.get("example")]:
        if isinstance(example, str):
            yield example


def _is_iso(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return bool(re.match(DATE_PATTERN, value))
