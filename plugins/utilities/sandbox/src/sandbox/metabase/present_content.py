"""Collections, cards and dashboards as Metabase's API shows them.

The keys are those of Metabase's recorded answers (dbt-metabase's `tests/fixtures/mbql5`).
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sandbox.metabase import mbql
from sandbox.metabase.store import Card, Collection, Dashboard, Dashcard, State, Tab, User

VERSION = "v0.65.0"
"""The version of Metabase whose answers these are, as far as they are the same ones."""

ROOT = "root"
ROOT_COLLECTION: Mapping[str, Any] = {
    "authority_level": None,
    "can_delete": False,
    "can_restore": False,
    "can_write": True,
    "effective_ancestors": [],
    "effective_location": None,
    "id": ROOT,
    "is_personal": False,
    "is_remote_synced": False,
    "name": "Our analytics",
    "parent_id": None,
}
_ROOT_OF_AN_ITEM: Mapping[str, Any] = {
    "authority_level": None,
    "can_write": True,
    "id": ROOT,
    "is_personal": False,
    "metabase.collections.models.collection.root/is-root?": True,
    "name": "Our analytics",
}


def personal_collection(owner: User) -> dict[str, Any]:
    """A person's own collection. Its ID is that of its owner."""
    return {
        "archive_operation_id": None,
        "archived": False,
        "archived_directly": None,
        "authority_level": None,
        "can_delete": False,
        "can_write": True,
        "created_at": owner.date_joined,
        "description": None,
        "entity_id": f"personal-collection-{owner.id}",
        "id": owner.id,
        "is_personal": True,
        "is_remote_synced": False,
        "is_sample": False,
        "location": "/",
        "name": f"{owner.common_name}'s Personal Collection",
        "namespace": None,
        "personal_owner_id": owner.id,
        "slug": f"{owner.first_name.lower()}_s_personal_collection",
        "type": None,
    }


def collection(row: Collection, viewer: User) -> dict[str, Any]:
    """The collection as in the list."""
    return _without(asdict(row), "creator_id", "updated_at") | {
        "archive_operation_id": None,
        "authority_level": None,
        "can_delete": row.archived and viewer.is_superuser,
        "can_write": viewer.is_superuser,
        "is_personal": False,
        "is_remote_synced": False,
        "is_sample": False,
        "namespace": None,
        "parent_id": row.parent_id,
        "personal_owner_id": None,
        "slug": re.sub(r"\W+", "_", row.name.lower()),
        "type": None,
    }


def collection_with_ancestors(state: State, row: Collection, viewer: User) -> dict[str, Any]:
    """The collection by itself."""
    ids = [int(part) for part in row.location.strip("/").split("/") if part]
    ancestors = [collection(state.collections[id_], viewer) for id_ in ids]
    return collection(row, viewer) | {
        "can_restore": row.archived,
        "effective_ancestors": [dict(ROOT_COLLECTION), *ancestors],
        "effective_location": row.location,
    }


def card(state: State, row: Card, viewer: User) -> dict[str, Any]:
    """The card by itself, as `GET /api/card/:id` shows it."""
    dashboards = {d.dashboard_id for d in state.dashcards.values() if d.card_id == row.id}
    home = state.dashboards.get(row.dashboard_id or 0)
    return _card_on_a_dashboard(row, viewer) | {
        "average_query_time": None,
        "can_delete": row.archived,
        "can_manage_db": viewer.is_superuser,
        "can_restore": row.archived,
        "can_run_adhoc_query": True,
        "collection": _collection_of_an_item(state, row.collection_id, viewer),
        "creator": creator(state, row.creator_id),
        "dashboard": {"id": home.id, "name": home.name} if home else None,
        "dashboard_count": len(dashboards),
        "is_remote_synced": False,
        "last-edit-info": _last_edit(state, row),
        "last_query_start": None,
        "parameter_usage_count": 0,
    }


def _card_on_a_dashboard(row: Card, viewer: User) -> dict[str, Any]:
    source = mbql.first_stage(row.dataset_query)
    return asdict(row) | {
        "cache_invalidated_at": None,
        "can_write": viewer.is_superuser,
        "card_schema": 22,
        "database_id": row.dataset_query["database"],
        "dependency_analysis_version": 0,
        "document_id": None,
        "initially_published_at": None,
        "last_used_at": row.updated_at,
        "legacy_query": None,
        "made_public_by_id": None,
        "metabase_version": VERSION,
        "moderation_reviews": [],
        "public_uuid": None,
        "query_type": "native" if mbql.is_native(row.dataset_query) else "query",
        "source_card_id": source.get("source-card"),
        "table_id": source.get("source-table"),
        "view_count": 0,
    }


def listed_dashboard(state: State, row: Dashboard) -> dict[str, Any]:
    """The dashboard as in the list: without its cards."""
    return asdict(row) | {
        "creator": creator(state, row.creator_id),
        "dependency_analysis_version": 0,
        "initially_published_at": None,
        "last-edit-info": _last_edit(state, row),
        "last_viewed_at": row.updated_at,
        "made_public_by_id": None,
        "public_uuid": None,
        "view_count": 0,
    }


def dashboard(state: State, row: Dashboard, viewer: User) -> dict[str, Any]:
    """The dashboard with its tabs and cards, as `GET /api/dashboard/:id` shows it."""
    return _without(listed_dashboard(state, row), "creator") | {
        "can_delete": row.archived,
        "can_restore": row.archived,
        "can_set_cache_policy": viewer.is_superuser,
        "can_write": viewer.is_superuser,
        "collection": _collection_of_an_item(state, row.collection_id, viewer),
        "collection_authority_level": None,
        "dashcards": [_dashcard(state, card_, viewer) for card_ in state.dashcards_of(row.id)],
        "is_remote_synced": False,
        "last_used_param_values": {},
        "moderation_reviews": [],
        "param_fields": {},
        "tabs": [_tab(tab) for tab in state.tabs_of(row.id)],
    }


def _tab(row: Tab) -> dict[str, Any]:
    return asdict(row)


def _dashcard(state: State, row: Dashcard, viewer: User) -> dict[str, Any]:
    def shown(card_id: int) -> dict[str, Any]:
        answer = _card_on_a_dashboard(state.cards[card_id], viewer)
        return answer | {"query_average_duration": None, "download_perms": "full"}

    return asdict(row) | {
        # A text card has no card, but its time.
        "card": shown(row.card_id) if row.card_id else {"query_average_duration": None},
        "collection_authority_level": None,
        "series": [shown(card_id) for card_id in row.series],
    }


def item(state: State, row: Collection | Card | Dashboard, viewer: User) -> dict[str, Any]:
    """An item in a collection."""
    shown: dict[str, Any] = {
        "archived": row.archived,
        "can_delete": row.archived,
        "can_restore": row.archived,
        "can_write": viewer.is_superuser,
        "collection_id": None,
        "collection_position": None,
        "dashboard_id": None,
        "database_id": None,
        "description": row.description,
        "entity_id": row.entity_id,
        "id": row.id,
        "is_remote_synced": False,
        "last-edit-info": _last_edit(state, row),
        "last_used_at": row.updated_at,
        "moderated_status": None,
        "name": row.name,
    }
    match row:
        case Collection():
            return shown | {
                "authority_level": None,
                "collection_id": row.parent_id,
                "effective_location": row.location,
                "location": row.location,
                "model": "collection",
                "parent_id": row.parent_id,
                "type": None,
            }
        case Card():
            return shown | {
                "collection_id": row.collection_id,
                "collection_position": row.collection_position,
                "collection_preview": row.collection_preview,
                "dashboard": None,
                "dashboard_count": sum(d.card_id == row.id for d in state.dashcards.values()),
                "dashboard_id": row.dashboard_id,
                "database_id": row.dataset_query["database"],
                "display": row.display,
                "fully_parameterized": True,
                "location": None,
                "model": {"question": "card", "model": "dataset"}.get(row.type, row.type),
            }
        case Dashboard():
            return shown | {
                "collection_id": row.collection_id,
                "collection_position": row.collection_position,
                "location": "/",
                "model": "dashboard",
            }


def creator(state: State, user_id: int) -> dict[str, Any]:
    """The little that everybody may know of a user."""
    row = state.users[user_id]
    return {
        "common_name": row.common_name,
        "date_joined": row.date_joined,
        "email": row.email,
        "first_name": row.first_name,
        "id": row.id,
        "is_qbnewb": False,
        "is_superuser": row.is_superuser,
        "last_login": row.last_login,
        "last_name": row.last_name,
        "tenant_id": None,
    }


def _collection_of_an_item(state: State, collection_id: int | None, viewer: User) -> dict[str, Any]:
    if collection_id is None:
        return dict(_ROOT_OF_AN_ITEM)
    if row := state.collections.get(collection_id):
        return collection(row, viewer) | {"effective_location": row.location}
    return personal_collection(state.users[collection_id])


def _last_edit(state: State, row: Collection | Card | Dashboard) -> dict[str, Any]:
    editor = state.users[row.creator_id]
    return {
        "email": editor.email,
        "first_name": editor.first_name,
        "id": editor.id,
        "last_name": editor.last_name,
        "timestamp": row.updated_at,
    }


def _without(shown: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if key not in keys}
