"""The dashboards that come with the stack: numbers, filters, and where a click leads."""

import html
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from ..answers import ANSWERS, Answer, Company
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
        f"Is {tool} connected?": f"""
            select '{tool} is not connected yet: run {tool.lower()}-daily'
            from (select countif(id = '{tool.lower()}') as times from dbt.dim_sources)
            where times = 0
        """
        for tool in ("Close", "Intercom", "Stripe")
    },
}
"""What each question asks, in SQL."""
FILTERS = [
    *(("Company overview", name) for name in ("plan", "currency")),
    *(("Set-up funnel", name) for name in ("plan", "signed_up")),
    *(("Timeline items a month", name) for name in ("plan", "kind", "when")),
    *(("Who is in arrears and asking for help", name) for name in ("plan", "owner")),
    *(("Sales pipeline", name) for name in ("owner", "pipeline", "currency", "opened")),
    *(("Support", name) for name in ("team", "plan", "opened")),
    *(("Is the data fresh?", name) for name in ("source", "when")),
]
"""The dashboards, and what each can be filtered by."""
HEALTHY = {
    *("Sources that are failing", "Tables that have failed"),
    *("Tables that brought unusually little or much",),
    *("Tests and models that have failed", "List of failed tests and models"),
    *("Is Close connected?", "Is Intercom connected?", "Is Stripe connected?"),
}
"""Questions without an answer if all is well."""
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


@dataclass
class Metabase:
    """The questions and dashboards, by their names, and what they answer."""

    url: str
    session: requests.Session

    @cached_property
    def cards(self) -> dict[str, Row]:
        return {row["name"]: row for row in self.session.get(f"{self.url}/api/card").json()}

    @cached_property
    def dashboards(self) -> dict[str, Row]:
        rows = self.session.get(f"{self.url}/api/dashboard").json()
        found = (self.session.get(f"{self.url}/api/dashboard/{row['id']}").json() for row in rows)
        return {row["name"]: row for row in found}

    def shown(self, dashboard: str) -> dict[str, Row]:
        """The questions on a dashboard: where they are shown, by name."""
        cards = self.dashboards[dashboard]["dashcards"]
        return {one["card"]["name"]: one for one in cards if one["card_id"]}

    def ask(self, path: str, body: Row) -> list[tuple[Any, ...]]:
        answer = self.session.post(f"{self.url}/api/{path}", json=body).json()
        assert answer["status"] == "completed", answer.get("error")
        return [tuple(map(plain, row)) for row in answer["data"]["rows"]]


@pytest.fixture(scope="module")
def metabase(stack: Stack, company: Company) -> Metabase:  # noqa: ARG001
    session = requests.Session()
    session.headers["X-API-KEY"] = stack.environment["METABASE_API_KEY"]
    return Metabase(stack.status["metabase"]["url"], session)


@pytest.fixture(scope="module")
def company(stack: Stack) -> Company:
    """The company, once all that other tests have changed is loaded and built."""
    stack.load_and_build()
    contacts = stack.query(
        """
        select
            id, role, external_id, companies,
            -- Nobody is to know any more who was deleted.
            if(_sdc_deleted_at is null, name, null) as name
        from intercom.contacts
        """
    )
    found = Company(
        stack.status["postgres"]["dsn"],
        loads=stack.query("select * from ops.loads"),
        nodes=stack.query("select * from ops.dbt_nodes"),
        contacts=[{**row, "companies": {"data": row["companies"] or []}} for row in contacts],
    )
    # Else nobody but the world would know the revenue of today.
    assert not found.world.changing_after(found.today)
    return found


def is_same(found: list[tuple[Any, ...]], rows: Iterable[Iterable[Any]], answer: Answer) -> bool:
    """Whether rows are those that an answer has, as far as a question shows them."""
    expected = [tuple(map(plain, row)) for row in rows]
    if answer.largest:
        numbers = sorted((row[-1] for row in expected), reverse=True)[: answer.largest]
        return {*found} <= {*expected} and [row[-1] for row in found] == numbers
    if answer.is_list and len(expected) > ROW_LIMIT:
        return {*found} <= {*expected} and len(found) == ROW_LIMIT
    return sorted(found, key=repr) == sorted(expected, key=repr)


def test_every_question_is_computed_independently(metabase: Metabase) -> None:
    assert metabase.cards.keys() == QUESTIONS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_numbers_are_those_of_sql_and_of_the_company(
    stack: Stack, metabase: Metabase, company: Company, name: str
) -> None:
    answer = ANSWERS[name]
    found = metabase.ask(f"card/{metabase.cards[name]['id']}/query", {})
    rows = answer.rows(company)
    assert is_same(found, rows, answer), (found, rows)
    if not answer.largest:  # SQL has only the first ten, and any of those with the same number
        rows = [tuple(row.values()) for row in stack.query(QUESTIONS[name])]
        assert is_same(found, rows, answer), (found, rows)


def test_there_is_something_to_compare(company: Company) -> None:
    """The company is small, and another each day: on some, nobody waits for a reply."""
    nothing = {name for name, answer in ANSWERS.items() if not any(answer.groups(company).values())}
    assert len(nothing - HEALTHY) <= len(ANSWERS) // 10, nothing - HEALTHY


def chosen_value(records: Iterable[Any], parameter: Row) -> Any:
    """A value that changes the answers: the most usual one, or a month.

    If that would leave everything, one that leaves nothing.
    """
    found = [getattr(one, parameter["id"]) for one in records]
    values = [value for value in found if value is not None]
    if not parameter["type"].startswith("date"):
        usual = Counter(values).most_common(1)
        return [usual[0][0]] if usual and usual[0][1] < len(found) else ["Nothing has this"]
    days = sorted(value.date() for value in values)
    middle = days[len(days) // 2]
    first, last = middle - timedelta(days=15), middle + timedelta(days=15)
    if len(days) == len(found) and first <= days[0] and days[-1] <= last:
        first, last = first - timedelta(days=366), first - timedelta(days=336)
    return f"{first}~{last}"


def is_kept(record: Any, chosen: Row) -> bool:
    """Whether a record is one of those that filters leave."""
    for name, value in chosen.items():
        of_record = getattr(record, name)
        if isinstance(value, list):
            if value and of_record not in value:
                return False
        elif value is not None:
            first, last = map(date.fromisoformat, value.split("~"))
            if of_record is None or not first <= of_record.date() <= last:
                return False
    return True


@pytest.mark.parametrize(("dashboard", "filter_"), FILTERS)
def test_a_filter_leaves_the_right_numbers_on_each_card(
    metabase: Metabase, company: Company, dashboard: str, filter_: str
) -> None:
    row = metabase.dashboards[dashboard]
    parameters = {one["id"]: one for one in row["parameters"]}
    assert {(dashboard, id_) for id_ in parameters} <= {*FILTERS}
    defaults = {id_: one.get("default") for id_, one in parameters.items()}
    mapped = {
        name: {one["parameter_id"] for one in shown["parameter_mappings"] or []}
        for name, shown in metabase.shown(dashboard).items()
    }
    names = [name for name, ids in mapped.items() if filter_ in ids]
    # The cards' records have the values of what they are filtered by.
    records = [one for name in names for one in ANSWERS[name].records(company)]
    value = chosen_value(records, parameters[filter_])
    changed = []
    for name in names:
        shown = metabase.shown(dashboard)[name]
        path = f"dashboard/{row['id']}/dashcard/{shown['id']}/card/{shown['card_id']}/query"
        type_ = parameters[filter_]["type"]
        found = metabase.ask(path, {"parameters": [{"id": filter_, "type": type_, "value": value}]})
        chosen = {id_: v for id_, v in {**defaults, filter_: value}.items() if id_ in mapped[name]}
        rows = ANSWERS[name].rows(company, lambda one, chosen=chosen: is_kept(one, chosen))
        assert is_same(found, rows, ANSWERS[name]), (name, value, found, rows)
        changed.append(rows != ANSWERS[name].rows(company))
    assert any(changed), value


@pytest.mark.parametrize("dashboard", sorted({name for name, _ in FILTERS}))
def test_a_number_leads_to_as_many_rows_as_it_counts(
    metabase: Metabase, company: Company, dashboard: str
) -> None:
    """Also with a filter, which goes along."""
    row = metabase.dashboards[dashboard]
    parameters = {one["id"]: one for one in row["parameters"]}
    first = next(iter(parameters.values()))
    followed = 0
    for name, shown in metabase.shown(dashboard).items():
        answer = ANSWERS[name]
        mapped = {one["parameter_id"] for one in shown["parameter_mappings"] or []}
        if answer.is_list or not mapped:
            continue
        chosen = {id_: one.get("default") for id_, one in parameters.items() if id_ in mapped}
        records = answer.records(company)
        if not records:
            continue
        if first["id"] in mapped:
            # One that leaves something to follow.
            values = [getattr(one, first["id"]) for one in records]
            usual = Counter(value for value in values if value is not None).most_common(1)
            chosen[first["id"]] = [usual[0][0]] if usual else None
        groups = {
            tuple(map(plain, key)): records
            for key, records in answer.groups(
                company, lambda one, chosen=chosen: is_kept(one, chosen)
            ).items()
        }
        sent = {parameters[id_]["slug"]: value for id_, value in chosen.items() if value}
        card = metabase.session.get(
            f"{metabase.url}/dashboard/{row['id']}/dashcard/{shown['id']}", params=sent
        ).text
        links = sorted(set(re.findall(r'href="(/question/[^"]+)"', html.unescape(card))))
        for link in links[:: max(1, len(links) // 3)]:
            page = metabase.session.get(f"{metabase.url}{link}").text
            (count,) = re.findall(r">([\d,]+) rows?<", page)
            assert int(count.replace(",", "")) == len(group_of(groups, link, parameters)), link
            followed += 1
    assert followed


def group_of(groups: Mapping[tuple[Any, ...], list[Any]], link: str, filters: Row) -> list[Any]:
    """The records of the bar or number that a link belongs to."""
    query = parse_qs(urlsplit(link).query)
    if "at" in query:
        return groups[tuple(map(plain, json.loads(query["at"][0])))]
    clicked = {values[0] for key, values in query.items() if key not in {"from", *filters}}
    (records,) = (found for key, found in groups.items() if clicked <= {*key})
    return records


@pytest.mark.parametrize("tool", ["Close", "Intercom", "Stripe"])
def test_a_dashboard_says_that_a_source_is_not_connected(metabase: Metabase, tool: str) -> None:
    text = json.dumps(metabase.cards[f"Is {tool} connected?"]["dataset_query"])
    # As if it were another source, which has never been loaded.
    query = json.loads(text.replace(f'"{tool.lower()}"', '"nothing"'))
    said = f"{tool} is not connected yet: run {tool.lower()}-daily"
    assert metabase.ask("dataset", query) == [(said,)]


def test_a_second_push_writes_nothing(stack: Stack) -> None:
    said = stack.meltano("--log-level=warning", "invoke", "metabase:push")
    assert re.search(r"Questions and dashboards of \S+ at \S+: 0 written, \d+ as they are\.", said)


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
