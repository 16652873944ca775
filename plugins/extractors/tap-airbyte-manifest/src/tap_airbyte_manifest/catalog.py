"""Streams of a manifest as a Singer catalog, and what a catalog selects of them."""

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from airbyte_cdk.models import AirbyteStream

from tap_airbyte_manifest.errors import TapError

FULL_TABLE = "FULL_TABLE"
INCREMENTAL = "INCREMENTAL"
# Where Meltano puts the patterns of its `select`.
SELECT = "MELTANO_EXTRACT__SELECT"
# Marks a date-time that may come as a number: Unix time in seconds. Targets ignore such keywords.
UNIX_TIME = "x-unix-time"
# Keywords of a stream's schema that say nothing of its columns, or more than its records keep to.
NOT_FOR_TARGETS = ("$schema", "required", "title", "additionalProperties")


@dataclass
class Selection:
    """A stream that is to be read.

    Attributes:
        name: of the stream.
        schema: JSON schema of its records, without what isn't selected.
        keys: properties of its key.
        cursor: the property that the stream is read incrementally by; None where it isn't.
        left_out: paths of properties that aren't selected.
        wants: whether a property is wanted that the schema doesn't have; None if any is.
    """

    name: str
    schema: dict[str, Any]
    keys: Sequence[str] = ()
    cursor: str | None = None
    left_out: Sequence[tuple[str, ...]] = ()
    wants: Callable[[str], bool] | None = None

    @property
    def incremental(self) -> bool:
        """Whether only what has changed is read."""
        return self.cursor is not None


def catalog_entry(description: AirbyteStream, *, delegates: bool) -> dict[str, Any]:
    """Return a stream's entry in the catalog.

    Args:
        description: of the stream, by the CDK.
        delegates: whether it is a StateDelegatingStream, which shows its full read at first.
    """
    keys = [key[0] for key in description.source_defined_primary_key or []]
    cursor = (description.default_cursor_field or [None])[0]
    incremental = cursor is not None or delegates
    schema = normalized(description.json_schema)
    of_stream: dict[str, Any] = {
        "inclusion": "available",
        "selected-by-default": True,
        "table-key-properties": keys,
        "replication-method": INCREMENTAL if incremental else FULL_TABLE,
    }
    entry: dict[str, Any] = {
        "tap_stream_id": description.name,
        "stream": description.name,
        "schema": schema,
        "key_properties": keys,
        "replication_method": INCREMENTAL if incremental else FULL_TABLE,
    }
    if cursor is not None:
        of_stream |= {"valid-replication-keys": [cursor], "replication-key": cursor}
        entry["replication_key"] = cursor
    always = {*keys, cursor}
    entry["metadata"] = [
        {"breadcrumb": [], "metadata": of_stream},
        *(
            {
                "breadcrumb": ["properties", name],
                "metadata": {
                    "inclusion": "automatic" if name in always else "available",
                    "selected-by-default": True,
                },
            }
            for name in schema["properties"]
        ),
    ]
    return entry


def normalized(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stream's schema as targets like it: each property may be null, and has one type.

    What has several types, or none that can be told, has no type any more: targets keep it as
    JSON. A date-time that may also be a number stays a date-time, and is marked by UNIX_TIME.
    """
    properties = schema.get("properties")
    found = {name: rule for name, rule in schema.items() if name not in NOT_FOR_TARGETS}
    found["type"] = "object"
    found["properties"] = {
        str(name): _nullable(rule)
        for name, rule in (properties if isinstance(properties, Mapping) else {}).items()
    }
    return found


def _nullable(rule: Any) -> dict[str, Any]:
    if not isinstance(rule, Mapping):
        return {}
    rules = dict(rule)
    for union in ("anyOf", "oneOf"):
        branches = [
            branch
            for branch in rules.pop(union, None) or []
            if isinstance(branch, Mapping) and branch.get("type") not in ("null", ["null"])
        ]
        if len(branches) > 1:
            return {}
        rules |= dict(branches[0]) if branches else {}
    values = rules.pop("enum", None)
    types = rules.get("type")
    if types is None and values and all(isinstance(value, str) for value in values):
        types = "string"
    names = {types} if isinstance(types, str) else set(types or ()) - {"null"}
    if names == {"integer", "number"}:
        names = {"number"}
    if rules.get("format") == "date-time" and names in (
        {"string", "integer"},
        {"string", "number"},
    ):
        return {**rules, "type": ["null", "string"], UNIX_TIME: True}
    if len(names) != 1:
        return {}
    return {**rules, "type": ["null", *names]}


def selections(catalog: Mapping[str, Any]) -> Iterator[Selection]:
    """Yield the streams that a catalog selects.

    Raises:
        TapError: it isn't a catalog.
    """
    for entry in catalog.get("streams", []):
        try:
            name = entry["tap_stream_id"]
            metadata = {
                tuple(item["breadcrumb"]): item["metadata"] for item in entry.get("metadata", [])
            }
            schema = normalized(entry["schema"])
        except (KeyError, TypeError, AttributeError):
            message = "The file of `--catalog` is none: a stream lacks its name or its schema."
            raise TapError(message) from None
        own = metadata.get((), {})
        if not own.get("selected", entry.get("selected", own.get("selected-by-default", False))):
            continue
        keys = own.get("table-key-properties") or entry.get("key_properties") or []
        method = own.get("replication-method") or entry.get("replication_method") or FULL_TABLE
        cursor = own.get("replication-key") or entry.get("replication_key")
        forced = own.get("forced-replication-method")
        always = {*keys, cursor}
        left_out = [
            breadcrumb[1::2]
            for breadcrumb, item in metadata.items()
            if breadcrumb
            and set(breadcrumb[::2]) == {"properties"}
            and breadcrumb[1] not in always
            and not item.get("selected", item.get("selected-by-default", True))
        ]
        for path in left_out:
            _remove(schema, path)
        yield Selection(
            name=name,
            schema=schema,
            keys=keys,
            cursor=(cursor or "") if (forced or method).upper() == INCREMENTAL else None,
            left_out=left_out,
            wants=_wants(name, always),
        )


def selected_names(names: Iterable[str]) -> list[str]:
    """Return those of some streams that Meltano's `select` doesn't leave out."""
    patterns = _patterns()
    left_out = [pattern[1:].removesuffix(".*") for pattern in patterns if pattern[0] == "!"]
    taken = [pattern.partition(".")[0] for pattern in patterns if pattern[0] != "!"] or ["*"]
    return [
        name
        for name in names
        if any(fnmatchcase(name, pattern) for pattern in taken)
        and not any(fnmatchcase(name, pattern) for pattern in left_out)
    ]


def _patterns() -> list[str]:
    try:
        found = json.loads(os.environ.get(SELECT) or "[]")
    except ValueError:
        return []
    return [str(pattern) for pattern in found if pattern]


def _wants(stream: str, always: Container[Any]) -> Callable[[str], bool] | None:
    """Return what Meltano's `select` says of properties that are in no catalog.

    Meltano applies its patterns to the catalog, and hands them on in the environment. Source:
    https://docs.meltano.com/concepts/plugins/#select-extra
    """
    patterns = _patterns()
    if all(pattern.endswith("*") and pattern[0] != "!" for pattern in patterns):
        return None
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    included = [pattern for pattern in patterns if not pattern.startswith("!")] or ["*"]

    @cache
    def wants(name: str) -> bool:
        path = f"{stream}.{name}"
        return name in always or (
            any(fnmatchcase(path, pattern) for pattern in included)
            and not any(fnmatchcase(path, pattern) for pattern in excluded)
        )

    return wants


def _remove(schema: dict[str, Any], path: Sequence[str]) -> None:
    *parents, last = path
    for name in parents:
        schema = (schema.get("properties") or {}).get(name) or {}
    properties = schema.get("properties")
    if isinstance(properties, dict):
        properties.pop(last, None)
