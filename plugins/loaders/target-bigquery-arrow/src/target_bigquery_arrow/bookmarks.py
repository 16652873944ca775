"""Which streams a STATE is about: those whose bookmarks have changed since the one before.

A STATE comes out once the rows that it stands for are committed. It stands for no row of a stream
whose bookmark is as it was: the next run begins there, and reads such rows again.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from target_bigquery_arrow.messages import State

# What says nothing of the streams' positions.
PROGRESS = "currently_syncing"

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Bookmarks:
    """Compare each STATE with the one before it."""

    def __init__(self) -> None:
        self._first: Mapping[str, bytes] | None = None
        self._before: tuple[Mapping[str, bytes], Mapping[str, bytes]] | None = None

    def moved(self, state: State, streams: Collection[str]) -> Collection[str]:
        """Return the streams that a STATE may speak of: all of them, where it doesn't say.

        Args:
            state: the newest STATE.
            streams: the streams of this run so far, by their names in messages.
        """
        before, self._before = self._before, _parts(state)
        if self._first is None:
            self._first = self._before[0] if self._before else {}
        if before is None or self._before is None or before[1] != self._before[1]:
            return streams
        old, new = before[0], self._before[0]
        moved = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        # Some taps call a stream otherwise in their state than in their messages.
        return moved if moved <= set(streams) else streams

    def last(self, stream: str) -> Any:
        """Return the bookmark of a stream in the newest STATE; None where it has none."""
        mark = self._before[0].get(stream) if self._before else None
        return msgspec.json.decode(mark) if mark else None

    def kept_back(self, state: State, streams: Collection[str]) -> bytes | None:
        """Return a STATE in which some streams have the bookmarks of the run's first STATE.

        None where it has no bookmarks, or is itself the first.
        """
        parts = _parts(state)
        if parts is None or self._first is None:
            return None
        value = _decode(state.value)
        bookmarks = {name: mark for name, mark in parts[0].items() if name not in streams}
        bookmarks |= {name: mark for name, mark in self._first.items() if name in streams}
        raw = {name: msgspec.Raw(mark) for name, mark in bookmarks.items()}
        return msgspec.json.encode(value | {"bookmarks": raw})


def _parts(state: State) -> tuple[Mapping[str, bytes], Mapping[str, bytes]] | None:
    """Return the bookmarks by stream, and whatever else a state holds; None if it isn't so made."""
    try:
        rest = {name: bytes(value) for name, value in _decode(state.value).items()}
        bookmarks = _decode(rest.pop("bookmarks"))
    except (msgspec.DecodeError, KeyError):
        return None
    rest.pop(PROGRESS, None)
    return {name: bytes(value) for name, value in bookmarks.items()}, rest
