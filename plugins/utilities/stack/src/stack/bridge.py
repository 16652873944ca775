"""What Meltano knows of this project, as JSON. Runs on Meltano's own Python, not on ours.

Meltano's command line shows the settings of one plugin at a time, a second each, and stops at the
first variable that isn't set. This asks the same services as the command line does, once. It reads
requests from standard input, each a line, and answers each with a line.
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
from meltano.core.plugin_invoker import PluginInvoker
from meltano.core.project import Project
from meltano.core.schedule import CRON_INTERVALS, is_valid_cron
from meltano.core.schedule_service import ScheduleService
from meltano.core.state_service import StateService
from meltano.core.task_sets_service import TaskSetsService
from meltano.core.utils import EnvironmentVariableNotSetError
from sqlalchemy import func

# This package, for these modules only: all else is Meltano's own.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from stack import killed_runs
from stack.streams import entry, state

sys.path.pop()


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request, in its environment."""
    project = Project.find()
    project.activate_environment(request["environment"])
    return OPERATIONS[request["operation"]](project, request)


def project_facts(project: Project, request: dict[str, Any]) -> dict[str, Any]:
    """Return plugins with their settings, jobs, schedules and, if asked for, states."""
    plugins = [plugin_facts(project, plugin) for plugin in project.plugins.plugins()]
    found = {
        # Read after the plugins: only then have its variables been replaced by their values.
        "state_id_suffix": project.environment.state_id_suffix if project.environment else None,
        "state_backend": project.settings.get("state_backend.uri"),
        "plugins": plugins,
        "jobs": {
            job.name: [task if isinstance(task, str) else " ".join(task) for task in job.tasks]
            for job in TaskSetsService(project).list_task_sets()
        },
        "schedules": {
            schedule.name: {
                "job": schedule.job,
                "interval": schedule.interval,
                "is_valid": schedule.interval in CRON_INTERVALS
                or is_valid_cron(str(schedule.interval)),
            }
            for schedule in ScheduleService(project).schedules()
        },
    }
    if request.get("states"):
        with state_service(project) as states:
            found["states"] = {name: states.get_state(name) for name in states.list_state()}
    return found


def plugin_facts(project: Project, plugin: ProjectPlugin) -> dict[str, Any]:
    """Return what a plugin is, and each of its settings."""
    service = PluginSettingsService(project, plugin)
    return {
        "type": str(plugin.type.value),
        "name": plugin.name,
        "parent": plugin.inherit_from,
        "namespace": plugin.namespace,
        "label": plugin.label,
        "pip_url": plugin.pip_url,
        "executable": str(PluginInvoker(project, plugin).exec_path()),
        "extras": extras(service),
        "settings": list(setting_facts(service)),
    }


def extras(service: PluginSettingsService) -> dict[str, Any]:
    """Return `select`, `load_schema` and the like, without the underscore that Meltano adds."""
    inherited = service.inherited_settings_service
    here = service.environment_plugin_config
    found = {**service.plugin.extra_config, **(here.extra_config if here else {})}
    return (extras(inherited) if inherited else {}) | {
        name.removeprefix("_"): value for name, value in found.items()
    }


def setting_facts(service: PluginSettingsService) -> Iterator[dict[str, Any]]:
    """Yield each setting's value, where it comes from, and the variable that it waits for."""
    for definition in service.definitions(extras=False):
        try:
            written, metadata = service.get_with_metadata(definition.name, expand_env_vars=False)
        except EnvironmentVariableNotSetError:
            # A mapping: Meltano fills in what is inside all the same, which has facts of its own.
            continue
        facts = {
            "name": definition.name,
            "sensitive": bool(definition.is_redacted),
            "written": written,
            "source": str(metadata["source"].value),
            "value": None,
            "variable": None,
        }
        try:
            facts["value"] = service.get(definition.name)
        except EnvironmentVariableNotSetError as error:
            facts["variable"] = error.env_var
        except ValueError:
            # A text, where the setting's kind is a number.
            pass
        yield facts


@contextlib.contextmanager
def state_service(project: Project) -> Iterator[StateService]:
    """Yield the service behind `meltano state`."""
    _, session_maker = project_engine(project)
    with session_maker() as session, StateService(project, session) as service:
        yield service


def change_states(project: Project, request: dict[str, Any]) -> dict[str, Any]:
    """Do what `stack.streams.state` does; say if another run came between."""
    with state_service(project) as states:
        try:
            return state.OPERATIONS[request["operation"]](states, request)
        except state.ChangedError:
            return {"is_changed": True}


def streams(project: Project, request: dict[str, Any]) -> dict[str, Any]:
    """Return an extractor's streams by its catalog, or why Meltano can't tell them."""
    try:
        plugin = extractor(project, request["extractor"])
        return {"streams": catalog_streams(project, plugin, request["catalog"])}
    except Exception as error:
        return {"error": in_words(error)}


def history(project: Project, request: dict[str, Any]) -> dict[str, Any]:
    """Return each extractor's catalog as its last run left it, and each state ID's last run."""
    plugins = [extractor(project, name) for name in request["extractors"]]
    return {
        "catalogs": {plugin.name: last_catalog(project, plugin) for plugin in plugins},
        "runs": dict(last_runs(project, request["environment"])),
    }


def extractor(project: Project, name: str) -> ProjectPlugin:
    """Return an extractor by its name."""
    return project.plugins.find_plugin(name, plugin_type=PluginType.EXTRACTORS)


def last_catalog(project: Project, plugin: ProjectPlugin) -> dict[str, Any] | None:
    """Return the streams of an extractor's last catalog; None if there is none yet."""
    path: Path = project.dirs.run(plugin.name) / plugin.config_files["catalog"]
    try:
        catalog = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return {
        "read_at": datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(),
        "streams": catalog_streams(project, plugin, catalog),
    }


def catalog_streams(
    project: Project, plugin: ProjectPlugin, catalog: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a catalog's streams after `schema`, `select` and `metadata`, as a run applies them."""
    settings = PluginSettingsService(project, plugin)
    visit(catalog, SchemaExecutor(config_schema_rules(settings.get("_schema"))))
    rules = [
        *select_metadata_rules(["!*.*"]),
        *select_metadata_rules(settings.get("_select")),
        *config_metadata_rules(settings.get("_metadata")),
    ]
    visit(catalog, MetadataExecutor(rules))
    selected = ListSelectedExecutor()
    visit(catalog, selected)
    properties = selected.selected_properties
    return [
        stream_facts(stream, properties.get(stream["tap_stream_id"]))
        for stream in catalog["streams"]
    ]


def stream_facts(stream: dict[str, Any], selected: set[str] | None) -> dict[str, Any]:
    """Return what a catalog says of a stream; `selected` are its properties, None for no stream."""
    properties = stream["schema"].get("properties") or {}
    return {
        "name": stream["tap_stream_id"],
        "method": entry.method_of(stream),
        "replication_key": entry.replication_key_of(stream),
        "valid_replication_keys": entry.root_metadata(stream).get("valid-replication-keys") or [],
        "keys": entry.keys_of(stream),
        "is_selected": selected is not None,
        "properties": properties,
        "selected": [name for name in properties if name in (selected or ())],
    }


def last_runs(project: Project, environment: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the last run of each state ID that this database has seen."""
    _, session_maker = project_engine(project)
    with session_maker() as session:
        runs = session.query(func.max(Job.id)).filter(
            Job.job_name.startswith(f"{environment}:", autoescape=True), Job._state != "STATE_EDIT"
        )
        last = runs.group_by(Job.job_name).scalar_subquery()
        for job in session.query(Job).filter(Job.id.in_(last)):
            facts = {
                "state": "STALE" if job.is_stale() else str(job.state),
                "started_at": job.started_at.isoformat() if job.started_at else None,
                "ended_at": job.ended_at.isoformat() if job.ended_at else None,
            }
            yield job.job_name, facts


def in_words(error: Exception) -> str:
    """Return an error as one line."""
    if isinstance(error, EnvironmentVariableNotSetError):
        return f"the variable {error.env_var} isn't set. Put it into .env."
    return f"{type(error).__name__}: {error}"


OPERATIONS = {
    "project": project_facts,
    "streams": streams,
    "history": history,
    "record_killed": killed_runs.record,
    **dict.fromkeys(state.OPERATIONS, change_states),
}

if __name__ == "__main__":
    # Meltano logs to standard output unless its command line has told it otherwise.
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            try:
                found = main(json.loads(line))
            except EnvironmentVariableNotSetError as error:
                sys.exit(in_words(error))
            print(json.dumps(found, default=str), file=answers, flush=True)
