"""One emulator for all tests of the session, and a dataset of its own for each test."""

import uuid
from collections.abc import Iterator

import pytest
from local_servers.emulator import Emulator
from local_servers.fixtures import (
    emulator_of_the_session,
    googlesql_of_the_session,
    process_as_it_was,
)

from .driver import Loader

__all__ = ["emulator_of_the_session", "googlesql_of_the_session", "process_as_it_was"]


@pytest.fixture
def loader(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    name = f"test_{uuid.uuid4().hex}"
    yield Loader(emulator, name, tmp_path_factory.mktemp("loader"))
    # Each statement of the emulator takes longer with each table that there is.
    emulator.client().delete_dataset(name, delete_contents=True, not_found_ok=True)
