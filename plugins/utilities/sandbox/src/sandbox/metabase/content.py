"""The routes of Metabase's API for collections, cards and dashboards.

Behaviour follows Metabase's `collections_rest/api.clj`, `queries_rest/api/card.clj` and
`dashboards_rest/api.clj` (v0.65). Metabase drops the body keys that a route doesn't declare; the
fake drops those that known clients send, and refuses all others.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from sandbox.metabase import errors, mbql
from sandbox.metabase import present_content as present
from sandbox.metabase.dependencies import (
    Flag,
    JsonBody,
    StoreOf,
    Viewer,
    check_superuser,
    found,
    refuse_unknown_query_keys,
    viewer_of,
    writable,
)
from sandbox.metabase.present_content import ROOT, ROOT_COLLECTION
from sandbox.metabase.store import (
    Card,
    Collection,
    Dashboard,
    Dashcard,
    State,
    Tab,
    User,
    next_id,
    now,
    update,
)
from sandbox.metabase.validation import (
    Rule,
    boolean,
    collection_reference,
    integer,
    mapping,
    non_blank,
    one_of,
    positive_int,
    sequence,
    text,
    validated,
)

logger = logging.getLogger(__name__)

_WIDGETS = {
    "boolean": ("=",),
    "date": ("single", "range", "month-year", "quarter-year", "relative", "all-options"),
    "location": ("city", "state", "zip_code", "country"),
    "number": ("=", "!=", ">=", "<=", "between"),
    "string": ("=", "!=", "contains", "does-not-contain", "starts-with", "ends-with"),
}
PARAMETER_TYPES = {
    *("boolean", "category", "date", "id", "number", "temporal-unit", "text"),
    *(f"{kind}/{widget}" for kind, widgets in _WIDGETS.items() for widget in widgets),
}


def _is_parameter(value: Any) -> bool:
    is_map = isinstance(value, dict) and isinstance(value.get("id"), str) and bool(value["id"])
    return is_map and value.get("type") in PARAMETER_TYPES


def _is_parameter_mapping(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("parameter_id"), str)
        and isinstance(value.get("target"), list)
    )


def parameters() -> Rule:
    """Parameters of a card or dashboard."""
    return sequence("parameter must be a map with :id and :type keys", _is_parameter)


def parameter_mappings() -> Rule:
    """What the parameters of a dashboard filter in a card."""
    expected = "parameter_mapping must be a map with :parameter_id and :target keys"
    return sequence(expected, _is_parameter_mapping)


NEW_COLLECTION: dict[str, Rule] = {
    "name": non_blank(nullable=False),
    "description": non_blank(),
    "parent_id": positive_int(),
}
CHANGED_COLLECTION: dict[str, Rule] = {**NEW_COLLECTION, "name": non_blank(), "archived": boolean()}
# `authority_level`, null without a paid plan, and what clients send that Metabase drops.
DROPPED_OF_COLLECTION = frozenset({"authority_level", "color", "archived", "namespace"})

CARD: dict[str, Rule] = {
    "name": non_blank(),
    "type": one_of("question", "model", "metric"),
    "dataset_query": mapping(),
    "display": non_blank(),
    "visualization_settings": mapping(),
    "description": text(),
    "parameters": parameters(),
    "parameter_mappings": parameter_mappings(),
    "result_metadata": sequence("column", lambda value: isinstance(value, dict)),
    "collection_id": collection_reference(),
    "collection_position": positive_int(),
    "dashboard_id": positive_int(),
    "dashboard_tab_id": positive_int(),
    "cache_ttl": positive_int(),
}
NEW_CARD: dict[str, Rule] = {
    **CARD,
    "name": non_blank(nullable=False),
    "dataset_query": Rule("value must be a query.", mapping().complaints, nullable=False),
    "display": non_blank(nullable=False),
    "visualization_settings": Rule(mapping().expected, mapping().complaints, nullable=False),
    "description": non_blank(),
    "entity_id": non_blank(),
}
CHANGED_CARD: dict[str, Rule] = {
    **CARD,
    "collection_id": positive_int(),
    "collection_preview": boolean(),
    "archived": boolean(),
    "enable_embedding": boolean(),
    "embedding_type": text(),
    "embedding_params": mapping(),
}
DROPPED_OF_NEW_CARD = frozenset(
    {"archived", "database_id", "embedding_params", "enable_embedding", "table_id", "query_type"}
)
DROPPED_OF_CARD = frozenset({"database_id", "table_id", "query_type"})
NEVER_NULL_OF_CARD = {
    *("name", "type", "dataset_query", "display", "visualization_settings", "parameters"),
    *("parameter_mappings", "result_metadata", "collection_preview", "archived"),
    *("enable_embedding", "embedding_params"),
}

NEW_DASHBOARD: dict[str, Rule] = {
    "name": non_blank(nullable=False),
    "description": text(),
    "parameters": parameters(),
    "cache_ttl": positive_int(),
    "collection_id": positive_int(),
    "collection_position": positive_int(),
}
CHANGED_DASHBOARD: dict[str, Rule] = {
    **NEW_DASHBOARD,
    "name": non_blank(),
    "caveats": text(),
    "points_of_interest": text(),
    "show_in_getting_started": boolean(),
    "enable_embedding": boolean(),
    "embedding_type": text(),
    "embedding_params": mapping(),
    "position": positive_int(),
    "width": one_of("fixed", "full"),
    "archived": boolean(),
    "auto_apply_filters": boolean(),
    "dashcards": sequence("map", lambda value: isinstance(value, dict)),
    "tabs": sequence("map", lambda value: isinstance(value, dict)),
}
NEVER_NULL_OF_DASHBOARD = {
    *("name", "parameters", "caveats", "points_of_interest", "show_in_getting_started", "width"),
    *("enable_embedding", "embedding_params", "archived", "auto_apply_filters"),
    *("dashcards", "tabs"),
}
DASHCARD: dict[str, Rule] = {
    "id": integer(nullable=False),
    "size_x": positive_int(nullable=False),
    "size_y": positive_int(nullable=False),
    "row": integer(at_least=0, nullable=False),
    "col": integer(at_least=0, nullable=False),
    "card_id": positive_int(),
    "action_id": positive_int(),
    "dashboard_tab_id": integer(),
    "parameter_mappings": parameter_mappings(),
    "visualization_settings": mapping(),
    "inline_parameters": sequence("non-blank string", lambda v: isinstance(v, str) and bool(v)),
    "series": sequence("map with an id", lambda v: isinstance(v, dict) and "id" in v),
}
# What `GET /api/dashboard/:id` shows of a dashcard or tab and `PUT` drops.
DROPPED_OF_DASHCARD = frozenset(
    ["card", "collection_authority_level", "created_at", "dashboard_id", "entity_id", "updated_at"]
)
TAB: dict[str, Rule] = {
    "id": integer(nullable=False),
    "name": non_blank(nullable=False),
    "position": integer(at_least=0),
}
DROPPED_OF_TAB = frozenset(["created_at", "dashboard_id", "entity_id", "updated_at"])

router = APIRouter(prefix="/api", dependencies=[Depends(refuse_unknown_query_keys)])

ModelsQuery = Annotated[list[str], Query(default_factory=list)]
Filter = Annotated[Literal["all", "mine", "archived"], Query()]


# --- Collections


@router.get("/collection")
def list_collections(
    viewer: Viewer,
    store: StoreOf,
    exclude_others: Annotated[
        Literal["true", "false"], Query(alias="exclude-other-user-collections")
    ] = "false",
    archived: Flag = "false",
    personal_only: Annotated[Literal["true", "false"], Query(alias="personal-only")] = "false",
    # As metabase-sync spells it: Metabase drops it.
    exclude_other_user_collections: str = "",  # noqa: ARG001
) -> list[dict[str, Any]]:
    """List the root, the collections and the personal collections."""
    with store.read() as state:
        made = [
            present.collection(row, viewer)
            for row in sorted(state.collections.values(), key=lambda row: row.name.lower())
            if row.archived == (archived == "true")
        ]
        personal = [
            present.personal_collection(owner)
            for owner in _people(state)
            if owner.id == viewer.id or (viewer.is_superuser and exclude_others == "false")
        ]
    if archived == "true":
        return made
    if personal_only == "true":
        return personal
    return [dict(ROOT_COLLECTION), *made, *personal]


@router.get("/collection/tree")
def show_tree(
    viewer: Viewer,
    store: StoreOf,
    exclude_archived: Annotated[
        Literal["true", "false"], Query(alias="exclude-archived")
    ] = "false",
) -> list[dict[str, Any]]:
    """Show the collections inside one another."""
    with store.read() as state:

        def inside(location: str) -> list[dict[str, Any]]:
            return [
                present.collection(row, viewer)
                | {"here": _models_in(state, row.id), "children": inside(row.children_location)}
                for row in sorted(state.collections.values(), key=lambda row: row.name.lower())
                if row.location == location and not (row.archived and exclude_archived == "true")
            ]

        return inside("/")


@router.post("/collection")
def create_collection(body: JsonBody, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Add a collection."""
    wanted = validated(body, NEW_COLLECTION, DROPPED_OF_COLLECTION)
    with store.write() as state:
        check_superuser(viewer)
        row = Collection(
            # A personal collection has the ID of its owner.
            id=next_id({**state.users, **state.collections}),
            name=wanted["name"],
            description=wanted.get("description"),
            location=_location_inside(state, wanted.get("parent_id")),
            creator_id=viewer.id,
        )
        state.collections[row.id] = row
        logger.info("collection %s: created", row.name)
        return present.collection(row, viewer)


@router.get("/collection/root")
def get_root_collection(viewer: Viewer) -> dict[str, Any]:
    """Show the root collection."""
    return {**ROOT_COLLECTION, "can_write": viewer.is_superuser}


@router.get("/collection/{reference}")
def get_collection(reference: str, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Show a collection, by ID or `entity_id`."""
    with store.read() as state:
        collection_id = _collection_id(state, reference)
        if row := state.collections.get(collection_id):
            return present.collection_with_ancestors(state, row, viewer)
        return present.personal_collection(state.users[collection_id])


@router.put("/collection/{collection_id:int}")
def update_collection(
    collection_id: int, body: JsonBody, viewer: Viewer, store: StoreOf
) -> dict[str, Any]:
    """Change, move or archive a collection. What is in it moves and is archived with it."""
    values = validated(body, CHANGED_COLLECTION, DROPPED_OF_COLLECTION - {"archived"})
    with store.write() as state:
        row = writable(state.collections, collection_id, viewer)
        update(row, **{k: v for k, v in values.items() if k in ("name", "description")})
        if "archived" in values and bool(values["archived"]) != row.archived:
            _archive_collection(state, row, bool(values["archived"]))
        elif "parent_id" in values:
            _move_collection(state, row, values["parent_id"])
        logger.info("collection %s: %s", row.name, ", ".join(sorted(values)) or "nothing")
        return present.collection_with_ancestors(state, row, viewer)


def _location_inside(state: State, parent_id: int | None) -> str:
    return "/" if parent_id is None else found(state.collections, parent_id).children_location


def _below(state: State, row: Collection) -> list[Collection]:
    return [c for c in state.collections.values() if c.location.startswith(row.children_location)]


def _move_collection(state: State, row: Collection, parent_id: int | None) -> None:
    below = _below(state, row)
    if parent_id == row.id or any(parent_id == inner.id for inner in below):
        raise errors.invalid_value("parent_id", "A collection can't be moved into itself.")
    before = row.children_location
    update(row, location=_location_inside(state, parent_id))
    for inner in below:
        update(inner, location=row.children_location + inner.location.removeprefix(before))


def _archive_collection(state: State, row: Collection, archived: bool) -> None:
    collections = [row, *_below(state, row)]
    ids = {collection.id for collection in collections}
    for collection in collections:
        directly = archived and collection is row
        update(collection, archived=archived, archived_directly=directly)
    items: list[Card | Dashboard] = [*state.cards.values(), *state.dashboards.values()]
    for item in items:
        if item.collection_id in ids and not item.archived_directly:
            update(item, archived=archived)


@router.get("/collection/{reference}/items")
def list_collection_items(
    reference: str,
    viewer: Viewer,
    store: StoreOf,
    models: ModelsQuery,
    archived: Flag = "false",
    pinned_state: Literal["all", "is_pinned", "is_not_pinned"] = "all",
    limit: int | None = None,
    offset: int | None = None,
) -> dict[str, Any]:
    """List what is in a collection: the pinned items too."""
    with store.read() as state:
        collection_id = None if reference == ROOT else _collection_id(state, reference)
        rows = [
            present.item(state, row, viewer)
            for row in _items(state, collection_id)
            if row.archived == (archived == "true")
        ]
    rows = [
        row
        for row in rows
        if (not models or row["model"] in models)
        and (
            pinned_state == "all"
            or (pinned_state == "is_pinned") == (row["collection_position"] is not None)
        )
    ]
    rows.sort(key=lambda row: row["name"].lower())
    page = rows[offset or 0 :][:limit]
    return {"data": page, "total": len(rows), "models": models, "limit": limit, "offset": offset}


def _items(state: State, collection_id: int | None) -> Iterator[Collection | Card | Dashboard]:
    for collection in state.collections.values():
        if collection.parent_id == collection_id:
            yield collection
    for card in state.cards.values():
        # A question that was saved in a dashboard is listed there only.
        if card.collection_id == collection_id and card.dashboard_id is None:
            yield card
    for dashboard in state.dashboards.values():
        if dashboard.collection_id == collection_id:
            yield dashboard


def _models_in(state: State, collection_id: int) -> list[str]:
    cards = [card.type for card in state.cards.values() if card.collection_id == collection_id]
    names = {"question": "card", "model": "dataset", "metric": "metric"}
    here = {names[kind] for kind in cards}
    if any(d.collection_id == collection_id for d in state.dashboards.values()):
        here.add("dashboard")
    return sorted(here)


def _collection_id(state: State, reference: str) -> int:
    """The ID of the collection with this ID or `entity_id`.

    Raises:
        ApiError: 404.
    """
    people = {owner.id for owner in _people(state)}
    if reference.isdecimal() and (int(reference) in state.collections or int(reference) in people):
        return int(reference)
    for row in state.collections.values():
        if row.entity_id == reference:
            return row.id
    raise errors.not_found()


def _people(state: State) -> list[User]:
    return [user for user in state.users.values() if user.password_hash is not None]


# --- Cards


@router.get("/card")
def list_cards(viewer: Viewer, store: StoreOf, f: Filter = "all") -> list[dict[str, Any]]:
    """List the cards of all collections."""
    with store.read() as state:
        rows = _filtered(state.cards.values(), f, viewer)
        return [present.card(state, row, viewer) for row in rows]


@router.post("/card")
def create_card(body: JsonBody, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Save a question, model or metric."""
    wanted = _without_null(validated(body, NEW_CARD, DROPPED_OF_NEW_CARD), NEW_CARD.keys())
    with store.write() as state:
        check_superuser(viewer)
        values = _checked_card(state, wanted)
        if any(card.entity_id == values.get("entity_id") for card in state.cards.values()):
            raise errors.invalid_value("entity_id", "A card with this entity_id already exists.")
        row = Card(id=next_id(state.cards), creator_id=viewer.id, **values)
        state.cards[row.id] = row
        logger.info("card %s: created", row.name)
        return present.card(state, row, viewer)


@router.get("/card/{reference}")
def get_card(reference: str, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Show a card, by ID or `entity_id`."""
    with store.read() as state:
        return present.card(state, by_reference(state.cards, reference), viewer)


@router.put("/card/{card_id:int}")
def update_card(card_id: int, body: JsonBody, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Change, move or archive a card."""
    sent = validated(body, CHANGED_CARD, DROPPED_OF_CARD)
    with store.write() as state:
        row = writable(state.cards, card_id, viewer)
        values = _checked_card(state, _without_null(sent, NEVER_NULL_OF_CARD), card_id)
        if "archived" in values:
            values["archived_directly"] = values["archived"]
        if values.get("type") == "model" and values.get("display") != "list":
            values["display"] = "table"  # as Metabase shows every model
        update(row, **values)
        logger.info("card %s: %s", row.name, ", ".join(sorted(values)) or "nothing")
        return present.card(state, row, viewer)


def _checked_card(
    state: State, values: Mapping[str, Any], card_id: int | None = None
) -> dict[str, Any]:
    """The values with the query in MBQL 5 and ids in place of references.

    Raises:
        ApiError: 400 or 404 for a query or reference that fits nothing here.
    """
    checked = {key: value for key, value in values.items() if key != "dashboard_tab_id"}
    if isinstance(checked.get("collection_id"), str):
        checked["collection_id"] = _collection_id(state, checked["collection_id"])
    elif checked.get("collection_id") is not None:
        _collection_id(state, str(checked["collection_id"]))
    if checked.get("dashboard_id") is not None:
        home = found(state.dashboards, checked["dashboard_id"])
        if checked.setdefault("collection_id", home.collection_id) != home.collection_id:
            raise errors.invalid_value(
                "collection_id", "Mismatch detected between Dashboard's `collection_id` and ours"
            )
    if "dataset_query" in checked:
        checked["dataset_query"] = mbql.normalised(checked["dataset_query"])
        _check_sources(state, checked["dataset_query"], card_id)
    return checked


def _check_sources(state: State, query: mbql.Query, card_id: int | None) -> None:
    """Check that the database, tables and cards of a query exist, and that it ends somewhere."""
    if query["database"] not in state.databases:
        raise errors.invalid_value("dataset_query", f"Database {query['database']} does not exist.")
    for stage in _stages_of(query["stages"]):
        table, source = stage.get("source-table"), stage.get("source-card")
        if table is not None and table not in state.tables:
            raise errors.invalid_value("dataset_query", f"Table {table} does not exist.")
        if source is None:
            continue
        if source not in state.cards:
            raise errors.ApiError(404, f"Card {source} does not exist.")
        if source == card_id:
            raise errors.ApiError(400, "Cannot save card with cycles.")
        if card_id is not None:
            _check_sources(state, state.cards[source].dataset_query, card_id)


def _stages_of(stages: Iterable[mbql.Query]) -> Iterator[mbql.Query]:
    for stage in stages:
        yield stage
        for join in stage.get("joins") or []:
            yield from _stages_of(join["stages"])


# --- Dashboards


@router.get("/dashboard")
def list_dashboards(viewer: Viewer, store: StoreOf, f: Filter = "all") -> list[dict[str, Any]]:
    """List the dashboards of all collections, without their cards."""
    with store.read() as state:
        rows = _filtered(state.dashboards.values(), f, viewer)
        return [present.listed_dashboard(state, row) for row in rows]


@router.post("/dashboard")
def create_dashboard(body: JsonBody, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Add an empty dashboard. `PUT` fills it."""
    wanted = _without_null(validated(body, NEW_DASHBOARD), NEW_DASHBOARD.keys())
    with store.write() as state:
        check_superuser(viewer)
        if "collection_id" in wanted:
            _collection_id(state, str(wanted["collection_id"]))
        row = Dashboard(id=next_id(state.dashboards), creator_id=viewer.id, **wanted)
        state.dashboards[row.id] = row
        logger.info("dashboard %s: created", row.name)
        return present.dashboard(state, row, viewer)


@router.get("/dashboard/{reference}")
def get_dashboard(reference: str, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Show a dashboard with its tabs and cards, by ID or `entity_id`."""
    with store.read() as state:
        return present.dashboard(state, by_reference(state.dashboards, reference), viewer)


@router.put("/dashboard/{dashboard_id:int}")
def update_dashboard(
    dashboard_id: int, body: JsonBody, viewer: Viewer, store: StoreOf
) -> dict[str, Any]:
    """Change a dashboard; with `dashcards`, these replace the cards on it, and `tabs` the tabs."""
    values = _without_null(validated(body, CHANGED_DASHBOARD), NEVER_NULL_OF_DASHBOARD)
    dashcards = _validated_rows(values, "dashcards", DASHCARD, DROPPED_OF_DASHCARD)
    tabs = _validated_rows(values, "tabs", TAB, DROPPED_OF_TAB)
    with store.write() as state:
        row = writable(state.dashboards, dashboard_id, viewer)
        if values.get("collection_id") is not None:
            _collection_id(state, str(values["collection_id"]))
        if dashcards is not None:
            _check_cards(state, dashcards)
            _replace_contents(state, row, dashcards, tabs or [])
        if "archived" in values:
            values["archived_directly"] = values["archived"]
            for card in state.cards.values():
                if card.dashboard_id == row.id:
                    update(card, archived=values["archived"])
        update(row, **values)
        logger.info("dashboard %s: %s", row.name, ", ".join(sorted(body)) or "nothing")
        return present.dashboard(state, row, viewer)


def _validated_rows(
    values: dict[str, Any], key: str, rules: Mapping[str, Rule], dropped: frozenset[str]
) -> list[dict[str, Any]] | None:
    """Take the rows out of the values and validate each.

    Raises:
        ApiError: 400, whose keys are those of the rows; 501 for keys that the fake doesn't know.
    """
    if (rows := values.pop(key, None)) is None:
        return None
    checked = [validated(row, rules, dropped) for row in rows]
    if len({row["id"] for row in checked}) < len(checked):
        complaint = "value must be seq of maps in which ids are unique"
        raise errors.invalid({key: complaint}, {key: [complaint]})
    return checked


def _check_cards(state: State, dashcards: list[dict[str, Any]]) -> None:
    for sent in dashcards:
        series = [card["id"] for card in sent.get("series") or []]
        for card_id in filter(None, (sent.get("card_id"), *series)):
            if found(state.cards, card_id).archived:
                raise errors.ApiError(404, "The object has been archived.")


def _replace_contents(
    state: State, row: Dashboard, dashcards: list[dict[str, Any]], tabs: list[dict[str, Any]]
) -> None:
    if len(tabs) == 1:
        dashcards = [
            {**c, "dashboard_tab_id": c.get("dashboard_tab_id") or tabs[0]["id"]} for c in dashcards
        ]
    if tabs and any(card.get("dashboard_tab_id") is None for card in dashcards):
        raise errors.ApiError(400, "This dashboard has tab, makes sure every card has a tab")
    tab_ids = _replace_tabs(state, row, tabs)
    known = {card.id: card for card in state.dashcards.values() if card.dashboard_id == row.id}
    kept = set()
    for sent in dashcards:
        values = {key: value for key, value in sent.items() if key != "id"}
        if "series" in values:
            values["series"] = [card["id"] for card in values["series"] or []]
        if values.get("dashboard_tab_id") is not None:
            if values["dashboard_tab_id"] not in tab_ids:
                raise errors.not_found()
            values["dashboard_tab_id"] = tab_ids[values["dashboard_tab_id"]]
        values = _without_null(values, {"parameter_mappings", "visualization_settings"})
        if card := known.get(sent["id"]):
            update(card, **values)
        else:
            card = Dashcard(id=next_id(state.dashcards), dashboard_id=row.id, **values)
            state.dashcards[card.id] = card
        kept.add(card.id)
    changed = kept != known.keys()
    for card_id in known.keys() - kept:
        del state.dashcards[card_id]
    if changed:
        row.updated_at = now()


def _replace_tabs(state: State, row: Dashboard, tabs: list[dict[str, Any]]) -> dict[int, int]:
    """Return the tabs' ids by the ids that were sent, which are negative for new tabs."""
    known = {tab.id: tab for tab in state.tabs_of(row.id)}
    ids = {}
    for position, sent in enumerate(tabs):
        if tab := known.get(sent["id"]):
            update(tab, name=sent["name"], position=position)
        else:
            tab = Tab(next_id(state.tabs), row.id, sent["name"], position)
            state.tabs[tab.id] = tab
        ids[sent["id"]] = tab.id
    for tab_id in known.keys() - set(ids.values()):
        del state.tabs[tab_id]
    return ids


# --- Shared


def by_reference[Row: (Card, Dashboard)](rows: dict[int, Row], reference: str) -> Row:
    """The row with this ID or `entity_id`.

    Raises:
        ApiError: 404.
    """
    if reference.isdecimal():
        return found(rows, int(reference))
    for row in rows.values():
        if row.entity_id == reference:
            return row
    raise errors.not_found()


def _filtered[Row: (Card, Dashboard)](rows: Iterable[Row], f: str, viewer: User) -> list[Row]:
    wanted = [
        row
        for row in rows
        if row.archived == (f == "archived") and (f != "mine" or row.creator_id == viewer.id)
    ]
    return sorted(wanted, key=lambda row: row.name.lower())


def _without_null(body: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    never_null = frozenset(keys)
    return {k: v for k, v in body.items() if v is not None or k not in never_null}


# --- Lists of what the fake has none of


@router.get("/native-query-snippet", dependencies=[Depends(viewer_of)])
@router.get("/pulse", dependencies=[Depends(viewer_of)])
@router.get("/alert", dependencies=[Depends(viewer_of)])
@router.get("/segment", dependencies=[Depends(viewer_of)])
def list_nothing() -> list[dict[str, Any]]:
    """List no snippets, subscriptions, alerts or segments: none can be made here."""
    return []


@router.get("/legacy-metric", dependencies=[Depends(viewer_of)])
def find_no_legacy_metrics() -> None:
    """Answer as Metabase does for a route that it no longer has."""
    raise errors.ApiError(404, "API endpoint does not exist.")
