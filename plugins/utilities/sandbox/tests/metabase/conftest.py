from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .support import FakeWarehouse, StandIn, running, timeline


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "metabase.json"


@pytest.fixture
def start(state_file: Path) -> Iterator[Callable[[], StandIn]]:
    """Starts a stand-in; a second call restarts it on the same state file."""
    stack = ExitStack()
    warehouse = FakeWarehouse(timeline())

    def run() -> StandIn:
        stack.close()
        return stack.enter_context(running(state_file, warehouse))

    with stack:
        yield run


@pytest.fixture
def metabase(start: Callable[[], StandIn]) -> StandIn:
    """A stand-in that has synced once."""
    stand_in = start()
    stand_in.sync()
    return stand_in


@pytest.fixture(scope="module")
def shared_metabase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """One for all tests of a module: starting it takes longer than most of them do."""
    state_file = tmp_path_factory.mktemp("shared") / "metabase.json"
    with running(state_file, FakeWarehouse(timeline())) as stand_in:
        stand_in.sync()
        yield stand_in
