"""Makes plausible rows: organisations, users, and their incidents.

The random generator that is passed in determines every value, and no time is later than `now`.
"""

import json
import unicodedata
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from sandbox.product import words
from sandbox.product.calendar import between
from sandbox.product.tables import (
    Action,
    AnnouncementRule,
    Incident,
    IncidentParticipant,
    Organisation,
    Rows,
    TimelineItem,
    User,
    Workflow,
)

STAGES = ("triage", "investigating", "fixing", "monitoring", "closed")
"""The statuses of an incident that isn't declined, in order."""
SEVERITY_SHARES = {"minor": 70, "major": 24, "critical": 6}
HOURS_TO_FIX = {"minor": 20.0, "major": 8.0, "critical": 4.0}
SLACK_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


def make_organisation(
    rng: Random, created_at: datetime, now: datetime, *, established: bool
) -> Organisation:
    """Return an organisation; an established one has completed its set-up and isn't archived."""
    id_ = uuid(rng)
    name = f"{rng.choice(words.ORGANISATION_FIRST)} {rng.choice(words.ORGANISATION_SECOND)}"
    setup_completed_at = None
    if established or rng.random() < 0.93:
        setup_completed_at = past(created_at + timedelta(hours=rng.expovariate(1 / 20)), now)
        if established and setup_completed_at is None:
            setup_completed_at = between(rng, created_at, now)
    archived_at = None
    if setup_completed_at and not established and rng.random() < 0.08:
        archived_at = past(setup_completed_at + timedelta(days=rng.uniform(60, 500)), now)
    slack = setup_completed_at is not None or rng.random() < 0.3
    customer = setup_completed_at is not None and rng.random() < 0.65
    edited_at = between(rng, created_at, now) if rng.random() < 0.5 else None
    return Organisation(
        id=id_,
        name=name,
        slug=f"{ascii_slug(name)}-{id_.hex[:8]}",
        slack_team_id=slack_id(rng, "T0") if slack else None,
        tags=some(rng, words.TAGS, at_most=3),
        settings=organisation_settings(rng),
        annual_contract_value=contract_value(rng) if customer else None,
        setup_completed_at=setup_completed_at,
        created_at=created_at,
        updated_at=archived_at or latest(created_at, setup_completed_at, edited_at),
        archived_at=archived_at,
    )


def as_signed_up(organisation: Organisation) -> Organisation:
    """Return the organisation as it was before its set-up."""
    return organisation._replace(
        setup_completed_at=None,
        annual_contract_value=None,
        slack_team_id=None,
        updated_at=organisation.created_at,
        archived_at=None,
    )


def make_user(
    rng: Random, organisation: Organisation, created_at: datetime, now: datetime, role: str
) -> User:
    """Return a user of the organisation; its owner stays active."""
    name = f"{rng.choice(words.FIRST_NAMES)} {rng.choice(words.LAST_NAMES)}"
    active = role == "owner" or rng.random() < 0.92
    archived_at = between(rng, created_at, now) if not active and rng.random() < 0.5 else None
    last_seen_at = between(rng, created_at, archived_at or now) if rng.random() < 0.9 else None
    return User(
        id=uuid(rng),
        organisation_id=organisation.id,
        name=name,
        email=f"{ascii_slug(name)}-{rng.randrange(100)}@{organisation.slug}.example",
        slack_user_id=slack_id(rng, "U0")
        if organisation.slack_team_id and rng.random() < 0.85
        else None,
        role=role,
        time_zone=rng.choice(words.TIME_ZONES) if rng.random() < 0.8 else None,
        preferences=user_preferences(rng),
        active=active,
        last_seen_at=last_seen_at,
        created_at=created_at,
        updated_at=archived_at or latest(created_at, last_seen_at),
        archived_at=archived_at,
    )


def make_incident(
    rng: Random,
    rows: Rows,
    organisation_id: UUID,
    reference: int,
    user_ids: Sequence[UUID],
    created_at: datetime,
    now: datetime,
    *,
    participants: int,
    timeline_items: int,
    actions: int,
    rehearsal: bool = False,
) -> None:
    """Add an incident to the rows, with its participants, timeline and actions.

    `user_ids` are the possible participants; the first participant is the creator.
    """
    people = rng.sample(user_ids, min(participants, len(user_ids)))
    severity = weighted(rng, SEVERITY_SHARES)
    declined = rng.random() < 0.06
    reached = _stage_times(rng, created_at, HOURS_TO_FIX[severity])
    status, changed_at = max(
        ((stage, moment) for stage, moment in reached.items() if moment <= now),
        key=lambda entry: entry[1],
    )
    if declined and status != "triage":
        status, changed_at = "declined", reached["investigating"]
    lead_id = rng.choice(people) if status != "triage" and rng.random() < 0.9 else None
    solved = status in ("monitoring", "closed")
    archived_at = (
        between(rng, changed_at, now) if status == "closed" and rng.random() < 0.02 else None
    )
    edited_at = None
    if rng.random() < 0.15:
        edited_at = between(rng, changed_at, min(now, changed_at + timedelta(days=10)))
    incident = Incident(
        id=uuid(rng),
        organisation_id=organisation_id,
        reference=reference,
        name=incident_name(rng),
        summary=rng.choice(words.SUMMARIES) if status != "triage" and rng.random() < 0.7 else None,
        status=status,
        severity=None if status == "triage" else severity,
        visibility="private" if rng.random() < 0.07 else "public",
        test=rehearsal or rng.random() < 0.05,
        labels=some(rng, words.LABELS, at_most=3),
        custom_fields=custom_fields(rng) if rng.random() < 0.75 else None,
        estimated_cost=cost(rng) if status == "closed" and rng.random() < 0.4 else None,
        creator_id=people[0],
        lead_id=lead_id,
        detected_at=created_at - timedelta(minutes=rng.expovariate(1 / 12))
        if rng.random() < 0.75
        else None,
        resolved_at=reached["monitoring"] if solved else None,
        closed_at=reached["closed"] if status == "closed" else None,
        created_at=created_at,
        updated_at=archived_at or edited_at or changed_at,
        archived_at=archived_at,
    )
    rows.incidents.append(incident)
    over_at = changed_at if status in ("closed", "declined") else now
    for number, user_id in enumerate(people):
        rows.incident_participants.append(
            make_participant(rng, incident, user_id, created_at if number == 0 else None, over_at)
        )
    rows.timeline_items += _timeline(rng, incident, people, timeline_items, over_at, now)
    rows.actions += (make_action(rng, incident, people, over_at, now) for _ in range(actions))


def _stage_times(rng: Random, created_at: datetime, hours_to_fix: float) -> dict[str, datetime]:
    accepted = created_at + timedelta(minutes=rng.expovariate(1 / 20))
    resolved = accepted + timedelta(hours=rng.lognormvariate(0, 1) * hours_to_fix)
    return {
        "triage": created_at,
        "investigating": accepted,
        "fixing": between(rng, accepted, resolved),
        "monitoring": resolved,
        "closed": resolved + timedelta(hours=rng.lognormvariate(0, 1) * 12),
    }


def make_participant(
    rng: Random, incident: Incident, user_id: UUID, joined_at: datetime | None, until: datetime
) -> IncidentParticipant:
    """Return a participant, who joined at a given or at a random time before `until`."""
    joined = joined_at or between(rng, incident.created_at, until)
    return IncidentParticipant(
        incident_id=incident.id,
        user_id=user_id,
        organisation_id=incident.organisation_id,
        role="lead"
        if user_id == incident.lead_id
        else rng.choice(("responder", "responder", "observer")),
        message_count=int(rng.expovariate(1 / 5)),
        joined_at=joined,
        updated_at=between(rng, joined, until),
    )


def _timeline(
    rng: Random,
    incident: Incident,
    people: Sequence[UUID],
    count: int,
    over_at: datetime,
    now: datetime,
) -> list[TimelineItem]:
    moments = sorted(between(rng, incident.created_at, over_at) for _ in range(count - 1))
    channel = slack_id(rng, "C0")
    first = TimelineItem(
        id=uuid(rng),
        organisation_id=incident.organisation_id,
        incident_id=incident.id,
        user_id=incident.creator_id,
        kind="status_change",
        pinned=False,
        content=timeline_content(rng, "status_change", channel),
        occurred_at=incident.created_at,
        created_at=incident.created_at,
        updated_at=incident.created_at,
    )
    return [first, *(make_timeline_item(rng, incident, people, at, now, channel) for at in moments)]


KIND_SHARES = {
    "message": 55,
    "note": 12,
    "role_assigned": 9,
    "action_created": 8,
    "github_pull_request": 8,
    "severity_change": 5,
    "status_change": 3,
}
BY_THE_PRODUCT = {
    "status_change": 0.4,
    "severity_change": 0.4,
    "role_assigned": 0.3,
    "github_pull_request": 1.0,
}
"""How often nobody in particular wrote such an item."""


def make_timeline_item(
    rng: Random,
    incident: Incident,
    people: Sequence[UUID],
    occurred_at: datetime,
    now: datetime,
    channel: str,
    kind: str | None = None,
) -> TimelineItem:
    """Return a timeline item of a participant or of the product itself."""
    kind = kind or weighted(rng, KIND_SHARES)
    # Notes are written afterwards, other items when they happen.
    delay = rng.expovariate(1 / 3600) if kind == "note" else rng.random()
    created_at = min(occurred_at + timedelta(seconds=delay), now)
    edited = rng.random() < 0.04
    return TimelineItem(
        id=uuid(rng),
        organisation_id=incident.organisation_id,
        incident_id=incident.id,
        user_id=None if rng.random() < BY_THE_PRODUCT.get(kind, 0) else rng.choice(people),
        kind=kind,
        pinned=rng.random() < 0.04,
        content=timeline_content(rng, kind, channel),
        occurred_at=occurred_at,
        created_at=created_at,
        updated_at=between(rng, created_at, min(now, created_at + timedelta(days=2)))
        if edited
        else created_at,
    )


def make_action(
    rng: Random, incident: Incident, people: Sequence[UUID], over_at: datetime, now: datetime
) -> Action:
    """Return an action: a task during the incident or, as a follow-up, after it."""
    created_at = between(rng, incident.created_at, over_at)
    status = weighted(rng, {"outstanding": 30, "completed": 60, "not_doing": 10})
    changed_at = created_at
    if status != "outstanding":
        changed_at = between(rng, created_at, min(now, created_at + timedelta(days=30)))
    return Action(
        id=uuid(rng),
        organisation_id=incident.organisation_id,
        incident_id=incident.id,
        assignee_id=rng.choice(people) if rng.random() < 0.8 else None,
        description=task(rng),
        status=status,
        follow_up=rng.random() < 0.5,
        due_on=created_at.date() + timedelta(days=rng.randrange(1, 60))
        if rng.random() < 0.4
        else None,
        external_issue=external_issue(rng) if rng.random() < 0.35 else None,
        completed_at=changed_at if status == "completed" else None,
        created_at=created_at,
        updated_at=changed_at,
    )


def make_announcement_rule(
    rng: Random, organisation_id: UUID, created_at: datetime, now: datetime
) -> AnnouncementRule:
    """Return a rule: which incidents are announced in which Slack channels."""
    quiet = rng.random() < 0.4
    return AnnouncementRule(
        id=uuid(rng),
        organisation_id=organisation_id,
        name=rng.choice(words.RULE_NAMES),
        slack_channel_ids=[slack_id(rng, "C0") for _ in range(rng.randrange(4))],
        conditions=rule_conditions(rng),
        includes_private=rng.random() < 0.1,
        quiet_from=time(rng.randrange(18, 24), rng.choice((0, 30))) if quiet else None,
        quiet_until=time(rng.randrange(5, 10), rng.choice((0, 15, 30))) if quiet else None,
        created_at=created_at,
        updated_at=between(rng, created_at, now) if rng.random() < 0.3 else created_at,
    )


def make_workflow(
    rng: Random, organisation_id: UUID, created_at: datetime, now: datetime
) -> Workflow:
    """Return a workflow: steps that the product runs by itself on an event."""
    run_count = 0
    if rng.random() < 0.8:
        run_count = (
            rng.randrange(2**31, 2**40) if rng.random() < 0.02 else int(rng.lognormvariate(4, 2))
        )
    last_run_at = between(rng, created_at, now) if run_count else None
    return Workflow(
        id=uuid(rng),
        organisation_id=organisation_id,
        name=rng.choice(words.WORKFLOW_NAMES),
        trigger=rng.choice(("incident_created", "incident_updated", "incident_closed", "schedule")),
        enabled=rng.random() < 0.85,
        steps=workflow_steps(rng),
        run_count=run_count,
        failure_ratio=rng.choice((0.0, 0.0, 0.1, 1 / 3, rng.random(), 1.0)) if run_count else None,
        last_run_at=last_run_at,
        created_at=created_at,
        updated_at=latest(created_at, last_run_at),
    )


def organisation_settings(rng: Random) -> str:
    """Return an organisation's settings, as JSON."""
    if rng.random() < 0.05:
        return "{}"
    return to_json(
        {
            "default_severity": rng.choice(("minor", "major", None)),
            "auto_archive_days": rng.choice((7, 30, 90)),
            "features": {"workflows": rng.random() < 0.8, "private_incidents": rng.random() < 0.4},
        }
    )


def user_preferences(rng: Random) -> str:
    """Return a user's preferences, as JSON."""
    if rng.random() < 0.1:
        return "{}"
    return to_json(
        {
            "locale": rng.choice(words.LOCALES),
            "theme": rng.choice(("dark", "light", "system")),
            "notifications": {"email": rng.random() < 0.7, "sms": rng.random() < 0.2},
        }
    )


def custom_fields(rng: Random) -> str:
    """Return an organisation's custom fields of an incident, nested, as JSON."""
    cause = None
    if rng.random() < 0.7:
        cause = {"kind": rng.choice(words.CAUSE_KINDS), "detail": rng.choice(words.CAUSE_DETAILS)}
    return to_json(
        {
            "affected_team": rng.choice(words.TEAMS),
            "customers_affected": int(rng.lognormvariate(3, 2)),
            "cause": cause,
        }
    )


def timeline_content(rng: Random, kind: str, channel: str) -> str:
    """Return the content of a timeline item, as JSON of about 200 bytes."""
    text = ". ".join(rng.sample(words.MESSAGES, rng.choice((1, 2, 2))))
    if kind == "github_pull_request":
        text = f"#{rng.randrange(1, 9999)} {task(rng)}: {text}"
    reactions = [
        {"emoji": emoji, "count": int(rng.expovariate(0.5)) + 1}
        for emoji in some(rng, words.EMOJI, at_most=3)
    ]
    return to_json({"text": text, "channel": channel, "reactions": reactions})


def external_issue(rng: Random) -> str:
    """Return the issue of an action in the organisation's tracker, as JSON."""
    provider, url = rng.choice(words.PROVIDERS)
    key = f"{rng.choice(('ENG', 'OPS', 'SRE'))}-{rng.randrange(1, 9999)}"
    return to_json({"provider": provider, "key": key, "url": f"{url}{key}"})


def rule_conditions(rng: Random) -> str:
    """Return a list of conditions, often empty, as JSON."""
    conditions: list[dict[str, Any]] = []
    if rng.random() < 0.7:
        conditions.append(
            {"field": "severity", "operator": "one_of", "values": ["major", "critical"]}
        )
    if rng.random() < 0.4:
        conditions.append(
            {"field": "labels", "operator": "contains", "values": [rng.choice(words.LABELS)]}
        )
    return to_json(conditions)


def workflow_steps(rng: Random) -> str:
    """Return a list of steps, sometimes empty, as JSON."""
    return to_json(
        [
            {
                "name": rng.choice(words.WORKFLOW_NAMES),
                "kind": rng.choice(words.STEP_KINDS),
                "params": {"team": rng.choice(words.TEAMS)} if rng.random() < 0.8 else {},
            }
            for _ in range(rng.randrange(5))
        ]
    )


def task(rng: Random) -> str:
    """Return the title of a task."""
    return rng.choice(words.TASKS).format(rng.choice(words.COMPONENTS))


def incident_name(rng: Random) -> str:
    """Return the name of an incident: what broke, and how."""
    return f"{rng.choice(words.COMPONENTS)} {rng.choice(words.SYMPTOMS)}"


def contract_value(rng: Random) -> Decimal:
    """Return an amount: mostly whole thousands, some with cents, 1 % of a large company."""
    if rng.random() < 0.01:
        return round(Decimal(rng.randrange(10**11, 10**12)).scaleb(-6), 2)
    value = rng.lognormvariate(9.5, 1.2)
    return Decimal(round(value, -3)) if rng.random() < 0.6 else Decimal(f"{value:.2f}")


def cost(rng: Random) -> Decimal:
    """Return an estimate with up to four decimals, from a fraction of a cent to billions."""
    places = rng.randrange(5)
    return Decimal(f"{min(rng.lognormvariate(7, 4), 9_999_999_999.0):.{places}f}")


def uuid(rng: Random) -> UUID:
    """Return a version 4 UUID."""
    return UUID(int=rng.getrandbits(128), version=4)


def slack_id(rng: Random, prefix: str) -> str:
    """Return an ID such as `C0ABCDEFGHJ`; the prefix names the kind."""
    return prefix + "".join(rng.choices(SLACK_ALPHABET, k=9))


def some(rng: Random, choices: Sequence[str], at_most: int) -> list[str]:
    """Return a few of the choices, often none."""
    return rng.sample(choices, max(0, rng.randrange(-1, at_most + 1)))


def weighted(rng: Random, shares: dict[str, int]) -> str:
    """Return one of the keys, with a probability of its share of the total."""
    return rng.choices(tuple(shares), tuple(shares.values()))[0]


def past(moment: datetime, now: datetime) -> datetime | None:
    """Return the time, or None if it is in the future."""
    return moment if moment <= now else None


def latest(first: datetime, *others: datetime | None) -> datetime:
    """Return the latest of the values that aren't None."""
    return max([first, *(moment for moment in others if moment)])


def ascii_slug(text: str) -> str:
    """Return the ASCII letters and digits, joined by hyphens; `x` if there are none."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return "-".join("".join(c if c.isalnum() else " " for c in plain).split()) or "x"


def to_json(value: Any) -> str:
    """Return JSON text without escapes of non-ASCII characters."""
    return json.dumps(value, ensure_ascii=False)
