import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airbyte_cdk.sources.declarative.async_job.job_orchestrator import AsyncJobOrchestrator

from .api import Api, served
from .singer import Tap


@pytest.fixture
def api() -> Iterator[Api]:
    with served(Api()) as running:
        yield running


@pytest.fixture
def tap(api: Api, tmp_path: Path) -> Callable[..., Tap]:
    def make(manifest: Any, config: dict[str, Any] | None = None, **settings: Any) -> Tap:
        given = {
            "url": api.url,
            "api_key": "key-of-the-api",
            "tokens": {"refresh_token": "first-refresh-token"},
        }
        return Tap(tmp_path, manifest, given | (config or {}), **settings)

    return make


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask at once for the state of a job, and wait for a hundredth of the time before a retry."""
    monkeypatch.setattr(AsyncJobOrchestrator, "_WAIT_TIME_BETWEEN_STATUS_UPDATE_IN_SECONDS", 0.01)
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(seconds / 100))


@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a run in this process keeps open as long as that lives goes with the test's folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
