"""The command: reads the catalog, writes what may be written, and shows what it did not write."""

from collections.abc import Sequence
from pathlib import Path

import click
from stack.project import Project
from stack.terminal import StackError, echo, secho

from source_files.new_staging import catalog as catalogs
from source_files.new_staging.files import Staged, stage
from source_files.new_staging.folder import Change, Folder

STAGING = Path("transform/models/staging")
COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command(name="new-staging")
@click.argument("source")
@click.argument("streams", nargs=-1)
@click.option("--write", is_flag=True, help="Renew the files that git has as they are.")
@click.option(
    "--overwrite",
    multiple=True,
    metavar="FILE",
    help="Renew this file in any case. Edits that git does not have are lost.",
)
def new_staging(
    source: str, streams: tuple[str, ...], *, write: bool, overwrite: tuple[str, ...]
) -> None:
    """Write the staging models of a SOURCE from its tap's catalog, before anything is loaded.

    Of all selected streams, unless STREAMS are named. If there are models already, those of new
    streams are added. Other changes are shown. They are written with --write, but never to a file
    with edits that are not committed.
    """
    project = Project()
    found = project.source(source)
    path = STAGING / source
    folder = Folder(project.root / path, source)
    echo(f"Reading the catalog of {found.extractor.name} …")
    catalog = catalogs.read(source, catalogs.discover(found), found.loader.config())
    staged = stage(found, catalog, streams, folder)
    files = staged.files()
    names = {Path(file).name for file in overwrite}
    if unknown := names - files.keys():
        message = f"'{unknown.pop()}' is not one of the files of {path}/: {', '.join(files)}."
        raise StackError(message)
    changes = folder.changes(files, write=write, overwrite=names)
    folder.write({change.name: change.after for change in changes if change.done})
    _show(changes, f"{path.as_posix()}/")
    for name in folder.models():
        if name.startswith(f"stg_{source}__") and f"{name}.sql" not in files:
            echo(f"\n{name}.sql: its stream is no longer loaded. Delete it if nobody needs it.")
    _advise(staged, [change.name for change in changes if change.done])


def _show(changes: Sequence[Change], folder: str) -> None:
    """Show the differences in existing files, then what was done and what was not."""
    for change in changes:
        if change.done not in ("wrote", "added to"):
            for line in change.diff(folder).splitlines():
                secho(line, fg=COLOURS.get(line[:1]))
    for change in changes:
        if change.done:
            echo(f"{change.done:8} {folder}{change.name}")
    if not changes:
        echo(f"Nothing to do: {folder} is as the catalog has it.")
    for name in [change.name for change in changes if not change.done]:
        echo(
            f"\n{name} was edited, or the catalog has changed: it is left as it is. To renew what "
            f"git has as it is, add --write; this file in any case: --overwrite {name}."
        )


def _advise(staged: Staged, written: Sequence[str]) -> None:
    file = staged.source.file.name
    if staged.keyless:
        secho(
            f"\nNo models of {', '.join(staged.keyless)}: no key is known, so rows can't be told "
            f"apart. Say in {file} what identifies one, under the extractor:\n"
            f"    metadata:\n"
            f"      {staged.keyless[0]}: {{table-key-properties: [a, b]}}",
            fg="yellow",
        )
    for model in staged.models:
        if model.untyped_times and f"{model.name}.sql" in written:
            times = ", ".join(model.untyped_times)
            echo(
                f"\n{model.name}: {times} may be times, but the catalog has them as text. If they "
                f"are, say so in {file}, under the extractor:\n"
                f"    schema:\n"
                f"      {model.table.stream}:\n"
                f"        {model.untyped_times[0]}: {{type: [string, 'null'], format: date-time}}"
            )
    if written:
        echo(f"\nNext: meltano invoke dbt-bigquery build -s source:{staged.source.name}+")
