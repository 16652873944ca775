"""The routes of Metabase's API for databases, tables and fields, and for set-up.

Behaviour follows Metabase's `warehouses_rest/api.clj`, `warehouse_schema/api/{table,field}.clj`,
`session/api.clj` and `api_keys/api.clj`.
"""

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header

from sandbox.metabase import auth, errors, present
from sandbox.metabase.dependencies import (
    Flag,
    JsonBody,
    StoreOf,
    SyncerOf,
    Viewer,
    check_superuser,
    found,
    refuse_unknown_query_keys,
    viewer_of,
    writable,
)
from sandbox.metabase.discovery import WarehouseError
from sandbox.metabase.present_content import VERSION
from sandbox.metabase.semantics import FOREIGN_KEY
from sandbox.metabase.store import Database, Field, State, Table, User, update
from sandbox.metabase.validation import (
    Rule,
    mapping,
    non_blank,
    one_of,
    positive_int,
    semantic_type,
    text,
    validated,
)

logger = logging.getLogger(__name__)

INTERNAL_USER = 13371338

SESSION_BODY: dict[str, Rule] = {
    "username": non_blank(nullable=False),
    "password": non_blank(nullable=False),
}
API_KEY_BODY: dict[str, Rule] = {
    "name": non_blank(nullable=False),
    "group_id": positive_int(nullable=False),
}
DATABASE_BODY: dict[str, Rule] = {"details": mapping()}
TABLE_BODY: dict[str, Rule] = {
    "display_name": non_blank(),
    "description": text(),
    "points_of_interest": text(),
    "caveats": text(),
    "visibility_type": one_of("hidden", "technical", "cruft"),
}
FIELD_BODY: dict[str, Rule] = {
    "display_name": non_blank(),
    "description": non_blank(),
    "points_of_interest": non_blank(),
    "caveats": non_blank(),
    "semantic_type": semantic_type(),
    "fk_target_field_id": positive_int(),
    "visibility_type": one_of("normal", "details-only", "hidden", "sensitive", "retired"),
    "has_field_values": one_of("none", "auto-list", "list", "search"),
    "settings": mapping(),
}
# For these keys, null means "don't change"; for all others it means "unset".
NEVER_NULL_OF_TABLE = frozenset({"display_name"})
NEVER_NULL_OF_FIELD = frozenset({"display_name", "visibility_type", "settings"})


router = APIRouter(prefix="/api", dependencies=[Depends(refuse_unknown_query_keys)])


# --- Setting up, sessions and keys


@router.post("/setup")
def set_up() -> None:
    """Refuse: the first user exists from the start, as with Metabase's config file."""
    raise errors.ApiError(
        403,
        "The /api/setup route can only be used to create the first user, "
        "however a user currently exists.",
    )


@router.get("/session/properties")
def get_properties() -> dict[str, Any]:
    """Show what everybody may know. Clients read the version here."""
    return {
        "has-user-setup": True,
        "setup-token": None,
        "site-name": "Fake Metabase",
        "token-features": {},
        "version": {"tag": VERSION, "date": "2026-11-01", "branch": None, "hash": "fake"},
    }


@router.post("/session")
def log_in(body: JsonBody, store: StoreOf) -> dict[str, Any]:
    """Open a session. Requests send its ID in the header `X-Metabase-Session`."""
    credentials = validated(body, SESSION_BODY)
    with store.write() as state:
        session_id = auth.open_session(state, credentials["username"], credentials["password"])
    return {"id": session_id}


@router.delete("/session", status_code=204, dependencies=[Depends(viewer_of)])
def log_out(store: StoreOf, x_metabase_session: Annotated[str | None, Header()] = None) -> None:
    """Close the session of this request."""
    if x_metabase_session is None:
        raise errors.not_found()
    with store.write() as state:
        state.sessions.pop(auth.hash_token(x_metabase_session), None)


@router.get("/user")
def list_users(viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """List the people, for administrators."""
    check_superuser(viewer)
    with store.read() as state:
        people = [present.user(row) for row in state.users.values() if row.password_hash]
    return {"data": people, "total": len(people), "limit": None, "offset": None}


@router.get("/user/current")
def get_current_user(viewer: Viewer) -> dict[str, Any]:
    """Show the current user."""
    return present.user(viewer)


@router.get("/user/{user_id:int}")
def get_user(user_id: int, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Show a user: to themselves, or to an administrator."""
    if user_id == INTERNAL_USER:
        raise errors.ApiError(400, "Not able to modify the internal user")
    if user_id != viewer.id and not viewer.is_superuser:
        raise errors.forbidden()
    with store.read() as state:
        return present.user(found(state.users, user_id))


@router.get("/api-key")
def list_api_keys(viewer: Viewer, store: StoreOf) -> list[dict[str, Any]]:
    """List the keys, with only the beginning of each secret."""
    check_superuser(viewer)
    with store.read() as state:
        return [present.api_key(state, key) for key in state.api_keys.values()]


@router.post("/api-key")
def create_api_key(body: JsonBody, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Add a key. Only this answer shows the whole secret."""
    wanted = validated(body, API_KEY_BODY)
    check_superuser(viewer)
    if wanted["group_id"] not in auth.GROUPS:
        raise errors.not_found()
    with store.write() as state:
        if any(key.name == wanted["name"] for key in state.api_keys.values()):
            raise errors.invalid_value("name", "An API key with this name already exists.")
        key = auth.generate_key()
        row = auth.create_api_key(state, wanted["name"], wanted["group_id"], key, viewer)
        return present.api_key(state, row) | {"unmasked_key": key}


# --- Databases


@router.get("/database")
def list_databases(viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """List the databases."""
    with store.read() as state:
        rows = [present.listed_database(row, viewer) for row in state.databases.values()]
    return {"data": rows, "total": len(rows)}


@router.get("/database/{database_id:int}")
def get_database(database_id: int, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Show a database without its tables."""
    with store.read() as state:
        return present.database(found(state.databases, database_id), viewer)


@router.get("/database/{database_id:int}/schemas", dependencies=[Depends(viewer_of)])
def list_schemas(database_id: int, store: StoreOf) -> list[str]:
    """List the schemas that have a table to show."""
    with store.read() as state:
        return sorted({table.schema for table in _shown_tables(state, database_id)})


@router.get("/database/{database_id:int}/schema/{schema}", dependencies=[Depends(viewer_of)])
def list_tables_of_schema(database_id: int, schema: str, store: StoreOf) -> list[dict[str, Any]]:
    """List the tables to show of a schema."""
    with store.read() as state:
        tables = [one for one in _shown_tables(state, database_id) if one.schema == schema]
        if not tables:
            raise errors.not_found()
        return [present.table(row) for row in sorted(tables, key=lambda one: one.display_name)]


def _shown_tables(state: State, database_id: int) -> list[Table]:
    row = found(state.databases, database_id)
    return [one for one in state.tables_of(row.id) if one.active and one.visibility_type is None]


@router.get("/database/{database_id:int}/metadata")
def get_database_metadata(
    database_id: int, viewer: Viewer, store: StoreOf, include_hidden: Flag = "false"
) -> dict[str, Any]:
    """Show a database with its active tables and their active fields."""
    with store.read() as state:
        row = found(state.databases, database_id)
        tables = [
            present.table_with_fields(state, table)
            for table in state.tables_of(row.id)
            if table.active and (include_hidden == "true" or table.visibility_type is None)
        ]
        if include_hidden == "false":
            for table in tables:
                table["fields"] = [
                    field for field in table["fields"] if field["visibility_type"] != "sensitive"
                ]
        return present.database(row, viewer) | {"tables": tables}


@router.put("/database/{database_id:int}")
def update_database(
    database_id: int, body: JsonBody, viewer: Viewer, store: StoreOf, syncer: SyncerOf
) -> dict[str, Any]:
    """Change the connection if the warehouse answers there. A sync is a separate request."""
    values = _without_ignored(validated(body, DATABASE_BODY), frozenset(DATABASE_BODY))
    with store.read() as state:
        details = dict(writable(state.databases, database_id, viewer).details)
    try:
        syncer.check(values.get("details", details))
    except WarehouseError as error:
        raise errors.ApiError(400, {"message": str(error)}) from error
    with store.write() as state:
        row = state.databases[database_id]
        update(row, **values)
        return present.database(row, viewer)


@router.post("/database/{database_id:int}/sync_schema")
def sync_schema(
    database_id: int, viewer: Viewer, store: StoreOf, syncer: SyncerOf
) -> dict[str, str]:
    """Start a sync. The answer comes at once, and the tables appear later."""
    with store.read() as state:
        writable(state.databases, database_id, viewer)
    try:
        syncer.start(database_id)
    except WarehouseError as error:
        raise errors.ApiError(422, str(error)) from error
    return {"status": "ok"}


@router.post("/database/{database_id:int}/rescan_values")
def rescan_values(database_id: int, viewer: Viewer, store: StoreOf) -> dict[str, str]:
    """Accept it: the values that filters offer are asked for anew each time."""
    with store.read() as state:
        writable(state.databases, database_id, viewer)
    return {"status": "ok"}


# --- Tables


@router.get("/table")
def list_tables(viewer: Viewer, store: StoreOf) -> list[dict[str, Any]]:
    """List the active tables of all databases."""
    with store.read() as state:
        tables = sorted(state.tables.values(), key=lambda table: table.name)
        return [_table_with_database(state, table, viewer) for table in tables if table.active]


@router.get("/table/{table_id:int}")
def get_table(table_id: int, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Show a table, active or not."""
    with store.read() as state:
        return _table_with_database(state, found(state.tables, table_id), viewer)


@router.get("/table/{table_id:int}/query_metadata")
def get_query_metadata(table_id: int, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Show a table with its fields."""
    with store.read() as state:
        row = found(state.tables, table_id)
        fields = present.table_with_fields(state, row)
        return fields | _table_with_database(state, row, viewer) | {"dimension_options": {}}


def _table_with_database(state: State, row: Table, viewer: User) -> dict[str, Any]:
    database: Database = state.databases[row.db_id]
    return present.table(row) | {"db": present.database(database, viewer)}


@router.put("/table/{table_id:int}")
def update_table(
    table_id: int, body: JsonBody, viewer: Viewer, store: StoreOf, syncer: SyncerOf
) -> dict[str, Any]:
    """Change what people may set on a table. A table that is shown again is synced again."""
    values = _without_ignored(validated(body, TABLE_BODY), NEVER_NULL_OF_TABLE)
    with store.write() as state:
        row = writable(state.tables, table_id, viewer)
        was_hidden = row.visibility_type is not None
        _apply(f"table {row.schema}.{row.name}", row, values)
        answer = present.table(row)
    if was_hidden and row.visibility_type is None:
        try:
            syncer.start(row.db_id)
        except WarehouseError as error:
            logger.warning("%s.%s is visible, but not synced: %s", row.schema, row.name, error)
    return answer


@router.put("/table/{table_id:int}/fields/order")
def order_fields(table_id: int, body: JsonBody, viewer: Viewer, store: StoreOf) -> dict[str, bool]:
    """Set the order: the body holds the ids of all active fields of the table."""
    if not (isinstance(body, list) and all(isinstance(item, int) for item in body)):
        raise errors.invalid({"_error": "invalid type"}, {"_error": ["invalid type"]})
    with store.write() as state:
        row = writable(state.tables, table_id, viewer)
        fields = {field.id: field for field in state.fields_of(row.id) if field.active}
        if fields.keys() != set(body):
            # An assertion in Metabase, which therefore answers 500.
            raise errors.ApiError(
                500, {"message": "Assert failed: (valid-field-order? table field-order)"}
            )
        for position, field_id in enumerate(body):
            update(fields[field_id], position=position, custom_position=position)
        _apply(f"table {row.schema}.{row.name}", row, {"field_order": "custom"})
    return {"success": True}


# --- Fields


@router.get("/field/{field_id:int}")
def get_field(field_id: int, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Show a field with its table."""
    with store.read() as state:
        row = found(state.fields, field_id)
        table = _table_with_database(state, state.tables[row.table_id], viewer)
        return present.field_with_target(state, row) | {"dimensions": [], "table": table}


@router.put("/field/{field_id:int}")
def update_field(field_id: int, body: JsonBody, viewer: Viewer, store: StoreOf) -> dict[str, Any]:
    """Change what people may set on a field, and return the field."""
    values = _without_ignored(validated(body, FIELD_BODY), NEVER_NULL_OF_FIELD)
    with store.write() as state:
        row = writable(state.fields, field_id, viewer)
        target_id = values.get("fk_target_field_id", row.fk_target_field_id)
        if target_id is not None and target_id not in state.fields:
            raise errors.invalid_value("fk_target_field_id", "Invalid target field")
        if _loses_foreign_key(row, values):
            values["fk_target_field_id"] = None
        table = state.tables[row.table_id]
        _apply(f"field {table.schema}.{table.name}.{row.name}", row, values)
        return present.field_with_target(state, row) | {"dimensions": []}


def _loses_foreign_key(row: Field, values: dict[str, Any]) -> bool:
    new_type = values.get("semantic_type", row.semantic_type)
    return row.semantic_type == FOREIGN_KEY and new_type != FOREIGN_KEY


def _without_ignored(body: dict[str, Any], never_null: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in body.items() if v is not None or k not in never_null}


def _apply(label: str, row: Table | Field, values: dict[str, Any]) -> None:
    changed = sorted(key for key, value in values.items() if getattr(row, key) != value)
    update(row, **values)
    logger.info("%s: %s", label, ", ".join(changed) if changed else "nothing to change")
