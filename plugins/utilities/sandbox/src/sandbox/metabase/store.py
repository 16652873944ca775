"""The fake's state, in one JSON file that is replaced atomically."""

import json
import os
import secrets
import string
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError

ALL_USERS_GROUP = 1
ADMINISTRATORS_GROUP = 2


DRAFT = ".draft-"
"""What stands between the state file's name and a draft's of it."""


class StateFileError(SandboxError):
    """The state file can't be read, or another version wrote it."""


def now() -> str:
    """Return the time in Metabase's format: `2026-01-06T11:47:41.606019Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def nano_id() -> str:
    """Return a new `entity_id`: 21 characters, as Metabase makes them."""
    return "".join(secrets.choice(_NANO_ID_ALPHABET) for _ in range(21))


_NANO_ID_ALPHABET = f"{string.ascii_letters}{string.digits}_-"


@dataclass
class User:
    """A person, or the user of an API key (then `password_hash` is null)."""

    id: int
    email: str
    first_name: str
    last_name: str | None
    password_hash: str | None
    group_ids: list[int]
    date_joined: str
    last_login: str | None = None
    updated_at: str = field(default_factory=now)

    @property
    def is_superuser(self) -> bool:
        """Tell whether the user is an administrator."""
        return ADMINISTRATORS_GROUP in self.group_ids

    @property
    def common_name(self) -> str:
        """The user's full name."""
        return " ".join(name for name in (self.first_name, self.last_name) if name)


@dataclass
class ApiKey:
    """An API key. It acts as the user `user_id`."""

    id: int
    name: str
    user_id: int
    group_id: int
    key_hash: str
    masked_key: str
    updated_by_id: int
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class Session:
    """A session of a user who has logged in."""

    id_hash: str
    user_id: int
    created_at: str = field(default_factory=now)


@dataclass
class Database:
    """A warehouse. `details` are the connection settings under Metabase's names for the engine."""

    id: int
    name: str
    engine: str
    details: dict[str, Any]
    creator_id: int
    initial_sync_status: str = "incomplete"
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class Table:
    """A table or view. If `visibility_type` isn't null, the table is hidden."""

    id: int
    db_id: int
    schema: str
    name: str
    display_name: str
    description: str | None = None
    points_of_interest: str | None = None
    caveats: str | None = None
    visibility_type: str | None = None
    field_order: str = "database"
    active: bool = True
    deactivated_at: str | None = None
    initial_sync_status: str = "incomplete"
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class Field:
    """A column, or a leaf of a STRUCT (then `parent_id` and `nfc_path` name its parents)."""

    id: int
    table_id: int
    name: str
    display_name: str
    database_type: str
    base_type: str
    database_position: int
    position: int
    database_partitioned: bool = False
    parent_id: int | None = None
    nfc_path: list[str] | None = None
    custom_position: int = 0
    description: str | None = None
    semantic_type: str | None = None
    fk_target_field_id: int | None = None
    visibility_type: str = "normal"
    has_field_values: str | None = None
    settings: dict[str, Any] | None = None
    points_of_interest: str | None = None
    caveats: str | None = None
    active: bool = True
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class Collection:
    """A folder of cards and dashboards. `location` names its parents: `/4/7/` is inside 7."""

    id: int
    name: str
    creator_id: int
    location: str = "/"
    description: str | None = None
    archived: bool = False
    archived_directly: bool | None = None
    entity_id: str = field(default_factory=nano_id)
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)

    @property
    def parent_id(self) -> int | None:
        """The collection that it lies in; null in the root."""
        parents = self.location.strip("/")
        return int(parents.rpartition("/")[2]) if parents else None

    @property
    def children_location(self) -> str:
        """The location of what lies in it."""
        return f"{self.location}{self.id}/"


@dataclass
class Card:
    """A question, model or metric. `dataset_query` is MBQL 5."""

    id: int
    name: str
    creator_id: int
    display: str
    dataset_query: dict[str, Any]
    visualization_settings: dict[str, Any]
    type: str = "question"
    description: str | None = None
    collection_id: int | None = None
    collection_position: int | None = None
    collection_preview: bool = True
    dashboard_id: int | None = None
    parameters: list[dict[str, Any]] = field(default_factory=list)
    parameter_mappings: list[dict[str, Any]] = field(default_factory=list)
    result_metadata: list[dict[str, Any]] | None = None
    cache_ttl: int | None = None
    enable_embedding: bool = False
    embedding_type: str | None = None
    embedding_params: dict[str, Any] | None = None
    archived: bool = False
    archived_directly: bool = False
    entity_id: str = field(default_factory=nano_id)
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class Dashboard:
    """A dashboard without its tabs and cards, which are rows of their own."""

    id: int
    name: str
    creator_id: int
    description: str | None = None
    collection_id: int | None = None
    collection_position: int | None = None
    position: int | None = None
    width: str = "fixed"
    auto_apply_filters: bool = True
    parameters: list[dict[str, Any]] = field(default_factory=list)
    caveats: str | None = None
    points_of_interest: str | None = None
    show_in_getting_started: bool = False
    cache_ttl: int | None = None
    enable_embedding: bool = False
    embedding_type: str | None = None
    embedding_params: dict[str, Any] | None = None
    archived: bool = False
    archived_directly: bool = False
    entity_id: str = field(default_factory=nano_id)
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class Tab:
    """A tab of a dashboard."""

    id: int
    dashboard_id: int
    name: str
    position: int
    entity_id: str = field(default_factory=nano_id)
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class Dashcard:
    """A card's place on a dashboard. Without `card_id` it is a text, a heading or a link."""

    id: int
    dashboard_id: int
    row: int
    col: int
    size_x: int
    size_y: int
    card_id: int | None = None
    dashboard_tab_id: int | None = None
    action_id: int | None = None
    parameter_mappings: list[dict[str, Any]] = field(default_factory=list)
    visualization_settings: dict[str, Any] = field(default_factory=dict)
    inline_parameters: list[str] | None = None
    series: list[int] = field(default_factory=list)
    entity_id: str = field(default_factory=nano_id)
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class State:
    """Rows by ID.

    Sessions, and what is taken off a dashboard, are removed. Other rows that vanish are marked
    inactive or archived.
    """

    users: dict[int, User] = field(default_factory=dict)
    api_keys: dict[int, ApiKey] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    databases: dict[int, Database] = field(default_factory=dict)
    tables: dict[int, Table] = field(default_factory=dict)
    fields: dict[int, Field] = field(default_factory=dict)
    collections: dict[int, Collection] = field(default_factory=dict)
    cards: dict[int, Card] = field(default_factory=dict)
    dashboards: dict[int, Dashboard] = field(default_factory=dict)
    tabs: dict[int, Tab] = field(default_factory=dict)
    dashcards: dict[int, Dashcard] = field(default_factory=dict)

    def tables_of(self, database_id: int) -> list[Table]:
        """The database's tables, active or not, in Metabase's order."""
        tables = [table for table in self.tables.values() if table.db_id == database_id]
        return sorted(tables, key=lambda table: (table.schema, table.display_name.lower()))

    def fields_of(self, table_id: int) -> list[Field]:
        """The table's fields, active or not, in the order that Metabase lists them."""
        fields = [field for field in self.fields.values() if field.table_id == table_id]
        return sorted(fields, key=lambda field: (field.position, field.name.lower()))

    def tabs_of(self, dashboard_id: int) -> list[Tab]:
        """The dashboard's tabs, in their order."""
        tabs = (tab for tab in self.tabs.values() if tab.dashboard_id == dashboard_id)
        return sorted(tabs, key=lambda tab: tab.position)

    def dashcards_of(self, dashboard_id: int) -> list[Dashcard]:
        """The dashboard's cards, tab by tab, row by row. Archived questions are left out."""
        tabs = {tab.id: tab.position for tab in self.tabs_of(dashboard_id)}
        cards = [
            card
            for card in self.dashcards.values()
            if card.dashboard_id == dashboard_id
            and (card.card_id is None or not self.cards[card.card_id].archived)
        ]
        return sorted(
            cards, key=lambda card: (tabs.get(card.dashboard_tab_id or 0, 0), card.row, card.col)
        )

    def to_json(self) -> str:
        """Rows by kind."""
        # Every change writes this. Copies and indentation would make it slow.
        rows = {kind: [vars(row) for row in by_id.values()] for kind, by_id in vars(self).items()}
        return json.dumps(rows, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "State":
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: it is not what this version writes.
        """
        rows = json.loads(text)
        if not isinstance(rows, dict) or rows.keys() - {kind.name for kind in fields(cls)}:
            raise ValueError("it holds other kinds of rows than this version keeps")
        # Versions before there were questions kept none of them.
        content: dict[str, list[Any]] = {
            "collections": [],
            "cards": [],
            "dashboards": [],
            "tabs": [],
            "dashcards": [],
        }
        rows = content | rows
        return cls(
            users={row["id"]: User(**row) for row in rows["users"]},
            api_keys={row["id"]: ApiKey(**row) for row in rows["api_keys"]},
            sessions={row["id_hash"]: Session(**row) for row in rows["sessions"]},
            databases={row["id"]: Database(**row) for row in rows["databases"]},
            tables={row["id"]: Table(**row) for row in rows["tables"]},
            fields={row["id"]: Field(**row) for row in rows["fields"]},
            collections={row["id"]: Collection(**row) for row in rows["collections"]},
            cards={row["id"]: Card(**row) for row in rows["cards"]},
            dashboards={row["id"]: Dashboard(**row) for row in rows["dashboards"]},
            tabs={row["id"]: Tab(**row) for row in rows["tabs"]},
            dashcards={row["id"]: Dashcard(**row) for row in rows["dashcards"]},
        )


def next_id(rows: dict[int, Any]) -> int:
    """Return an unused ID."""
    return max(rows, default=0) + 1


def update(row: Any, /, **values: object) -> int:
    """Set the values that differ and, if any does, `updated_at`; return 1 or 0."""
    changed = {key: value for key, value in values.items() if getattr(row, key) != value}
    for key, value in changed.items():
        setattr(row, key, value)
    if changed:
        row.updated_at = now()
    return 1 if changed else 0


class Store:
    """The state behind a lock. Leaving `write` saves the changes before the request is answered."""

    def __init__(self, path: Path) -> None:
        """Reads the state file, if there is one.

        Raises:
            StateFileError: it can't be read, or another version wrote it.
        """
        self._path = path
        self._lock = threading.RLock()
        self._state = State()
        self._saved = ""
        for draft in path.parent.glob(f"{path.name}{DRAFT}*"):  # left by a killed process
            draft.unlink()
        if path.exists():
            try:
                self._saved = path.read_text(encoding="utf-8")
                self._state = State.from_json(self._saved)
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise StateFileError(
                    f"{path}: can't be read as the fake Metabase's state ({error}). "
                    "Remove it to start over: the next sync fills it again."
                ) from error

    @contextmanager
    def read(self) -> Iterator[State]:
        """Give read access to the state; nobody changes it meanwhile."""
        with self._lock:
            yield self._state

    @contextmanager
    def write(self) -> Iterator[State]:
        """Give write access to the state; it is saved at the end."""
        with self._lock:
            yield self._state
            self._save()

    def _save(self) -> None:
        text = self._state.to_json()
        if text == self._saved:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes the file readable by its owner only.
        descriptor, name = tempfile.mkstemp(
            dir=self._path.parent, prefix=f"{self._path.name}{DRAFT}"
        )
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink()
            raise
        self._saved = text
