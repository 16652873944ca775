"""A BigQuery emulator for one test run: on free ports, with nothing downloaded."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from local_servers.loopback import HOST, free_port

PROJECT = "local"
STARTUP_SECONDS = 60


@dataclass
class Emulator:
    """A server that can be stopped and started again with its data."""

    directory: Path
    port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its address, for `api_endpoint`."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.directory / "emulator.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own arguments
                [
                    *(sys.executable, "-m", "local_servers.bigquery", "--project", PROJECT),
                    *("--port", str(self.port), "--grpc-port", str(self.grpc_port)),
                    *("--directory", str(self.directory)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait(self.process)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        log = (self.directory / "emulator.log").read_text()
        raise RuntimeError(f"the BigQuery emulator has not started:\n{log}")

    def stop(self) -> None:
        """Kill it. Its data stays."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def client(self) -> bigquery.Client:
        """A client of it."""
        return bigquery.Client(
            project=PROJECT,
            location="US",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.endpoint},
        )


@contextmanager
def running_emulator(directory: Path) -> Iterator[Emulator]:
    """Run an emulator whose data lives in `directory`."""
    emulator = Emulator(directory)
    try:
        emulator.start()
        yield emulator
    finally:
        emulator.stop()
