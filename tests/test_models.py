"""What people read of the dbt project is there, whatever its models are."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What dbt knows of each model, without a warehouse."""
    target = tmp_path_factory.mktemp("dbt")
    done = subprocess.run(
        [ROOT / ".venv/bin/meltano", "--environment=local", "invoke", "dbt-bigquery", "parse"],
        cwd=ROOT,
        env=os.environ | {"DBT_TARGET_PATH": str(target), "DBT_LOG_PATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = json.loads((target / "manifest.json").read_text())["nodes"].values()
    return [node for node in nodes if node["resource_type"] == "model"]


def test_every_model_and_column_is_described_for_people(models: list[dict[str, Any]]) -> None:
    assert models
    assert [model["name"] for model in models if not model["description"]] == []
    undescribed = [
        f"{model['name']}.{name}"
        for model in models
        for name, column in model["columns"].items()
        if len(column["description"].split()) < 2
    ]
    assert undescribed == []


def test_every_column_says_its_type(models: list[dict[str, Any]]) -> None:
    assert [model["name"] for model in models if not model["columns"]] == []
    untyped = [
        f"{model['name']}.{name}"
        for model in models
        for name, column in model["columns"].items()
        if not column["data_type"]
    ]
    assert untyped == []
