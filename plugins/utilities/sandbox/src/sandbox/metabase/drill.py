"""Where a click leads: to what the dashboard says, else to the rows behind a number.

Source: the Metabase Representation Format's section on click behavior.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from sandbox.metabase.compile import SQL_TYPES, Column, QueryError, plus
from sandbox.metabase.mbql import MBQL_STAGE, Query
from sandbox.metabase.parameters import Given, applied, is_empty
from sandbox.metabase.store import Card, Dashboard, Dashcard, State

type Values = Mapping[str, Any]
"""Values of a dashboard's parameters by their ids."""

FROM, AT = "from", "at"
"""Keys of a question's address: the dashcard that was clicked, and the values of its groups."""


def link(
    state: State,
    dashcard: Dashcard,
    card: Card,
    values: Values,
    columns: Sequence[Column],
    row: Sequence[Any] | None,
) -> str | None:
    """Return the address that a click on a row of a card leads to."""
    behavior = dashcard.visualization_settings.get("click_behavior") or {}
    match behavior:
        case {"type": "link", "linkType": "question", "targetId": int(target)}:
            pairs = _mapped(behavior, values, columns, row)
            return f"/question/{target}?{urlencode([(FROM, dashcard.id), *pairs], doseq=True)}"
        case {"type": "link", "linkType": "dashboard", "targetId": int(target)}:
            slugs = _slugs(state.dashboards.get(target))
            pairs = [(slugs.get(k, k), v) for k, v in _mapped(behavior, values, columns, row)]
            return f"/dashboard/{target}?{urlencode(pairs, doseq=True)}"
        case {"type": "link", "linkType": "url", "linkTemplate": str(template)}:
            return _filled(template, columns, row)
        case {"type": "crossfilter"}:
            dashboard = state.dashboards[dashcard.dashboard_id]
            slugs = _slugs(dashboard)
            chosen = {**values, **dict(_mapped(behavior, values, columns, row))}
            pairs = [(slugs.get(k, k), v) for k, v in chosen.items() if not is_empty(v)]
            return f"/dashboard/{dashboard.id}?{urlencode(pairs, doseq=True)}"
    if row is None or not has_rows(card):
        return None
    groups = [
        value for column, value in zip(columns, row, strict=True) if column.source == "breakout"
    ]
    slugs = _slugs(state.dashboards[dashcard.dashboard_id])
    pairs = [(slugs.get(k, k), v) for k, v in values.items() if not is_empty(v)]
    address = [(FROM, dashcard.id), (AT, json.dumps(groups)), *pairs]
    return f"/question/{card.id}/rows?{urlencode(address, doseq=True)}"


def _slugs(dashboard: Dashboard | None) -> dict[str, str]:
    return (
        {one["id"]: one.get("slug") or one["id"] for one in dashboard.parameters}
        if dashboard
        else {}
    )


def _mapped(
    behavior: Mapping[str, Any],
    values: Values,
    columns: Sequence[Column],
    row: Sequence[Any] | None,
) -> list[tuple[str, Any]]:
    """The values that go along, by the key of their mapping."""
    pairs = []
    for key, mapping in (behavior.get("parameterMapping") or {}).items():
        match mapping.get("source"):
            case {"type": "parameter", "id": str(parameter)}:
                value = values.get(parameter)
            case {"type": "column", "id": str(name)} if row is not None:
                value = _of_column(name, columns, row)
            case _:
                value = None
        if not is_empty(value):
            pairs.append((key, value))
    return pairs


def _of_column(name: str, columns: Sequence[Column], row: Sequence[Any]) -> Any:
    """The value; of a month or another unit of time, its first and last day."""
    for column, value in zip(columns, row, strict=True):
        if column.name != name:
            continue
        if column.base_type in SQL_TYPES and isinstance(value, str):
            first = date.fromisoformat(value[:10])
            unit = column.unit if column.unit in ("week", "month", "quarter", "year") else "day"
            return f"{first}~{plus(first, 1, unit) - timedelta(days=1)}"
        return value
    return None


def _filled(template: str, columns: Sequence[Column], row: Sequence[Any] | None) -> str | None:
    """The address with the row's values, if it is one that a browser may follow."""
    found = {column.name: value for column, value in zip(columns, row or (), strict=False)}
    filled = re.sub(r"\{\{([^{}]+)\}\}", lambda m: str(found.get(m[1].strip(), "")), template)
    return filled if re.match(r"(https?://|/)", filled) else None


def given_along(state: State, dashcard: Dashcard, sent: Mapping[str, list[str]]) -> list[Given]:
    """The filters that a click on this dashcard took along to a question."""
    behavior = dashcard.visualization_settings.get("click_behavior") or {}
    kinds = {one["id"]: one["type"] for one in state.dashboards[dashcard.dashboard_id].parameters}
    given = []
    for key, mapping in (behavior.get("parameterMapping") or {}).items():
        target = (mapping.get("target") or {}).get("dimension")
        if key not in sent or not isinstance(target, list):
            continue
        source = mapping.get("source") or {}
        kind = kinds.get(source.get("id")) if source.get("type") == "parameter" else None
        kind = kind or ("date/all-options" if _is_time(state, target) else "category")
        given.append(Given(str(key), kind, sent[key], target))
    return given


def _is_time(state: State, target: Sequence[Any]) -> bool:
    match target:
        case [_, ["field", *parts], *_]:
            ids = [part for part in parts if isinstance(part, int)]
            return any(state.fields[i].base_type in SQL_TYPES for i in ids if i in state.fields)
    return False


def has_rows(card: Card) -> bool:
    """Tell whether the card counts or adds up rows that can be shown."""
    stages = card.dataset_query["stages"]
    return (
        len(stages) == 1
        and stages[0]["lib/type"] == MBQL_STAGE
        and bool(stages[0].get("aggregation"))
    )


def rows_behind(query: Query, given: Sequence[Given], groups: Sequence[Any]) -> Query:
    """The query for the rows of one group, without what added them up.

    Raises:
        QueryError: The number of values isn't that of the query's groups.
    """
    changed = applied(query, given)
    (stage,) = changed["stages"]
    breakouts = stage.get("breakout") or []
    if len(breakouts) != len(groups):
        raise QueryError("the address has not one value for each group")
    filters = [
        ["is-null", {}, clause] if value is None else ["=", {}, clause, value]
        for clause, value in zip(breakouts, groups, strict=True)
    ]
    summed = ("aggregation", "breakout", "order-by", "limit")
    kept = {key: value for key, value in stage.items() if key not in summed}
    return {**changed, "stages": [{**kept, "filters": [*(stage.get("filters") or []), *filters]}]}
