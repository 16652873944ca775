"""What a tap or a manifest wants to know: given by `--set`, kept in .env, or asked for."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stack.new_source.source_file import CommentedOut, Draft, Variable, expanded, variable_name
from stack.project import REFERENCE
from stack.terminal import StackError, ask, echo

KINDS = {
    "integer": "integer",
    "number": "decimal",
    "boolean": "boolean",
    "array": "array",
    "object": "object",
}
"""What Meltano calls the types of JSON Schema."""
LONGEST_COMMENT = 200


@dataclass(frozen=True)
class Setting:
    """A setting, named by the names that lead to it: `credentials.client_id`.

    Attributes:
        name: for `--set`.
        kind: as Meltano calls it; none for a text.
        title: what people are asked for.
        is_secret: whether nobody may see it.
        is_variable: whether its value belongs into .env, as a secret's and an address' does.
        is_required: whether it must have a value.
        description: what is said of it, in a line.
        default: its value if nobody gives one.
        options: the values that it may have.
    """

    name: str
    kind: str | None = None
    title: str = ""
    is_secret: bool = False
    is_variable: bool = False
    is_required: bool = False
    description: str = ""
    default: Any = None
    options: Sequence[Any] = ()

    @property
    def path(self) -> list[str]:
        """The names that lead to it."""
        return self.name.split(".")

    def typed(self, value: str) -> Any:
        """Return a value as the tap is to get it.

        Raises:
            StackError: it doesn't fit.
        """
        if self.kind not in KINDS.values():
            return value
        try:
            return json.loads(value)
        except ValueError:
            message = f"{self.name} is of kind {self.kind}: write it as JSON, not as it was given."
            raise StackError(message) from None

    def ask(self) -> str:
        """Ask for it on the terminal."""
        if self.description:
            echo(self.description)
        options = [str(option) for option in self.options]
        return ask(self.title or self.name, hidden=self.is_secret, options=options)


@dataclass
class Filled:
    """The settings with their values.

    Attributes:
        values: as the tap gets them.
        written: as the file has them.
        missing: those that must have a value and have none.
    """

    values: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)
    missing: list[Setting] = field(default_factory=list)

    def put(self, setting: Setting, written: Any, value: Any = None) -> None:
        """Keep a setting, and its value if it has one."""
        _put(self.written, setting.path, written)
        if value is not None:
            _put(self.values, setting.path, value)


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def fill(
    found: Draft,
    settings: Sequence[Setting],
    given: Mapping[str, str],
    known: Mapping[str, str],
    *,
    describe: bool = False,
) -> Filled:
    """Give settings their values, and the source the variables that they are in.

    Args:
        found: the source.
        settings: all that there are.
        given: values by name; `${VARIABLE}` in one stands for what .env has.
        known: variables that have a value.
        describe: whether to write down what an optional setting is about.

    Raises:
        StackError: a value doesn't fit, or refers to a variable that isn't set.
    """
    filled = Filled()
    for setting in settings:
        variable = variable_name(found.name, *setting.path)
        reference = f"${{{variable}}}"
        value = given.get(setting.name)
        is_known = value is not None or variable in known
        if setting.is_required and setting.default is None and not is_known:
            if not sys.stdin.isatty():
                filled.missing.append(setting)
                filled.put(setting, reference)
                found.variables.append(Variable(variable))
                continue
            value = setting.ask()
        if value is not None and REFERENCE.search(value):
            filled.put(setting, value, setting.typed(expanded(value, known)))
        elif value is not None and not setting.is_variable:
            filled.put(setting, setting.typed(value), setting.typed(value))
        elif value is not None or variable in known:
            text = known[variable] if value is None else value
            filled.put(setting, reference, setting.typed(text))
            found.variables.append(Variable(variable, value))
        elif setting.is_required:
            filled.put(setting, setting.default, setting.default)
        else:
            shown = reference if setting.is_secret else setting.default
            comment = setting.description[:LONGEST_COMMENT] if describe else ""
            filled.put(setting, CommentedOut(shown, comment))
    return filled


def refuse_unknown(given: Mapping[str, str], settings: Sequence[Setting], of: str) -> None:
    """See that each setting that was given exists.

    Raises:
        StackError: one doesn't.
    """
    there = [setting.name for setting in settings]
    if unknown := sorted(given.keys() - set(there)):
        message = f"{of} has no setting {', '.join(unknown)}. There are: {', '.join(there)}."
        raise StackError(message)
