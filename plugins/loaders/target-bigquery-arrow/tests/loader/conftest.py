"""One emulator for all tests of the session, and a dataset of its own for each test."""

import uuid

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
def loader(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Loader:
    return Loader(emulator, f"test_{uuid.uuid4().hex}", tmp_path_factory.mktemp("loader"))
