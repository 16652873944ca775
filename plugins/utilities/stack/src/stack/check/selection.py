"""Which streams and columns an extractor's `select` means, and what it names in vain.

The rules are Meltano's: https://docs.meltano.com/concepts/plugins#select-extra
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

DOT = re.compile(r"(?<!\\)\.")
EVERYTHING = ("*.*",)


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream as the catalog describes it, with what the extractor's `metadata` says."""

    name: str
    properties: Sequence[str]
    keys: Sequence[str]
    method: str | None
    replication_key: str | None
    replication_keys: Sequence[str]
    """Those that the tap names as valid; it may name none."""

    @classmethod
    def of(cls, entry: Mapping[str, Any], rules: Mapping[str, Mapping[str, Any]]) -> "Stream":
        """Read an entry of a catalog.

        Args:
            entry: the entry.
            rules: the extractor's `metadata`: for each pattern of streams, what is said of them.
        """
        name = entry["tap_stream_id"]
        found: dict[str, Any] = {}
        for item in entry.get("metadata") or []:
            if not item.get("breadcrumb"):
                found |= item["metadata"]
        for pattern, said in rules.items():
            if not DOT.search(pattern) and fnmatchcase(name, unescaped(pattern)):
                found |= said
        keys = found.get("table-key-properties") or entry.get("key_properties") or []
        return cls(
            name=name,
            properties=list((entry.get("schema") or {}).get("properties") or ()),
            keys=keys,
            method=found.get("replication-method")
            or found.get("forced-replication-method")
            or entry.get("replication_method"),
            replication_key=found.get("replication-key") or entry.get("replication_key"),
            replication_keys=found.get("valid-replication-keys") or [],
        )


@dataclass(frozen=True)
class Pattern:
    """One line of `select`."""

    text: str
    stream: str
    inner: str | None
    """A property, or what lies in it; None for the whole stream."""
    is_excluding: bool

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read a pattern."""
        stream, *rest = DOT.split(text.removeprefix("!"), maxsplit=1)
        return cls(text, unescaped(stream), rest[0] if rest else None, text.startswith("!"))

    @property
    def is_whole(self) -> bool:
        """Whether it means all of a stream."""
        return self.inner in (None, "*")

    def fits(self, stream: Stream) -> bool:
        """Return whether it means something of a stream."""
        return fnmatchcase(stream.name, self.stream)

    def fits_property(self, name: str) -> bool:
        """Return whether it means a property, or something in it."""
        if self.inner is None:
            return True
        top = DOT.split(self.inner, maxsplit=1)[0]
        return fnmatchcase(name, unescaped(top))


@dataclass(frozen=True)
class Selection:
    """What is selected of a catalog."""

    streams: Sequence[Stream]
    patterns: Sequence[Pattern]

    @classmethod
    def of(cls, catalog: Mapping[str, Any], extras: Mapping[str, Any]) -> "Selection":
        """Apply an extractor's `select` and `metadata` to its catalog."""
        rules = extras.get("metadata") or {}
        streams = [Stream.of(entry, rules) for entry in catalog["streams"]]
        return cls(streams, [Pattern.parse(text) for text in extras.get("select") or EVERYTHING])

    @cached_property
    def selected(self) -> list[Stream]:
        """The streams that are read."""
        including = [pattern for pattern in self.patterns if not pattern.is_excluding]
        excluding = [one for one in self.patterns if one.is_excluding and one.is_whole]
        return [
            stream
            for stream in self.streams
            if any(pattern.fits(stream) for pattern in including)
            and not any(pattern.fits(stream) for pattern in excluding)
        ]

    @property
    def only_excludes(self) -> bool:
        """Whether `select` takes out of nothing: Meltano begins with no stream at all."""
        return all(pattern.is_excluding for pattern in self.patterns)

    def properties(self, stream: Stream) -> list[str]:
        """Return the properties that are read of a stream."""
        fitting = [pattern for pattern in self.patterns if pattern.fits(stream)]
        return [
            name
            for name in stream.properties
            if any(not one.is_excluding and one.fits_property(name) for one in fitting)
            and not any(
                one.is_excluding and one.inner is not None and one.inner == name for one in fitting
            )
        ]

    def in_vain(self) -> Iterator[tuple[Pattern, str | None]]:
        """Yield each pattern that means nothing here, with the nearest name that would."""
        for pattern in self.patterns:
            fitting = [stream for stream in self.streams if pattern.fits(stream)]
            properties = [name for stream in fitting for name in stream.properties]
            if not fitting:
                yield pattern, nearest(pattern.stream, [stream.name for stream in self.streams])
            elif not pattern.is_whole and not any(map(pattern.fits_property, properties)):
                near = nearest(pattern.inner or "", properties)
                yield pattern, f"{pattern.stream}.{near}" if near else None


def unescaped(pattern: str) -> str:
    """Return a pattern without the backslashes before dots."""
    return pattern.replace("\\.", ".")


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the name that somebody may have meant."""
    return next(iter(get_close_matches(name, names, 1, 0.5)), None)
