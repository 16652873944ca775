"""What becomes of each file: written, renewed, left as somebody has edited it, or removed."""

import difflib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum

from stack.new_staging import insertion
from stack.new_staging.folder import Folder, checksum


class State(Enum):
    """What there is to say about a file."""

    NEW = "new"
    """It wasn't there."""
    ADDED = "added"
    """New streams were added to it."""
    OUTDATED = "outdated"
    """Nobody has edited it, and the catalog has changed."""
    EDITED = "edited"
    """Somebody has edited it, and the catalog has changed."""
    GONE = "gone"
    """Its stream is gone, and nobody has edited it."""
    ORPHANED = "orphaned"
    """Its stream is gone, and somebody has edited it."""


@dataclass(frozen=True)
class Addition:
    """Where new streams go in a file that somebody may have edited, and what they add to it."""

    path: Sequence[str | int]
    blocks: Mapping[str, str]


@dataclass(frozen=True)
class Wanted:
    """A file as it would be written now.

    Attributes:
        text: what it says.
        without_new: what it would say without the streams that are new.
        addition: how they are added to it.
    """

    text: str
    without_new: str | None = None
    addition: Addition | None = None


@dataclass(frozen=True)
class Finding:
    """A file that isn't as it would be written now, or wasn't."""

    name: str
    state: State
    before: str
    after: str | None
    is_settled: bool

    def diff(self, place: str) -> str:
        """Return what would change, as a unified diff."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            (self.after or "").splitlines(keepends=True),
            f"a/{place}{self.name}",
            "/dev/null" if self.after is None else f"b/{place}{self.name}",
        )
        return "".join(lines)


@dataclass
class Plan:
    """What to write, and what to say."""

    files: dict[str, str | None] = field(default_factory=dict)
    listed: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Leave:
    """What the person who runs the command allows.

    Attributes:
        write: renew the files that nobody has edited.
        overwrite: edited files to renew.
        keep: edited files to leave, and to say no more about.
    """

    write: bool = False
    overwrite: Set[str] = frozenset()
    keep: Set[str] = frozenset()


def make(folder: Folder, wanted: Mapping[str, Wanted], removed: Set[str], leave: Leave) -> Plan:
    """Return what becomes of the files of a folder.

    Args:
        folder: the folder as it is.
        wanted: every file as it would be written now.
        removed: files that somebody has removed, and that stay so.
        leave: what may be done without being asked again.

    Raises:
        StackError: new streams can't be added to a file that was edited.
    """
    plan = Plan()
    for name, file in wanted.items():
        _settle(plan, folder, name, file, leave)
    for name, total in folder.listed.items():
        if name in wanted:
            continue
        text = folder.text(name)
        if text is None:
            if name in removed:
                plan.listed[name] = total
            continue
        state = State.ORPHANED if folder.is_edited(name) else State.GONE
        goes = name in leave.overwrite or (state is State.GONE and leave.write)
        plan.findings.append(Finding(name, state, text, None, goes))
        if goes:
            plan.files[name] = None
        else:
            plan.listed[name] = total
    return plan


def _settle(plan: Plan, folder: Folder, name: str, file: Wanted, leave: Leave) -> None:
    before = folder.text(name)
    if before is None:
        plan.files[name] = file.text
        plan.listed[name] = checksum(file.text)
        plan.findings.append(Finding(name, State.NEW, "", file.text, is_settled=True))
        return
    current = _with_additions(folder, name, before, file)
    made = checksum(file.text)
    last_made = folder.listed.get(name)
    is_unchanged = last_made is not None and last_made in (
        made,
        file.without_new is not None and checksum(file.without_new),
    )
    text, listed = current, last_made
    if current == file.text:
        listed = made
    elif name in leave.overwrite:
        text, listed = file.text, made
        plan.findings.append(Finding(name, State.EDITED, current, text, is_settled=True))
    elif not folder.is_edited(name):
        text = file.text if leave.write else current
        listed = checksum(text)
        plan.findings.append(Finding(name, State.OUTDATED, current, file.text, leave.write))
    elif is_unchanged or name in leave.keep:
        listed = made
    elif last_made is not None:
        plan.findings.append(Finding(name, State.EDITED, current, file.text, is_settled=False))
    if current != before and text == current:
        plan.findings.append(Finding(name, State.ADDED, before, current, is_settled=True))
    if text != before:
        plan.files[name] = text
    if listed is not None:
        plan.listed[name] = listed


def _with_additions(folder: Folder, name: str, before: str, file: Wanted) -> str:
    """Return a file's text with the new streams in it, and all else as it is."""
    if before == file.without_new:
        return file.text
    if file.addition is None or not file.addition.blocks:
        return before
    place = str(folder.path / name)
    return insertion.insert(before, file.addition.path, file.addition.blocks, place)
