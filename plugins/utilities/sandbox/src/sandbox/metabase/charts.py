"""Draws results: charts as SVG by Vega-Lite (vl-convert), numbers, funnels and tables as HTML.

The settings are those of the Metabase Representation Format's section on visualization settings.
Colours are variables of the page's style sheet, so that one drawing serves light and dark.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from xml.etree.ElementTree import Element

from sandbox.metabase.compile import SQL_TYPES, plus, start_of
from sandbox.metabase.execution import Result
from sandbox.metabase.formats import is_number, text, title_of
from sandbox.metabase.page import Node, tag

CHARTS = ("bar", "line", "area", "combo", "row", "pie")
"""What Vega draws. `scalar`, `smartscalar`, `progress`, `funnel` and `table` are HTML."""

ROWS_SHOWN = 200
"""Rows in a table on the page. The answer of the API has more."""

_NUMBERS_SHOWN = 4
_VEGA_LITE = "v6_1"
_COLOURS = [f"var(--series-{number})" for number in range(8)]
_ORIGIN = "http://page.invalid"
_FONT = "system-ui, sans-serif"
# Vega measures texts in a narrower font than some machines have. The page writes them at 11 px.
_MEASURED = 13
_LONGEST_LABEL = 150  # pixels
_LONGEST_NAME = 220  # pixels
_LETTER = 7.5  # pixels
_LINE = 20  # pixels
_LINES = r"split(datum.label, '\n')"

type LinkOf = Callable[[Sequence[Any] | None], str | None]
"""Where a click on a row leads; on `None`, a click on the whole."""


@dataclass(frozen=True)
class Drawing:
    """A result with how it is to be shown."""

    display: str
    settings: Mapping[str, Any]
    result: Result
    link: LinkOf
    width: int = 600
    height: int = 300

    def column(self, name: str) -> int | None:
        """The place of the column with this name."""
        names = [column.name for column in self.result.columns]
        return names.index(name) if name in names else None

    def text(self, row: Sequence[Any], place: int) -> str:
        """A value as text."""
        return text(row[place], self.result.columns[place], self.settings)

    def label(self, row: Sequence[Any], place: int) -> str:
        """A value as a label of an axis, a slice or a series."""
        return "(empty)" if row[place] is None else self.text(row, place)

    def title(self, place: int) -> str:
        """A column's title."""
        return title_of(self.result.columns[place], self.settings)

    def places(self, key: str, default: Sequence[int]) -> list[int]:
        """The places of the columns that a setting names, or of those that Metabase would take."""
        named = self.settings.get(key)
        names = [named] if isinstance(named, str) else named or []
        places = [place for name in names if (place := self.column(name)) is not None]
        return places or list(default)

    @property
    def metrics(self) -> list[int]:
        """The places of columns with amounts; of aggregations if there are some."""
        columns = list(enumerate(self.result.columns))
        made = [place for place, column in columns if column.source == "aggregation"]
        return made or [place for place, column in columns if is_number(column)]

    @property
    def dimensions(self) -> list[int]:
        """The places of all other columns."""
        return [n for n in range(len(self.result.columns)) if n not in self.metrics]


def drawn(drawing: Drawing) -> Node | str:
    """The drawing: an element, or SVG as text."""
    if not drawing.result.rows:
        return tag("p", "No results", class_="nothing")
    match drawing.display:
        case "scalar" | "number":
            return _scalar(drawing)
        case "smartscalar":
            return _trend(drawing)
        case "progress":
            return _progress(drawing)
        case "funnel":
            return _funnel(drawing)
        case "table" | "object" | "list":
            return table(drawing)
        case display if display in CHARTS:
            return _svg(drawing)
    return tag(
        "div",
        tag("p", f"The fake Metabase does not draw {drawing.display}. Its rows:", class_="muted"),
        table(drawing),
    )


# --- HTML


def table(drawing: Drawing) -> Element:
    """The rows."""
    columns = drawing.result.columns
    ordered = drawing.settings.get("table.columns") or []
    hidden = {one.get("name") for one in ordered if not one.get("enabled", True)}
    places = [n for n, column in enumerate(columns) if column.name not in hidden]
    head = [
        tag("th", drawing.title(n), class_="amount" if is_number(columns[n]) else "")
        for n in places
    ]
    body = [
        tag("tr", *(_cell(drawing, row, n) for n in places), **_linked(drawing, row))
        for row in drawing.result.rows[:ROWS_SHOWN]
    ]
    left = len(drawing.result.rows) - len(body)
    return tag(
        "div",
        tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body)),
        tag("p", f"… and {left:,} more rows", class_="muted") if left > 0 else None,
        class_="rows",
    )


def _linked(drawing: Drawing, row: Sequence[Any]) -> dict[str, str]:
    link = drawing.link(row) if drawing.display in ("table", "object", "list") else None
    return {"data_href": link, "class_": "linked"} if link else {}


def _cell(drawing: Drawing, row: Sequence[Any], place: int) -> Element:
    column = drawing.result.columns[place]
    attributes = {"class_": "amount"} if is_number(column) else {}
    if colour := _highlight(drawing, column.name, row[place]):
        attributes["style"] = f"background: {colour}"
    return tag("td", drawing.text(row, place), **attributes)


def _highlight(drawing: Drawing, name: str, value: Any) -> str | None:
    """The colour by `table.column_formatting`: rules of type `single` with a value."""
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "=": lambda v, w: v == w,
        "!=": lambda v, w: v != w,
        "<": lambda v, w: v is not None and v < w,
        ">": lambda v, w: v is not None and v > w,
        "<=": lambda v, w: v is not None and v <= w,
        ">=": lambda v, w: v is not None and v >= w,
        "is-null": lambda v, _: v is None,
        "not-null": lambda v, _: v is not None,
        "is-true": lambda v, _: v is True,
        "is-false": lambda v, _: v is False,
    }
    for rule in drawing.settings.get("table.column_formatting") or []:
        test = tests.get(rule.get("operator", ""))
        if name in rule.get("columns", ()) and test and test(value, rule.get("value")):
            colour = str(rule.get("color", ""))
            if re.fullmatch(r"#[0-9A-Fa-f]{6}", colour):
                return f"color-mix(in srgb, {colour} 35%, transparent)"
    return None


def _scalar(drawing: Drawing) -> Element:
    """The first value of `scalar.field`, or of the only column; others beside it."""
    (place,) = drawing.places("scalar.field", drawing.metrics[:1] or [0])[:1]
    row = drawing.result.rows[0]
    number = tag("span", drawing.text(row, place), class_="number")
    href = drawing.link(row)
    large = (
        tag("a", number, href=href, class_="scalar")
        if href
        else tag("div", number, class_="scalar")
    )
    if not isinstance(row[place], int | float) or isinstance(row[place], bool):
        large.set("class", "scalar words")
    beside = (tag("span", one, class_="muted") for one in _groups(drawing, place))
    return tag("div", large, *beside, class_="numbers")


def _groups(drawing: Drawing, place: int) -> list[str]:
    """What the number is of; with several numbers, each of them."""
    names = [n for n in drawing.dimensions if n != place]
    rows = drawing.result.rows[:_NUMBERS_SHOWN]
    shown = [*names, place] if len(rows) > 1 else names
    return [" · ".join(drawing.text(row, n) for n in shown) for row in rows] if names else []


def _trend(drawing: Drawing) -> Element:
    """The last value by time, and how it compares with the one before."""
    (place,) = drawing.places("scalar.field", drawing.metrics[:1] or [0])[:1]
    rows = drawing.result.rows
    last = rows[-1]
    href = drawing.link(last)
    number = tag("span", drawing.text(last, place), class_="number")
    large = (
        tag("a", number, href=href, class_="scalar")
        if href
        else tag("div", number, class_="scalar")
    )
    when = [drawing.text(last, n) for n in drawing.dimensions]
    compared: Node = None
    before = rows[-2][place] if len(rows) > 1 else None
    if before and last[place] is not None:
        change = last[place] / before - 1
        up = (change >= 0) != bool(drawing.settings.get("scalar.switch_positive_negative"))
        compared = tag(
            "span",
            f"{'▲' if change >= 0 else '▼'} {abs(change):.1%} from {drawing.text(rows[-2], place)}",
            class_="up" if up else "down",
        )
    return tag(
        "div", large, tag("span", " ".join(when), class_="muted"), compared, class_="numbers"
    )


def _progress(drawing: Drawing) -> Element:
    (place,) = drawing.metrics[:1] or [0]
    value = drawing.result.rows[0][place] or 0
    goal = drawing.settings.get("progress.goal") or 1
    share = min(100.0, 100 * value / goal)
    return tag(
        "div",
        tag("span", drawing.text(drawing.result.rows[0], place), class_="number"),
        tag("div", tag("div", style=f"width: {share:.1f}%"), class_="progress"),
        tag("span", f"Goal {goal:,}", class_="muted"),
        class_="numbers",
    )


def _funnel(drawing: Drawing) -> Element:
    """One bar a step, as long as its share of the first."""
    (step,) = drawing.places("funnel.dimension", drawing.dimensions[:1] or [0])[:1]
    (amount,) = drawing.places("funnel.metric", drawing.metrics[:1] or [0])[:1]
    first = drawing.result.rows[0][amount] or 1
    steps = []
    for row in drawing.result.rows:
        share = (row[amount] or 0) / first
        href = drawing.link(row)
        bar = tag("span", style=f"width: {max(share * 100, 0.5):.1f}%", class_="bar")
        steps.append(
            tag(
                "a" if href else "div",
                tag("span", drawing.text(row, step), class_="step"),
                tag("span", bar, class_="track"),
                tag("strong", drawing.text(row, amount)),
                tag("span", f"{share:.0%}", class_="muted"),
                **({"href": href} if href else {}),
                class_="funnel-step",
            )
        )
    return tag("div", *steps, class_="funnel")


# --- SVG


def _svg(drawing: Drawing) -> str:
    # Not at the top: it takes a moment to start, and a start of the fake draws nothing.
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(specification(drawing), vl_version=_VEGA_LITE)
    # Inside HTML, namespaces go without saying.
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    return svg.replace(' target="_blank"', "").replace(_ORIGIN, "")


def _url(drawing: Drawing, row: Sequence[Any]) -> str | None:
    """A whole address: Vega would put one of its own before a path."""
    path = drawing.link(row)
    return f"{_ORIGIN}{path}" if path and path.startswith("/") else path


def specification(drawing: Drawing) -> dict[str, Any]:
    """The chart in Vega-Lite."""
    if drawing.display == "pie":
        layers = _pie(drawing)
    elif drawing.display == "row":
        layers = _rows(drawing)
    else:
        layers = _cartesian(drawing)
    return {
        "width": drawing.width,
        "height": drawing.height,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": {"left": 4, "right": 4, "top": 4, "bottom": 2},
        **layers,
        "config": _CONFIG,
    }


_CONFIG: dict[str, Any] = {
    "background": None,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": "var(--line)",
        "labelColor": "var(--muted)",
        "labelFontSize": _MEASURED,
        "labelPadding": 6,
        "titleColor": "var(--muted)",
        "titleFontSize": _MEASURED,
        "titleFontWeight": "normal",
    },
    "axisX": {"grid": False, "domain": True, "domainColor": "var(--line)"},
    "legend": {
        "labelColor": "var(--text)",
        "labelFontSize": _MEASURED,
        "orient": "top",
        "symbolOpacity": 1,
        "symbolType": "circle",
        "title": None,
    },
    "range": {"category": _COLOURS},
    "text": {"color": "var(--text)", "fontSize": _MEASURED, "font": _FONT},
}


def _series(drawing: Drawing) -> tuple[int, list[int], int | None]:
    """The places of the column along the axis, of the amounts, and of what parts the series."""
    dimensions = drawing.places("graph.dimensions", drawing.dimensions[:2] or [0])
    metrics = drawing.places("graph.metrics", [m for m in drawing.metrics if m not in dimensions])
    return dimensions[0], metrics, dimensions[1] if len(dimensions) > 1 else None


def _points(drawing: Drawing) -> list[dict[str, Any]]:
    """A row of data for each amount: what Vega draws."""
    axis, metrics, group = _series(drawing)
    places = {name: place for place, name in enumerate(_colour(drawing)["scale"]["domain"])}
    points = []
    for row in drawing.result.rows:
        for metric in metrics:
            name = drawing.label(row, group) if group is not None else drawing.title(metric)
            at = drawing.label(row, axis)
            value = drawing.text(row, metric)
            points.append(
                {
                    "x": at,
                    "at": row[axis],
                    "y": row[metric],
                    "text": value,
                    "series": name,
                    "place": places[name],
                    "tip": f"{at} · {name}: {value}" if _many(drawing) else f"{at}: {value}",
                    "url": _url(drawing, row),
                }
            )
    return points


def _many(drawing: Drawing) -> bool:
    _, metrics, group = _series(drawing)
    return group is not None or len(metrics) > 1


def _axis_values(drawing: Drawing) -> list[str]:
    """The labels of the axis in their order, with the times at which nothing happened."""
    axis, _, _ = _series(drawing)
    column = drawing.result.columns[axis]
    found = list(dict.fromkeys(drawing.label(row, axis) for row in drawing.result.rows))
    times = [row[axis] for row in drawing.result.rows if row[axis] is not None]
    if column.base_type not in SQL_TYPES or column.unit not in _STEPS or not times:
        return found
    first, last = (date.fromisoformat(time[:10]) for time in (min(times), max(times)))
    labels: list[str] = []
    at = start_of(first, column.unit)
    while at <= last and len(labels) <= len(found) + _MOST_GAPS:
        labels.append(text(f"{at}T00:00:00Z", column, drawing.settings))
        at = plus(at, 1, column.unit)
    return labels if set(found) <= set(labels) else found


_STEPS = ("day", "week", "month", "quarter", "year")
_MOST_GAPS = 1000
_THICKEST = 40  # pixels
_STACKS = {"stacked": "zero", "normalized": "normalize"}


def _colour(drawing: Drawing) -> dict[str, Any]:
    _, metrics, group = _series(drawing)
    if group is not None:
        labels = {drawing.label(row, group): row[group] for row in drawing.result.rows}
        keys = {name: name if it is None else str(it) for name, it in labels.items()}
    else:
        keys = {drawing.title(m): drawing.result.columns[m].name for m in metrics}
    ordered = [one.get("key") for one in drawing.settings.get("graph.series_order") or []]
    last = len(ordered)
    places = {key: ordered.index(key) if key in ordered else last for key in keys.values()}
    keys = dict(sorted(keys.items(), key=lambda item: places[item[1]]))
    own = drawing.settings.get("series_settings") or {}
    colours = [
        (own.get(key) or own.get(name) or {}).get("color") or _COLOURS[number % len(_COLOURS)]
        for number, (name, key) in enumerate(keys.items())
    ]
    room = 30 + 7 * max(map(len, keys), default=0)  # pixels for each name
    names = [(own.get(key) or {}).get("title") or name for name, key in keys.items()]
    return {
        "field": "series",
        "type": "nominal",
        "sort": names,
        "scale": {"domain": list(keys), "range": colours},
        "legend": {"columns": max(1, drawing.width // room)} if len(keys) > 1 else None,
    }


def _cartesian(drawing: Drawing) -> dict[str, Any]:
    display = {"combo": "bar"}.get(drawing.display, drawing.display)
    settings = drawing.settings
    stack = _STACKS.get(
        settings.get("stackable.stack_type", "stacked" if display == "area" else None)
    )
    axis_format = ".0%" if stack == "normalize" else _number_format(drawing)
    labels, points = _axis_values(drawing), _points(drawing)
    room = _longest_label(drawing, labels)
    # Of times, some are left out; of a few names, none.
    overlap: str | bool = "parity"
    if not _is_of_times(drawing) and len(labels) * room <= drawing.width:
        overlap = False
        labels = [_in_lines(label, room) for label in labels]
        points = [{**point, "x": _in_lines(point["x"], room)} for point in points]
    x: dict[str, Any] = {
        "field": "x",
        "type": "ordinal",
        "sort": None,
        "scale": {"domain": labels},
        "axis": {
            "title": settings.get("graph.x_axis.title_text") or None,
            "labelAngle": 0,
            "labelExpr": _LINES,
            "labelOverlap": overlap,
            "labelSeparation": 8,
            "labelLimit": room,
        },
    }
    y: dict[str, Any] = {
        "field": "y",
        "type": "quantitative",
        "stack": stack,
        "axis": {
            "title": settings.get("graph.y_axis.title_text") or None,
            "tickCount": min(max(2, drawing.height // 50), _most_steps(drawing, points, stack)),
            # By value, so that zero is 0 and not 0k.
            # SI's giga is a billion to everyone else.
            "labelExpr": f"replace(format(datum.value, {axis_format!r}), 'G', 'B')",
        },
    }
    encoding = _encoding(drawing, x, y)
    if display == "bar" and stack is None and _many(drawing):
        encoding["xOffset"] = {"field": "series", "sort": None}
        labels = labels * len(_colour(drawing)["scale"]["domain"])
    if display == "bar" and stack:  # from top to bottom as in the legend
        encoding["order"] = {"field": "place", "sort": "descending"}
    marks = {
        "bar": {"type": "bar", "cornerRadiusEnd": 2, **_thickness(drawing.width, len(labels))},
        "line": {"type": "line", "point": {"size": 36}, "strokeWidth": 2},
        "area": {"type": "area", "line": True, "opacity": 0.35},
    }
    layers: list[dict[str, Any]] = [{"mark": marks[display], "encoding": encoding}]
    if display == "area":
        # Vega would stack by links and tooltips too, so points have them.
        dots = {"type": "point", "filled": True, "size": 24, "opacity": 1}
        layers.append({"mark": dots, "encoding": encoding})
        layers[0]["encoding"] = {key: encoding[key] for key in ("x", "y", "color")}
    if settings.get("graph.show_values") and stack is None and not _many(drawing):
        above = {"type": "text", "dy": -7, "baseline": "bottom"}
        shown = {"x": x, "y": {**y, "stack": None}, "text": {"field": "text"}}
        layers.append({"mark": above, "encoding": shown})
    if settings.get("graph.show_goal"):
        goal = {"y": {"datum": settings.get("graph.goal_value", 0)}}
        layers.append({"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": goal})
    return {"data": {"values": points}, "layer": layers}


def _encoding(drawing: Drawing, x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    """What marks show: a value's place, its series, where a click leads, and its tooltip."""
    return {
        "x": x,
        "y": y,
        "color": _colour(drawing),
        "href": {"field": "url"},
        "description": {"field": "tip"},
    }


def _is_of_times(drawing: Drawing) -> bool:
    axis, _, _ = _series(drawing)
    return drawing.result.columns[axis].base_type in SQL_TYPES


def _longest_label(drawing: Drawing, labels: Sequence[str]) -> int:
    """Times are written whole, and some are left out; of names, all have a place."""
    if _is_of_times(drawing):
        return _LONGEST_LABEL
    return max(50, min(_LONGEST_LABEL, drawing.width // max(1, len(labels))))


def _thickness(room: int, bars: int) -> dict[str, int]:
    """Few bars are not as thick as there is room."""
    return {"size": _THICKEST} if room > bars * _THICKEST * 1.6 else {}


def _number_format(drawing: Drawing) -> str:
    _, metrics, _ = _series(drawing)
    columns = [drawing.result.columns[metric] for metric in metrics]
    percent = any(
        column.semantic_type == "type/Percentage"
        or (drawing.settings.get("column_settings") or {})
        .get(f'["name","{column.name}"]', {})
        .get("number_style")
        == "percent"
        for column in columns
    )
    largest = max((abs(point["y"] or 0) for point in _points(drawing)), default=0)
    if percent:
        return ".0%"
    return "~s" if largest >= 10_000 else ",.10~g"


def _most_steps(drawing: Drawing, points: Sequence[Mapping[str, Any]], stack: str | None) -> int:
    """How many steps an axis may have: those of counts are whole, there is no half customer."""
    columns = [drawing.result.columns[place] for place in _series(drawing)[1]]
    whole = all(column.base_type in ("type/Integer", "type/BigInteger") for column in columns)
    if not whole or stack == "normalize":
        return drawing.height
    heights: Counter[str] = Counter()
    for point in points:
        height = abs(point["y"] or 0)
        heights[point["x"]] = (
            heights[point["x"]] + height if stack else max(height, heights[point["x"]])
        )
    return max(1, *heights.values())


def _rows(drawing: Drawing) -> dict[str, Any]:
    settings = drawing.settings
    limit = min(_LONGEST_NAME, drawing.width * 2 // 5)
    points = [{**one, "x": _in_lines(one["x"], limit)} for one in _points(drawing)]
    y = {
        "field": "x",
        "type": "nominal",
        "sort": None,
        "axis": {
            "title": None,
            "labelLimit": limit,
            "labelColor": "var(--text)",
            "labelExpr": _LINES,
            # The first of two lines is above the middle.
            "labelBaseline": {
                "condition": {"test": r"indexof(datum.value, '\n') > 0", "value": "bottom"},
                "value": "middle",
            },
        },
    }
    amounts: dict[str, Any] = {"field": "y", "type": "quantitative", "axis": None}
    stack = _STACKS.get(settings.get("stackable.stack_type") or "")
    if stack:
        amounts["stack"] = stack
    if not _many(drawing):  # room for the numbers at the ends
        values = [point["y"] or 0 for point in points]
        number = _LETTER * max(len(point["text"]) for point in points)
        share = min(0.5, number / (drawing.width * 0.6))
        amounts["scale"] = {"domain": [min([0, *values]), max([0, *values]) / (1 - share) or 1]}
    encoding = _encoding(drawing, amounts, y)
    if _many(drawing) and not stack:
        encoding["yOffset"] = {"field": "series", "sort": None}
    thickness = _thickness(drawing.height, len(_axis_values(drawing)))
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "bar", "cornerRadiusEnd": 2, **thickness}, "encoding": encoding}
    ]
    if not _many(drawing):
        shown = {"y": y, "x": amounts, "text": {"field": "text"}}
        layers.append({"mark": {"type": "text", "align": "left", "dx": 4}, "encoding": shown})
    return {"data": {"values": points}, "layer": layers}


def _in_lines(label: str, room: int) -> str:
    """The label in two lines if one is too short; what doesn't fit then is cut."""
    lines = textwrap.wrap(label, max(8, int(room / _LETTER)), break_long_words=False)
    return "\n".join([*lines[:1], " ".join(lines[1:])]).rstrip()


def _pie(drawing: Drawing) -> dict[str, Any]:
    (slice_,) = drawing.places("pie.dimension", drawing.dimensions[:1] or [0])[:1]
    (amount,) = drawing.places("pie.metric", drawing.metrics[:1] or [0])[:1]
    total = sum(row[amount] or 0 for row in drawing.result.rows) or 1
    values = [
        {
            "slice": f"{drawing.label(row, slice_)}  {(row[amount] or 0) / total:.0%}",
            "y": row[amount],
            "tip": f"{drawing.label(row, slice_)}: {drawing.text(row, amount)}"
            f" ({(row[amount] or 0) / total:.1%})",
            "url": _url(drawing, row),
        }
        for row in drawing.result.rows
    ]
    beside = drawing.width > 1.4 * drawing.height
    below = 0 if beside else _LINE * len(values)
    outer = max(30, min(drawing.width * 0.3, (drawing.height - below) * 0.45))
    whole: list[Any] = [None] * len(drawing.result.columns)
    whole[amount] = total
    return {
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "arc", "innerRadius": outer * 0.6, "outerRadius": outer},
                "encoding": {
                    "theta": {"field": "y", "type": "quantitative", "stack": True},
                    "color": {
                        "field": "slice",
                        "type": "nominal",
                        "sort": None,
                        "scale": {"domain": [v["slice"] for v in values]},
                        "legend": {"orient": "right" if beside else "bottom", "columns": 1},
                    },
                    "href": {"field": "url"},
                    "description": {"field": "tip"},
                },
            },
            {
                "data": {"values": [{"text": drawing.text(whole, amount)}]},
                "mark": {"type": "text", "fontSize": 17, "fontWeight": 600},
                "encoding": {"text": {"field": "text"}},
            },
        ],
    }
