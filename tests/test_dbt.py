"""What the dbt project promises, beyond the data tests that every build runs."""

import json
from pathlib import Path

import pytest

from .stack import Stack

pytestmark = pytest.mark.usefixtures("first_run")


def test_the_logic_that_can_be_wrong_is_right(stack: Stack) -> None:
    output = stack.meltano("invoke", "dbt-bigquery", "test", "--select", "test_type:unit")
    assert "PASS=6 WARN=0 ERROR=0" in output


def test_docs_have_a_catalog_of_every_model(stack: Stack) -> None:
    stack.meltano("invoke", "dbt-bigquery:docs-generate")
    target = Path(stack.environment["DBT_TARGET_PATH"])
    catalog = json.loads((target / "catalog.json").read_text())
    manifest = json.loads((target / "manifest.json").read_text())
    models = {key for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    assert catalog["errors"] is None
    assert catalog["nodes"].keys() == models


def test_every_model_and_column_is_described_for_people(stack: Stack) -> None:
    target = Path(stack.environment["DBT_TARGET_PATH"])
    manifest = json.loads((target / "manifest.json").read_text())
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    undescribed = [
        f"{model['name']}.{name}"
        for model in models
        for name, column in model["columns"].items()
        if len(column["description"].split()) < 2
    ]
    assert undescribed == []
    for model in models:
        dataset, table = model["schema"], model["name"]
        columns = stack.query(
            f"select column_name from {dataset}.INFORMATION_SCHEMA.COLUMNS "
            f"where table_name = '{table}'"
        )
        assert {row["column_name"] for row in columns} == model["columns"].keys()
