"""However Postgres or the way to it is, a run goes on or ends in one line; it never hangs."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from local_servers.loopback import HOST
from tap_postgres_arrow import database, sync_run
from tap_postgres_arrow.database import Database
from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.tap import TapPostgresArrow

from .pipeline import Pipeline

TAP = Path(sys.executable).with_name("tap-postgres-arrow")
FOREVER = "create view slow as select g as id from generate_series(1, 9) g, pg_sleep(9)"


@pytest.fixture
def way(pipeline: Pipeline) -> Iterator["Way"]:
    way = Way(pipeline.server.port)
    pipeline.settings["port"] = way.port
    yield way
    way.is_open = False
    way.listener.close()


class Way:
    """A way to Postgres that may forget its connections: it takes what is sent, and drops it."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.is_open = True
        self._target = port
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self.listener.accept()
                there = socket.create_connection((HOST, self._target))
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.is_open:
                    target.sendall(data)
            target.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(database, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(database, "ANSWER_SECONDS", 1)
    monkeypatch.setattr(sync_run, "STOP_SECONDS", 1)


@pytest.mark.usefixtures("impatient")
def test_a_way_that_forgets_a_connection_ends_in_a_line(pipeline: Pipeline, way: Way) -> None:
    pipeline.sql(FOREVER)
    catalog = pipeline.catalog()
    once_it_reads(pipeline, lambda: setattr(way, "is_open", False))
    silent = (
        r"Postgres has been silent.*no answer.*`keepalives_idle`.*`tcp_user_timeout`.*Run again"
    )
    with pytest.raises(TapError, match=silent) as error:
        pipeline.extract(catalog)
    assert "`host`" not in str(error.value), "it was right a moment ago"


@pytest.mark.usefixtures("impatient")
def test_a_session_that_the_server_has_dropped_ends_in_a_line(pipeline: Pipeline, way: Way) -> None:
    pipeline.sql(FOREVER)
    catalog = pipeline.catalog()

    def drop() -> None:
        way.is_open = False
        with pipeline.connect() as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'tap-postgres-arrow'"
            )
        way.is_open = True

    once_it_reads(pipeline, drop)
    with pytest.raises(TapError):
        pipeline.extract(catalog)


def once_it_reads(pipeline: Pipeline, act: Callable[[], None]) -> None:
    """Do something, in a thread, as soon as the tap reads what never ends."""

    def wait() -> None:
        with pipeline.connect() as other:
            while not other.execute(
                "select 1 from pg_stat_activity "
                "where application_name = 'tap-postgres-arrow' and wait_event = 'PgSleep'"
            ).fetchone():
                time.sleep(0.05)
        act()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.usefixtures("impatient")
def test_a_statement_that_takes_long_is_waited_for(pipeline: Pipeline) -> None:
    pipeline.sql("create view slow as select 1 as id from pg_sleep(1.2)")
    assert [m["type"] for m in pipeline.extract()][-1] == "STATE"


@pytest.mark.usefixtures("impatient")
def test_a_server_that_takes_connections_and_says_nothing(pipeline: Pipeline, way: Way) -> None:
    way.is_open = False
    with pytest.raises(
        TapError, match=r"Can't connect to Postgres: no answer.*no answer within 1 s"
    ):
        TapPostgresArrow(config=pipeline.config).connection.close()


def test_a_connection_that_is_silent_is_kept_alive(pipeline: Pipeline) -> None:
    config = TapPostgresArrow(config=pipeline.config).config
    before = keepalives(pipeline.server.port)  # of other tests' connections that nobody has closed
    with Database(config).connect():
        found = keepalives(pipeline.server.port)
    made = [options for name, options in found.items() if name not in before]
    assert made
    assert all(
        options == {"idle": 60, "interval": 10, "count": 6, "timeout": 120_000} for options in made
    )


def keepalives(port: int) -> dict[int, dict[str, int]]:
    """Return the options of this process's connections to a port, by their own port."""
    names = {
        "idle": socket.TCP_KEEPIDLE,
        "interval": socket.TCP_KEEPINTVL,
        "count": socket.TCP_KEEPCNT,
        "timeout": socket.TCP_USER_TIMEOUT,
    }
    found = {}
    for descriptor in Path("/proc/self/fd").iterdir():
        # Not a socket, not connected, of another family, or closed by now.
        with (
            suppress(OSError, IndexError),
            socket.socket(fileno=os.dup(int(descriptor.name))) as connection,
        ):
            if connection.getpeername()[1] == port and connection.getsockopt(
                socket.SOL_SOCKET, socket.SO_KEEPALIVE
            ):
                found[connection.getsockname()[1]] = {
                    name: connection.getsockopt(socket.IPPROTO_TCP, option)
                    for name, option in names.items()
                }
    return found


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_role_that_may_have_few_connections(
    pipeline: Pipeline, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"few_{pipeline.name}"
    pipeline.sql(
        *(f"create table t{number} (id int primary key)" for number in range(6)),
        f"create role {role} login connection limit {limit}",
        f"grant select on all tables in schema public to {role}",
    )
    pipeline.settings["user"] = role
    catalog = pipeline.catalog()
    if limit == 1:
        with pytest.raises(TapError, match=r"too many connections for role.*max_parallel_streams"):
            pipeline.extract(catalog)
        return
    *_, last = pipeline.extract(catalog)
    assert len(last["value"]["bookmarks"]) == 6
    assert "Lower the extractor's `max_parallel_streams`" in caplog.text


def test_a_role_whose_transactions_may_be_short_only(pipeline: Pipeline) -> None:
    role = f"brief_{pipeline.name}"
    pipeline.sql(
        f"create role {role} superuser login",
        f"alter role {role} set transaction_timeout = '500ms'",
        f"alter role {role} set idle_in_transaction_session_timeout = '500ms'",
        "create view slow as select 1 as id from pg_sleep(1)",
    )
    pipeline.settings["user"] = role
    pipeline.run()
    assert pipeline.loaded("slow") == [{"id": 1}]


@pytest.mark.parametrize(
    ("stop", "seconds"),
    [
        (signal.SIGINT, 0),
        (signal.SIGTERM, 0.3),
        (signal.SIGINT, 0.7),
        (signal.SIGTERM, 1.4),
        pytest.param(signal.SIGTERM, 0, marks=pytest.mark.thorough),
        pytest.param(signal.SIGINT, 0.3, marks=pytest.mark.thorough),
        pytest.param(signal.SIGTERM, 0.7, marks=pytest.mark.thorough),
        pytest.param(signal.SIGINT, 1.4, marks=pytest.mark.thorough),
    ],
)
def test_a_tap_that_is_stopped_while_it_starts_says_so_in_a_line(
    pipeline: Pipeline, way: Way, stop: signal.Signals, seconds: float
) -> None:
    pipeline.sql(FOREVER)
    tap = pipeline.start_tap()
    way.is_open = False
    # Before that, the signal is Python's own.
    while not handles(tap, signal.SIGTERM):
        time.sleep(0.01)
    time.sleep(seconds)
    tap.send_signal(stop)
    _, log = tap.communicate(timeout=30)
    assert b"Traceback" not in log
    assert tap.returncode == 128 + stop
    assert b"topped" in log.splitlines()[-1]


def handles(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal: of the tap's, SIGTERM's comes last."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():  # not on Linux
        time.sleep(1)
        return True
    (caught,) = (line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    "closed",
    [
        ">&-",
        "<&- 2>&-",
        "<&- >&- 2>&-",
        pytest.param("<&-", marks=pytest.mark.thorough),
        pytest.param("2>&-", marks=pytest.mark.thorough),
    ],
)
def test_closed_standard_streams(pipeline: Pipeline, closed: str) -> None:
    pipeline.sql("create table t (id int primary key)")
    arguments = pipeline._files(catalog=pipeline.catalog(), config=pipeline.config)
    command = " ".join(map(str, (TAP, *arguments)))
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    if " >&-" in f" {closed}":
        assert done.returncode == 1
        assert "2>" in closed or b"standard output is closed" in done.stderr
    else:
        assert done.returncode == 0
        assert b'"STATE"' in done.stdout


def test_nothing_that_a_source_says_reaches_the_log_raw(pipeline: Pipeline) -> None:
    escape = "\x1b]0;owned\x07\x1b[2J"
    pipeline.sql(
        f'create table "t{escape}" (id int primary key, "c{escape}" int)',
        "create function shout() returns int stable language plpgsql as $$ begin "
        f"raise notice '%', repeat('{escape}', 99); "
        f"raise exception '%', repeat('{escape}', 1000000); end $$",
        "create view loud as select shout() as id",
        "create table n (id text, n numeric(9, 2))",
        f"insert into n values ('{escape}', 'NaN')",
    )
    pipeline.metadata[f"public-t{escape}"] = {"table-key-properties": [f"c{escape}"]}
    tap = pipeline.start_tap()
    _, log = tap.communicate(timeout=60)
    assert tap.returncode == 1
    assert b"Stream 'public-loud', column 'id': " in log
    assert not {byte for byte in log if byte < 32} - {ord("\n")}
    assert max(map(len, log.splitlines())) < 6_000
