"""What is known of streams without asking the source: catalogs, and the history of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from target_bigquery_arrow.names import table_name

from stack import meltano
from stack.errors import StackError
from stack.project import Plugin, Source

# Not to be imported here: it runs on Meltano's own Python.
BRIDGE = Path(__file__).with_name("bridge.py")
DROPPED_PREFIXES = ("public-",)
"""What the loader leaves out of table names unless told otherwise: see its README."""


@dataclass(frozen=True)
class Stream:
    """A stream as its catalog describes it."""

    name: str
    method: str | None
    replication_key: str | None
    keys: Sequence[str]
    is_selected: bool
    properties: Mapping[str, Any]
    """The JSON Schema of each property."""
    selected: Sequence[str]
    """The properties that are read."""


@dataclass(frozen=True)
class Catalog:
    """The streams that a source has."""

    read_at: datetime
    streams: Mapping[str, Stream]

    @property
    def selected(self) -> list[Stream]:
        """Return the streams that are read."""
        return [stream for stream in self.streams.values() if stream.is_selected]


@dataclass(frozen=True)
class Run:
    """The last run of a state ID that Meltano's database here knows of."""

    state: str
    """`SUCCESS`, `FAIL`, `RUNNING`, or `STALE` for one that was killed."""
    started_at: datetime
    ended_at: datetime | None


class Knowledge:
    """Catalogs and runs of some sources, asked once."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    @cached_property
    def _facts(self) -> Mapping[str, Any]:
        names = [source.extractor.name for source in self._sources]
        failing = f"Meltano can't tell what it knows of {', '.join(names)}"
        return meltano.ask(BRIDGE, meltano.environment(), *names, failing=failing)

    def catalog(self, source: Source) -> Catalog | None:
        """Return the catalog that the last run has left here; None if none has."""
        facts = self._facts["catalogs"][source.extractor.name]
        if facts is None:
            return None
        streams = {stream["name"]: Stream(**stream) for stream in facts["streams"]}
        return Catalog(datetime.fromisoformat(facts["read_at"]), streams)

    def last_run(self, state_id: str) -> Run | None:
        """Return the last run under a state ID; None if this machine has seen none."""
        facts = self._facts["runs"].get(state_id)
        if facts is None:
            return None
        ended = facts["ended_at"]
        return Run(
            facts["state"],
            datetime.fromisoformat(facts["started_at"]),
            datetime.fromisoformat(ended) if ended else None,
        )


def discover(source: Source) -> None:
    """Ask the source for its catalog anew; if it doesn't answer, the last one stays.

    Raises:
        StackError: it can't be had, with what Meltano says.
    """
    folder = meltano.root() / ".meltano" / "run" / source.extractor.name
    before = {path: path.read_bytes() for path in folder.glob("tap.properties.*")}
    try:
        meltano.output("select", "--list", "--refresh-catalog", source.extractor.name)
    except StackError:
        # Meltano removes it when discovery fails.
        for path, content in before.items():
            path.write_bytes(content)
        raise


def table_of(stream: str, loader: Plugin) -> str:
    """Return the raw table that a stream is loaded into."""
    prefixes = loader.config().get("drop_stream_prefixes", DROPPED_PREFIXES)
    return table_name(stream, prefixes)
