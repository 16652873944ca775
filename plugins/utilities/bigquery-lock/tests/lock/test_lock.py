"""What a user of the lock can rely on."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import bigquery_lock
import pytest
import requests
from bigquery_lock import Connection, Held, Lock, LockError, Lost, processes
from bigquery_lock.lock import Holder
from local_servers.emulator import Emulator
from local_servers.loopback import HOST, free_port

CONTENDER = Path(__file__).with_name("contender.py")
SECONDS = 20


@pytest.fixture(name="connection")
def connection_to(emulator: Emulator) -> Connection:
    return bigquery_lock.connect(api_endpoint=emulator.endpoint, anonymous=True)


@pytest.fixture
def elsewhere(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Make this process be on another machine from here on."""
    monkeypatch.setattr(processes, "machine", lambda: "another")
    return bigquery_lock.connect(api_endpoint=emulator.endpoint, anonymous=True)


class Later(Connection):
    """Connects when a lease has passed on the server's clock."""

    def earliest_now(self) -> float:
        return super().earliest_now() + 1000


@contextlib.contextmanager
def contender(emulator: Emulator, name: str, *task: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(CONTENDER), emulator.endpoint, name, *task]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def holder(connection: Connection, name: str) -> Holder | None:
    table = connection.get(*name.split("."))
    return Holder.read(table.description) if table else None


def test_a_second_holder_is_told_who_holds_it_and_since_when(
    emulator: Emulator, name: str, connection: Connection
) -> None:
    with contender(emulator, name, "hold") as process:
        assert line(process) == "taken"
        with pytest.raises(Held) as error:
            Lock(connection, name, purpose="a resync").acquire()
    assert "held by the load of product on " in str(error.value)
    assert f"(process {process.pid}, since " in str(error.value)


def test_it_is_free_again_once_released(connection: Connection, name: str) -> None:
    for _ in range(2):
        with Lock(connection, name, purpose="a load") as lock:
            lock.check()
    assert holder(connection, name) is None


def test_who_waits_gets_it_when_the_holder_is_done(connection: Connection, name: str) -> None:
    said: list[str] = []
    first = Lock(connection, name, purpose="the load of product")
    first.acquire()

    def release_when_waited_for(text: str) -> None:
        said.append(text)
        first.release()

    with Lock(
        connection, name, purpose="a resync", wait_seconds=SECONDS, on_wait=release_when_waited_for
    ) as second:
        second.check()
    assert [text.partition(" on ")[0] for text in said] == ["Waiting for the load of product"]


def test_threads_of_one_process_exclude_each_other(connection: Connection, name: str) -> None:
    with Lock(connection, name, purpose="a load"), pytest.raises(Held):
        Lock(connection, name, purpose="a load").acquire()


def test_the_lock_of_a_killed_process_is_free_at_once(
    emulator: Emulator, name: str, connection: Connection
) -> None:
    with contender(emulator, name, "hold") as process:
        line(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Lock(connection, name, purpose="the next run") as lock:
            lock.check()


def test_the_lock_of_a_machine_that_died_is_free_after_its_lease(
    emulator: Emulator, name: str, elsewhere: Connection
) -> None:
    with contender(emulator, name, "hold") as process:
        line(process)
        process.kill()
        process.wait()
        with pytest.raises(Held):
            Lock(elsewhere, name, purpose="the next run").acquire()
        later = Later(elsewhere.session, elsewhere.address)
        with Lock(later, name, purpose="the next run"):
            found = holder(later, name)
    assert found
    assert found.purpose == "the next run"


def test_a_held_lock_is_renewed_and_never_expires(connection: Connection, name: str) -> None:
    with Lock(connection, name, purpose="a load", lease_seconds=4) as lock:
        first = holder(connection, name)
        deadline = time.monotonic() + SECONDS
        while (found := holder(connection, name)) and found.renewals < 2:
            assert time.monotonic() < deadline
        lock.check()
    assert first
    assert found
    assert found.until > first.until


def test_who_has_lost_the_lock_knows(connection: Connection, name: str, emulator: Emulator) -> None:
    other = Later(requests.Session(), emulator.endpoint)
    lock = Lock(connection, name, purpose="a load", lease_seconds=4)
    lock.acquire()
    with Lock(other, name, purpose="another"):
        deadline = time.monotonic() + SECONDS
        with pytest.raises(Lost, match="another run may have begun"):
            while time.monotonic() < deadline:
                lock.check()
                time.sleep(0.05)
        lock.release()
        taken = holder(other, name)
    assert taken
    assert taken.purpose == "another"


def test_who_can_reach_no_server_does_not_count_as_holding_it_for_longer_than_the_lease(
    connection: Connection, name: str
) -> None:
    with Lock(connection, name, purpose="a load") as lock:
        connection.session = requests.Session()
        connection._latest += 1000
        with pytest.raises(Lost):
            lock.check()


def test_a_step_hands_the_lock_to_the_next_step_of_its_job(
    emulator: Emulator, name: str, connection: Connection
) -> None:
    """As `stack:guard` does for the loader: both are started by one Meltano."""
    Lock(connection, name, purpose="the guard", owner=os.getpid()).leave()
    with contender(emulator, name, "try") as step:  # a process of this one
        assert line(step) == "taken"


def test_a_step_of_another_job_may_not_take_it(
    emulator: Emulator, name: str, connection: Connection
) -> None:
    with contender(emulator, f"{name}_2", "hold") as other_job:
        line(other_job)
        Lock(connection, name, purpose="the guard", owner=other_job.pid).leave()
        with pytest.raises(Held, match=f"process {other_job.pid}"):
            Lock(connection, name, purpose="a load").acquire()
    with Lock(connection, name, purpose="a load") as lock:  # the other job has ended
        lock.check()


def test_after_a_step_the_lock_stays_with_the_job_until_its_state_is_stored(
    emulator: Emulator, name: str, connection: Connection, elsewhere: Connection
) -> None:
    with contender(emulator, f"{name}_2", "hold") as job:
        line(job)
        with Lock(connection, name, purpose="the load of product", owner=job.pid):
            pass
        with pytest.raises(Held, match="the load of product"):
            Lock(elsewhere, name, purpose="a resync").acquire()
        with Lock(Later(elsewhere.session, elsewhere.address), name, purpose="a resync") as lock:
            lock.check()


def test_a_description_by_somebody_else_counts_as_free(
    emulator: Emulator, connection: Connection, name: str
) -> None:
    Lock(connection, name, purpose="a load").leave()
    client = emulator.client()
    table = client.get_table(name)
    table.description = "Do not touch"
    client.update_table(table, ["description"])
    with Lock(connection, name, purpose="a load") as lock:
        lock.check()


def test_no_server_is_said_in_one_line() -> None:
    endpoint = f"http://{HOST}:{free_port()}"
    connection = bigquery_lock.connect(api_endpoint=endpoint, anonymous=True, retry_seconds=0)
    with pytest.raises(
        LockError, match=r"BigQuery at [\w.]+:\d+ did not answer within 0 s \(.*refused.*\)"
    ) as error:
        Lock(connection, "local.ops.lock_x", purpose="a load").acquire()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kills", [2, pytest.param(6, marks=pytest.mark.thorough)])
def test_never_do_two_hold_it_whatever_is_lost_or_killed(
    emulator: Emulator, name: str, tmp_path: Path, kills: int
) -> None:
    """Four processes compete; a quarter of all answers is lost; one after the other is killed."""
    proof = tmp_path / "proof"
    proof.touch()
    said: list[str] = []
    with contextlib.ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            process = stack.enter_context(contender(emulator, name, "compete", str(proof)))
            assert process.stdout
            threading.Thread(target=lambda out: said.extend(out), args=[process.stdout]).start()
            return process

        running = [start() for _ in range(4)]
        deadline = time.monotonic() + 6 * SECONDS
        for killed in range(1, kills + 1):
            while len(said) < 25 * killed:
                assert time.monotonic() < deadline, said
                assert "two hold it\n" not in said
                time.sleep(0.01)
            victim = running.pop(random.randrange(len(running)))
            victim.kill()
            running.append(start())
    assert set(said) == {"held\n"}
