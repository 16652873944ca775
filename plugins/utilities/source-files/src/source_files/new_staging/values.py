"""How a value is read, in SQL: from a column of the raw table, or from inside a JSON column.

A number is a time if its name says so: no count is called `updated_at`. Whether it counts seconds
or milliseconds is told by its size (macro `epoch_timestamp`). A text is parsed only if the catalog
says what is written in it, by a description, an example or a pattern: what can't be parsed would be
lost, and `created_at` alone doesn't say that it can.
"""

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from target_bigquery_arrow.column_types import JSONSchema, Kind

from source_files.new_staging.naming import KEYWORDS, RESERVED, UNREADABLE

MAXIMUM_LINE = 100
INDENT = " " * 8


@dataclass(frozen=True)
class Value:
    """An expression of SQL, and the type that it gets in staging."""

    sql: str
    kind: Kind


def macro(name: str, argument: str) -> str:
    """Return a call of one of dbt's macros, whose argument is a text of SQL."""
    return f"{{{{ {name}({_jinja_text(argument)}) }}}}"


def surrogate_key(columns: Sequence[str]) -> str:
    """Return the call that makes one key of several columns."""
    return f"{{{{ surrogate_key([{', '.join(map(_jinja_text, columns))}]) }}}}"


def _jinja_text(sql: str) -> str:
    value = sql.replace("\\", "\\\\")
    if "'" not in value:
        return f"'{value}'"
    escaped = value.replace('"', '\\"')
    return f'"{escaped}"'


def identifier(name: str) -> str:
    """Return a column's name as SQL takes it, in backticks if it is a word of SQL or `userId`."""
    is_word = name.lower() in RESERVED | UNREADABLE
    return f"`{name}`" if is_word or name != name.lower() else name


def literal(value: str) -> str:
    """Return a string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    # dbt reads the file before BigQuery does.
    if any(opening in escaped for opening in ("{{", "{%", "{#")):
        escaped = escaped.replace("{", "\\x7b")
    return f"'{escaped}'"


def json_path(keys: Sequence[str]) -> str:
    """Return a JSONPath as a string literal: `'$.address.city'`."""
    parts = ["$"]
    for key in keys:
        plain = key.isascii() and key.isidentifier()
        parts.append(key if plain else json.dumps(key, ensure_ascii=False))
    return literal(".".join(parts))


def column(sql: str, name: str, *, last: bool) -> str:
    """Return the lines of one column of a `select`."""
    comma = "" if last else ","
    if sql.rpartition(".")[2] == identifier(name):
        text = f"{sql}{comma}"
    else:
        alias = f"as `{name}`{comma}" if name in KEYWORDS else f"as {name}{comma}"
        text = f"{sql} {alias}"
        if len(INDENT) + max(map(len, text.splitlines())) > MAXIMUM_LINE:
            text = f"{sql}\n    {alias}"
    lines = textwrap.indent(text, INDENT).splitlines()
    # What can't be broken may be long.
    return "\n".join(
        line if len(line) <= MAXIMUM_LINE else f"{line}  -- noqa: layout.long_lines"
        for line in lines
    )


def joined(column: str, kind: Kind) -> Value:
    """Return an array of a raw table as one text, in the order that the source gives."""
    if kind is Kind.STRING:
        return _joined(column)
    return Value(
        "(\n"
        "    select string_agg(cast(item as string), ', ' order by position)\n"
        f"    from unnest({column}) as item with offset as position\n"
        ")",
        Kind.STRING,
    )


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
                return Value(f"lax_{kind.lower()}({self._json()})", kind)
            # Some taps write a date with the time of midnight.
            case Kind.DATE:
                return Value(macro("written_day", value), kind)
            case _:
                return Value(f"safe_cast({value} as {kind.lower()})", kind)

    def joined(self) -> Value:
        """Return an array of scalars as one text."""
        return _joined(self._call("json_value_array"))

    def text(self) -> Value:
        """Return whatever it is as JSON's own text."""
        return Value(f"nullif(to_json_string({self._json()}), 'null')", Kind.STRING)

    def items(self) -> str:
        """Return an array's items, each as JSON."""
        return self._call("json_query_array")

    def count(self) -> Value:
        """Return how many items an array has."""
        return Value(f"coalesce(array_length({self.items()}), 0)", Kind.INT64)

    def _json(self) -> str:
        return self._call("json_query") if self.keys else self.column

    def _call(self, function: str) -> str:
        path = f", {json_path(self.keys)}" if self.keys else ""
        return f"{function}({self.column}{path})"


def _joined(items: str) -> Value:
    return Value(f"nullif(array_to_string({items}, ', '), '')", Kind.STRING)


def as_text(value: Value) -> str:
    """Return a value of a key as text."""
    match value.kind:
        case Kind.STRING:
            return value.sql
        case Kind.BYTES:
            return f"to_hex({value.sql})"
        case _:
            return f"cast({value.sql} as string)"


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
    """Return a number or a text as the time that it is, or as it was."""
    said = str(schema.get("description") or "")
    base = UNIT.sub("", name)
    if value.kind in NUMBERS:
        known = NUMBER_NAME.search(base) or (EPOCH.search(said) and TEXT_NAME.search(base))
        return _epoch(value.sql) if known else value
    if value.kind is not Kind.STRING or not TEXT_NAME.search(base):
        return value
    if EPOCH.search(said):
        return _epoch(f"safe_cast({value.sql} as float64)")
    match _text_kind(schema, said):
        case Kind.DATE:
            return Value(macro("written_day", value.sql), Kind.DATE)
        case Kind.TIMESTAMP:
            return Value(f"safe_cast({value.sql} as timestamp)", Kind.TIMESTAMP)
    return value


def _epoch(number: str) -> Value:
    return Value(macro("epoch_timestamp", number), Kind.TIMESTAMP)


def _text_kind(schema: JSONSchema, said: str) -> Kind | None:
    """Return the type of the time that a text is known to hold."""
    if iso := ISO.search(said):
        is_date = iso[1].lower() == "yyyy-mm-dd" and not CLOCK.search(said)
        return Kind.DATE if is_date else Kind.TIMESTAMP
    pattern = str(schema.get("pattern") or "")
    if DATE_PATTERN in pattern:
        return Kind.TIMESTAMP if re.search(r"T|:|\\s", pattern) else Kind.DATE
    given = schema.get("examples")
    found = given if isinstance(given, list) else [given, schema.get("example")]
    examples = [example for example in found if isinstance(example, str)]
    if examples and all(_is_iso(example) for example in examples):
        return Kind.DATE if all(len(example) == 10 for example in examples) else Kind.TIMESTAMP
    return None


def _is_iso(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return bool(re.match(DATE_PATTERN, value))
