from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .support import FakeMetabase, FakeWarehouse, running, timeline


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "metabase.json"


@pytest.fixture
def start(state_file: Path) -> Iterator[Callable[[], FakeMetabase]]:
    """Starts a fake; a second call restarts it on the same state file."""
    stack = ExitStack()
    warehouse = FakeWarehouse(timeline())

    def run() -> FakeMetabase:
        stack.close()
        return stack.enter_context(running(state_file, warehouse))

    with stack:
        yield run


@pytest.fixture
def metabase(start: Callable[[], FakeMetabase]) -> FakeMetabase:
    """A fake that has synced once."""
    fake = start()
    fake.sync()
    return fake


@pytest.fixture(scope="module")
def shared_metabase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeMetabase]:
    """One for all tests of a module: starting it takes longer than most of them do."""
    state_file = tmp_path_factory.mktemp("shared") / "metabase.json"
    with running(state_file, FakeWarehouse(timeline())) as fake:
        fake.sync()
        yield fake
