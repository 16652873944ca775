"""A whole stack for the tests: the project's own jobs, on a small sandbox of their own."""

import os
from collections.abc import Iterator

import pytest
from sandbox.testing import free_ports

from .stack import ROOT, Stack

SCALE = "0.05"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start a sandbox beside the one that a developer may have running; nothing is shared."""
    directory = tmp_path_factory.mktemp("stack")
    ports = map(str, free_ports(4))
    environment = os.environ | {
        "SANDBOX_DIRECTORY": str(directory / "sandbox"),
        "SANDBOX_SCALE": SCALE,
        "SANDBOX_POSTGRES_PORT": next(ports),
        "SANDBOX_BIGQUERY_PORT": next(ports),
        "SANDBOX_BIGQUERY_GRPC_PORT": next(ports),
        "SANDBOX_METABASE_PORT": next(ports),
        "MELTANO_DATABASE_URI": f"sqlite:///{directory}/meltano.db",
        "DBT_TARGET_PATH": str(directory / "dbt"),
        "DBT_LOG_PATH": str(directory / "dbt"),
        "NO_COLOR": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    stack = Stack(ROOT, environment)
    try:
        stack.meltano("--log-level=warning", "invoke", "sandbox", "up")
        yield stack
    finally:
        stack.sandbox("reset")


@pytest.fixture(scope="session")
def first_run(stack: Stack) -> str:
    """The log of `meltano run product-daily` on a fresh world."""
    return stack.meltano("run", "product-daily")
