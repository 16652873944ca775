"""What a tap or a manifest wants to know: given by `--set`, kept in .env, or asked for."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stack import scratch
from stack.project import REFERENCE, variable_name
from stack.terminal import StackError, ask, echo

from source_files.new_source.source_file import CommentedOut, Draft, Variable, expanded

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
    """A setting, named by the names that lead to it: `credentials.client_id`."""

    name: str
    kind: str | None = None
    """As Meltano calls it; none for a text."""
    title: str = ""
    is_secret: bool = False
    is_variable: bool = False
    """Whether its value belongs into .env, as a secret's and an address' does."""
    is_required: bool = False
    description: str = ""
    default: Any = None
    options: Sequence[Any] = ()

    @property
    def path(self) -> list[str]:
        """The names that lead to it."""
        return self.name.split(".")

    def typed(self, value: str) -> Any:
        """Return a value as the tap is to get it."""
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
    """The settings with their values."""

    values: dict[str, Any] = field(default_factory=dict)
    """As the tap gets them."""
    written: dict[str, Any] = field(default_factory=dict)
    """As the file has them."""
    missing: list[Setting] = field(default_factory=list)
    """Those that must have a value and have none."""

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


def ask_tap(
    executable: str | Path, *options: str, config: Mapping[str, Any] | None = None, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Run a tap without anybody to talk to; its settings are in a file that only we can read."""
    with scratch.folder("new-source") as folder:
        if config is not None:
            file = folder / "config.json"
            file.write_text(json.dumps(config))
            options = ("--config", str(file), *options)
        command = [executable, *options]
        return subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **how
        )


def json_kind(schema: Mapping[str, Any]) -> str | None:
    """Return the type of a JSON Schema, `null` aside."""
    types = schema.get("type") or ()
    return next(
        (one for one in ([types] if isinstance(types, str) else types) if one != "null"), None
    )


def refuse_unknown(given: Mapping[str, str], there: Sequence[str], of: str) -> None:
    """See that each setting that was given exists."""
    if unknown := sorted(given.keys() - set(there)):
        message = f"{of} has no setting {', '.join(unknown)}. There are: {', '.join(there)}."
        raise StackError(message)
