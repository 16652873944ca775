"""The fakes over one small world, in this process; a Postgres server holds the world."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from local_servers.postgres_server import PostgresServer
from psycopg_pool import ConnectionPool
from sandbox import world
from sandbox.saas.app import create_app
from sandbox.saas.documents import Documents
from sandbox.settings import FAKES

SECRET = "the-right-key"
SCALE = 0.1
TODAY = date(2026, 6, 10)


@dataclass
class Saas:
    """The fakes, and the world that they show."""

    client: TestClient
    connection: psycopg.Connection[Any]
    request_log: Path

    def documents(self, tool: str) -> Documents:
        """The tool's objects as the world has them."""
        return Documents.load(self.connection, tool)

    def requests(self) -> list[dict[str, Any]]:
        """What the fakes were asked so far."""
        return [json.loads(line) for line in self.request_log.read_text().splitlines()]


class Ticked:
    """A world in which days pass, and a tool as it was before each of them."""

    def __init__(self, saas: Saas, tool: str, ticks: int) -> None:
        self.saas = saas
        self.tool = tool
        self.befores: list[tuple[datetime, Documents]] = []
        for _ in range(ticks):
            self.tick()

    def tick(self) -> None:
        self.befores.append((datetime.now(UTC), self.documents()))
        with self.saas.connection.transaction():
            world.tick(self.saas.connection)

    def documents(self) -> Documents:
        return self.saas.documents(self.tool)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("saas") / "data")
    server.initialise()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running(
    postgres: PostgresServer, name: str, today: date, scale: float, *, seed: int, key: str = SECRET
) -> Iterator[Saas]:
    """The fakes over a world of its own, in a database of that name."""
    with postgres.connect("postgres") as connection:
        connection.execute(f"create database {name}")
    dsn = f"host=127.0.0.1 port={postgres.port} user=postgres dbname={name}"
    request_log = postgres.directory.with_name(f"{name}.jsonl")
    with (
        postgres.connect(name) as connection,
        ConnectionPool(dsn, min_size=0, max_size=4) as connections,
    ):
        with connection.transaction():
            world.load(connection, today, scale, seed)
        app = create_app(connections, request_log, dict.fromkeys(FAKES, key))
        yield Saas(TestClient(app), connection, request_log)


@pytest.fixture(scope="session")
def saas(postgres: PostgresServer) -> Iterator[Saas]:
    """A world that no test changes for good: `saas.connection.transaction(force_rollback=True)`."""
    with running(postgres, "product", TODAY, SCALE, seed=1) as saas:
        yield saas
