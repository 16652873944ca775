"""What a run tells the stack's own commands, which it starts: in the variables `STACK_…`.

Meltano knows the settings of the loader, and it takes a second of CPU to start. Here it has
started already: `stack:guard` and `stack run-ended` needn't start it again.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from meltano.core.plugin.base import PluginType
from meltano.core.plugin.project_plugin import ProjectPlugin
from meltano.core.plugin.settings_service import PluginSettingsService
from meltano.core.project import Project
from meltano.core.task_sets_service import TaskSetsService

RUN_ID = "MELTANO_RUN_ID"
RUN = "STACK_RUN"
BLOCK = "STACK_RUN_BLOCK"
STACK = Path("utilities/stack/venv/bin/stack")
WAREHOUSE = (
    "project",
    "location",
    "api_endpoint",
    "anonymous",
    "credentials_path",
    "developer",
    "ledger_dataset",
    "lock_dataset",
)
RECORD_SECONDS = 120


def name_run() -> None:
    """Give the run an ID that Meltano and all that it starts will use, unless it has one."""
    os.environ.setdefault(RUN_ID, str(uuid.uuid4()))


class HandOver:
    """The run, for `stack`.

    Args:
        arguments: what Meltano was called with.
        log: the run's log file. A file beside it tells, until the run has ended, that it runs.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        """Begin a run."""
        self._project = Project.find()
        self._file = log.with_suffix(".json")
        process = psutil.Process()
        words = list(arguments[arguments.index("run") + 1 :])
        blocks = list(self._blocks(words))
        loader = next((block["loader"] for block in blocks if "loader" in block), None)
        self.run = {
            "run_id": os.environ.get(RUN_ID),
            "arguments": " ".join(word for word in words if not word.startswith("-")),
            "environment": self._project.environment and self._project.environment.name,
            "started_at": datetime.now(UTC).isoformat(),
            "process": {"pid": process.pid, "started": process.create_time()},
            "log": str(log),
            "blocks": blocks,
            "warehouse": self._warehouse(loader),
        }
        text = json.dumps(self.run)
        os.environ[RUN], os.environ[BLOCK] = text, "0"
        self._file.touch(mode=0o600)
        self._file.write_text(text)

    def next_block(self) -> None:
        """Note that a block has ended."""
        os.environ[BLOCK] = str(int(os.environ[BLOCK]) + 1)

    def end(self, outcome: dict[str, Any]) -> str:
        """Tell `stack` how the run has ended; return what it says."""
        stack = Path(self._project.sys_dir_root) / STACK
        self._file.unlink(missing_ok=True)
        if not stack.is_file():
            return ""
        done = subprocess.run(  # noqa: S603 - our own
            [stack, "run-ended"],
            cwd=self._project.root,
            env={**self._project.dotenv_env, **os.environ},
            input=json.dumps(self.run | outcome),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RECORD_SECONDS,
            check=False,
        )
        return done.stdout

    def _blocks(self, words: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the blocks that Meltano makes of the arguments: commands, and taps with loaders."""
        extractor: ProjectPlugin | None = None
        for name in self._names(words):
            if found := self._plugin(PluginType.EXTRACTORS, name):
                extractor = found
            elif extractor and (loader := self._plugin(PluginType.LOADERS, name)):
                schema = PluginSettingsService(self._project, extractor).get("_load_schema")
                # The variable is Meltano's own, while a loader runs.
                variables = {"MELTANO_EXTRACT__LOAD_SCHEMA": str(schema or "")}
                service = PluginSettingsService(self._project, loader, env_override=variables)
                yield {
                    "extractor": extractor.name,
                    "loader": name,
                    "dataset": service.get("dataset"),
                }
                extractor = None
            elif not extractor:
                yield {"command": name}

    def _names(self, words: Sequence[str]) -> Iterator[str]:
        jobs = {job.name: job.tasks for job in TaskSetsService(self._project).list_task_sets()}
        for word in words:
            if word in jobs:
                for task in jobs[word]:
                    yield from task.split() if isinstance(task, str) else task
            elif not word.startswith("-"):
                yield word

    def _plugin(self, kind: PluginType, name: str) -> ProjectPlugin | None:
        plugins = self._project.plugins.get_plugins_of_type(kind)
        return next((plugin for plugin in plugins if plugin.name == name), None)

    def _warehouse(self, name: str | None) -> dict[str, Any]:
        """Return where the loader of the run, or the first that has a ledger, writes to."""
        loaders = self._project.plugins.get_plugins_of_type(PluginType.LOADERS)
        for loader in sorted(loaders, key=lambda loader: loader.name != name):
            service = PluginSettingsService(self._project, loader)
            found = {setting: service.get(setting) for setting in WAREHOUSE}
            if found["ledger_dataset"]:
                return found
        return {}
