"""What a tap will send and what the loader will make of it, before anything is loaded."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.helpers._catalog import get_selected_schema
from singer_sdk.singerlib import MetadataMapping
from stack import meltano
from stack.project import Source
from stack.streams.catalog import mapped, table_of
from stack.streams.entry import keys_of, method_of, root_metadata
from stack.terminal import StackError, last_line
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import Layout, layout_of


@dataclass(frozen=True)
class Table:
    """A raw table as the loader will make it."""

    stream: str
    """The stream's name in the tap's catalog."""
    layout: Layout
    properties: Mapping[str, Any]
    """The JSON Schema of each property, after selection and `stream_maps`."""
    description: str | None
    replication_method: str | None

    @property
    def name(self) -> str:
        """The table's name in its dataset."""
        return self.layout.table


@dataclass(frozen=True)
class Catalog:
    """All streams of a source; and the raw tables of those that are selected, and not dropped."""

    source: str
    streams: Sequence[str]
    tables: Sequence[Table]

    def named(self, stream: str) -> list[Table]:
        """Return the tables of a stream, named as the tap does or as its raw table is."""
        found = [table for table in self.tables if stream in (table.stream, table.name)]
        if found:
            return found
        loaded = ", ".join(table.stream for table in self.tables) or "none"
        message = (
            f"Stream '{stream}' is not in the catalog of {self.source}. Selected are: {loaded}. "
            f"There are: {', '.join(self.streams) or 'none'}."
        )
        if stream in self.streams:
            message = (
                f"Stream '{stream}' of {self.source} is not loaded: it isn't selected, or the "
                f"loader's `stream_maps` drop it. Add '{stream}.*' to `select` in "
                f"extract/{self.source}.meltano.yml. Loaded are: {loaded}."
            )
        raise StackError(message)


def discover(source: Source) -> dict[str, Any]:
    """Return the catalog that a source's tap gives now, with `select` and `metadata` applied."""
    name = source.extractor.name
    variables = {
        # The catalog of an earlier run would hide what has changed since.
        source.extractor.variable("_use_cached_catalog"): "false",
        # Wide, so that the tap's last line stays in one.
        "COLUMNS": "100000",
    }
    try:
        text = meltano.output("invoke", "--dump=catalog", name, **variables)
        found: dict[str, Any] = json.loads(text)
    except StackError as error:
        reason = _last_said(str(error))
    except (ValueError, RecursionError) as error:
        reason = f"what it printed can't be read as JSON: {error}."
    else:
        return found
    raise StackError(
        f"{name} gave no catalog: {reason}\n"
        f"`meltano invoke stack check {source.name}` looks at what it needs."
    )


def _last_said(log: str) -> str:
    """Return the last line of a log, or the message in it if it is one of the Singer SDK's."""
    last = last_line(log)
    try:
        return str(json.loads(last)["message"])
    except (ValueError, KeyError, TypeError):
        return last


def read(source: str, catalog: Mapping[str, Any], loader: Mapping[str, Any]) -> Catalog:
    """Return the raw tables that a catalog and the loader's settings come to."""
    entries = catalog.get("streams") or []
    try:
        tables = [table for entry in entries for table in _tables(entry, loader)]
    except (LoadError, StreamMapConfigError) as error:
        raise StackError(str(error)) from error
    return Catalog(source, [entry["tap_stream_id"] for entry in entries], tables)


def _tables(entry: Mapping[str, Any], loader: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of one stream: none, one, or several where `stream_maps` copy it."""
    stream = entry["tap_stream_id"]
    metadata = MetadataMapping.from_iterable(entry.get("metadata") or [])
    mask = metadata.resolve_selection()
    # By metadata or, as once, by a word of its own.
    is_selected = entry.get("selected", entry["schema"].get("selected", False))
    if not mask.get((), is_selected):
        return
    schema = get_selected_schema(stream, entry["schema"], mask)
    if not schema.get("properties"):
        return
    name = entry.get("stream") or stream
    description = schema.get("description") or root_metadata(entry).get("description")
    for alias, found, keys in mapped(name, schema, keys_of(entry), loader):
        yield Table(
            stream=stream if alias == name else alias,
            layout=layout_of(alias, table_of(alias, loader), found, keys),
            properties=found["properties"],
            description=description,
            replication_method=method_of(entry),
        )
