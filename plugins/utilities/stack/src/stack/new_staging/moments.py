"""Which numbers and texts are times.

A number is a moment if its name says so: nobody calls a count `updated_at`. Whether it counts
seconds or milliseconds is told by its size (macro `epoch_timestamp`). A text is parsed only where
the catalog says what is written in it, by a description, an example or a pattern: what can't be
parsed would be lost, and `created_at` alone doesn't say that it can.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from target_bigquery_arrow.column_types import JSONSchema, Kind

from stack.new_staging import sql
from stack.new_staging.sql import macro, safe_cast
from stack.new_staging.values import Value

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


def _epoch(value: Value) -> sql.Expression:
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
