"""Rows as Metabase's API shows them.

The keys are those of Metabase's recorded answers (dbt-metabase's `tests/fixtures/mbql5`). Values
that Metabase gets by running queries (fingerprints, row counts) are null, as before its analysis.
"""

from dataclasses import asdict
from typing import Any

from sandbox.metabase.auth import GROUPS
from sandbox.metabase.semantics import FOREIGN_KEY
from sandbox.metabase.store import ApiKey, Database, Field, State, Table, User

# The features of Metabase's bigquery-cloud-sdk driver, beside those of every SQL driver.
_FEATURES = (
    "basic-aggregations",
    "convert-timezone",
    "datetime-diff",
    "describe-fields",
    "expression-literals",
    "expressions",
    "identifiers-with-spaces",
    "nested-fields",
    "nested-queries",
    "now",
    "percentile-aggregations",
    "schemas",
    "set-timezone",
    "split-part",
)


def database(row: Database, viewer: User) -> dict[str, Any]:
    """Leave out the connection details for users who may not edit them."""
    shown = asdict(row) | {
        "auto_run_queries": True,
        "cache_field_values_schedule": "0 0 0 * * ? *",
        "cache_ttl": None,
        "caveats": None,
        "dbms_version": None,
        "description": None,
        "features": list(_FEATURES),
        "is_attached_dwh": False,
        "is_audit": False,
        "is_full_sync": True,
        "is_on_demand": False,
        "is_sample": False,
        "metadata_sync_schedule": "0 0 * * * ? *",
        "points_of_interest": None,
        "provider_name": None,
        "refingerprint": False,
        "router_database_id": None,
        "settings": None,
        "timezone": "UTC",
        "uploads_enabled": False,
        "uploads_schema_name": None,
        "uploads_table_prefix": None,
    }
    if not viewer.is_superuser:
        del shown["details"]
    return shown


def listed_database(row: Database, viewer: User) -> dict[str, Any]:
    """The database as in the list of databases, which has a few more keys."""
    return database(row, viewer) | {
        "can_upload": False,
        "native_permissions": "write" if viewer.is_superuser else "none",
        "router_user_attribute": None,
    }


def table(row: Table) -> dict[str, Any]:
    """Without its fields."""
    return asdict(row) | {
        "archived_at": None,
        "data_authority": "unconfigured",
        "database_require_filter": None,
        "entity_type": "entity/GenericTable",
        "estimated_row_count": None,
        "is_upload": False,
        "is_writable": False,
        "show_in_getting_started": False,
        "view_count": 0,
    }


def table_with_fields(state: State, row: Table) -> dict[str, Any]:
    """With its active fields, in their order. Retired ones are never shown."""
    return table(row) | {
        "fields": [
            field_with_target(state, field)
            for field in state.fields_of(row.id)
            if field.active and field.visibility_type != "retired"
        ],
        "metrics": [],
        "segments": [],
    }


def field(row: Field) -> dict[str, Any]:
    """Without the field that its foreign key refers to."""
    return asdict(row) | {
        "coercion_strategy": None,
        "database_default": None,
        "database_indexed": None,
        "database_is_auto_increment": False,
        "database_is_generated": None,
        "database_is_nullable": None,
        "database_is_pk": None,
        "database_required": False,
        "effective_type": row.base_type,
        "fingerprint": None,
        "fingerprint_version": 0,
        "has_field_values": _has_field_values(row),
        "json_unfolding": False,
        "last_analyzed": None,
        "preview_display": True,
    }


def field_with_target(state: State, row: Field) -> dict[str, Any]:
    """With the field that its foreign key refers to, if it is one."""
    is_foreign_key = row.semantic_type == FOREIGN_KEY and row.fk_target_field_id is not None
    target = state.fields[row.fk_target_field_id] if is_foreign_key else None  # type: ignore[index]
    return field(row) | {"target": field(target) if target else None}


def _has_field_values(row: Field) -> str:
    if row.has_field_values == "auto-list":
        return "list"
    return row.has_field_values or ("search" if row.base_type == "type/Text" else "none")


def user(row: User) -> dict[str, Any]:
    """Without the password's hash."""
    shown = {key: value for key, value in asdict(row).items() if key not in _HIDDEN_OF_USERS}
    return shown | {
        "common_name": row.common_name,
        "is_active": True,
        "is_qbnewb": False,
        "is_superuser": row.is_superuser,
        "jwt_attributes": None,
        "locale": None,
        "login_attributes": None,
        "sso_source": None,
        "structured_attributes": {},
        "tenant_id": None,
        "user_group_memberships": [{"id": group_id} for group_id in row.group_ids],
    }


_HIDDEN_OF_USERS = frozenset({"password_hash", "group_ids"})


def api_key(state: State, row: ApiKey) -> dict[str, Any]:
    """The API key, with only the beginning of the secret."""
    updated_by = state.users[row.updated_by_id]
    return {
        "id": row.id,
        "name": row.name,
        "group": {"id": row.group_id, "name": GROUPS[row.group_id]},
        "masked_key": row.masked_key,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": {"id": updated_by.id, "common_name": updated_by.common_name},
    }
