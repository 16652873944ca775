"""The command: reads the catalog, writes what may be written, and says what it did not."""

from pathlib import Path

import click

from stack.errors import StackError
from stack.new_staging import catalog as catalogs
from stack.new_staging import plan as plans
from stack.new_staging.folder import Folder
from stack.new_staging.plan import Finding, Leave, Plan, State
from stack.new_staging.staged import Staged, stage
from stack.project import Project
from stack.terminal import echo, secho

STAGING = Path("transform/models/staging")


@click.command(name="new-staging")
@click.argument("source")
@click.argument("streams", nargs=-1)
@click.option("--write", is_flag=True, help="Renew the files that nobody has edited.")
@click.option(
    "--overwrite",
    multiple=True,
    metavar="FILE",
    help="Renew this file though it was edited. What was edited is lost.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="FILE",
    help="Leave this edited file as it is, and say no more of what has changed by now.",
)
def new_staging(
    source: str,
    streams: tuple[str, ...],
    *,
    write: bool,
    overwrite: tuple[str, ...],
    keep: tuple[str, ...],
) -> None:
    """Write the staging models of a SOURCE from its tap's catalog, before anything is loaded.

    Of all selected streams, unless STREAMS are named. Where there are models already, those of new
    streams are added. What else has changed is shown, and written with --write; a file that
    somebody has edited is left alone.
    """
    project = Project()
    found = project.source(source)
    path = STAGING / source
    folder = Folder(project.root / path)
    echo(f"Reading the catalog of {found.extractor.name} …")
    catalog = catalogs.read(source, catalogs.discover(found), found.loader.config())
    staged = stage(found, catalog, streams, folder)
    wanted = staged.files()
    leave = Leave(write, _names(overwrite), _names(keep))
    for name in leave.overwrite | leave.keep:
        if name not in wanted and name not in folder.listed:
            message = f"'{name}' is not one of the files of {path}/: {', '.join(wanted)}."
            raise StackError(message)
    removed = {f"{name}.sql" for name in staged.removed}
    plan = plans.make(folder, wanted, removed, leave)
    folder.write(plan.files, plan.listed)
    _tell(f"{path.as_posix()}/", plan)
    _advise(staged, plan)


def _names(files: tuple[str, ...]) -> frozenset[str]:
    return frozenset(Path(file).name for file in files)


def _tell(place: str, plan: Plan) -> None:
    """Say what was done, and show what was not."""
    open_findings = [finding for finding in plan.findings if not finding.is_settled]
    for finding in plan.findings:
        if finding.state not in (State.NEW, State.ADDED, State.ORPHANED):
            _show(finding.diff(place))
    for finding in plan.findings:
        if finding.is_settled:
            echo(f"{_verb(finding):8} {place}{finding.name}")
    if not plan.findings:
        echo(f"Nothing to do: {place} is as the catalog has it.")
    renewable = [one for one in open_findings if one.state in (State.OUTDATED, State.GONE)]
    if renewable:
        files = ", ".join(finding.name for finding in renewable)
        echo(f"\nThe catalog has changed, and nobody has edited {files}: renew with --write.")
    for finding in open_findings:
        if finding.state is State.EDITED:
            echo(
                f"\n{finding.name} was edited, and is left as it is: take over by hand what you "
                f"want of the above, then --keep {finding.name}; or --overwrite {finding.name}."
            )
        if finding.state is State.ORPHANED:
            echo(
                f"\n{finding.name} was edited, and its stream is no longer loaded: remove it, or "
                f"--overwrite {finding.name} to have it removed."
            )


def _verb(finding: Finding) -> str:
    if finding.after is None:
        return "removed"
    return {State.NEW: "wrote", State.ADDED: "added to"}.get(finding.state, "renewed")


def _show(diff: str) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in diff.splitlines():
        secho(line, fg=colours.get(line[:1]))


def _advise(staged: Staged, plan: Plan) -> None:
    if staged.keyless:
        secho(
            f"\nNo models of {', '.join(staged.keyless)}: no key is known, so rows can't be told "
            f"apart. Say in {staged.source.file.name} what identifies one, under the extractor:\n"
            f"    metadata:\n"
            f"      {staged.keyless[0]}: {{table-key-properties: [a, b]}}",
            fg="yellow",
        )
    new = [model for model in staged.models if f"{model.name}.sql" in plan.files]
    for model in new:
        if model.untyped_times:
            times = ", ".join(model.untyped_times)
            echo(
                f"\n{model.name}: {times} may be times, but the catalog has them as text. If they "
                f"are, say so in {staged.source.file.name}, under the extractor:\n"
                f"    schema:\n"
                f"      {model.table.stream}:\n"
                f"        {model.untyped_times[0]}: {{type: [string, 'null'], format: date-time}}"
            )
    if plan.files:
        echo(f"\nNext: meltano invoke dbt-bigquery build -s source:{staged.source.name}+")
