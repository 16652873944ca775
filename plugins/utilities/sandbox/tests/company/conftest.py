"""A whole stack for the tests: the project's own jobs, on a small sandbox of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from local_servers.fixtures import googlesql_of_the_session
from local_servers.loopback import free_ports

from .stack import TABLES, Keyed, Stack, copy_of_the_project

__all__ = ["googlesql_of_the_session"]

SCALE = "0.05"
SECRETS = {
    "SANDBOX_CLOSE_SECRET": "TAP_CLOSE_CONFIG_API_KEY",
    "SANDBOX_INTERCOM_SECRET": "TAP_INTERCOM_CONFIG_ACCESS_TOKEN",
    "SANDBOX_STRIPE_SECRET": "TAP_STRIPE_CONFIG_API_KEY",
    "METABASE_API_KEY": "DBT_METABASE_API_KEY",
    # Nobody reads the first: the sandbox's Postgres is told before the first run.
    "POSTGRES_PASSWORD": "TAP_PRODUCT_PASSWORD",
}
"""The variables that set a secret at a fake, and at the plugin that uses it."""


@pytest.fixture(scope="session")
def secrets() -> frozenset[str]:
    """Secrets that look like nothing else; every plugin has one of its own."""
    return frozenset(f"secret-{token_hex(12)}" for _ in SECRETS)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, secrets: frozenset[str]) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), secrets) as stack:
        yield stack


@contextmanager
def running_stack(
    directory: Path, secrets: frozenset[str], *, keep: bool = False
) -> Iterator[Stack]:
    """Start a sandbox beside the one that a developer may have running; nothing is shared.

    It has what was kept in DIRECTORY, or a new world; KEEP says that its data stays.
    """
    ports = map(str, free_ports(5))
    environment = os.environ | {
        "SANDBOX_DIRECTORY": str(directory / "sandbox"),
        # Meltano's own lines: tests look for some that people are spared.
        "MELTANO_CLI_LOG_CONFIG": "",
        "SANDBOX_SCALE": SCALE,
        "SANDBOX_POSTGRES_PORT": next(ports),
        "SANDBOX_BIGQUERY_PORT": next(ports),
        "SANDBOX_BIGQUERY_GRPC_PORT": next(ports),
        "SANDBOX_SAAS_PORT": next(ports),
        "SANDBOX_METABASE_PORT": next(ports),
        "MELTANO_DATABASE_URI": f"sqlite:///{directory}/meltano.db",
        "DBT_TARGET_PATH": str(directory / "dbt"),
        "DBT_LOG_PATH": str(directory / "dbt"),
        "NO_COLOR": "1",
    }
    for secret, (stand_in, plugin) in zip(secrets, SECRETS.items(), strict=True):
        environment[stand_in] = environment[plugin] = secret
    environment["METABASE_KEY"] = environment["METABASE_API_KEY"]
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # In a folder of its own: Meltano can't run one tap twice at once in one project.
    project = directory / "project"
    stack = Stack(project if project.exists() else copy_of_the_project(project), environment)
    try:
        stack.meltano("--log-level=warning", "invoke", "sandbox", "up")
        yield stack
    finally:
        stack.sandbox("down" if keep else "reset")


@pytest.fixture(scope="session")
def first_run(stack: Stack) -> str:
    """The log of `meltano run product-daily` on a fresh world, at its most talkative."""
    return run_with_a_password_of_its_own(stack)


def run_with_a_password_of_its_own(stack: Stack) -> str:
    """Run `product-daily`, at its most talkative, with a secret for Postgres too."""
    password = stack.environment["TAP_PRODUCT_PASSWORD"]
    with stack.postgres() as connection:
        connection.execute(f"alter role sandbox password '{password}'")
    try:
        return stack.meltano("--log-level=debug", "run", "product-daily")
    finally:
        with stack.postgres(password=password) as connection:
            connection.execute("alter role sandbox password 'sandbox'")
        # For whatever comes later, the sandbox's own.
        stack.environment["TAP_PRODUCT_PASSWORD"] = "sandbox"


@dataclass
class SecondDay:
    """What there was before a day passed and `product-daily` ran again."""

    raw: dict[str, Keyed]
    deleted: dict[str, Keyed]
    metabase: dict[str, dict[str, Any]]
    screen: str = ""
    """What the run printed, as people see it."""


@pytest.fixture(scope="session")
def second_day(stack: Stack, first_run: str) -> SecondDay:
    """Let a day pass, and run `product-daily` again."""
    assert first_run
    before = SecondDay(
        raw={table: stack.raw_rows(table) for table in TABLES},
        deleted={table: stack.raw_rows(table, deleted=True) for table in TABLES},
        metabase=stack.metabase_tables(),
    )
    stack.sandbox("tick")
    logging = str(stack.root / "orchestrate/logging.yaml")
    before.screen = stack.meltano("run", "product-daily", MELTANO_CLI_LOG_CONFIG=logging)
    return before
