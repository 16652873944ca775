"""The pages of dashboards and questions: what they show, and where a click leads."""

import html
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sandbox.metabase.charts import Drawing, drawn, specification
from sandbox.metabase.compile import Column
from sandbox.metabase.execution import Result
from sandbox.metabase.formats import text
from sandbox.metabase.page import Node
from sandbox.metabase.pages import written
from sandbox.tour import OVERVIEW, overview_address

from .support import API_KEY, FakeMetabase
from .test_metabase_cards import PLACE, new_card, new_dashboard, query

PLAN = Column("plan", "Plan", "type/Text", source="breakout")
MONTH = Column("month", "Month", "type/Date", unit="month", source="breakout")
COUNT = Column("count", "Organisations", "type/Integer", source="aggregation")
ACV = Column("sum", "ACV", "type/Decimal", "type/Currency", source="aggregation")
ORGANISATIONS = ([("id", "type/Text")], [("o1", "Ada", Decimal("1.50"), None)])
"""What a list of organisations gives: the names of its columns are the question's."""
JANUARY, MARCH = "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"


def drawing(
    display: str, columns: tuple[Column, ...], *rows: tuple[Any, ...], **settings: Any
) -> Drawing:
    return Drawing(
        display, settings, Result(columns, rows), lambda row: f"/rows?{row}" if row else None
    )


def markup(made: Node | str) -> str:
    assert made is not None
    return made if isinstance(made, str) else written(made)


# --- Drawings


@pytest.mark.parametrize("display", ["bar", "line", "area", "row", "pie"])
def test_a_chart_shows_every_value_and_leads_to_its_rows(display: str) -> None:
    shown = markup(drawn(drawing(display, (PLAN, COUNT), ("team", 1234), ("<free>", 5))))
    assert shown.startswith("<svg")
    assert "team: 1,234" in shown
    assert "&lt;free&gt;" in shown
    assert shown.count("href=") >= 2
    assert "://" not in shown
    assert "var(--series-0)" in shown


@pytest.mark.parametrize(
    ("display", "columns", "rows", "expected"),
    [
        ("scalar", (COUNT,), [(1234,)], ["1,234"]),
        ("smartscalar", (MONTH, COUNT), [(JANUARY, 8), (MARCH, 10)], ["10", "Mar 2026", "▲ 25.0%"]),
        ("progress", (COUNT,), [(5,)], ["5", "Goal 10", "width: 50.0%"]),
        ("funnel", (PLAN, COUNT), [("a", 8), ("b", 2)], ["width: 100.0%", "25%"]),
        ("table", (PLAN, COUNT), [(None, 8)], ["<th", "—", ">8</td>"]),
        ("sankey", (PLAN, COUNT), [("a", 8)], ["does not draw sankey", "<table"]),
        ("bar", (PLAN, COUNT), [], ["No results"]),
    ],
)
def test_numbers_funnels_and_tables_are_html(
    display: str, columns: tuple[Column, ...], rows: list[Any], expected: list[str]
) -> None:
    shown = markup(drawn(drawing(display, columns, *rows, **{"progress.goal": 10})))
    for part in expected:
        assert part in shown


def test_a_month_without_rows_has_its_place_on_the_axis() -> None:
    made = specification(drawing("bar", (MONTH, COUNT), (JANUARY, 1), (MARCH, 2)))
    axis = made["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert axis == ["Jan 2026", "Feb 2026", "Mar 2026"]


def test_series_are_stacked_named_and_coloured_as_the_settings_say() -> None:
    settings = {
        "stackable.stack_type": "normalized",
        "graph.dimensions": ["month"],
        "graph.metrics": ["count", "sum"],
        "series_settings": {"sum": {"color": "#ED6E6E"}},
    }
    made = specification(drawing("bar", (MONTH, COUNT, ACV), (JANUARY, 1, 2), **settings))
    encoding = made["layer"][0]["encoding"]
    assert encoding["y"]["stack"] == "normalize"
    assert encoding["color"]["scale"]["domain"] == ["Organisations", "ACV"]
    assert encoding["color"]["scale"]["range"][1] == "#ED6E6E"


KIND = Column("kind", "Kind", "type/Text", source="breakout")
BY_MONTH_AND_KIND = (
    (JANUARY, "note", 5),
    (JANUARY, "message", 1),
    (MARCH, "message", 3),
    (MARCH, None, 2),
)


def test_an_area_has_one_line_for_each_series_from_the_first_month_to_the_last() -> None:
    settings = {"stackable.stack_type": "stacked"}
    shown = markup(drawn(drawing("area", (MONTH, KIND, COUNT), *BY_MONTH_AND_KIND, **settings)))
    (*paths,) = re.findall(r' d="(M[0-9.,]+L[^Z"]*)"', shown)
    lines = [[float(at.split(",")[0]) for at in path[1:].split("L")] for path in paths]
    assert len(lines) == 3
    assert all(line == sorted(set(line)) for line in lines)
    assert shown.count("Jan 2026 · note: 5") == 1


def test_series_come_in_the_order_of_the_settings() -> None:
    order = [{"key": key, "name": key} for key in ("note", "(empty)", "message")]
    settings = {
        "graph.series_order": order,
        "series_settings": {"(empty)": {"color": "#B8BBC3"}},
        "stackable.stack_type": "stacked",
    }
    made = specification(drawing("bar", (MONTH, KIND, COUNT), *BY_MONTH_AND_KIND, **settings))
    scale = made["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["note", "(empty)", "message"]
    assert scale["range"][1] == "#B8BBC3"
    places = {point["series"]: point["place"] for point in made["data"]["values"]}
    assert places == {"note": 0, "(empty)": 1, "message": 2}


@pytest.mark.parametrize("width", [300, 900])
def test_the_name_of_a_bar_is_not_cut(width: int) -> None:
    rows = (("Created a first incident", 12345.5), ("Paid", 2))
    made = drawing("row", (PLAN, COUNT), *rows)
    shown = markup(drawn(replace(made, width=width)))
    names = re.sub(r"<[^>]+>", " ", shown)
    assert "…" not in names
    assert "Created a first" in names
    assert "incident" in names
    ends = [float(x) for x in re.findall(r"translate\(([0-9.]+),[0-9.]+\)[^>]*>12,345.5<", shown)]
    assert ends
    assert all(end + 8 * len("12,345.5") <= width for end in ends)


def test_no_name_of_a_few_is_left_out() -> None:
    stages = ("Demo booked", "Proposal sent", "Contract sent")
    made = drawing("bar", (PLAN, COUNT), *((stage, 2) for stage in stages))
    names = re.sub(r"<[^>]+>", " ", markup(drawn(replace(made, width=290))))
    for stage in stages:
        assert " ".join(stage.split()) in " ".join(names.split())


def test_an_axis_of_counts_has_whole_numbers() -> None:
    shown = markup(drawn(drawing("bar", (PLAN, COUNT), ("team", 2), ("business", 1))))
    assert ">1<" in shown
    assert ">0.5<" not in shown


def test_billions_are_no_gigas() -> None:
    shown = markup(drawn(drawing("bar", (PLAN, COUNT), ("team", 4_000_000_000))))
    assert ">4B<" in shown


@pytest.mark.parametrize(
    ("column", "value", "settings", "expected"),
    [
        (COUNT, 1234567, {}, "1,234,567"),
        (ACV, 12.5, {"number_style": "currency", "currency": "USD"}, "$12.50"),
        (ACV, -1, {"number_style": "currency", "currency": "SEK", "decimals": 0}, "-SEK 1"),
        (ACV, 0.256, {"number_style": "percent"}, "25.6%"),
        (ACV, 3, {"scale": 2, "prefix": "~", "suffix": " h"}, "~6 h"),
        (MONTH, JANUARY, {}, "Jan 2026"),
        (
            Column("at", "At", "type/DateTimeWithLocalTZ"),
            "2026-01-05T08:30:00Z",
            {},
            "Jan 5, 2026, 08:30",
        ),
        (Column("on", "On", "type/Date", unit="quarter"), MARCH, {}, "Q1 2026"),
        (Column("on", "On", "type/Date", unit="week"), MARCH, {}, "Mar 1 - Mar 7, 2026"),
        (Column("is", "Is", "type/Boolean"), False, {}, "No"),
        (PLAN, None, {}, "—"),
    ],
)
def test_values_are_written_for_people(
    column: Column, value: Any, settings: dict[str, Any], expected: str
) -> None:
    assert (
        text(value, column, {"column_settings": {f'["name","{column.name}"]': settings}})
        == expected
    )


# --- Pages


@pytest.fixture
def overview(metabase: FakeMetabase) -> dict[str, Any]:
    """A dashboard: organisations by plan, a number of all, a heading and a text; a filter."""
    fields = metabase.fields()
    name = fields["dim_organisations.name"]["id"]
    plan = ["field", {"base-type": "type/Text"}, name]
    by_name = query(metabase, breakout=[plan], aggregation=[["count", {}]])
    listed = new_card(metabase, name="List")
    card = new_card(metabase, name="By name", display="bar", dataset_query=by_name)
    number = new_card(
        metabase,
        name="All",
        display="scalar",
        dataset_query=query(metabase, aggregation=[["count", {}]]),
    )
    target = ["dimension", ["field", name, None]]
    mapping = {"parameter_id": "p", "target": target}
    click = {
        "type": "link",
        "linkType": "question",
        "targetId": listed["id"],
        "parameterMapping": {
            "p": {
                "id": "p",
                "source": {"type": "parameter", "id": "p", "name": "Name"},
                "target": {"type": "dimension", "id": "p", "dimension": target},
            }
        },
    }
    virtual = {"id": -3, "row": 6, "col": 0, "size_x": 24, "size_y": 1}
    return new_dashboard(
        metabase,
        {**PLACE, "id": -1, "card_id": card["id"], "parameter_mappings": [mapping]},
        {
            **PLACE,
            "id": -2,
            "col": 12,
            "card_id": number["id"],
            "parameter_mappings": [mapping],
            "visualization_settings": {"click_behavior": click, "card.title": "Everybody"},
        },
        {
            **virtual,
            "visualization_settings": {"virtual_card": {"display": "heading"}, "text": "A & B"},
        },
        {
            **virtual,
            "id": -4,
            "row": 7,
            "visualization_settings": {
                "virtual_card": {"display": "text"},
                "text": "**Bold** <script>alert(1)</script>",
            },
        },
        parameters=[{"id": "p", "name": "Name", "slug": "name", "type": "string/="}],
    )


def shown(metabase: FakeMetabase, path: str) -> str:
    answer = metabase.api.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def links(page: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="([^"]+)"', page)]


def test_the_first_page_leads_to_the_dashboards(
    metabase: FakeMetabase, overview: dict[str, Any]
) -> None:
    assert f"/dashboard/{overview['id']}" in links(shown(metabase, "/"))


def test_a_dashboard_s_page_has_its_filters_titles_headings_and_texts(
    metabase: FakeMetabase, overview: dict[str, Any]
) -> None:
    metabase.warehouse.answer = ([("name", "type/Text")], [("Ada & Co",), (None,)])
    page = shown(metabase, f"/dashboard/{overview['id']}-overview?name=Ada+%26+Co")
    assert "This is not Metabase" in page
    assert 'value="Ada &amp; Co" checked' in page
    assert "Everybody" in page
    assert "<h2>A &amp; B</h2>" in page
    assert "<strong>Bold</strong> &lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "://" not in page.replace("http://www.w3.org", "")


def test_a_filter_changes_each_card_that_it_is_mapped_to(
    metabase: FakeMetabase, overview: dict[str, Any]
) -> None:
    metabase.warehouse.answer = ([("name", "type/Text"), ("count", "type/Integer")], [("Ada", 3)])
    for dashcard in overview["dashcards"][:2]:
        path = f"/dashboard/{overview['id']}/dashcard/{dashcard['id']}"
        shown(metabase, f"{path}?name=Ada")
        assert "= 'Ada'" in metabase.warehouse.asked[-1]
        shown(metabase, f"{path}?name=")
        assert "Ada" not in metabase.warehouse.asked[-1]


def test_a_bar_leads_to_its_rows_and_a_table_is_behind_it(
    metabase: FakeMetabase, overview: dict[str, Any]
) -> None:
    metabase.warehouse.answer = ([("name", "type/Text"), ("count", "type/Integer")], [("Ada", 3)])
    dashcard = overview["dashcards"][0]
    card = shown(metabase, f"/dashboard/{overview['id']}/dashcard/{dashcard['id']}?name=Ada")
    assert "<svg" in card
    assert "<td>Ada</td>" in card
    (rows, *_) = [link for link in links(card) if "/rows?" in link]
    metabase.warehouse.answer = ORGANISATIONS
    page = shown(metabase, rows)
    asked = metabase.warehouse.asked[-1]
    assert "COUNT" not in asked
    assert "= 'Ada'" in asked
    assert "By name: rows" in page
    assert f"/dashboard/{overview['id']}" in links(page)


def test_a_number_leads_where_the_dashboard_says_with_the_filter(
    metabase: FakeMetabase, overview: dict[str, Any]
) -> None:
    dashcard = overview["dashcards"][1]
    card = shown(metabase, f"/dashboard/{overview['id']}/dashcard/{dashcard['id']}?name=Ada")
    (link,) = links(card)
    metabase.warehouse.answer = ORGANISATIONS
    page = shown(metabase, link)
    assert "= 'Ada'" in metabase.warehouse.asked[-1]
    assert "Name: Ada" in page
    assert ">o1<" in page


def test_a_card_that_hides_without_rows_is_shown_once_it_has_some(metabase: FakeMetabase) -> None:
    """It is hidden until the script has its rows."""
    card = new_card(metabase, name="Not connected")
    hides = {**PLACE, "visualization_settings": {"card.hide_empty": True}, "card_id": card["id"]}
    row = new_dashboard(metabase, {**hides, "id": -1}, {**PLACE, "id": -2, "card_id": card["id"]})
    first, second = re.findall(r"<article [^>]*>", shown(metabase, f"/dashboard/{row['id']}"))
    assert " hidden" in first
    assert "data-hides" in first
    assert "hide" not in second
    metabase.warehouse.answer = (ORGANISATIONS[0], [])
    path = f"/dashboard/{row['id']}/dashcard/{row['dashcards'][0]['id']}"
    assert 'class="nothing"' in shown(metabase, path)


def test_a_card_that_fails_says_why_and_leaves_the_others(
    metabase: FakeMetabase, overview: dict[str, Any]
) -> None:
    metabase.warehouse.down = True
    path = f"/dashboard/{overview['id']}"
    dashcard = overview["dashcards"][0]
    assert "BigQuery can&#39;t be reached" in shown(
        metabase, f"{path}/dashcard/{dashcard['id']}"
    ).replace("can't", "can&#39;t")
    assert "By name" in shown(metabase, path)


def test_what_the_fake_can_t_run_is_named_on_its_card(metabase: FakeMetabase) -> None:
    median = query(metabase, aggregation=[["median", {}, ["field", {}, 1]]])
    card = new_card(metabase, dataset_query=median)
    row = new_dashboard(metabase, {**PLACE, "id": -1, "card_id": card["id"]})
    page = shown(metabase, f"/dashboard/{row['id']}/dashcard/{row['dashcards'][0]['id']}")
    assert "does not implement the operator median" in page


def test_the_tour_ends_at_the_overview_once_it_is_there(metabase: FakeMetabase) -> None:
    assert overview_address(metabase.url, API_KEY) is None
    row = metabase.api.post("/api/dashboard", json={"name": OVERVIEW}).json()
    address = overview_address(metabase.url, API_KEY)
    assert address == f"{metabase.url}/dashboard/{row['id']}"
    assert OVERVIEW in shown(metabase, f"/dashboard/{row['id']}")
    assert overview_address("http://127.0.0.1:1", API_KEY) is None
