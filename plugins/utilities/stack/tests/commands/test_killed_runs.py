"""Which runs are looked at, and what `resync` makes of one that was killed.

That one is recorded as failed once it is dead: test_when_things_break.py, beside the sandbox.
"""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stack import killed_runs
from stack.streams.catalog import Run
from stack.streams.reread import Reread
from stack.terminal import StackError


@pytest.mark.parametrize(
    ("job", "state", "is_looked_at"),
    [
        ("prod:tap-a-to-b", "RUNNING", True),
        ("prod:tap-a-to-b", "SUCCESS", False),
        ("dev:tap-a-to-b", "RUNNING", False),
        ("production:tap-a-to-b", "RUNNING", False),
    ],
)
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_run_that_may_have_been_killed_is_looked_at_however_new_its_heartbeat(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    state: str,
    is_looked_at: bool,
    is_elsewhere: bool,
) -> None:
    file = tmp_path / ("of my own.db" if is_elsewhere else ".meltano/meltano.db")
    file.parent.mkdir(exist_ok=True)
    monkeypatch.setenv("MELTANO_DATABASE_URI", f"sqlite:///{file}" if is_elsewhere else "")
    with sqlite3.connect(file) as database:
        database.execute("create table runs (job_name, state, last_heartbeat_at)")
        heartbeat = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
        database.execute("insert into runs values (?, ?, ?)", [job, state, heartbeat])
    database.close()
    assert killed_runs.is_running(tmp_path, "prod") is is_looked_at


@pytest.mark.parametrize("uri", ["", "postgresql://db/meltano", "sqlite:////not/there.db"])
def test_a_database_that_is_no_file_here_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MELTANO_DATABASE_URI", uri)
    assert killed_runs.is_running(tmp_path, "prod") is False


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
