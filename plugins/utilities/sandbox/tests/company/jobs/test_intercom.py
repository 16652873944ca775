"""What a user of Intercom relies on beyond the daily run: deletes, long lists, an old dataset."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sandbox.saas.documents import Body, Documents
from sandbox.saas.intercom import people
from sandbox.saas.intercom.api import plain_text

from ..stack import Row, Stack
from ..world import Contacts, World

EXTRACT_LOAD = ("tap-intercom", "target-bigquery")
# What tap-intercom 2.2.5 declared, as far as staging reads it. All that it declared may be null.
TEXT, TIME = {"type": ["null", "string"]}, {"type": ["null", "string"], "format": "date-time"}
WHOLE, YES_NO = {"type": ["null", "integer"]}, {"type": ["null", "boolean"]}
WHOLES = {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}
OBJECT = {"type": ["null", "object"], "properties": {}}
OBJECTS = {"type": ["null", "array"], "items": {"type": ["null", "object"]}}
TAP_INTERCOM: dict[str, dict[str, Any]] = {
    "admins": {
        **dict.fromkeys(("id", "name", "email", "job_title"), TEXT),
        **dict.fromkeys(("away_mode_enabled", "has_inbox_seat"), YES_NO),
        "team_ids": WHOLES,
    },
    "teams": {"id": TEXT, "name": TEXT, "admin_ids": WHOLES},
    "tags": {"id": TEXT, "name": TEXT},
    "companies": {
        **dict.fromkeys(("id", "company_id", "name", "industry", "website"), TEXT),
        **dict.fromkeys(("size", "session_count", "user_count"), WHOLE),
        **dict.fromkeys(("plan", "custom_attributes"), OBJECT),
        **dict.fromkeys(("remote_created_at", "last_request_at", "created_at", "updated_at"), TIME),
        "monthly_spend": {"type": ["null", "number"], "multipleOf": 1e-08},
        "tags": OBJECTS,
    },
    "contacts": {
        **dict.fromkeys(("id", "external_id", "role", "email", "phone", "name"), TEXT),
        **dict.fromkeys(("browser", "os", "avatar"), TEXT),
        **dict.fromkeys(("has_hard_bounced", "marked_email_as_spam"), YES_NO),
        **dict.fromkeys(("created_at", "updated_at", "signed_up_at", "last_seen_at"), TIME),
        **dict.fromkeys(("last_replied_at", "last_contacted_at", "last_email_opened_at"), TIME),
        **dict.fromkeys(("tags", "companies"), OBJECTS),
        "unsubscribed_from_emails": YES_NO,
        "owner_id": WHOLE,
        "location": OBJECT,
    },
    "conversations": {
        **dict.fromkeys(("id", "state", "priority", "title"), TEXT),
        **dict.fromkeys(("source", "conversation_rating", "statistics"), OBJECT),
        **dict.fromkeys(("open", "read"), YES_NO),
        **dict.fromkeys(("admin_assignee_id", "team_assignee_id"), WHOLE),
        **dict.fromkeys(("waiting_since", "snoozed_until", "created_at", "updated_at"), TIME),
        **dict.fromkeys(("tags", "contacts"), OBJECTS),
    },
    "conversation_parts": {
        **dict.fromkeys(("id", "conversation_id", "part_type", "assigned_to", "body"), TEXT),
        **dict.fromkeys(("created_at", "updated_at", "conversation_updated_at"), TIME),
        "author": OBJECT,
        "redacted": YES_NO,
    },
}
STAGED = [f"stg_intercom__{table}" for table in (*TAP_INTERCOM, "contact_companies")]
STAGED.remove("stg_intercom__tags")


@pytest.fixture
def world(stack: Stack) -> Documents:
    """What Intercom holds. What a test changes is saved by `save`."""
    with psycopg.connect(stack.status["postgres"]["dsn"]) as connection:
        return Documents.load(connection, "intercom")


def save(stack: Stack, world: Documents) -> None:
    with psycopg.connect(stack.status["postgres"]["dsn"]) as connection:
        world.save(connection)


def staged(stack: Stack, dataset: str) -> dict[str, list[Row]]:
    return {table: stack.query(f"select * from {dataset}.{table} order by id") for table in STAGED}


def test_what_is_deleted_and_what_a_contact_does_not_show_is_found(
    stack: Stack,
    world: Documents,
    contacts: Contacts,
) -> None:
    now = datetime.now(UTC)
    contacts |= World.read(stack.status["postgres"]["dsn"]).contacts()
    talk = next(each for each in world.of("conversation") if each["state"] == "closed")
    seconds = int(now.timestamp())
    world.put("deleted_conversation", {"id": talk["id"], "deleted_at": seconds}, now)
    world.delete("conversation", talk["id"])
    of_talk = talk["contacts"]["contacts"][0]["id"]
    lonely, busy = [c for c in world.of("contact")[::-1] if c["id"] != of_talk][:2]
    world.delete("contact", lonely["id"])
    template = world.of("company")[0]
    for number in range(people.LISTED_IN_FULL):
        ids = {"id": f"{number:024}", "company_id": f"no organisation {number}"}
        world.put("company", template | ids, now)
        people.attach(busy, "companies", template | ids)
    tags = [tag for tag in world.of("tag") if tag["id"] not in str(busy["tags"]["data"])]
    for tag in tags:
        people.attach(busy, "tags", tag)
    world.put("contact", busy | {"updated_at": seconds}, now)
    save(stack, world)

    stack.meltano("run", *EXTRACT_LOAD)
    stack.meltano("invoke", "dbt-bigquery", "run", "--select", "stg_intercom__*")
    found = staged(stack, "dbt")
    assert talk["id"] not in {row["id"] for row in found["stg_intercom__conversations"]}
    parts = found["stg_intercom__conversation_parts"]
    assert talk["id"] not in {row["conversation_id"] for row in parts}
    attached = [
        row["company_id"]
        for row in sorted(found["stg_intercom__contact_companies"], key=lambda row: row["position"])
        if row["contact_id"] == busy["id"]
    ]
    expected = [company["id"] for company in busy["companies"]["data"]]
    assert len(expected) > people.LISTED_IN_FULL
    (shown,) = [row for row in found["stg_intercom__contacts"] if row["id"] == busy["id"]]
    assert shown["company_count"] == len(expected)
    assert shown["tags"] == ", ".join(sorted(tag["name"] for tag in world.of("tag")))
    assert attached[: people.LISTED_IN_FULL] == expected[: people.LISTED_IN_FULL]
    assert sorted(attached) == sorted(expected)

    stack.meltano("run", "intercom-weekly")
    rows = {row["id"]: row for row in staged(stack, "dbt")["stg_intercom__contacts"]}
    assert rows[lonely["id"]]["is_deleted"]
    assert rows[lonely["id"]]["email"] is None
    alive = {id_ for id_, row in rows.items() if not row["is_deleted"]}
    assert alive == {contact["id"] for contact in world.of("contact")}


def test_a_dataset_of_tap_intercom_goes_on_being_right(
    stack: Stack,
    world: Documents,
) -> None:
    """The first run reads all that there is, and merges it by key: staging is as it was."""
    dataset = {"TARGET_BIGQUERY_DATASET": "intercom_before"}
    stack.load("intercom_before", messages_of_tap_intercom(world))
    build = (
        *("invoke", "dbt-bigquery", "run", "--select", "stg_intercom__*"),
        *("--vars", "intercom_dataset: intercom_before"),
    )
    stack.meltano(*build, **stack.elsewhere("dbt_before"))
    before = staged(stack, "dbt_before")
    columns = stack.column_types("intercom_before", TAP_INTERCOM)
    assert len(before["stg_intercom__contacts"]) == len(world.of("contact"))
    assert any(row["first_replied_at"] for row in before["stg_intercom__conversations"])
    assert any(row["is_priority"] for row in before["stg_intercom__conversations"])
    assert any(row["assigned_admin_id"] for row in before["stg_intercom__conversation_parts"])

    output = stack.meltano("run", "--state-id-suffix", "before", *EXTRACT_LOAD, **dataset)
    assert "is in the table and" not in output
    assert "JSON in the table" not in output
    after = stack.column_types("intercom_before", TAP_INTERCOM)
    assert {name: after[name] for name in columns} == columns
    stack.meltano(*build, **stack.elsewhere("dbt_before"))
    for table, rows in staged(stack, "dbt_before").items():
        assert rows == before[table], table


def messages_of_tap_intercom(world: Documents) -> Iterable[dict[str, Any]]:
    """What tap-intercom would have sent of the world."""
    for stream, properties in TAP_INTERCOM.items():
        schema = {"type": "object", "properties": properties}
        yield {"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": ["id"]}
        for body in bodies_of_version_2_12(world, stream):
            record = {name: body.get(name) for name in properties}
            for name, declared in properties.items():
                if declared is TIME:
                    record[name] = text_of(record[name])
            yield {"type": "RECORD", "stream": stream, "record": record}


def bodies_of_version_2_12(world: Documents, stream: str) -> Iterable[Body]:
    match stream:
        case "contacts":
            for body in world.of("contact"):
                tags = [{"id": each["id"]} for each in body["tags"]["data"]]
                yield body | {"tags": tags or None, "companies": body["companies"]["data"] or None}
        case "companies":
            for body in world.of("company"):
                yield body | {"tags": body["tags"]["tags"] or None}
        case "conversations":
            for body in world.of("conversation"):
                yield body | {
                    "priority": "priority" if body["priority"] == "high" else "not_priority",
                    "admin_assignee_id": body["admin_assignee_id"] or None,
                    "team_assignee_id": body["team_assignee_id"] or None,
                    "contacts": body["contacts"]["contacts"],
                    "tags": body["tags"]["tags"] or None,
                    "statistics": with_text_times(body["statistics"]),
                    "conversation_rating": with_text_times(body["conversation_rating"]),
                }
        case "conversation_parts":
            for body in world.of("conversation"):
                for part in body["conversation_parts"]["conversation_parts"]:
                    yield part | {
                        "body": part["body"] and plain_text(part["body"]),
                        "assigned_to": part["assigned_to"] and str(part["assigned_to"]),
                        "conversation_id": body["id"],
                        "conversation_updated_at": body["updated_at"],
                    }
        case _:
            yield from world.of(stream.removesuffix("s"))


def with_text_times(body: Body | None) -> Body | None:
    return body and {
        name: text_of(value) if name.endswith("_at") else value for name, value in body.items()
    }


def text_of(seconds: int | None) -> str | None:
    return seconds and f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
