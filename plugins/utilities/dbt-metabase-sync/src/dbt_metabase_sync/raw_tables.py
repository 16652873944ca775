"""Let Metabase show the raw tables of a source that has no staging tables yet.

A new source is one file in extract/. Until there is a folder for it in
transform/models/staging/, its raw tables are all that people can ask about.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dbtmetabase.metabase import Metabase
from target_bigquery_arrow.names import table_name
from target_bigquery_arrow.settings import SETTINGS

SYNC_PERIOD = 1
DROP_PREFIXES = SETTINGS["properties"]["drop_stream_prefixes"]["default"]
LOADER_COLUMNS = {
    "_sdc_extracted_at": "When the row was read from the source.",
    "_sdc_received_at": "When the loader received the row.",
    "_sdc_batched_at": "When the row was loaded.",
    "_sdc_deleted_at": "When the row was found to be deleted at the source; empty if it is there.",
    "_sdc_sequence": "The order in which rows were received.",
    "_sdc_table_version": "Which whole reading of the stream the row belongs to.",
}
"""What the loader adds to each table: shown beside a single row only, not in every table."""


@dataclass(frozen=True)
class RawSource:
    """A source without staging tables, as far as it has been loaded from here."""

    label: str
    dataset: str
    streams: Mapping[str, Mapping[str, Any]]
    """The catalog's streams, by the name of their table."""


def sources_without_staging(root: Path) -> Iterator[RawSource]:
    """Yield each source that has been extracted here and has no folder in staging."""
    for file in sorted((root / "extract").glob("*.meltano.yml")):
        source = file.name.removesuffix(".meltano.yml")
        if (root / "transform" / "models" / "staging" / source).exists():
            continue
        plugins = yaml.safe_load(file.read_text()).get("plugins") or {}
        loader: Mapping[str, Any] = next(iter(plugins.get("loaders") or []), {})
        prefixes = (loader.get("config") or {}).get("drop_stream_prefixes", DROP_PREFIXES)
        for tap in plugins.get("extractors") or []:
            catalog = root / ".meltano" / "run" / tap["name"] / "tap.properties.json"
            if "load_schema" in tap and catalog.exists():
                streams = json.loads(catalog.read_text())["streams"]
                yield RawSource(
                    label=tap.get("label") or source,
                    dataset=tap["load_schema"],
                    streams={
                        table_name(stream["tap_stream_id"], prefixes): stream
                        for stream in streams
                        if selected(stream)
                    },
                )


def selected(stream: Mapping[str, Any]) -> bool:
    """Tell whether Meltano has selected a stream of the catalog."""
    return bool(of_stream(stream).get("selected", stream.get("selected")))


def of_stream(stream: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a stream as a whole."""
    for entry in stream["metadata"]:
        if not entry["breadcrumb"]:
            return dict(entry["metadata"])
    return {}


def describe(metabase: Metabase, database: str, source: RawSource, timeout: int) -> int:
    """Show a source's raw tables, and say what each is; return how many there are.

    Args:
        metabase: Its API.
        database: The name of the BigQuery database there.
        source: Whose tables.
        timeout: Seconds to wait until Metabase has found the tables.
    """
    row = metabase.find_database(database)
    if row is None:
        return 0
    show_dataset(metabase, row, source.dataset)
    metabase.sync_database_schema(row["id"])
    tables = wait_for_tables(metabase, row["id"], source, timeout)
    for table in tables:
        describe_table(metabase, table, source)
    return len(tables)


def show_dataset(metabase: Metabase, row: Mapping[str, Any], dataset: str) -> None:
    """Add a dataset to those that Metabase shows, where it shows only some."""
    details = row.get("details") or {}
    if details.get("dataset-filters-type") != "inclusion":
        return
    shown = [name.strip() for name in details.get("dataset-filters-patterns", "").split(",")]
    if dataset not in shown:
        details = {**details, "dataset-filters-patterns": ",".join([*shown, dataset])}
        url = f"{metabase.url}/api/database/{row['id']}"
        answer = metabase.session.put(url, json={"details": details}, timeout=metabase.http_timeout)
        answer.raise_for_status()


def wait_for_tables(
    metabase: Metabase, database_id: str, source: RawSource, timeout: int
) -> list[Mapping[str, Any]]:
    """Return the source's tables, once Metabase has found one for each stream or time is up."""
    deadline = time.monotonic() + timeout
    while True:
        tables = [
            table
            for table in metabase.get_database_metadata(database_id)["tables"]
            if table["schema"] == source.dataset
        ]
        if source.streams.keys() <= {table["name"] for table in tables}:
            return tables
        if time.monotonic() > deadline:
            return tables
        time.sleep(SYNC_PERIOD)


def describe_table(metabase: Metabase, table: Mapping[str, Any], source: RawSource) -> None:
    """Say what a raw table and its columns are; only what differs is written."""
    stream = source.streams.get(table["name"], {})
    schema = stream.get("schema", {})
    description = f"{source.label}: raw rows as the source has them, deleted ones included."
    if of := schema.get("description"):
        description = f"{description} {of}"
    if table.get("description") != description:
        metabase.update_table(table["id"], {"description": description})
    keys = of_stream(stream).get("table-key-properties", stream.get("key_properties")) or []
    for field in table["fields"]:
        wanted = describe_field(field["name"], schema.get("properties", {}), keys)
        if changes := {key: value for key, value in wanted.items() if field.get(key) != value}:
            metabase.update_field(field["id"], changes)


def describe_field(name: str, properties: Mapping[str, Any], keys: list[str]) -> dict[str, str]:
    """Return what Metabase should know of a column."""
    if name in LOADER_COLUMNS:
        return {"description": LOADER_COLUMNS[name], "visibility_type": "details-only"}
    wanted = {}
    if description := (properties.get(name) or {}).get("description"):
        wanted["description"] = description
    # A key of several columns identifies nothing by one of them.
    if keys == [name]:
        wanted["semantic_type"] = "type/PK"
    return wanted
