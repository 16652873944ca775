"""What a user of Dagster finds, whatever the sources and models are."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import AUTOMATION_CONDITION_TAG
from dagster_project import steps
from dagster_project.definitions import Translator, build, definitions, when_loaded
from dagster_project.launcher import LocalRunLauncher
from dagster_project.project import Snapshot


@pytest.fixture
def repository(snapshot: Snapshot, manifest: dict[str, Any]) -> dg.RepositoryDefinition:
    return definitions(snapshot, manifest).get_repository_def()


def key(path: str) -> dg.AssetKey:
    return dg.AssetKey(path.split("/"))


def test_one_lineage_leads_from_the_source_to_the_dashboard(
    repository: dg.RepositoryDefinition,
) -> None:
    graph = repository.asset_graph
    assert graph.get(key("stg_shop__orders")).parent_keys == {key("shop/orders")}
    assert graph.get(key("fct_orders")).child_keys == {
        key("metabase/fct_orders"),
        key("exposures/sales"),
    }
    # Loaded by a step, not only named by a model.
    assert key("shop/orders") in graph.materializable_asset_keys
    # No model reads it yet, so Metabase shows the raw table.
    assert graph.get(key("metabase/help_desk/tickets")).parent_keys == {key("help-desk/tickets")}


def test_the_tests_of_dbt_are_checks_of_their_models(repository: dg.RepositoryDefinition) -> None:
    assert repository.asset_graph.asset_check_keys == {
        dg.AssetCheckKey(key("dim_customers"), "unique_dim_customers")
    }


def test_the_promise_of_a_source_is_the_freshness_policy_of_its_table(
    repository: dg.RepositoryDefinition,
) -> None:
    graph = repository.asset_graph
    assert graph.get(key("shop/customers")).freshness_policy is None
    assert graph.get(key("shop/orders")).freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=3), warn_window=timedelta(hours=36)
    )


def test_jobs_load_what_those_of_meltano_load(repository: dg.RepositoryDefinition) -> None:
    def loads(job: str) -> set[str]:
        return {
            key.to_user_string()
            for key in repository.get_job(job).asset_layer.executable_asset_keys
        }

    assert loads("shop_daily") == {"shop/customers", "shop/orders"}
    assert loads("help_desk_hourly") == {"help-desk/tickets"}
    assert loads("every_source") == loads("shop_daily") | loads("help_desk_hourly")
    weekly = repository.get_job("shop_weekly").run_config
    assert weekly == {"ops": {"shop": {"config": {"tasks": ["tap-shop-full target-bigquery"]}}}}


def test_a_job_that_does_something_else_runs_as_it_is(
    repository: dg.RepositoryDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    monkeypatch.setattr(steps, "run_meltano", lambda *arguments: ran.append(arguments))
    assert repository.get_job("export").execute_in_process().success
    assert ran == [("run", "export")]


def test_schedules_are_those_of_the_files(repository: dg.RepositoryDefinition) -> None:
    assert {one.job_name: one.cron_schedule for one in repository.schedule_defs} == {
        "shop_daily": "0 4 * * *",
        "help_desk_hourly": "@hourly",
    }


def test_a_step_of_which_something_changed_is_followed_by_one_build_of_what_reads_it() -> None:
    condition = when_loaded([key("shop/orders"), key("help/tickets")])

    @dg.multi_asset(specs=[dg.AssetSpec(["shop", "orders"], skippable=True)])
    def shop() -> Any:
        yield dg.MaterializeResult(asset_key=["shop", "orders"], data_version=dg.DataVersion(now))

    @dg.asset(key=["help", "tickets"])
    def tickets() -> None: ...

    @dg.asset(deps=[["shop", "orders"]], automation_condition=condition)
    def staging() -> None: ...

    @dg.asset(deps=[staging], automation_condition=condition)
    def mart() -> None: ...

    @dg.asset(deps=[["help", "tickets"]], automation_condition=condition)
    def other() -> None: ...

    defs = dg.Definitions([shop, tickets, staging, mart, other])
    instance = dg.DagsterInstance.ephemeral()

    def requested(cursor: Any) -> tuple[set[str], Any]:
        result = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
        names = (s.key.to_user_string() for s in result._requested_subsets if not s.is_empty)
        return set(names), result.cursor

    now = "1"
    dg.materialize([shop], instance=instance)
    found, cursor = requested(None)
    now = "2"
    dg.materialize([shop], instance=instance)
    found, cursor = requested(cursor)
    assert found == {"staging", "mart"}
    dg.materialize([staging, mart], instance=instance, selection=[staging, mart])
    assert requested(cursor)[0] == set()
    # A load that brought nothing new: its version is the same.
    _, cursor = requested(cursor)
    dg.materialize([shop], instance=instance)
    assert requested(cursor)[0] == set()


@pytest.mark.parametrize(
    ("status", "passed", "severity"),
    [
        ("pass", True, dg.AssetCheckSeverity.ERROR),
        ("warn", False, dg.AssetCheckSeverity.WARN),
        ("fail", False, dg.AssetCheckSeverity.ERROR),
        ("error", False, dg.AssetCheckSeverity.ERROR),
    ],
)
def test_a_test_of_dbt_ends_as_its_check(
    manifest: dict[str, Any], status: str, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    class Context:
        selected_asset_check_keys = (
            dg.AssetCheckKey(key("dim_customers"), "unique_dim_customers"),
        )

    result = {
        "unique_id": "test.p.unique_dim_customers.1",
        "status": status,
        "execution_time": 0.5,
        "failures": 0 if passed else 3,
        "message": None if passed else "Got 3 results",
        "adapter_response": {},
    }
    translator = Translator(dg.AutomationCondition.eager())
    (check,) = steps.events(Context(), result, manifest, translator)  # type: ignore[arg-type]
    assert (check.passed, check.severity) == (passed, severity)
    assert check.metadata["rows that break it"].value == result["failures"]


def test_a_build_of_some_models_takes_the_others_for_done(
    manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mart whose staging is as it was, and a staging whose mart is."""
    ran = [
        {"unique_id": f"model.p.{name}", "status": "success", "execution_time": 1.0}
        | {"adapter_response": {}}
        for name in ("dim_customers", "stg_shop__orders")
    ]
    monkeypatch.setattr(steps, "run_meltano", lambda *_, **__: None)
    monkeypatch.setattr(steps, "results", lambda _: ran)
    models = build(manifest, Translator(dg.AutomationCondition.eager()))
    result = dg.materialize([models], tags={AUTOMATION_CONDITION_TAG: "true"})
    status = {
        event.asset_key.to_user_string(): event.materialization.metadata["status"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    assert status == {
        "stg_shop__customers": "unchanged",
        "stg_shop__orders": "success",
        "dim_customers": "success",
        "fct_orders": "unchanged",
    }


def test_results_of_another_build_are_not_taken_for_a_steps_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path))
    assert steps.results("run/dbt") == []
    (tmp_path / "run_results.json").write_text(
        '{"metadata": {"env": {"DAGSTER_STEP": "run/dbt"}}, "results": [{"status": "success"}]}'
    )
    assert steps.results("run/dbt") == [{"status": "success"}]
    assert steps.results("other/dbt") == []


def test_a_run_whose_dagster_was_killed_is_known_to_be_dead(tmp_path: Path) -> None:
    with dg.instance_for_test(
        overrides={
            "run_launcher": {"module": "dagster_project.launcher", "class": "LocalRunLauncher"}
        }
    ) as instance:
        run = instance.create_run_for_job(
            dg.GraphDefinition(name="nothing").to_job(),
            status=dg.DagsterRunStatus.STARTED,
            tags={".dagster/grpc_info": f'{{"host": "localhost", "socket": "{tmp_path}/gone"}}'},
        )
        launcher = instance.run_launcher
        assert isinstance(launcher, LocalRunLauncher)
        assert launcher.supports_check_run_worker_health
        assert launcher.check_run_worker_health(run).status.value == "FAILED"
