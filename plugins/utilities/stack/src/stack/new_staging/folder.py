"""A source's staging folder: which files are written, which are added to, which are only shown.

A file that exists may hold somebody's work. It is renewed only on request: with `--write` if git
has it as it is, so that `git diff` shows the change; by its name otherwise. No file is deleted.
"""

import contextlib
import difflib
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from stack import guard, scratch
from stack.terminal import StackError

type Steps = Sequence[str | int]
"""Where a list is in a YAML file, such as `("sources", 0, "tables")`."""


@dataclass(frozen=True)
class Wanted:
    """A file as it would be written now.

    Attributes:
        text: its text.
        without_new: its text without the streams that are new: a file like that is not edited.
        steps: the list that new streams are added to, in a file that was edited.
        blocks: what is added to that list, by name.
    """

    text: str
    without_new: str | None = None
    steps: Steps = ()
    blocks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A difference between a file and what would be written now.

    Attributes:
        name: the file's name.
        done: what was done to it: `wrote`, `added to` or `renewed`; None if it is only shown.
        before: its text before; empty if it is new.
        after: its text after.
    """

    name: str
    done: str | None
    before: str
    after: str

    def diff(self, folder: str) -> str:
        """Return the change as a unified diff."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            f"a/{folder}{self.name}",
            f"b/{folder}{self.name}",
        )
        return "".join(lines)


class Folder:
    """The files of one source."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self._models = f"stg_{source}.yml"
        self._tables = f"src_{source}.yml"

    def text(self, name: str) -> str | None:
        """Return the text of a file; None if it is missing."""
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return None

    def models(self) -> list[str]:
        """Return the models that have a file, in the order of their properties file."""
        files = sorted(path.stem for path in self.path.glob("*.sql"))
        described = [name for name in self._names(self._models, ["models"]) if name in files]
        return list(dict.fromkeys([*described, *files]))

    def tables(self) -> list[str]:
        """Return the raw tables that the source's properties file declares."""
        return self._names(self._tables, ["sources", 0, "tables"])

    def _names(self, file: str, steps: Steps) -> list[str]:
        text = self.text(file)
        found = _node(_compose(text, str(self.path / file)), steps) if text else None
        names = map(_name, found.value) if isinstance(found, yaml.SequenceNode) else ()
        return [name for name in names if name]

    def changes(
        self, wanted: Mapping[str, Wanted], *, write: bool, overwrite: Collection[str]
    ) -> list[Change]:
        """Return the changes to the files of the folder, those that are only shown included.

        Args:
            wanted: every file as it would be written now.
            write: whether files that git has as they are may be renewed.
            overwrite: the names of files that may be renewed in any case.

        Raises:
            StackError: new streams can't be added to a file that was edited.
        """
        renewable = {*overwrite, *(self._committed() if write else ())}
        found = []
        for name, file in wanted.items():
            before = self.text(name)
            if before is None:
                found.append(Change(name, "wrote", "", file.text))
                continue
            current = self._with_new(name, before, file)
            if current != before:
                found.append(Change(name, "added to", before, current))
            if current != file.text:
                done = "renewed" if name in renewable else None
                found.append(Change(name, done, current, file.text))
        return found

    def _with_new(self, name: str, before: str, file: Wanted) -> str:
        """Return the text of a file with the new streams in it."""
        if before == file.without_new:
            return file.text
        if not file.blocks:
            return before
        return insert(before, file.steps, file.blocks, str(self.path / name))

    def _committed(self) -> set[str]:
        """Return the files that git has as they are."""
        try:
            files = guard.git(self.path, "ls-files", "-z", "--", ".")
            changed = guard.git(self.path, "diff", "--name-only", "--relative", "-z", "HEAD")
        except (OSError, subprocess.CalledProcessError):
            return set()
        return set(files.split("\0")) - set(changed.split("\0"))

    def write(self, texts: Mapping[str, str]) -> None:
        """Write files; if one can't be written, none is."""
        self.path.mkdir(parents=True, exist_ok=True)
        drafts: dict[str, Path] = {}
        try:
            for name, text in texts.items():
                descriptor, drafts[name] = scratch.draft(self.path / name)
                with os.fdopen(descriptor, "w") as file:
                    file.write(text)
                drafts[name].chmod(0o644)
            for name, draft in drafts.items():
                draft.replace(self.path / name)
        finally:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.rmdir()  # if nothing was written


def insert(text: str, steps: Steps, blocks: Mapping[str, str], file: str) -> str:
    """Return a properties file with more items at the end of one of its lists.

    Args:
        text: the file's text.
        steps: where the list is.
        blocks: the text of each item by its name; items that exist already are left alone.
        file: the file, for the error.

    Raises:
        StackError: the list is missing, or is written in brackets.
    """
    text = text.rstrip("\n") + "\n"
    found = _node(_compose(text, file), steps)
    if not isinstance(found, yaml.SequenceNode) or found.flow_style or not found.value:
        where = ".".join(map(str, steps))
        message = (
            f"{file} has no list `{where}` to add {', '.join(blocks)} to. Add one, one item a line."
        )
        raise StackError(message)
    names = {_name(item) for item in found.value}
    new = [block for name, block in blocks.items() if name not in names]
    if not new:
        return text
    lines = text.splitlines()
    end = min(found.end_mark.line, len(lines))
    column = found.start_mark.column
    while _is_between(lines[end - 1], column):
        end -= 1
    gap = [""] if _are_apart(lines, found) else []
    added = [line for block in new for line in (*gap, *_indented(block, column))]
    return "\n".join([*lines[:end], *added, *lines[end:]]) + "\n"


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        return yaml.compose(text)
    except yaml.YAMLError as error:
        message = f"{file} is not YAML: {error}"
        raise StackError(message) from error


def _node(node: yaml.Node | None, steps: Steps) -> yaml.Node | None:
    for step in steps:
        match node:
            case yaml.MappingNode():
                node = next((value for key, value in node.value if key.value == step), None)
            case yaml.SequenceNode() if isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            case _:
                return None
    return node


def _name(item: yaml.Node) -> str | None:
    name = _node(item, ["name"])
    return name.value if isinstance(name, yaml.ScalarNode) else None


def _is_between(line: str, column: int) -> bool:
    """Return whether a line is empty, or a comment on what follows the list."""
    text = line.lstrip()
    return not text or (text.startswith("#") and len(line) - len(text) <= column)


def _are_apart(lines: Sequence[str], items: yaml.SequenceNode) -> bool:
    """Return whether empty lines separate the items of a list."""
    starts = [item.start_mark.line for item in items.value]
    return len(starts) == 1 or any(not lines[start - 1].strip() for start in starts[1:])


def _indented(block: str, column: int) -> list[str]:
    lines = block.splitlines()
    shift = column - (len(lines[0]) - len(lines[0].lstrip()))
    if shift >= 0:
        return [f"{' ' * shift}{line}" if line else line for line in lines]
    return [line[-shift:] for line in lines]
