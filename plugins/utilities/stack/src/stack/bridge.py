"""What Meltano knows of this project, as JSON. Runs on Meltano's own Python, not on ours.

Meltano's command line tells the settings of one plugin at a time, a second each, and stops at the
first variable that isn't set. This asks the same services as the command line does, once.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from meltano.core.db import project_engine
from meltano.core.plugin.project_plugin import ProjectPlugin
from meltano.core.plugin.settings_service import PluginSettingsService
from meltano.core.plugin_invoker import PluginInvoker
from meltano.core.project import Project
from meltano.core.schedule_service import ScheduleService
from meltano.core.state_service import StateService
from meltano.core.task_sets import TaskSets
from meltano.core.task_sets_service import TaskSetsService
from meltano.core.utils import EnvironmentVariableNotSetError


def main(environment: str, *, states: bool) -> dict[str, Any]:
    """Return plugins with their settings, jobs, schedules and, if asked for, states."""
    project = Project.find()
    project.activate_environment(environment)
    plugins = [plugin_facts(project, plugin) for plugin in project.plugins.plugins()]
    found = {
        "environment": environment,
        # Its variable stands in it until some plugin's settings have been read.
        "state_id_suffix": project.environment.state_id_suffix if project.environment else None,
        "state_backend": project.settings.get("state_backend.uri"),
        "plugins": plugins,
        "jobs": {
            task_set.name: tasks(task_set) for task_set in TaskSetsService(project).list_task_sets()
        },
        "schedules": {
            schedule.name: {"job": schedule.job, "interval": schedule.interval}
            for schedule in ScheduleService(project).schedules()
        },
    }
    if states:
        found["states"] = dict(state_facts(project))
    return found


def tasks(job: TaskSets) -> list[str]:
    """Return a job's tasks, each as it stands in the file."""
    return [task if isinstance(task, str) else " ".join(task) for task in job.tasks]


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
        "annotations": getattr(plugin, "annotations", None) or {},
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
        facts = {
            "name": definition.name,
            "sensitive": bool(definition.is_redacted),
            "variable": None,
        }
        written, metadata = service.get_with_metadata(definition.name, expand_env_vars=False)
        facts |= {"written": written, "source": str(metadata["source"].value)}
        try:
            facts["value"] = service.get(definition.name)
        except EnvironmentVariableNotSetError as error:
            facts |= {"value": None, "variable": error.env_var}
        except ValueError:
            # A text, where the setting's kind is a number.
            facts["value"] = None
        yield facts


def state_facts(project: Project) -> Iterator[tuple[str, Any]]:
    """Yield each state ID with its state."""
    _, session_maker = project_engine(project)
    with session_maker() as session:
        service = StateService(project, session)
        for state_id in service.list_state():
            yield state_id, service.get_state(state_id)


if __name__ == "__main__":
    # Meltano logs to standard output unless its command line has told it otherwise.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            found = main(sys.argv[1], states="--states" in sys.argv)
        except EnvironmentVariableNotSetError as error:
            sys.exit(f"the variable {error.env_var} isn't set. Put it into .env.")
    json.dump(found, sys.stdout, default=str)
