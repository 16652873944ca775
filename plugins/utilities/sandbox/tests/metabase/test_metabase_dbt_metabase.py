"""The real dbt-metabase, run against the fake."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dbtmetabase  # type: ignore[import-untyped]
import pytest
import requests
from dbt_metabase_sync.sync import keep_hidden
from dbtmetabase.errors import MetabaseStateError  # type: ignore[import-untyped]

from .support import API_KEY, DATABASE, FakeMetabase

ORGANISATIONS = "model.stack.dim_organisations"
TIMELINE_ITEMS = "model.stack.stg_product__timeline_items"
RELATIONSHIP = "test.stack.relationships_timeline_items_organisation_id"


@pytest.fixture(autouse=True)
def fast_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt-metabase waits five seconds before it looks; it need not wait that long here."""
    monkeypatch.setattr("dbtmetabase._models._SYNC_PERIOD", 0.2)


@pytest.fixture
def manifest() -> dict[str, Any]:
    """What dbt writes of a dimension and of a staging table that refers to it."""
    return {
        "nodes": {
            ORGANISATIONS: model(
                ORGANISATIONS,
                "One row for each organisation.",
                id=column("The key."),
                name=column("What it is called.", **{"metabase.semantic_type": "type/Name"}),
                annual_contract_value=column(
                    "Dollars a year.",
                    **{
                        "metabase.semantic_type": "type/Currency",
                        "metabase.display_name": "ACV",
                        "metabase.currency": "USD",
                    },
                ),
                archived_at=column(
                    "When it left.", **{"metabase.semantic_type": "type/DeletionTimestamp"}
                ),
            ),
            TIMELINE_ITEMS: model(
                TIMELINE_ITEMS,
                "One row for each thing that happened in an incident.",
                id=column("The key."),
                organisation_id=column("Whose it is."),
                created_at=column("When it happened."),
            ),
            RELATIONSHIP: {
                "resource_type": "test",
                "name": "relationships",
                "column_name": "organisation_id",
                "test_metadata": {
                    "name": "relationships",
                    "kwargs": {"to": "ref('dim_organisations')", "field": "id"},
                },
                "depends_on": {"nodes": [ORGANISATIONS, TIMELINE_ITEMS]},
                "refs": [{"name": "dim_organisations"}, {"name": "stg_product__timeline_items"}],
            },
        },
        "sources": {},
        "child_map": {ORGANISATIONS: [RELATIONSHIP], TIMELINE_ITEMS: [RELATIONSHIP]},
    }


def model(unique_id: str, description: str, **columns: dict[str, Any]) -> dict[str, Any]:
    name = unique_id.rpartition(".")[2]
    return {
        "resource_type": "model",
        "unique_id": unique_id,
        "name": name,
        "alias": name,
        "database": "local",
        "schema": "dbt",
        "config": {"materialized": "table"},
        "description": description,
        "meta": {},
        "tags": [],
        "columns": {name: {"name": name, **column} for name, column in columns.items()},
    }


def column(description: str, **meta: str) -> dict[str, Any]:
    return {"description": description, "meta": meta, "constraints": []}


type DbtMetabase = Callable[..., dbtmetabase.DbtMetabase]


@pytest.fixture
def dbt_metabase(
    start: Callable[[], FakeMetabase], manifest: dict[str, Any], tmp_path: Path
) -> tuple[FakeMetabase, DbtMetabase]:
    """A fake that knows no tables yet, and dbt-metabase for the manifest as it then is."""
    fake = start()

    def make(api_key: str = API_KEY) -> dbtmetabase.DbtMetabase:
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(manifest))
        return dbtmetabase.DbtMetabase(path, fake.url, metabase_api_key=api_key)

    return fake, make


def test_names_descriptions_types_and_keys_arrive(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase],
) -> None:
    fake, make = dbt_metabase
    make().export_models(DATABASE)
    fields = fake.fields()
    assert {name: field["semantic_type"] for name, field in fields.items()} == {
        "dim_organisations.id": "type/PK",
        "dim_organisations.name": "type/Name",
        "dim_organisations.annual_contract_value": "type/Currency",
        "dim_organisations.archived_at": "type/DeletionTimestamp",
        "stg_product__timeline_items.id": None,
        "stg_product__timeline_items.organisation_id": "type/FK",
        "stg_product__timeline_items.created_at": None,
    }
    foreign_key = fields["stg_product__timeline_items.organisation_id"]
    assert foreign_key["target"]["id"] == fields["dim_organisations.id"]["id"]
    value = fields["dim_organisations.annual_contract_value"]
    assert value["display_name"] == "ACV"
    assert value["description"] == "Dollars a year."
    assert value["settings"] == {"currency": "USD"}
    assert fake.tables()["dim_organisations"]["description"] == "One row for each organisation."


def test_a_second_run_changes_nothing(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], state_file: Path
) -> None:
    _, make = dbt_metabase
    make().export_models(DATABASE, order_fields=True)
    before = state_file.read_bytes()
    make().export_models(DATABASE, order_fields=True)
    assert state_file.read_bytes() == before


def test_what_is_no_longer_said_in_dbt_is_unset(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], manifest: dict[str, Any]
) -> None:
    fake, make = dbt_metabase
    make().export_models(DATABASE)
    manifest["nodes"][ORGANISATIONS]["columns"]["name"]["description"] = ""
    manifest["nodes"][ORGANISATIONS]["columns"]["name"]["meta"]["metabase.semantic_type"] = None
    make().export_models(DATABASE)
    name = fake.fields()["dim_organisations.name"]
    assert (name["description"], name["semantic_type"]) == (None, None)


@pytest.mark.parametrize("visibility", ["hidden", "technical", "cruft"])
def test_what_people_hide_stays_hidden_until_they_show_it(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], manifest: dict[str, Any], visibility: str
) -> None:
    fake, make = dbt_metabase

    def sync() -> None:
        client = make()
        keep_hidden(client, DATABASE)
        client.export_models(DATABASE, sync_timeout=2)

    sync()
    fake.put_table("stg_product__timeline_items", visibility_type=visibility)
    fake.put_field("dim_organisations.archived_at", visibility_type="sensitive")
    # Metabase doesn't look into a hidden table, so it will not know this column.
    columns = manifest["nodes"][TIMELINE_ITEMS]["columns"]
    columns["description"] = {"name": "description", **column("What happened.")}
    manifest["nodes"][TIMELINE_ITEMS]["description"] = "Things that happened."
    sync()
    hidden = fake.tables()["stg_product__timeline_items"]
    assert (hidden["visibility_type"], hidden["description"]) == (
        visibility,
        "Things that happened.",
    )
    assert fake.fields()["dim_organisations.archived_at"]["visibility_type"] == "sensitive"
    assert fake.fields()["dim_organisations.name"]["visibility_type"] == "normal"

    fake.put_table("stg_product__timeline_items", visibility_type=None)
    del columns["description"]
    columns["created_at"]["description"] = "When."
    sync()
    assert fake.tables()["stg_product__timeline_items"]["visibility_type"] is None
    assert fake.fields()["stg_product__timeline_items.created_at"]["description"] == "When."


def test_dbt_may_show_what_people_hide_if_it_says_so(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], manifest: dict[str, Any]
) -> None:
    fake, make = dbt_metabase
    make().export_models(DATABASE)
    fake.put_field("dim_organisations.name", visibility_type="sensitive")
    meta = manifest["nodes"][ORGANISATIONS]["columns"]["name"]["meta"]
    meta["metabase.visibility_type"] = "normal"
    client = make()
    keep_hidden(client, DATABASE)
    client.export_models(DATABASE)
    assert fake.fields()["dim_organisations.name"]["visibility_type"] == "normal"


def test_the_order_of_columns_in_dbt_can_be_kept(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], manifest: dict[str, Any]
) -> None:
    fake, make = dbt_metabase
    columns = manifest["nodes"][ORGANISATIONS]["columns"]
    manifest["nodes"][ORGANISATIONS]["columns"] = dict(reversed(columns.items()))
    make().export_models(DATABASE, order_fields=True)
    fields = fake.tables()["dim_organisations"]["fields"]
    assert [field["name"] for field in fields] == list(reversed(columns))


def test_a_documented_column_that_the_warehouse_lacks_stops_the_run_before_it_writes(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], manifest: dict[str, Any]
) -> None:
    fake, make = dbt_metabase
    manifest["nodes"][ORGANISATIONS]["columns"]["slug"] = {"name": "slug", "meta": {}}
    with pytest.raises(MetabaseStateError, match="Unable to sync"):
        make().export_models(DATABASE, sync_timeout=1)
    assert fake.tables()["dim_organisations"]["description"] is None


def test_a_type_that_metabase_does_not_know_is_refused(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], manifest: dict[str, Any]
) -> None:
    _, make = dbt_metabase
    meta = manifest["nodes"][ORGANISATIONS]["columns"]["name"]["meta"]
    meta["metabase.semantic_type"] = "type/Number"
    with pytest.raises(requests.HTTPError, match="400"):
        make().export_models(DATABASE)


def test_a_wrong_key_is_refused(dbt_metabase: tuple[FakeMetabase, DbtMetabase]) -> None:
    _, make = dbt_metabase
    with pytest.raises(requests.HTTPError, match="401"):
        make(api_key="mb_wrong").export_models(DATABASE)


def test_an_unreachable_warehouse_is_refused(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase],
) -> None:
    fake, make = dbt_metabase
    fake.warehouse.down = True
    with pytest.raises(requests.HTTPError, match="422"):
        make().export_models(DATABASE)


def test_there_are_no_exposures_to_extract(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], tmp_path: Path
) -> None:
    _, make = dbt_metabase
    assert make().extract_exposures(str(tmp_path)) == []


def test_questions_and_dashboards_become_exposures_of_the_models_that_they_read(
    dbt_metabase: tuple[FakeMetabase, DbtMetabase], tmp_path: Path
) -> None:
    fake, make = dbt_metabase
    fake.sync()
    stages = (
        {
            "lib/type": "mbql.stage/mbql",
            "source-table": fake.tables()["dim_organisations"]["id"],
        },
        {
            "lib/type": "mbql.stage/native",
            "native": "select count(*) from dbt.stg_product__timeline_items",
        },
    )
    cards = []
    for name, stage in zip(("Organisations", "Timeline items"), stages, strict=True):
        query = {"lib/type": "mbql/query", "database": 1, "stages": [stage]}
        body = {"name": name, "display": "table", "visualization_settings": {}}
        answer = fake.api.post("/api/card", json={**body, "dataset_query": query})
        cards.append(answer.raise_for_status().json()["id"])
    row = fake.api.post("/api/dashboard", json={"name": "Both"}).json()
    places = [
        {"id": -card, "card_id": card, "row": card, "col": 0, "size_x": 24, "size_y": 6}
        for card in cards
    ]
    path = f"/api/dashboard/{row['id']}"
    fake.api.put(path, json={"dashcards": places}).raise_for_status()
    exposures = [found["body"] for found in make().extract_exposures(str(tmp_path))]
    assert {found["label"]: sorted(found["depends_on"]) for found in exposures} == {
        "Organisations": ["ref('dim_organisations')"],
        "Timeline items": ["ref('stg_product__timeline_items')"],
        "Both": ["ref('dim_organisations')", "ref('stg_product__timeline_items')"],
    }
