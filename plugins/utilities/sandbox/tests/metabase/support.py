"""A fake, served over HTTP, whose warehouse is a list that tests may change.

`FakeWarehouse.answer` is what every query gives; `asked` is the SQL that was run.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sandbox.metabase.app import create_app
from sandbox.metabase.discovery import (
    Column,
    DiscoveredTable,
    Schema,
    WarehouseError,
    metabase_types,
)
from sandbox.metabase.provision import Provision, provision
from sandbox.metabase.store import Store

API_KEY = "mb_a_key_of_these_tests"
DATABASE = "All (dbt)"


def table(name: str, /, **columns: str) -> DiscoveredTable:
    """A table of dataset `dbt`: `table("dim_users", id="STRING")`."""
    return DiscoveredTable(
        "dbt",
        name,
        tuple(
            Column((column,), *metabase_types(data_type), position=position)
            for position, (column, data_type) in enumerate(columns.items())
        ),
    )


@dataclass
class FakeWarehouse:
    """What a sync finds. `down` makes it unreachable."""

    found: list[DiscoveredTable] = field(default_factory=list)
    down: bool = False
    answer: tuple[Schema, list[tuple[Any, ...]]] = ([("count", "type/Integer")], [(42,)])
    asked: list[str] = field(default_factory=list)

    def check(self) -> None:
        if self.down:
            raise WarehouseError("BigQuery can't be reached")

    def tables(self) -> list[DiscoveredTable]:
        return list(self.found)

    def query(self, sql: str, limit: int) -> tuple[Schema, list[tuple[Any, ...]]]:
        self.check()
        self.asked.append(sql)
        schema, rows = self.answer
        return schema, rows[:limit]

    def columns(self, sql: str) -> Schema:
        return self.query(sql, 0)[0]


def timeline() -> list[DiscoveredTable]:
    """A dimension, and a staging table that refers to it."""
    return [
        table(
            "stg_product__timeline_items",
            id="STRING",
            organisation_id="STRING",
            created_at="TIMESTAMP",
        ),
        table(
            "dim_organisations",
            id="STRING",
            name="STRING",
            annual_contract_value="NUMERIC(12, 2)",
            archived_at="TIMESTAMP",
        ),
    ]


@dataclass
class FakeMetabase:
    """A running fake, and ways to ask it things as its administrator."""

    api: httpx.Client
    warehouse: FakeWarehouse

    @property
    def url(self) -> str:
        return str(self.api.base_url).rstrip("/")

    def metadata(self) -> dict[str, Any]:
        answer = self.api.get("/api/database/1/metadata", params={"include_hidden": "true"})
        metadata: dict[str, Any] = answer.raise_for_status().json()
        return metadata

    def tables(self) -> dict[str, dict[str, Any]]:
        return {table["name"]: table for table in self.metadata()["tables"]}

    def fields(self) -> dict[str, dict[str, Any]]:
        """Fields by `table.column`."""
        return {
            f"{table['name']}.{field['name']}": field
            for table in self.metadata()["tables"]
            for field in table["fields"]
        }

    def sync(self) -> None:
        """Syncs, and waits until what the warehouse holds is known."""
        self.api.post("/api/database/1/sync_schema").raise_for_status()
        names = {table.name for table in self.warehouse.found}
        eventually(lambda: self.tables().keys() == names)

    def put_field(self, name: str, **body: object) -> httpx.Response:
        return self.api.put(f"/api/field/{self.fields()[name]['id']}", json=body)

    def put_table(self, name: str, **body: object) -> httpx.Response:
        return self.api.put(f"/api/table/{self.tables()[name]['id']}", json=body)

    def as_non_admin(self) -> httpx.Client:
        answer = self.api.post("/api/api-key", json={"name": "reader", "group_id": 1})
        return client(self.url, {"X-API-KEY": answer.json()["unmasked_key"]})


def client(url: str, headers: dict[str, str] | None = None) -> httpx.Client:
    # No TLS here, and loading certificates takes most of a test's time.
    return httpx.Client(base_url=url, headers=headers, verify=False)


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serves the application on a free port; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def running(state_file: Path, warehouse: FakeWarehouse) -> Iterator[FakeMetabase]:
    """A provisioned fake on this state file."""
    store = Store(state_file)
    wanted = Provision(API_KEY, DATABASE, "http://127.0.0.1:1", "local", "dbt")
    app = create_app(store, lambda: provision(store, wanted), lambda _: warehouse)
    with served(app) as url, client(url, {"X-API-KEY": API_KEY}) as api:
        eventually(lambda: api.get("/api/health").status_code == 200)
        yield FakeMetabase(api, warehouse)
