"""The shape of each kind of entity: in a file, in Metabase's answers, and in its requests."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from metabase_content.files import CREATOR, Document, slug
from metabase_content.references import (
    ToIds,
    ToNames,
    referred,
    translate,
    with_uuids,
    without_uuids,
)

Json = dict[str, Any]
DEFAULTS: Mapping[str, Json] = {
    "Collection": {"name": None, "description": None, "parent_id": None, "authority_level": None},
    "Segment": {"name": None, "description": None, "definition": None},
    "Card": {
        "name": None,
        "description": None,
        "type": "question",
        "collection_id": None,
        "collection_position": None,
        "dashboard_id": None,
        "display": None,
        "dataset_query": None,
        "parameters": [],
        "visualization_settings": {},
    },
    "Dashboard": {
        "name": None,
        "description": None,
        "collection_id": None,
        "collection_position": None,
        "width": "fixed",
        "auto_apply_filters": True,
        "parameters": [],
        "tabs": [],
        "dashcards": [],
    },
}
"""What is pushed and compared, with the value of a key that a file leaves out."""
HOME = {"Collection": "parent_id", "Card": "collection_id", "Dashboard": "collection_id"}
QUERY = {"Card": "dataset_query", "Segment": "definition"}


def digest(value: Any) -> str:
    """Return a short hash of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical(model: str, document: Mapping[str, Any]) -> Json:
    """Return what of a file or of Metabase's answer (with names) makes a difference."""
    shape = {
        key: value if (value := document.get(key)) is not None else default
        for key, default in DEFAULTS[model].items()
    }
    if model in QUERY:
        shape[QUERY[model]] = without_uuids(shape[QUERY[model]])
    if model == "Card" and shape["dataset_query"]["stages"][0]["lib/type"] == "mbql.stage/native":
        shape["parameters"] = []  # Metabase makes them from the template tags.
    if model == "Dashboard":
        tabs = {tab["entity_id"]: position for position, tab in enumerate(ordered(shape["tabs"]))}
        shape["tabs"] = [tab["name"] for tab in ordered(shape["tabs"])]
        shape["dashcards"] = sorted(
            (canonical_dashcard(item, tabs) for item in shape["dashcards"]),
            key=lambda item: (item["tab"], item["row"], item["col"], digest(item)),
        )
    result: Json = without_empty(shape)
    return result


def canonical_dashcard(item: Mapping[str, Any], tabs: Mapping[str, int]) -> Json:
    """Return what of a card on a dashboard makes a difference."""
    tab = item.get("dashboard_tab_id")
    mappings = [
        {"parameter_id": mapping["parameter_id"], "target": without_null(mapping["target"])}
        for mapping in item.get("parameter_mappings") or []
    ]
    series = sorted(item.get("series") or [], key=lambda one: one["position"])
    return {
        **{key: item[key] for key in ("row", "col", "size_x", "size_y")},
        # With a single tab, Metabase puts on it what is on none.
        "tab": tabs.get(tab[1], 0) if tab else 0,
        "card_id": item.get("card_id"),
        "series": [one["card_id"] for one in series],
        "parameter_mappings": sorted(mappings, key=digest),
        "inline_parameters": item.get("inline_parameters") or [],
        "visualization_settings": item.get("visualization_settings") or {},
    }


def without_null(target: list[Any]) -> list[Any]:
    """Return a parameter's target without the options that say nothing."""
    return [
        without_null(part) if isinstance(part, list) else part
        for part in target
        if part not in (None, {})
    ]


def without_empty(value: Any) -> Any:
    """Leave out of mappings what is null, as Metabase does in places."""
    if isinstance(value, dict):
        return {k: without_empty(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value


def ordered(tabs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return tabs from left to right."""
    return sorted(tabs, key=lambda tab: tab["position"])


def body(model: str, entity_id: str, document: Mapping[str, Any], to: ToIds) -> Json:
    """Return a file's content as Metabase's API takes it; of dashboards, without what is on them.

    Raises:
        ContentError: what the file refers to is missing.
    """
    wanted = {
        key: document.get(key, default)
        for key, default in DEFAULTS[model].items()
        if key not in ("tabs", "dashcards")
    }
    if home := HOME.get(model):
        wanted |= translate({home: wanted[home]}, to)
    if query := QUERY.get(model):
        translated = translate(wanted[query], to, (query,))
        wanted[query] = with_uuids(translated, entity_id)
    if model == "Card":
        wanted |= translate({"dashboard_id": wanted["dashboard_id"]}, to)
        for key in ("parameters", "visualization_settings"):
            wanted[key] = translate(wanted[key], to, (key,))
    if model == "Segment":
        wanted["table_id"] = wanted["definition"]["stages"][0]["source-table"]
    if model == "Dashboard":
        wanted["parameters"] = translate(wanted["parameters"], to, ("parameters",))
    for key in ("authority_level", "dashboard_id"):
        if wanted.get(key, "") is None:
            del wanted[key]
    return wanted


def contents(document: Mapping[str, Any], page: Mapping[str, Any], to: ToIds) -> Json:
    """Return the tabs and cards of a dashboard as `PUT /api/dashboard/:id` takes them.

    What is on the page already keeps its number, since subscriptions refer to it.

    Args:
        document: The file.
        page: The dashboard in Metabase; `{}` if it is not there.
        to: Gives numbers.
    """
    known_tabs = {tab["name"]: tab["id"] for tab in page.get("tabs") or []}
    tabs = []
    tab_ids: dict[str, int] = {}
    for number, tab in enumerate(ordered(document.get("tabs") or [])):
        tab_ids[tab["entity_id"]] = known_tabs.get(tab["name"], -1 - number)
        tabs.append(
            {"id": tab_ids[tab["entity_id"]], "name": tab["name"], "position": tab["position"]}
        )
    rest = list(page.get("dashcards") or [])
    dashcards = []
    for number, item in enumerate(document.get("dashcards") or []):
        key = ("dashcards", number)
        sent = dashcard(translate(item, to, key), tab_ids)
        same = next((row for row in rest if is_same(row, sent)), None)
        if same:
            rest.remove(same)
        dashcards.append({"id": same["id"] if same else -1 - number, **sent})
    return {"tabs": tabs, "dashcards": dashcards}


def dashcard(item: Mapping[str, Any], tab_ids: Mapping[str, int]) -> Json:
    """Return a card on a dashboard as the API takes it."""
    tab = item.get("dashboard_tab_id")
    card = item.get("card_id")
    sent = {
        **{key: item[key] for key in ("row", "col", "size_x", "size_y")},
        "card_id": card,
        "dashboard_tab_id": tab_ids[tab[1]] if tab else None,
        "parameter_mappings": [
            {"card_id": card, **mapping} if card else dict(mapping)
            for mapping in item.get("parameter_mappings") or []
        ],
        "visualization_settings": item.get("visualization_settings") or {},
        "series": [{"id": one["card_id"]} for one in item.get("series") or []],
    }
    if item.get("inline_parameters"):
        sent["inline_parameters"] = item["inline_parameters"]
    return sent


def is_same(row: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Tell whether a card on the page is the one that is sent."""
    if row["card_id"] != sent["card_id"]:
        return False
    text = (row["visualization_settings"] or {}).get("text")
    return row["card_id"] is not None or bool(text == sent["visualization_settings"].get("text"))


def portable(model: str, row: Mapping[str, Any], to: ToNames) -> Document:
    """Return an entity of Metabase as a file has it.

    `entity_id`s are Metabase's own, or those of files that were pushed there.
    """
    entity_id = to.entity(model, row["id"])
    document: Document = {
        "name": row["name"],
        "entity_id": entity_id if isinstance(entity_id, str) else row.get("entity_id"),
    }
    if model != "Collection":
        document["creator_id"] = CREATOR
    for key, default in DEFAULTS[model].items():
        value = row.get(key)
        if key not in document and value is not None and value != default:
            document[key] = value
    if (home := HOME.get(model)) and home in document:
        document[home] = to.entity("Collection", document[home])
    if "dashboard_id" in document:
        document["dashboard_id"] = to.entity("Dashboard", document["dashboard_id"])
    if query := QUERY.get(model):
        names = translate(row[query], to)
        keep = {item: item for item in referred(names)}
        document[query] = without_uuids(names, keep)
    if model == "Segment":
        document["table_id"] = document["definition"]["stages"][0]["source-table"]
    if model == "Card":
        document["visualization_settings"] = row["visualization_settings"] or {}
    for key in ("parameters", "visualization_settings"):
        if key in document:
            document[key] = translate(document[key], to, (key,))
    if model == "Dashboard":
        document |= portable_contents(row, document["entity_id"], to)
    meta = {"id": document["entity_id"], "label": slug(row["name"]), "model": model}
    return {**document, "serdes/meta": [meta]}


def portable_contents(row: Mapping[str, Any], entity_id: str, to: ToNames) -> Document:
    """Return the tabs and cards of a dashboard as its file has them."""
    tabs = row.get("tabs") or []
    of_tab = {tab["id"]: tab["entity_id"] for tab in tabs}
    filters = {parameter["id"] for parameter in row.get("parameters") or []}
    shown = []
    for item in sorted(
        row.get("dashcards") or [],
        key=lambda one: (one.get("dashboard_tab_id") or 0, one["row"], one["col"]),
    ):
        wanted: Json = {key: item[key] for key in ("row", "col", "size_x", "size_y")}
        wanted = {"entity_id": item["entity_id"], **wanted, "card_id": item["card_id"]}
        if item.get("dashboard_tab_id"):
            wanted["dashboard_tab_id"] = [entity_id, of_tab[item["dashboard_tab_id"]]]
        for key in ("parameter_mappings", "inline_parameters", "visualization_settings"):
            if item.get(key):
                wanted[key] = item[key]
        if mappings := wanted.pop("parameter_mappings", None):
            kept = [one for one in mappings if one["parameter_id"] in filters]
            wanted |= {"parameter_mappings": kept} if kept else {}
        series = [
            {"card_id": one["id"], "position": i} for i, one in enumerate(item.get("series") or [])
        ]
        if series:
            wanted["series"] = series
        wanted = translate(wanted, to, ("dashcards",))
        meta = [
            {"id": entity_id, "model": "Dashboard"},
            {"id": item["entity_id"], "model": "DashboardCard"},
        ]
        shown.append({**wanted, "serdes/meta": meta})
    found: Document = {"dashcards": shown}
    if tabs:
        keys = ("entity_id", "name", "position")
        found = {"tabs": [{key: tab[key] for key in keys} for tab in ordered(tabs)], **found}
    return found
