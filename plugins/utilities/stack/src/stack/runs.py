"""`stack runs`: what the last runs of each source have loaded, from the loader's ledger."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from target_bigquery_arrow.names import dataset_name

from stack.project import Project, Source
from stack.terminal import StackError, json_text, plain, style, table
from stack.warehouse import Warehouse

NUMBERS = ("tables", "received", "new", "changed", "deleted", "seconds")
HEADINGS = ("ended (UTC)", "source", *NUMBERS, "status")


@click.command()
@click.argument("source", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="How many; 20 by default.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, for programs.")
def runs(source: str | None, *, limit: int, as_json: bool) -> None:
    """Show what the last runs of a SOURCE, or of all, have loaded, the newest first."""
    project = Project()
    chosen = project.source(source) if source else None
    found = last_runs(project, chosen, limit)
    if as_json:
        click.echo(json_text(found))
    elif found:
        click.echo("\n".join(lines(found, by_dataset(project))))
    else:
        job = chosen.job if chosen else None
        hint = f": `meltano run {job}`" if job else ""
        click.echo(f"No run has been recorded yet{hint}.")


def last_runs(project: Project, source: Source | None, limit: int) -> list[dict[str, Any]]:
    """Return the last runs of a source, or of all, the newest first.

    Raises:
        StackError: the loader keeps no ledger, or BigQuery doesn't answer.
    """
    config = project.loader.config()
    ledger = config.get("ledger_dataset")
    if not ledger:
        message = f"No run is recorded. Set {project.loader.where('ledger_dataset')} to `ops`."
        raise StackError(message)
    name = dataset_name(str(ledger), config.get("developer"))
    return Warehouse(project.loader).loads(name, source.dataset if source else None, limit)


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
