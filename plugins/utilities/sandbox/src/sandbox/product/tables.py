"""Rows and tables of the product database, as `schema.sql` has them; jsonb is kept as JSON text."""

# ruff: noqa: D101 - schema.sql says what each of them is.

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID


class Organisation(NamedTuple):
    id: UUID
    name: str
    slug: str
    slack_team_id: str | None
    tags: list[str]
    settings: str
    annual_contract_value: Decimal | None
    setup_completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None


class User(NamedTuple):
    id: UUID
    organisation_id: UUID
    name: str
    email: str
    slack_user_id: str | None
    role: str
    time_zone: str | None
    preferences: str
    active: bool
    last_seen_at: datetime | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None


class Incident(NamedTuple):
    id: UUID
    organisation_id: UUID
    reference: int
    name: str
    summary: str | None
    status: str
    severity: str | None
    visibility: str
    test: bool
    labels: list[str]
    custom_fields: str | None
    estimated_cost: Decimal | None
    creator_id: UUID
    lead_id: UUID | None
    detected_at: datetime | None
    resolved_at: datetime | None
    closed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None


class IncidentParticipant(NamedTuple):
    incident_id: UUID
    user_id: UUID
    organisation_id: UUID
    role: str
    message_count: int
    joined_at: datetime
    updated_at: datetime


class Action(NamedTuple):
    id: UUID
    organisation_id: UUID
    incident_id: UUID
    assignee_id: UUID | None
    description: str
    status: str
    follow_up: bool
    due_on: date | None
    external_issue: str | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class TimelineItem(NamedTuple):
    id: UUID
    organisation_id: UUID
    incident_id: UUID
    user_id: UUID | None
    kind: str
    pinned: bool
    content: str
    occurred_at: datetime
    created_at: datetime
    updated_at: datetime


class AnnouncementRule(NamedTuple):
    id: UUID
    organisation_id: UUID
    name: str
    slack_channel_ids: list[str]
    conditions: str
    includes_private: bool
    quiet_from: time | None
    quiet_until: time | None
    created_at: datetime
    updated_at: datetime


class Workflow(NamedTuple):
    id: UUID
    organisation_id: UUID
    name: str
    trigger: str
    enabled: bool
    steps: str
    run_count: int
    failure_ratio: float | None
    last_run_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Table[Row: tuple[Any, ...]]:
    """A table's name, its columns in order, its key, and the class of its rows."""

    name: str
    columns: tuple[str, ...]
    row: Callable[[Iterable[Any]], Row]
    key: tuple[str, ...] = ("id",)


ORGANISATIONS = Table("organisations", Organisation._fields, Organisation._make)
USERS = Table("users", User._fields, User._make)
INCIDENTS = Table("incidents", Incident._fields, Incident._make)
PARTICIPANTS = Table(
    "incident_participants",
    IncidentParticipant._fields,
    IncidentParticipant._make,
    ("incident_id", "user_id"),
)
ACTIONS = Table("actions", Action._fields, Action._make)
TIMELINE_ITEMS = Table("timeline_items", TimelineItem._fields, TimelineItem._make)
ANNOUNCEMENT_RULES = Table("announcement_rules", AnnouncementRule._fields, AnnouncementRule._make)
WORKFLOWS = Table("workflows", Workflow._fields, Workflow._make)

TABLES: tuple[Table[Any], ...] = (
    ORGANISATIONS,
    USERS,
    INCIDENTS,
    PARTICIPANTS,
    ACTIONS,
    TIMELINE_ITEMS,
    ANNOUNCEMENT_RULES,
    WORKFLOWS,
)
"""Every table, those that others refer to first."""


@dataclass
class Rows:
    """Rows of every table; the fields have the tables' names."""

    organisations: list[Organisation] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    incident_participants: list[IncidentParticipant] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    timeline_items: list[TimelineItem] = field(default_factory=list)
    announcement_rules: list[AnnouncementRule] = field(default_factory=list)
    workflows: list[Workflow] = field(default_factory=list)

    def of(self, table: Table[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of one table."""
        rows: list[tuple[Any, ...]] = getattr(self, table.name)
        return rows
