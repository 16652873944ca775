"""Streams: their catalogs and last runs, the tables they go into, and their bookmarks in words."""

import copy
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from singer_sdk.exceptions import StreamMapConfigError
from target_bigquery_arrow.column_types import Kind
from target_bigquery_arrow.drift import SchemaDrift, TableTypes, reconcile
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import METADATA, layout_of
from target_bigquery_arrow.names import table_name, valid_name
from target_bigquery_arrow.settings import SETTINGS

from stack import meltano
from stack.project import Plugin, Source
from stack.terminal import StackError

DROPPED_PREFIXES = SETTINGS["properties"]["drop_stream_prefixes"]["default"]


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
    valid_replication_keys: Sequence[str] = ()
    """Those that the tap names; it may name none."""


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


class RunHistory:
    """Catalogs and runs of some sources, asked once."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    @cached_property
    def _facts(self) -> Mapping[str, Any]:
        names = [source.extractor.name for source in self._sources]
        failing = f"Meltano can't tell what it knows of {', '.join(names)}"
        return meltano.ask({"operation": "history", "extractors": names}, failing=failing)

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
    """Ask the source for its catalog; if it doesn't answer, the last one stays."""
    folder = meltano.root() / ".meltano" / "run" / source.extractor.name
    before = {path: path.read_bytes() for path in folder.glob("tap.properties.*")}
    try:
        meltano.output("select", "--list", "--refresh-catalog", source.extractor.name)
    except StackError:
        # Meltano removes it when discovery fails.
        for path, content in before.items():
            path.write_bytes(content)
        raise


def table_of(stream: str, loader: Mapping[str, Any]) -> str:
    """Return the raw table that a stream is loaded into, by the loader's settings."""
    return table_name(stream, loader.get("drop_stream_prefixes", DROPPED_PREFIXES))


def mapped(
    stream: str, schema: Mapping[str, Any], keys: Sequence[str], loader: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Sequence[str]]]:
    """Yield the streams that the loader makes of one, by `stream_maps` and flattening."""
    # Here, since it is slow to import, and most sources do without.
    from msgspec import Raw
    from singer_sdk.mapper import PluginMapper
    from target_bigquery_arrow.messages import Schema
    from target_bigquery_arrow.stream_maps import record_maps, without_flattening

    # The mapper takes `__else__` out of what it is given.
    mapper = PluginMapper(copy.deepcopy(dict(loader)), logging.getLogger(__name__))
    flattening = mapper.flattening_options
    mapper.flattening_options = without_flattening(flattening)
    message = Schema(stream, Raw(json.dumps(schema)), list(keys))
    for found in record_maps(mapper, message, flattening):
        yield found.stream, found.schema, found.keys


VARIANT = re.compile(rf"(.+)__({'|'.join([*(kind.lower() for kind in Kind), 'array'])})")
"""The second column of a property, for values that don't fit the type of the first."""
MAPPING_SETTINGS = ("stream_maps", "flattening_enabled")


@dataclass(frozen=True)
class Destination:
    """A table that a stream is loaded into, and what it sends there."""

    table: str
    properties: Mapping[str, Any]
    keys: Sequence[str]
    problem: str | None = None
    """Why the loader can't tell, by its settings; then these are as without `stream_maps`."""


def destinations(
    stream: Stream, loader: Plugin, *, selected_only: bool = True
) -> list[Destination]:
    """Return where what is selected of a stream goes, or all: a table, or what maps make of it."""
    names = stream.selected if selected_only else stream.properties
    properties = {name: stream.properties[name] for name in names}
    config = loader.config()
    if not any(config.get(setting) for setting in MAPPING_SETTINGS):
        return [Destination(table_of(stream.name, config), properties, stream.keys)]
    schema = {"type": "object", "properties": properties}
    try:
        return [
            Destination(table_of(name, config), found["properties"], keys)
            for name, found, keys in mapped(stream.name, schema, stream.keys, config)
        ]
    except (LoadError, StreamMapConfigError) as error:
        return [Destination(table_of(stream.name, config), properties, stream.keys, str(error))]


def changes(stream: Stream, loader: Plugin, table: str, columns: TableTypes) -> list[str]:
    """Return what the next load would change, and what in the table no load fills any more."""
    known: set[str] = set()
    for found in destinations(stream, loader, selected_only=False):
        known |= {valid_name(name).lower() for name in found.properties if found.table == table}
    return [*_to_come(stream, loader, table, columns), *_left(known, columns)]


def _to_come(stream: Stream, loader: Plugin, table: str, columns: TableTypes) -> Iterator[str]:
    policy = SchemaDrift(loader.config().get("schema_drift") or SchemaDrift.EVOLVE)
    for found in destinations(stream, loader):
        if found.table != table:
            continue
        try:
            if found.problem:
                raise LoadError(found.problem)
            layout = layout_of(stream.name, table, {"properties": found.properties}, found.keys)
            for finding in reconcile(layout, columns, policy).report:
                is_to_come = finding.startswith("new column") and finding.endswith(")")
                yield f"{finding}: not in the table yet" if is_to_come else finding
        except LoadError as error:
            yield f"the next load fails: {error}"


def _left(known: Collection[str], columns: TableTypes) -> Iterator[str]:
    """Name the columns of the table that no property of the catalog fills."""
    for name in columns:
        if name in METADATA or name.lower() in known:
            continue
        variant = VARIANT.fullmatch(name.lower())
        if variant and variant[1] in known:
            kind = variant[2].upper()
            yield f"column '{name}' holds what came for '{variant[1]}' as {kind}"
        else:
            yield f"column '{name}' is no longer in the catalog: it stays as it is"


SECONDS = range(10**9, 4 * 10**9)
"""Numbers that are taken for seconds since the epoch: from 2001 to 2096."""
MILLISECONDS = range(10**12, 4 * 10**12)
# `2026-11-12`, with or without a time of day.
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")


def readable(stream: str, bookmarks: Mapping[str, Any]) -> str | None:
    """Return a stream's bookmarks in a few words; None where it has none.

    One has the stream's name; some taps keep a second one.
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
    elif "replication_key_value" in bookmark:  # of the Singer SDK, and of our Postgres tap
        key, value = bookmark.get("replication_key"), bookmark["replication_key_value"]
        yield f"transaction {value}" if key == "xmin" else _value(str(key), value)
    elif "airbyte_state" in bookmark:  # our tap's for manifests
        yield from _values(_cursors(bookmark["airbyte_state"]))
    elif "partitions" in bookmark:
        yield f"one in each of {len(bookmark['partitions'])} partitions"
    else:  # singer-python's: values by replication key, and what else a tap keeps
        for key, value in bookmark.items():
            if value or value == 0:
                yield _value(key, value)


def _cursors(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a state of Airbyte's tells in words: partitions, or values of cursors."""
    if state.get("states") and not state.get("use_global_cursor"):
        return {"partitions": state["states"]}
    found = state.get("state") or state
    return {key: value for key, value in found.items() if type(value) in (str, int, float)}


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
