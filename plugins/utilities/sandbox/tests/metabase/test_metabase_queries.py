"""Questions give the rows of SQL that was written by hand, both run on the emulator."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from local_servers.emulator import running_emulator
from sandbox.metabase.app import create_app
from sandbox.metabase.provision import Provision, provision
from sandbox.metabase.store import Store

from .support import API_KEY, DATABASE, client, eventually, served

TODAY = datetime.now(UTC).date()
WORLD = f"""
create table dbt.dim_organisations (
    id string, name string, plan string, acv numeric, employees int64,
    created_at timestamp, renews_on date, is_active bool
);
create table dbt.fct_tickets (
    id string, organisation_id string, opened_at timestamp, priority int64, minutes float64
);
insert into dbt.dim_organisations values
    ('o1', 'Ada & Co', 'team', 1200.50, 12, timestamp '2026-01-05 10:00:00+00', '2026-06-30', true),
    ('o2', "B'rown_100%", 'team', 800, 0, timestamp '2026-01-31 23:59:59+00', '2026-07-01', false),
    ('o3', 'Cole', 'free', 0, null, timestamp '2026-02-01 00:00:00+00', null, true),
    ('o4', 'Dane', null, null, 7, timestamp '2026-04-15 12:00:00+00', '2026-12-31', null),
    ('o5', '', 'pro', 99.99, 7, null, '2025-12-31', true);
insert into dbt.fct_tickets values
    ('t1', 'o1', timestamp '2026-01-06 08:00:00+00', 1, 10.5),
    ('t2', 'o1', timestamp '2026-01-07 09:30:00+00', 2, null),
    ('t3', 'o2', timestamp '2026-02-02 00:00:00+00', 1, 3),
    ('t4', 'o9', timestamp '2026-02-28 23:00:00+00', 3, 4),
    ('t5', null, timestamp '2026-03-01 00:00:00+00', 3, 5),
    ('t6', 'o3', timestamp '{TODAY} 12:00:00+00', 2, 1),
    ('t7', 'o3', timestamp '{TODAY - timedelta(days=1)} 12:00:00+00', 2, 2),
    ('t8', 'o4', timestamp '{TODAY - timedelta(days=40)} 12:00:00+00', 1, 8);
"""


@dataclass
class Questions:
    """A fake over the emulator, and ways to ask it."""

    api: httpx.Client
    tables: dict[str, int]
    fields: dict[str, int]

    def field(self, name: str, **options: Any) -> list[Any]:
        """A reference to `table.column`; `source_field="table.column"` for an implicit join."""
        options = {key.replace("_", "-"): value for key, value in options.items()}
        if "source-field" in options:
            options["source-field"] = self.fields[options["source-field"]]
        return ["field", options, self.fields[name]]

    def query(self, *stages: dict[str, Any]) -> dict[str, Any]:
        filled = [{"lib/type": "mbql.stage/mbql", **stage} for stage in stages]
        if isinstance(filled[0].get("source-table"), str):
            filled[0]["source-table"] = self.tables[filled[0]["source-table"]]
        return {"lib/type": "mbql/query", "database": 1, "stages": filled}

    def sql(self, sql: str, *tags: dict[str, Any]) -> dict[str, Any]:
        stage = {"lib/type": "mbql.stage/native", "native": sql, "template-tags": list(tags)}
        return {"lib/type": "mbql/query", "database": 1, "stages": [stage]}

    def ask(self, query: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
        answer = self.api.post("/api/dataset", json={**query, "parameters": list(parameters)})
        assert answer.status_code == 202, answer.text
        shown: dict[str, Any] = answer.json()
        assert shown["status"] == "completed", shown.get("error")
        return shown

    def rows(self, query: dict[str, Any], *parameters: dict[str, Any]) -> list[list[Any]]:
        rows: list[list[Any]] = self.ask(query, *parameters)["data"]["rows"]
        return rows

    def save(self, query: dict[str, Any], **values: Any) -> int:
        body = {"name": "Q", "display": "table", "visualization_settings": {}, **values}
        answer = self.api.post("/api/card", json={**body, "dataset_query": query})
        assert answer.status_code == 200, answer.text
        card_id: int = answer.json()["id"]
        return card_id


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Questions]:
    with running_emulator(tmp_path_factory.mktemp("bigquery")) as emulator:
        session = bigquery.Client(
            project="local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": emulator.endpoint},
        )
        session.create_dataset("dbt")
        for statement in WORLD.strip().removesuffix(";").split(";"):
            session.query(statement).result()
        store = Store(tmp_path_factory.mktemp("metabase") / "state.json")
        wanted = Provision(API_KEY, DATABASE, emulator.endpoint, "local", "dbt")
        app = create_app(store, lambda: provision(store, wanted))
        with served(app) as url, client(url, {"X-API-KEY": API_KEY}) as api:
            eventually(lambda: api.get("/api/health").status_code == 200)
            api.post("/api/database/1/sync_schema").raise_for_status()
            eventually(lambda: len(api.get("/api/table").json()) == 2)
            yield questions(api)


def questions(api: httpx.Client) -> Questions:
    tables = api.get("/api/database/1/metadata").json()["tables"]
    fields = {f"{t['name']}.{f['name']}": f["id"] for t in tables for f in t["fields"]}
    api.put(
        f"/api/field/{fields['fct_tickets.organisation_id']}",
        json={"semantic_type": "type/FK", "fk_target_field_id": fields["dim_organisations.id"]},
    ).raise_for_status()
    return Questions(api, {t["name"]: t["id"] for t in tables}, fields)


COUNTED = "11111111-1111-1111-1111-111111111111"
COUNT = ["count", {"lib/uuid": COUNTED}]
type Make = Callable[[Questions], list[dict[str, Any]]]


def org(q: Questions, column: str, **options: Any) -> list[Any]:
    return q.field(f"dim_organisations.{column}", **options)


def ticket(q: Questions, column: str, **options: Any) -> list[Any]:
    return q.field(f"fct_tickets.{column}", **options)


def organisations(**parts: Any) -> Make:
    """Ids of the organisations that a filter keeps; or what a stage of them says."""

    def make(q: Questions) -> list[dict[str, Any]]:
        filled = {key.replace("_", "-"): value(q) for key, value in parts.items()}
        if "filters" in filled:
            filled = {"fields": [org(q, "id")], "order-by": [["asc", {}, org(q, "id")]], **filled}
        return [{"source-table": "dim_organisations", **filled}]

    return make


def tickets(**parts: Any) -> Make:
    def make(q: Questions) -> list[dict[str, Any]]:
        filled = {key.replace("_", "-"): value(q) for key, value in parts.items()}
        return [{"source-table": "fct_tickets", **filled}]

    return make


def kept(condition: str) -> str:
    return f"select id from dbt.dim_organisations where {condition} order by id"


QUESTIONS: dict[str, tuple[Make, str]] = {
    "all columns": (
        organisations(limit=lambda _: 3),
        "select * from dbt.dim_organisations limit 3",
    ),
    "equal": (
        organisations(filters=lambda q: [["=", {}, org(q, "plan"), "team"]]),
        kept("plan = 'team'"),
    ),
    "one of several": (
        organisations(filters=lambda q: [["=", {}, org(q, "plan"), "team", "pro"]]),
        kept("plan in ('team', 'pro')"),
    ),
    "a quote, a percent sign and an underscore": (
        organisations(filters=lambda q: [["=", {}, org(q, "name"), "B'rown_100%"]]),
        kept("id = 'o2'"),
    ),
    "unequal keeps null": (
        organisations(filters=lambda q: [["!=", {}, org(q, "plan"), "team"]]),
        kept("plan is null or plan != 'team'"),
    ),
    "none of several keeps null": (
        organisations(filters=lambda q: [["!=", {}, org(q, "plan"), "team", "pro"]]),
        kept("plan is null or plan not in ('team', 'pro')"),
    ),
    "compared": (
        organisations(
            filters=lambda q: [
                [">", {}, org(q, "acv"), 99.98],
                ["<=", {}, org(q, "employees"), 12],
                ["between", {}, org(q, "acv"), 99, 1200.5],
            ]
        ),
        kept("acv > 99.98 and employees <= 12 and acv between 99 and 1200.5"),
    ),
    "and, or, not": (
        organisations(
            filters=lambda q: [
                [
                    "or",
                    {},
                    ["=", {}, org(q, "is_active"), True],
                    ["not", {}, ["=", {}, org(q, "plan"), "team"]],
                ],
            ]
        ),
        kept("is_active or not (plan = 'team')"),
    ),
    "null and empty": (
        organisations(
            filters=lambda q: [["not-null", {}, org(q, "plan")], ["is-empty", {}, org(q, "name")]]
        ),
        kept("plan is not null and (name is null or name = '')"),
    ),
    "not null, not empty": (
        organisations(
            filters=lambda q: [["is-null", {}, org(q, "plan")], ["not-empty", {}, org(q, "name")]]
        ),
        kept("plan is null and name != ''"),
    ),
    "text in any case": (
        organisations(
            filters=lambda q: [["contains", {"case-sensitive": False}, org(q, "name"), "O", "dAn"]]
        ),
        kept("lower(name) like '%o%' or lower(name) like '%dan%'"),
    ),
    "text that is a pattern elsewhere": (
        organisations(filters=lambda q: [["contains", {}, org(q, "name"), "_100%"]]),
        kept("strpos(name, '_100%') > 0"),
    ),
    "text at either end": (
        organisations(
            filters=lambda q: [
                ["starts-with", {}, org(q, "name"), "C"],
                ["ends-with", {}, org(q, "name"), "e"],
                ["does-not-contain", {}, org(q, "plan"), "team"],
            ]
        ),
        kept("name = 'Cole'"),
    ),
    "a date": (
        organisations(filters=lambda q: [[">=", {}, org(q, "renews_on"), "2026-07-01"]]),
        kept("renews_on >= date '2026-07-01'"),
    ),
    "a day of a timestamp": (
        organisations(filters=lambda q: [["=", {}, org(q, "created_at"), "2026-01-31"]]),
        kept("date(created_at) = '2026-01-31'"),
    ),
    "days of a timestamp, the last one whole": (
        organisations(
            filters=lambda q: [["between", {}, org(q, "created_at"), "2026-01-05", "2026-01-31"]]
        ),
        kept("date(created_at) between '2026-01-05' and '2026-01-31'"),
    ),
    "a month": (
        organisations(
            filters=lambda q: [["=", {}, org(q, "created_at", temporal_unit="month"), "2026-01-01"]]
        ),
        kept("timestamp_trunc(created_at, month) = timestamp '2026-01-01'"),
    ),
    "count": (tickets(aggregation=lambda _: [COUNT]), "select count(*) from dbt.fct_tickets"),
    "every aggregation": (
        tickets(
            aggregation=lambda q: [
                ["count", {}, ticket(q, "minutes")],
                ["distinct", {}, ticket(q, "organisation_id")],
                ["sum", {}, ticket(q, "minutes")],
                ["avg", {}, ticket(q, "minutes")],
                ["min", {}, ticket(q, "minutes")],
                ["max", {}, ticket(q, "opened_at")],
                ["count-where", {}, ["=", {}, ticket(q, "priority"), 1]],
                ["sum-where", {}, ticket(q, "minutes"), ["=", {}, ticket(q, "priority"), 1]],
                [
                    "distinct-where",
                    {},
                    ticket(q, "organisation_id"),
                    ["=", {}, ticket(q, "priority"), 1],
                ],
                ["share", {}, ["=", {}, ticket(q, "priority"), 1]],
                ["/", {}, ["sum", {}, ticket(q, "minutes")], ["count", {}]],
            ]
        ),
        "select count(minutes), count(distinct organisation_id), sum(minutes), avg(minutes),"
        " min(minutes), max(opened_at), countif(priority = 1), sum(if(priority = 1, minutes, 0)),"
        " count(distinct if(priority = 1, organisation_id, null)),"
        " countif(priority = 1) / count(*), sum(minutes) / count(*) from dbt.fct_tickets",
    ),
    "groups, in their order": (
        organisations(breakout=lambda q: [org(q, "plan")], aggregation=lambda _: [COUNT]),
        "select plan, count(*) from dbt.dim_organisations group by plan order by plan",
    ),
    "the largest groups": (
        tickets(
            breakout=lambda q: [ticket(q, "organisation_id")],
            aggregation=lambda _: [COUNT],
            order_by=lambda _: [["desc", {}, ["aggregation", {}, COUNTED]]],
            limit=lambda _: 2,
        ),
        "select organisation_id, count(*) from dbt.fct_tickets group by organisation_id"
        " order by 2 desc, organisation_id limit 2",
    ),
    **{
        f"by {unit}": (
            tickets(
                breakout=lambda q, unit=unit: [ticket(q, "opened_at", temporal_unit=unit)],
                aggregation=lambda _: [COUNT],
            ),
            f"select timestamp_trunc(opened_at, {unit}), count(*) from dbt.fct_tickets"
            " group by 1 order by 1",
        )
        for unit in ("hour", "day", "week", "month", "quarter", "year")
    },
    "a date by month": (
        organisations(
            breakout=lambda q: [org(q, "renews_on", temporal_unit="month")],
            aggregation=lambda _: [COUNT],
        ),
        "select date_trunc(renews_on, month), count(*) from dbt.dim_organisations"
        " group by 1 order by 1",
    ),
    "by day of the week and month of the year": (
        tickets(
            breakout=lambda q: [
                ticket(q, "opened_at", temporal_unit="day-of-week"),
                ticket(q, "opened_at", temporal_unit="month-of-year"),
            ],
            aggregation=lambda _: [COUNT],
        ),
        "select extract(dayofweek from opened_at), extract(month from opened_at), count(*)"
        " from dbt.fct_tickets group by 1, 2 order by 1, 2",
    ),
    "in bins": (
        organisations(
            breakout=lambda q: [org(q, "acv", binning={"strategy": "bin-width", "bin-width": 500})],
            aggregation=lambda _: [COUNT],
        ),
        "select floor(acv / 500) * 500, count(*) from dbt.dim_organisations group by 1 order by 1",
    ),
    "running totals": (
        tickets(
            breakout=lambda q: [ticket(q, "opened_at", temporal_unit="month")],
            aggregation=lambda q: [["cum-count", {}], ["cum-sum", {}, ticket(q, "minutes")]],
        ),
        "select month, sum(n) over (order by month), sum(minutes) over (order by month) from ("
        "select timestamp_trunc(opened_at, month) as month, count(*) as n, sum(minutes) as minutes"
        " from dbt.fct_tickets group by 1) order by month",
    ),
    "through a foreign key": (
        tickets(
            breakout=lambda q: [org(q, "plan", source_field="fct_tickets.organisation_id")],
            aggregation=lambda _: [COUNT],
            filters=lambda q: [
                ["!=", {}, org(q, "name", source_field="fct_tickets.organisation_id"), "Dane"]
            ],
        ),
        "select o.plan, count(*) from dbt.fct_tickets as t left join dbt.dim_organisations as o"
        " on o.id = t.organisation_id where o.name is null or o.name != 'Dane'"
        " group by 1 order by 1",
    ),
    "an explicit join": (
        lambda q: [
            {
                "source-table": "fct_tickets",
                "joins": [
                    {
                        "alias": "Orgs",
                        "strategy": "inner-join",
                        "stages": [
                            {
                                "lib/type": "mbql.stage/mbql",
                                "source-table": q.tables["dim_organisations"],
                            }
                        ],
                        "conditions": [
                            ["=", {}, ticket(q, "organisation_id"), org(q, "id", join_alias="Orgs")]
                        ],
                    }
                ],
                "fields": [ticket(q, "id"), org(q, "plan", join_alias="Orgs")],
                "order-by": [["desc", {}, ticket(q, "id")]],
            }
        ],
        "select t.id, o.plan from dbt.fct_tickets as t inner join dbt.dim_organisations as o"
        " on o.id = t.organisation_id order by 1 desc",
    ),
    "expressions": (
        organisations(
            expressions=lambda q: [
                ["*", {"lib/expression-name": "monthly"}, ["/", {}, org(q, "acv"), 12], 1],
                ["/", {"lib/expression-name": "per_head"}, org(q, "acv"), org(q, "employees")],
                [
                    "case",
                    {"lib/expression-name": "size"},
                    [
                        [[">", {}, org(q, "employees"), 10], "large"],
                        [["is-null", {}, org(q, "employees")], "?"],
                    ],
                    "small",
                ],
                ["coalesce", {"lib/expression-name": "plan_or"}, org(q, "plan"), "none"],
                ["concat", {"lib/expression-name": "label"}, org(q, "name"), " / ", org(q, "id")],
            ],
            fields=lambda q: [
                org(q, "id"),
                *(
                    ["expression", {}, name]
                    for name in ("monthly", "per_head", "size", "plan_or", "label")
                ),
            ],
            order_by=lambda q: [["asc", {}, org(q, "id")]],
        ),
        "select id, cast(acv as float64) / 12, cast(acv as float64) / nullif(employees, 0),"
        " case when employees > 10 then 'large' when employees is null then '?' else 'small' end,"
        " coalesce(plan, 'none'), concat(name, ' / ', id) from dbt.dim_organisations order by id",
    ),
    "arithmetic of dates": (
        organisations(
            expressions=lambda q: [
                [
                    "datetime-diff",
                    {"lib/expression-name": "days"},
                    org(q, "created_at"),
                    org(q, "renews_on"),
                    "day",
                ],
                ["datetime-add", {"lib/expression-name": "later"}, org(q, "renews_on"), 1, "month"],
                ["get-year", {"lib/expression-name": "year"}, org(q, "renews_on")],
            ],
            fields=lambda q: [
                org(q, "id"),
                *(["expression", {}, name] for name in ("days", "later", "year")),
            ],
            order_by=lambda q: [["asc", {}, org(q, "id")]],
        ),
        "select id, div(datetime_diff(datetime(renews_on), datetime(created_at), second), 86400),"
        " date_add(renews_on, interval 1 month), extract(year from renews_on)"
        " from dbt.dim_organisations order by id",
    ),
    "a stage on a stage": (
        lambda q: [
            {
                "source-table": "fct_tickets",
                "breakout": [ticket(q, "organisation_id")],
                "aggregation": [COUNT, ["avg", {"name": "mean"}, ticket(q, "minutes")]],
            },
            {
                "filters": [[">", {}, ["field", {"base-type": "type/Integer"}, "count"], 1]],
                "aggregation": [
                    ["max", {}, ["field", {"base-type": "type/Float"}, "mean"]],
                    ["count", {}],
                ],
            },
        ],
        "select max(mean), count(*) from (select organisation_id, count(*) as n, avg(minutes) as"
        " mean from dbt.fct_tickets group by 1) where n > 1",
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_gives_the_rows_of_sql_by_hand(asked: Questions, name: str) -> None:
    make, by_hand = QUESTIONS[name]
    ours, theirs = asked.rows(asked.query(*make(asked))), asked.rows(asked.sql(by_hand))
    assert theirs
    assert ours == [pytest.approx(row) if _has_float(row) else row for row in theirs]


def _has_float(row: list[Any]) -> bool:
    return any(isinstance(value, float) for value in row)


@pytest.mark.parametrize(
    ("amount", "unit", "options", "expected"),
    [
        ("current", "day", {}, {"t6"}),
        (-1, "day", {}, {"t7"}),
        (-1, "day", {"include-current": True}, {"t6", "t7"}),
        (-30, "day", {"include-current": True}, {"t6", "t7"}),
        (-50, "day", {}, {"t7", "t8"}),
    ],
)
def test_relative_times_are_counted_from_today(
    asked: Questions, amount: Any, unit: str, options: dict[str, Any], expected: set[str]
) -> None:
    recent = [[">=", {}, ticket(asked, "opened_at"), str(TODAY - timedelta(days=60))]]
    interval = ["time-interval", options, ticket(asked, "opened_at"), amount, unit]
    stage = {
        "source-table": "fct_tickets",
        "fields": [ticket(asked, "id")],
        "filters": [*recent, interval],
    }
    assert {row[0] for row in asked.rows(asked.query(stage))} == expected


# --- Cards, models and metrics


def test_a_card_is_a_source_and_so_is_one_on_sql(asked: Questions) -> None:
    stage = {"source-table": "dim_organisations", "fields": [org(asked, "id"), org(asked, "plan")]}
    for card in (
        asked.save(asked.query(stage)),
        asked.save(asked.sql("select id, plan from dbt.dim_organisations -- all\n;")),
    ):
        plan = ["field", {"base-type": "type/Text"}, "plan"]
        query = asked.query({"source-card": card, "breakout": [plan], "aggregation": [COUNT]})
        assert asked.rows(query) == [[None, 1], ["free", 1], ["pro", 1], ["team", 2]]


def test_a_metric_is_the_aggregation_of_its_card(asked: Questions) -> None:
    stage = {
        "source-table": "dim_organisations",
        "aggregation": [["sum", {}, org(asked, "acv")]],
        "filters": [["=", {}, org(asked, "is_active"), True]],
    }
    metric = asked.save(asked.query(stage), type="metric", display="scalar", name="Active ACV")
    asked_for = {"source-table": "dim_organisations", "aggregation": [["metric", {}, metric]]}
    shown = asked.ask(asked.query(asked_for))["data"]
    assert shown["rows"] == [[1300.49]]
    assert shown["cols"][0]["display_name"] == "Active ACV"


def test_columns_say_what_they_are(asked: Questions) -> None:
    stage = {
        "source-table": "fct_tickets",
        "breakout": [
            ticket(asked, "opened_at", temporal_unit="month"),
            org(asked, "plan", source_field="fct_tickets.organisation_id"),
        ],
        "aggregation": [
            COUNT,
            ["sum", {"display-name": "Effort"}, ticket(asked, "minutes")],
            COUNT,
        ],
    }
    columns = asked.ask(asked.query(stage))["data"]["cols"]
    assert [(c["name"], c["display_name"], c["source"]) for c in columns] == [
        ("opened_at", "Opened At: Month", "breakout"),
        ("plan", "Organisation → Plan", "breakout"),
        ("count", "Count", "aggregation"),
        ("sum", "Effort", "aggregation"),
        ("count_2", "Count", "aggregation"),
    ]
    assert columns[0]["unit"] == "month"
    assert columns[0]["id"] == asked.fields["fct_tickets.opened_at"]


# --- Values of filters

PLAN_TAG = {"id": "00000000-0000-0000-0000-000000000001", "name": "plan", "type": "text"}


def test_a_template_tag_takes_a_value_and_never_sql(asked: Questions) -> None:
    query = asked.sql(
        "select count(*) from dbt.dim_organisations where plan = {{ plan }}", PLAN_TAG
    )
    target = ["variable", ["template-tag", "plan"]]

    def counted(value: str) -> int:
        rows = asked.rows(query, {"type": "category", "target": target, "value": value})
        count: int = rows[0][0]
        return count

    assert counted("team") == 2
    assert counted("' or '1' = '1") == 0
    assert counted("\\' or 1 = 1 -- ") == 0


def test_an_optional_part_of_sql_needs_a_value(asked: Questions) -> None:
    sql = "select count(*) from dbt.dim_organisations [[where plan = {{plan}}]]"
    assert asked.rows(asked.sql(sql, PLAN_TAG)) == [[5]]
    assert asked.rows(asked.sql(sql, {**PLAN_TAG, "default": "free"})) == [[1]]
    required = asked.sql("select {{plan}}", PLAN_TAG)
    answer = asked.api.post("/api/dataset", json=required).json()
    assert (answer["status"], answer["error"]) == ("failed", "a value is required for plan")


def test_a_field_filter_compares_as_a_question_does(asked: Questions) -> None:
    tag = {
        "id": "00000000-0000-0000-0000-000000000002",
        "name": "created",
        "type": "dimension",
        "widget-type": "date/all-options",
        "dimension": org(asked, "created_at"),
    }
    query = asked.sql("select count(*) from dbt.dim_organisations where {{created}}", tag)
    target = ["dimension", ["template-tag", "created"]]
    assert asked.rows(query) == [[5]]
    given = {"type": "date/all-options", "target": target, "value": "2026-01"}
    assert asked.rows(query, given) == [[2]]


@pytest.mark.parametrize(
    ("kind", "column", "value", "expected"),
    [
        ("string/=", "plan", ["team", "free"], {"o1", "o2", "o3"}),
        ("string/=", "plan", [], {"o1", "o2", "o3", "o4", "o5"}),
        ("string/!=", "plan", ["team"], {"o3", "o4", "o5"}),
        ("string/contains", "name", ["OLE"], {"o3"}),
        ("number/>=", "acv", ["800"], {"o1", "o2"}),
        ("number/between", "acv", [1, 900], {"o2", "o5"}),
        ("boolean/=", "is_active", [True], {"o1", "o3", "o5"}),
        ("date/single", "created_at", "2026-02-01", {"o3"}),
        ("date/range", "created_at", "2026-01-31~2026-02-01", {"o2", "o3"}),
        ("date/all-options", "created_at", "~2026-01-31", {"o1", "o2"}),
        ("date/all-options", "created_at", "2026-02-01~", {"o3", "o4"}),
        ("date/month-year", "renews_on", "2026-07", {"o2"}),
        ("date/quarter-year", "renews_on", "Q2-2026", {"o1"}),
        ("date/relative", "created_at", "next10years", set()),
    ],
)
def test_a_dashboard_s_filter_reaches_the_cards_that_it_is_mapped_to(
    asked: Questions, kind: str, column: str, value: Any, expected: set[str]
) -> None:
    stage = {"source-table": "dim_organisations", "fields": [org(asked, "id")]}
    card = asked.save(asked.query(stage))
    made = asked.api.post("/api/dashboard", json={"name": "D"}).json()
    field_id = asked.fields[f"dim_organisations.{column}"]
    target = ["dimension", ["field", field_id, None], {"stage-number": 0}]
    mapping = {"parameter_id": "p", "card_id": card, "target": target}
    place = {"row": 0, "col": 0, "size_x": 12, "size_y": 6, "card_id": card}
    asked.api.put(
        f"/api/dashboard/{made['id']}",
        json={
            "parameters": [{"id": "p", "name": "P", "slug": "p", "type": kind}],
            "dashcards": [
                {**place, "id": -1, "parameter_mappings": [mapping]},
                {**place, "id": -2, "row": 6, "parameter_mappings": []},
            ],
        },
    ).raise_for_status()
    filtered, whole = asked.api.get(f"/api/dashboard/{made['id']}").json()["dashcards"]

    def rows(dashcard: dict[str, Any]) -> set[str]:
        path = f"/api/dashboard/{made['id']}/dashcard/{dashcard['id']}/card/{card}/query"
        body = {"parameters": [{"id": "p", "value": value}]}
        return {row[0] for row in asked.api.post(path, json=body).json()["data"]["rows"]}

    assert rows(filtered) == expected
    assert len(rows(whole)) == 5


def test_a_filter_offers_the_values_of_the_field_that_it_filters(asked: Questions) -> None:
    card = asked.save(asked.query({"source-table": "dim_organisations"}))
    made = asked.api.post("/api/dashboard", json={"name": "D"}).json()
    plan = asked.fields["dim_organisations.plan"]
    target = ["dimension", ["field", plan, None]]
    mapping = {"parameter_id": "p", "card_id": card, "target": target}
    place = {"row": 0, "col": 0, "size_x": 12, "size_y": 6, "card_id": card}
    listed = {"values_source_type": "static-list", "values_source_config": {"values": ["a", "b"]}}
    body = {
        "parameters": [
            {"id": "p", "name": "Plan", "slug": "plan", "type": "string/="},
            {"id": "q", "name": "Letter", "slug": "q", "type": "string/=", **listed},
        ],
        "dashcards": [{**place, "id": -1, "parameter_mappings": [mapping]}],
    }
    asked.api.put(f"/api/dashboard/{made['id']}", json=body).raise_for_status()

    def values(path: str) -> list[list[Any]]:
        offered: list[list[Any]] = asked.api.get(path).json()["values"]
        return offered

    plans = [["free"], ["pro"], ["team"]]
    assert values(f"/api/dashboard/{made['id']}/params/p/values") == plans
    assert values(f"/api/dashboard/{made['id']}/params/q/values") == [["a"], ["b"]]
    assert values(f"/api/field/{plan}/values") == plans
    known = ["not-null", {}, ["field", {}, "plan"]]
    rows = asked.rows(asked.query({"source-table": "dim_organisations", "filters": [known]}))
    summary = asked.api.get(f"/api/field/{plan}/summary").json()
    assert summary == [["count", len(rows)], ["distincts", len(plans)]]


# --- What is refused


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"aggregation": [["median", {}, "minutes"]]}, "the operator median"),
        ({"filters": [["inside", {}, "minutes", 1, 2, 3, 4]]}, "the filter inside"),
        ({"filters": [["segment", {}, 1]]}, "segments"),
        ({"breakout": [["field", {"temporal-unit": "week-of-year"}, "opened_at"]]}, "week-of-year"),
        ({"breakout": [["field", {"binning": {"strategy": "default"}}, "minutes"]]}, "binning"),
    ],
)
def test_what_the_fake_can_t_compile_it_refuses_by_name(
    asked: Questions, part: dict[str, Any], named: str
) -> None:
    query = asked.query({"source-table": "fct_tickets", **part})
    answer = asked.api.post("/api/dataset", json=query)
    assert answer.status_code == 501
    assert named in answer.text


def test_a_question_on_what_is_not_there_fails_and_names_it(asked: Questions) -> None:
    missing = ["field", {}, "nothing"]
    for query, named in (
        (
            asked.query({"source-table": "fct_tickets", "fields": [missing]}),
            "fct_tickets has no column nothing",
        ),
        (
            asked.query({"source-table": "fct_tickets", "fields": [org(asked, "name")]}),
            "fct_tickets has no column dim_organisations.name",
        ),
        (asked.sql("select nothing from dbt.fct_tickets"), "nothing"),
    ):
        answer = asked.api.post("/api/dataset", json=query)
        assert (answer.status_code, answer.json()["status"]) == (202, "failed")
        assert named in answer.json()["error"]
