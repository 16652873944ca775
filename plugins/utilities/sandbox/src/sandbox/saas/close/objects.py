"""The objects of Close as its API returns them, and the sales team's names.

No object is changed in place: a change makes a new one, so that an event may keep the old.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from random import Random
from typing import Any

from sandbox.product import words
from sandbox.product.tables import User
from sandbox.saas.documents import Body

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def identifier(rng: Random, prefix: str) -> str:
    """Return an ID such as `lead_…`; the prefix names the kind."""
    return f"{prefix}_" + "".join(rng.choices(ALPHABET, k=43))


def moment(at: datetime) -> str:
    """Return a time in Close's format."""
    return at.isoformat(timespec="microseconds")


@cache
def fixed(prefix: str, name: str) -> str:
    """Return the ID of an object that every world has."""
    return identifier(Random(f"close/{prefix}/{name}"), prefix)


ORGANIZATION = fixed("orga", "company")
PIPELINE = fixed("pipe", "Sales")

LEAD_STATUSES = {
    label: fixed("stat", f"lead/{label}")
    for label in ("Potential", "Qualified", "Customer", "Churned", "Not interested")
}


@dataclass(frozen=True)
class Stage:
    """A status of an opportunity, and the sales team's confidence at that status."""

    label: str
    type: str
    confidence: int

    @property
    def id(self) -> str:
        """The status's identifier."""
        return fixed("stat", f"opportunity/{self.label}")


STAGES = (
    Stage("Demo booked", "active", 20),
    Stage("Proposal sent", "active", 50),
    Stage("Contract sent", "active", 80),
)
WON = Stage("Won", "won", 100)
LOST = Stage("Lost", "lost", 0)

SEGMENTS = ("Start-up", "Mid-market", "Enterprise")
TOOLS = ("PagerDuty", "Opsgenie", "Statuspage", "Jira", "Linear", 'Home-made "bot"', "何もない")
CUSTOM_FIELDS: dict[str, dict[str, Any]] = {
    "Organisation ID": {"type": "text"},
    "Lead Owner": {"type": "user"},
    "Company size": {"type": "number"},
    "Segment": {"type": "choices", "choices": list(SEGMENTS)},
    "Tools in use": {
        "type": "choices",
        "choices": list(TOOLS),
        "accepts_multiple_values": True,
    },
    "Renewal date": {"type": "date"},
    "Champion": {"type": "text"},
    "Reference customer": {"type": "choices", "choices": ["Yes", "No"]},
}
"""By the name that people see; Close has no type for yes and no."""

SALES_TEAM = (
    ("Amara", "Adeyemi"),
    ("Björn", "Bergström"),
    ("Chloë", "Castillo"),
    ("Sinéad", "O'Brien"),
    ("美咲", "佐藤"),
)
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
TITLES = ("CTO", "Head of Platform", "SRE lead", "VP Engineering", "Procurement", None)
SUBJECTS = (
    "Your trial of the product",
    "Re: pricing for 200 responders 💶",
    "Following up on our call",
    "Security questionnaire",
    "契約書について",
)
NOTES = (
    "Wants single sign-on before they roll out to everybody.",
    "Budget is decided in Q3.\nCall again then.",
    'They call it "the incident bot" and love it 🎉',
    "Procurement asks for SOC 2; sent.",
    "Utilise déjà un concurrent, contrat jusqu'en mars.",
)
DESCRIPTIONS = (
    "Found us through a conference talk.",
    "Came from a customer's recommendation",
    "Inbound: asked for prices on the website 🌐",
    "",
)


FIELDS = {
    "lead": (
        *("addresses", "contact_ids", "contacts", "contacts_summary", "created_by"),
        *("created_by_name", "date_created", "date_updated", "description", "display_name"),
        *("html_url", "id", "integration_links", "localtime", "name", "opportunities"),
        *("organization_id", "primary_address_summary", "primary_email", "primary_phone"),
        *("recent_calls", "source", "status_id", "status_label", "summaries", "tasks"),
        *("updated_by", "updated_by_name", "url"),
    ),
    "contact": (
        *("created_by", "date_created", "date_updated", "display_name", "emails", "id"),
        *("integration_links", "lead_id", "lead_suggestions_operation_id", "name"),
        *("organization_id", "phones", "recent_calls", "subscriptions", "timezone"),
        *("timezone_source", "title", "updated_by", "urls"),
    ),
}
"""The fields of an object in Close's OpenAPI document."""


def lead_statuses() -> list[Body]:
    """Return the statuses of leads."""
    return [
        {"id": id_, "label": label, "organization_id": ORGANIZATION}
        for label, id_ in LEAD_STATUSES.items()
    ]


def opportunity_statuses() -> list[Body]:
    """Return the statuses of opportunities."""
    return [
        {
            "id": stage.id,
            "label": stage.label,
            "type": stage.type,
            "pipeline_id": PIPELINE,
            "organization_id": ORGANIZATION,
        }
        for stage in (*STAGES, WON, LOST)
    ]


def pipeline() -> Body:
    """Return the only pipeline."""
    return {
        "id": PIPELINE,
        "name": "Sales",
        "organization_id": ORGANIZATION,
        "statuses": opportunity_statuses(),
    }


def make_user(first_name: str, last_name: str, at: datetime) -> Body:
    """A member of the sales team."""
    name = f"{first_name} {last_name}"
    id_ = fixed("user", name)
    return {
        "id": id_,
        "first_name": first_name,
        "last_name": last_name,
        "email": f"{id_[5:13].lower()}@company.example",
        "image": f"https://images.example/{id_}.png",
        "last_used_timezone": "Europe/London",
        "organizations": [ORGANIZATION],
        "email_verified_at": moment(at),
        "google_profile_image_url": None,
        "date_created": moment(at),
        "date_updated": moment(at),
    }


def make_custom_field(name: str, creator: Body, at: datetime) -> Body:
    """A custom field of leads."""
    field: Body = {
        "id": fixed("cf", name),
        "name": name,
        "description": None,
        "choices": None,
        "accepts_multiple_values": False,
        "editable_with_roles": [],
        "organization_id": ORGANIZATION,
        "created_by": creator["id"],
        "updated_by": creator["id"],
        "date_created": moment(at),
        "date_updated": moment(at),
    }
    return {**field, **CUSTOM_FIELDS[name]}


def name_of(user: Body) -> str:
    """Return a user's full name, as Close writes it beside the user's ID."""
    return f"{user['first_name']} {user['last_name']}"


def edited(body: Body, user: Body, at: datetime, **changes: Any) -> Body:
    """Return an object after a user's change."""
    return {
        **body,
        **changes,
        "updated_by": user["id"],
        "updated_by_name": name_of(user),
        "date_updated": moment(at),
    }


def _created(user: Body, at: datetime) -> Body:
    return {
        "organization_id": ORGANIZATION,
        "created_by": user["id"],
        "created_by_name": name_of(user),
        "updated_by": user["id"],
        "updated_by_name": name_of(user),
        "date_created": moment(at),
        "date_updated": moment(at),
    }


def make_lead(rng: Random, name: str, user: Body, at: datetime) -> Body:
    """Return a new lead, without contacts and custom fields."""
    id_ = identifier(rng, "lead")
    return {
        "id": id_,
        "name": name,
        "display_name": name,
        "description": rng.choice(DESCRIPTIONS),
        "url": f"https://{id_[5:13].lower()}.example" if rng.random() < 0.7 else None,
        "html_url": f"https://app.close.com/lead/{id_}/",
        "status_id": LEAD_STATUSES["Potential"],
        "status_label": "Potential",
        "addresses": [],
        "contacts": [],
        "opportunities": [],
        "tasks": [],
        "integration_links": [],
        "custom": {},
        **_created(user, at),
    }


def with_custom(lead: Body, values: Mapping[str, Any]) -> Body:
    """Return a lead with custom fields set by name; None removes one, as Close does."""
    lead = {**lead, "custom": dict(lead["custom"])}
    for name, value in values.items():
        key = f"custom.{fixed('cf', name)}"
        lead["custom"].pop(name, None)
        lead.pop(key, None)
        if value is not None:
            lead["custom"][name] = lead[key] = value
    return lead


def make_contact(rng: Random, lead: Body, person: User | None, creator: Body, at: datetime) -> Body:
    """Return a contact of a lead: a user of the product, or another person."""
    name = (
        person.name if person else f"{rng.choice(words.FIRST_NAMES)} {rng.choice(words.LAST_NAMES)}"
    )
    id_ = identifier(rng, "cont")
    email = person.email if person else f"{id_[5:15].lower()}@prospect.example"
    number = rng.randrange(10**6)
    phone = {
        "type": "office",
        "phone": f"+44207946{number % 10**4:04}",
        "phone_formatted": f"+44 20 7946 {number % 10**4:04}",
        "country": "GB",
    }
    return {
        "id": id_,
        "lead_id": lead["id"],
        "name": name,
        "display_name": name,
        "title": rng.choice(TITLES),
        "emails": [{"type": "office", "email": email, "is_unsubscribed": False}],
        "phones": [phone] if rng.random() < 0.6 else [],
        "urls": [],
        "integration_links": [],
        **_created(creator, at),
    }


def formatted(value: int | None, currency: str) -> str | None:
    """Return an amount in Close's format for people."""
    if value is None:
        return None
    amount = f"{value:,}" if currency == "JPY" else f"{value / 100:,.2f}".removesuffix(".00")
    return SYMBOLS[currency] + amount


@dataclass(frozen=True)
class Price:
    """The value of an opportunity: in the currency's smallest unit, once or per period."""

    value: int | None
    currency: str
    period: str


def make_opportunity(rng: Random, lead: Body, price: Price, user: Body, at: datetime) -> Body:
    """Return an opportunity in its first stage."""
    contact = lead["contacts"][0] if lead["contacts"] and rng.random() < 0.8 else None
    opportunity = {
        "id": identifier(rng, "oppo"),
        "lead_id": lead["id"],
        "lead_name": lead["display_name"],
        "contact_id": contact["id"] if contact else None,
        "contact_name": contact["display_name"] if contact else None,
        "user_id": user["id"],
        "user_name": name_of(user),
        "pipeline_id": PIPELINE,
        "pipeline_name": "Sales",
        "note": rng.choice((*NOTES, "")),
        "date_won": None,
        "date_lost": None,
        "integration_links": [],
        "attachments": [],
        **_created(user, at),
    }
    return worth(at_stage(opportunity, STAGES[0], at), price)


def at_stage(opportunity: Body, stage: Stage, at: datetime) -> Body:
    """Return an opportunity at its entry into a stage."""
    return {
        **opportunity,
        "status_id": stage.id,
        "status_label": stage.label,
        "status_display_name": stage.label,
        "status_type": stage.type,
        "confidence": stage.confidence,
        # People may correct this day; Close sets the other one.
        "date_won": at.date().isoformat() if stage is WON else None,
        "date_lost": moment(at) if stage is LOST else None,
    }


def worth(opportunity: Body, price: Price) -> Body:
    """Return an opportunity with a value."""
    value = price.value
    annualized = value * 12 if value is not None and price.period == "monthly" else value
    confidence = opportunity["confidence"]
    return {
        **opportunity,
        "value": value,
        "value_currency": price.currency,
        "value_period": price.period,
        "value_formatted": formatted(value, price.currency),
        "expected_value": None if value is None else value * confidence // 100,
        "annualized_value": annualized,
        "annualized_expected_value": (
            None if annualized is None else annualized * confidence // 100
        ),
    }


def make_activity(rng: Random, type_: str, lead: Body, user: Body, at: datetime) -> Body:
    """Return the fields of every activity."""
    return {
        "id": identifier(rng, "acti"),
        "_type": type_,
        "lead_id": lead["id"],
        "contact_id": None,
        "user_id": user["id"],
        "user_name": name_of(user),
        "users": [],
        "activity_at": moment(at),
        **_created(user, at),
    }


def note(rng: Random) -> Body:
    """Return the fields of a Note."""
    return {"note": rng.choice(NOTES)}


def call(rng: Random, contact: Body | None) -> Body:
    """Return the fields of a Call; one in four reaches nobody."""
    answered = rng.random() < 0.75
    phone = contact["phones"][0]["phone"] if contact and contact["phones"] else "+442079460000"
    return {
        "direction": "outbound" if rng.random() < 0.7 else "inbound",
        "status": "completed" if answered else "no-answer",
        "duration": rng.randrange(20, 3600) if answered else 0,
        "phone": phone,
        "local_phone": "+442079461000",
        "remote_phone": phone,
        "contact_id": contact["id"] if contact else None,
        "note": rng.choice((*NOTES, "")),
        "source": "Close.io",
        "dialer_id": None,
        "recording_url": None,
        "voicemail_url": None,
        "voicemail_duration": 0,
        "transferred_from": None,
        "transferred_to": None,
    }


def meeting(rng: Random, contact: Body | None, at: datetime) -> Body:
    """Return the fields of a Meeting."""
    return {
        "title": "Demo",
        "status": "completed",
        "starts_at": moment(at),
        "duration": rng.choice((1800, 2700, 3600)),
        "contact_id": contact["id"] if contact else None,
        "note": rng.choice(NOTES),
        "attendees": [],
    }


def email(rng: Random, contact: Body | None, user: Body, at: datetime) -> Body:
    """Return the fields of an Email: sent, received, or a draft."""
    status = rng.choices(("sent", "inbox", "draft"), (60, 35, 5))[0]
    ours = {"email": user["email"], "name": name_of(user)}
    theirs = {"email": "somebody@prospect.example", "name": ""}
    if contact:
        theirs = {"email": contact["emails"][0]["email"], "name": contact["display_name"]}
    sender, recipient = (theirs, ours) if status == "inbox" else (ours, theirs)
    body = rng.choice(NOTES)
    message_id = f"<{rng.getrandbits(64):016x}@mail.example>"
    return {
        "direction": "incoming" if status == "inbox" else "outgoing",
        "status": status,
        "subject": rng.choice(SUBJECTS),
        "sender": f'"{sender["name"]}" <{sender["email"]}>',
        "to": [recipient["email"]],
        "cc": [],
        "bcc": [],
        "envelope": {
            "from": [sender],
            "sender": [sender],
            "to": [recipient],
            "cc": [],
            "bcc": [],
            "reply_to": [],
            "date": at.strftime("%a, %d %b %Y %H:%M:%S +0000"),
            "in_reply_to": None,
            "message_id": message_id,
            "subject": "",
            "is_autoreply": False,
        },
        "body_text": body,
        "body_html": f"<p>{body}</p>",
        "body_preview": body[:40],
        "contact_id": contact["id"] if contact else None,
        "email_account_id": None,
        "thread_id": identifier(rng, "acti"),
        "message_ids": [message_id],
        "references": [],
        "in_reply_to_id": None,
        "date_sent": None if status == "draft" else moment(at),
        "date_scheduled": None,
        "opens": [],
        "opens_summary": None,
        "send_attempts": [],
        "attachments": [],
        "template_id": None,
        "template_name": None,
        "need_smtp_credentials": False,
    }


def lead_status_change(old: Body, new: Body) -> Body:
    """Return the fields of a LeadStatusChange."""
    return {
        "old_status_id": old["status_id"],
        "old_status_label": old["status_label"],
        "new_status_id": new["status_id"],
        "new_status_label": new["status_label"],
    }


def opportunity_status_change(old: Body, new: Body) -> Body:
    """Return the fields of an OpportunityStatusChange."""
    return {
        **lead_status_change(old, new),
        "old_status_type": old["status_type"],
        "new_status_type": new["status_type"],
        "opportunity_id": new["id"],
        "opportunity_confidence": new["confidence"],
        "opportunity_date_won": new["date_won"],
        "opportunity_value": new["value"],
        "opportunity_value_currency": new["value_currency"],
        "opportunity_value_formatted": new["value_formatted"],
        "opportunity_value_period": new["value_period"],
        "contact_id": new["contact_id"],
    }


EVENT_TYPES = {
    "LeadStatusChange": "status_change.lead",
    "OpportunityStatusChange": "status_change.opportunity",
}


METHODS = {"created": "POST", "updated": "PUT", "deleted": "DELETE", "merged": "POST"}


def event_type(activity: Body) -> str:
    """Return the event log's name of an activity."""
    return EVENT_TYPES.get(activity["_type"], f"activity.{activity['_type'].lower()}")


def make_event(
    rng: Random,
    user: Body,
    at: datetime,
    action: str,
    type_: str,
    old: Body | None,
    new: Body | None,
) -> Body:
    """Return the event log's entry of a change. A deleted object has no data."""
    body = new or old or {}
    lead_id = body["id"] if type_ == "lead" else body["lead_id"]
    changed: Sequence[str] = ()
    if old and new:
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return {
        "id": identifier(rng, "ev"),
        "organization_id": ORGANIZATION,
        "user_id": user["id"],
        "api_key_id": None,
        "oauth_client_id": None,
        "oauth_scope": None,
        "request_id": identifier(rng, "req"),
        "object_type": type_,
        "object_id": body["id"],
        "lead_id": lead_id,
        "action": action,
        "changed_fields": list(changed),
        "meta": {
            "request_path": f"/api/v1/{type_.split('.')[0]}/{body['id']}/",
            "request_method": METHODS[action],
        },
        "data": new,
        "previous_data": {key: (old or {}).get(key) for key in changed},
        "date_created": moment(at),
        "date_updated": moment(at),
    }
