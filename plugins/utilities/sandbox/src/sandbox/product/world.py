"""The world on its first day: eighteen months of a growing company."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from uuid import UUID

from sandbox.product.calendar import Calendar, between, end_of, start_of
from sandbox.product.factory import (
    as_signed_up,
    make_announcement_rule,
    make_incident,
    make_organisation,
    make_user,
    make_workflow,
    weighted,
)
from sandbox.product.tables import Organisation, Rows, User

HISTORY = timedelta(days=548)
ROLE_SHARES = {"admin": 8, "responder": 70, "viewer": 22}
PEOPLE_AT_LEAST = 3
"""Users an organisation starts with, so that incidents have somebody who can leave them."""


@dataclass(frozen=True)
class Size:
    """The number of rows; every table has some at every scale."""

    organisations: int
    users: int
    incidents: int
    participants: int
    actions: int
    timeline_items: int
    announcement_rules: int
    workflows: int

    @classmethod
    def at(cls, scale: float) -> "Size":
        """Return the size at a scale; 1 is 200 organisations with 10,000 incidents."""

        def scaled(count: int, at_least: int) -> int:
            return max(round(count * scale), at_least)

        organisations = scaled(200, 3)
        incidents = scaled(10_000, 10)
        return cls(
            organisations=organisations,
            users=scaled(4_000, PEOPLE_AT_LEAST * organisations),
            incidents=incidents,
            participants=scaled(25_000, 2 * incidents),
            actions=scaled(12_000, 10),
            timeline_items=scaled(60_000, incidents),
            announcement_rules=scaled(600, 4),
            workflows=scaled(500, 4),
        )


def generate(today: date, scale: float, seed: int) -> Rows:
    """Return every row of the world at the end of the day `today`.

    The same arguments give the same rows.
    """
    rng = Random(seed)
    size = Size.at(scale)
    now = end_of(today)
    calendar = Calendar(today - HISTORY, today)
    rows = Rows()
    rows.organisations = _organisations(rng, calendar, size.organisations)
    # A few large customers and many small ones; the newest is small.
    weights = [*(rng.lognormvariate(0, 1) for _ in rows.organisations[:-1]), 0.0]
    users = {
        organisation.id: _users(rng, calendar, organisation, PEOPLE_AT_LEAST + extra)
        for organisation, extra in zip(
            rows.organisations,
            _shared_out(rng, size.users - PEOPLE_AT_LEAST * size.organisations, weights),
            strict=True,
        )
    }
    rows.users = [user for people in users.values() for user in people]

    ready = [organisation.setup_completed_at is not None for organisation in rows.organisations]
    weights = [
        weight * is_ready * ((organisation.archived_at or now) - organisation.created_at).days
        for weight, is_ready, organisation in zip(weights, ready, rows.organisations, strict=True)
    ]
    _add_incidents(rng, calendar, rows, users, size, _shared_out(rng, size.incidents, weights))

    active = [
        organisation for organisation in rows.organisations if organisation.setup_completed_at
    ]
    for organisation in rng.choices(active, k=size.announcement_rules):
        created_at = between(rng, organisation.created_at, organisation.archived_at or now)
        rows.announcement_rules.append(
            make_announcement_rule(rng, organisation.id, created_at, now)
        )
    for organisation in rng.choices(active, k=size.workflows):
        created_at = between(rng, organisation.created_at, organisation.archived_at or now)
        rows.workflows.append(make_workflow(rng, organisation.id, created_at, now))
    return rows


def _organisations(rng: Random, calendar: Calendar, count: int) -> list[Organisation]:
    """Return organisations by age; the first two are established, the last one is new."""
    first, now = start_of(calendar.first), end_of(calendar.last)
    moments = sorted(calendar.moment(rng, first, now) for _ in range(count - 3))
    opening = [calendar.moment(rng, first, first + timedelta(days=30)) for _ in range(2)]
    organisations = [
        make_organisation(rng, moment, now, established=True) for moment in sorted(opening)
    ]
    organisations += (make_organisation(rng, moment, now, established=False) for moment in moments)
    newest = make_organisation(
        rng, now - timedelta(hours=rng.uniform(1, 12)), now, established=False
    )
    return [*organisations, as_signed_up(newest)]


def _users(rng: Random, calendar: Calendar, organisation: Organisation, count: int) -> list[User]:
    """Return an organisation's users by time of joining; the first ones joined at sign-up."""
    now = organisation.archived_at or end_of(calendar.last)
    since = organisation.created_at
    soon = min(since + timedelta(hours=1), now)
    moments = [between(rng, since, soon) for _ in range(PEOPLE_AT_LEAST)]
    moments += (calendar.moment(rng, since, now) for _ in range(count - PEOPLE_AT_LEAST))
    roles = ["owner", *(weighted(rng, ROLE_SHARES) for _ in moments[1:])]
    return [
        make_user(rng, organisation, moment, now, role)
        for moment, role in zip(sorted(moments), roles, strict=True)
    ]


def _add_incidents(
    rng: Random,
    calendar: Calendar,
    rows: Rows,
    users: dict[UUID, list[User]],
    size: Size,
    counts: Sequence[int],
) -> None:
    now = end_of(calendar.last)
    even = [1.0] * size.incidents
    lively = [rng.expovariate(1) for _ in even]
    extra_people = iter(_shared_out(rng, size.participants - 2 * size.incidents, even))
    items = iter(_shared_out(rng, size.timeline_items - size.incidents, lively))
    actions = iter(_shared_out(rng, size.actions, lively))
    for organisation, count in zip(rows.organisations, counts, strict=True):
        if not count or organisation.setup_completed_at is None:
            continue
        people = users[organisation.id]
        joined = [user.created_at for user in people]
        ids = [user.id for user in people]
        # Its first users exist from an hour after its creation.
        since = max(organisation.setup_completed_at, organisation.created_at + timedelta(hours=1))
        until = organisation.archived_at or now
        moments = sorted(calendar.moment(rng, since, until) for _ in range(count))
        for reference, created_at in enumerate(moments, start=1):
            make_incident(
                rng,
                rows,
                organisation.id,
                reference,
                ids[: bisect_right(joined, created_at)],
                created_at,
                until,
                participants=2 + next(extra_people),
                timeline_items=1 + next(items),
                actions=next(actions),
            )


def _shared_out(rng: Random, total: int, weights: Sequence[float]) -> list[int]:
    """Divide a total at random, by weight."""
    shares = Counter(rng.choices(range(len(weights)), weights, k=total))
    return [shares[index] for index in range(len(weights))]
