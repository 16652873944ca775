"""`stack streams`, `stack resync` and `stack backfill`."""

import dataclasses
import os
from datetime import datetime

import click

from stack import guard, manifests, meltano
from stack.project import Project
from stack.streams.catalog import discover
from stack.streams.listing import lines, listing
from stack.streams.reread import Beginning, Reread, beginning, parse
from stack.terminal import StackError, json_text

YES = click.option("--yes", is_flag=True, help="Run in `prod` from any checkout, without asking.")


@click.command()
@click.argument("source", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print an object, for programs.")
@click.option(
    "--discover",
    "ask_sources",
    is_flag=True,
    help="Ask the sources what they have now; else it is what the last run found.",
)
@click.pass_context
def streams(
    context: click.Context, source: str | None, *, as_json: bool, ask_sources: bool
) -> None:
    """List each stream of a SOURCE, or of all: bookmark, rows, age, changes of schema.

    Without a SOURCE, raw datasets that no source's file names any more are listed too.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False
    project = Project(states=True)
    chosen = [project.source(source)] if source else list(project.sources.values())
    failures = []
    for one in chosen if ask_sources else ():
        try:
            discover(one)
        except StackError as error:
            failures.append(f"{one.name} doesn't tell what it has: {error.message}")
    found = listing(project, chosen, orphans=source is None)
    found = dataclasses.replace(found, notes=[*failures, *found.notes])
    if as_json:
        click.echo(json_text(dataclasses.asdict(found)))
    else:
        click.echo("\n".join(lines(found)))


@click.command()
@click.argument("source")
@click.argument("stream")
@YES
def resync(source: str, stream: str, *, yes: bool) -> None:
    """Read one STREAM of a SOURCE again from its beginning, and leave the others alone.

    Rows in BigQuery are replaced by what the source has now. Rows that the source no longer has are
    marked as deleted if a normal run would mark them too, as for Postgres.
    """
    reread = Reread.of(source, stream)
    reread.require_no_doubles()
    guarded(yes)
    reread.run("resync", seed=None, moves_bookmark=True)


@click.command()
@click.argument("source")
@click.argument("stream")
@click.option("--from", "since", required=True, metavar="DATE", help="2025-01-31, or with a time.")
@YES
def backfill(source: str, stream: str, since: str, *, yes: bool) -> None:
    """Read one STREAM of a SOURCE again since a DATE: what was created or changed since then.

    No row is marked as deleted, and no bookmark moves.
    """
    moment = parse(since)
    reread = Reread.of(source, stream)
    start = begin(reread, moment)
    reread.require_no_doubles()
    guarded(yes)
    # What is older than DATE isn't read, and must not count as deleted.
    variables = {reread.source.loader.variable("process_activate_version_messages"): "false"}
    reread.run("backfill", seed=start.state, moves_bookmark=False, **start.variables, **variables)


def begin(reread: Reread, moment: datetime) -> Beginning:
    """Return how to make the tap begin at a moment."""
    try:
        extractor = reread.source.extractor
        starts = manifests.start_settings(manifests.of(extractor, reread.project.root))
        return beginning(reread.stream, reread.replication_key, extractor, moment, starts)
    except StackError as error:
        command = f"meltano invoke stack resync {reread.source.name} {reread.stream.name}"
        raise StackError(f"{error.message} To read all of it: {command}") from error


def guarded(yes: bool) -> None:
    """Apply what holds for each run in this environment."""
    guard.confirm(yes)
    if meltano.environment() == "dev":
        guard.check_sources(meltano.root())
