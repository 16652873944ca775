"""Finds the records in an answer, what tells them apart, and what says how new they are."""

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jsonpath_ng.ext.parser import parse as parse_path

from stack.terminal import StackError

Record = dict[str, Any]

DEPTH = 4
LIST_NAMES = (
    *("data", "results", "items", "records", "entries", "rows", "values", "value", "objects"),
    *("hits", "collection", "list", "content", "elements", "features", "edges", "nodes"),
)
KEY_NAMES = (
    "id",
    "uuid",
    "guid",
    "_id",
    "gid",
    "key",
    "urn",
    "uri",
    "slug",
    "code",
    "number",
    "sku",
)
UPDATED = re.compile(
    r"^_?(date_?)?(last_?)?(updated|modified|changed|edited|update|modification|change)"
    r"(_?(at|on|date|time|timestamp|ts))?(_?utc)?$",
    re.IGNORECASE,
)
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
SECONDS = (946_684_800, 4_102_444_800)
"""From 2000 to 2100, in seconds: what an integer has to lie between to be a moment."""


def step(name: str) -> str:
    """Return a JSONPath's step to a property."""
    return f".{name}" if re.fullmatch(r"[A-Za-z_]\w*", name) else f"[{json.dumps(name)}]"


def find_path(document: Any, segment: str) -> str | None:
    """Return the JSONPath of the most plausible list of objects.

    Args:
        document: the answer.
        segment: the last part of the URL's path, which a list may be named after.
    """
    if _is_list_of_objects(document):
        return "$[*]"
    found = list(_lists(document, "$", 0))
    if not found:
        return None

    def rank(candidate: tuple[str, str, int, int]) -> tuple[bool, int, int, int]:
        _, name, depth, length = candidate
        position = LIST_NAMES.index(name.lower()) if name.lower() in LIST_NAMES else len(LIST_NAMES)
        return name.lower() != segment.lower(), position, -length, depth

    return f"{min(found, key=rank)[0]}[*]"


def _lists(document: Any, path: str, depth: int) -> Iterator[tuple[str, str, int, int]]:
    if not isinstance(document, dict) or depth >= DEPTH:
        return
    for name, value in document.items():
        below = path + step(name)
        if _is_list_of_objects(value):
            yield below, name, depth, len(value)
        else:
            yield from _lists(value, below, depth + 1)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def at(path: str, document: Any) -> list[Any]:
    """Return what a JSONPath finds.

    Raises:
        StackError: it isn't one.
    """
    try:
        return [match.value for match in parse_path(path).find(document)]
    except Exception as error:
        message = f"'{path}' isn't a JSONPath: {error}. It goes `$.data[*]`."
        raise StackError(message) from None


def whole_path(path: str, document: Any) -> str:
    """Return a JSONPath of records, given one of their list or of them.

    Raises:
        StackError: it leads to no objects.
    """
    found = at(path, document)
    if len(found) == 1 and isinstance(found[0], list):
        path, found = f"{path}[*]", found[0]
    if not found or not all(isinstance(record, dict) for record in found):
        message = f"There are no objects at {path}. The answer goes: {top(document)}"
        raise StackError(message)
    return path


def top(document: Any) -> str:
    """Return the upper part of a document, on a few lines."""
    return json.dumps(_shortened(document, 0), ensure_ascii=False, indent=2)[:1200]


def _shortened(value: Any, depth: int) -> Any:
    match value:
        case dict() if depth < 3:
            shown = {k: _shortened(v, depth + 1) for k, v in list(value.items())[:12]}
            return shown if len(value) <= 12 else {**shown, "…": f"{len(value) - 12} more"}
        case list() if depth < 3 and value:
            more = [f"… {len(value) - 1} more"] if len(value) > 1 else []
            return [_shortened(value[0], depth + 1), *more]
        case dict() | list() if value:
            return "…"
        case str() if len(value) > 60:
            return f"{value[:60]}…"
        case _:
            return value


def leaves(record: Record, kept: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the columns that tap-rest-api-msdk makes of a record, with what is in them.

    It flattens nested objects, and sends lists as JSON text.

    Args:
        record: as the API sends it.
        kept: names, after flattening, of objects that become JSON text too: `except_keys`.
    """

    def walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and (name not in kept or not name):
            for key, below in value.items():
                yield from walk(below, f"{name}_{key}" if name else key)
        else:
            yield _column(name), value

    return walk(record, "")


def flatten(record: Record, kept: Sequence[str] = ()) -> Record:
    """Return a record as tap-rest-api-msdk sends it."""
    return {
        column: json.dumps(value) if isinstance(value, list | dict) else value
        for column, value in leaves(record, kept)
    }


def _column(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")


def find_key(rows: Sequence[Record], stream: str) -> str | None:
    """Return the column that tells flattened records apart, if there is one that looks like it."""
    singular = stream.removesuffix("s")
    named = [*KEY_NAMES, f"{singular}_id", f"{stream}_id", f"{singular}id"]
    lower = {column.lower(): column for column in reversed(rows[0])}
    likely = [lower[name] for name in named if name in lower]
    rest = [c for c in rows[0] if re.search(r"(_id|Id|ID|_uuid|_key)$", c)]
    return next((column for column in [*likely, *rest] if is_key(rows, [column])), None)


def is_key(rows: Sequence[Record], columns: Sequence[str]) -> bool:
    """Whether columns are there in each record and tell them all apart."""
    keys = [tuple(row.get(column) for column in columns) for row in rows]
    usable = all(isinstance(v, str | int) and not isinstance(v, bool) for key in keys for v in key)
    return usable and len(set(keys)) == len(keys)


def find_replication_key(rows: Sequence[Record]) -> str | None:
    """Return the column that says when a record was last changed."""
    for column in rows[0]:
        if UPDATED.match(column) and all(is_moment(row.get(column)) for row in rows):
            return column
    return None


def is_moment(value: Any) -> bool:
    """Whether a value is an ISO date and time, or seconds or milliseconds since 1970."""
    match value:
        case bool():
            return False
        case int():
            return any(SECONDS[0] * unit <= value < SECONDS[1] * unit for unit in (1, 1000))
        case str():
            return is_date_time(value)
        case _:
            return False


def is_date_time(value: str) -> bool:
    """Whether a text is a date and a time as ISO 8601 has them."""
    return bool(DATE_TIME.fullmatch(value)) and _parses(datetime.datetime, value)


def is_date(value: str) -> bool:
    """Whether a text is a date as ISO 8601 has it."""
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", value)) and _parses(datetime.date, value)


def _parses(kind: type[datetime.date], value: str) -> bool:
    try:
        kind.fromisoformat(value)
    except ValueError:
        return False
    return True


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
