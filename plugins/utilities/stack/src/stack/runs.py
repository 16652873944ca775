"""`stack runs`: the last runs, and what those of a source have loaded, from the ledger."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from run_ledger.ops import Ops

from stack.project import Project, Source
from stack.terminal import StackError, json_text, plain, style, table
from stack.warehouse import Warehouse

NUMBERS = ("tables", "received", "new", "changed", "deleted", "seconds")
RUN_NUMBERS = ("tables", "received", "deleted", "seconds")
RUN_HEADINGS = ("ended (UTC)", "run", *RUN_NUMBERS, "status")
HEADINGS = ("ended (UTC)", "source", *NUMBERS, "status")


@click.command()
@click.argument("source", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="How many; 20 by default.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, for programs.")
def runs(source: str | None, *, limit: int, as_json: bool) -> None:
    """Show how the last runs have ended; of a SOURCE, what each has loaded. The newest first."""
    project = Project()
    chosen = project.source(source) if source else None
    found = last_loads(project, chosen, limit) if chosen else last_runs(project, limit)
    if as_json:
        click.echo(json_text(found))
    elif found:
        shown = lines(found, by_dataset(project)) if chosen else run_lines(found)
        click.echo("\n".join(shown))
    else:
        job = chosen.job if chosen else None
        hint = f": `meltano run {job}`" if job else ""
        click.echo(f"No run has been recorded yet{hint}.")


def last_loads(project: Project, source: Source, limit: int) -> list[dict[str, Any]]:
    """Return what the last runs have loaded of a source, the newest first.

    Raises:
        StackError: the loader keeps no ledger, or BigQuery doesn't answer.
    """
    return Warehouse(project.loader).loads(ledger(project), source.dataset, limit)


def last_runs(project: Project, limit: int) -> list[dict[str, Any]]:
    """Return the last runs of Meltano, the newest first.

    Raises:
        StackError: the loader keeps no ledger, or BigQuery doesn't answer.
    """
    return Warehouse(project.loader).runs(ledger(project), limit)


def ledger(project: Project) -> str:
    """Return the dataset of the ledger in this environment.

    Raises:
        StackError: the loader keeps none.
    """
    ops = Ops(project.loader.config())
    if not ops.settings.get("ledger_dataset"):
        message = f"No run is recorded. Set {project.loader.where('ledger_dataset')} to `ops`."
        raise StackError(message)
    return ops.dataset


def run_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return the lines of a table of runs; below it, why those that failed did."""
    rows = [
        (
            f"{run['ended_at']:%Y-%m-%d %H:%M}",
            plain(run["arguments"]),
            f"{run['tables']:,}",
            f"{run['rows_received']:,}",
            f"{run['rows_deleted']:,}",
            f"{(run['ended_at'] - run['started_at']).total_seconds():.0f}",
            style(run["status"], fg="green" if run["status"] == "success" else "red"),
        )
        for run in found
    ]
    yield from table(RUN_HEADINGS, rows, RUN_NUMBERS)
    for run in found:
        if run["status"] != "success":
            yield ""
            what = plain(run["failed_step"] or run["arguments"])
            yield style(f"{run['ended_at']:%Y-%m-%d %H:%M} {what}", bold=True)
            yield from (f"  {plain(line)}" for line in (run["error"] or "").splitlines())
            yield plain(f"  All output: {run['log_file']} on {run['host']}")


def by_dataset(project: Project) -> Mapping[str, str]:
    """Return the names of the sources by their datasets."""
    return {source.dataset: source.name for source in project.sources.values()}


def lines(found: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[str]:
    """Return the lines of a table of runs; below it, why those that failed did."""
    yield from table(HEADINGS, [_row(run, names) for run in found], NUMBERS)
    failed = [run for run in found if run["failures"]]
    for run in failed:
        yield ""
        yield style(f"{run['ended_at']:%Y-%m-%d %H:%M} {_name(run, names)}", bold=True)
        for failure in run["failures"]:
            yield plain(f"  {failure['stream']}: {failure['error']}")


def _name(run: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return names.get(run["dataset"], run["dataset"])


def _row(run: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    failed = len(run["failures"])
    return (
        f"{run['ended_at']:%Y-%m-%d %H:%M}",
        plain(_name(run, names)),
        f"{run['streams']:,}",
        f"{run['received']:,}",
        f"{run['inserted']:,}",
        f"{run['updated']:,}",
        f"{run['deleted']:,}",
        f"{(run['ended_at'] - run['started_at']).total_seconds():.0f}",
        style(f"{failed} failed", fg="red") if failed else style("ok", fg="green"),
    )
