"""Which runs are looked at for a sign of life, and what `resync` makes of one that was killed.

That a run is recorded as failed once it is dead, and only then: tests/test_when_things_break.py.
"""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stack import killed_runs
from stack.streams.catalog import Run
from stack.streams.reread import Reread
from stack.terminal import StackError

SILENT, ALIVE = timedelta(minutes=1), timedelta(0)


@pytest.mark.parametrize(
    ("job", "state", "silence", "suspected"),
    [
        ("prod:tap-a-to-b", "RUNNING", SILENT, True),
        ("prod:tap-a-to-b", "RUNNING", ALIVE, False),
        ("prod:tap-a-to-b", "SUCCESS", SILENT, False),
        ("dev:tap-a-to-b", "RUNNING", SILENT, False),
        ("production:tap-a-to-b", "RUNNING", SILENT, False),
    ],
)
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_run_without_a_heartbeat_is_looked_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    state: str,
    silence: timedelta,
    suspected: bool,
    is_elsewhere: bool,
) -> None:
    file = tmp_path / ("of my own.db" if is_elsewhere else ".meltano/meltano.db")
    file.parent.mkdir(exist_ok=True)
    monkeypatch.setenv("MELTANO_DATABASE_URI", f"sqlite:///{file}" if is_elsewhere else "")
    with sqlite3.connect(file) as database:
        database.execute("create table runs (job_name, state, last_heartbeat_at)")
        heartbeat = (datetime.now(UTC) - silence).replace(tzinfo=None).isoformat(" ")
        database.execute("insert into runs values (?, ?, ?)", [job, state, heartbeat])
    database.close()
    assert killed_runs.suspected(tmp_path, "prod") is suspected


@pytest.mark.parametrize("uri", ["", "postgresql://db/meltano", "sqlite:////not/there.db"])
def test_a_database_that_is_no_file_here_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MELTANO_DATABASE_URI", uri)
    assert killed_runs.suspected(tmp_path, "prod") is False


@pytest.mark.parametrize(("killed", "waits"), [("prod:tap-a-to-b", False), ("prod:c", True)])
def test_a_stream_is_read_anew_after_a_run_that_was_killed(
    monkeypatch: pytest.MonkeyPatch, killed: str, waits: bool
) -> None:
    monkeypatch.setattr(killed_runs, "forget", lambda *_: [f"The run of {killed} was killed."])
    facts: Any = SimpleNamespace(
        root=Path(), environment="prod", name="a", state_id="prod:tap-a-to-b"
    )
    reread = Reread(facts, facts, facts, [], Run("RUNNING", datetime.now(UTC), None))
    if waits:
        with pytest.raises(StackError, match="under way"):
            reread._require_idle()
    else:
        reread._require_idle()
