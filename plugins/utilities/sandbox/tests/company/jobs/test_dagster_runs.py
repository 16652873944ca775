"""Runs that somebody starts on Dagster's page, and a Dagster that is killed meanwhile."""

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from local_servers.loopback import HOST, free_port

from ..stack import Stack

LOADER = "bin/target-bigquery-arrow"
PATIENCE_SECONDS = 240
LAUNCH = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
RUNS = "{ runsOrError { ... on Runs { results { runId rootRunId status } } } }"


@dataclass
class Dagster:
    """`dagster dev`, asked as its page asks."""

    stack: Stack
    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                self.stack.root / ".venv/bin/dagster-project",
                "dev",
                *("-h", HOST, "-p", f"{self.port}"),
            ],
            cwd=self.stack.root,
            env=self.stack.environment
            | {
                "DAGSTER_HOME": str(self.home),
                "DAGSTER_CHECK_SECONDS": "3600",
                "DAGSTER_RETRY_SECONDS": "1",
            },
            stdout=(self.home / "output.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        self.wait_until(lambda: self.ask("{ version }"))

    def kill(self) -> None:
        """End it and all that it has started, as a machine that loses its power does."""
        assert self.process
        parent = psutil.Process(self.process.pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        with contextlib.suppress(requests.ConnectionError):
            response = requests.post(
                f"http://{HOST}:{self.port}/graphql",
                json={"query": query, "variables": variables},
                timeout=60,
            )
            response.raise_for_status()
            data: dict[str, Any] = response.json()["data"]
            return data
        return {}

    def launch(self, job: str, **selected: Any) -> str:
        """Start a job, or some assets by `__ASSET_JOB`; return the run's id."""
        where = {"repositoryName": "__repository__", "repositoryLocationName": "data-stack"}
        run = {"selector": where | {"jobName": job} | selected.pop("selector", {}), **selected}
        started = self.ask(LAUNCH, run=run)["launchRun"]
        assert "run" in started, started
        return str(started["run"]["runId"])

    def runs(self, root: str) -> dict[str, str]:
        """Return how a run and its retries are, by their ids."""
        found = self.ask(RUNS)["runsOrError"]["results"]
        return {
            run["runId"]: run["status"] for run in found if root in (run["runId"], run["rootRunId"])
        }

    def wait_until(self, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, (self.home / "output.log").read_text()[-6000:]
            time.sleep(0.2)

    def loaders(self) -> list[psutil.Process]:
        assert self.process
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(part.endswith(LOADER) for part in process.cmdline()):
                    found.append(process)
        return found


@pytest.fixture(scope="module")
def dagster(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    # Dagster puts `.env` above the environment.
    variables = stack.root / ".env"
    limits = stack.root / "orchestrate" / "dagster.yaml"
    usual = {path: path.read_text() for path in (limits, variables)}
    waits = r"(poll_interval|free_slots_after_run_end)_seconds: \d+"
    limits.write_text(re.sub(waits, r"\1_seconds: 1", usual[limits]))
    variables.write_text("")
    dagster = Dagster(stack, tmp_path_factory.mktemp("dagster"), free_port())
    try:
        dagster.start()
        yield dagster
    finally:
        dagster.kill()
        for path, text in usual.items():
            path.write_text(text)


def test_one_stream_is_read_again_from_the_page(stack: Stack, dagster: Dagster) -> None:
    before = stack.positions()
    stack.query("update product.users set name = 'damaged' where true")
    stack.query("update product.workflows set enabled = not enabled where true")
    run = dagster.launch(
        "__ASSET_JOB",
        selector={"assetSelection": [{"path": ["product", "users"]}], "assetCheckSelection": []},
        runConfigData={"ops": {"product": {"config": {"resync": True}}}},
    )
    dagster.wait_until(lambda: dagster.runs(run)[run] in ("SUCCESS", "FAILURE"))
    assert dagster.runs(run) == {run: "SUCCESS"}
    assert set(stack.differences()) == {"workflows"}
    moved = {stream for stream, at in stack.positions().items() if at != before[stream]}
    assert moved <= {"public-users"}
    stack.meltano("invoke", "stack", "resync", "product", "workflows")
    assert stack.differences() == {}


def test_a_run_that_was_killed_with_dagster_is_marked_and_run_again(
    stack: Stack, dagster: Dagster
) -> None:
    stack.pass_day()
    run = dagster.launch("product_daily", runConfigData={})
    dagster.wait_until(dagster.loaders)
    dagster.kill()
    assert stack.differences()
    dagster.start()
    dagster.wait_until(lambda: "SUCCESS" in dagster.runs(run).values())
    statuses = dagster.runs(run)
    assert statuses.pop(run) == "FAILURE"
    assert list(statuses.values()) == ["SUCCESS"]
    assert stack.differences() == {}
