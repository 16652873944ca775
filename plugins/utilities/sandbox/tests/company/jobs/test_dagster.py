"""What Dagster makes of the project, and of a run of one source on the sandbox."""

import shutil
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster_project import definitions as project
from dagster_project import steps
from dagster_project.project import Snapshot, manifest
from sandbox.settings import TOOLS

from ..stack import ROOT, Stack


@pytest.fixture
def in_the_project(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(stack.root))
    monkeypatch.setenv("MELTANO_ENVIRONMENT", "local")
    monkeypatch.setattr(project, "RETRY", dg.RetryPolicy(max_retries=1, delay=0.1))
    yield
    for tool in TOOLS:
        stack.switch_fault(tool, None)


def repository() -> dg.RepositoryDefinition:
    return project.definitions(Snapshot.take(), manifest()).get_repository_def()


def loaded(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return the metadata of what a run has loaded, by asset."""
    return {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


@pytest.mark.usefixtures("in_the_project")
def test_a_source_file_adds_its_assets_its_job_and_its_schedule(stack: Stack) -> None:
    before = repository()
    added = stack.root / "extract" / "surveys.meltano.yml"
    shutil.copy(ROOT / "extract/examples/surveys.meltano.yml", added)
    manifests = ROOT.glob("extract/examples/surveys.manifest.yaml")
    copies = [shutil.copy(path, added.parent) for path in manifests]
    try:
        after = repository()
    finally:
        for path in [added, *copies]:
            (stack.root / "extract" / path).unlink()
    keys = after.asset_graph.get_all_asset_keys() - before.asset_graph.get_all_asset_keys()
    assert {key.path[0] for key in keys} == {"surveys", "metabase"}
    assert {*after.job_names} - {*before.job_names} == {"surveys_daily"}
    schedules = {one.name for one in before.schedule_defs}
    assert [s.job_name for s in after.schedule_defs if s.name not in schedules] == ["surveys_daily"]


@pytest.mark.usefixtures("in_the_project")
def test_each_raw_table_that_a_model_reads_is_loaded_by_a_step() -> None:
    graph = repository().asset_graph
    read = {
        dg.AssetKey([table["source_name"], table["name"]])
        for table in manifest()["sources"].values()
        if table["source_name"] != "ops"  # the loader and dbt write it
    }
    # An older tap of Stripe has filled `plans`; none does today.
    assert read - graph.materializable_asset_keys == {dg.AssetKey(["stripe", "plans"])}
    for model in graph.materializable_asset_keys - read:
        if model.path[0] == "metabase" and len(model.path) == 2:
            assert graph.get(model).parent_keys == {dg.AssetKey(model.path[1])}


@pytest.mark.usefixtures("in_the_project")
def test_a_run_shows_the_rows_that_the_warehouse_has(stack: Stack) -> None:
    stack.pass_day()
    result = repository().get_job("product_daily").execute_in_process()
    found = loaded(result)
    for name in stack.raw_tables():
        (there,) = stack.query(f"select count(*) as n from product.{name}")
        assert found[f"product/{name}"]["dagster/row_count"].value == there["n"]
    assert stack.differences() == {}


@pytest.mark.usefixtures("in_the_project")
def test_a_source_that_fails_is_tried_again(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    run_meltano = steps.run_meltano

    def until_the_fault_has_passed(*arguments: str, **variables: str) -> None:
        try:
            run_meltano(*arguments, **variables)
        finally:
            stack.switch_fault("close", None)

    monkeypatch.setattr(steps, "run_meltano", until_the_fault_has_passed)
    monkeypatch.setenv("TAP_CLOSE_MAX_RETRY_SECONDS", "1")
    stack.switch_fault("close", "500")
    result = repository().get_job("close_daily").execute_in_process()
    retried = [event.step_key for event in result.all_events if event.is_step_up_for_retry]
    assert retried == ["close"]
    assert "close/leads" in loaded(result)
