"""One Postgres and one emulator for all tests of the session; for each test, a database of its own
and a dataset to load it into. A primary with a standby for those that need two."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_servers.emulator import Emulator
from local_servers.fixtures import emulator_of_the_session, process_as_it_was
from local_servers.postgres_server import PostgresServer, running_server

from .memory import Memory
from .pipeline import Pipeline

__all__ = ["emulator_of_the_session", "process_as_it_was"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_server(tmp_path_factory.mktemp("postgres") / "data") as server:
        with server.connect("template1") as connection:
            connection.execute("create extension citext; create extension hstore")
        yield server


@pytest.fixture(scope="session")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_server(tmp_path_factory.mktemp("primary") / "primary") as server:
        yield server


@pytest.fixture(scope="session")
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    standby = PostgresServer(primary.directory.with_name("standby"))
    standby.make_directory()
    primary.run(
        *("pg_basebackup", "--pgdata", str(standby.directory), "--username", "postgres"),
        *("--write-recovery-conf", "--checkpoint", "fast"),
    )
    try:
        standby.start()
        yield standby
    finally:
        standby.stop()


@pytest.fixture
def pipeline(server: PostgresServer, emulator: Emulator, tmp_path: Path) -> Iterator[Pipeline]:
    name = f"test_{uuid.uuid4().hex}"
    with server.connect("postgres") as connection:
        connection.execute(f"create database {name} strategy file_copy")
    with Pipeline(server, emulator, name, tmp_path) as pipeline:
        yield pipeline
    with server.connect("postgres") as connection:
        connection.execute(f"drop database {name} with (force)")
    # Each statement of the emulator takes longer with each table that there is.
    emulator.client().delete_dataset(name, delete_contents=True, not_found_ok=True)


@pytest.fixture
def in_memory(pipeline: Pipeline) -> Pipeline:
    """One that loads into memory, where it is the tap alone that is tested."""
    pipeline.memory = Memory()
    return pipeline
