"""The tap and target-bigquery-arrow: what an API has is in BigQuery."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest
from local_servers.emulator import PROJECT, Emulator, running_emulator
from local_servers.fixtures import process_as_it_was
from target_bigquery_arrow.target import TargetBigQueryArrow

from . import manifests
from .api import Api
from .manifests import source, stream
from .singer import Tap

__all__ = ["process_as_it_was"]

MakeTap = Callable[..., Tap]


def load(emulator: Emulator, messages: bytes) -> dict[str, Any]:
    """Load messages; return the state that comes out."""
    config = {"project": PROJECT, "dataset": "shop", "api_endpoint": emulator.endpoint}
    states = io.BytesIO()
    output = io.TextIOWrapper(states, write_through=True)
    with (
        redirect_stdout(output),
        TargetBigQueryArrow(config=config | {"anonymous": True}) as target,
    ):
        target.listen(io.BytesIO(messages))
    state: dict[str, Any] = json.loads(states.getvalue().splitlines()[-1])
    return state


@pytest.fixture
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.mark.usefixtures("process_as_it_was")
def test_what_the_api_has_is_in_bigquery(api: Api, tap: MakeTap, emulator: Emulator) -> None:
    types = {name: manifests.TYPES[name] for name in ("id", "amount", "updated_at")}
    api.items[1]["amount"] = "a lot"
    extractor = tap(source(stream(paginator=manifests.OFFSETS, types=types)))
    # As Meltano starts it.
    command = [sys.executable, "-m", "tap_airbyte_manifest", *extractor.arguments()]
    written = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    state = load(emulator, written)
    api.items[2]["name"] = "Renamed"
    del api.items[3]
    extractor.sync(state)
    load(emulator, extractor.written.encode())

    query = """
        select id, amount, json_value(amount__json) as odd, json_value(name) as name, updated_at,
            _sdc_deleted_at is not null as deleted
        from shop.items where id <= 4 order by id
    """
    rows = [tuple(row.values()) for row in emulator.client().query_and_wait(query)]
    assert [(row[0], row[1], row[2], row[3], row[5]) for row in rows] == [
        (1, None, "a lot", "Item 1", False),
        (2, 3.0, None, "Renamed", False),
        (3, 4.5, None, "Item 3", True),
        (4, 6.0, None, "Item 4", False),
    ]
    assert rows[0][4].isoformat() == "2024-01-02T00:00:00+00:00"
    schema = emulator.client().get_table("shop.items").schema
    assert {
        "id": "INTEGER",
        "amount": "FLOAT",
        "updated_at": "TIMESTAMP",
        "tags": "JSON",
    }.items() <= {field.name: field.field_type for field in schema}.items()
