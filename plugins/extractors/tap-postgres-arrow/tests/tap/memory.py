"""What a loader makes of the tap's messages, without a warehouse."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass
class Kept:
    row: Row
    version: int | None
    is_live: bool = True


@dataclass
class Memory:
    """Rows by stream and key, and how many the last messages brought."""

    tables: dict[str, dict[Key, Kept]] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    received: int = 0

    def load(self, messages: Iterable[Row]) -> Row | None:
        """Take messages; return the last state among them."""
        self.received, state = 0, None
        for message in messages:
            stream = message.get("stream", "")
            table = self.tables.setdefault(stream, {})
            match message["type"]:
                case "SCHEMA":
                    self.keys[stream] = message["key_properties"]
                case "BATCH":
                    for row in taken(message):
                        self.received += 1
                        # Without a key, each row is another one.
                        key = self.key(stream, row) or (len(table),)
                        table[key] = Kept(row, message.get("version"))
                case "KEYS":
                    there = {self.key(stream, row) for row in taken(message)}
                    for key, kept in table.items():
                        kept.is_live = kept.is_live and key in there
                case "ACTIVATE_VERSION":
                    for kept in table.values():
                        kept.is_live = kept.is_live and kept.version == message["version"]
                case "STATE":
                    state = message["value"]
        return state

    def key(self, stream: str, row: Row) -> Key:
        return tuple(row[name] for name in self.keys[stream])

    def rows(self, stream: str, *, deleted: bool) -> list[Row]:
        return [
            kept.row for kept in self.tables.get(stream, {}).values() if kept.is_live != deleted
        ]


def taken(message: Row) -> Iterator[Row]:
    """The rows in a message's files, which are removed."""
    for url in message["manifest"]:
        path = Path.from_uri(url)
        for row in pq.read_table(path).to_pylist():
            yield {name: value for name, value in row.items() if not name.startswith("_sdc_")}
        path.unlink()
