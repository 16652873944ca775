"""One Postgres and one emulator for all tests of the session; for each test, a database of its own
and a dataset to load it into."""

import logging
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox.testing.emulator import Emulator, running_emulator
from sandbox.testing.postgres_server import PostgresServer, running_server

from .pipeline import Pipeline


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_server(tmp_path_factory.mktemp("postgres") / "data") as server:
        with server.connect("template1") as connection:
            connection.execute("create extension citext; create extension hstore")
        yield server


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """The SDK takes the process for its own: signals, logging, the hook for exceptions."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    log_handlers, hook = list(logging.root.handlers), sys.excepthook
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    logging.root.handlers, sys.excepthook = log_handlers, hook


@pytest.fixture
def pipeline(server: PostgresServer, emulator: Emulator, tmp_path: Path) -> Iterator[Pipeline]:
    name = f"test_{uuid.uuid4().hex}"
    with server.connect("postgres") as connection:
        connection.execute(f"create database {name}")
    with Pipeline(server, emulator, name, tmp_path) as pipeline:
        yield pipeline
    with server.connect("postgres") as connection:
        connection.execute(f"drop database {name} with (force)")
