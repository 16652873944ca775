"""Add items to a list in a YAML file that people edit: nothing else in it changes."""

from collections.abc import Mapping, Sequence

import yaml

from stack.errors import StackError


def insert(text: str, path: Sequence[str | int], blocks: Mapping[str, str], place: str) -> str:
    """Return a properties file with more items at the end of one of its lists.

    Args:
        text: the file's text.
        path: where the list is, such as `("sources", 0, "tables")`.
        blocks: the text of each item by its name; items that are there already are left alone.
        place: the file, for the error.

    Raises:
        StackError: the list isn't there, or is written in brackets.
    """
    text = text.rstrip("\n") + "\n"
    try:
        found = _node(yaml.compose(text), path)
    except yaml.YAMLError as error:
        message = f"{place} is not YAML: {error}"
        raise StackError(message) from error
    if not isinstance(found, yaml.SequenceNode) or found.flow_style or not found.value:
        where = ".".join(str(step) for step in path)
        message = (
            f"{place} has no list `{where}` to add {', '.join(blocks)} to. Add one, a line an item."
        )
        raise StackError(message)
    there = {_name(item) for item in found.value}
    new = [block for name, block in blocks.items() if name not in there]
    if not new:
        return text
    lines = text.splitlines()
    end = _last_line(lines, found)
    between = [""] if _are_apart(lines, found) else []
    added: list[str] = []
    for block in new:
        added += [*between, *_indented(block, found.start_mark.column)]
    return "\n".join([*lines[:end], *added, *lines[end:]]) + "\n"


def _node(node: yaml.Node | None, path: Sequence[str | int]) -> yaml.Node | None:
    for step in path:
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


def _last_line(lines: Sequence[str], items: yaml.SequenceNode) -> int:
    """Return the number of lines up to the end of a list, without what stands before the next."""
    end = min(items.end_mark.line, len(lines))
    while _is_between(lines[end - 1], items.start_mark.column):
        end -= 1
    return end


def _is_between(line: str, column: int) -> bool:
    """Return whether a line is empty, or a comment on what follows."""
    text = line.lstrip()
    return not text or (text.startswith("#") and len(line) - len(text) <= column)


def _are_apart(lines: Sequence[str], node: yaml.SequenceNode) -> bool:
    """Return whether there are empty lines between items."""
    first = node.value[0].start_mark.line
    return len(node.value) == 1 or any(
        not lines[item.start_mark.line - 1].strip()
        for item in node.value
        if item.start_mark.line > first
    )


def _indented(block: str, column: int) -> list[str]:
    lines = block.splitlines()
    shift = column - (len(lines[0]) - len(lines[0].lstrip()))
    if shift >= 0:
        return [f"{' ' * shift}{line}" if line else line for line in lines]
    return [line[-shift:] for line in lines]
