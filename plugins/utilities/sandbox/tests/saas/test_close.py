"""Close: the fake of its API, and what happens in it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest
from local_servers.postgres_server import PostgresServer
from sandbox import world
from sandbox.saas.close import api
from sandbox.saas.close import world as close_world
from sandbox.saas.day import Day
from sandbox.saas.documents import Body
from starlette.testclient import TestClient

from .conftest import SECRET, TODAY, Saas, Ticked, running

TICKS = 6


class Close:
    """The API as an extractor sees it."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def get(self, path: str, key: str = SECRET, **parameters: Any) -> httpx.Response:
        answer: httpx.Response = self.client.get(
            f"/close/api/v1/{path}/", params=parameters, auth=(key, "")
        )
        return answer

    def search(self, object_type: str, **more: Any) -> httpx.Response:
        """Search; `since` is a condition on `date_updated`."""
        queries = [{"type": "object_type", "object_type": object_type}]
        field = {"type": "regular_field", "object_type": object_type, "field_name": "date_updated"}
        if since := more.pop("since", None):
            moment = {"type": "fixed_utc", "value": since}
            condition = {"type": "moment_range", "on_or_after": moment}
            queries.append({"type": "field_condition", "field": field, "condition": condition})
        body = {
            "query": {"type": "and", "queries": queries},
            "sort": [{"direction": "asc", "field": field}],
            **more,
        }
        answer: httpx.Response = self.client.post(
            "/close/api/v1/data/search/", json=body, auth=(SECRET, "")
        )
        return answer

    def found(self, object_type: str, **more: Any) -> list[Body]:
        """Every object that a search finds, by its cursor."""
        found: list[Body] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self.search(object_type, **more, **({"cursor": cursor} if cursor else {}))
            assert page.status_code == 200, page.text
            found += page.json()["data"]
            cursor = page.json()["cursor"]
        return found

    def all(self, path: str, **parameters: Any) -> list[Body]:
        """Every object of a list, by its pages."""
        found: list[Body] = []
        while True:
            page = self.get(path, **{"_limit": 100, **parameters, "_skip": len(found)})
            assert page.status_code == 200, page.text
            found += page.json()["data"]
            if not page.json()["has_more"]:
                return found

    def events(self, since: datetime | None = None) -> list[Body]:
        """Every event since a moment, by the log's cursor."""
        parameters = {"date_updated__gte": since.isoformat()} if since else {}
        found: list[Body] = []
        while True:
            page = self.get("event", **parameters).json()
            assert len(page["data"]) <= 50
            found += page["data"]
            if not page["cursor_next"]:
                return found
            parameters["_cursor"] = page["cursor_next"]


@pytest.fixture(scope="session")
def close(saas: Saas) -> Close:
    return Close(saas.client)


@pytest.fixture(scope="module")
def ticked(postgres: PostgresServer) -> Iterator[Ticked]:
    today = datetime.now(UTC).date() - timedelta(days=14)
    with running(postgres, "close", today, 0.1, seed=2) as saas:
        yield Ticked(saas, "close", TICKS)


def ids(bodies: list[Body]) -> list[str]:
    return [body["id"] for body in bodies]


def test_a_wrong_key_is_refused(close: Close) -> None:
    assert close.get("user").status_code == 200
    for answer in (
        close.get("user", key="wrong"),
        close.get("user", key=""),
        close.client.get("/close/api/v1/user/"),
        close.client.get("/close/api/v1/user/", headers={"Authorization": f"Bearer {SECRET}"}),
        close.client.get("/close/api/v1/user/", auth=(SECRET, "password")),
    ):
        assert answer.status_code == 401
        assert "error" in answer.json()


def test_pages_join_up_to_all_there_is(close: Close, saas: Saas) -> None:
    documents = saas.documents("close")
    leads = documents.of("lead")
    shown = [{**lead, "contact_ids": ids(lead["contacts"])} for lead in leads]
    for path, expected, limit in (
        ("lead", shown, 7),
        ("contact", [each for lead in leads for each in lead["contacts"]], 100),
        ("opportunity", [each for lead in leads for each in lead["opportunities"]], 9),
        ("activity", documents.of("activity"), 100),
        ("user", documents.of("user"), 2),
        ("custom_field/lead", documents.of("custom_field"), 3),
    ):
        found = close.all(path, _limit=limit)
        assert len(found) > limit or limit == 100
        by_id = {body["id"]: body for body in expected}
        assert sorted(ids(found)) == sorted(by_id), path
        assert all(body == by_id[body["id"]] for body in found)
    assert close.all("task") == []


def test_short_lists_have_no_pages(close: Close, saas: Saas) -> None:
    leads = saas.documents("close").of("lead")
    statuses = close.get("status/lead").json()["data"]
    assert {each["status_id"] for each in leads} <= set(ids(statuses))
    stages = close.get("status/opportunity").json()["data"]
    used = {each["status_id"] for lead in leads for each in lead["opportunities"]}
    assert used <= set(ids(stages))
    (pipeline,) = close.get("pipeline").json()["data"]
    assert pipeline["statuses"] == stages
    for path in ("custom_activity", "custom_field/shared", "custom_field/custom_object_type"):
        assert close.get(path).json() == {"data": [], "has_more": False}
        assert close.get(path, _limit=1).status_code == 400


def test_fields_are_what_is_asked_for(close: Close, saas: Saas) -> None:
    lead = saas.documents("close").of("lead")[0]
    assert {tuple(body) for body in close.all("lead", _fields="id,name")} == {("id", "name")}
    (bare,) = close.search("lead", _limit=1).json()["data"]
    assert bare.keys() == {"__object_type", "id"}
    found = {each["id"]: each for each in close.found("lead", _fields={"lead": ["name", "custom"]})}
    own = {key: value for key, value in lead.items() if key.startswith("custom.")}
    expected = {"__object_type": "lead", "id": lead["id"], "name": lead["name"], **own}
    assert found[lead["id"]] == expected


def test_leads_and_contacts_are_searched_by_when_they_changed(close: Close, saas: Saas) -> None:
    leads = saas.documents("close").of("lead")
    contacts = [each for lead in leads for each in lead["contacts"]]
    for object_type, bodies in (("lead", leads), ("contact", contacts)):
        in_order = sorted(bodies, key=lambda each: (each["date_updated"], each["id"]))
        since = in_order[len(bodies) // 2]["date_updated"]
        expected = [each for each in in_order if each["date_updated"] >= since]
        assert ids(close.found(object_type, since=since, _limit=5)) == ids(expected)


def test_a_search_ends_after_a_number_and_its_cursor_after_a_time(
    close: Close, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = close.search("lead", _limit=1).json()["cursor"]
    monkeypatch.setattr(api, "SEARCH_FINDS", 7)
    assert len(close.found("lead", _limit=3)) == 7
    monkeypatch.setattr(api, "CURSOR_IS_VALID", timedelta(0))
    for refused in (cursor, "x"):
        answer = close.search("lead", _limit=1, cursor=refused)
        assert answer.status_code == 400
        assert "cursor" in answer.json()["error"]


def test_lists_are_filtered_and_sorted_by_time(close: Close, saas: Saas) -> None:
    leads = saas.documents("close").of("lead")
    bodies = [each for lead in leads for each in lead["opportunities"]]
    in_order = sorted(bodies, key=lambda each: (each["date_updated"], each["id"]))
    since = in_order[len(bodies) // 2]["date_updated"]
    found = close.all("opportunity", date_updated__gte=since, _order_by="date_updated", _limit=5)
    assert ids(found) == ids([each for each in in_order if each["date_updated"] >= since])
    strictly = close.all("opportunity", date_updated__gt=since)
    assert set(ids(found)) - set(ids(strictly)) == {
        each["id"] for each in bodies if each["date_updated"] == since
    }


def test_activities_are_found_between_two_moments_newest_first(close: Close, saas: Saas) -> None:
    activities = sorted(
        saas.documents("close").of("activity"), key=lambda each: each["date_created"]
    )
    first, last = activities[10], activities[-10]
    found = close.all(
        "activity", date_created__gt=first["date_created"], date_created__lt=last["date_created"]
    )
    between = [
        a for a in activities if first["date_created"] < a["date_created"] < last["date_created"]
    ]
    assert ids(found) == ids(between[::-1])


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        # What is no longer documented.
        ("lead", {"query": "status:Potential"}),
        ("lead", {"date_updated__gte": "2026-01-01"}),
        ("contact", {"date_updated__gte": "2026-01-01"}),
        ("lead", {"_limit": 101}),
        ("lead", {"_limit": "all"}),
        ("lead", {"_skip": -1}),
        ("activity", {"_limit": 101}),
        ("activity", {"date_updated__gt": "2026-01-01"}),
        ("activity", {"_type": "Note"}),
        ("activity", {"_order_by": "-activity_at"}),
        ("task", {"_order_by": "date_updated"}),
        ("opportunity", {"_order_by": "name"}),
        ("activity", {"date_created__gt": "yesterday"}),
        ("user", {"query": "x"}),
        ("event", {"_cursor": "x"}),
        ("event", {"_skip": 1}),
        ("event", {"_limit": 51}),
        ("event", {"date_updated__gt": "2026-01-01"}),
    ],
)
def test_what_is_not_known_is_refused(close: Close, path: str, parameters: dict[str, Any]) -> None:
    answer = close.get(path, **parameters)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"_limit": 201},
        {"_fields": {"lead": ["no_such_field"]}},
        {"sort": [{"direction": "up", "field": {}}]},
        {"query": {"type": "and", "queries": []}},
        {"results": 5},
        {"since": "soon"},
    ],
)
def test_a_search_that_is_not_known_is_refused(close: Close, body: dict[str, Any]) -> None:
    answer = close.search("lead", **body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_parameter_given_twice_is_refused(close: Close) -> None:
    parameters = [("_limit", "1"), ("_limit", "2")]
    answer = close.client.get("/close/api/v1/user/", params=parameters, auth=(SECRET, ""))
    assert answer.status_code == 400


def test_too_far_into_a_list_is_refused(close: Close) -> None:
    assert "max_skip = " in close.get("lead", _skip=api.MAX_SKIP + 1).json()["error"]


def test_an_unknown_path_is_not_found(close: Close) -> None:
    for path in ("custom_fields/lead", "lead/lead_1", "sequence"):
        assert close.get(path).status_code == 404


def test_how_long_to_wait_is_in_the_headers() -> None:
    answer = api.rate_limited(2.3)
    assert answer.status_code == 429
    assert answer.headers["RateLimit"] == f"limit={api.RATE_LIMIT[0]}, remaining=0, reset=2.300"
    assert answer.headers["Retry-After"] == "3"


def test_every_odd_case_is_there(saas: Saas) -> None:
    documents = saas.documents("close")
    leads = documents.of("lead")
    of_organisations = [lead["custom"].get("Organisation ID") for lead in leads]
    known = {
        str(id_) for (id_,) in saas.connection.execute("select id from organisations").fetchall()
    }
    assert of_organisations.count(None) >= 2
    assert {id_ for id_ in of_organisations if id_} < known
    assert max(map(of_organisations.count, known)) == 2
    opportunities = [each for lead in leads for each in lead["opportunities"]]
    assert {each["value_currency"] for each in opportunities} == {"USD", "EUR", "GBP", "JPY"}
    assert {each["value_period"] for each in opportunities} == {"one_time", "monthly", "annual"}
    assert {each["status_type"] for each in opportunities} == {"active", "won", "lost"}
    assert {activity["_type"] for activity in documents.of("activity")} == {
        *("Note", "Email", "Call", "Meeting", "LeadStatusChange", "OpportunityStatusChange")
    }
    fields = {field["name"]: field for field in documents.of("custom_field")}
    for lead in leads:
        for name, value in lead["custom"].items():
            assert lead[f"custom.{fields[name]['id']}"] == value


def test_contracts_are_won_opportunities(ticked: Ticked) -> None:
    won: dict[str, int] = {}
    for lead in ticked.documents().of("lead"):
        for each in lead["opportunities"]:
            if each["status_type"] == "won" and each["value_period"] == "annual":
                organisation_id = lead["custom"]["Organisation ID"]
                assert organisation_id not in won
                won[organisation_id] = each["value"]
    contracts = {
        str(id_): int(value * 100)
        for id_, value in ticked.saas.connection.execute(
            "select id, annual_contract_value from organisations "
            "where annual_contract_value is not null and setup_completed_at is not null"
        ).fetchall()
    }
    there = won.keys() & contracts.keys()
    assert len(there) > len(contracts) / 3
    assert {id_: won[id_] for id_ in there} == {id_: contracts[id_] for id_ in there}


def test_all_that_a_day_changes_is_seen_by_the_cursors(ticked: Ticked) -> None:
    since, before = ticked.befores[0]
    after = ticked.documents()
    old, new = ({lead["id"]: lead for lead in each.of("lead")} for each in (before, after))
    changed = {id_ for id_, lead in new.items() if old.get(id_) != lead}
    assert changed - old.keys()
    assert changed & old.keys()

    found = Close(ticked.saas.client).found("lead", since=since.isoformat())
    assert set(ids(found)) == changed

    old_activities = set(ids(before.of("activity")))
    created = set(ids(after.of("activity"))) - old_activities
    assert created
    found = Close(ticked.saas.client).all("activity", date_created__gt=since.isoformat())
    assert set(ids(found)) == created


def test_the_event_log_tells_what_was_deleted(ticked: Ticked) -> None:
    since, before = ticked.befores[0]
    after = ticked.documents()
    deleted = {
        (event["object_type"], event["object_id"])
        for event in Close(ticked.saas.client).events(since)
        if event["action"] == "deleted"
    }
    gone_leads = set(ids(before.of("lead"))) - set(ids(after.of("lead")))
    assert gone_leads
    assert gone_leads <= {id_ for type_, id_ in deleted if type_ == "lead"}
    gone_activities = set(ids(before.of("activity"))) - set(ids(after.of("activity")))
    assert gone_activities
    assert gone_activities <= {id_ for _, id_ in deleted}
    alive = set(ids(after.of("lead"))) | set(ids(after.of("activity")))
    assert not alive & {id_ for _, id_ in deleted}


def test_the_event_log_is_read_to_its_end_latest_first(ticked: Ticked) -> None:
    oldest = datetime.now(UTC) - timedelta(days=30)
    events = ticked.documents().of("event")
    kept = {e["id"] for e in events if datetime.fromisoformat(e["date_updated"]) >= oldest}
    found = Close(ticked.saas.client).events()
    assert len(kept) > 50
    assert sorted(ids(found)) == sorted(kept)
    times = [event["date_updated"] for event in found]
    assert times == sorted(times, reverse=True)


def test_what_is_older_than_thirty_days_has_left_the_event_log(close: Close, saas: Saas) -> None:
    assert (datetime.now(UTC).date() - TODAY).days > 60
    assert saas.documents("close").of("event")
    assert close.events() == []


def test_an_organisation_keeps_its_lead(ticked: Ticked) -> None:
    before = {lead["custom"].get("Organisation ID") for lead in ticked.befores[0][1].of("lead")}
    after = {lead["custom"].get("Organisation ID") for lead in ticked.documents().of("lead")}
    assert before <= after


def test_nothing_refers_to_what_is_not_there(ticked: Ticked) -> None:
    documents = ticked.documents()
    leads, users = set(ids(documents.of("lead"))), set(ids(documents.of("user")))
    for activity in documents.of("activity"):
        assert activity["lead_id"] in leads
        assert activity["user_id"] in users
    for lead in documents.of("lead"):
        assert lead["custom"].get("Lead Owner") in {*users, None}
        for each in (*lead["contacts"], *lead["opportunities"]):
            assert each["lead_id"] == lead["id"]


def test_a_merged_lead_leaves_all_it_had_to_the_other(
    saas: Saas, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saas.documents("close")
    leads = {lead["id"]: lead for lead in before.of("lead")}
    activities = {activity["id"]: activity for activity in before.of("activity")}
    monkeypatch.setattr(close_world, "DUPLICATES_FOUND_A_DAY", 1.0)
    now = datetime.now(UTC)
    # Half of the duplicates that are found are deleted instead.
    for seed in range(100):
        documents = saas.documents("close")
        close_world.pass_day(documents, Day(now.date(), Random(seed), {}, {}, now=now))
        merges = [event for event in documents.of("event") if event["action"] == "merged"]
        if merges:
            break
    (merge,) = merges
    source = leads[merge["meta"]["merge_source_lead_id"]]
    destination = documents.get("lead", merge["meta"]["merge_destination_lead_id"])
    assert destination
    assert destination["id"] == merge["lead_id"] != source["id"]
    assert destination["custom"]["Organisation ID"] == source["custom"]["Organisation ID"]
    assert documents.get("lead", source["id"]) is None
    deleted = {e["object_id"] for e in documents.of("event") if e["action"] == "deleted"}
    assert source["id"] in deleted
    for name in ("contacts", "opportunities"):
        assert set(ids(source[name])) <= set(ids(destination[name]))
        assert {each["lead_id"] for each in destination[name]} <= {destination["id"]}
    of_source = {id_ for id_, each in activities.items() if each["lead_id"] == source["id"]}
    assert of_source - deleted
    for id_ in of_source - deleted:
        activity = documents.get("activity", id_)
        assert activity
        assert activity["lead_id"] == destination["id"]


def test_equal_worlds_are_equal(saas: Saas) -> None:
    first = saas.documents("close")
    with saas.connection.transaction(force_rollback=True):
        saas.connection.execute("drop schema public cascade; create schema public")
        saas.connection.execute("drop schema sandbox cascade")
        world.load(saas.connection, TODAY, 0.1, seed=1)
        again = saas.documents("close")
    for kind in ("lead", "activity", "user", "custom_field", "event", "_plan"):
        assert json.dumps(first.of(kind)) == json.dumps(again.of(kind))
