"""A BigQuery emulator of one's own: on free ports, with nothing downloaded."""

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

PROJECT = "local"
STARTUP_SECONDS = 60


@dataclass
class Emulator:
    """A server that can be stopped and started again with its data."""

    directory: Path
    port: int = field(default_factory=lambda: free_port())
    grpc_port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.directory / "emulator.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "sandbox.bigquery", "--project", PROJECT),
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
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        log = (self.directory / "emulator.log").read_text()
        raise RuntimeError(f"the BigQuery emulator has not started:\n{log}")

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def client(self) -> bigquery.Client:
        return bigquery.Client(
            project=PROJECT,
            location="US",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.endpoint},
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_emulator(directory: Path) -> Iterator[Emulator]:
    """Run an emulator whose data lives in `directory`."""
    emulator = Emulator(directory)
    try:
        emulator.start()
        yield emulator
    finally:
        emulator.stop()
