"""One small sandbox, run through its command line, for all tests of the session."""

from collections.abc import Iterator

import pytest
from local_servers.loopback import free_ports

from .support import PORTS, CommandLine


@pytest.fixture(scope="session")
def stopped_sandbox(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A sandbox that isn't up; its path is longer than a unix socket's may be."""
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    directory = tmp_path_factory.mktemp("a folder") / ("deep" * 30) / "sandbox"
    return CommandLine({**ports, "SANDBOX_SCALE": "0.02", "SANDBOX_DIRECTORY": str(directory)})


@pytest.fixture(scope="session")
def sandbox(stopped_sandbox: CommandLine) -> Iterator[CommandLine]:
    """A sandbox that is up; the world's today is a Thursday."""
    try:
        result = stopped_sandbox("up", SANDBOX_TODAY="2026-01-01")
        assert result.returncode == 0, result.stderr
        yield stopped_sandbox
    finally:
        stopped_sandbox("reset")
