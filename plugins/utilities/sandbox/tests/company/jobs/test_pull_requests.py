"""What a pull request builds, in a dataset of its own; what deployment and the daily run do."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ..stack import ROOT, Stack, copy_of_the_project

CHANGED = "models/staging/product/stg_product__workflows.sql"
DEPENDENT = "dim_organisations"
Script = Callable[..., subprocess.CompletedProcess[str]]


def scripts(root: Path, environment: dict[str, str]) -> Script:
    """A function that runs one of a project's scripts."""

    def run(name: str, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [root / "orchestrate" / "ci" / name, *arguments],
            env=environment | changed,
            capture_output=True,
            text=True,
        )

    return run


def test_only_what_changes_is_built_and_beside_production(stack: Stack, tmp_path: Path) -> None:
    shutil.copy(Path(stack.environment["DBT_TARGET_PATH"]) / "manifest.json", tmp_path)
    manifest = str(tmp_path / "manifest.json")
    root = copy_of_the_project(tmp_path / "project")
    script = scripts(
        root,
        stack.environment
        | {
            "MELTANO_ENVIRONMENT": "local",
            "DBT_TARGET_PATH": str(tmp_path / "dbt"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        },
    )

    def tables(dataset: str) -> set[str]:
        rows = stack.query(f"select table_name from {dataset}.INFORMATION_SCHEMA.TABLES")
        return {row["table_name"] for row in rows}

    def workflows(dataset: str) -> list[dict[str, Any]]:
        return stack.query(f"select * from {dataset}.stg_product__workflows order by id")

    before = tables("dbt"), workflows("dbt"), stack.organisations()
    model = root / "transform" / CHANGED
    sql = model.read_text()
    assert sql.count("\n        name,\n") == 1
    model.write_text(sql.replace("\n        name,\n", "\n        upper(name) as name,\n"))
    # An earlier commit of the branch has built this one; by now it is as on main again.
    stack.query("create schema dbt_pr_7")
    stack.query("create table dbt_pr_7.stg_product__users as select '' as id limit 0")

    done = script("changed.sh", "dbt_pr_7", manifest)
    assert done.returncode == 0, done.stdout[-4000:]
    assert tables("dbt_pr_7") == {"stg_product__users", "stg_product__workflows", DEPENDENT}
    assert workflows("dbt_pr_7") == [row | {"name": row["name"].upper()} for row in before[1]]
    assert stack.organisations("dbt_pr_7") == before[2]
    assert (tables("dbt"), workflows("dbt"), stack.organisations()) == before
    summary = (tmp_path / "summary.md").read_text()
    assert "### dbt: 2 models built" in summary
    assert f"| ✓ | `local.dbt_pr_7.{DEPENDENT}` |" in summary

    for name in ("dbt", "product", "dbt_lawrence", "dbt_pr_7_", "dbt_pr_"):
        refused = script("drop.sh", name)
        assert refused.returncode == 1
        assert f"'{name}' isn't the dataset of a pull request" in refused.stderr
    # dbt itself refuses too, whoever asks.
    arguments = ("invoke", "dbt-bigquery", "run-operation", "drop_dataset_of_pull_request")
    said = stack.meltano(*arguments, fails=True, **stack.elsewhere("product"))
    assert "'product' isn't the dataset of a pull request" in said
    assert "workflows" in stack.raw_tables()

    assert script("drop.sh", "dbt_pr_7").returncode == 0
    schemas = stack.query("select schema_name from INFORMATION_SCHEMA.SCHEMATA")
    assert "dbt_pr_7" not in {row["schema_name"] for row in schemas}
    assert tables("dbt") == before[0]


def test_without_a_manifest_nothing_is_built(tmp_path: Path) -> None:
    script = scripts(ROOT, os.environ | {"DBT_TARGET_PATH": str(tmp_path)})
    done = script("changed.sh", "dbt_pr_7", str(tmp_path / "none.json"))
    assert done.returncode == 1
    assert "run the workflow Deploy once, on main" in done.stderr


def test_what_fails_is_in_the_summary(tmp_path: Path) -> None:
    result = {"execution_time": 1.5, "adapter_response": {}, "relation_name": None}
    results = [
        result
        | {
            "unique_id": "model.data.fct_invoices",
            "status": "success",
            "relation_name": "`acme`.`dbt_pr_7`.`fct_invoices`",
            "adapter_response": {"bytes_billed": 10 * 2**20},
            "message": "CREATE TABLE",
        },
        result
        | {
            "unique_id": "test.data.unique_id",
            "status": "fail",
            "message": "Got 2 results,\n configured to fail if != 0",
        },
    ]
    path = tmp_path / "run_results.json"
    path.write_text(json.dumps({"results": results}))
    command = [ROOT / ".venv/bin/python", ROOT / "orchestrate/ci/summary.py", path]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "### dbt: 1 models built, 1 tests run, 1 not passed" in printed
    assert "| ✓ | `acme.dbt_pr_7.fct_invoices` | 1.5 | 10 |" in printed
    assert "✗ `unique_id`: Got 2 results, configured to fail if != 0" in printed


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose `meltano run` writes down its tasks, and fails where one is `$FAILING`."""
    for path in ("meltano.yml", "orchestrate/ci", "extract"):
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, tmp_path / path)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    programs = {
        "python": f'exec {ROOT}/.venv/bin/python "$@"\n',
        "meltano": f'echo "$MELTANO_ENVIRONMENT: $*" >>{tmp_path}/ran\n'
        '[[ " $* " != *" $FAILING "* ]]\n',
    }
    for name, script in programs.items():
        (binaries / name).write_text(f"#!/usr/bin/env bash\n{script}")
        (binaries / name).chmod(0o755)
    return tmp_path


def ran(project: Path) -> list[str]:
    return (project / "ran").read_text().splitlines()


def load(*sources: str) -> str:
    tasks = " ".join(f"tap-{source} target-bigquery" for source in sources)
    return f"prod: run stack:guard {tasks}"


BUILD = "dbt-bigquery:build-changed dbt-metabase:sync"
SOURCES = ("close", "intercom", "product", "stripe")


def test_all_jobs_with_a_schedule_for_today_load_and_one_build_follows(project: Path) -> None:
    done = scripts(project, os.environ | {"FAILING": "none"})("scheduled.sh")
    assert done.returncode == 0, done.stderr
    is_sunday = datetime.now(UTC).isoweekday() == 7
    weekly = ["prod: run close-weekly", "prod: run intercom-weekly"] if is_sunday else []
    assert ran(project) == [load(*SOURCES), *weekly, f"prod: run {BUILD}"]


def test_a_source_that_fails_stops_no_other(project: Path) -> None:
    script = scripts(project, os.environ | {"FAILING": "tap-intercom"})
    done = script("scheduled.sh", *(f"{source}-daily" for source in SOURCES))
    assert ran(project) == [
        load(*SOURCES),
        *(load(source) for source in SOURCES),
        f"prod: run stack:guard {BUILD}",
    ]
    assert done.returncode == 1
    assert done.stderr.endswith("Failed, see above: intercom-daily\n")


def test_a_job_alone_and_one_that_does_something_else_run_as_they_are(project: Path) -> None:
    script = scripts(project, os.environ | {"FAILING": "none"})
    assert script("scheduled.sh", "stripe-daily", "close-weekly", "other").returncode == 0
    assert ran(project) == [f"prod: run {job}" for job in ("stripe-daily", "close-weekly", "other")]


def test_only_a_build_that_passed_leaves_its_manifest(project: Path) -> None:
    target, kept = project / "target", project / "kept.json"
    target.mkdir()
    (target / "manifest.json").write_text("new")
    kept.write_text("old")
    script = scripts(project, os.environ | {"DBT_TARGET_PATH": str(target)})
    assert script("deploy.sh", str(kept), FAILING="dbt-bigquery:build").returncode == 1
    assert kept.read_text() == "old"
    assert script("deploy.sh", str(kept), FAILING="none").returncode == 0
    assert kept.read_text() == "new"
    build = "prod: run stack:guard dbt-bigquery:build"
    assert ran(project) == [build, build, "prod: run dbt-metabase:sync dbt-metabase:exposures"]
