"""The tests of jobs start on a stack where each job has run once."""

import fcntl
import os
import pickle
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sandbox.settings import TOOLS

from ..conftest import run_with_a_password_of_its_own, running_stack
from ..stack import EXTRACT_LOAD, Row, Stack
from ..world import Contacts, World

SHARED = "LOADED_WORLD"
"""The variable that names the folder in which test processes share one loaded world."""


@dataclass
class EverySource:
    """What came of the jobs of all sources, one after the other on a fresh world."""

    secrets: frozenset[str]
    log: str
    """At its most talkative."""
    organisations: dict[tuple[str, ...], list[Row]]
    """`dim_organisations` after each job, by the tools that were loaded by then."""


@pytest.fixture(scope="session")
def loaded_world(tmp_path_factory: pytest.TempPathFactory, secrets: frozenset[str]) -> Path:
    """A folder with all data of a stack on which each job has run: made once, to be copied."""
    shared = os.environ.get(SHARED)
    folder = Path(shared).absolute() if shared else tmp_path_factory.mktemp("world")
    world = folder / "world"
    with alone_in(folder):
        if not world.exists():
            shutil.rmtree(folder / "new", ignore_errors=True)
            make_world(folder / "new", secrets)
            (folder / "new").rename(world)
    return world


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_world(directory: Path, secrets: frozenset[str]) -> None:
    """Run the product's job on a new world, and every other source's after it."""
    with running_stack(directory, secrets, keep=True) as stack:
        found = EverySource(secrets, run_with_a_password_of_its_own(stack), {})
        found.organisations[()] = stack.organisations()
        for tool in TOOLS:
            found.log += stack.meltano("--log-level=debug", "run", f"{tool}-daily")
            before = max(found.organisations, key=len)
            found.organisations[*before, tool] = stack.organisations()
    (directory / "found.pickle").write_bytes(pickle.dumps(vars(found)))


@pytest.fixture(scope="session")
def every_source(loaded_world: Path) -> EverySource:
    """What came of each job when the world was made."""
    return EverySource(**pickle.loads((loaded_world / "found.pickle").read_bytes()))


@pytest.fixture(scope="session")
def stack(
    loaded_world: Path, every_source: EverySource, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack of this process alone, on a copy of the loaded world."""
    directory = tmp_path_factory.mktemp("stack") / "copy"
    # Postgres' files may be another user's, and keep their owner.
    subprocess.run(["cp", "-a", loaded_world, directory], check=True)
    with running_stack(directory, every_source.secrets) as stack:
        stack.environment["TAP_PRODUCT_PASSWORD"] = "sandbox"
        yield stack


@pytest.fixture(scope="session")
def contacts() -> Contacts:
    """The contacts that there ever were: the warehouse keeps those that Intercom has deleted."""
    return {}


@pytest.fixture(scope="session")
def requests_before(stack: Stack, contacts: Contacts) -> int:
    """Let a day pass, and load and build everything again; return the number of requests before.

    There are Sundays when nobody asks for help. Then more days pass, until somebody does. Each is
    loaded by itself: several at once would be an unusual load, and a warning.
    """
    before = len(stack.requests())
    contacts |= World.read(stack.status["postgres"]["dsn"]).contacts()
    asked = last_conversation(stack)
    while last_conversation(stack) == asked:
        stack.pass_day()
        stack.meltano("run", "tap-product", "target-bigquery", *EXTRACT_LOAD)
    # What the four jobs would build, once instead of up to four times.
    stack.meltano("invoke", "dbt-bigquery", "build", "--exclude-resource-type", "unit_test")
    return before


def last_conversation(stack: Stack) -> int:
    """When a conversation has changed last, in Unix time."""
    conversations = World.read(stack.status["postgres"]["dsn"]).intercom.of("conversation")
    return max(body["updated_at"] for body in conversations)
