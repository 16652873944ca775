"""What the fake answers and refuses, as Metabase does."""

import logging
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sandbox.metabase.app import create_app
from sandbox.metabase.provision import ADMIN_EMAIL, ADMIN_PASSWORD
from sandbox.metabase.semantics import humanise
from sandbox.metabase.store import Store

from .support import API_KEY, FakeMetabase, client, eventually, served, table

NON_BLANK = "nullable value must be a non-blank string."


# --- Who may ask


@pytest.mark.parametrize("headers", [{}, {"X-API-KEY": "mb_wrong"}, {"X-Metabase-Session": "no"}])
def test_without_a_known_key_nothing_is_told(
    shared_metabase: FakeMetabase, headers: dict[str, str]
) -> None:
    answer = client(shared_metabase.url, headers).get("/api/database")
    assert (answer.status_code, answer.text) == (401, "Unauthenticated")


def test_a_session_is_as_good_as_a_key_until_it_is_closed(metabase: FakeMetabase) -> None:
    credentials = {"username": ADMIN_EMAIL, "password": ADMIN_PASSWORD}
    session = client(metabase.url).post("/api/session", json=credentials).json()
    with client(metabase.url, {"X-Metabase-Session": session["id"]}) as logged_in:
        assert logged_in.get("/api/user/current").json()["email"] == ADMIN_EMAIL
        assert logged_in.delete("/api/session").status_code == 204
        assert logged_in.get("/api/user/current").status_code == 401


def test_a_wrong_password_and_an_unknown_user_read_the_same(shared_metabase: FakeMetabase) -> None:
    for credentials in (
        {"username": ADMIN_EMAIL, "password": "wrong"},
        {"username": "nobody@example.com", "password": ADMIN_PASSWORD},
    ):
        answer = client(shared_metabase.url).post("/api/session", json=credentials)
        assert answer.status_code == 401
        assert answer.json() == {"errors": {"password": "did not match stored password"}}


def test_set_up_is_over_from_the_start(shared_metabase: FakeMetabase) -> None:
    assert shared_metabase.api.post("/api/setup", json={}).status_code == 403


def test_a_key_outside_the_administrators_reads_without_details_and_writes_nothing(
    metabase: FakeMetabase,
) -> None:
    field = metabase.fields()["dim_organisations.name"]
    with metabase.as_non_admin() as reader:
        (database,) = reader.get("/api/database").json()["data"]
        assert "details" not in database
        assert "details" not in reader.get("/api/database/1").json()
        assert all("details" not in table["db"] for table in reader.get("/api/table").json())
        for answer in (
            reader.post("/api/database/1/sync_schema"),
            reader.post("/api/database/1/rescan_values"),
            reader.put("/api/database/1", json={"details": {}}),
            reader.put(f"/api/field/{field['id']}", json={"description": "Mine."}),
            reader.put(f"/api/table/{field['table_id']}", json={"description": "Mine."}),
            reader.put(f"/api/table/{field['table_id']}/fields/order", json=[field["id"]]),
            reader.get("/api/api-key"),
            reader.get("/api/user/1"),
        ):
            assert answer.status_code == 403
    assert metabase.fields()["dim_organisations.name"] == field


def test_a_database_shows_other_datasets_once_its_details_say_so(metabase: FakeMetabase) -> None:
    (database,) = metabase.api.get("/api/database").json()["data"]
    details = {**database["details"], "dataset-filters-patterns": "dbt,notes"}
    metabase.warehouse.down = True
    refused = metabase.api.put("/api/database/1", json={"details": details})
    assert (refused.status_code, refused.json()["message"]) == (400, "BigQuery can't be reached")
    metabase.warehouse.down = False
    assert metabase.api.put("/api/database/1", json={"details": details}).status_code == 200
    (changed,) = metabase.api.get("/api/database").json()["data"]
    assert changed["details"] == details
    assert metabase.api.put("/api/database/1", json={"details": 1}).status_code == 400
    assert metabase.api.put("/api/database/2", json={"details": details}).status_code == 404


def test_a_key_is_shown_whole_only_once(metabase: FakeMetabase) -> None:
    created = metabase.api.post("/api/api-key", json={"name": "ci", "group_id": 2}).json()
    assert created["unmasked_key"].startswith(created["masked_key"].rstrip("*"))
    assert created["unmasked_key"] not in metabase.api.get("/api/api-key").text


@pytest.mark.usefixtures("metabase")
def test_no_key_and_no_password_is_in_the_state_file(state_file: Path) -> None:
    kept = state_file.read_text()
    assert API_KEY not in kept
    assert f'"{ADMIN_PASSWORD}"' not in kept
    assert stat.S_IMODE(state_file.stat().st_mode) == 0o600


# --- Starting


def test_nothing_but_health_answers_before_initialisation_has_ended(tmp_path: Path) -> None:
    initialised = threading.Event()

    def initialise() -> None:
        initialised.wait(10)

    app = create_app(Store(tmp_path / "state.json"), initialise)
    with served(app) as url, client(url) as anyone:
        assert anyone.get("/api/health").status_code == 503
        assert anyone.get("/api/health").json()["status"] == "initializing"
        assert anyone.get("/api/database").status_code == 503
        initialised.set()
        eventually(lambda: anyone.get("/api/health").json() == {"status": "ok"})
        assert anyone.get("/api/database").status_code == 401


def test_everything_survives_a_restart(start: Callable[[], FakeMetabase]) -> None:
    before = start()
    before.sync()
    before.put_field("dim_organisations.name", semantic_type="type/Name")
    metadata = before.metadata()
    assert start().metadata() == metadata


@pytest.mark.parametrize("content", ["{", '{"users": []}'])
def test_a_state_file_that_is_none_stops_the_start(tmp_path: Path, content: str) -> None:
    state_file = tmp_path / "state.json"
    state_file.write_text(content)
    finished = run_fake(1, state_file)
    assert finished.returncode == 1
    assert f"{state_file}: can't be read" in finished.stderr
    assert "Remove it" in finished.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run_fake(port, tmp_path / "state.json")
    assert finished.returncode == 1
    assert f"Port {port}" in finished.stderr
    assert "SANDBOX_METABASE_PORT" in finished.stderr


def run_fake(port: int, state_file: Path) -> subprocess.CompletedProcess[str]:
    options = {
        "--port": str(port),
        "--state-file": str(state_file),
        "--bigquery-endpoint": "http://127.0.0.1:1",
        "--bigquery-project": "local",
        "--dataset": "dbt",
        "--database": "All (dbt)",
    }
    command = [sys.executable, "-m", "sandbox.metabase"]
    command += [word for option in options.items() for word in option]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


# --- Syncing


def test_a_sync_finds_tables_and_columns_with_their_types_and_names(
    shared_metabase: FakeMetabase,
) -> None:
    fields = shared_metabase.fields()
    assert shared_metabase.tables()["stg_product__timeline_items"]["display_name"] == (
        "Stg Product Timeline Items"
    )
    assert [name for name in fields if name.startswith("dim_")] == [
        "dim_organisations.id",
        "dim_organisations.name",
        "dim_organisations.annual_contract_value",
        "dim_organisations.archived_at",
    ]
    value = fields["dim_organisations.annual_contract_value"]
    assert (value["database_type"], value["base_type"]) == ("NUMERIC", "type/Decimal")
    assert fields["stg_product__timeline_items.organisation_id"]["display_name"] == (
        "Organisation ID"
    )


def test_what_people_set_outlives_the_next_syncs(metabase: FakeMetabase) -> None:
    said = {"description": "What it is called.", "semantic_type": "type/Name"}
    metabase.put_field("dim_organisations.name", **said)
    without_name = table("dim_organisations", id="STRING")
    with_name = table("dim_organisations", id="STRING", name="STRING", tags="ARRAY<STRING>")
    metabase.warehouse.found = [without_name]
    metabase.sync()
    eventually(lambda: "dim_organisations.name" not in metabase.fields())
    metabase.warehouse.found = [with_name]
    metabase.sync()
    eventually(lambda: "dim_organisations.tags" in metabase.fields())
    assert metabase.fields()["dim_organisations.name"].items() >= said.items()


def test_a_table_that_has_vanished_is_no_longer_shown_and_comes_back_as_it_was(
    metabase: FakeMetabase,
) -> None:
    known = metabase.tables()["dim_organisations"]
    everything = metabase.warehouse.found
    metabase.warehouse.found = [t for t in everything if t.name != "dim_organisations"]
    metabase.sync()
    assert metabase.api.get(f"/api/table/{known['id']}").json()["active"] is False
    metabase.warehouse.found = everything
    metabase.sync()
    assert metabase.tables()["dim_organisations"]["id"] == known["id"]


def test_a_column_that_has_vanished_is_no_foreign_key_s_target(metabase: FakeMetabase) -> None:
    target = metabase.fields()["dim_organisations.id"]["id"]
    name = "stg_product__timeline_items.organisation_id"
    metabase.put_field(name, semantic_type="type/FK", fk_target_field_id=target)
    metabase.warehouse.found[1] = table("dim_organisations", name="STRING")
    metabase.sync()
    eventually(lambda: metabase.fields()[name]["fk_target_field_id"] is None)


def test_a_sync_that_finds_nothing_new_changes_nothing(
    metabase: FakeMetabase, state_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = state_file.read_bytes()
    with caplog.at_level(logging.INFO, "sandbox.metabase"):
        metabase.sync()
        eventually(lambda: "sync found 2 tables; 0 changes" in caplog.messages)
    assert state_file.read_bytes() == before


def test_an_unreachable_warehouse_is_said_at_once(metabase: FakeMetabase) -> None:
    metabase.warehouse.down = True
    answer = metabase.api.post("/api/database/1/sync_schema")
    assert (answer.status_code, answer.text) == (422, "BigQuery can't be reached")


def test_a_database_is_shown_by_itself_and_with_the_schemas_that_have_a_table_to_show(
    metabase: FakeMetabase,
) -> None:
    (listed,) = metabase.api.get("/api/database").json()["data"]
    shown = metabase.api.get("/api/database/1").json()
    assert shown.items() <= listed.items()
    assert metabase.api.get("/api/database/1/schemas").json() == ["dbt"]
    of_schema = metabase.api.get("/api/database/1/schema/dbt").json()
    assert {table["name"] for table in of_schema} == {*metabase.tables()}
    for name in metabase.tables():
        metabase.put_table(name, visibility_type="hidden")
    assert metabase.api.get("/api/database/1/schemas").json() == []
    for path in ("/api/database/2", "/api/database/2/schemas", "/api/database/1/schema/dbt"):
        assert metabase.api.get(path).status_code == 404


def test_a_hidden_table_is_looked_into_again_once_it_is_shown(metabase: FakeMetabase) -> None:
    metabase.put_table("dim_organisations", visibility_type="hidden")
    metabase.warehouse.found[1] = table("dim_organisations", id="STRING", slug="STRING")
    metabase.warehouse.found.append(table("dim_users", id="STRING"))
    metabase.sync()
    assert "dim_organisations.slug" not in metabase.fields()
    metabase.put_table("dim_organisations", visibility_type=None)
    eventually(lambda: "dim_organisations.slug" in metabase.fields())


@pytest.mark.parametrize(
    ("identifier", "display_name"),
    [
        ("stg_product__timeline_items", "Stg Product Timeline Items"),
        ("user_uuid", "User UUID"),
        ("_sdc_deleted_at", "Sdc Deleted At"),
        ("ARR", "Arr"),
        ("isPaying", "IsPaying"),
        ("__", "__"),
    ],
)
def test_names_are_humanised_as_metabase_does(identifier: str, display_name: str) -> None:
    assert humanise(identifier) == display_name


# --- Writing


def test_a_foreign_key_shows_its_target(metabase: FakeMetabase) -> None:
    target = metabase.fields()["dim_organisations.id"]
    name = "stg_product__timeline_items.organisation_id"
    metabase.put_field(name, semantic_type="type/FK", fk_target_field_id=target["id"])
    assert metabase.fields()[name]["target"]["name"] == "id"


@pytest.mark.parametrize("semantic_type", [None, "type/Category"])
def test_losing_the_foreign_key_type_loses_the_target(
    metabase: FakeMetabase, semantic_type: str | None
) -> None:
    target = metabase.fields()["dim_organisations.id"]["id"]
    name = "stg_product__timeline_items.organisation_id"
    metabase.put_field(name, semantic_type="type/FK", fk_target_field_id=target)
    metabase.put_field(name, semantic_type=semantic_type)
    assert metabase.fields()[name]["fk_target_field_id"] is None


def test_null_unsets_a_description_but_leaves_a_name(metabase: FakeMetabase) -> None:
    name = "dim_organisations.name"
    metabase.put_field(name, display_name="Called", description="x", settings={"decimals": 2})
    body = ("display_name", "description", "visibility_type", "settings")
    assert metabase.put_field(name, **dict.fromkeys(body)).status_code == 200
    field = metabase.fields()[name]
    assert [field[key] for key in body] == ["Called", None, "normal", {"decimals": 2}]


def test_the_order_of_fields_can_be_set_and_survives_a_sync(metabase: FakeMetabase) -> None:
    table = metabase.tables()["dim_organisations"]
    order = [field["id"] for field in reversed(table["fields"])]
    answer = metabase.api.put(f"/api/table/{table['id']}/fields/order", json=order)
    assert answer.json() == {"success": True}
    metabase.sync()
    table = metabase.tables()["dim_organisations"]
    assert [field["id"] for field in table["fields"]] == order
    assert table["field_order"] == "custom"


def test_an_order_that_leaves_a_field_out_is_refused(shared_metabase: FakeMetabase) -> None:
    table = shared_metabase.tables()["dim_organisations"]
    answer = shared_metabase.api.put(f"/api/table/{table['id']}/fields/order", json=[1])
    assert answer.status_code == 500
    assert shared_metabase.tables()["dim_organisations"] == table


# --- Refusing


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"description": ""}, NON_BLANK),
        ({"display_name": " "}, NON_BLANK),
        ({"caveats": 1}, NON_BLANK),
        ({"semantic_type": "type/Number"}, "semantic or relation type"),
        ({"semantic_type": "Category"}, "semantic or relation type"),
        ({"semantic_type": ["type/Name"]}, "semantic or relation type"),
        ({"visibility_type": "cruft"}, "enum of normal"),
        ({"has_field_values": "some"}, "enum of none"),
        ({"settings": []}, "must be a map"),
        ({"fk_target_field_id": 0}, "integer greater than zero"),
        ({"fk_target_field_id": True}, "integer greater than zero"),
        ({"fk_target_field_id": 999}, "Invalid target field"),
    ],
)
def test_a_field_takes_no_bad_value(
    shared_metabase: FakeMetabase, body: dict[str, Any], message: str
) -> None:
    before = shared_metabase.fields()
    answer = shared_metabase.put_field("dim_organisations.name", **body)
    assert answer.status_code == 400
    assert message in answer.json()["errors"][next(iter(body))]
    assert shared_metabase.fields() == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"display_name": ""}, NON_BLANK),
        ({"visibility_type": "normal"}, "enum of hidden, technical, cruft"),
        ({"description": 1}, "nullable string"),
    ],
)
def test_a_table_takes_no_bad_value(
    shared_metabase: FakeMetabase, body: dict[str, Any], message: str
) -> None:
    answer = shared_metabase.put_table("dim_organisations", **body)
    assert answer.status_code == 400
    assert message in answer.json()["errors"][next(iter(body))]


def test_every_bad_value_is_named_with_what_was_received(shared_metabase: FakeMetabase) -> None:
    answer = shared_metabase.put_field("dim_organisations.name", description="", display_name=1)
    assert answer.json() == {
        "errors": {"description": NON_BLANK, "display_name": NON_BLANK},
        "specific-errors": {
            "description": [
                'should be at least 1 character, received: ""',
                'non-blank string, received: ""',
            ],
            "display_name": ["should be a string, received: 1", "non-blank string, received: 1"],
        },
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/field/999"),
        ("PUT", "/api/table/999"),
        ("PUT", "/api/table/999/fields/order"),
        ("GET", "/api/database/999/metadata"),
        ("POST", "/api/database/999/sync_schema"),
        ("POST", "/api/database/999/rescan_values"),
        ("GET", "/api/user/999"),
        ("GET", "/api/card/1"),
        ("GET", "/api/dashboard/1"),
        ("GET", "/api/collection/999/items"),
        ("PUT", "/api/collection/999"),
        ("PUT", "/api/card/999"),
        ("PUT", "/api/dashboard/999"),
        ("GET", "/dashboard/1"),
        ("GET", "/question/1"),
    ],
)
def test_unknown_ids_are_not_found(shared_metabase: FakeMetabase, method: str, path: str) -> None:
    body: object = [] if path.endswith("order") else {}
    answer = shared_metabase.api.request(method, path, json=body if method == "PUT" else None)
    assert (answer.status_code, answer.text) == (404, "Not found.")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/permissions/group", None),
        ("POST", "/api/native-query-snippet", {}),
        ("POST", "/api/card", {"something": 1}),
        ("GET", "/api/collection?tree=true", None),
        ("DELETE", "/api/database/1", None),
        ("GET", "/api/database?include=tables", None),
        ("GET", "/api/database/1/metadata?skip_fields=true", None),
        ("PUT", "/api/field/1", {"json_unfolding": True}),
        ("GET", "/browse/1", None),
    ],
)
def test_what_it_does_not_implement_it_says_and_logs(
    shared_metabase: FakeMetabase,
    method: str,
    path: str,
    body: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = shared_metabase.api.request(method, path, json=body)
    assert answer.status_code == 501
    assert any(record.message == f"501 {answer.text}" for record in caplog.records)


def test_a_body_that_is_no_json_is_refused(shared_metabase: FakeMetabase) -> None:
    answer = shared_metabase.api.put(
        "/api/field/1", content="{", headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.text) == (400, "Malformed JSON in request body.")


# --- The page


def test_the_page_says_what_it_is_and_how_to_fill_it(start: Callable[[], FakeMetabase]) -> None:
    page = start().api.get("/").text
    assert "This is not Metabase." in page
    assert "meltano run product-daily" in page


def test_the_page_shows_what_was_synced_and_links_join_keys(metabase: FakeMetabase) -> None:
    target = metabase.fields()["dim_organisations.id"]["id"]
    metabase.put_field(
        "stg_product__timeline_items.organisation_id",
        semantic_type="type/FK",
        fk_target_field_id=target,
        description="The organisation whose timeline it is.",
    )
    page = metabase.api.get("/").text
    assert "The organisation whose timeline it is." in page
    assert f'href="#1.dbt.dim_organisations.{target}">dim_organisations.id</a>' in page
    assert f'<tr id="1.dbt.dim_organisations.{target}"' in page
    assert page.index("dim_organisations</code>") < page.index("stg_product__timeline_items</code>")


def test_the_page_escapes_and_loads_nothing_from_elsewhere(metabase: FakeMetabase) -> None:
    metabase.put_field("dim_organisations.name", description="<script>alert(1)</script> \"'&")
    page = metabase.api.get("/").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "://" not in page


def test_names_from_the_warehouse_make_no_elements(start: Callable[[], FakeMetabase]) -> None:
    fake = start()
    fake.warehouse.found = [table('dim_"><img src=x>', id="STRING")]
    fake.sync()
    elements = Elements()
    elements.feed(fake.api.get("/").text)
    assert "article" in elements.names
    assert "img" not in elements.names


class Elements(HTMLParser):
    """The names of a page's elements."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self.names.add(tag)
