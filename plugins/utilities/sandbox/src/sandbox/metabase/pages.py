"""The pages of dashboards and questions.

A dashboard's page has its filters and an empty place for each card; the script fetches the cards,
each drawn for the width that it has.
"""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any
from xml.etree.ElementTree import Element, tostring

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from sandbox.metabase import errors, page
from sandbox.metabase.content import by_reference
from sandbox.metabase.dependencies import StoreOf, found
from sandbox.metabase.page import Node, tag
from sandbox.metabase.query_routes import cards_of, mapped_parameters, values_of, warehouse_of
from sandbox.metabase.store import Card, Dashboard, Dashcard, State

router = APIRouter(default_response_class=HTMLResponse)

Pixels = Annotated[int, Query(ge=50, le=4000)]

_PRESETS = (
    ("", "All time"),
    ("thismonth", "This month"),
    ("past30days~", "Last 30 days"),
    ("past3months~", "Last 3 months"),
    ("past12months~", "Last 12 months"),
    ("thisyear", "This year"),
)


# --- Dashboards


@router.get("/dashboard/{reference}")
def show_dashboard(reference: str, request: Request, store: StoreOf) -> str:
    """The page of a dashboard: `/dashboard/3` or `/dashboard/3-company-overview`."""
    with store.read() as state:
        row = by_reference(state.dashboards, _without_slug(reference))
        values = chosen(row, request)
        filters = [
            _filter(state, request, row, parameter, values.get(parameter["id"]))
            for parameter in row.parameters
        ]
        tabs = state.tabs_of(row.id)
        grids = [
            tag(
                "section",
                tag("h2", tab.name) if len(tabs) > 1 else None,
                _grid(state, row, tab.id, values),
            )
            for tab in tabs
        ]
        body = [
            tag(
                "div",
                tag("h1", row.name),
                tag("p", row.description, class_="muted") if row.description else None,
                class_="title",
            ),
            tag("form", *filters, class_="filters", id="filters", autocomplete="off")
            if filters
            else None,
            *(grids or [_grid(state, row, None, values)]),
        ]
    return document(row.name, *body)


def _grid(state: State, row: Dashboard, tab_id: int | None, values: Mapping[str, Any]) -> Element:
    return tag(
        "div",
        *(
            _place(state, card, values)
            for card in state.dashcards_of(row.id)
            if card.dashboard_tab_id == tab_id
        ),
        class_="grid",
    )


def _place(state: State, dashcard: Dashcard, values: Mapping[str, Any]) -> Element:
    area = (
        f"grid-area: {dashcard.row + 1} / {dashcard.col + 1}"
        f" / span {dashcard.size_y} / span {dashcard.size_x}"
    )
    if dashcard.card_id is None:
        return tag("div", *_virtual(state, dashcard, values), class_="text-card", style=area)
    card = state.cards[dashcard.card_id]
    title = dashcard.visualization_settings.get("card.title") or card.name
    small = card.display in ("scalar", "smartscalar", "number", "progress")
    # Until it is known that there are rows.
    hides = bool(dashcard.visualization_settings.get("card.hide_empty"))
    hidden = {"hidden": "hidden", "data_hides": "empty"} if hides else {}
    return tag(
        "article",
        tag(
            "header",
            tag(
                "h3", tag("a", title, href=f"/question/{card.id}"), title=card.description or title
            ),
            tag("button", "Table", type="button", hidden="hidden")
            if card.display != "table"
            else None,
        ),
        tag("div", tag("p", "Loading …", class_="muted"), class_="body"),
        class_=f"dashcard shows-{'number' if small else card.display}",
        style=area,
        data_source=f"/dashboard/{dashcard.dashboard_id}/dashcard/{dashcard.id}",
        **hidden,
    )


def _virtual(state: State, dashcard: Dashcard, values: Mapping[str, Any]) -> Iterable[Node]:
    """A heading, a text in Markdown or a link."""
    settings = dashcard.visualization_settings
    text = _with_values(dashcard, str(settings.get("text") or ""), values)
    match (settings.get("virtual_card") or {}).get("display"):
        case "heading":
            yield tag("h2", text)
        case "text":
            yield _markdown(text)
        case "link":
            yield _link(state, settings.get("link") or {})
        case "placeholder":
            yield None
        case display:
            yield tag("p", f"The fake Metabase shows no {display} here.", class_="muted")


def _link(state: State, link: Mapping[str, Any]) -> Element:
    match link:
        case {"url": str(url)} if url.startswith(("https:", "http:", "/")):
            return tag("a", url, href=url)
        case {"entity": {"model": "dashboard", "id": int(id_)}} if id_ in state.dashboards:
            return tag("a", state.dashboards[id_].name, href=f"/dashboard/{id_}")
        case {"entity": {"model": str(), "id": int(id_)}} if id_ in state.cards:
            return tag("a", state.cards[id_].name, href=f"/question/{id_}")
    return tag("span", "A link that leads nowhere", class_="muted")


def _with_values(dashcard: Dashcard, text: str, values: Mapping[str, Any]) -> str:
    """The text with the values of the parameters that are mapped to its `{{tags}}`."""
    for mapping in dashcard.parameter_mappings:
        match mapping["target"]:
            case ["text-tag", str(name)]:
                value = values.get(mapping["parameter_id"])
                shown = ", ".join(map(str, value)) if isinstance(value, list) else value
                text = text.replace(f"{{{{{name}}}}}", str(shown or "all"))
    return text


def _markdown(text: str) -> Element:
    from markdown_it import MarkdownIt  # lazily, as all that draws

    # HTML in the text is shown as text: `html` is off.
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _raw(rendered, "markdown")


# Markup of a library: put into the document after it was written.
_RAW: str = "raw-markup"


def _raw(markup: str, class_: str) -> Element:
    return tag("div", tag(_RAW, markup), class_=class_)


def written(element: Element) -> str:
    """The element as HTML, with the markup that libraries made."""
    text = tostring(element, encoding="unicode", method="html")
    return re.sub(
        rf"<{_RAW}>(.*?)</{_RAW}>", lambda found: html.unescape(found[1]), text, flags=re.DOTALL
    )


# --- Filters


def chosen(row: Dashboard, request: Request) -> dict[str, Any]:
    """The values of the dashboard's parameters by ID: the address's, else the defaults."""
    values: dict[str, Any] = {}
    for parameter in row.parameters:
        sent = request.query_params.getlist(parameter.get("slug") or parameter["id"])
        picked = [value for value in sent if value]
        if not sent or (parameter.get("required") and not picked):
            values[parameter["id"]] = parameter.get("default")
        elif parameter["type"].startswith("date"):
            values[parameter["id"]] = picked[0] if picked else None
        else:
            values[parameter["id"]] = picked
    return values


def _filter(
    state: State, request: Request, row: Dashboard, parameter: Mapping[str, Any], value: Any
) -> Element:
    name = parameter.get("name") or parameter["id"]
    slug = parameter.get("slug") or parameter["id"]
    picked = [str(one) for one in (value if isinstance(value, list) else [value] if value else [])]
    if parameter["type"].startswith("date"):
        control = _date_control(slug, name, picked)
        shown = dict(_PRESETS).get(picked[0], picked[0]) if picked else ""
    elif parameter["type"] == "temporal-unit":
        units = parameter.get("temporal_units") or ["day", "week", "month", "quarter", "year"]
        control = [_option(slug, unit, unit, picked, "radio") for unit in units]
        shown = ", ".join(picked)
    else:
        options = values_of(request, state, row, parameter)
        labels = {str(option[0]): str(option[-1]) for option in options if option[0] is not None}
        control = [_option(slug, key, label, picked, "checkbox") for key, label in labels.items()]
        control = control or [_input(slug, name, picked)]
        shown = ", ".join(labels.get(one, one) for one in picked)
    return tag(
        "details",
        tag(
            "summary",
            tag("span", name),
            tag("strong", f": {shown}") if shown else None,
            class_="chosen" if shown else "",
        ),
        tag("div", *control, class_="options"),
        class_="filter",
    )


def _option(slug: str, value: str, label: str, picked: Sequence[str], kind: str) -> Element:
    checked = {"checked": "checked"} if value in picked else {}
    return tag("label", tag("input", type=kind, name=slug, value=value, **checked), f" {label}")


def _input(slug: str, name: str, picked: Sequence[str]) -> Element:
    return tag("input", type="text", name=slug, value=", ".join(picked), placeholder=name)


def _date_control(slug: str, name: str, picked: Sequence[str]) -> list[Element]:
    value = picked[0] if picked else ""
    presets = [_option(slug, key, label, [value], "radio") for key, label in _PRESETS]
    first, _, last = value.partition("~") if value[:1].isdigit() else ("", "", "")
    between = tag(
        "div",
        tag("input", type="date", value=first, aria_label=f"{name} from", data_edge="first"),
        tag("span", "to"),
        tag("input", type="date", value=last, aria_label=f"{name} to", data_edge="last"),
        class_="between",
        data_slug=slug,
    )
    return [*presets, between]


# --- Cards


@router.get("/dashboard/{dashboard_id:int}/dashcard/{dashcard_id:int}")
def show_dashcard(
    dashboard_id: int,
    dashcard_id: int,
    request: Request,
    store: StoreOf,
    width: Pixels = 600,
    height: Pixels = 300,
) -> str:
    """A card of a dashboard, drawn for its width and height."""
    from sandbox.metabase import charts, drill, execution
    from sandbox.metabase.compile import QueryError

    with store.read() as state:
        row = found(state.dashboards, dashboard_id)
        dashcard = found(state.dashcards, dashcard_id)
        if dashcard.dashboard_id != row.id or not cards_of(dashcard):
            raise errors.not_found()
        card = state.cards[cards_of(dashcard)[0]]
        values = chosen(row, request)
        settings = {**card.visualization_settings, **dashcard.visualization_settings}
        try:
            mapped = mapped_parameters(state, dashcard, card.id, values)
            given = execution.parameter_values(mapped)
            warehouse = warehouse_of(request, state, card.dataset_query["database"])
            prepared = execution.prepare(state, warehouse, card.dataset_query, given)
        except (QueryError, errors.ApiError) as error:
            return written(_failed(error))
    result = execution.run(prepared, warehouse)
    if result.error is not None:
        return written(_failed(result.error))
    with store.read() as state:

        def link(clicked: Sequence[Any] | None) -> str | None:
            return drill.link(state, dashcard, card, values, result.columns, clicked)

        drawing = charts.Drawing(card.display, settings, result, link, width, height)
        return written(_drawn(drawing))


def _drawn(drawing: Any) -> Element:
    """The drawing, and the table behind it."""
    from sandbox.metabase import charts

    made = charts.drawn(drawing)
    shown = _raw(made, "drawing") if isinstance(made, str) else tag("div", made, class_="drawing")
    if drawing.display == "table":
        return shown
    return tag("div", shown, tag("div", charts.table(drawing), class_="behind", hidden="hidden"))


def _failed(error: object) -> Element:
    reason = error.body if isinstance(error, errors.ApiError) else error
    return tag(
        "div",
        tag("p", "There was a problem with this question."),
        tag("p", str(reason)),
        class_="failed",
    )


# --- Questions


@router.get("/question/{reference}")
def show_question(reference: str, request: Request, store: StoreOf) -> str:
    """The page of a question, with the filters that a click took along."""
    from sandbox.metabase import drill

    with store.read() as state:
        card = by_reference(state.cards, _without_slug(reference))
        dashcard = _from(state, request)
        sent = {key: request.query_params.getlist(key) for key in request.query_params}
        given = drill.given_along(state, dashcard, sent) if dashcard else []
    return _question(request, store, card, dashcard, given, card.dataset_query, card.display)


@router.get("/question/{reference}/rows")
def show_rows(reference: str, request: Request, store: StoreOf) -> str:
    """The page of the rows that a number on a dashboard counts or adds up."""
    from sandbox.metabase import drill, execution
    from sandbox.metabase.compile import QueryError

    with store.read() as state:
        card = by_reference(state.cards, _without_slug(reference))
        dashcard = _from(state, request)
        if dashcard is None or not drill.has_rows(card):
            raise errors.not_found()
        values = chosen(state.dashboards[dashcard.dashboard_id], request)
        mapped = execution.parameter_values(mapped_parameters(state, dashcard, card.id, values))
        try:
            groups = json.loads(request.query_params.get(drill.AT) or "[]")
            query = drill.rows_behind(card.dataset_query, mapped, groups)
        except (QueryError, ValueError) as error:
            raise errors.ApiError(400, str(error)) from error
    shown = [one for one in mapped if one.value]
    return _question(request, store, card, dashcard, shown, query, "table", applied=True)


def _from(state: State, request: Request) -> Dashcard | None:
    number = request.query_params.get("from", "")
    return state.dashcards.get(int(number)) if number.isdecimal() else None


def _question(
    request: Request,
    store: StoreOf,
    card: Card,
    dashcard: Dashcard | None,
    given: Sequence[Any],
    query: dict[str, Any],
    display: str,
    *,
    applied: bool = False,
) -> str:
    from sandbox.metabase import charts, execution
    from sandbox.metabase.compile import QueryError

    try:
        with store.read() as state:
            home = state.dashboards[dashcard.dashboard_id] if dashcard else None
            names = {one["id"]: one.get("name") for one in home.parameters} if home else {}
            warehouse = warehouse_of(request, state, query["database"])
            prepared = execution.prepare(state, warehouse, query, [] if applied else given)
        result = execution.run(prepared, warehouse)
    except (QueryError, errors.ApiError) as error:
        reason = error.body if isinstance(error, errors.ApiError) else error
        result = execution.Result(error=str(reason))
    drawing = charts.Drawing(
        display, card.visualization_settings, result, lambda _: None, 1000, 380
    )
    rows = f"{len(result.rows):,} {'row' if len(result.rows) == 1 else 'rows'}"
    body = [
        tag("p", tag("a", f"← {home.name}", href=f"/dashboard/{home.id}")) if home else None,
        tag(
            "div",
            tag("h1", f"{card.name}: rows" if applied else card.name),
            tag("p", card.description, class_="muted") if card.description else None,
            class_="title",
        ),
        tag("p", *(_chip(names, one) for one in given), class_="chips") if given else None,
        _failed(result.error) if result.error else None,
    ]
    if result.error is None:
        if display != "table":
            body.append(tag("article", *_for_any_width(drawing), class_="card question"))
        body += [
            tag("p", rows, class_="muted"),
            tag("article", charts.table(drawing), class_="card question"),
        ]
    if result.sql:
        sql = tag("pre", tag("code", result.sql))
        body.append(tag("details", tag("summary", "SQL"), sql, class_="sql"))
    return document(card.name, *body)


def _for_any_width(drawing: Any) -> list[Element]:
    """The drawing; a chart also for a phone, where the style sheet shows the narrow one."""
    from sandbox.metabase import charts

    made = charts.drawn(drawing)
    if not isinstance(made, str):
        return [tag("div", made)]
    narrow = charts.drawn(replace(drawing, width=320, height=260))
    return [_raw(made, "drawing wide-only"), _raw(str(narrow), "drawing narrow-only")]


def _chip(names: Mapping[str, str | None], given: Any) -> Element:
    value = ", ".join(map(str, given.value)) if isinstance(given.value, list) else str(given.value)
    return tag("span", f"{names.get(given.id) or given.id}: {value}", class_="chip relation")


# --- The document


def document(title: str, *body: Node) -> str:
    """A whole page."""
    root = page.document(
        f"{title} · Fake Metabase",
        tag(
            "header",
            tag("a", tag("strong", "Fake Metabase"), href="/"),
            tag("span", "This is not Metabase: a fake on your own machine draws its dashboards."),
            class_="masthead slim",
        ),
        tag("div", *body, class_="wide"),
        tag("div", id="tip", hidden="hidden"),
        script="dashboard.js",
    )
    return "<!doctype html>\n" + written(root)


def _without_slug(reference: str) -> str:
    """`3-company-overview` → `3`; an `entity_id` stays, unless it begins with digits and a dash."""
    number, _, slug = reference.partition("-")
    return number if number.isdecimal() and slug else reference
