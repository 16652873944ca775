"""The project as Meltano sees it in the active environment: plugins, sources, jobs, states.

A source is one file, extract/<source>.meltano.yml, with one extractor, and others that
inherit from it. Its name is the file's.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml
from dotenv import dotenv_values
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.names import dataset_name

from stack import manifests, meltano
from stack.terminal import StackError

SUFFIX = ".meltano.yml"
SOURCE_NAME = re.compile("[a-z][a-z0-9_]*")
"""What a source can be called: its dataset is called so too."""
RESERVED = re.compile("dbt(_.*)?|information_schema|sandbox")
"""What it can't: dbt's own datasets, BigQuery's, and the sandbox's plugin."""
# As Meltano finds them: no other `$` means a variable, nor one behind a backslash.
REFERENCE = re.compile(r"(?<!\\)\$(?:\{(\w+)\}|([A-Z][A-Z0-9_]*))")


@dataclass(frozen=True)
class Setting:
    """One setting of a plugin."""

    name: str
    value: Any
    """As the plugin gets it; None where a variable isn't set."""
    written: Any
    """As it is written down, variables and all."""
    source: str
    """Where it is written: `env`, `dotenv`, `meltano_environment`, `meltano_yml`, `inherited`…"""
    sensitive: bool
    variable: str | None
    """The variable that it refers to and that isn't set."""


@dataclass(frozen=True)
class Plugin:
    """An extractor, loader, transformer or utility."""

    type: str
    name: str
    parent: str | None
    namespace: str
    label: str
    pip_url: str | None
    executable: str
    """Its path; it is there once the plugin is installed."""
    extras: Mapping[str, Any]
    """`select`, `metadata`, `load_schema` and the like."""
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Make a plugin of what Meltano says about it."""
        settings = {setting["name"]: Setting(**setting) for setting in facts["settings"]}
        return cls(**{**facts, "settings": settings})

    def config(self) -> dict[str, Any]:
        """Return the settings that have a value, objects as the plugin gets them."""
        found: dict[str, Any] = {}
        for setting in self.settings.values():
            if setting.value is not None:
                _nest(found, setting.name, setting.value)
        return found

    @property
    def program(self) -> str:
        """The name of its executable: our own taps are known by it."""
        return Path(self.executable).name

    @property
    def installed(self) -> str:
        """Its executable's path, once it is installed."""
        if not Path(self.executable).exists():
            raise StackError(f"{self.name} isn't installed. Run `make setup`.")
        return self.executable

    def variable(self, setting: str) -> str:
        """Return the variable by which Meltano takes a setting; extras begin with `_`."""
        return re.sub(r"[^A-Z0-9]", "_", f"{self.name}_{setting}".upper())

    def where(self, name: str) -> str:
        """Return where the value of a setting is to be corrected, in words."""
        setting = self.settings.get(name)
        found = list(references(setting.written)) if setting else []
        return f"`{found[0]}` in .env" if found else f"`{name}` of {self.name}"


@dataclass(frozen=True)
class Source:
    """One file in extract/: where data comes from, and where it goes."""

    name: str
    file: Path
    extractor: Plugin
    loader: Plugin
    dataset: str
    """The raw dataset in this environment: a developer's own in `dev`."""
    state_id: str
    job: str | None
    interval: str | None


class Project:
    """What Meltano knows, asked once."""

    def __init__(self, *, states: bool = False, session: meltano.Session | None = None) -> None:
        self.root = meltano.root()
        self.environment = meltano.environment()
        self.ask = session.ask if session else meltano.ask
        self._states = states

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What `stack.bridge` has found."""
        request = {"operation": "project", "states": self._states}
        failing = f"Meltano can't read {self.root / 'meltano.yml'}"
        return self.ask(request | {"environment": self.environment}, failing=failing)

    @property
    def variables(self) -> dict[str, str]:
        """The variables that plugins see: the shell's, above those in .env."""
        found = {**dotenv_values(self.root / ".env"), **os.environ}
        return {name: value for name, value in found.items() if value is not None}

    @cached_property
    def plugins(self) -> Mapping[str, Plugin]:
        """All plugins by name."""
        found = [Plugin.from_facts(plugin) for plugin in self.facts["plugins"]]
        return {plugin.name: manifests.with_secrets(plugin, self.root) for plugin in found}

    @property
    def loader(self) -> Plugin:
        """The loader that each source's own inherits from."""
        return self.plugins["target-bigquery"]

    @cached_property
    def sources(self) -> Mapping[str, Source]:
        """All sources by name."""
        return {source.name: source for source in self._find_sources()}

    def source(self, name: str) -> Source:
        """Return one source."""
        if name not in self.sources:
            there = ", ".join(sorted(self.sources))
            message = f"No source '{name}': there is no extract/{name}{SUFFIX}. There are: {there}."
            raise StackError(message)
        return self.sources[name]

    def state(self, source: Source) -> dict[str, Any]:
        """Return the state that a source's next run begins with; asked for by `states=True`."""
        found: dict[str, Any] = self.facts["states"].get(source.state_id) or {}
        singer: dict[str, Any] = found.get("singer_state") or {}
        return singer

    def _find_sources(self) -> Iterator[Source]:
        for file in sorted((self.root / "extract").glob(f"*{SUFFIX}")):
            written = yaml.safe_load(file.read_text()) or {}
            extractors = written.get("plugins", {}).get("extractors") or []
            if not extractors:
                continue
            extractor = self.plugins[extractors[0]["name"]]
            job, loader = self._job_of(extractor)
            suffix = self.facts["state_id_suffix"]
            state_id = f"{self.environment}:{extractor.name}-to-{loader.name}"
            schedules = self.facts["schedules"].values()
            yield Source(
                name=file.name.removesuffix(SUFFIX),
                file=file,
                extractor=extractor,
                loader=loader,
                dataset=raw_dataset(extractor, loader),
                state_id=f"{state_id}:{suffix}" if suffix else state_id,
                job=job,
                interval=next((s["interval"] for s in schedules if s["job"] == job), None),
            )

    def _job_of(self, extractor: Plugin) -> tuple[str | None, Plugin]:
        """Return the job that runs an extractor, and the loader that it feeds there."""
        for job, tasks in self.facts["jobs"].items():
            for task in tasks:
                match task.split():
                    case [extractor.name, *_, loader] if loader in self.plugins:
                        return job, self.plugins[loader]
        return None, self.loader


def references(written: Any) -> Iterator[str]:
    """Yield the variables that a setting refers to, as it is written."""
    match written:
        case str():
            yield from (found[1] or found[2] for found in REFERENCE.finditer(written))
        case dict():
            for value in written.values():
                yield from references(value)
        case list():
            for value in written:
                yield from references(value)


def variable_name(source: str, *words: str) -> str:
    """Return the variable in .env of what a source needs: upper case, the source's name first."""
    return re.sub(r"[^A-Z0-9]+", "_", "_".join([source, *words]).upper())


def raw_dataset(extractor: Plugin, loader: Plugin) -> str:
    """Return the dataset that a loader puts an extractor's streams into."""
    config = loader.config()
    try:
        return dataset_name(
            str(config.get("dataset") or extractor.extras.get("load_schema")),
            config.get("developer"),
        )
    except LoadError as error:
        raise StackError(f"Loader '{loader.name}': {error}") from error


def _nest(config: dict[str, Any], name: str, value: Any) -> None:
    r"""Put a value where its name says: Meltano has `{a: {b: 1}}` as `a.b`, and a dot as `\.`."""
    *path, last = (part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", name))
    for part in path:
        config = config.setdefault(part, {})
    if isinstance(value, dict) and value:
        inner = config.setdefault(last, {})
        for key, item in value.items():
            _nest(inner, key, item)
    else:
        config[last] = value
