"""What the dbt project promises, beyond the data tests that every build runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from .stack import Stack

pytestmark = pytest.mark.usefixtures("every_source")


def manifest(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (Path(stack.environment["DBT_TARGET_PATH"]) / "manifest.json").read_text()
    )
    return found


def test_the_logic_that_can_be_wrong_is_right(stack: Stack) -> None:
    output = stack.meltano("invoke", "dbt-bigquery", "test", "--select", "test_type:unit")
    found = manifest(stack)
    hooks = [node for node in found["nodes"].values() if node["resource_type"] == "operation"]
    passed = len(found["unit_tests"]) + len(hooks)
    assert f"PASS={passed} WARN=0 ERROR=0 SKIP=0" in output


def test_docs_have_a_catalog_of_every_model(stack: Stack) -> None:
    stack.meltano("invoke", "dbt-bigquery:docs-generate")
    target = Path(stack.environment["DBT_TARGET_PATH"])
    catalog = json.loads((target / "catalog.json").read_text())
    nodes = manifest(stack)["nodes"]
    models = {key for key, node in nodes.items() if node["resource_type"] == "model"}
    assert catalog["errors"] is None
    assert catalog["nodes"].keys() == models


def test_every_model_and_column_is_described_for_people(stack: Stack) -> None:
    nodes = manifest(stack)["nodes"].values()
    models = [node for node in nodes if node["resource_type"] == "model"]
    undescribed = [
        f"{model['name']}.{name}"
        for model in models
        for name, column in model["columns"].items()
        if len(column["description"].split()) < 2
    ]
    assert undescribed == []


def test_every_column_has_the_type_that_its_description_says(stack: Stack) -> None:
    columns = stack.query(
        "select table_name, column_name, data_type from dbt.INFORMATION_SCHEMA.COLUMNS"
    )
    found: dict[str, dict[str, str]] = {}
    for row in columns:
        found.setdefault(row["table_name"], {})[row["column_name"]] = row["data_type"].lower()
    declared = {
        node["name"]: {name: column["data_type"] for name, column in node["columns"].items()}
        for node in manifest(stack)["nodes"].values()
        if node["resource_type"] == "model"
    }
    assert found == declared
