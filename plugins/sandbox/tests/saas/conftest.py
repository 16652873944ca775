"""The stand-ins over one small world, in this process; a Postgres server holds the world."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg_pool import ConnectionPool
from sandbox import world
from sandbox.saas.app import create_app
from sandbox.saas.documents import Documents
from sandbox.settings import TOOLS
from sandbox.testing.postgres_server import PostgresServer

SECRET = "the-right-key"
SCALE = 0.1
TODAY = date(2026, 6, 10)


@dataclass
class Saas:
    """The stand-ins, and the world that they show."""

    client: TestClient
    connection: psycopg.Connection[Any]
    request_log: Path

    def documents(self, tool: str) -> Documents:
        """The tool's objects as the world has them."""
        return Documents.load(self.connection, tool)

    def requests(self) -> list[dict[str, Any]]:
        """What the stand-ins were asked so far."""
        return [json.loads(line) for line in self.request_log.read_text().splitlines()]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("saas") / "data")
    server.initialise()
    server.start()
    try:
        with server.connect("postgres") as connection:
            connection.execute("create database product")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def saas(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saas]:
    """A world that no test changes for good: `saas.connection.transaction(force_rollback=True)`."""
    request_log = tmp_path_factory.mktemp("log") / "requests.jsonl"
    dsn = f"host=127.0.0.1 port={postgres.port} user=postgres dbname=product"
    with (
        postgres.connect("product") as connection,
        ConnectionPool(dsn, min_size=0, max_size=4) as connections,
    ):
        with connection.transaction():
            world.load(connection, TODAY, SCALE, seed=1)
        app = create_app(connections, request_log, dict.fromkeys(TOOLS, SECRET))
        yield Saas(TestClient(app), connection, request_log)
