"""What definitions are made of: the project's files, asked for once, as plain data."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from run_ledger.ops import Ops
from stack import meltano
from stack.project import Plugin, Project, Source
from stack.streams.catalog import RunHistory, destinations, discover
from stack.terminal import StackError

DBT = "dbt-bigquery"
METABASE = "dbt-metabase"


@dataclass(frozen=True)
class RawSource:
    """A file in extract/, and the raw tables that it loads."""

    name: str
    label: str
    dataset: str
    extractors: Sequence[str]
    loader: str
    tables: Sequence[str]
    streams: Mapping[str, str]
    """The stream of each table, where a catalog tells."""

    @property
    def tasks(self) -> list[str]:
        """Return what `meltano run` is told to load it."""
        return [f"{self.extractors[0]} {self.loader}"]


@dataclass(frozen=True)
class Snapshot:
    """The project when its definitions were loaded. It holds no secret: Dagster keeps it."""

    sources: Sequence[RawSource]
    jobs: Mapping[str, Sequence[str]]
    """The tasks of each job."""
    schedules: Mapping[str, tuple[str, str]]
    """The job and the interval of each schedule."""
    loader: Mapping[str, Any]
    """How to reach the warehouse, as `Plugin.from_facts` takes it."""
    ledger: str | None
    metabase: bool
    """Whether there is one in this environment."""

    @classmethod
    def take(cls) -> Self:
        """Ask Meltano and dbt.

        Raises:
            StackError: Meltano can't read the project, or dbt can't.
        """
        project = Project()
        parse()
        declared = _declared(manifest())
        history = RunHistory(list(project.sources.values()))
        facts = next(p for p in project.facts["plugins"] if p["name"] == project.loader.name)
        ops = Ops(project.loader.config())
        metabase = project.plugins.get(METABASE)
        return cls(
            sources=[
                _raw_source(project, source, history, declared.get(source.name, ()))
                for source in project.sources.values()
            ],
            jobs=project.facts["jobs"],
            schedules={
                name: (schedule["job"], schedule["interval"])
                for name, schedule in project.facts["schedules"].items()
                if schedule["job"] and schedule["is_valid"]
            },
            loader={**facts, "settings": [s for s in facts["settings"] if not s["sensitive"]]},
            ledger=ops.dataset if ops.settings.get("ledger_dataset") else None,
            metabase=bool(metabase and metabase.config().get("url")),
        )

    def dumps(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def loads(cls, text: str) -> Self:
        """Return what `dumps` was given."""
        found = json.loads(text)
        return cls(**{**found, "sources": [RawSource(**source) for source in found["sources"]]})

    @property
    def warehouse(self) -> Plugin:
        """The loader, with the settings by which `stack.warehouse.connect` finds BigQuery."""
        return Plugin.from_facts(self.loader)


def target() -> Path:
    """Return the folder that dbt writes to."""
    return Path(os.environ.get("DBT_TARGET_PATH") or meltano.root() / "transform" / "target")


def manifest() -> dict[str, Any]:
    """Return dbt's manifest."""
    found: dict[str, Any] = json.loads((target() / "manifest.json").read_text())
    return found


def parse() -> None:
    """Let dbt write its manifest, if a file of the dbt project is newer.

    Raises:
        StackError: dbt can't read the project.
    """
    path = target() / "manifest.json"
    made = path.stat().st_mtime if path.exists() else 0.0
    folder = meltano.root() / "transform"
    parts = ("models", "macros", "tests", "snapshots", "seeds", "dbt_project.yml")
    if any(file.stat().st_mtime > made for part in parts for file in _files(folder / part)):
        meltano.output("invoke", DBT, "parse")


def _files(path: Path) -> list[Path]:
    return [path, *path.rglob("*")] if path.exists() else []


def _declared(found: Mapping[str, Any]) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    for table in found["sources"].values():
        tables.setdefault(table["source_name"], []).append(table["name"])
    return tables


def _raw_source(
    project: Project, source: Source, history: RunHistory, declared: Sequence[str]
) -> RawSource:
    """Return the tables of a source: by its catalog; else by dbt; else the source is asked."""
    catalog = history.catalog(source)
    if catalog is None and not declared:
        try:
            discover(source)
            catalog = RunHistory([source]).catalog(source)
        except StackError:  # unreachable, or not set up yet: it is known once it has run
            catalog = None
    streams = {
        destination.table: stream.name
        for stream in (catalog.selected if catalog else ())
        for destination in destinations(stream, source.loader)
    }
    children = [p.name for p in project.plugins.values() if p.parent == source.extractor.name]
    return RawSource(
        name=source.name,
        label=source.extractor.label,
        dataset=source.dataset,
        extractors=[source.extractor.name, *children],
        loader=source.loader.name,
        tables=sorted(streams or declared),
        streams=streams,
    )
