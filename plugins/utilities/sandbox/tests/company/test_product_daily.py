"""What a user of `meltano run product-daily` relies on, from Postgres to Metabase."""

import re

import pytest

from .conftest import SecondDay
from .stack import TABLES, Stack

MARTS = ("dim_organisations", "dim_users", "fct_organisation_statistics", "fct_user_incident_graph")
"""The marts that the product alone feeds, or feeds first."""

pytestmark = pytest.mark.usefixtures("first_run")

# Everything here happens to one world, in this order.


def test_every_raw_table_equals_its_source(stack: Stack) -> None:
    assert stack.differences() == {}
    assert all(stack.raw_rows(table) for table in TABLES)


def test_raw_tables_have_the_sources_columns_and_nothing_else_is_there(stack: Stack) -> None:
    assert set(stack.raw_tables()) == set(TABLES)
    columns = stack.query("select table_name, column_name from product.INFORMATION_SCHEMA.COLUMNS")
    for table in TABLES:
        raw = {row["column_name"] for row in columns if row["table_name"] == table}
        with stack.postgres() as connection:
            source = connection.execute(f"select * from {table} limit 0").description or []
        assert {name for name in raw if not name.startswith("_sdc_")} == {c.name for c in source}


def test_the_build_has_no_warning(first_run: str) -> None:
    assert re.search(r"PASS=\d+ WARN=0 ERROR=0 SKIP=0", first_run)
    dbt = [line for line in first_run.splitlines() if "] dbt-product " in line]
    assert dbt
    assert not [line for line in dbt if "[WARNING]" in line]


def test_organisations_are_counted_as_in_postgres(stack: Stack) -> None:
    with stack.postgres() as connection:
        expected = connection.execute(
            """
            select
                organisations.id::text as id,
                organisations.name,
                organisations.setup_completed_at is null as in_setup_flow,
                count(incidents.id) filter (where not incidents.test) as incident_count,
                count(incidents.id) filter (
                    where not incidents.test and incidents.status not in ('closed', 'declined')
                ) as open_incident_count
            from organisations
            left join incidents on incidents.organisation_id = organisations.id
            where organisations.archived_at is null
            group by organisations.id
            order by organisations.id
            """
        ).fetchall()
    found = stack.query(
        """
        select id, name, in_setup_flow, incident_count, open_incident_count
        from dbt.dim_organisations where archived_at is null order by id
        """
    )
    assert found == expected


def test_statistics_have_a_row_for_each_day_and_end_in_todays_totals(stack: Stack) -> None:
    gaps = stack.query(
        """
        select organisation_id
        from dbt.fct_organisation_statistics
        group by organisation_id
        having count(*) != date_diff(max(day), min(day), day) + 1
        """
    )
    assert gaps == []
    with stack.postgres() as connection:
        expected = connection.execute(
            """
            select count(*) as user_count, count(slack_user_id) as slack_user_count
            from users
            join organisations on organisations.id = users.organisation_id
            where users.archived_at is null and organisations.archived_at is null
            """
        ).fetchall()
    found = stack.query(
        """
        select sum(user_count) as user_count, sum(slack_user_count) as slack_user_count
        from dbt.dim_organisations where archived_at is null
        """
    )
    assert found == expected


def test_metabase_knows_names_descriptions_types_and_join_keys(stack: Stack) -> None:
    # What other sources feed is described by their jobs.
    fed = {*MARTS, *(f"stg_product__{table}" for table in TABLES)}
    tables = {name: table for name, table in stack.metabase_tables().items() if name in fed}
    assert tables.keys() == fed
    assert all(table["description"] for table in tables.values())
    fields = {
        (name, field["name"]): field for name, table in tables.items() for field in table["fields"]
    }
    assert all(field["description"] for field in fields.values())

    organisation_id = fields["stg_product__timeline_items", "organisation_id"]
    assert organisation_id["semantic_type"] == "type/FK"
    target = fields["dim_organisations", "id"]
    assert organisation_id["fk_target_field_id"] == target["id"]
    assert target["semantic_type"] == "type/PK"
    assert fields["dim_organisations", "name"]["semantic_type"] == "type/Name"
    assert fields["dim_organisations", "archived_at"]["semantic_type"] == "type/DeletionTimestamp"


def test_a_day_later_tables_are_equal_again_and_deleted_rows_are_marked(
    stack: Stack, second_day: SecondDay
) -> None:
    assert stack.differences() == {}
    for table in TABLES:
        gone = second_day.raw[table].keys() - stack.source_rows(table).keys()
        assert gone, f"the day has deleted nothing from {table}"
        marked = stack.raw_rows(table, deleted=True).keys()
        assert marked == second_day.deleted[table].keys() | gone
        staged = stack.query(f"select count(*) as n from dbt.stg_product__{table}")
        assert staged == [{"n": len(stack.source_rows(table))}]


def test_a_day_later_nothing_has_changed_in_metabase(stack: Stack, second_day: SecondDay) -> None:
    assert stack.metabase_tables() == second_day.metabase


def test_a_run_prints_a_line_a_step_and_a_file_has_the_rest(
    stack: Stack, second_day: SecondDay
) -> None:
    _, *steps, end = second_day.screen.splitlines()
    assert [step.split("  ")[1] for step in steps] == [
        "tap-product → target-bigquery",
        "dbt-product",
        "dbt-metabase",
    ]
    assert re.search(rf"{len(TABLES)} tables: [\d,]+ rows, [\d,]+ deleted +\d", steps[0])
    assert re.search(r"\d+ passed, 0 B billed", steps[1])
    log = stack.root / end.rpartition(" ")[2]
    assert "OK created sql table model dbt.dim_organisations" in log.read_text()


@pytest.mark.usefixtures("second_day")
def test_the_ledger_has_what_each_run_did(stack: Stack) -> None:
    ledger = {
        row["table_name"]: row
        for row in stack.query(
            """
            select
                table_name,
                count(*) as loads,
                sum(rows_inserted) as inserted,
                sum(rows_deleted) as deleted
            from dbt.fct_loads
            where source_id = 'product' and not is_unusual and status = 'changed'
            group by table_name
            """
        )
    }
    assert ledger.keys() == set(TABLES)
    for table, row in ledger.items():
        deleted = len(stack.raw_rows(table, deleted=True))
        assert row["loads"] == 2
        assert (row["inserted"], row["deleted"]) == (len(stack.raw_rows(table)) + deleted, deleted)
    shown = stack.meltano("--log-level=warning", "invoke", "stack", "runs", "product")
    assert re.search(rf"product +{len(TABLES)} .* ok", shown)
    (source,) = stack.query("select * from dbt.dim_sources")
    assert (source["id"], source["streams"], source["is_failing"]) == (
        "product",
        len(TABLES),
        False,
    )
