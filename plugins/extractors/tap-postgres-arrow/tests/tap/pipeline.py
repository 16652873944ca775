"""The tap and the loader as tests use them: SQL on the one side, SQL on the other."""

import copy
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import psycopg
from google.api_core.exceptions import NotFound
from google.cloud import bigquery
from local_servers.emulator import PROJECT, Emulator
from local_servers.loopback import HOST
from local_servers.postgres_server import PostgresServer
from psycopg.rows import dict_row
from tap_postgres_arrow.tap import TapPostgresArrow
from target_bigquery_arrow.target import TargetBigQueryArrow

from .memory import Memory, Row


@dataclass
class Pipeline:
    """A Postgres database, a dataset of the same name, and the state between runs."""

    server: PostgresServer
    emulator: Emulator
    name: str
    directory: Path
    state: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    # By stream, what Meltano's `metadata` and `schema` would say.
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    schema: dict[str, dict[str, Any]] = field(default_factory=dict)
    deselected: set[tuple[str, ...]] = field(default_factory=set)
    # Where runs load to instead of the dataset, where it is the tap alone that is tested.
    memory: Memory | None = None
    # What the tap's last run has written.
    written: io.StringIO = field(default_factory=io.StringIO)

    def __enter__(self) -> Self:
        self.stack = ExitStack()
        # What this process makes goes where its children's does: files, and the loader's locks.
        self.stack.enter_context(patch.object(tempfile, "tempdir", str(self.directory)))
        self.postgres = self.stack.enter_context(self.connect())
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    # Postgres

    def connect(self) -> psycopg.Connection[Row]:
        return self.server.connect(self.name, row_factory=dict_row)

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.postgres.execute(statement)

    def source(self, table: str, columns: str = "*") -> list[Row]:
        return self.postgres.execute(f"select {columns} from {table}").fetchall()

    # The tap

    @property
    def config(self) -> dict[str, Any]:
        return {
            "host": HOST,
            "port": self.server.port,
            "user": "postgres",
            "database": self.name,
            **self.settings,
        }

    def catalog(self) -> dict[str, Any]:
        """What Meltano makes of a discovered catalog."""
        with TapPostgresArrow(config=self.config) as tap:
            catalog: dict[str, Any] = json.loads(tap.catalog_json_text)
        for stream in catalog["streams"]:
            name = stream["tap_stream_id"]
            stream["schema"]["properties"] |= self.schema.get(name, {})
            for entry in stream["metadata"]:
                path = (name, *entry["breadcrumb"][1:])
                entry["metadata"]["selected"] = path not in self.deselected
                if not entry["breadcrumb"]:
                    rules = self.metadata.get(name, {})
                    entry["metadata"] |= rules
                    stream |= {rule.replace("-", "_"): value for rule, value in rules.items()}
        return catalog

    def extract(self, catalog: dict[str, Any] | None = None) -> list[Row]:
        """Run the tap in this process; return its messages. Raises TapError (see `written`)."""
        return [json.loads(line) for line in self._extract(catalog).splitlines()]

    def _extract(self, catalog: dict[str, Any] | None = None) -> str:
        self.written = io.StringIO()
        with (
            TapPostgresArrow(
                config=self.config,
                catalog=catalog or self.catalog(),
                state=copy.deepcopy(self.state),
            ) as tap,
            redirect_stdout(self.written),
        ):
            tap.run()
        return self.written.getvalue()

    # Both

    @property
    def loader_config(self) -> dict[str, Any]:
        return {
            "project": PROJECT,
            "dataset": self.name,
            "api_endpoint": self.emulator.endpoint,
            "anonymous": True,
            "retry_seconds": 10,
        }

    def run(self) -> list[Row]:
        """Extract and load, in this process; return the messages. Raises either's error."""
        passed = self._extract()
        self.load(passed)
        return [json.loads(line) for line in passed.splitlines()]

    def load(self, messages: str) -> None:
        if self.memory:
            heard = map(json.loads, messages.splitlines())
            self.state = self.memory.load(heard) or self.state
            return
        states = io.BytesIO()
        output = io.TextIOWrapper(states, write_through=True)
        try:
            with (
                redirect_stdout(output),
                TargetBigQueryArrow(config=self.loader_config) as target,
            ):
                target.listen(io.BytesIO(messages.encode()))  # type: ignore[arg-type]
        finally:
            self.keep(states.getvalue())

    def keep(self, states: bytes) -> None:
        """Keep the last state that a loader gave out."""
        for line in states.splitlines():
            self.state = json.loads(line)

    def start_tap(self, **options: Any) -> subprocess.Popen[bytes]:
        """Start the tap as Meltano does, as a process of its own."""
        arguments = self._files(catalog=self.catalog(), config=self.config, state=self.state)
        return self._start("tap-postgres-arrow", *arguments, stdout=subprocess.PIPE, **options)

    def start_loader(self, **options: Any) -> subprocess.Popen[bytes]:
        arguments = self._files(config=self.loader_config)
        return self._start("target-bigquery-arrow", *arguments, stdout=subprocess.PIPE, **options)

    def _files(self, **contents: Any) -> Iterable[str | Path]:
        for option, content in contents.items():
            path = self.directory / f"{option}-{len(list(self.directory.iterdir()))}.json"
            path.write_text(json.dumps(content))
            yield from (f"--{option}", path)

    def _start(
        self, program: str, *arguments: str | Path, **options: Any
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [Path(sys.executable).with_name(program), *arguments],
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(self.directory)} | options.pop("env", {}),
            **options,
        )

    # BigQuery

    def query(self, sql: str) -> list[Row]:
        config = bigquery.QueryJobConfig(default_dataset=f"{PROJECT}.{self.name}")
        return [dict(row) for row in self.emulator.client().query(sql, config).result()]

    def loaded(self, table: str, *, deleted: bool = False) -> list[Row]:
        """The rows of a table without the loader's columns; those marked as deleted on request."""
        if self.memory:
            return self.memory.rows(f"public-{table}", deleted=deleted)
        condition = "is not null" if deleted else "is null"
        try:
            rows = self.query(f"select * from `{table}` where _sdc_deleted_at {condition}")
        except NotFound:
            return []
        return [{k: v for k, v in row.items() if not k.startswith("_sdc_")} for row in rows]

    def columns(self, table: str) -> dict[str, str]:
        found = self.emulator.client().get_table(f"{PROJECT}.{self.name}.{table}")
        return {
            column.name: f"{column.field_type}{' REPEATED' * (column.mode == 'REPEATED')}"
            for column in found.schema
            if not column.name.startswith("_sdc_")
        }
