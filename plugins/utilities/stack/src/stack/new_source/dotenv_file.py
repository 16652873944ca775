"""The variables of a source in .env, which Meltano reads at every start and git ignores."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from stack import scratch
from stack.errors import StackError

PLAIN = re.compile(r"[A-Za-z0-9_.,:/@%+=?&~-]*")


@dataclass(frozen=True)
class Variable:
    """A variable that a source's file refers to; its value is None until somebody fills it in."""

    name: str
    value: str | None = None


def known(path: Path) -> dict[str, str]:
    """Return the variables that have a value, in a .env file or in this process' environment."""
    written = dotenv_values(path) if path.exists() else {}
    found = {**written, **os.environ}
    return {name: value for name, value in found.items() if value}


def added(before: str, variables: Sequence[Variable], title: str) -> str:
    """Return the text of a .env file with the variables that it doesn't have yet.

    One without a value comes as a comment: it isn't set then, which Meltano says, whereas an
    empty one would be sent as it is.

    Raises:
        StackError: a value can't be written in such a file.
    """
    there = set(re.findall(r"^\s*(?:export\s+)?(\w+)\s*=", before, re.MULTILINE))
    lines = [
        f"# {variable.name}=" if variable.value is None else f"{variable.name}={_quoted(variable)}"
        for variable in variables
        if variable.name not in there
    ]
    if not lines:
        return before
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    return before + gap + "\n".join([f"# {title}", *lines]) + "\n"


def differing(variables: Sequence[Variable], values: Mapping[str, str]) -> list[str]:
    """Return the names of variables that are there already with another value."""
    return [
        variable.name
        for variable in variables
        if variable.value is not None
        and variable.name in values
        and values[variable.name] != variable.value
    ]


def replace(path: Path, text: str) -> None:
    """Write a file at once. It holds passwords: its owner alone may read it."""
    handle, draft = scratch.draft(path)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _quoted(variable: Variable) -> str:
    value = variable.value or ""
    if "${" in value or not value.isprintable():
        message = (
            f"The value of {variable.name} holds '${{' or a control character, which .env can't "
            f"hold. Set {variable.name} in the environment that runs the jobs, and run this "
            "command again there."
        )
        raise StackError(message)
    if PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
