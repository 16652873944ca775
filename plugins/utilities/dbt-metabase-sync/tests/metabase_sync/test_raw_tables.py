"""Metabase is told of raw tables by the names that the loader gives them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from dbt_metabase_sync import raw_tables


@pytest.mark.parametrize(
    ("config", "tables"),
    [
        ({}, ["_2nd_choice", "column_table_x", "sales_orders", "public_"]),
        ({"drop_stream_prefixes": []}, ["public_2nd_choice"]),
        ({"drop_stream_prefixes": ["sales-"]}, ["orders"]),
    ],
)
def test_tables_have_the_loaders_names(
    tmp_path: Path, config: dict[str, Any], tables: list[str]
) -> None:
    streams = ["public-2nd_choice", "public-_table_x", "sales-orders", "public-"]
    source = {
        "plugins": {
            "extractors": [{"name": "tap-shop", "load_schema": "shop"}],
            "loaders": [{"name": "target-shop", "config": config}],
        }
    }
    write(tmp_path / "extract/shop.meltano.yml", yaml.safe_dump(source))
    entries = [{"tap_stream_id": name, "selected": True, "metadata": []} for name in streams]
    catalog = tmp_path / ".meltano/run/tap-shop/tap.properties.json"
    write(catalog, json.dumps({"streams": entries}))
    (found,) = raw_tables.sources_without_staging(tmp_path)
    assert set(tables) <= found.streams.keys()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
