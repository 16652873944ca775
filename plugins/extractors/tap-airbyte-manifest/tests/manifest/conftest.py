from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
