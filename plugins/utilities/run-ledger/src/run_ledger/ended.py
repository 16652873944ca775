"""What is left of a run when it has ended: its row in `ops.runs`, and alerts.

`run-output`, in Meltano's own process, calls `stack run-ended` with what it knows of the run on
standard input. Nothing here makes a run fail.
"""

import contextlib
import json
import platform
import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bigquery_lock
import click
from bigquery_lock.processes import Process

from run_ledger import alerts
from run_ledger.ops import Ops, OpsError

LOGS = Path(".meltano/logs/runs")
METABASE = "dbt-metabase"


def _columns(mode: str = "NULLABLE", /, **types: str) -> list[dict[str, str]]:
    return [{"name": name, "type": kind, "mode": mode} for name, kind in types.items()]


RUNS = [
    *_columns(id="STRING", run_id="STRING", arguments="STRING", environment="STRING"),
    *_columns(status="STRING", failed_step="STRING", error="STRING"),
    *_columns("REPEATED", sources="STRING"),
    *_columns(steps="INTEGER", tables="INTEGER", rows_received="INTEGER", rows_deleted="INTEGER"),
    *_columns(log_file="STRING", host="STRING", started_at="TIMESTAMP", ended_at="TIMESTAMP"),
]
"""The columns of `ops.runs`; transform/models/staging/ops/src_ops.yml describes them."""
SYNCS = _columns(
    id="STRING",
    run_id="STRING",
    environment="STRING",
    status="STRING",
    message="STRING",
    duration_seconds="FLOAT",
    ended_at="TIMESTAMP",
)
"""The columns of `ops.metabase_syncs`."""


@click.command(hidden=True)
def run_ended() -> None:
    """Record a run that has ended, and alert: called by `run-output` at the end of each run."""
    finish(json.load(sys.stdin), Path.cwd(), click.echo)


def finish(run: Mapping[str, Any], root: Path, say: Callable[[str], None]) -> None:
    """Record a run, and alert.

    Args:
        run: what `run-output` says of it.
        root: the project's folder.
        say: told what could not be done.
    """
    ops = Ops(run["warehouse"])
    if ops.settings.get("ledger_dataset"):
        try:
            ops.append("runs", [row(run)], RUNS)
            if syncs := list(metabase_syncs(run)):
                ops.append("metabase_syncs", syncs, SYNCS)
        except (OpsError, bigquery_lock.LockError) as error:
            say(f"! This run is not recorded in {ops.settings['ledger_dataset']}.runs: {error}")
    try:
        alerts.after(run, ops, root, say)
    except Exception as error:
        say(f"! No alert was sent: {alerts.masked(str(error))}")


def row(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's row of `ops.runs`."""
    steps = run["steps"]
    failed = next((step for step in steps if not step["is_ok"]), None)
    lines = failed["lines"] if failed else run.get("lines", [])
    return {
        "id": uuid.uuid4().hex,
        **{name: run[name] for name in ("run_id", "arguments", "environment", "status")},
        "failed_step": failed["name"] if failed else None,
        "error": alerts.masked("\n".join(lines))[:2000] or None,
        "sources": sorted({block["dataset"] for block in run["blocks"] if "dataset" in block}),
        "steps": len(steps),
        "tables": sum(step["tables"] for step in steps),
        "rows_received": sum(step["received"] for step in steps),
        "rows_deleted": sum(step["deleted"] for step in steps),
        "log_file": run["log"],
        "host": platform.node(),
        "started_at": run["started_at"],
        "ended_at": run["ended_at"],
    }


def metabase_syncs(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `ops.metabase_syncs` of a run."""
    return [
        {
            "id": uuid.uuid4().hex,
            "run_id": run["run_id"],
            "environment": run["environment"],
            "status": "success" if step["is_ok"] else "failure",
            "message": alerts.masked(step["outcome"]),
            "duration_seconds": step["seconds"],
            "ended_at": run["ended_at"],
        }
        for step in run["steps"]
        if METABASE in step["plugins"]
    ]


def record_killed(root: Path, say: Callable[[str], None]) -> None:
    """Record the runs of this machine that were killed, which could not do so themselves.

    `run-output` leaves a file beside the log of a run, and removes it at the run's end.

    Args:
        root: the project's folder.
        say: told what could not be done.
    """
    for file in (root / LOGS).glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            run = json.loads(file.read_text())
            if Process(**run["process"]).is_alive():
                continue
            file.unlink()
            last = Path(run["log"]).stat().st_mtime
            ended_at = datetime.fromtimestamp(last, UTC).isoformat()
            lines = ["The process was killed."]
            killed = {"status": "killed", "ended_at": ended_at, "steps": [], "lines": lines}
            finish({**run, **killed}, root, say)
