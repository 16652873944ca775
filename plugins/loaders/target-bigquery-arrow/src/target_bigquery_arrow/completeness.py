"""Which streams are proven to have been read to their end?

Only a row of such a stream counts as deleted when it is missing. A pipe ends alike whether the
extractor ended well or broke down (Meltano closes it in both cases), and an extractor of the
Singer SDK sends neither an ACTIVATE_VERSION nor a STATE that only a complete read would have
brought: the version comes before the records, for a child before those of each of its parents, and
the last STATE also on SIGTERM. So nothing is inferred from order, silence or counts. Proof is what
an extractor says:

- ACTIVATE_VERSION after the records, from an extractor that says so: it sends
  `max_delete_fraction` along, or the user vouches for it.
- COMPLETED after all else: the extractor ended with exit code 0. That proves no more than that
  everything that was asked for was read. It counts where all was asked for: each stream was read
  in full, and the last STATE neither names a stream that is being synced nor holds a bookmark that
  a stream was resumed from. Children of a parent that was read incrementally are not all its
  children.

KEYS, the other proof, lists what the source holds: see deletes.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from target_bigquery_arrow.bookmarks import PROGRESS

# What a bookmark of a stream that is read in full may hold. Sources: the Singer SDK's
# `singer_sdk/helpers/_state.py`, and the FULL_TABLE streams of singer-python's taps.
OF_A_FULL_READ = {"initial_full_table_complete", "version"}


@dataclass
class Completeness:
    """What the messages so far say of one stream.

    Attributes:
        records: its rows so far.
        version: the newest version that an ACTIVATE_VERSION named; None before the first.
        versions: the versions that its rows bear.
    """

    records: int = 0
    version: int | None = None
    versions: set[int | None] = field(default_factory=set)
    _complete_at: int | None = None

    def add(self, rows: int, version: int | None) -> None:
        """Take rows of this stream."""
        self.records += rows
        self.versions.add(version)

    def activate_version(self, version: int, *, follows_records: bool = False) -> None:
        """Take an ACTIVATE_VERSION of this stream.

        Args:
            version: the version.
            follows_records: whether the extractor is known to send it after the records.
        """
        if follows_records:
            self._complete_at = self.records
        elif version != self.version:
            self._complete_at = None
        self.version = version

    def complete(self) -> None:
        """Take the proof that the stream was read to its end."""
        self._complete_at = self.records

    @property
    def is_complete(self) -> bool:
        """Whether no record has come since the proof, and none bears another version.

        Records without a version are not among the others: they are an error (see stream.py).
        """
        return self._complete_at == self.records and self.versions <= {self.version, None}


@dataclass
class Vouched:
    """ACTIVATE_VERSION of an extractor that the user vouches for: `version_follows_records`.

    The user may be wrong: an extractor that is seen to send a stream's version before its records
    is one of those that don't send it after them. Nothing of it is taken for proof.

    Attributes:
        early: the streams whose version came before their records.
    """

    early: set[str] = field(default_factory=set)

    def counts(self, stream: str, records: int) -> bool:
        """Return whether a version of a stream, after so many records, proves that it was read."""
        if not records:
            self.early.add(stream)
        return not self.early


@dataclass
class ExtractorReport:
    """What the messages so far say of the whole run.

    Attributes:
        streams: each stream that has been heard of, and whether it was read in full: with an
            ACTIVATE_VERSION.
    """

    streams: dict[str, bool] = field(default_factory=dict)
    _state: bytes | None = None
    _completed_at: int | None = None

    def hear(self, stream: str, *, in_full: bool = False) -> None:
        """Take note of a message of a stream."""
        self._completed_at = None
        self.streams[stream] = self.streams.get(stream, False) or in_full

    def state(self, value: bytes) -> None:
        """Take a STATE's value, as JSON."""
        self._completed_at = None
        self._state = value

    def complete(self, records: int) -> None:
        """Take a COMPLETED, after so many records: the extractor has ended with exit code 0."""
        self._completed_at = records

    def objection(self, records: int) -> str | None:
        """Say why the end of the extractor doesn't prove that all streams were read to their end.

        Args:
            records: how many have come. There may be none after COMPLETED.
        """
        if self._completed_at != records:
            return "nothing has said that the extractor read to the end"
        if partial := sorted(name for name, in_full in self.streams.items() if not in_full):
            return (
                f"the extractor did not read {listed(partial)} in full, of which they may be "
                f"children"
            )
        try:
            state = None if self._state is None else msgspec.json.decode(self._state)
        except (msgspec.DecodeError, RecursionError):
            return "the last STATE can't be read"
        if not state:
            return None
        bookmarks = state.get("bookmarks", {}) if isinstance(state, dict) else None
        if not isinstance(bookmarks, dict):
            return "the last STATE has no `bookmarks` by stream"
        if state.get(PROGRESS) is not None:
            return "the last STATE says that a stream is still being synced"
        if resumed := sorted(
            name for name, mark in bookmarks.items() if not _is_of_full_read(mark)
        ):
            return (
                f"the last STATE has a bookmark of {listed(resumed)}, of which they may be "
                f"children that were not all read"
            )
        return None


def _is_of_full_read(bookmark: Any) -> bool:
    if not isinstance(bookmark, Mapping):
        return bookmark is None
    partitions = bookmark.get("partitions", [])
    return (
        bookmark.keys() - {"partitions"} <= OF_A_FULL_READ
        and isinstance(partitions, list)
        and all(isinstance(part, Mapping) and part.keys() <= {"context"} for part in partitions)
    )


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence: the first few."""
    names = list(names)
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
