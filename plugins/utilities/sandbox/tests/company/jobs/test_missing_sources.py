"""Any optional source may be missing: every job passes, and what it would fill is empty."""

import pytest
from local_servers.googlesql import GoogleSQL
from sandbox.settings import TOOLS

from ..stack import Row, Stack
from .conftest import EverySource

FILLED_BY = {
    "close": ("lead_id", "lead_status", "lead_owner"),
    "intercom": ("conversation_count_30_days", "conversation_count_90_days"),
    "stripe": ("is_paying", "plan", "billing_currency", "mrr", "is_in_arrears", "amount_due"),
}
DATASET = "dbt_missing"
# As they are added one after the other; and the last one alone.
SUBSETS = [*(TOOLS[:n] for n in range(4)), TOOLS[2:]]


@pytest.mark.usefixtures("product_alone")
@pytest.mark.parametrize("present", SUBSETS, ids=lambda tools: "-".join(tools) or "none")
def test_what_a_missing_source_would_fill_is_empty_and_the_rest_is_as_with_it(
    stack: Stack, every_source: EverySource, present: tuple[str, ...]
) -> None:
    if present in every_source.organisations:
        found, complete = every_source.organisations[present], every_source.organisations[TOOLS]
    else:
        found, complete = without_the_others(stack, present), stack.organisations()
    assert [row["id"] for row in found] == [row["id"] for row in complete]
    for tool, columns in FILLED_BY.items():
        expected = (
            [{column: row[column] for column in columns} for row in complete]
            if tool in present
            else [dict.fromkeys(columns)] * len(complete)
        )
        assert [{column: row[column] for column in columns} for row in found] == expected


@pytest.mark.usefixtures("product_alone")
def test_bigquery_takes_what_is_built_in_place_of_missing_tables(
    stack: Stack, googlesql: GoogleSQL
) -> None:
    """In the builds of this file: what is other than where every source is there."""
    elsewhere = stack.statements_of_dbt(DATASET)
    known = {sql.replace("`dbt`", f"`{DATASET}`") for sql in stack.statements_of_dbt()}
    sent = {sql: name for sql, name in elsewhere.items() if sql not in known}
    assert sent
    catalog = googlesql.catalog(stack.tables(DATASET))
    rejected = {f"{name}: {why}" for sql, name in sent.items() if (why := catalog.rejection(sql))}
    assert rejected == set()


def test_the_columns_of_a_dataset_are_read_once_a_run(product_alone: list[str]) -> None:
    assert len(product_alone) == 1
    assert "`product`.INFORMATION_SCHEMA.COLUMNS" in product_alone[0]


def test_a_mistyped_dataset_of_a_source_that_is_not_optional_is_named(stack: Stack) -> None:
    output = stack.meltano(
        *("invoke", "dbt-bigquery", "run", "--select", "stg_product__users"),
        *("--vars", "{product_dataset: prodct}"),
        fails=True,
        **stack.elsewhere(DATASET),
    )
    assert "Source 'product' has no table 'users' in the dataset 'local.prodct'" in output
    assert "correct `schema` in models/staging/product/src_product.yml" in output


def test_a_build_that_lacks_models_names_them_and_the_step_that_makes_them(stack: Stack) -> None:
    output = stack.meltano(
        *("invoke", "dbt-bigquery", "run", "--select", "dim_incidents"),
        fails=True,
        **stack.elsewhere("dbt_bare"),
    )
    assert "Not built yet: fct_user_incident_graph, stg_product__actions, stg_" in output
    assert "`meltano invoke dbt-bigquery:make-missing-models`" in output


@pytest.fixture(scope="module")
def product_alone(stack: Stack) -> list[str]:
    """Build what the product feeds, elsewhere than into `dbt`; what was asked about raw tables."""
    stack.meltano("invoke", "dbt-bigquery:make-missing-models", **stack.elsewhere(DATASET))
    before = {job.job_id for job in stack.warehouse.list_jobs()}
    build(stack, "source:product+", missing=TOOLS)
    sent = [job for job in stack.warehouse.list_jobs() if job.job_id not in before]
    queries = [getattr(job, "query", "") for job in sent]
    return [query for query in queries if ".INFORMATION_SCHEMA.COLUMNS" in query]


def without_the_others(stack: Stack, present: tuple[str, ...]) -> list[Row]:
    """Build as if the other tools had never been loaded."""
    missing = tuple(tool for tool in TOOLS if tool not in present)
    build(stack, *(f"source:{tool}+" for tool in TOOLS), missing=missing)
    return stack.organisations(DATASET)


def build(stack: Stack, *select: str, missing: tuple[str, ...]) -> None:
    nowhere = {f"{tool}_dataset": "a_dataset_that_was_never_made" for tool in missing}
    stack.meltano(
        *("invoke", "dbt-bigquery", "run", "--vars", str(nowhere), "--select", *select),
        **stack.elsewhere(DATASET),
    )
