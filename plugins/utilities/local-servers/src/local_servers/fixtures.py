"""Fixtures that the tests of several packages share; each conftest.py imports what it needs."""

import logging
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

from local_servers.emulator import Emulator, running_emulator

if TYPE_CHECKING:
    from local_servers.googlesql import GoogleSQL

# A busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("without-deadline", deadline=None)
hypothesis.settings.load_profile("without-deadline")


@pytest.fixture(scope="session", name="emulator")
def emulator_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for all tests of the session."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.fixture(scope="session", name="googlesql")
def googlesql_of_the_session() -> "GoogleSQL":
    """Google's analyser for all tests of the session."""
    from local_servers.googlesql import GoogleSQL  # of the extra `analyser`

    return GoogleSQL()


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """Undo what the Singer SDK changes: signal handlers, logging, the hook for exceptions."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    log_handlers, hook = list(logging.root.handlers), sys.excepthook
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    logging.root.handlers, sys.excepthook = log_handlers, hook


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let the commands get SIGINT: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
