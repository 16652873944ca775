"""Bookmarks in words. Each tap writes its own kind."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

SECONDS = range(10**9, 4 * 10**9)
"""Numbers that are taken for seconds since the epoch: from 2001 to 2096."""
MILLISECONDS = range(10**12, 4 * 10**12)
# `2026-11-12`, with or without a time of day.
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")


def readable(stream: str, bookmarks: Mapping[str, Any]) -> str | None:
    """Return a stream's bookmarks in a few words; None where it has none.

    Args:
        stream: the stream's name.
        bookmarks: its bookmarks by name: one of that name, for some taps another beside it.
    """
    parts = []
    for name, bookmark in bookmarks.items():
        text = ", ".join(_values(bookmark))
        if text and name != stream:
            text = f"{name.removeprefix(f'{stream}_')} {text}"
        parts += [text] if text else []
    return ", ".join(parts) or None


def only_key(bookmark: Any) -> str | None:
    """Return the replication key that a bookmark of singer-python's tells."""
    if not isinstance(bookmark, Mapping):
        return None
    keys = [key for key, value in bookmark.items() if value]
    return keys[0] if len(keys) == 1 else None


def _values(bookmark: Any) -> Iterator[str]:
    if not isinstance(bookmark, Mapping):
        yield _value("", bookmark)
    elif "replication_key_value" in bookmark:  # the Singer SDK's way, and our Postgres tap's
        key, value = bookmark.get("replication_key"), bookmark["replication_key_value"]
        yield f"transaction {value}" if key == "xmin" else _value(str(key), value)
    elif "partitions" in bookmark:
        yield f"one in each of {len(bookmark['partitions'])} partitions"
    else:  # singer-python's: values by replication key, and what a tap keeps beside
        for key, value in bookmark.items():
            if value or value == 0:
                yield _value(key, value)


def _value(key: str, value: Any) -> str:
    if moment := _moment(key, value):
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return str(value)


def _moment(key: str, value: Any) -> datetime | None:
    if isinstance(value, str) and DATE.fullmatch(value):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    if isinstance(value, int) and not key.endswith("id"):
        if value in SECONDS:
            return datetime.fromtimestamp(value, UTC)
        if value in MILLISECONDS:
            return datetime.fromtimestamp(value / 1000, UTC)
    return None
