"""Collections, cards and dashboards: what the fake keeps, answers and refuses."""

import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .support import FakeMetabase

STAGE = "mbql.stage/mbql"
PLACE = {"row": 0, "col": 0, "size_x": 12, "size_y": 6}


def query(metabase: FakeMetabase, **stage: Any) -> dict[str, Any]:
    source = {"source-table": metabase.tables()["dim_organisations"]["id"]}
    filled = {"lib/type": STAGE, **source, **stage}
    return {"lib/type": "mbql/query", "database": 1, "stages": [filled]}


def made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def new_card(metabase: FakeMetabase, **values: Any) -> dict[str, Any]:
    body = {"name": "Organisations", "display": "table", "visualization_settings": {}, **values}
    return made(metabase.api.post("/api/card", json={"dataset_query": query(metabase), **body}))


def new_dashboard(
    metabase: FakeMetabase, *dashcards: dict[str, Any], **values: Any
) -> dict[str, Any]:
    row = made(metabase.api.post("/api/dashboard", json={"name": "Overview"}))
    return made(
        metabase.api.put(f"/api/dashboard/{row['id']}", json={"dashcards": dashcards, **values})
    )


def names(answer: httpx.Response) -> list[str]:
    return [item["name"] for item in made(answer)["data"]]


# --- Collections


def test_collections_lie_in_one_another_and_move_with_what_is_in_them(
    metabase: FakeMetabase,
) -> None:
    api = metabase.api
    outer = made(api.post("/api/collection", json={"name": "Outer", "color": "#509EE3"}))
    inner = made(api.post("/api/collection", json={"name": "Inner", "parent_id": outer["id"]}))
    deepest = made(api.post("/api/collection", json={"name": "Deepest", "parent_id": inner["id"]}))
    card = new_card(metabase, collection_id=inner["id"])
    assert inner["location"] == f"/{outer['id']}/"
    assert len(outer["entity_id"]) == 21
    assert names(api.get(f"/api/collection/{inner['entity_id']}/items")) == [
        "Deepest",
        card["name"],
    ]
    made(api.put(f"/api/collection/{inner['id']}", json={"parent_id": None}))
    moved = made(api.get(f"/api/collection/{deepest['id']}"))
    assert moved["location"] == f"/{inner['id']}/"
    assert names(api.get("/api/collection/root/items?models=collection")) == ["Inner", "Outer"]
    (tree,) = [one for one in api.get("/api/collection/tree").json() if one["name"] == "Inner"]
    assert tree["here"] == ["card"]
    assert [child["name"] for child in tree["children"]] == ["Deepest"]


def test_a_collection_can_t_be_moved_into_itself(metabase: FakeMetabase) -> None:
    outer = made(metabase.api.post("/api/collection", json={"name": "Outer"}))
    inside = {"name": "Inner", "parent_id": outer["id"]}
    inner = made(metabase.api.post("/api/collection", json=inside))
    for parent in (outer, inner):
        body = {"parent_id": parent["id"]}
        refused = metabase.api.put(f"/api/collection/{outer['id']}", json=body)
        assert (refused.status_code, list(refused.json()["errors"])) == (400, ["parent_id"])


def test_an_archived_collection_takes_what_is_in_it_along_and_brings_it_back(
    metabase: FakeMetabase,
) -> None:
    collection = made(metabase.api.post("/api/collection", json={"name": "Old"}))
    kept = new_card(metabase, collection_id=collection["id"], name="Kept")
    gone = new_card(metabase, collection_id=collection["id"], name="Gone before")
    metabase.api.put(f"/api/card/{gone['id']}", json={"archived": True})
    path = f"/api/collection/{collection['id']}"
    made(metabase.api.put(path, json={"archived": True}))
    assert made(metabase.api.get(f"/api/card/{kept['id']}"))["archived"]
    listed = metabase.api.get("/api/collection").json()
    assert collection["id"] not in [one["id"] for one in listed]
    made(metabase.api.put(path, json={"archived": False}))
    assert names(metabase.api.get(f"{path}/items")) == ["Kept"]
    assert names(metabase.api.get(f"{path}/items?archived=true")) == ["Gone before"]


# --- Cards


def test_a_card_is_kept_as_mbql_5_and_found_by_both_its_ids(metabase: FakeMetabase) -> None:
    entity_id = "AbCdEfGhIjKlMnOpQrStU"
    count = {"aggregation": [["count", {}]]}
    card = new_card(metabase, entity_id=entity_id, dataset_query=query(metabase, **count))
    (stage,) = card["dataset_query"]["stages"]
    assert uuid.UUID(stage["aggregation"][0][1]["lib/uuid"])
    assert (card["query_type"], card["database_id"], card["type"]) == ("query", 1, "question")
    for reference in (card["id"], entity_id):
        assert made(metabase.api.get(f"/api/card/{reference}")) == card


def test_a_classic_query_is_kept_converted(metabase: FakeMetabase) -> None:
    fields = metabase.fields()
    table, name = (
        metabase.tables()["dim_organisations"]["id"],
        fields["dim_organisations.name"]["id"],
    )
    inner = {
        "source-table": table,
        "filter": [
            "and",
            ["=", ["field", name, None], "Ada"],
            ["contains", ["field", name, None], "d", {"case-sensitive": False}],
        ],
        "limit": 1,
    }
    card = new_card(metabase, dataset_query={"database": 1, "type": "query", "query": inner})
    (stage,) = card["dataset_query"]["stages"]
    equal, contains = stage["filters"]
    assert (stage["source-table"], stage["limit"]) == (table, 1)
    assert (equal[0], equal[2][0], equal[2][2], equal[3]) == ("=", "field", name, "Ada")
    assert contains[1]["case-sensitive"] is False
    tags = {"x": {"id": "a", "type": "text", "display-name": "X"}}
    native = {"query": "select {{x}}", "template-tags": tags}
    card = new_card(metabase, dataset_query={"database": 1, "type": "native", "native": native})
    (stage,) = card["dataset_query"]["stages"]
    assert (stage["native"], stage["template-tags"][0]["name"]) == ("select {{x}}", "x")
    assert card["query_type"] == "native"


def test_only_what_differs_moves_a_card_s_clock(metabase: FakeMetabase) -> None:
    card = new_card(metabase, description="All of them.")
    same = {
        "name": card["name"],
        "dataset_query": card["dataset_query"],
        "description": "All of them.",
    }
    path = f"/api/card/{card['id']}"
    assert made(metabase.api.put(path, json=same))["updated_at"] == card["updated_at"]
    changed = made(metabase.api.put(path, json={"description": None, "name": None}))
    assert (changed["description"], changed["name"]) == (None, card["name"])
    assert changed["updated_at"] > card["updated_at"]


BROKEN_QUERIES: dict[str, tuple[Any, str]] = {
    "no query": ({}, "must be a query"),
    "no stage": ({"lib/type": "mbql/query", "database": 1, "stages": []}, "at least one stage"),
    "no source": (
        {"lib/type": "mbql/query", "database": 1, "stages": [{"lib/type": STAGE}]},
        "source-table or source-card",
    ),
    "another database": (
        {
            "lib/type": "mbql/query",
            "database": 9,
            "stages": [{"lib/type": STAGE, "source-table": 1}],
        },
        "Database 9 does not exist.",
    ),
    "another table": (
        {
            "lib/type": "mbql/query",
            "database": 1,
            "stages": [{"lib/type": STAGE, "source-table": 99}],
        },
        "Table 99 does not exist.",
    ),
    "options left out": (
        {
            "lib/type": "mbql/query",
            "database": 1,
            "stages": [
                {"lib/type": STAGE, "source-table": 1, "filters": [["=", ["field", {}, 1], 2]]}
            ],
        },
        "must be a map of options",
    ),
}


@pytest.mark.parametrize("name", BROKEN_QUERIES)
def test_a_broken_query_is_refused_with_what_is_wrong(
    shared_metabase: FakeMetabase, name: str
) -> None:
    broken, reason = BROKEN_QUERIES[name]
    body = {"name": "Q", "display": "table", "visualization_settings": {}, "dataset_query": broken}
    refused = shared_metabase.api.post("/api/card", json=body)
    assert refused.status_code == 400
    assert reason in refused.json()["errors"]["dataset_query"]


def test_questions_in_a_circle_are_refused(metabase: FakeMetabase) -> None:
    first = new_card(metabase)
    on_first = {"source-table": None, "source-card": first["id"]}
    second = new_card(metabase, dataset_query=query(metabase, **on_first))
    for source in (first, second):
        on_it = query(metabase, **{"source-table": None, "source-card": source["id"]})
        refused = metabase.api.put(f"/api/card/{first['id']}", json={"dataset_query": on_it})
        assert (refused.status_code, refused.text) == (400, "Cannot save card with cycles.")


@pytest.mark.parametrize(
    ("method", "path", "body", "key"),
    [
        ("POST", "/api/collection", {"name": " "}, "name"),
        ("POST", "/api/collection", {"description": "D"}, "name"),
        ("POST", "/api/card", {"name": "C"}, "dataset_query"),
        ("PUT", "/api/card/1", {"type": "table"}, "type"),
        ("PUT", "/api/card/1", {"archived": "yes"}, "archived"),
        ("PUT", "/api/card/1", {"parameters": [{"id": "a", "type": "colour"}]}, "parameters"),
        ("POST", "/api/dashboard", {"name": None}, "name"),
        ("PUT", "/api/dashboard/1", {"width": "wide"}, "width"),
        ("PUT", "/api/dashboard/1", {"dashcards": [{**PLACE, "id": -1, "size_x": 0}]}, "size_x"),
        ("PUT", "/api/dashboard/1", {"dashcards": [{**PLACE, "id": -1, "col": -1}]}, "col"),
        ("PUT", "/api/dashboard/1", {"dashcards": [{**PLACE, "id": -1}] * 2}, "dashcards"),
    ],
)
def test_bad_values_are_named(
    shared_metabase: FakeMetabase, method: str, path: str, body: dict[str, Any], key: str
) -> None:
    refused = shared_metabase.api.request(method, path, json=body)
    assert refused.status_code == 400
    assert key in refused.json()["errors"]
    assert key in refused.json()["specific-errors"]


# --- Dashboards


def test_a_dashboard_has_the_cards_and_tabs_of_the_last_put(metabase: FakeMetabase) -> None:
    card = new_card(metabase)
    dashcards = [
        {**PLACE, "id": -1, "card_id": card["id"], "dashboard_tab_id": -1},
        {
            **PLACE,
            "id": -2,
            "card_id": None,
            "dashboard_tab_id": -2,
            "visualization_settings": {"virtual_card": {"display": "heading"}, "text": "Hello"},
        },
    ]
    tabs = [{"id": -1, "name": "First"}, {"id": -2, "name": "Second"}]
    made_so = new_dashboard(metabase, *dashcards, tabs=tabs)
    assert [tab["name"] for tab in made_so["tabs"]] == ["First", "Second"]
    first, second = made_so["dashcards"]
    assert first["card"]["name"] == card["name"]
    assert first["dashboard_tab_id"] == made_so["tabs"][0]["id"]
    assert second["visualization_settings"]["text"] == "Hello"
    # The same again, as it was shown: nothing is new, and one card has moved.
    again = [{**first, "row": 3}, second]
    path = f"/api/dashboard/{made_so['id']}"
    moved = made(metabase.api.put(path, json={"dashcards": again, "tabs": made_so["tabs"]}))
    assert [one["id"] for one in moved["dashcards"]] == [first["id"], second["id"]]
    assert [one["entity_id"] for one in moved["tabs"]] == [
        one["entity_id"] for one in made_so["tabs"]
    ]
    assert moved["dashcards"][0]["row"] == 3
    # Without tabs: no tab is left, and no card that is not sent.
    fewer = made(metabase.api.put(path, json={"dashcards": [{**PLACE, "id": -1}]}))
    assert (len(fewer["tabs"]), len(fewer["dashcards"])) == (0, 1)
    assert made(metabase.api.get(path)) == fewer
    assert metabase.api.get("/api/dashboard").json()[0]["name"] == "Overview"


def test_with_tabs_every_card_needs_one(metabase: FakeMetabase) -> None:
    row = new_dashboard(metabase)
    tabs = [{"id": -1, "name": "First"}, {"id": -2, "name": "Second"}]
    body = {"dashcards": [{**PLACE, "id": -1}], "tabs": tabs}
    refused = metabase.api.put(f"/api/dashboard/{row['id']}", json=body)
    assert (refused.status_code, "every card has a tab" in refused.text) == (400, True)


def test_a_card_that_was_archived_is_on_no_dashboard(metabase: FakeMetabase) -> None:
    card = new_card(metabase)
    row = new_dashboard(metabase, {**PLACE, "id": -1, "card_id": card["id"]})
    path = f"/api/dashboard/{row['id']}"
    metabase.api.put(f"/api/card/{card['id']}", json={"archived": True})
    assert made(metabase.api.get(path))["dashcards"] == []
    refused = metabase.api.put(
        path, json={"dashcards": [{**PLACE, "id": -1, "card_id": card["id"]}]}
    )
    assert refused.status_code == 404
    metabase.api.put(f"/api/card/{card['id']}", json={"archived": False})
    assert len(made(metabase.api.get(path))["dashcards"]) == 1


# --- All of them


def test_who_is_no_administrator_writes_no_content(metabase: FakeMetabase) -> None:
    card = new_card(metabase)
    with metabase.as_non_admin() as reader:
        body = {"name": "C", "display": "table", "visualization_settings": {}}
        for answer in (
            reader.post("/api/collection", json={"name": "C"}),
            reader.post("/api/card", json={**body, "dataset_query": query(metabase)}),
            reader.put(f"/api/card/{card['id']}", json={"name": "Mine"}),
            reader.post("/api/dashboard", json={"name": "D"}),
        ):
            assert answer.status_code == 403
        assert reader.get(f"/api/card/{card['id']}").json()["can_write"] is False


def test_content_survives_a_restart(start: Callable[[], FakeMetabase]) -> None:
    before = start()
    before.sync()
    collection = made(before.api.post("/api/collection", json={"name": "C"}))
    card = new_card(before, collection_id=collection["id"])
    row = new_dashboard(before, {**PLACE, "id": -1, "card_id": card["id"]})
    after = start()
    assert made(after.api.get(f"/api/dashboard/{row['id']}")) == row
    assert names(after.api.get(f"/api/collection/{collection['id']}/items")) == [card["name"]]


def test_the_first_run_of_a_card_says_what_its_columns_are(metabase: FakeMetabase) -> None:
    sql = {"lib/type": "mbql.stage/native", "native": "select count(*) as count"}
    native = {"lib/type": "mbql/query", "database": 1, "stages": [sql]}
    card = new_card(metabase, type="model", dataset_query=native)
    shown = metabase.api.post(f"/api/card/{card['id']}/query", json={})
    assert (shown.status_code, shown.json()["data"]["rows"]) == (202, [[42]])
    (column,) = made(metabase.api.get(f"/api/card/{card['id']}"))["result_metadata"]
    assert (column["name"], column["base_type"]) == ("count", "type/Integer")
    curated = [{**column, "description": "How many."}]
    made(metabase.api.put(f"/api/card/{card['id']}", json={"result_metadata": curated}))
    metabase.api.post(f"/api/card/{card['id']}/query", json={})
    assert made(metabase.api.get(f"/api/card/{card['id']}"))["result_metadata"] == curated
