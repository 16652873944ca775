"""Production runs what `main` holds: a checkout that is dirty, or elsewhere, is asked about.

`stack:guard` is the first task of each job, and a job can't ask. `stack run` asks, and passes what
was confirmed on in a variable, which is valid for the same findings only.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from run_ledger import ended
from run_ledger.ops import Ops
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.names import developer_name

from stack import killed_runs, locks, meltano
from stack.terminal import StackError, echo

MAIN = "main"
CONFIRMED = "STACK_CONFIRMED"
FILES_SHOWN = 5
GUARD = "stack:guard"


@click.command()
def guard() -> None:
    """Stop a job in `prod` unless the checkout is `main` as it was committed.

    In each environment, record runs that were killed as failed: Meltano would wait for them.
    """
    match meltano.environment():
        case "prod":
            findings = look(meltano.root())
            if findings and os.environ.get(CONFIRMED) != described(findings):
                raise refusal(findings)
        case "dev":
            check_sources(meltano.root())
    take_locks()
    for line in killed_runs.forget(meltano.root(), meltano.environment()):
        warn(line)
    ended.record_killed(meltano.root(), echo)


def take_locks() -> None:
    """Take the locks of what the job will load, for the Meltano that runs it; wait for others.

    Its loaders take them over. Without what `run-output` says of the run (another log level, say)
    nothing is taken: then a loader stops if another run loads into its dataset.

    Raises:
        StackError: another run holds one for too long; or BigQuery refuses, or doesn't answer.
    """
    run = json.loads(os.environ.get("STACK_RUN") or "{}")
    datasets = sorted(set(to_be_loaded(run, int(os.environ.get("STACK_RUN_BLOCK") or 0))))
    ops = Ops(run.get("warehouse") or {})
    for dataset in datasets:
        locks.leave(ops, ops.name(dataset), owner=os.getppid(), on_wait=warn)


def warn(text: str) -> None:
    """Show a line at once, also in `meltano run`, which keeps others until a step has ended."""
    echo(f"WARNING {text}")


def to_be_loaded(run: Mapping[str, Any], block: int) -> Iterator[str]:
    """Yield the raw datasets that a run loads after one of its guards, up to the next guard.

    Args:
        run: what `run-output` says of it.
        block: the guard's number among the run's blocks.
    """
    for following in (run.get("blocks") or [])[block + 1 :]:
        if following.get("command") == GUARD:
            return
        if "dataset" in following:
            yield following["dataset"]


def confirm(yes: bool) -> None:
    """Ask, in `prod`, whether a checkout that isn't `main` as committed may run.

    What this process then runs need not ask again.

    Args:
        yes: the answer has been given already.

    Raises:
        StackError: the answer is no, or there is nobody to ask.
    """
    if meltano.environment() != "prod" or not (findings := look(meltano.root())):
        return
    if not yes:
        if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout)):
            raise refusal(findings)
        # On standard output alone: `meltano invoke` makes log lines of the other, where Python
        # itself (and so click) would ask.
        echo(described(findings))
        echo("Run it in production all the same? [y/N] ", nl=False)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            message = "Nothing was run."
            raise StackError(message)
    os.environ[CONFIRMED] = described(findings)


def look(root: Path) -> list[str]:
    """Return in what a checkout differs from `main` as it was committed; nothing where it doesn't.

    A folder without git, as in a container's image, is taken as it is.
    """
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        echo(f"{root} is not a git checkout: production runs what is in it.")
        return []
    try:
        return [*position(root), *uncommitted(root)]
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return [f"git can't tell its state: {said.strip().partition('\n')[0]}"]


def position(root: Path) -> Iterator[str]:
    """Yield what is checked out, unless it is `main`, or the commit that `main` is at (in CI)."""
    branch = git(root, "branch", "--show-current").strip()
    tips = (f"refs/heads/{MAIN}", f"refs/remotes/*/{MAIN}")
    if branch and branch != MAIN:
        yield f"branch '{branch}' is checked out, not '{MAIN}'"
    elif not branch and not git(root, "for-each-ref", "--points-at=HEAD", *tips):
        commit = git(root, "rev-parse", "--short", "HEAD").strip()
        yield f"commit {commit} is checked out, which is not the newest of '{MAIN}'"


def uncommitted(root: Path) -> Iterator[str]:
    """Yield which files under the project are not as they were committed."""
    status = git(root, "status", "--porcelain", "-z", "--no-renames", "--", ".")
    if files := [entry[3:] for entry in status.split("\0") if entry]:
        shown = ", ".join(files[:FILES_SHOWN]) + (", …" if len(files) > FILES_SHOWN else "")
        count = "1 file is" if len(files) == 1 else f"{len(files)} files are"
        yield f"{count} not committed: {shown}"


def git(root: Path, *arguments: str) -> str:
    """Return what git says about a checkout."""
    return subprocess.run(  # noqa: S603
        ["git", "--no-optional-locks", *arguments],  # noqa: S607
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def described(findings: Sequence[str]) -> str:
    """Return the findings, a line each."""
    lines = "\n".join(f"  {finding}" for finding in findings)
    return f"This checkout is not '{MAIN}' as it was committed:\n{lines}"


def refusal(findings: Sequence[str]) -> StackError:
    """Return the error, with its fix."""
    return StackError(
        f"{described(findings)}\n"
        f"Nothing was run in production. Commit it and merge it into '{MAIN}'; or confirm that it "
        f"is meant, job by job:\n  meltano --environment=prod invoke stack run product-daily --yes"
    )


def check_sources(root: Path) -> None:
    """See that no source's dataset looks like a developer's own.

    Raises:
        StackError: the developer `a` would load the source `b` into production's dataset `a_b`.
            Or DEVELOPER holds no name.
    """
    try:
        prefix = f"{developer_name(os.environ.get('DEVELOPER', ''))}_"
    except LoadError as error:
        message = f"DEVELOPER in .env: {error}"
        raise StackError(message) from error
    for file in sorted((root / "extract").glob(f"{prefix}*.meltano.yml")):
        message = (
            f"{file}: production's dataset of this source begins with '{prefix}', as your own do. "
            f"Give DEVELOPER in .env another name."
        )
        raise StackError(message)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("jobs", nargs=-1, required=True, type=click.UNPROCESSED, metavar="JOB…")
@click.option("--yes", is_flag=True, help="Run in `prod` from any checkout, without asking.")
def run(jobs: tuple[str, ...], yes: bool) -> None:
    """Run jobs like `meltano run`; in `prod`, ask if the checkout isn't `main` as committed."""
    confirm(yes)
    meltano.run("run", *jobs)
