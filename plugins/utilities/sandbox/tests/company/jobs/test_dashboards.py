"""The dashboards that come with the stack: each question's numbers are those of SQL."""

import json
import re
import subprocess
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from ..stack import ROOT, Row, Stack


def since(column: str, number: int, unit: str) -> str:
    """The last days or months with the current one, as Metabase counts them."""
    begin = f"date_trunc(current_date(), {unit})"
    return (
        f"date({column}) >= date_sub({begin}, interval {number} {unit}) "
        f"and date({column}) < date_add({begin}, interval 1 {unit})"
    )


def months(column: str, what: str, table: str, where: str = "true", *by: str) -> str:
    more = "".join(f", {one}" for one in by)
    return (
        f"select date_trunc(date({column}), month) as month{more}, {what} from dbt.{table} "
        f"where {where} group by month{more}"
    )


def counted(column: str, table: str, where: str = "true") -> str:
    return f"select {column}, count(*) from dbt.{table} where {where} group by {column}"


ORG, INC, MRR = "dim_organisations", "dim_incidents", "fct_subscription_mrr"
CON, OPP, FUN = "fct_conversations", "fct_opportunities", "fct_setup_funnel"
TL, LOAD, NODE = "stg_product__timeline_items", "fct_loads", "fct_dbt_nodes"
REAL = "not is_test and not is_archived"
MOVES = ", ".join(
    f"sum({move}_mrr)" for move in ("new", "expansion", "reactivation", "contraction", "churned")
)


def of_organisation(table: str) -> str:
    return f"dbt.{table} as facts left join dbt.{ORG} as org on org.id = facts.organisation_id"


QUESTIONS = {
    # Company overview
    "Organisations": f"select count(*) from dbt.{ORG} where archived_at is null",
    "Users seen in the last 30 days": f"""
        select count(*) from dbt.dim_users
        where archived_at is null and {since("last_seen_at", 30, "day")}
    """,
    "Paying organisations": f"select countif(is_paying and not is_archived) from dbt.{ORG}",
    "MRR today": f"""
        select currency, sum(mrr) from dbt.{MRR}
        where month = date_trunc(current_date(), month) group by currency
    """,
    "MRR by month": months("month", "sum(mrr)", MRR, since("month", 24, "month"), "currency"),
    "MRR movements by month": months("month", MOVES, MRR, since("month", 12, "month"), "currency"),
    "Organisations by plan": counted("plan", ORG, "not is_archived"),
    "Sign-ups by month": months("created_at", "count(*)", ORG, since("created_at", 24, "month")),
    "Open incidents": f"""
        select count(*) from dbt.{INC} where {REAL} and status not in ('closed', 'declined')
    """,
    "Open incidents by severity": counted("severity", INC, f"{REAL} and is_open"),
    "Incidents by month and severity": months(
        "created_at", "count(*)", INC, f"{REAL} and {since('created_at', 12, 'month')}", "severity"
    ),
    "Requests for help by month": months(
        "opened_at", "count(*)", CON, f"is_customer_initiated and {since('opened_at', 12, 'month')}"
    ),
    "Waiting for our reply": f"select countif(is_waiting) from dbt.{CON}",
    "List of organisations": f"""
        select name, plan, billing_currency, mrr, lead_owner, user_count, incident_count,
            conversation_count_30_days, created_at
        from dbt.{ORG} where not is_archived
    """,
    "List of open incidents": f"""
        select facts.reference, facts.name, severity, status, affected_team, facts.user_count,
            facts.open_action_count, facts.created_at, org.name as organisation
        from {of_organisation(INC)}
        where not is_test and not facts.is_archived and is_open
    """,
    # Set-up funnel
    "How far organisations get": f"""
        select step_number, step, countif(is_reached) as organisations from dbt.{FUN}
        group by step_number, step having organisations > 0
    """,
    "Hours from sign-up to each step": f"""
        select step_number, step, avg(hours_since_sign_up) from dbt.{FUN}
        where is_reached and step_number > 1 group by step_number, step
    """,
    "Steps that each month's sign-ups have taken": months(
        "signed_up_at",
        "count(*)",
        FUN,
        f"is_reached and {since('signed_up_at', 12, 'month')}",
        "step",
    ),
    "Organisations that reached a step": f"""
        select org.name, step_number, step, signed_up_at, reached_at, hours_since_sign_up,
            hours_since_previous_step
        from {of_organisation(FUN)} where is_reached
    """,
    "Organisations still in set-up": f"""
        select name, created_at, user_count, has_slack, lead_owner, last_contacted_at from dbt.{ORG}
        where setup_completed_at is null and not is_archived
    """,
    "Number still in set-up": f"""
        select count(*) from dbt.{ORG} where setup_completed_at is null and not is_archived
    """,
    # Timeline items a month
    "Timeline items by month": months(
        "created_at", "count(*)", TL, since("created_at", 24, "month")
    ),
    "Timeline items by month and kind": months(
        "created_at", "count(*)", TL, since("created_at", 24, "month"), "kind"
    ),
    "Timeline items by month and plan": f"""
        select date_trunc(date(facts.created_at), month) as month, plan, count(*)
        from {of_organisation(TL)} where {since("facts.created_at", 24, "month")}
        group by month, plan
    """,
    "Timeline items in the last 30 days": f"""
        select count(*) from dbt.{TL} where {since("created_at", 30, "day")}
    """,
    "Who writes timelines": f"""
        select if(is_automatic, 'The product', 'People') as author, count(*) from dbt.{TL}
        where {since("created_at", 30, "day")} group by author
    """,
    "Organisations with the most timeline items": f"""
        select org.name, count(*) as items from {of_organisation(TL)}
        where {since("facts.created_at", 30, "day")} group by org.name order by items desc limit 10
    """,
    "Latest timeline items": f"""
        select facts.created_at, org.name, kind, text, reaction_count, is_pinned
        from {of_organisation(TL)} where {since("facts.created_at", 30, "day")}
    """,
    # Who is in arrears and asking for help
    "In arrears and asking for help": f"""
        select name, plan, billing_currency, amount_due, conversation_count_30_days,
            last_contacted_at, lead_owner, open_incident_count, user_count
        from dbt.{ORG} where is_in_arrears and conversation_count_30_days > 0
    """,
    "Number in arrears and asking for help": f"""
        select countif(is_in_arrears and conversation_count_30_days > 0) from dbt.{ORG}
    """,
    "Number in arrears": f"select countif(is_in_arrears) from dbt.{ORG}",
    "Amount due": f"""
        select billing_currency, sum(amount_due) from dbt.{ORG} where is_in_arrears
        group by billing_currency
    """,
    "In arrears by plan": counted("plan", ORG, "is_in_arrears"),
    "Conversations of organisations in arrears": f"""
        select org.name, contact_name, opened_at, state, body, assignee, is_waiting
        from {of_organisation(CON)} where org.is_in_arrears and {since("opened_at", 30, "day")}
    """,
    "List of organisations in arrears": f"""
        select name, plan, billing_currency, amount_due, mrr, lead_owner, last_contacted_at
        from dbt.{ORG} where is_in_arrears
    """,
    # Sales pipeline
    "Open deals": f"select count(*) from dbt.{OPP} where not is_won and not is_lost",
    "Expected value of open deals": f"""
        select currency, sum(expected_annual_value) from dbt.{OPP} where is_open group by currency
    """,
    "Deals won in the last 90 days": f"""
        select countif(is_won and {since("won_on", 90, "day")}) from dbt.{OPP}
    """,
    "Pipeline by stage": f"""
        select status, currency, sum(annual_value), sum(expected_annual_value) from dbt.{OPP}
        where is_open group by status, currency
    """,
    "Value won by month": months(
        "won_on", "sum(annual_value)", OPP, f"is_won and {since('won_on', 12, 'month')}", "currency"
    ),
    "Open deals by salesperson": counted("owner", OPP, "is_open"),
    "Share of deals won": months(
        "closed_on", "countif(is_won) / count(*)", OPP, since("closed_on", 12, "month")
    ),
    "Days from first contact to a won deal": f"""
        select owner, avg(days_to_close) from dbt.{OPP} where is_won group by owner
    """,
    "List of open deals": f"""
        select lead_name, status, owner, currency, annual_value, expected_annual_value, confidence,
            facts.created_at, plan
        from {of_organisation(OPP)} where is_open
    """,
    # Support
    "Open conversations": f"select countif(state != 'closed') from dbt.{CON}",
    "Requests for help in the last 30 days": f"""
        select countif(is_customer_initiated and {since("opened_at", 30, "day")}) from dbt.{CON}
    """,
    "Average rating in the last 90 days": f"""
        select avg(rating) from dbt.{CON} where {since("opened_at", 90, "day")}
    """,
    "Minutes to first reply by month": months(
        "opened_at",
        "avg(minutes_to_first_reply)",
        CON,
        f"is_customer_initiated and {since('opened_at', 12, 'month')}",
    ),
    "Open conversations by team": counted("team", CON, "is_open"),
    "Open conversations by assignee": counted("assignee", CON, "is_open"),
    "Organisations that ask for help most": f"""
        select org.name, count(*) as conversations from {of_organisation(CON)}
        where is_customer_initiated and org.id is not null and {since("opened_at", 90, "day")}
        group by org.name order by conversations desc limit 10
    """,
    "List of conversations that wait for us": f"""
        select
            waiting_since, contact_name, org.name, plan, subject, body, team, assignee, is_priority
        from {of_organisation(CON)} where is_waiting
    """,
    # Is the data fresh?
    "Sources": """
        select id, is_failing, last_success_at, last_load_at, streams, failed_streams,
            loads_last_30_days, rows_changed_last_30_days, usd_last_30_days
        from dbt.dim_sources
    """,
    "Sources that are failing": "select countif(is_failing) from dbt.dim_sources",
    "Oldest successful load": "select min(last_success_at) from dbt.dim_sources",
    "Tests and models that have failed": f"""
        select countif(is_latest and has_failed) from dbt.{NODE}
    """,
    "Cost of the last 30 days": f"""
        select sum(usd) from dbt.{NODE} where {since("ended_at", 30, "day")}
    """,
    "Rows changed by day and source": f"""
        select date(started_at) as day, source_id, sum(rows_changed) from dbt.{LOAD}
        where {since("started_at", 30, "day")} group by day, source_id
    """,
    "Loads by day and outcome": f"""
        select date(started_at) as day, status, count(*) from dbt.{LOAD}
        where {since("started_at", 30, "day")} group by day, status
    """,
    "Tables that have failed": f"""
        select source_id, stream, table_name, error, started_at from dbt.{LOAD}
        where is_latest and status = 'failed'
    """,
    "Tables that brought unusually little or much": f"""
        select source_id, stream, rows_changed, least_rows_changed, most_rows_changed, started_at
        from dbt.{LOAD} where is_latest and is_unusual
    """,
    "Models that take longest": f"""
        select name, max(duration_seconds) as seconds from dbt.{NODE}
        where is_latest and resource_type = 'model' group by name order by seconds desc limit 10
    """,
    "List of failed tests and models": f"""
        select name, resource_type, status, message, failed_rows, ended_at from dbt.{NODE}
        where is_latest and has_failed
    """,
    **{
        f"Is {tool} connected?": f"select '{tool} is connected'"
        for tool in ("Close", "Intercom", "Stripe")
    },
}
"""What each question asks, in SQL."""
TIES = {"Organisations with the most timeline items", "Organisations that ask for help most"}
"""Of those with the same number, any may be among the first ten."""
ROW_LIMIT = 2000
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?")


def plain(value: Any) -> Any:
    """A value, however it came: from BigQuery or as JSON."""
    match value:
        case bool() | None:
            return value
        case Decimal() | float() | int():
            return round(float(value), 6)
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S")
        case date():
            return f"{value.isoformat()}T00:00:00"
        case str() if TIMESTAMP.fullmatch(value):
            return value[:19]
        case str() if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            return f"{value}T00:00:00"
    return value


@pytest.fixture(scope="module", autouse=True)
def current(stack: Stack, every_source: object) -> None:  # noqa: ARG001
    """What other tests have changed in the product is loaded, and built."""
    stack.meltano("run", "product-daily")


@pytest.fixture(scope="module")
def api(stack: Stack) -> requests.Session:
    session = requests.Session()
    session.headers["X-API-KEY"] = stack.environment["METABASE_API_KEY"]
    return session


@pytest.fixture(scope="module")
def cards(stack: Stack, api: requests.Session) -> dict[str, Row]:
    rows = api.get(f"{stack.status['metabase']['url']}/api/card").json()
    return {row["name"]: row for row in rows}


def asked(stack: Stack, api: requests.Session, card: Row) -> list[tuple[Any, ...]]:
    url = f"{stack.status['metabase']['url']}/api/card/{card['id']}/query"
    answer = api.post(url, json={}).json()
    assert answer["status"] == "completed", answer.get("error")
    return [tuple(map(plain, row)) for row in answer["data"]["rows"]]


def test_the_jobs_push_every_question(cards: dict[str, Row]) -> None:
    assert cards.keys() == QUESTIONS.keys()


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_numbers_are_those_of_sql(
    stack: Stack, api: requests.Session, cards: dict[str, Row], name: str
) -> None:
    found = asked(stack, api, cards[name])
    expected = [tuple(map(plain, row.values())) for row in stack.query(QUESTIONS[name])]
    if name in TIES:
        found, expected = ([row[1:] for row in rows] for rows in (found, expected))
    if len(expected) > ROW_LIMIT:  # Metabase shows so many rows of a table.
        assert len(found) == ROW_LIMIT
        assert set(found) <= set(expected)
    else:
        assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_the_numbers_are_those_of_the_product(
    stack: Stack, api: requests.Session, cards: dict[str, Row]
) -> None:
    """Without BigQuery and dbt in between."""
    with stack.postgres() as connection:
        expected = connection.execute(
            """
            select
                (select count(*) from organisations where archived_at is null) as organisations,
                (
                    select count(*) from organisations
                    where archived_at is null and setup_completed_at is null
                ) as in_setup,
                (
                    select count(*) from incidents
                    where not test and archived_at is null and status not in ('closed', 'declined')
                ) as open_incidents
            """
        ).fetchone()
        by_month = connection.execute(
            """
            select
                to_char(created_at at time zone 'UTC', 'YYYY-MM-01"T00:00:00"') as month,
                count(*) as items
            from timeline_items
            group by month
            """
        ).fetchall()
    names = ("Organisations", "Number still in set-up", "Open incidents")
    assert [asked(stack, api, cards[name]) for name in names] == [
        [(number,)] for number in (expected or {}).values()
    ]
    items = dict(asked(stack, api, cards["Timeline items by month"]))
    assert items == {row["month"]: row["items"] for row in by_month if row["month"] in items}
    assert items


@pytest.mark.parametrize("tool", ["Close", "Intercom", "Stripe"])
def test_a_dashboard_says_that_a_source_is_not_connected(
    stack: Stack, api: requests.Session, cards: dict[str, Row], tool: str
) -> None:
    text = json.dumps(cards[f"Is {tool} connected?"]["dataset_query"])
    # As if it were another source, which has never been loaded.
    query = json.loads(text.replace(f'"{tool.lower()}"', '"nothing"'))
    answer = api.post(f"{stack.status['metabase']['url']}/api/dataset", json=query).json()
    said = f"{tool} is not connected yet: run {tool.lower()}-daily"
    assert answer["data"]["rows"] == [[said]]


def test_a_second_push_writes_nothing(stack: Stack) -> None:
    said = stack.meltano("--log-level=warning", "invoke", "metabase:push")
    assert re.search(r"Questions and dashboards of \S+ at \S+: 0 written, \d+ as they are\.", said)


def test_filters_change_the_cards_that_they_are_mapped_to(
    stack: Stack, api: requests.Session
) -> None:
    """With a plan that nobody has, nothing is left on *Company overview*."""
    url = stack.status["metabase"]["url"]
    listed = api.get(f"{url}/api/dashboard").json()
    row = next(one for one in listed if one["name"] == "Company overview")
    shown = api.get(f"{url}/api/dashboard/{row['id']}").json()
    left = {}
    for dashcard in shown["dashcards"]:
        mapped = {one["parameter_id"]: one for one in dashcard["parameter_mappings"] or []}
        if "plan" in mapped:
            path = f"{url}/api/dashboard/{row['id']}/dashcard/{dashcard['id']}"
            value = {"id": "plan", "type": "string/=", "value": ["Nobody's"]}
            value |= {"target": mapped["plan"]["target"]}
            answer = api.post(
                f"{path}/card/{dashcard['card_id']}/query", json={"parameters": [value]}
            ).json()
            left[dashcard["card"]["name"]] = answer["data"]["rows"]
    assert len(left) >= 12
    assert {name: rows for name, rows in left.items() if rows not in ([], [[0]], [[None]])} == {}


def test_dashboards_and_questions_are_in_dbts_lineage(stack: Stack, tmp_path: Path) -> None:
    file = stack.root / "transform/exposures/metabase.yml"
    try:
        stack.meltano("--log-level=warning", "invoke", "dbt-metabase:exposures")
        stack.meltano("--log-level=warning", "invoke", "dbt-bigquery", "parse")
        exposures = stack.manifest()["exposures"].values()
    finally:
        file.unlink(missing_ok=True)
    read = {
        one["label"]: {node.split(".")[-1] for node in one["depends_on"]["nodes"]}
        for one in exposures
    }
    assert read["Who is in arrears and asking for help"] >= {ORG, CON, "dim_sources"}
    # The plan comes by a foreign key.
    assert read["Timeline items by month and plan"] == {TL, ORG}
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(stack.manifest()))
    results = {"unique_id": f"model.modern_data_stack.{OPP}", "status": "success", "message": ""}
    results |= {"adapter_response": {}, "relation_name": f"dbt.{OPP}", "execution_time": 1}
    built = tmp_path / "run_results.json"
    built.write_text(json.dumps({"results": [results]}))
    command = [ROOT / ".venv/bin/python", ROOT / "orchestrate/ci/summary.py", built, manifest]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "### Dashboards in Metabase that read what this changes: 1" in said
    assert re.search(rf"- \[Sales pipeline\]\(http://[^)]+/dashboard/\d+\): `{OPP}`", said)
