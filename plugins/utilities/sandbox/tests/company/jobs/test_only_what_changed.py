"""A job builds what has changed since it was last built, and starts dbt for nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..stack import Row, Stack

MARTS = (
    *("dim_organisations", "dim_users", "dim_incidents", "fct_user_incident_graph"),
    *("fct_organisation_statistics", "fct_setup_funnel"),
)
"""The tables that are made of the product's rows."""
RULES = "stg_product__announcement_rules"

# Everything here happens to one world, in this order.


@dataclass
class Jobs:
    """Runs jobs, and tells what they did."""

    stack: Stack

    def run(self, *command: str, fails: bool = False) -> tuple[str, set[str]]:
        """Run a command; return what it printed, and the models that dbt has built."""
        results = Path(self.stack.environment["DBT_TARGET_PATH"]) / "run_results.json"
        before = results.read_bytes()
        output = self.stack.meltano(*command, fails=fails)
        after = results.read_bytes()
        found = json.loads(after)["results"] if after != before else []
        ids = [result["unique_id"].split(".") for result in found if result["status"] == "success"]
        return output, {name for kind, _, name, *_ in ids if kind == "model"}

    def build(self, *arguments: str, fails: bool = False) -> tuple[str, set[str]]:
        """Run the step of a job that builds."""
        return self.run("invoke", "dbt-product:build", *arguments, fails=fails)

    def tables(self) -> dict[str, list[Row]]:
        return {name: self.stack.query(f"select * from dbt.{name} order by id") for name in MARTS}


@pytest.fixture(scope="module")
def jobs(stack: Stack) -> Iterator[Jobs]:
    """All is loaded and built."""
    jobs = Jobs(stack)
    stack.extract_load()
    jobs.run("invoke", "dbt-bigquery:build-changed")
    jobs.run("invoke", "dbt-metabase:sync")
    yield jobs
    for path in (stack.root / "transform/macros").glob("unused.sql"):
        path.unlink()


def test_nothing_changed_dbt_is_not_started_and_no_query_bills(jobs: Jobs) -> None:
    before = {job.job_id for job in jobs.stack.warehouse.list_jobs()}
    output, built = jobs.run("run", "product-daily")
    assert "Nothing to build: no rows, code or date have changed" in output
    assert "knows all that was built" in output
    assert built == set()
    assert "Running with dbt" not in output
    sent = [job for job in jobs.stack.warehouse.list_jobs() if job.job_id not in before]
    assert {job.job_type for job in sent} <= {"load"}


def test_one_table_changed_and_its_descendants_alone_are_built(jobs: Jobs) -> None:
    with jobs.stack.postgres() as connection:
        connection.execute(
            """
            update workflows set enabled = not enabled
            where id in (select id from workflows order by id limit 10)
            """
        )
    output, built = jobs.run("run", "product-daily")
    assert built == {"stg_product__workflows", "dim_organisations"}
    assert "Models to build: 2 for new data" in output
    # Other tests load more at once than a day brings. Nothing else is a reason for a warning.
    unusual = jobs.stack.query("select id from dbt.fct_loads where is_latest and is_unusual")
    assert f"WARN={min(len(unusual), 1)} ERROR=0" in output


def test_late_and_deleted_rows_come_out_as_in_a_build_of_everything(jobs: Jobs) -> None:
    with jobs.stack.postgres() as connection:
        connection.execute(
            """
            insert into timeline_items
            select (jsonb_populate_record(item, jsonb_build_object(
                'id', gen_random_uuid(),
                'occurred_at', item.occurred_at - interval '200 days',
                'created_at', item.created_at - interval '200 days'
            ))).* from timeline_items as item where user_id is not null order by id limit 1
            """
        )
        connection.execute(
            "delete from actions where id = (select min(id::text)::uuid from actions)"
        )
    before = jobs.tables()
    jobs.stack.extract_load()
    _, built = jobs.build()
    assert {"stg_product__timeline_items", "stg_product__actions"} < built
    assert "stg_product__users" not in built
    found = jobs.tables()
    assert found != before

    # Code that has changed is a reason for everything.
    (jobs.stack.root / "transform/macros/unused.sql").write_text(
        "{% macro unused() %}{% endmacro %}"
    )
    output, built = jobs.build()
    assert "because of code" in output
    assert {*MARTS, "stg_product__users", "fct_loads"} < built
    assert jobs.tables() == found
    assert jobs.build()[1] == set()


def test_a_new_day_is_a_reason_for_what_asks_for_the_date(jobs: Jobs) -> None:
    jobs.stack.query(
        """
        update ops.built_dbt set version = concat('2000-01-01', substr(version, 11))
        where id = 'model.modern_data_stack.fct_organisation_statistics'
        """
    )
    output, built = jobs.build()
    assert "1 for the date" in output
    assert "fct_organisation_statistics" in built
    assert not [name for name in built if name.startswith("stg_")]


def test_a_test_that_failed_runs_again_by_itself_until_it_passes(jobs: Jobs) -> None:
    table = "product.announcement_rules"
    (rule,) = jobs.stack.query(f"select id, organisation_id from {table} order by id limit 1")
    change = f"update {table} set organisation_id = '{{}}' where id = '{rule['id']}'"
    jobs.stack.query(change.format("nobody"))
    output, built = jobs.build(fails=True)
    assert built == {RULES, "dim_organisations"}
    assert "FAIL relationships_stg_product__announcement_rules_organisation_id" in output

    output, built = jobs.build(fails=True)
    assert "Tests to run: 1 that failed" in output
    assert built == set()

    jobs.stack.query(change.format(rule["organisation_id"]))
    output, _ = jobs.build()
    assert "ERROR=0" in output
    assert jobs.build()[1] == set()


def test_a_model_that_somebody_has_dropped_is_built_again(jobs: Jobs) -> None:
    jobs.stack.query(f"drop view dbt.{RULES}")
    output, built = jobs.build()
    assert built == {RULES, "dim_organisations"}
    assert "1 that are missing" in output


def test_full_builds_everything_that_a_source_feeds(jobs: Jobs) -> None:
    output, built = jobs.run("invoke", "dbt-close:build", "--full")
    assert "as asked" in output
    assert {"stg_close__leads", "fct_opportunities", "dim_organisations"} < built
    assert not [name for name in built if name.startswith("stg_product__")]


def test_a_developers_build_reads_productions_rows_and_has_a_record_of_its_own(
    jobs: Jobs,
) -> None:
    elsewhere = jobs.stack.elsewhere("dbt_lawrence")
    command = ("invoke", "dbt-product:build")
    output = jobs.stack.meltano(*command, **elsewhere)
    assert "Not built yet, and made without rows: " in output
    assert jobs.stack.organisations("dbt_lawrence")
    assert "Nothing to build" in jobs.stack.meltano(*command, **elsewhere)
    assert jobs.stack.query(
        "select count(*) > 0 as is_there from lawrence_ops.built_dbt_lawrence"
    ) == [{"is_there": True}]
    assert jobs.build()[1] == set()
