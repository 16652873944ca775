"""One run at a time loads into a dataset, wherever it runs."""

import os
import signal
import time
from typing import Any

import bigquery_lock
import pytest
from local_servers.emulator import PROJECT
from target_bigquery_arrow.errors import RunError

from .driver import Loader, lines, record, schema, state

THINGS = schema("things", {"id": {"type": "integer"}})


@pytest.fixture
def locked(loader: Loader) -> Loader:
    """A loader whose lock lies in its own dataset."""
    loader.settings |= {"lock_dataset": loader.dataset}
    return loader


def name_of(loader: Loader) -> str:
    return f"{PROJECT}.{loader.dataset}.lock_{loader.dataset}"


def lock_of(loader: Loader, **options: Any) -> bigquery_lock.Lock:
    connection = bigquery_lock.connect(api_endpoint=loader.emulator.endpoint, anonymous=True)
    return bigquery_lock.Lock(connection, name_of(loader), purpose="another load", **options)


def test_a_run_stops_before_it_loads_anything_if_another_loads_into_the_dataset(
    locked: Loader, caplog: pytest.LogCaptureFixture, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with lock_of(locked):
        assert locked.invoke(THINGS, record("things", {"id": 1}), state({"a": 1})) == 1
    assert locked.tables() == {f"lock_{locked.dataset}"}
    assert capsysbinary.readouterr().out == b""
    (line,) = [record.message for record in caplog.records if record.levelname == "CRITICAL"]
    assert f"lock_{locked.dataset} is held by another load on " in line
    assert f"(process {os.getpid()}, since " in line


def test_the_lock_is_free_after_the_run_however_it_ended(locked: Loader) -> None:
    assert locked.load(THINGS, record("things", {"id": 1}), state({"a": 1})) == [{"a": 1}]
    assert locked.invoke(THINGS, record("things", {"id": "no number"})) == 1
    with lock_of(locked) as lock:
        lock.check()


def test_a_run_that_was_killed_holds_up_nobody(locked: Loader) -> None:
    process = locked.start()
    assert process.stdin
    process.stdin.write(lines([THINGS, record("things", {"id": 1})]))
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while (
        not locked.tables() or not locked.emulator.client().get_table(name_of(locked)).description
    ):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert locked.load(THINGS, record("things", {"id": 2}), state({"a": 2})) == [{"a": 2}]


def test_the_lock_that_a_job_has_taken_is_its_loaders(
    locked: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `stack:guard` takes it: in the name of the Meltano that starts the loader."""
    monkeypatch.setenv("MELTANO_EXTRACTOR_NAME", "tap-things")
    lock_of(locked, owner=os.getpid()).leave()
    first = locked.run(THINGS, record("things", {"id": 1}), state({"a": 1}))
    assert first.returncode == 0, first.stderr
    # It stays the job's until Meltano has stored the state.
    assert "the load of" in locked.emulator.client().get_table(name_of(locked)).description


def test_a_run_that_has_lost_its_lock_loads_nothing_more(
    locked: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_: object) -> None:
        raise bigquery_lock.Lost("The lock was lost: another run may have begun.")

    monkeypatch.setattr(bigquery_lock.Lock, "check", lose)
    with pytest.raises(RunError, match="lost"):
        locked.load(THINGS, record("things", {"id": 1}), state({"a": 1}))
    assert "things" not in locked.tables() or not locked.query("select * from things")
