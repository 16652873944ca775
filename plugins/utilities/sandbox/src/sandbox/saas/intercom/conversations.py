"""Conversations, and how each event changes them.

A conversation holds its parts. Values that Intercom derives from them (who is waiting, statistics)
are derived here too.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sandbox.saas.day import epoch
from sandbox.saas.documents import Body
from sandbox.saas.intercom.words import Topic

CUSTOMERS = ("user", "lead")
"""The types of authors who are contacts."""
SNOOZE = timedelta(days=3)


def author(person: Mapping[str, Any]) -> Body:
    """Return a contact or an admin as an author."""
    type_ = person["role"] if person["type"] == "contact" else person["type"]
    return {"type": type_, "id": person["id"], "name": person["name"], "email": person["email"]}


def is_from_customer(part: Mapping[str, Any]) -> bool:
    """Tell whether a contact wrote the part, rather than an admin or a bot."""
    return part["author"]["type"] in CUSTOMERS


def open_conversation(
    ids: tuple[str, str],
    contact: Body,
    opener: Body,
    topic: Topic,
    body: str,
    channel: str,
    at: datetime,
) -> Body:
    """Return a new conversation, opened by its contact or by an admin.

    Args:
        ids: The IDs of the conversation and of its first message.
        contact: The contact.
        opener: The contact or an admin.
        topic: The topic.
        body: The first message.
        channel: `conversation`, Intercom's name of the messenger, or `email`.
        at: The time of opening.
    """
    by_customer = opener["type"] == "contact"
    return {
        "type": "conversation",
        "id": ids[0],
        "created_at": epoch(at),
        "updated_at": epoch(at),
        "waiting_since": epoch(at) if by_customer else None,
        "snoozed_until": None,
        "source": {
            "type": channel,
            "id": ids[1],
            "delivered_as": "customer_initiated" if by_customer else "admin_initiated",
            "subject": topic.subject if channel == "email" else "",
            "body": body,
            "author": author(opener),
            "attachments": [],
            "url": None if channel == "email" else "https://app.example/incidents",
            "redacted": False,
        },
        "contacts": {
            "type": "contact.list",
            "contacts": [
                {"type": "contact", "id": contact["id"], "external_id": contact["external_id"]}
            ],
        },
        "first_contact_reply": _first_reply(at, channel) if by_customer else None,
        "admin_assignee_id": 0,
        "team_assignee_id": 0,
        "open": True,
        "state": "open",
        "read": False,
        "tags": {"type": "tag.list", "tags": []},
        "priority": "none",
        "sla_applied": None,
        "statistics": None,
        "conversation_rating": None,
        "teammates": {"type": "admin.list", "teammates": []},
        "title": None,
        "custom_attributes": {},
        "topics": {},
        "ticket": None,
        "linked_objects": {"type": "list", "data": [], "total_count": 0, "has_more": False},
        "ai_agent": None,
        "ai_agent_participated": False,
        "conversation_parts": {
            "type": "conversation_part.list",
            "conversation_parts": [],
            "total_count": 0,
        },
    }


def add_part(
    conversation: Body,
    part_id: str,
    part_type: str,
    by: Body,
    at: datetime,
    *,
    body: str | None = None,
    assigned_to: Body | None = None,
) -> None:
    """Add a part: a comment, an assignment, a note, closing, opening, snoozing."""
    parts = conversation["conversation_parts"]
    parts["conversation_parts"].append(
        {
            "type": "conversation_part",
            "id": part_id,
            "part_type": part_type,
            "body": body,
            "created_at": epoch(at),
            "updated_at": epoch(at),
            "notified_at": epoch(at),
            "assigned_to": assigned_to and {"type": assigned_to["type"], "id": assigned_to["id"]},
            "author": author(by),
            "attachments": [],
            "external_id": None,
            "redacted": False,
        }
    )
    parts["total_count"] += 1
    _change_state(conversation, part_type, at)
    _note_who(conversation, part_type, by, at, body, assigned_to)
    conversation["statistics"] = statistics(conversation)
    conversation["updated_at"] = epoch(at)


def _change_state(conversation: Body, part_type: str, at: datetime) -> None:
    match part_type:
        case "close":
            conversation |= {"state": "closed", "open": False, "waiting_since": None}
        case "open" | "timer_unsnooze":
            conversation |= {"state": "open", "open": True}
        case "snoozed":
            conversation["state"] = "snoozed"
    snoozed = conversation["state"] == "snoozed"
    conversation["snoozed_until"] = epoch(at + SNOOZE) if snoozed else None


def _note_who(
    conversation: Body,
    part_type: str,
    by: Body,
    at: datetime,
    body: str | None,
    assigned_to: Body | None,
) -> None:
    """Derive who is waiting, the participants, and the assignee."""
    if assigned_to:
        conversation[f"{assigned_to['type']}_assignee_id"] = int(assigned_to["id"])
    if body is not None and by["type"] == "contact":
        conversation["waiting_since"] = conversation["waiting_since"] or epoch(at)
        conversation["first_contact_reply"] = conversation["first_contact_reply"] or _first_reply(
            at, conversation["source"]["type"]
        )
    if by["type"] == "admin":
        admins = conversation["teammates"]["teammates"]
        if all(admin["id"] != by["id"] for admin in admins):
            admins.append({"type": "admin", "id": by["id"]})
        if body is not None and part_type != "note":
            conversation |= {"waiting_since": None, "read": True}


def _first_reply(at: datetime, channel: str) -> Body:
    return {"created_at": epoch(at), "type": channel, "url": None}


def add_tag(conversation: Body, tag: Body, by: Body, at: datetime) -> None:
    """Tag the conversation."""
    conversation["tags"]["tags"].append(
        {
            **{key: tag[key] for key in ("type", "id", "name")},
            "applied_at": epoch(at),
            "applied_by": {"type": "admin", "id": by["id"]},
        }
    )
    conversation["updated_at"] = epoch(at)


def rate(conversation: Body, rating: int, remark: str | None, at: datetime) -> None:
    """Add the contact's rating of the admin who answered."""
    (contact,) = conversation["contacts"]["contacts"]
    assignee = conversation["admin_assignee_id"]
    conversation["conversation_rating"] = {
        "rating": rating,
        "remark": remark,
        "created_at": epoch(at),
        "contact": dict(contact),
        "teammate": {"type": "admin", "id": str(assignee)} if assignee else None,
    }
    conversation["updated_at"] = epoch(at)


def statistics(conversation: Body) -> Body:
    """Return Intercom's statistics, in seconds since the conversation was opened."""
    opened_at: int = conversation["created_at"]
    parts: list[Body] = conversation["conversation_parts"]["conversation_parts"]
    assigned = _moments(parts, lambda part: part["assigned_to"] is not None)
    closed = _moments(parts, lambda part: part["part_type"] == "close")
    answered = _moments(parts, _is_answer)
    asked = _moments(parts, lambda part: is_from_customer(part) and part["body"] is not None)
    if conversation["source"]["delivered_as"] == "customer_initiated":
        asked = [opened_at, *asked]
    closers = [part["author"] for part in parts if part["part_type"] == "close"]
    since_assigned = [at for at in answered if assigned and at >= assigned[-1]]
    waits = _waits(asked, answered)
    return {
        "type": "conversation_statistics",
        "time_to_assignment": assigned[0] - opened_at if assigned else None,
        "time_to_admin_reply": waits[0] if waits else None,
        "time_to_first_close": closed[0] - opened_at if closed else None,
        "time_to_last_close": closed[-1] - opened_at if closed else None,
        "median_time_to_reply": int(median(waits)) if waits else None,
        "first_contact_reply_at": asked[0] if asked else None,
        "first_assignment_at": assigned[0] if assigned else None,
        "first_admin_reply_at": answered[0] if answered else None,
        "first_close_at": closed[0] if closed else None,
        "last_assignment_at": assigned[-1] if assigned else None,
        "last_assignment_admin_reply_at": since_assigned[0] if since_assigned else None,
        "last_contact_reply_at": asked[-1] if asked else None,
        "last_admin_reply_at": answered[-1] if answered else None,
        "last_close_at": closed[-1] if closed else None,
        "last_closed_by_id": closers[-1]["id"] if closers else None,
        "count_reopens": sum(part["part_type"] == "open" for part in parts),
        "count_assignments": len(assigned),
        "count_conversation_parts": len(parts),
    }


def _moments(parts: Sequence[Body], fits: Callable[[Body], bool]) -> list[int]:
    return [part["created_at"] for part in parts if fits(part)]


def _is_answer(part: Body) -> bool:
    return (
        part["author"]["type"] == "admin"
        and part["body"] is not None
        and part["part_type"] != "note"
    )


def _waits(asked: Sequence[int], answered: Sequence[int]) -> list[int]:
    """Return each waiting time of the contact, from the first unanswered message."""
    events = sorted([(at, False) for at in asked] + [(at, True) for at in answered])
    waits = []
    since: int | None = None
    for at, is_answer in events:
        if is_answer and since is not None:
            waits.append(at - since)
            since = None
        elif not is_answer and since is None:
            since = at
    return waits
