"""Where a stream's catalog and its raw table have come apart, in the loader's own words."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from target_bigquery_arrow.column_types import Kind
from target_bigquery_arrow.drift import SchemaDrift, TableTypes, reconcile
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import METADATA, layout_of
from target_bigquery_arrow.names import valid_name

from stack.project import Plugin
from stack.streams.catalog import Stream, table_of

VARIANT = re.compile(rf"(.+)__({'|'.join([*(kind.lower() for kind in Kind), 'array'])})")
"""The column beside, into which values go that the first doesn't hold."""
MAPPING_SETTINGS = ("stream_maps", "flattening_enabled")


@dataclass(frozen=True)
class Destination:
    """A table that a stream is loaded into, and what it sends there."""

    table: str
    properties: Mapping[str, Any]
    keys: Sequence[str]


def destinations(
    stream: Stream, loader: Plugin, *, selected_only: bool = True
) -> list[Destination]:
    """Return where a stream goes: one table, or what `stream_maps` make of it.

    Args:
        stream: the stream.
        loader: its loader.
        selected_only: only what is selected; else all that the catalog has.
    """
    names = stream.selected if selected_only else stream.properties
    properties = {name: stream.properties[name] for name in names}
    config = loader.config()
    if not any(config.get(setting) for setting in MAPPING_SETTINGS):
        return [Destination(table_of(stream.name, loader), properties, stream.keys)]
    # Here, since it is slow to import, and most sources do without.
    import logging

    from singer_sdk.mapper import PluginMapper, RemoveRecordTransform

    mapper = PluginMapper(config, logging.getLogger(__name__))
    mapper.register_raw_stream_schema(
        stream.name, {"type": "object", "properties": properties}, list(stream.keys)
    )
    return [
        Destination(
            table_of(found.stream_alias, loader),
            found.transformed_schema["properties"],
            found.transformed_key_properties or (),
        )
        for found in mapper.stream_maps[stream.name]
        if not isinstance(found, RemoveRecordTransform)
    ]


def changes(stream: Stream, loader: Plugin, table: str, columns: TableTypes) -> list[str]:
    """Return what the next load would change, and what in the table no load fills any more.

    Args:
        stream: the stream, as its catalog has it now.
        loader: its loader.
        table: the raw table.
        columns: the table's columns.
    """
    return [
        *_to_come(stream, loader, table, columns),
        *_left_behind(stream, loader, table, columns),
    ]


def _to_come(stream: Stream, loader: Plugin, table: str, columns: TableTypes) -> Iterator[str]:
    policy = SchemaDrift(loader.config().get("schema_drift") or SchemaDrift.EVOLVE)
    for found in destinations(stream, loader):
        if found.table != table:
            continue
        schema = {"properties": found.properties}
        try:
            layout = layout_of(stream.name, table, schema, found.keys)
            for finding in reconcile(layout, columns, policy).report:
                is_to_come = finding.startswith("new column") and finding.endswith(")")
                yield f"{finding}: not in the table yet" if is_to_come else finding
        except LoadError as error:
            yield f"the next load fails: {error}"


def _left_behind(stream: Stream, loader: Plugin, table: str, columns: TableTypes) -> Iterator[str]:
    """Name the columns of the table that nothing of the catalog goes into."""
    known = {
        valid_name(name).lower()
        for found in destinations(stream, loader, selected_only=False)
        if found.table == table
        for name in found.properties
    }
    for name in columns:
        if name in METADATA or name.lower() in known:
            continue
        variant = VARIANT.fullmatch(name.lower())
        if variant and variant[1] in known:
            kind = variant[2].upper()
            yield f"column '{name}' holds what came for '{variant[1]}' as {kind}"
        else:
            yield f"column '{name}' is no longer in the catalog: it stays as it is"
