"""Which runs are looked at, which count as killed, and what `resync` makes of one.

Jobs that are killed and run again: test_when_things_break.py, beside the sandbox.
"""

import sqlite3
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from meltano.core.db import project_engine
from meltano.core.job.job import Job, State
from meltano.core.models import SystemModel
from meltano.core.project import Project
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


@pytest.mark.parametrize("at_work", ["/.meltano/loaders/x", "/.venv/bin/meltano", None])
def test_a_run_is_recorded_as_killed_only_if_nothing_of_it_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_work: str | None
) -> None:
    monkeypatch.setenv("MELTANO_DATABASE_URI", f"sqlite:///{tmp_path}/meltano.db")
    monkeypatch.setattr(killed_runs, "PATIENCE_SECONDS", 1.0)
    (tmp_path / "meltano.yml").write_text("version: 1\n")
    project = Project(tmp_path)
    engine, sessions = project_engine(project)
    SystemModel.metadata.create_all(engine)
    with sessions() as session:
        run = Job(job_name="prod:tap-a-to-b", state=State.RUNNING)
        run.started_at = run.last_heartbeat_at = datetime.now(UTC) - timedelta(minutes=1)
        run.save(session)
    with ExitStack() as stack:
        if at_work:
            program = tmp_path / at_work.lstrip("/")
            program.parent.mkdir(parents=True)
            program.symlink_to("/bin/sleep")
            process = stack.enter_context(subprocess.Popen([program, "60"], cwd=tmp_path))
            stack.callback(process.kill)
        found = killed_runs.record(project, {"environment": "prod"})
    assert [name for name, _ in found["killed"]] == ([] if at_work else ["prod:tap-a-to-b"])


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
