"""Catalogs and the history of runs, as JSON. Runs on Meltano's own Python, like `stack.bridge`.

A catalog is the one that the last run has left behind, with today's `select`, `metadata` and
`schema` applied to it by Meltano's own rules: the source isn't asked.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meltano.core.db import project_engine
from meltano.core.job.job import Job
from meltano.core.plugin.base import PluginType
from meltano.core.plugin.project_plugin import ProjectPlugin
from meltano.core.plugin.settings_service import PluginSettingsService
from meltano.core.plugin.singer.catalog import (
    ListSelectedExecutor,
    MetadataExecutor,
    SchemaExecutor,
    select_metadata_rules,
    visit,
)
from meltano.core.plugin.singer.tap import config_metadata_rules, config_schema_rules
from meltano.core.project import Project
from sqlalchemy import func


def main(environment: str, extractors: list[str]) -> dict[str, Any]:
    """Return each extractor's catalog, and each state ID's last run."""
    project = Project.find()
    project.activate_environment(environment)
    plugins = [
        project.plugins.find_plugin(name, plugin_type=PluginType.EXTRACTORS) for name in extractors
    ]
    return {
        "catalogs": {plugin.name: catalog_facts(project, plugin) for plugin in plugins},
        "runs": dict(run_facts(project, environment)),
    }


def catalog_facts(project: Project, plugin: ProjectPlugin) -> dict[str, Any] | None:
    """Return the streams of an extractor's last catalog; None where there is none yet."""
    path: Path = project.dirs.run(plugin.name) / plugin.config_files["catalog"]
    try:
        catalog = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    apply_rules(catalog, PluginSettingsService(project, plugin))
    selected = ListSelectedExecutor()
    visit(catalog, selected)
    properties = selected.selected_properties
    return {
        "read_at": datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(),
        "streams": [
            stream_facts(stream, properties.get(stream["tap_stream_id"]))
            for stream in catalog["streams"]
        ],
    }


def apply_rules(catalog: dict[str, Any], settings: PluginSettingsService) -> None:
    """Apply what the extractor's `schema`, `select` and `metadata` say, as a run does."""
    visit(catalog, SchemaExecutor(config_schema_rules(settings.get("_schema"))))
    rules = [
        *select_metadata_rules(["!*.*"]),
        *select_metadata_rules(settings.get("_select")),
        *config_metadata_rules(settings.get("_metadata")),
    ]
    visit(catalog, MetadataExecutor(rules))


def stream_facts(stream: dict[str, Any], selected: set[str] | None) -> dict[str, Any]:
    """Return what a catalog says of a stream; `selected` are its properties, None for no stream."""
    root: dict[str, Any] = next(
        (entry["metadata"] for entry in stream.get("metadata", []) if not entry["breadcrumb"]), {}
    )
    keys = root.get("valid-replication-keys") or []
    properties = stream["schema"].get("properties") or {}
    return {
        "name": stream["tap_stream_id"],
        "method": root.get("replication-method")
        or root.get("forced-replication-method")
        or stream.get("replication_method"),
        "replication_key": root.get("replication-key")
        or stream.get("replication_key")
        or (keys[0] if len(keys) == 1 else None),
        "keys": root.get("table-key-properties") or stream.get("key_properties") or [],
        "is_selected": selected is not None,
        "properties": properties,
        "selected": [name for name in properties if name in (selected or ())],
    }


def run_facts(project: Project, environment: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the last run of each state ID that this database has seen."""
    _, session_maker = project_engine(project)
    with session_maker() as session:
        runs = session.query(func.max(Job.id)).filter(
            Job.job_name.startswith(f"{environment}:", autoescape=True), Job._state != "STATE_EDIT"
        )
        last = runs.group_by(Job.job_name).scalar_subquery()
        for job in session.query(Job).filter(Job.id.in_(last)):
            yield (
                job.job_name,
                {
                    "state": "STALE" if job.is_stale() else str(job.state),
                    "started_at": job.started_at.isoformat() if job.started_at else None,
                    "ended_at": job.ended_at.isoformat() if job.ended_at else None,
                },
            )


if __name__ == "__main__":
    # Meltano logs to standard output unless its command line has told it otherwise.
    with contextlib.redirect_stdout(sys.stderr):
        found = main(sys.argv[1], sys.argv[2:])
    json.dump(found, sys.stdout, default=str)
