"""The routes of Metabase's API that run queries.

Behaviour follows Metabase's `query_processor/api.clj`, `queries_rest/api/card.clj` and
`dashboards_rest/api.clj`: 202 whether a query completed or failed, with the reason in the body.
"""

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request

from sandbox.metabase import errors, mbql
from sandbox.metabase.content import by_reference
from sandbox.metabase.dependencies import (
    JsonBody,
    StoreOf,
    Viewer,
    found,
    refuse_unknown_query_keys,
    viewer_of,
)
from sandbox.metabase.discovery import Warehouse
from sandbox.metabase.store import Dashboard, Dashcard, State, Store
from sandbox.metabase.validation import Rule, boolean, mapping, positive_int, sequence, validated

_PARAMETERS = sequence(
    "parameter must be a map with :id and :type keys", lambda v: isinstance(v, dict)
)
CARD_QUERY: dict[str, Rule] = {
    "parameters": _PARAMETERS,
    "ignore_cache": boolean(),
    "collection_preview": boolean(),
    "dashboard_id": positive_int(),
}
DASHBOARD_QUERY: dict[str, Rule] = {
    "parameters": _PARAMETERS,
    "ignore_cache": boolean(),
    "dashboard_load_id": mapping(),
}
# Limits of rows, and what Metabase notes of a query: the fake has limits of its own.
DROPPED_OF_DATASET = frozenset({"constraints", "middleware", "info", "pretty", "parameters"})

MOST_VALUES = 1000
"""Values that a filter offers."""

router = APIRouter(prefix="/api", dependencies=[Depends(refuse_unknown_query_keys)])


def warehouse_of(request: Request, state: State, database_id: int) -> Warehouse:
    """The warehouse of a database."""
    warehouse: Warehouse = request.app.state.connect(found(state.databases, database_id).details)
    return warehouse


@router.post("/dataset", status_code=202, dependencies=[Depends(viewer_of)])
def run_query(body: JsonBody, request: Request, store: StoreOf) -> dict[str, Any]:
    """Run a query that is saved nowhere."""
    sent = body.get("parameters") if isinstance(body, dict) else None
    kept = {k: v for k, v in body.items() if k not in DROPPED_OF_DATASET} if sent or body else body
    return answered(request, store, mbql.normalised(kept), sent or [])


@router.post("/card/{reference}/query", status_code=202)
def run_card(
    reference: str, viewer: Viewer, request: Request, store: StoreOf, body: JsonBody = None
) -> dict[str, Any]:
    """Run a card's query, with values of its parameters."""
    sent = validated(body or {}, CARD_QUERY).get("parameters") or []
    with store.read() as state:
        card = by_reference(state.cards, reference)
        query = card.dataset_query
    shown = answered(request, store, query, sent)
    if shown["status"] == "completed" and viewer.is_superuser and not card.result_metadata:
        with store.write() as state:  # as Metabase does after a card's first run
            row = state.cards[card.id]
            row.result_metadata = shown["data"]["results_metadata"]["columns"]
    return shown


@router.post(
    "/dashboard/{dashboard_id:int}/dashcard/{dashcard_id:int}/card/{card_id:int}/query",
    status_code=202,
    dependencies=[Depends(viewer_of)],
)
def run_dashcard(
    dashboard_id: int,
    dashcard_id: int,
    card_id: int,
    request: Request,
    store: StoreOf,
    body: JsonBody = None,
) -> dict[str, Any]:
    """Run a card on a dashboard, with values of the dashboard's parameters."""
    sent = validated(body or {}, DASHBOARD_QUERY).get("parameters") or []
    with store.read() as state:
        found(state.dashboards, dashboard_id)
        dashcard = found(state.dashcards, dashcard_id)
        if dashcard.dashboard_id != dashboard_id or card_id not in cards_of(dashcard):
            raise errors.not_found()
        values = {str(one.get("id")): one.get("value") for one in sent}
        query = found(state.cards, card_id).dataset_query
        mapped = mapped_parameters(state, dashcard, card_id, values)
    return answered(request, store, query, mapped)


def cards_of(dashcard: Dashcard) -> list[int]:
    """The card, and those that are drawn over it."""
    return [card_id for card_id in (dashcard.card_id, *dashcard.series) if card_id]


def mapped_parameters(
    state: State, dashcard: Dashcard, card_id: int, values: dict[str, Any]
) -> list[dict[str, Any]]:
    """The dashboard's parameters that filter this card, with these values or their defaults.

    Raises:
        ApiError: 400 for a value of a parameter that the dashboard doesn't have.
    """
    known = {one["id"]: one for one in state.dashboards[dashcard.dashboard_id].parameters}
    if unknown := sorted(values.keys() - known.keys()):
        raise errors.ApiError(
            400, f"Dashboard does not have a parameter with ID {', '.join(unknown)}."
        )
    return [
        {
            "id": one["parameter_id"],
            "type": known[one["parameter_id"]]["type"],
            "target": one["target"],
            "value": values.get(one["parameter_id"], known[one["parameter_id"]].get("default")),
        }
        for one in dashcard.parameter_mappings
        if one["parameter_id"] in known and one.get("card_id") in (None, card_id)
    ]


def answered(
    request: Request, store: Store, query: mbql.Query, sent: list[dict[str, Any]]
) -> dict[str, Any]:
    """Run a query and say how it went.

    Raises:
        ApiError: 501 for what the fake doesn't know.
    """
    # Not at the top: a start of the fake that only takes syncs needs no SQL.
    from sandbox.metabase import execution
    from sandbox.metabase.compile import QueryError

    started = time.monotonic()
    values = execution.parameter_values(sent)
    try:
        with store.read() as state:
            warehouse = warehouse_of(request, state, query["database"])
            prepared = execution.prepare(state, warehouse, query, values)
        result = execution.run(prepared, warehouse)
    except QueryError as error:
        result = execution.Result(error=str(error))
    return execution.answer(query, result, started)


# --- Values of filters


@router.get("/dashboard/{dashboard_id:int}/params/{key}/values", dependencies=[Depends(viewer_of)])
def list_parameter_values(
    dashboard_id: int, key: str, request: Request, store: StoreOf
) -> dict[str, Any]:
    """List the values that a filter offers."""
    with store.read() as state:
        dashboard = found(state.dashboards, dashboard_id)
        known = {one["id"]: one for one in dashboard.parameters}
        if key not in known:
            raise errors.ApiError(400, f"Dashboard does not have a parameter with the ID {key!r}")
        return {
            "values": values_of(request, state, dashboard, known[key]),
            "has_more_values": False,
        }


@router.get("/field/{field_id:int}/values", dependencies=[Depends(viewer_of)])
def list_field_values(field_id: int, request: Request, store: StoreOf) -> dict[str, Any]:
    """List the different values of a field."""
    with store.read() as state:
        found(state.fields, field_id)
        values = _distinct_values(request, state, field_id)
    return {"field_id": field_id, "has_more_values": False, "values": values}


@router.get("/field/{field_id:int}/summary", dependencies=[Depends(viewer_of)])
def summarise_field(field_id: int, request: Request, store: StoreOf) -> list[list[Any]]:
    """Count the values of a field, and the different ones."""
    with store.read() as state:
        found(state.fields, field_id)
        field = ["field", {}, field_id]
        aggregations = [[name, {}, field] for name in ("count", "distinct")]
        ((count, distinct),) = _rows(request, state, field_id, {"aggregation": aggregations})
    return [["count", count], ["distincts", distinct]]


def values_of(
    request: Request, state: State, dashboard: Dashboard, parameter: Mapping[str, Any]
) -> list[list[Any]]:
    """The values of the first field that the parameter filters, or those that it lists itself."""
    if parameter.get("values_source_type") == "static-list":
        listed = (parameter.get("values_source_config") or {}).get("values") or []
        return [one if isinstance(one, list) else [one] for one in listed]
    for dashcard in state.dashcards_of(dashboard.id):
        for mapped in dashcard.parameter_mappings:
            match mapped["target"]:
                case [_, ["field", int(field_id), *_], *_] | [_, ["field", _, int(field_id)], *_]:
                    if mapped["parameter_id"] == parameter["id"] and field_id in state.fields:
                        return _distinct_values(request, state, field_id)
    return []


def _distinct_values(request: Request, state: State, field_id: int) -> list[list[Any]]:
    wanted = {"breakout": [["field", {}, field_id]], "limit": MOST_VALUES}
    rows = _rows(request, state, field_id, wanted)
    return [list(row) for row in rows if row[0] is not None]


def _rows(
    request: Request, state: State, field_id: int, wanted: Mapping[str, Any]
) -> tuple[tuple[Any, ...], ...]:
    """What a question on the field's table answers."""
    from sandbox.metabase import execution

    table = state.tables[state.fields[field_id].table_id]
    stage = {"lib/type": mbql.MBQL_STAGE, "source-table": table.id, **wanted}
    query = {"lib/type": mbql.QUERY, "database": table.db_id, "stages": [stage]}
    warehouse = warehouse_of(request, state, table.db_id)
    return execution.run(execution.prepare(state, warehouse, query), warehouse).rows
