"""Run the tap, and load what it writes as a target does."""

import io
import json
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tap_airbyte_manifest import tap
from tap_airbyte_manifest.errors import SafeLines, TapError

Catalog = dict[str, Any]


@dataclass
class Table:
    """Rows by key, as a target holds them."""

    keys: list[str]
    rows: dict[tuple[Any, ...], tuple[int | None, dict[str, Any]]] = field(default_factory=dict)


@dataclass
class Target:
    """What was loaded, and the last state."""

    tables: dict[str, Table] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def load(self, messages: Iterable[dict[str, Any]]) -> None:
        for message in messages:
            name = message.get("stream", "")
            match message["type"]:
                case "SCHEMA":
                    self.tables.setdefault(name, Table(message["key_properties"]))
                case "RECORD":
                    table, record = self.tables[name], message["record"]
                    key = tuple(record[name] for name in table.keys)
                    table.rows[key] = (message.get("version"), record)
                case "ACTIVATE_VERSION":
                    assert message["max_delete_fraction"] == 0.5
                    table = self.tables[name]
                    live = {
                        key: row for key, row in table.rows.items() if row[0] == message["version"]
                    }
                    table.rows = live
                case "STATE":
                    assert message["independent"] is True
                    self.state = message["value"]

    def rows(self, name: str = "items") -> list[dict[str, Any]]:
        rows = (row for _, row in self.tables[name].rows.values())
        return sorted(rows, key=lambda row: str(row.get("id")).zfill(9))


@dataclass
class Run:
    """One run of the tap: its messages, and its error if it failed."""

    messages: list[dict[str, Any]]
    log: list[str]
    error: str | None

    def records(self, name: str = "items") -> list[dict[str, Any]]:
        return [
            message["record"]
            for message in self.messages
            if message["type"] == "RECORD" and message["stream"] == name
        ]

    @property
    def activated(self) -> set[str]:
        return {each["stream"] for each in self.messages if each["type"] == "ACTIVATE_VERSION"}

    @property
    def bookmarks(self) -> dict[str, Any]:
        states = [each["value"] for each in self.messages if each["type"] == "STATE"]
        return states[-1]["bookmarks"] if states else {}


class Tap:
    """The tap in this process, with a manifest and settings."""

    def __init__(
        self, folder: Path, manifest: Any, config: dict[str, Any], **settings: Any
    ) -> None:
        self.folder = folder
        self.settings = {"manifest": manifest, "config": config, **settings}

    def file(self, name: str, content: Any) -> str:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(content))
        return str(path)

    def arguments(self, state: Any = None, catalog: Catalog | None = None) -> list[str]:
        found = ["--config", self.file("config", self.settings)]
        found += ["--catalog", self.file("catalog", catalog or self.catalog())]
        return found + (["--state", self.file("state", state)] if state else [])

    def command(self, *arguments: str) -> tuple[str, list[str]]:
        """Run a command; return what it wrote and logged."""
        log: list[str] = []
        handler = logging.Handler()
        handler.addFilter(SafeLines())
        handler.emit = lambda record: log.append(record.getMessage())  # type: ignore[method-assign]
        root = logging.getLogger()
        root.addHandler(handler)
        output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        try:
            with patch.object(sys, "stdout", output), patch.object(tap.notes, "tell", log.append):
                tap.run(tap.arguments(list(arguments)))
        finally:
            root.removeHandler(handler)
            output.flush()
            self.written = output.buffer.getvalue().decode()  # type: ignore[attr-defined]
            self.log = log
        return self.written, log

    def catalog(self, **replication: str) -> Catalog:
        """Discover; `replication` is each stream's method, as Meltano's `metadata` sets it."""
        written, _ = self.command("--config", self.file("config", self.settings), "--discover")
        catalog: Catalog = json.loads(written)
        for entry in catalog["streams"]:
            own = entry["metadata"][0]["metadata"]
            own |= {"selected": True}
            if method := replication.get(entry["tap_stream_id"]):
                own["replication-method"] = method
        return catalog

    def sync(self, state: Any = None, catalog: Catalog | None = None) -> Run:
        """Read; an error is part of the run."""
        error = None
        try:
            self.command(*self.arguments(state, catalog))
        except TapError as raised:
            error = str(raised)
        return Run([json.loads(line) for line in self.written.splitlines()], self.log, error)
