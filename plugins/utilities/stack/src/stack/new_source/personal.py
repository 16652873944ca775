"""Columns that look personal or secret by their names: a proposal, for people to correct."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

SECRET = re.compile(
    r"passw(or)?d|passphrase|digest|secret|token|(api|app|private|access|secret)_?key|_salt$|^salt$|otp_",
    re.IGNORECASE,
)
HASHED = re.compile(
    r"e_?-?mail|phone|mobile|iban|ssn|passport|tax_?id|\bip\b|ip_?addr", re.IGNORECASE
)
DROPPED = re.compile(
    r"(first|last|full|middle|sur|given|family|display)[_ ]?name"
    r"|(contact|person|customer|user|author|owner)[_ ]?name"
    r"|street|address|postal|post_?code|zip_?code|birth|gender|avatar|latitude|longitude",
    re.IGNORECASE,
)
PEOPLE = re.compile(
    r"user|people|person|contact|customer|member|employee|patient|author|lead|subscriber|profile",
    re.IGNORECASE,
)


def is_secret(column: str) -> bool:
    """Whether a column's name says that it opens something: no warehouse needs it."""
    return bool(SECRET.search(column))


def stream_maps(
    stream: str, properties: Mapping[str, Any], key: Iterable[str] = ()
) -> dict[str, str | None]:
    """Return what `stream_maps` could do to a stream's columns that look personal.

    What identifies somebody is hashed, so that it can still be joined by; the rest is dropped.

    Args:
        stream: its name.
        properties: JSON Schemas by name.
        key: columns that stay as they are.
    """
    found: dict[str, str | None] = {}
    for column, schema in properties.items():
        if column in key or not may_be_text(schema):
            continue
        if HASHED.search(column):
            value = column if column.isidentifier() else f"record[{column!r}]"
            found[column] = f"md5({value}) if {value} else None"
        elif DROPPED.search(column) or (column.lower() == "name" and PEOPLE.search(stream)):
            found[column] = None
    return found


def may_be_text(schema: Any) -> bool:
    """Whether a JSON Schema, of one type or several, allows a text."""
    match schema:
        case {"anyOf": list(branches)} | {"oneOf": list(branches)}:
            return any(map(may_be_text, branches))
        case {"type": types}:
            return "string" in types
        case _:
            return False
