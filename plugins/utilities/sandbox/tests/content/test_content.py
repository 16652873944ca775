"""The questions and dashboards in orchestrate/metabase/ fit one another, and the models of dbt."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from metabase_content.files import Entity, dump, load, read

ROOT = Path(__file__).parents[5]
CONTENT = read(ROOT / "orchestrate/metabase")
CARDS = {entity.entity_id: entity for entity in CONTENT.entities if entity.model == "Card"}
DASHBOARDS = [entity for entity in CONTENT.entities if entity.model == "Dashboard"]
FILES = pytest.mark.parametrize("entity", CONTENT.entities, ids=lambda one: one.path.stem)
EACH_DASHBOARD = pytest.mark.parametrize("entity", DASHBOARDS, ids=lambda one: one.path.stem)
MONEY = ("type/Income", "type/Currency", "type/Cost")


def columns() -> dict[tuple[str, str], dict[str, Any]]:
    """Each column that dbt documents, by table and name."""
    return {
        (model["name"], column["name"]): column
        for path in (ROOT / "transform/models").rglob("*.yml")
        for model in (yaml.safe_load(path.read_text()) or {}).get("models") or []
        for column in model.get("columns") or []
    }


COLUMNS = columns()


def references(value: Any) -> Iterator[list[str]]:
    """Yield each table and column that a file names."""
    match value:
        case [str(), "dbt", str(), *rest] if len(rest) <= 1:
            yield value
        case list():
            for item in value:
                yield from references(item)
        case dict():
            for item in value.values():
                yield from references(item)


def test_every_file_can_be_pushed() -> None:
    assert CONTENT.problems == []
    assert len(DASHBOARDS) >= 7


@FILES
def test_only_tables_and_columns_of_dbt_are_named(entity: Entity) -> None:
    tables = {table for table, _ in COLUMNS}
    for _, _, table, *column in references(entity.document):
        assert table in tables
        assert not column or (table, column[0]) in COLUMNS, (table, column)


@FILES
def test_a_pull_would_not_reformat_a_file(entity: Entity) -> None:
    assert entity.path.read_text() == dump(load(entity.path))


@FILES
def test_everything_is_described(entity: Entity) -> None:
    assert len(entity.document["description"]) > 20


def links(value: Any) -> Iterator[str]:
    match value:
        case {"targetId": str() as target}:
            yield target
        case dict():
            for item in value.values():
                yield from links(item)


@EACH_DASHBOARD
def test_cards_do_not_overlap_and_exist(entity: Entity) -> None:
    shown = entity.document["dashcards"]
    assert all(one["card_id"] is None or one["card_id"] in CARDS for one in shown)
    assert all(target in CARDS for one in shown for target in links(one))
    for one, other in combinations(shown, 2):
        apart = (
            one["col"] + one["size_x"] <= other["col"]
            or other["col"] + other["size_x"] <= one["col"]
            or one["row"] + one["size_y"] <= other["row"]
            or other["row"] + other["size_y"] <= one["row"]
        )
        assert apart, (one["entity_id"], other["entity_id"])


@EACH_DASHBOARD
def test_each_filter_works_on_several_cards(entity: Entity) -> None:
    mapped = [
        mapping["parameter_id"]
        for one in entity.document["dashcards"]
        for mapping in one.get("parameter_mappings") or []
    ]
    for parameter in entity.document["parameters"]:
        assert mapped.count(parameter["id"]) >= 2, parameter["name"]
    assert set(mapped) == {parameter["id"] for parameter in entity.document["parameters"]}


@EACH_DASHBOARD
def test_a_filter_is_of_the_cards_own_table(entity: Entity) -> None:
    """Or of one that a foreign key leads to."""
    for one in entity.document["dashcards"]:
        for mapping in one.get("parameter_mappings") or []:
            table = CARDS[one["card_id"]].document["dataset_query"]["stages"][0]["source-table"]
            _, (_, column, options) = mapping["target"]
            through = options["source-field"] if options else column
            assert through[:3] == table
            if options:
                tests = json.dumps(COLUMNS[through[2], through[3]]["data_tests"])
                assert f"ref('{column[2]}')" in tests


def test_each_question_is_on_a_dashboard_or_a_click_away() -> None:
    reached = {
        item
        for dashboard in DASHBOARDS
        for one in dashboard.document["dashcards"]
        for item in (one["card_id"], *links(one))
    }
    assert reached - {None} == CARDS.keys()


@pytest.mark.parametrize("entity", CARDS.values(), ids=lambda one: one.path.stem)
def test_amounts_of_several_currencies_are_never_added_up(entity: Entity) -> None:
    stage = entity.document["dataset_query"]["stages"][0]
    for _, _, *arguments in stage.get("aggregation") or []:
        for _, _, table, *column in references(arguments):
            meta = (COLUMNS[table, column[0]].get("config") or {}).get("meta") or {}
            if meta.get("metabase.semantic_type") in MONEY and not column[0].endswith("usd"):
                grouped = [reference[-1] for reference in references(stage.get("breakout"))]
                assert {"currency", "billing_currency"} & set(grouped)
