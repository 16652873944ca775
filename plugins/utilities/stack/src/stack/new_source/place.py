"""Puts a source's file in its place, once Meltano has read it in a copy of the project.

Meltano reads every file in extract/: one that it can't read would break every command.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from stack import meltano, scratch
from stack.errors import StackError
from stack.new_source import dotenv_file
from stack.new_source.source_file import Draft
from stack.project import BRIDGE, SUFFIX, Project


def put(project: Project, draft: Draft, text: str) -> list[str]:
    """Write a source's file and its variables; return the variables that were there before.

    Args:
        project: where to.
        draft: the source.
        text: its file's.

    Raises:
        StackError: Meltano refuses the file, or a value can't be written; nothing is left behind.
    """
    environment = project.root / ".env"
    after = environment_text(project, draft)
    kept = dotenv_file.differing(draft.variables, dotenv_file.known(environment))
    check(project, draft.name, text, after)
    # The variables first: a file whose variables aren't set would be worse than the reverse.
    if not environment.exists() or after != environment.read_text():
        dotenv_file.replace(environment, after)
    target = project.root / "extract" / f"{draft.name}{SUFFIX}"
    with scratch.folder(".new-source", target.parent) as folder:
        written = folder / target.name
        written.write_text(text)
        try:
            # Unlike a rename, a link never takes the place of a file that came in the meantime.
            target.hardlink_to(written)
        except FileExistsError:
            message = f"extract/{target.name} has come into being meanwhile; it is left as it is."
            raise StackError(message) from None
    return kept


def environment_text(project: Project, draft: Draft) -> str:
    """Return what .env holds once the source's variables are in it."""
    environment = project.root / ".env"
    before = environment.read_text() if environment.exists() else ""
    return dotenv_file.added(before, draft.variables, f"The source {draft.name}.")


def check(project: Project, name: str, text: str, environment: str) -> None:
    """Let Meltano read the project as it would be.

    Raises:
        StackError: it can't, or doesn't find the source in it.
    """
    with scratch.folder("new-source") as copy:
        # Copies, since Meltano doesn't follow links out of its project.
        for file in _files(project.root):
            written = copy / file.relative_to(project.root)
            written.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, written)
        (copy / "extract" / f"{name}{SUFFIX}").write_text(text)
        dotenv_file.replace(copy / ".env", environment)
        failing = "Meltano can't read the file that would be written"
        facts = meltano.ask(BRIDGE, project.environment, project=copy, failing=failing)
    plugins = {plugin["name"] for plugin in facts["plugins"]}
    missing = {f"tap-{name}", f"target-{name}", f"dbt-{name}"} - plugins
    if missing or f"{name}-daily" not in facts["jobs"]:
        message = f"Meltano doesn't find {', '.join(sorted(missing)) or 'the job'} in the new file."
        raise StackError(message)


def _files(root: Path) -> Iterator[Path]:
    """Yield the files that Meltano reads."""
    yield root / "meltano.yml"
    written = yaml.safe_load((root / "meltano.yml").read_text())
    for pattern in written.get("include_paths", []):
        yield from root.glob(pattern)
