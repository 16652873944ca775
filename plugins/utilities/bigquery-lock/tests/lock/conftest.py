"""One emulator for all tests, and a lock of its own for each."""

import uuid

import pytest
from local_servers.emulator import PROJECT
from local_servers.fixtures import emulator_of_the_session

__all__ = ["emulator_of_the_session"]


@pytest.fixture
def name() -> str:
    """Return the name of a lock that nobody has held yet."""
    return f"{PROJECT}.ops.lock_{uuid.uuid4().hex}"
