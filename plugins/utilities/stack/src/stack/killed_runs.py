"""Runs that were killed, which Meltano would take for running for another five minutes.

`meltano run` writes a heartbeat into its system database each second. If it is killed with
SIGKILL, or the machine stops, its run stays RUNNING there, and Meltano refuses the next one until
the last heartbeat is five minutes old. Here such a run is recorded as failed once it is known to be
dead: no heartbeat for ten seconds, and no process on this machine that is Meltano, a tap or a
loader of this project. This is done only if the database is a file: one that machines share says
nothing about processes on the others.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SILENT = timedelta(seconds=10)
PATIENCE_SECONDS = 300.0
"""How long to wait for the silence, and for a tap and a loader that Meltano has left behind.

The loader finishes what it was given. After that time, Meltano itself takes the run for dead.
"""
SQLITE = "sqlite:///"
PLUGINS = ("/.meltano/extractors/", "/.meltano/loaders/")


def forget(root: Path, environment: str) -> list[str]:
    """Record runs that were killed as failed; return a line for each.

    Args:
        root: the project's folder.
        environment: whose runs are looked at.
    """
    if not is_running(root, environment):
        return []
    from stack import meltano
    from stack.terminal import echo

    echo("Another run has not ended: looking whether it was killed, and waiting for its loader.")
    request = {"operation": "record_killed", "environment": environment}
    found = meltano.ask(request, failing="Whether a run was killed can't be told")
    return [
        f"The run of {name} that began at {began} was killed: recorded as failed."
        for name, began in found["killed"]
    ]


def is_running(root: Path, environment: str) -> bool:
    """Return whether a run counts as running, in the database file of a project.

    However new its heartbeat is: whoever starts a run right after a kill would be refused. Only
    then is it worth a second of Meltano's start-up to look.
    """
    uri = os.environ.get("MELTANO_DATABASE_URI") or f"{SQLITE}{root / '.meltano' / 'meltano.db'}"
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or not path.is_file():
        return False
    query = "select count(*) from runs where state = 'RUNNING' and substr(job_name, 1, ?) = ?"
    prefix = f"{environment}:"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            ((count,),) = database.execute(query, [len(prefix), prefix]).fetchall()
    except sqlite3.Error:  # not one of Meltano's, or not yet
        return False
    return bool(count)


def record(project: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Record runs as failed that are known to be dead: a request to `stack.bridge`."""
    from meltano.core.db import project_engine
    from meltano.core.job.job import Job

    root = Path(project.root).resolve()
    began = datetime.now(UTC)
    deadline = time.monotonic() + PATIENCE_SECONDS
    _, session_maker = project_engine(project)
    while True:
        with session_maker() as session:
            query = session.query(Job).filter(
                Job.job_name.startswith(f"{request['environment']}:", autoescape=True),
                Job._state == "RUNNING",
            )
            beats = [(job, job.last_heartbeat_at) for job in query if job.last_heartbeat_at]
            silent = [job for job, beat in beats if datetime.now(UTC) - beat > SILENT]
            if silent and not any(at_work(root)):
                killed = [(job.job_name, f"{job.started_at:%Y-%m-%d %H:%M} UTC") for job in silent]
                for job in silent:
                    job.fail("The process was killed.")
                    job.save(session)
                return {"killed": killed}
            if all(beat > began for _, beat in beats):  # alive, if there are any
                return {"killed": []}
        if time.monotonic() > deadline or any(at_work(root, plugins=False)):
            return {"killed": []}
        time.sleep(0.5)


def at_work(root: Path, *, plugins: bool = True) -> Iterator[int]:
    """Yield the processes that may run a job of a project, ours and our parents left out.

    Args:
        root: the project's folder.
        plugins: whether taps and loaders count, which may outlive Meltano for a moment.
    """
    import psutil

    own = {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            command = process.cmdline()
            is_meltano = any(Path(part).name == "meltano" for part in command[:3])
            is_plugin = plugins and any(kind in part for kind in PLUGINS for part in command[:3])
            if not is_meltano and not is_plugin:
                continue
            folder = Path(process.cwd())
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:  # another user's: it may be one
            folder = root
        if folder.is_relative_to(root):
            yield process.pid
