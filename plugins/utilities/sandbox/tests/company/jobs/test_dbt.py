"""What the dbt project promises, beyond the data tests that every build runs."""

import json
from pathlib import Path

import pytest
from local_servers.googlesql import GoogleSQL

from ..stack import Stack


@pytest.fixture(scope="module")
def unit_tests(stack: Stack) -> str:
    """What dbt says of the unit tests."""
    return stack.meltano("invoke", "dbt-bigquery", "test", "--select", "test_type:unit")


def test_the_logic_that_can_be_wrong_is_right(stack: Stack, unit_tests: str) -> None:
    found = stack.manifest()
    hooks = [node for node in found["nodes"].values() if node["resource_type"] == "operation"]
    passed = len(found["unit_tests"]) + len(hooks)
    assert f"PASS={passed} WARN=0 ERROR=0 SKIP=0" in unit_tests


@pytest.mark.usefixtures("unit_tests")
def test_bigquery_takes_every_statement_that_dbt_sends(stack: Stack, googlesql: GoogleSQL) -> None:
    """The emulator takes more than BigQuery does."""
    found = stack.manifest()
    sent = stack.statements_of_dbt()
    tests = {key for key in found["nodes"] if key.startswith("test.")}
    assert stack.models().keys() | tests | found["unit_tests"].keys() <= set(sent.values())

    catalog = googlesql.catalog(stack.tables())
    rejected = {f"{name}: {why}" for sql, name in sent.items() if (why := catalog.rejection(sql))}
    assert rejected == set()


def test_docs_have_a_catalog_of_every_model(stack: Stack) -> None:
    stack.meltano("invoke", "dbt-bigquery:docs-generate")
    target = Path(stack.environment["DBT_TARGET_PATH"])
    catalog = json.loads((target / "catalog.json").read_text())
    assert catalog["errors"] is None
    assert catalog["nodes"].keys() == stack.models().keys()


def test_staging_models_join_no_tables(stack: Stack) -> None:
    """A staging model cleans one table; intermediate models join."""
    staging = {key: node for key, node in stack.models().items() if node["name"].startswith("stg_")}
    assert staging
    assert {
        key: node["depends_on"]["nodes"]
        for key, node in staging.items()
        if len(node["depends_on"]["nodes"]) != 1
    } == {}


def test_every_column_has_the_type_that_its_description_says(stack: Stack) -> None:
    columns = stack.query(
        "select table_name, column_name, data_type from dbt.INFORMATION_SCHEMA.COLUMNS"
    )
    found: dict[str, dict[str, str]] = {}
    for row in columns:
        found.setdefault(row["table_name"], {})[row["column_name"]] = row["data_type"].lower()
    declared = {
        node["name"]: {name: column["data_type"] for name, column in node["columns"].items()}
        for node in stack.models().values()
    }
    assert found == declared


def test_refunds_credit_notes_and_disputes_change_no_revenue(stack: Stack) -> None:
    """They are no part of what recurring revenue is computed from."""
    parents = stack.manifest()["parent_map"]
    found: set[str] = set()
    new = {next(key for key in parents if key.endswith(".fct_subscription_mrr"))}
    while new:
        found |= new
        new = {parent for key in new for parent in parents[key]} - found
    raw = {key.rpartition(".")[2] for key in found if ".stripe." in key}
    assert "invoice_line_items" in raw
    assert raw.isdisjoint({"refunds", "credit_notes", "disputes"})
