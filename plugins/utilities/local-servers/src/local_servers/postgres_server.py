"""A Postgres server for one test run, whose superuser needs no password."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from local_servers import postgres_programs
from local_servers.loopback import HOST, free_port

STARTUP_SECONDS = 60
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "max_prepared_transactions": "10",
    # Not UTC, so that tests find what takes the server's time zone for granted.
    "timezone": "America/Lima",
}


@dataclass
class PostgresServer:
    """A server that can be stopped and started again with its data."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Make the cluster."""
        self.make_directory()
        self.run(
            *("initdb", "--username", "postgres", "--auth", "trust", "--no-sync"),
            *("--encoding", "UTF8", "--locale", "C"),
        )

    def make_directory(self) -> None:
        """Make the data directory, empty, for Postgres' own user."""
        self.directory.mkdir(mode=0o700)
        postgres_programs.own(self.directory)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of Postgres' programs on the data directory; return what it prints."""
        return subprocess.run(  # noqa: S603 - our own arguments
            [*postgres_programs.program(program), *arguments],
            env={"PGDATA": str(self.directory), "PGHOST": HOST, "PGPORT": str(self.port)},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def start(self, **settings: str) -> None:
        """Start it under some settings, and wait until it answers.

        Raises:
            RuntimeError: It didn't.
        """
        options = {**SETTINGS, "port": str(self.port), **settings}
        log = self.directory.with_suffix(".log")
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own arguments
                [
                    *postgres_programs.program("postgres"),
                    *("-D", str(self.directory)),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"Postgres has not started:\n{log.read_text()}")

    def stop(self) -> None:
        """Stop it, cutting its sessions off; its data stays."""
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def connect(self, database: str, **options: Any) -> psycopg.Connection[Any]:
        """A connection as superuser, which commits each statement."""
        return psycopg.connect(
            host=HOST, port=self.port, user="postgres", dbname=database, autocommit=True, **options
        )


@contextmanager
def running_server(directory: Path, **settings: str) -> Iterator[PostgresServer]:
    """Run a server whose data lives in `directory`, which must not exist yet."""
    server = PostgresServer(directory)
    try:
        server.initialise()
        server.start(**settings)
        yield server
    finally:
        server.stop()
