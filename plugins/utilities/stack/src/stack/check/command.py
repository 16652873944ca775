"""`stack check [source…]`: all that the next run needs, looked at in the active environment."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click
from run_ledger import alerts

from stack import meltano
from stack.check.report import Context, Result, failed, passed
from stack.project import Project
from stack.terminal import StackError, echo, secho

MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "bright_black")}
NOTE = ("!", "yellow")
FIRST = "Project"


Report = Iterator[tuple[str, list[Result]]]
Group = tuple[str, Callable[[], Iterable[Result]]]
"""Checks of one thing, which run one after the other; groups run at the same time."""


@click.command()
@click.argument("sources", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print a list of results instead.")
@click.option("--alert", is_flag=True, help="Only send a test message to where alerts go.")
def check(sources: tuple[str, ...], *, as_json: bool, alert: bool) -> None:
    """Look at all that the next run needs, and say how to fix what is wrong.

    Without SOURCES, all of them. What is looked at: the project's files, settings, versions; each
    source; BigQuery, dbt and Metabase; this machine. Nothing is changed anywhere. Exit code 1 if
    anything is wrong.
    """
    if alert:
        try:
            alerts.send_test(meltano.environment(), echo)
        except alerts.AlertError as error:
            raise StackError(str(error)) from error
        return
    began = time.monotonic()
    if not as_json:
        echo(f"Looking at the environment {meltano.environment()}.")
    found: list[tuple[str, Result]] = []
    for title, results in report(sources):
        found += [(title, result) for result in results]
        if not as_json:
            show(title, results)
    wrong = sum(result.ok is False for _, result in found)
    if as_json:
        rows = [{"group": title, **result.row} for title, result in found]
        echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        echo()
        right = sum(result.ok is True for _, result in found)
        verdict = f"✗ {wrong} to fix, {right} right" if wrong else f"✓ all {right} right"
        seconds = time.monotonic() - began
        secho(f"{verdict}, in {seconds:.1f} s", fg="red" if wrong else "green", bold=True)
    if wrong:
        sys.exit(1)


def report(names: Sequence[str]) -> Report:
    """Yield each group's results as soon as they and those before them are there."""
    from stack.check import files

    count, faults = files.check(meltano.root())
    # What is wrong with another source's file is left for another day, unless Meltano can't start.
    own = {f"extract/{name}.meltano.yml" for name in names}
    first = [
        failed(f"{fault.file}:{fault.line}" if fault.line else fault.file, fault.what, fault.fix)
        for fault in faults
        if not own
        or fault.is_fatal
        or fault.file in own
        or Path(fault.file).parent != Path("extract")
    ] or [passed("files", f"{count} read, and they fit together")]
    if any(fault.is_fatal for fault in faults):
        yield FIRST, first
        return
    with meltano.Session() as session:
        try:
            project = Project(session=session)
            sources = [project.source(name) for name in dict.fromkeys(names)]
            context = Context(project, sources or list(project.sources.values()))
        except StackError as error:
            yield FIRST, [*first, failed("Meltano", error.message, _fix(error.message))]
            return
        yield from run(context, first)


def _fix(said: str) -> str:
    """Return how to fix what keeps Meltano, or us, from knowing the project."""
    if "isn't set" in said:
        return "Put the variable into .env, or set it where jobs run."
    if "`developer`" in said:
        return "Put your name into .env: `DEVELOPER=lawrence`."
    if "No source" in said:
        return "Name one of those; `meltano invoke stack new-source` writes a new one."
    return "Correct it; `meltano --log-level=debug job list` says more."


def run(context: Context, first: list[Result]) -> Report:
    """Run all groups at once."""
    from stack.check import bigquery, dbt, installation, source, taps

    groups: list[Group] = [
        (FIRST, partial(_project, context, first)),
        *((one.name, partial(source.check, context, one)) for one in context.sources),
        ("BigQuery", partial(bigquery.check, context)),
        ("dbt", partial(dbt.check, context)),
        ("Metabase", partial(dbt.metabase, context)),
        ("This machine", partial(installation.machine, context)),
    ]
    pool = ThreadPoolExecutor(len(groups))
    try:
        running = [(title, pool.submit(_results, context, check)) for title, check in groups]
        for title, future in running:
            yield title, future.result()
    except BaseException:
        taps.end()
        raise
    finally:
        # A caller that stops early doesn't wait for the answers.
        pool.shutdown(wait=False, cancel_futures=True)


def _project(context: Context, first: Sequence[Result]) -> Iterator[Result]:
    """Yield what there is to say of the project as a whole."""
    from stack.check import installation

    yield from first
    yield from _schedules(context)
    yield from installation.check(context)
    yield from installation.state(context)


def _schedules(context: Context) -> Iterator[Result]:
    """Yield the intervals that Meltano itself would not accept from its command line."""
    for name, schedule in context.project.facts["schedules"].items():
        if not schedule["is_valid"]:
            detail = f"schedule '{name}': '{schedule['interval']}' is not a cron expression"
            fix = "Write minute, hour, day, month, day of the week: '0 6 * * *' is daily at 6:00."
            yield failed("schedules", detail, fix)


def _results(context: Context, check: Callable[[], Iterable[Result]]) -> list[Result]:
    """Return a group's results; one that breaks off doesn't take the others with it."""
    found: list[Result] = []
    try:
        found.extend(check())
    except Exception as error:
        said = context.masked(f"{type(error).__name__}: {error}").partition("\n")[0]
        fix = "Run it again. If it stays, fix this check itself: plugins/utilities/stack."
        found.append(failed("check", f"broke off ({said})", fix))
    return found


def show(title: str, results: Sequence[Result]) -> None:
    """Print a group."""
    echo()
    secho(title, bold=True)
    width = max((len(result.name) for result in results if result.ok is not False), default=0)
    for result in results:
        mark, colour = NOTE if result.ok and result.fix else MARKS[result.ok]
        secho(f"  {mark} ", fg=colour, nl=False)
        echo(f"{result.name:<{width}}  {result.detail}")
        if result.fix:
            secho(f"    → {result.fix}", fg=colour)
