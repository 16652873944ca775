"""What a user of Close relies on beyond the daily run: long lists, full reads, an old dataset."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from sandbox.saas.close import objects
from sandbox.saas.documents import Body, Documents

from ..stack import Stack
from .test_every_source import check_sales

EXTRACT_LOAD = ("tap-close", "target-bigquery")
STATE = "local:tap-close-to-target-bigquery"
# What tap-closeio 1.6.6 declared, as far as staging reads it. All that it declared may be null.
TEXT, TIME = {"type": ["null", "string"]}, {"type": ["null", "string"], "format": "date-time"}
OBJECTS = {"type": ["null", "array"], "items": {"type": ["null", "object"]}}
TAP_CLOSEIO: dict[str, dict[str, Any]] = {
    "custom_fields": {"id": TEXT, "name": TEXT, "type": TEXT, "date_updated": TIME},
    "users": {
        **dict.fromkeys(("id", "first_name", "last_name", "email", "last_used_timezone"), TEXT),
        **dict.fromkeys(("date_created", "date_updated"), TIME),
    },
    "leads": {
        **dict.fromkeys(("id", "display_name", "description", "url", "html_url"), TEXT),
        **dict.fromkeys(("status_label", "created_by_name"), TEXT),
        **dict.fromkeys(("custom_fields", "contacts", "opportunities"), OBJECTS),
        **dict.fromkeys(("date_created", "date_updated"), TIME),
    },
    "activities": {
        **dict.fromkeys(("id", "_type", "lead_id", "contact_id", "opportunity_id"), TEXT),
        **dict.fromkeys(("user_id", "user_name", "direction", "status", "subject"), TEXT),
        **dict.fromkeys(("body_text", "note", "old_status_label", "new_status_label"), TEXT),
        **dict.fromkeys(("date_sent", "date_created", "date_updated"), TIME),
        "to": {"type": ["null", "array"], "items": {"type": ["null", "string"]}},
        "duration": {"type": ["null", "integer"]},
    },
    "event_log": {
        **dict.fromkeys(("id", "object_type", "object_id", "action", "data"), TEXT),
        **dict.fromkeys(("date_created", "date_updated"), TIME),
        "meta": {"type": ["null", "object"], "properties": {}},
    },
}
KINDS = {"custom_fields": "custom_field", "users": "user", "leads": "lead"}
KINDS |= {"activities": "activity", "event_log": "event"}


@pytest.fixture
def world(stack: Stack) -> Documents:
    """What Close holds. What a test changes is saved by `save`."""
    with psycopg.connect(stack.status["postgres"]["dsn"]) as connection:
        return Documents.load(connection, "close")


def save(stack: Stack, world: Documents) -> None:
    with psycopg.connect(stack.status["postgres"]["dsn"]) as connection:
        world.save(connection)


def ids(stack: Stack, table: str, where: str = "_sdc_deleted_at is null") -> list[str]:
    return [row["id"] for row in stack.query(f"select id from close.{table} where {where}")]


def nested(world: Documents, name: str) -> list[Body]:
    return [each for lead in world.of("lead") for each in lead[name]]


def test_each_object_is_loaded_once_however_long_its_list_is(
    stack: Stack, world: Documents
) -> None:
    """The lists are longer than a page and than Close's `_skip`; some objects share a moment."""
    lead, user = world.of("lead")[0], world.of("user")[0]
    start = datetime.now(UTC) - timedelta(days=3)
    for number in range(1250):
        at = start + timedelta(seconds=number // 40)
        id_ = f"{number:043}"
        note = objects.make_activity(Random(number), "Note", lead, user, at)
        world.put("activity", {**note, "id": f"acti_{id_}", "note": "imported"}, at)
        if number % 5 == 0:
            dates = {"date_created": objects.moment(at), "date_updated": objects.moment(at)}
            task = {"id": f"task_{id_}", "_type": "lead", "lead_id": lead["id"], "text": "Call"}
            world.put("task", {**task, **dates, "is_complete": False}, at)
    save(stack, world)
    stack.meltano("run", *EXTRACT_LOAD)
    for table, expected in (
        ("activities", world.of("activity")),
        ("tasks", world.of("task")),
        ("leads", world.of("lead")),
        ("users", world.of("user")),
    ):
        loaded = stack.query(f"select id from close.{table}")
        assert len(loaded) == len({row["id"] for row in loaded})
        assert {body["id"] for body in expected} <= {row["id"] for row in loaded}, table


def test_the_weekly_run_finds_what_the_event_log_no_longer_tells(
    stack: Stack, world: Documents
) -> None:
    """A lead without an organisation is deleted, and Close has forgotten when."""
    gone = next(each for each in world.of("_lead")[::-1] if each["organisation_id"] is None)
    lead = world.get("lead", gone["id"])
    assert lead
    world.delete("lead", gone["id"])
    world.delete("_lead", gone["id"])
    for activity_id in gone["activity_ids"]:
        world.delete("activity", activity_id)
    for opportunity in lead["opportunities"]:
        if world.get("_plan", opportunity["id"]):
            world.delete("_plan", opportunity["id"])
    save(stack, world)
    events = ids(stack, "event_log")

    stack.meltano("run", *EXTRACT_LOAD)
    assert lead["id"] in ids(stack, "leads")

    stack.meltano("run", "close-weekly")
    for table, alive in (
        ("leads", world.of("lead")),
        ("contacts", nested(world, "contacts")),
        ("opportunities", nested(world, "opportunities")),
        ("activities", world.of("activity")),
    ):
        assert sorted(ids(stack, table)) == sorted(body["id"] for body in alive), table
    assert lead["id"] in ids(stack, "leads", "_sdc_deleted_at is not null")
    assert set(events) <= set(ids(stack, "event_log"))


def test_a_dataset_of_tap_closeio_goes_on_being_right(
    stack: Stack,
    world: Documents,
) -> None:
    """The first run reads all that there is, and merges it by key: nothing is there twice."""
    stack.query("drop schema close cascade")
    stack.meltano("state", "clear", "--force", STATE)
    stack.load("close", messages_of_tap_closeio(world))
    assert len(ids(stack, "leads")) == len(world.of("lead"))
    columns = stack.column_types("close", KINDS)

    output = stack.meltano("run", *EXTRACT_LOAD)
    assert "is in the table and" not in output
    assert "JSON in the table" not in output
    after = stack.column_types("close", KINDS)
    assert {name: after[name] for name in columns} == columns
    for table, kind in KINDS.items():
        loaded = stack.query(f"select id from close.{table}")
        assert len(loaded) == len({row["id"] for row in loaded}), table
        assert {body["id"] for body in world.of(kind)} <= {row["id"] for row in loaded}, table
    stack.meltano("invoke", "dbt-bigquery", "build", "--select", "source:close+")
    check_sales(stack)


def messages_of_tap_closeio(world: Documents) -> Iterable[dict[str, Any]]:
    """What tap-closeio would have sent of the world."""
    for stream, properties in TAP_CLOSEIO.items():
        schema = {"type": "object", "properties": properties}
        yield {"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": ["id"]}
        for body in world.of(KINDS[stream]):
            record = {name: body[name] for name in properties if name in body}
            if stream == "leads":
                record["custom_fields"] = [
                    {"id": key.removeprefix("custom."), "value": value}
                    for key, value in body.items()
                    if key.startswith("custom.")
                ]
                # Days had a time.
                record["opportunities"] = [
                    {**each, "date_won": each["date_won"] and f"{each['date_won']}T00:00:00Z"}
                    for each in body["opportunities"]
                ]
            if stream == "event_log":
                record["data"] = json.dumps(body["data"])
            yield {"type": "RECORD", "stream": stream, "record": record}
