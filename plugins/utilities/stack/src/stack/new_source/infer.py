"""The JSON Schema of flattened records, from those that were seen."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from stack.new_source.records import Record, is_date, is_date_time, leaves

MANY = 25
"""From so many properties on, of which each record has few, an object is a map, not a structure."""


def maps(records: Sequence[Record]) -> list[str]:
    """Return the objects that are maps from names to values, by their names after flattening.

    Each of their names would become a column, and those that were not seen would be lost.
    """
    found: list[str] = []

    def walk(objects: Sequence[Record], prefix: str) -> None:
        for name in dict.fromkeys(key for thing in objects for key in thing):
            below = [thing[name] for thing in objects if isinstance(thing.get(name), dict)]
            if not below:
                continue
            names = {key for thing in below for key in thing}
            average = sum(map(len, below)) / len(below)
            if (len(names) >= MANY and average < len(names) / 2) or _are_ids(names):
                found.append(f"{prefix}{name}")
            else:
                walk(below, f"{prefix}{name}_")

    walk(records, "")
    return found


def _are_ids(names: set[str]) -> bool:
    return len(names) > 1 and all(re.fullmatch(r"\d+|[0-9a-f-]{16,}", name) for name in names)


def schema(records: Sequence[Record], kept: Sequence[str]) -> dict[str, Any]:
    """Return the schema of records as the tap will send them.

    A property that was null throughout stays open: whatever comes is kept, as JSON.
    """
    found: dict[str, list[Any]] = {}
    for record in records:
        for column, value in leaves(record, kept):
            found.setdefault(column, []).append(value)
    return {
        "type": "object",
        "properties": {
            column: _property([value for value in values if value is not None])
            for column, values in found.items()
            # Not an object that is null in some records: its columns are there already.
            if any(v is not None for v in values) or not _has_columns(column, found)
        },
    }


def _has_columns(column: str, columns: Iterable[str]) -> bool:
    return any(other.startswith(f"{column}_") for other in columns)


def _property(values: Sequence[Any]) -> dict[str, Any]:
    kinds = {_kind(value) for value in values}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) != 1:
        return {}
    (kind,) = kinds
    if kind == "json":
        return {"type": ["string", "null"], "contentMediaType": "application/json"}
    if kind != "string":
        return {"type": [kind, "null"]}
    if all(is_date_time(value) for value in values):
        return {"type": ["string", "null"], "format": "date-time"}
    if all(is_date(value) for value in values):
        return {"type": ["string", "null"], "format": "date"}
    return {"type": ["string", "null"]}


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer" if -(2**63) <= value < 2**63 else "number"
        case float():
            return "number"
        case str():
            return "string"
        case _:
            return "json"
