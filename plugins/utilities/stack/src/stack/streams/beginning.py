"""Where a backfill begins: a date, and how a tap is told of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from stack.errors import StackError
from stack.project import Plugin
from stack.streams.catalog import Stream
from stack.streams.reread import variable
from stack.streams.state import State


def parse(text: str, now: datetime | None = None) -> datetime:
    """Return the moment that a date or time of ISO 8601 tells, UTC unless it says otherwise.

    Raises:
        StackError: it isn't one, or lies in the future.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"--from {text}: no such date. Write it as 2025-01-31 or 2025-01-31T12:00:00Z."
        raise StackError(message) from error
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > (now or datetime.now(UTC)):
        message = f"--from {text} is in the future: nothing has changed since then."
        raise StackError(message)
    return moment


@dataclass(frozen=True)
class Beginning:
    """How a tap is told where to begin: by a setting, or by a state."""

    state: State | None
    variables: Mapping[str, str]


def beginning(
    stream: Stream, replication_key: str | None, extractor: Plugin, moment: datetime
) -> Beginning:
    """Return how to make a tap begin at a moment.

    Raises:
        StackError: dates mean nothing to the stream.
    """
    text = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    by_date = stream.method != "FULL_TABLE" and replication_key != "xmin"
    if by_date and "start_date" in extractor.settings:
        return Beginning(None, {variable(extractor, "start_date"): text})
    form = (stream.properties.get(replication_key or "") or {}).get("format")
    if not by_date or form not in ("date", "date-time"):
        way = "whole, by each run" if stream.method == "FULL_TABLE" else f"by {replication_key}"
        message = f"Stream '{stream.name}' is read {way}, where a date means nothing."
        raise StackError(message)
    value = text if form == "date-time" else f"{moment:%Y-%m-%d}"
    # As the Singer SDK and our Postgres tap write it, and as singer-python does.
    bookmark = {
        "replication_key": replication_key,
        "replication_key_value": value,
        replication_key: value,
    }
    return Beginning({"singer_state": {"bookmarks": {stream.name: bookmark}}}, {})
