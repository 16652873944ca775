"""What all checks share: the project and its secrets, their results, and the check of settings."""

import base64
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import quote, unquote

from stack.project import Plugin, Project, Setting, Source, references, variable_name
from stack.terminal import plain


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    name: str
    """What was looked at."""
    ok: bool | None
    """None where it could not be looked at, which is no fault of its own."""
    detail: str
    fix: str | None = None
    """What to do about a fault; or about something that works, and has a consequence."""

    def __post_init__(self) -> None:
        """Make it plain: it may quote what others have said."""
        for name in ("name", "detail", "fix"):
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, plain(text).replace("\n", " "))

    @property
    def row(self) -> dict[str, Any]:
        """The line as `--json` has it."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "fix": self.fix}


def passed(name: str, detail: str) -> Result:
    """Say that something is as it should be."""
    return Result(name, True, detail)


def noted(name: str, detail: str, fix: str) -> Result:
    """Say that something works, with a consequence."""
    return Result(name, True, detail, fix)


def failed(name: str, detail: str, fix: str) -> Result:
    """Say what is wrong, and how to fix it."""
    return Result(name, False, detail, fix)


def skipped(name: str, detail: str) -> Result:
    """Say why something was not looked at."""
    return Result(name, None, detail)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant."""
    return next(iter(get_close_matches(name, list(names), 1, 0.5)), None)


def meant(name: str, names: Iterable[str]) -> str:
    """Return the end of a fix: the name that was probably meant, if there is one."""
    near = nearest(name, names)
    return f": did you mean `{near}`?" if near else "."


HIDDEN = "•••"


@dataclass(frozen=True)
class Context:
    """The active environment of a project, and the sources that are looked at."""

    project: Project
    sources: Sequence[Source]
    processes = BoundedSemaphore(max(4, 2 * (os.cpu_count() or 1)))
    """How many taps may run at once."""

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.project.root

    @property
    def environment(self) -> str:
        """The active Meltano environment."""
        return self.project.environment

    @property
    def dbt(self) -> Plugin:
        """The plugin that each source's own dbt commands inherit from."""
        return self.project.plugins["dbt-bigquery"]

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The variables that plugins see."""
        return self.project.variables

    @property
    def inherited(self) -> Mapping[str, str]:
        """The variables that a plugin of another Python environment is started with."""
        return {k: v for k, v in self.variables.items() if k != "PYTHONPATH"}

    @cached_property
    def _secrets(self) -> Sequence[str]:
        values = {
            str(setting.value)
            for plugin in self.project.plugins.values()
            for setting in plugin.settings.values()
            if setting.sensitive and setting.value not in (None, "")
        }
        written = {form for value in values for form in _forms(value)}
        return sorted(written, key=len, reverse=True)

    def masked(self, text: str) -> str:
        """Return what others have said, without the value of any secret."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret as it may turn up: plain, in an address, in an Authorization header."""
    header = base64.b64encode(f"{secret}:".encode()).decode()
    forms = secret, quote(secret, safe=""), header
    # The password of a URL.
    user, _, host = secret.partition("://")[2].rpartition("@")
    password = user.partition(":")[2]
    return (*forms, password, unquote(password)) if host and password else forms


# Set by Meltano itself, some of them only while it runs a job.
MELTANOS_OWN = "MELTANO_"
# The sandbox's secrets open nothing.
LOCAL = "local"
YAML = ("meltano_yml", "meltano_environment")
PLACEHOLDER = re.compile(
    r"<.*>|\.{3}|…|x{3,}|change[-_ ]?(it|me|this).*|(put|insert|enter)[-_ ].*|your?[-_ ].*"
    r"|todo.*|tbd|fixme.*|placeholder.*|example|(.*[/.@])?example\.(com|org|net)([/:].*)?",
    re.IGNORECASE,
)


def settings(
    context: Context, plugins: Sequence[Plugin], besides: Sequence[Plugin] = ()
) -> Iterator[Result]:
    """Yield a line for each variable that isn't right, or one for all."""
    seen = {
        name
        for plugin in besides
        for setting in plugin.settings.values()
        for name in references(setting.written)
    }
    wrong = False
    every = [
        (plugin, setting)
        for plugin in plugins
        # What is in a mapping goes before the mapping: it says exactly where a variable is read.
        for setting in sorted(plugin.settings.values(), key=lambda one: -one.name.count("."))
    ]
    for plugin, setting in every:
        if context.environment != LOCAL and _is_secret_in_yaml(setting):
            wrong = True
            inner = setting.name.removeprefix("config.")
            variable = variable_name(plugin.namespace, inner)
            fix = f"Put its value into .env as `{variable}`, and write `{inner}: ${{{variable}}}`."
            yield failed(setting.name, f"a secret of {plugin.name} is written in YAML", fix)
        for name in references(setting.written):
            if name in seen or name.startswith(MELTANOS_OWN):
                continue
            seen.add(name)
            if problem := _problem(context.variables.get(name), setting):
                wrong = True
                detail = f"{problem}; `{setting.name}` of {plugin.name} reads it"
                fix = f"Put `{name}=…` into .env, or set it where jobs run."
                if problem == MISFIT:
                    fix = f"Correct `{name}` in .env, or where jobs set it."
                yield failed(name, detail, fix)
    if not wrong:
        count = sum(setting.value is not None for _, setting in every)
        yield passed("settings", f"{count} with a value, no variable missing or empty")


def _is_secret_in_yaml(setting: Setting) -> bool:
    if not setting.sensitive or setting.value in (None, "") or setting.source not in YAML:
        return False
    # Where a key lies is no secret.
    is_path = Path(str(setting.value)).expanduser().is_file()
    return not is_path and not any(references(setting.written))


MISFIT = "isn't what the setting takes"


def _problem(value: str | None, setting: Setting) -> str | None:
    """Return what is wrong with the value of a variable that a setting refers to."""
    if value is None:
        return "isn't set"
    if not value.strip():
        return "is empty"
    if PLACEHOLDER.fullmatch(value.strip()):
        return "is still an example"
    return MISFIT if setting.value is None else None
