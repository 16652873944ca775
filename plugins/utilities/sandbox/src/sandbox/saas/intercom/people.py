"""Companies, contacts and admins, in the format of Intercom's API."""

import json
from datetime import datetime
from random import Random
from uuid import NAMESPACE_URL, UUID, uuid5

from sandbox.product.tables import Organisation, User
from sandbox.saas.day import epoch
from sandbox.saas.documents import Body
from sandbox.saas.intercom import words

LISTED_IN_FULL = 10
"""A contact shows so many of its tags, the rest has to be asked for."""


def company_id(organisation_id: UUID) -> str:
    """Return Intercom's own ID of a company."""
    return uuid5(NAMESPACE_URL, f"company/{organisation_id}").hex[:24]


def contact_id(user_id: UUID, number: int = 0) -> str:
    """Return Intercom's own ID of a user's contact, or of its successor after a deletion."""
    return uuid5(NAMESPACE_URL, f"contact/{user_id}/{number}").hex[:24]


def admins() -> list[Body]:
    """Return the admins."""
    return [
        {
            "type": "admin",
            "id": str(5_900_001 + number),
            "name": name,
            "email": f"{name.split()[0].lower()}@{words.PRODUCT_DOMAIN}",
            "job_title": job_title,
            "away_mode_enabled": False,
            "away_mode_reassign": False,
            "has_inbox_seat": True,
            "team_ids": [_team_id(team) for team in team_numbers],
            "avatar": None,
            "team_priority_level": {},
        }
        for number, (name, job_title, team_numbers) in enumerate(words.ADMINS)
    ]


def teams() -> list[Body]:
    """Return the teams with their members."""
    return [
        {
            "type": "team",
            "id": str(_team_id(number)),
            "name": name,
            "admin_ids": [
                int(admin["id"]) for admin in admins() if _team_id(number) in admin["team_ids"]
            ],
            "admin_priority_level": {},
        }
        for number, name in enumerate(words.TEAMS)
    ]


def _team_id(number: int) -> int:
    return 7_100_001 + number


def tags() -> list[Body]:
    """Return all tags of the workspace."""
    return [
        {"type": "tag", "id": str(8_300_001 + number), "name": name}
        for number, name in enumerate(words.TAGS)
    ]


def bot() -> Body:
    """Return Intercom's own bot."""
    return {"type": "bot", "id": "5900000", "name": "Operator", "email": "operator@intercom.io"}


def company(organisation: Organisation, at: datetime) -> Body:
    """Return the company of a new organisation."""
    return {
        "type": "company",
        "id": company_id(organisation.id),
        "company_id": str(organisation.id),
        "app_id": words.WORKSPACE,
        "name": organisation.name,
        "website": f"https://{organisation.slug}.example",
        "industry": None,
        "size": None,
        "plan": {},
        "monthly_spend": 0,
        "session_count": 1,
        "user_count": 0,
        "remote_created_at": epoch(organisation.created_at),
        "created_at": epoch(at),
        "updated_at": epoch(at),
        "last_request_at": epoch(at),
        "tags": {"type": "tag.list", "tags": []},
        "segments": {"type": "segment.list", "segments": []},
        "custom_attributes": {"has_completed_setup": False, "is_archived": False},
    }


def set_plan(company: Body, organisation: Organisation) -> None:
    """Set the organisation's agreed price."""
    value = organisation.annual_contract_value
    spend = round(value / 12) if value else 0
    name = "Enterprise" if spend >= 2_000 else "Pro" if spend else "Free"
    company["plan"] = {"type": "plan", "id": name.lower(), "name": name}
    company["monthly_spend"] = spend


def user_contact(rng: Random, user: User, number: int, at: datetime) -> Body:
    """Return the contact of a user of the product."""
    contact = _contact(rng, contact_id(user.id, number), "user", at)
    return contact | {
        "external_id": str(user.id),
        "email": user.email,
        "email_domain": user.email.partition("@")[2],
        "name": user.name,
        "phone": f"+44 20 7946 {rng.randrange(1000):04}" if rng.random() < 0.2 else None,
        "signed_up_at": epoch(user.created_at),
        "custom_attributes": {
            "role": user.role,
            "locale": json.loads(user.preferences).get("locale"),
        },
    }


def visitor_contact(rng: Random, at: datetime) -> Body:
    """Return a contact who wrote from the website; few give a name."""
    name = rng.choice(words.LEAD_NAMES)
    contact = _contact(rng, f"{rng.getrandbits(96):024x}", "lead", at)
    email = f"visitor{rng.randrange(10_000)}@mail.example" if rng.random() < 0.4 else None
    return contact | {
        # Intercom's messenger generates one for its leads.
        "external_id": str(UUID(int=rng.getrandbits(128), version=4))
        if rng.random() < 0.5
        else None,
        "email": email,
        "email_domain": email and email.partition("@")[2],
        "name": name,
        "phone": None,
        "signed_up_at": None,
        "custom_attributes": {},
    }


def _contact(rng: Random, id_: str, role: str, at: datetime) -> Body:
    country, region, city, country_code, continent_code = rng.choice(words.PLACES)
    browser, system = rng.choice(words.BROWSERS)
    return {
        "type": "contact",
        "id": id_,
        "workspace_id": words.WORKSPACE,
        "role": role,
        "avatar": None,
        "owner_id": None,
        "social_profiles": {"type": "list", "data": []},
        "has_hard_bounced": False,
        "marked_email_as_spam": False,
        "unsubscribed_from_emails": False,
        "created_at": epoch(at),
        "updated_at": epoch(at),
        "last_seen_at": epoch(at),
        "last_replied_at": None,
        "last_contacted_at": None,
        "last_email_opened_at": None,
        "last_email_clicked_at": None,
        "language_override": None,
        "browser": browser,
        "browser_version": str(rng.randrange(100, 140)),
        "browser_language": "en",
        "os": system,
        "location": {
            "type": "location",
            "country": country,
            "region": region,
            "city": city,
            "country_code": country_code,
            "continent_code": continent_code,
        },
        "android_app_name": None,
        "android_app_version": None,
        "android_device": None,
        "android_os_version": None,
        "android_sdk_version": None,
        "android_last_seen_at": None,
        "ios_app_name": None,
        "ios_app_version": None,
        "ios_device": None,
        "ios_os_version": None,
        "ios_sdk_version": None,
        "ios_last_seen_at": None,
        "tags": _listed(id_, "tags"),
        "notes": _listed(id_, "notes"),
        "companies": _listed(id_, "companies"),
    }


def _listed(id_: str, what: str) -> Body:
    return {
        "type": "list",
        "data": [],
        "url": f"/contacts/{id_}/{what}",
        "total_count": 0,
        "has_more": False,
    }


def attach(contact: Body, what: str, object_: Body) -> None:
    """Give a contact a tag or a company.

    The list has all of them; the API shows the first ten.
    """
    listed = contact[what]
    url = f"/{what}/{object_['id']}"
    listed["data"].append({"type": object_["type"], "id": object_["id"], "url": url})
    listed["total_count"] = len(listed["data"])
    listed["has_more"] = listed["total_count"] > LISTED_IN_FULL


def detach(contact: Body, what: str, object_: Body) -> None:
    """Take a tag or a company from a contact."""
    listed = contact[what]
    listed["data"] = [known for known in listed["data"] if known["id"] != object_["id"]]
    listed["total_count"] = len(listed["data"])
    listed["has_more"] = listed["total_count"] > LISTED_IN_FULL
