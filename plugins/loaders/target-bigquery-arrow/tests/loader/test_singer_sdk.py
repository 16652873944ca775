"""The loader passes the Singer SDK's standard tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from local_servers.emulator import PROJECT, Emulator
from singer_sdk.testing import get_target_test_class
from target_bigquery_arrow.target import TargetBigQueryArrow

# Where the emulator listens is known only when a test runs.
CONFIG: dict[str, Any] = {"project": PROJECT, "dataset": "singer_sdk", "anonymous": True}


@pytest.fixture(autouse=True)
def emulated(emulator: Emulator) -> Iterator[None]:
    CONFIG["api_endpoint"] = emulator.endpoint
    yield


TestTarget = get_target_test_class(TargetBigQueryArrow, config=CONFIG)
