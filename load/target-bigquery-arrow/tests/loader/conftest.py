"""One emulator for all tests of the session, and a dataset of its own for each test."""

import logging
import signal
import sys
import uuid
from collections.abc import Iterator

import pytest
from sandbox.testing.emulator import Emulator, running_emulator

from .driver import Loader


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """The SDK takes the process for its own: signals, logging, the hook for exceptions."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    log_handlers, hook = list(logging.root.handlers), sys.excepthook
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    logging.root.handlers, sys.excepthook = log_handlers, hook


@pytest.fixture
def loader(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Loader:
    return Loader(emulator, f"test_{uuid.uuid4().hex}", tmp_path_factory.mktemp("loader"))
