"""A source's staging folder: which files are written, which are added to, which are only shown.

A file that exists may have been edited. It is renewed only on request: with `--write` if git
has it as it is, so that `git diff` shows the change; by its name otherwise. No file is deleted.
"""

import contextlib
import difflib
import subprocess
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from stack import guard, scratch
from stack.check.files import below
from stack.terminal import StackError

type Steps = Sequence[str | int]
"""Where a list is in a YAML file, such as `("sources", 0, "tables")`."""


@dataclass(frozen=True)
class File:
    """A file as it would be written now."""

    text: str
    without_new: str | None = None
    """Its text without the streams that are new: a file like that is not edited."""
    steps: Steps = ()
    """The list that new streams are added to, in a file that was edited."""
    blocks: Mapping[str, str] = field(default_factory=dict)
    """What is added to that list, by name."""


@dataclass(frozen=True)
class Change:
    """A difference between a file and what would be written now."""

    name: str
    done: str | None
    """What was done to it: `wrote`, `added to` or `renewed`; None if it is only shown."""
    before: str
    after: str

    def diff(self, folder: str) -> str:
        """Return the change as a unified diff."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        file = f"{folder}{self.name}"
        return "".join(difflib.unified_diff(before, after, f"a/{file}", f"b/{file}"))


class Folder:
    """The files of one source."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self._source = source

    def text(self, name: str) -> str | None:
        """Return the text of a file; None if it is missing."""
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return None

    def models(self) -> list[str]:
        """Return the models that have a file, in the order of their properties file."""
        files = sorted(path.stem for path in self.path.glob("*.sql"))
        described = self._names(f"stg_{self._source}.yml", ["models"])
        return list(dict.fromkeys([*(name for name in described if name in files), *files]))

    def tables(self) -> list[str]:
        """Return the raw tables that the source's properties file declares."""
        return self._names(f"src_{self._source}.yml", ["sources", 0, "tables"])

    def _names(self, file: str, steps: Steps) -> list[str]:
        found = _list(self.text(file) or "", steps, str(self.path / file))
        return [name for item in (found.value if found else ()) if (name := _name(item))]

    def changes(
        self, files: Mapping[str, File], *, write: bool, overwrite: Collection[str]
    ) -> list[Change]:
        """Return the changes to the files of the folder, those that are only shown included."""
        renewable = {*overwrite, *(self._committed() if write else ())}
        found = []
        for name, file in files.items():
            before = self.text(name)
            if before is None:
                found.append(Change(name, "wrote", "", file.text))
                continue
            current = file.text
            if before != file.without_new:
                current = insert(before, file.steps, file.blocks, str(self.path / name))
            if current != before:
                found.append(Change(name, "added to", before, current))
            if current != file.text:
                done = "renewed" if name in renewable else None
                found.append(Change(name, done, current, file.text))
        return found

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
        try:
            scratch.put({self.path / name: text for name, text in texts.items()}, 0o644)
        finally:
            with contextlib.suppress(OSError):
                self.path.rmdir()  # if nothing was written


def insert(text: str, steps: Steps, blocks: Mapping[str, str], file: str) -> str:
    """Return a properties file with more items, by name, at the end of one of its lists.

    Items that exist already are left alone.
    """
    if not blocks:
        return text
    found = _list(text, steps, file)
    if found is None or found.flow_style or not found.value:
        where = ".".join(map(str, steps))
        raise StackError(
            f"{file} has no list `{where}` to add {', '.join(blocks)} to. Add one, one item a line."
        )
    names = {_name(item) for item in found.value}
    indent = " " * found.start_mark.column
    new = [
        textwrap.indent(textwrap.dedent(block), indent)
        for name, block in blocks.items()
        if name not in names
    ]
    lines = text.splitlines(keepends=True)
    # What follows the list: empty lines, and comments that aren't of its last item.
    end = min(found.end_mark.line, len(lines))
    while not (line := lines[end - 1].strip()) or (
        line.startswith("#") and not lines[end - 1].startswith(f"{indent} ")
    ):
        end -= 1
    lines[end - 1] = lines[end - 1].rstrip("\n") + "\n"
    starts = [item.start_mark.line for item in found.value[1:]]
    are_apart = not starts or any(not lines[start - 1].strip() for start in starts)
    gap = "\n" if are_apart else ""
    return "".join([*lines[:end], *(f"{gap}{block}" for block in new), *lines[end:]])


def _list(text: str, steps: Steps, file: str) -> yaml.SequenceNode | None:
    """Return a list in a YAML file; None if it is missing."""
    try:
        node = yaml.compose(text)
    except yaml.YAMLError as error:
        raise StackError(f"{file} is not YAML: {error}") from error
    for step in steps:
        _, node = below(node, step)
    return node if isinstance(node, yaml.SequenceNode) else None


def _name(item: yaml.Node) -> str | None:
    _, name = below(item, "name")
    return name.value if isinstance(name, yaml.ScalarNode) else None
