"""The initial content, as Metabase's configuration file would create it."""

from dataclasses import dataclass
from typing import Any

from sandbox.metabase import auth
from sandbox.metabase.discovery import ENGINE
from sandbox.metabase.store import (
    ADMINISTRATORS_GROUP,
    ALL_USERS_GROUP,
    Database,
    State,
    Store,
    User,
    next_id,
    now,
    update,
)

# Fixed, documented, and valid only for this loopback service.
ADMIN_EMAIL = "admin@sandbox.invalid"
ADMIN_PASSWORD = "sandbox"  # noqa: S105
API_KEY_NAME = "dbt-metabase"


@dataclass(frozen=True)
class Provision:
    """One administrator, one API key of theirs, and one database showing one dataset."""

    api_key: str
    database: str
    bigquery_endpoint: str
    bigquery_project: str
    dataset: str

    @property
    def details(self) -> dict[str, Any]:
        """The connection, under the names of Metabase's bigquery-cloud-sdk driver."""
        return {
            "project-id": self.bigquery_project,
            "host": self.bigquery_endpoint,
            "dataset-filters-type": "inclusion",
            "dataset-filters-patterns": self.dataset,
        }


def provision(store: Store, wanted: Provision) -> None:
    """Create what is missing and correct what differs. Synced tables stay."""
    with store.write() as state:
        admin = _admin(state)
        _api_key(state, wanted.api_key, admin)
        _database(state, wanted, admin)


def _admin(state: State) -> User:
    for user in state.users.values():
        if user.email == ADMIN_EMAIL:
            return user
    admin = User(
        id=next_id(state.users),
        email=ADMIN_EMAIL,
        first_name="Sandbox",
        last_name=None,
        password_hash=auth.hash_password(ADMIN_PASSWORD),
        group_ids=[ALL_USERS_GROUP, ADMINISTRATORS_GROUP],
        date_joined=now(),
    )
    state.users[admin.id] = admin
    return admin


def _api_key(state: State, key: str, admin: User) -> None:
    for row in state.api_keys.values():
        if row.name == API_KEY_NAME:
            update(row, key_hash=auth.hash_token(key), masked_key=auth.mask(key))
            return
    auth.create_api_key(state, API_KEY_NAME, ADMINISTRATORS_GROUP, key, admin)


def _database(state: State, wanted: Provision, admin: User) -> None:
    for row in state.databases.values():
        if row.name == wanted.database:
            # People and the sync decide which datasets are shown.
            shown = row.details["dataset-filters-patterns"]
            update(row, details={**wanted.details, "dataset-filters-patterns": shown})
            return
    row = Database(
        id=next_id(state.databases),
        name=wanted.database,
        engine=ENGINE,
        details=wanted.details,
        creator_id=admin.id,
    )
    state.databases[row.id] = row
