"""The project's YAML files, with the line that each thing is on."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAP = "meltano.yml"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file."""

    file: str
    line: int | None
    what: str
    mend: str
    is_fatal: bool = False
    """Whether Meltano can't read the project, or nothing can be said of the rest."""


@dataclass(frozen=True, eq=False)
class Document:
    """A file that has been read."""

    file: str
    """Its path in the project."""
    data: Any
    node: yaml.Node | None = field(repr=False)

    def line(self, *path: Hashable) -> int | None:
        """Return the line of what lies at a path of keys and positions, or of what leads there."""
        node = self.node
        line = 1 if node is not None else None
        for step in path:
            inner = _step(node, step)
            if inner is None:
                break
            key, node = inner
            line = key.start_mark.line + 1
        return line

    def fault(
        self, path: Sequence[Hashable], what: str, mend: str, *, fatal: bool = False
    ) -> Fault:
        """Say what is wrong at a path."""
        return Fault(self.file, self.line(*path), what, mend, fatal)

    def named(self, *path: str) -> Iterator[tuple[tuple[Hashable, ...], dict[str, Any]]]:
        """Yield the entries of a list that have a name, each with its path."""
        found = self.data
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        for position, entry in enumerate(found if isinstance(found, list) else []):
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                yield (*path, position), entry


def _step(node: yaml.Node | None, step: Hashable) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key, value
    return None


def read(root: Path) -> tuple[list[Document], list[Fault]]:
    """Read meltano.yml and what it includes."""
    whole = read_one(root, MAP)
    if isinstance(whole, Fault):
        return [], [whole]
    patterns = whole.data.get("include_paths") if isinstance(whole.data, dict) else None
    files = dict.fromkeys(
        str(path.relative_to(root))
        for pattern in (patterns if isinstance(patterns, list) else [])
        for path in sorted(root.glob(str(pattern)))
    )
    found = [whole, *(read_one(root, file) for file in files if file != MAP)]
    documents = [one for one in found if isinstance(one, Document)]
    repeated = [fault for one in documents for fault in _repeated_keys(one, one.node)]
    return documents, [*(one for one in found if isinstance(one, Fault)), *repeated]


def read_one(root: Path, file: str) -> Document | Fault:
    """Read a file."""
    try:
        text = (root / file).read_text()
    except FileNotFoundError:
        return Fault(file, None, "is not there", f"Restore it: `git checkout {file}`.", True)
    except (OSError, UnicodeDecodeError) as error:
        mend = "Make it a file that you may read, in UTF-8."
        return Fault(file, None, f"can't be read: {error}", mend, True)
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if _holds_itself(node):
            mend = "Write out what the anchor (`&`) holds, instead of referring to it from within."
            return Fault(file, None, "has a value that holds itself", mend, True)
        return Document(file, yaml.safe_load(text), node)
    except RecursionError:
        mend = "Write it with less levels: nothing in Meltano needs so many."
        return Fault(file, None, "is nested too deeply", mend, True)
    except ValueError as error:  # a date or a number that there can't be
        problem, mend = str(error), "Put the value into quotes, or correct it."
        return Fault(file, _line_of_bad_value(node), problem, mend, True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        return Fault(file, mark.line + 1 if mark else None, problem, _mend(problem), True)
    except yaml.YAMLError as error:
        problem = str(error).partition("\n")[0]
        return Fault(file, None, problem, "Take that character out.", True)


def _mend(problem: str) -> str:
    """Return what usually leads to a problem that the YAML parser names."""
    for sign, mend in (
        ("'\\t'", "Indent with spaces: YAML takes no tabs there."),
        ("cannot start any token", "Put the whole value into quotes."),
        (
            "mapping values are not allowed",
            "Put a text that holds `: ` into quotes, or correct the indentation of this line.",
        ),
        ("could not find expected ':'", "Write `key: value`, with a space after the colon."),
        ("undefined alias", "Define it before, with `&`, in this same file; or write it out."),
        ("quoted scalar", "Close the quote that was opened there."),
        ("flow", "Close the bracket, or put a comma between its entries."),
        (
            "block",
            "Entries of one list or mapping stand at the same indentation: correct this line's.",
        ),
    ):
        if sign in problem:
            return mend
    return "Correct the YAML in this line, or the one above it."


def _children(node: yaml.Node) -> list[yaml.Node]:
    match node:
        case yaml.MappingNode():
            return [part for pair in node.value for part in pair]
        case yaml.SequenceNode():
            return list(node.value)
        case _:
            return []


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Yield a node and all that it holds, each once, in the order of the file."""
    waiting = [node] if node else []
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += reversed(_children(one))


def _holds_itself(node: yaml.Node | None) -> bool:
    """Return whether an alias leads back to what it is in."""
    done: set[int] = set()
    above: set[int] = set()
    waiting = [(node, False)] if node else []
    while waiting:
        one, is_left = waiting.pop()
        if is_left:
            above.discard(id(one))
            done.add(id(one))
        elif id(one) in above:
            return True
        elif id(one) not in done:
            above.add(id(one))
            waiting.append((one, True))
            waiting += [(child, False) for child in _children(one)]
    return False


def _line_of_bad_value(node: yaml.Node | None) -> int | None:
    """Return the line of the value that can't be read."""
    for one in _nodes(node):
        if isinstance(one, yaml.ScalarNode):
            try:
                yaml.SafeLoader("").construct_object(one)
            except ValueError:
                return int(one.start_mark.line) + 1
    return None


def _repeated_keys(document: Document, node: yaml.Node | None) -> Iterator[Fault]:
    """Yield the keys that one mapping has twice: Meltano refuses them."""
    for one in _nodes(node):
        if not isinstance(one, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, _ in one.value:
            line = key.start_mark.line + 1
            name = str(key.value)
            if name in lines and name != "<<":
                what = f"has `{name}` twice in one mapping, first in line {lines[name]}"
                mend = "Put what both hold under one of them."
                yield Fault(document.file, line, what, mend, True)
            lines[name] = line
