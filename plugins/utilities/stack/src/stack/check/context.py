"""What all checks share: the project, its variables, and the secrets that nobody may see."""

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
