"""What a check has found: one line, and how to mend what is wrong."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from urllib.parse import quote, unquote

from dotenv import dotenv_values

from stack.project import Plugin, Project, Source
from stack.terminal import plain


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    name: str
    """What was looked at."""
    ok: bool | None
    """None where it could not be looked at, which is no fault of its own."""
    detail: str
    mend: str | None = None
    """What to do: beside a fault; or beside something that works and that one should know of."""

    def __post_init__(self) -> None:
        """Make it plain: it may quote what others have said."""
        for name in ("name", "detail", "mend"):
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, plain(text).replace("\n", " "))


def passed(name: str, detail: str) -> Result:
    """Say that something is as it should be."""
    return Result(name, True, detail)


def noted(name: str, detail: str, mend: str) -> Result:
    """Say that something works, with a consequence."""
    return Result(name, True, detail, mend)


def failed(name: str, detail: str, mend: str) -> Result:
    """Say what is wrong, and how to mend it."""
    return Result(name, False, detail, mend)


def skipped(name: str, detail: str) -> Result:
    """Say why something was not looked at."""
    return Result(name, None, detail)


HIDDEN = "•••"


@dataclass(frozen=True)
class Context:
    """The active environment of a project, and the sources that are looked at."""

    project: Project
    sources: Sequence[Source]
    is_whole: bool
    """Whether all sources are looked at."""
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
    def metabase(self) -> Plugin:
        """The plugin that tells Metabase of the tables."""
        return self.project.plugins["dbt-metabase"]

    @property
    def dbt(self) -> Plugin:
        """The plugin that each source's own dbt commands inherit from."""
        return self.project.plugins["dbt-bigquery"]

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The variables that plugins see: the shell's, above those in .env."""
        return variables(self.root)

    @property
    def inherited(self) -> Mapping[str, str]:
        """The variables that a plugin of another Python environment is started with."""
        return {k: v for k, v in self.variables.items() if k != "PYTHONPATH"}

    @cached_property
    def plugins(self) -> Sequence[Plugin]:
        """The plugins that the sources need, each once."""
        needed = [source.extractor for source in self.sources]
        needed += [source.loader for source in self.sources]
        needed += [self.dbt, self.metabase, self.project.plugins["stack"]]
        return list({plugin.name: plugin for plugin in needed}.values())

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


def variables(root: Path) -> dict[str, str]:
    """Return the shell's variables, and those of .env that the shell doesn't set."""
    written = dotenv_values(root / ".env")
    return {name: value for name, value in written.items() if value is not None} | dict(os.environ)


def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret as it may turn up: plain, in an address, in an Authorization header."""
    header = base64.b64encode(f"{secret}:".encode()).decode()
    return secret, quote(secret, safe=""), header, *_password(secret)


def _password(address: str) -> tuple[str, ...]:
    """Return the password of a secret that is a URL, as written and as meant."""
    user, _, host = address.partition("://")[2].rpartition("@")
    password = user.partition(":")[2]
    return (password, unquote(password)) if host and password else ()
