"""The loader as tests use it: messages in, states out, and what is in BigQuery then."""

import io
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import NotFound
from google.cloud import bigquery
from local_servers.emulator import PROJECT, Emulator
from target_bigquery_arrow.target import TargetBigQueryArrow, main

METADATA_PREFIX = "_sdc_"
Message = dict[str, Any]

_encode = msgspec.json.Encoder(decimal_format="number").encode


def schema(stream: str, properties: dict[str, Any], keys: Iterable[str] = ("id",)) -> Message:
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"properties": properties},
        "key_properties": list(keys),
    }


def record(stream: str, values: Any, **envelope: Any) -> Message:
    return {"type": "RECORD", "stream": stream, "record": values, **envelope}


def state(value: Any) -> Message:
    return {"type": "STATE", "value": value}


def activate(stream: str, version: int, **guard: float) -> Message:
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": version, **guard}


def completed() -> Message:
    return {"type": "COMPLETED"}


def files(kind: str, stream: str, *paths: Path, **others: Any) -> Message:
    """A BATCH or KEYS message of Parquet files."""
    return {
        "type": kind,
        "stream": stream,
        "encoding": {"format": "parquet", "compression": "zstd"},
        "manifest": [path.as_uri() for path in paths],
        **others,
    }


def parquet(directory: Path, columns: Any, **options: Any) -> Path:
    """A Parquet file as a tap writes it."""
    path = directory / f"{uuid.uuid4()}.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", **options)
    return path


def batch_dir(directory: Path) -> Path:
    """The private folder in which a tap hands files over."""
    folder = directory / "tap-test-abc_1234"
    folder.mkdir(mode=0o700)
    return folder


def lines(messages: Iterable[Message | bytes]) -> bytes:
    """Messages as a tap writes them; bytes stand for themselves."""
    return b"".join(
        message if isinstance(message, bytes) else _encode(message) + b"\n" for message in messages
    )


@dataclass
class Loader:
    """The loader, set up to load into one dataset of the emulator."""

    emulator: Emulator
    dataset: str
    directory: Path
    settings: dict[str, Any] = field(default_factory=lambda: {"retry_seconds": 10})

    @property
    def config(self) -> dict[str, Any]:
        return {
            "project": PROJECT,
            "dataset": self.dataset,
            "api_endpoint": self.emulator.endpoint,
            "anonymous": True,
            **self.settings,
        }

    def load(self, *messages: Message | bytes) -> list[Any]:
        """Load in this process; give the states that came out. Raises LoadError."""
        written = io.BytesIO()
        stdout = redirect_stdout(io.TextIOWrapper(written, write_through=True))
        with stdout, TargetBigQueryArrow(config=self.config) as target:
            target.listen(io.BytesIO(lines(messages)))  # type: ignore[arg-type]
            return read_states(written.getvalue())

    def invoke(self, *messages: Message | bytes) -> int:
        """Load by the command line, in this process; give its exit code."""
        config, pipe = self.directory / "config.json", self.directory / "messages.jsonl"
        config.write_text(json.dumps(self.config))
        pipe.write_bytes(lines(messages))
        arguments = ["target-bigquery-arrow", "--config", str(config), "--input", str(pipe)]
        with patch.object(sys, "argv", arguments), pytest.raises(SystemExit) as exit_:
            main()
        return int(exit_.value.code or 0)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the loader as Meltano does, as a process of its own."""
        config = self.directory / "config.json"
        config.write_text(json.dumps(self.config))
        return subprocess.Popen(
            [Path(sys.executable).with_name("target-bigquery-arrow"), "--config", config],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(self.directory)} | environment,
        )

    def run(self, *messages: Message | bytes) -> subprocess.CompletedProcess[bytes]:
        """Load in a process of its own."""
        process = self.start()
        output, errors = process.communicate(lines(messages), timeout=60)
        return subprocess.CompletedProcess("loader", process.returncode, output, errors)

    def query(self, sql: str) -> list[dict[str, Any]]:
        config = bigquery.QueryJobConfig(default_dataset=f"{PROJECT}.{self.dataset}")
        return [dict(row) for row in self.emulator.client().query(sql, config).result()]

    def tables(self) -> set[str]:
        try:
            return {table.table_id for table in self.emulator.client().list_tables(self.dataset)}
        except NotFound:
            return set()

    def columns(self, table: str) -> dict[str, str]:
        """The stream's own columns and their types."""
        found = self.emulator.client().get_table(f"{PROJECT}.{self.dataset}.{table}")
        return {
            column.name: f"{column.field_type}{' REPEATED' * (column.mode == 'REPEATED')}"
            for column in found.schema
            if not column.name.startswith(METADATA_PREFIX)
        }

    def rows(self, table: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        """Rows without the loader's metadata; those marked as deleted only on request."""
        condition = "is not null" if deleted else "is null"
        found = self.query(f"select * from `{table}` where _sdc_deleted_at {condition}")
        return [
            {name: value for name, value in row.items() if not name.startswith(METADATA_PREFIX)}
            for row in found
        ]

    def by_id(self, table: str) -> dict[Any, dict[str, Any]]:
        rows = self.rows(table)
        found = {row["id"]: row for row in rows}
        assert len(found) == len(rows), "two rows have one key"
        return found


def read_states(output: bytes) -> list[Any]:
    return [json.loads(line, parse_float=Decimal) for line in output.splitlines()]
