"""Intercom: the fake of its API, and what happens in it."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from local_servers.postgres_server import PostgresServer
from sandbox import world
from sandbox.saas.documents import Body, Documents
from sandbox.saas.intercom import api, conversations, people, scroll, words
from sandbox.saas.intercom.scroll import Scrolls
from starlette.testclient import TestClient

from .conftest import SCALE, SECRET, TODAY, Saas, Ticked, running

TICKS = 6
TIMEZONE = ZoneInfo("America/Los_Angeles")


class Intercom:
    """The API as an extractor sees it."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {SECRET}", "Intercom-Version": "2.16"}

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        answer: httpx.Response = self.client.get(
            f"/intercom/{path}", params=parameters, headers=self.headers
        )
        return answer

    def search(self, path: str, request: Any) -> httpx.Response:
        answer: httpx.Response = self.client.post(
            f"/intercom/{path}/search", json=request, headers=self.headers
        )
        return answer

    def find(self, path: str, query: Any, sort: Any = None, per_page: int = 7) -> list[Body]:
        """All that a search finds, by its pages."""
        found: list[Body] = []
        request: Body = {"query": query, "pagination": {"per_page": per_page}}
        if sort:
            request["sort"] = sort
        while True:
            answer = self.search(path, request)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["data" if path == "contacts" else "conversations"]
            if not (next_page := page["pages"].get("next")):
                assert page["total_count"] == len(found)
                return found
            request["pagination"]["starting_after"] = next_page["starting_after"]

    def scroll(self) -> list[Body]:
        """All companies: until a page is empty."""
        found: list[Body] = []
        parameters: dict[str, str] = {}
        while True:
            answer = self.get("companies/scroll", **parameters)
            assert answer.status_code == 200, answer.text
            if not (page := answer.json()["data"]):
                return found
            parameters = {"scroll_param": answer.json()["scroll_param"]}
            found += page

    def numbered(self, path: str, key: str, **parameters: Any) -> list[Body]:
        """All of a list whose pages have numbers, by the links to the next one."""
        found: list[Body] = []
        answer = self.get(path, **parameters).json()
        while True:
            found += answer[key]
            if not (link := answer["pages"]["next"]):
                assert answer["total_count"] == len(found)
                return found
            link = link.removeprefix("https://api.intercom.io/")
            answer = self.client.get(f"/intercom/{link}", headers=self.headers).json()


def since(field: str, value: int) -> Body:
    """What the manifest asks for: a field that is greater or equal."""
    return {
        "operator": "OR",
        "value": [
            {"field": field, "operator": ">", "value": value},
            {"field": field, "operator": "=", "value": value},
        ],
    }


EVERYTHING = since("updated_at", 0)


@pytest.fixture(scope="session")
def intercom(saas: Saas) -> Intercom:
    return Intercom(saas.client)


@pytest.fixture(autouse=True)
def no_scroll_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "scrolls", Scrolls())


@pytest.fixture(scope="module")
def ticked(postgres: PostgresServer) -> Iterator[Ticked]:
    today = datetime.now(UTC).date() - timedelta(days=14)
    with running(postgres, "intercom", today, 0.3, seed=2) as saas:
        yield Ticked(saas, "intercom", TICKS)


def ids(bodies: list[Body]) -> list[str]:
    return [body["id"] for body in bodies]


def by_id(documents: Documents, kind: str) -> dict[str, Body]:
    return {body["id"]: body for body in documents.of(kind)}


# --- The API


def test_a_wrong_key_is_refused(intercom: Intercom) -> None:
    assert intercom.get("tags").status_code == 200
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": SECRET}):
        answer = intercom.client.get("/intercom/tags", headers=header)
        assert answer.status_code == 401
        assert answer.json()["type"] == "error.list"
        assert answer.json()["errors"] == [
            {"code": "unauthorized", "message": "Access Token Invalid"}
        ]


def test_a_host_knows_the_tokens_of_its_region(
    intercom: Intercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(path: str) -> int:
        return intercom.client.get(f"/intercom{path}/tags", headers=intercom.headers).status_code

    assert (answer(""), answer("/eu"), answer("/au")) == (200, 401, 401)
    monkeypatch.setenv("INTERCOM_REGION", "EU")
    assert (answer(""), answer("/eu"), answer("/au")) == (200, 200, 401)


def test_another_version_is_refused(intercom: Intercom) -> None:
    answer = intercom.client.get(
        "/intercom/tags", headers=intercom.headers | {"Intercom-Version": "2.11"}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "intercom_version_invalid"


def test_pages_join_up_to_all_there_is(intercom: Intercom, saas: Saas) -> None:
    documents = saas.documents("intercom")
    for path, field, order in (
        ("contacts", "updated_at", "ascending"),
        ("contacts", "created_at", "descending"),
        ("contacts", "last_replied_at", "ascending"),
        ("conversations", "created_at", "ascending"),
        ("conversations", "updated_at", "descending"),
        ("conversations", "waiting_since", "descending"),
    ):
        found = intercom.find(path, EVERYTHING, {"field": field, "order": order})
        assert len(found) > 50
        assert len(set(ids(found))) == len(found)
        assert set(ids(found)) == by_id(documents, path[:-1]).keys(), (path, field)
        values = [int(body[field] or 0) for body in found]
        assert values == sorted(values, reverse=order == "descending")
    assert set(ids(intercom.scroll())) == by_id(documents, "company").keys()


def test_objects_are_those_of_the_world(intercom: Intercom, saas: Saas) -> None:
    documents = saas.documents("intercom")
    assert intercom.get("admins", display_avatar=True).json()["admins"] == documents.of("admin")
    assert not [admin for admin in intercom.get("admins").json()["admins"] if "avatar" in admin]
    assert intercom.get("teams").json()["teams"] == documents.of("team")
    assert intercom.get("tags").json()["data"] == documents.of("tag")
    known = by_id(documents, "company")
    assert all(known[company["id"]] == company for company in intercom.scroll())
    known = by_id(documents, "conversation")
    for found in intercom.find("conversations", EVERYTHING, per_page=150):
        whole = known[found["id"]]
        parts = whole.pop("conversation_parts")
        assert found == whole
        assert intercom.get(f"conversations/{found['id']}").json() == whole | {
            "conversation_parts": parts
        }


def test_contacts_are_searched_by_the_day_of_the_workspace(intercom: Intercom, saas: Saas) -> None:
    contacts = sorted(
        saas.documents("intercom").of("contact"), key=lambda contact: contact["updated_at"]
    )

    def day(seconds: int) -> date:
        return datetime.fromtimestamp(seconds, TIMEZONE).date()

    middle = day(contacts[len(contacts) // 2]["updated_at"])
    of_the_day = {c["id"] for c in contacts if day(c["updated_at"]) == middle}
    later = {c["id"] for c in contacts if day(c["updated_at"]) > middle}
    assert of_the_day
    assert later
    for hour in (0, 9, 23):
        moment = int(datetime(*middle.timetuple()[:3], hour, 30, tzinfo=TIMEZONE).timestamp())
        for operator, expected in (("=", of_the_day), (">", later)):
            query = {"field": "updated_at", "operator": operator, "value": moment}
            assert set(ids(intercom.find("contacts", query))) == expected
        assert set(ids(intercom.find("contacts", since("updated_at", moment)))) == (
            of_the_day | later
        )


def test_conversations_are_searched_by_the_second(intercom: Intercom, saas: Saas) -> None:
    everything = sorted(
        saas.documents("intercom").of("conversation"), key=lambda each: each["updated_at"]
    )
    middle = everything[len(everything) // 2]["updated_at"]
    later = {c["id"] for c in everything if c["updated_at"] >= middle}
    found = intercom.find("conversations", since("updated_at", middle))
    assert set(ids(found)) == later


def test_filters_are_combined(intercom: Intercom, saas: Saas) -> None:
    documents = saas.documents("intercom")

    def found(path: str, *filters: tuple[str, str, Any], operator: str = "AND") -> set[str]:
        value = [dict(zip(("field", "operator", "value"), each, strict=True)) for each in filters]
        return set(ids(intercom.find(path, {"operator": operator, "value": value})))

    contacts, talks = documents.of("contact"), documents.of("conversation")
    assert found("contacts", ("role", "=", "lead")) == {
        c["id"] for c in contacts if c["role"] == "lead"
    }
    assert found("contacts", ("email", "=", None)) == {
        c["id"] for c in contacts if c["email"] is None
    }
    chosen = [contacts[3]["id"], contacts[5]["id"]]
    assert found("contacts", ("id", "IN", chosen)) == set(chosen)
    assert len(found("contacts", ("id", "NIN", chosen))) == len(contacts) - 2
    assert found(
        "conversations", ("state", "=", "snoozed"), ("open", "=", False), operator="OR"
    ) == {c["id"] for c in talks if c["state"] != "open"}
    assert found("conversations", ("state", "!=", "closed"), ("priority", "=", "high")) == {
        c["id"] for c in talks if c["state"] != "closed" and c["priority"] == "high"
    }


SINGLE: Body = {"field": "updated_at", "operator": ">", "value": 0}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({}, "invalid_query"),
        ([], "invalid_query"),
        ({"query": {"field": "updated_at", "operator": ">"}}, "invalid_query"),
        ({"query": SINGLE | {"case": "any"}}, "invalid_query"),
        ({"query": {"operator": "AND", "value": []}}, "invalid_query"),
        ({"query": SINGLE | {"field": "shoe_size"}}, "invalid_field"),
        ({"query": SINGLE | {"field": "updated_at) or (true"}}, "invalid_field"),
        ({"query": SINGLE | {"operator": ">="}}, "invalid_operator"),
        ({"query": SINGLE | {"operator": "!="}}, "invalid_operator"),
        ({"query": SINGLE | {"operator": "IN", "value": [0]}}, "invalid_operator"),
        ({"query": SINGLE | {"value": 1.5}}, "invalid_value"),
        ({"query": SINGLE | {"operator": "~"}}, "invalid_operator"),
        ({"query": SINGLE | {"operator": ""}}, "invalid_operator"),
        ({"query": {"field": "email", "operator": ">", "value": "a"}}, "invalid_operator"),
        ({"query": {"operator": "NOT", "value": [SINGLE]}}, "invalid_operator"),
        ({"query": SINGLE | {"value": "foobar"}}, "invalid_value"),
        ({"query": SINGLE | {"value": True}}, "invalid_value"),
        ({"query": {"field": "email", "operator": "=", "value": 123}}, "invalid_value"),
        ({"query": {"operator": "OR", "value": [SINGLE] * 16}}, "invalid_value"),
        ({"query": SINGLE, "order": "updated_at"}, "bad_request"),
        ({"query": SINGLE, "sort": {"field": "updated_at", "order": "up"}}, "invalid_sort_order"),
        ({"query": SINGLE, "sort": {"field": "email"}}, "invalid_field"),
        ({"query": SINGLE, "pagination": {"per_page": 151}}, "bad_request"),
        ({"query": SINGLE, "pagination": {"per_page": 0}}, "bad_request"),
        ({"query": SINGLE, "pagination": {"page": 2}}, "bad_request"),
        ({"query": SINGLE, "pagination": {"starting_after": "abc"}}, "bad_request"),
        ({"query": SINGLE, "pagination": {"starting_after": "WzEsMl0="}}, "bad_request"),
    ],
)
def test_searches_that_are_not_known_are_refused(
    intercom: Intercom, request_: Any, code: str
) -> None:
    answer = intercom.search("contacts", request_)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["code"] == code


def test_filters_are_nested_two_levels_deep(intercom: Intercom) -> None:
    nested: Body = {"operator": "AND", "value": [{"operator": "OR", "value": [SINGLE]}]}
    assert intercom.search("contacts", {"query": nested}).status_code == 200
    deeper = {"operator": "AND", "value": [nested]}
    assert intercom.search("contacts", {"query": deeper}).status_code == 400


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        ("tags", {"page": 2}, 400),
        ("conversations/deleted", {"per_page": 61}, 400),
        ("conversations/deleted", {"order": "ascending"}, 400),
        ("contacts", {}, 404),
        ("companies/scroll", {"scroll_param": "none"}, 404),
        ("conversations/1", {}, 404),
        ("conversations/1", {"display_as": "html"}, 400),
        ("contacts/1/tags", {}, 404),
        ("conversations", {}, 404),
        ("data_attributes", {}, 404),
    ],
)
def test_requests_that_are_not_known_are_refused(
    intercom: Intercom, path: str, parameters: dict[str, Any], status: int
) -> None:
    answer = intercom.get(path, **parameters)
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == "error.list"


def test_only_one_scroll_is_open_and_for_a_minute(
    intercom: Intercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scroll, "PER_PAGE", 5)
    first = intercom.get("companies/scroll").json()
    assert len(first["data"]) == 5
    refused = intercom.get("companies/scroll")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "scroll_exists"

    second = intercom.get("companies/scroll", scroll_param=first["scroll_param"]).json()
    assert len(second["data"]) == 5
    again = intercom.get("companies/scroll", scroll_param=first["scroll_param"])
    assert again.status_code == 500
    assert "restart the scroll" in again.json()["errors"][0]["message"]

    monkeypatch.setattr(scroll, "EXPIRES_AFTER", -1.0)
    gone = intercom.get("companies/scroll", scroll_param=second["scroll_param"])
    assert gone.status_code == 404
    assert intercom.get("companies/scroll").status_code == 200


def test_contacts_show_ten_tags_and_the_rest_on_request(ticked: Ticked) -> None:
    intercom = Intercom(ticked.saas.client)
    tagged = [c for c in ticked.documents().of("contact") if c["tags"]["total_count"] > 10]
    assert tagged
    for contact in tagged:
        (found,) = intercom.find(
            "contacts", SINGLE | {"field": "id", "operator": "=", "value": contact["id"]}
        )
        assert found["tags"]["has_more"]
        assert found["tags"]["data"] == contact["tags"]["data"][:10]
        whole = intercom.get(found["tags"]["url"].removeprefix("/")).json()
        assert ids(whole["data"]) == ids(contact["tags"]["data"])
        assert {tag["name"] for tag in whole["data"]} == set(words.TAGS)


def test_the_companies_of_a_contact_have_pages(
    ticked: Ticked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "COMPANIES_PER_PAGE", 1)
    contacts = ticked.documents().of("contact")
    (contact,) = [c for c in contacts if c["companies"]["total_count"] > 1][:1]
    found = Intercom(ticked.saas.client).numbered(f"contacts/{contact['id']}/companies", "data")
    assert ids(found) == ids(contact["companies"]["data"])


def test_deleted_conversations_are_listed_by_their_ids(ticked: Ticked) -> None:
    intercom, documents = Intercom(ticked.saas.client), ticked.documents()
    for number in range(90, 105):
        documents.put("deleted_conversation", {"id": str(number)}, datetime.now(UTC))
    documents.save(ticked.saas.connection)
    for order, expected in (("asc", range(90, 105)), ("desc", range(104, 89, -1))):
        found = intercom.numbered("conversations/deleted", "conversations", per_page=4, order=order)
        assert ids(found) == [str(number) for number in expected]


def test_messages_are_shown_as_plain_text(intercom: Intercom, saas: Saas) -> None:
    (conversation,) = [
        c for c in saas.documents("intercom").of("conversation") if "auditor" in c["source"]["body"]
    ][:1]
    shown = intercom.get(f"conversations/{conversation['id']}", display_as="plaintext").json()
    texts = [shown["source"]["body"]]
    texts += [part["body"] for part in shown["conversation_parts"]["conversation_parts"]]
    assert not any("<p>" in text for text in texts if text)
    assert api.plain_text("<p>a &amp; b</p><p>c<br>d</p>") == "a & b\nc\nd"


def test_how_long_to_wait_is_in_the_headers() -> None:
    answer = api.rate_limited(2.3)
    assert answer.status_code == 429
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert answer.headers["Retry-After"] == "3"
    assert b"rate_limit_exceeded" in answer.body


# --- The world


def test_every_odd_case_is_there(ticked: Ticked) -> None:
    documents = ticked.documents()
    contacts, talks = documents.of("contact"), documents.of("conversation")
    assert {contact["role"] for contact in contacts} == {"user", "lead"}
    leads = [contact for contact in contacts if contact["role"] == "lead"]
    assert {contact["external_id"] is None for contact in leads} == {True, False}
    assert {contact["companies"]["total_count"] for contact in contacts} >= {0, 1, 2}
    assert {talk["state"] for talk in talks} >= {"open", "closed"}
    assert {talk["source"]["delivered_as"] for talk in talks} == {
        *("customer_initiated", "admin_initiated")
    }
    assert {talk["source"]["author"]["type"] for talk in talks} == {"user", "lead", "admin"}
    parts = [part for talk in talks for part in talk["conversation_parts"]["conversation_parts"]]
    assert {part["part_type"] for part in parts} == {
        *("comment", "assignment", "close", "open", "note", "snoozed", "timer_unsnooze")
    }
    assert {part["author"]["type"] for part in parts} == {"user", "lead", "admin", "bot"}
    assert any(talk["conversation_rating"] for talk in talks)
    for each in (talks, parts):
        numbers = [int(body["id"]) for body in each]
        assert len(numbers) == len(set(numbers))
        assert len({len(body["id"]) for body in each}) == 1


def test_companies_and_contacts_are_those_of_the_product(ticked: Ticked) -> None:
    documents = ticked.documents()
    rows = ticked.saas.connection.execute(
        "select organisation_id::text from sandbox.accounts "
        "join organisations on id = organisation_id where number % 10 <> 5"
    ).fetchall()
    expected = {id_ for (id_,) in rows}
    assert {company["company_id"] for company in documents.of("company")} == expected
    users = {
        user_id: organisation_id
        for user_id, organisation_id in ticked.saas.connection.execute(
            "select id::text, organisation_id::text from users"
        ).fetchall()
        if organisation_id in expected
    }
    of_users = [contact for contact in documents.of("contact") if contact["role"] == "user"]
    assert sorted(contact["external_id"] for contact in of_users) == sorted(users)
    companies = by_id(documents, "company")
    for contact in of_users:
        attached = [company["id"] for company in contact["companies"]["data"]]
        assert companies[attached[0]]["company_id"] == users[contact["external_id"]]
        assert set(attached) <= companies.keys()
        assert len(set(attached)) == len(attached)
    counts = Counter(company["id"] for c in of_users for company in c["companies"]["data"])
    assert {id_: company["user_count"] for id_, company in companies.items()} == {
        id_: counts[id_] for id_ in companies
    }


def test_those_who_stop_paying_have_asked_lately(ticked: Ticked) -> None:
    first_day = ticked.befores[0][0] - timedelta(days=14)
    documents = ticked.befores[0][1]
    rows = ticked.saas.connection.execute(
        "select organisation_id::text from sandbox.accounts join organisations "
        "on id = organisation_id where number %% 10 = 2 and setup_completed_at is not null "
        "and archived_at is null and created_at < %s",
        (first_day - timedelta(days=45),),
    ).fetchall()
    assert rows
    companies = {company["company_id"]: company["id"] for company in documents.of("company")}
    contacts = by_id(documents, "contact")
    asked = {
        company["id"]
        for talk in documents.of("conversation")
        if talk["created_at"] > (first_day - timedelta(days=14)).timestamp()
        and (contact := contacts.get(talk["contacts"]["contacts"][0]["id"]))
        for company in contact["companies"]["data"][:1]
    }
    assert {companies[id_] for (id_,) in rows} <= asked


def test_all_that_a_day_changes_is_seen_by_the_cursors(ticked: Ticked) -> None:
    moment, before = ticked.befores[0]
    after = ticked.documents()
    bookmark = int(moment.timestamp())
    for path, kind in (("contacts", "contact"), ("conversations", "conversation")):
        old, new = by_id(before, kind), by_id(after, kind)
        changed = {id_ for id_, body in new.items() if old.get(id_) != body}
        assert changed - old.keys()
        assert changed & old.keys()
        found = intercom_since(Intercom(ticked.saas.client), path, bookmark)
        assert {body["id"] for body in found} == changed
    changed = {
        id_
        for id_, body in by_id(after, "company").items()
        if by_id(before, "company").get(id_) != body
    }
    assert changed
    assert {
        c["id"] for c in Intercom(ticked.saas.client).scroll() if c["updated_at"] >= bookmark
    } == changed


def intercom_since(intercom: Intercom, path: str, bookmark: int) -> list[Body]:
    """What a search finds, without what a search by the day finds too much."""
    found = intercom.find(path, since("updated_at", bookmark), per_page=150)
    return [body for body in found if body["updated_at"] >= bookmark]


def test_whoever_is_erased_is_gone_but_not_the_conversations(ticked: Ticked) -> None:
    before, after = ticked.befores[0][1], ticked.documents()
    assert by_id(before, "contact").keys() - by_id(after, "contact").keys()
    assert by_id(before, "company").keys() - by_id(after, "company").keys()
    assert by_id(before, "conversation").keys() <= by_id(after, "conversation").keys()


def test_statistics_are_those_of_the_parts() -> None:
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    admin = people.admins()[0]
    contact: Body = {
        "type": "contact",
        "role": "user",
        "id": "c",
        "external_id": "u",
        "name": "Ada",
        "email": "ada@example.com",
    }
    talk = conversations.open_conversation(
        ("1", "2"), contact, contact, words.TOPICS[0], "<p>Hi</p>", "email", noon
    )
    for minutes, part_type, by, body in (
        (1, "comment", people.bot(), "<p>Thanks</p>"),
        (2, "note", admin, "<p>Hm</p>"),
        (10, "comment", admin, "<p>Yes</p>"),
        (20, "comment", contact, "<p>No</p>"),
        (25, "comment", contact, "<p>Really</p>"),
        (50, "close", admin, "<p>Done</p>"),
        (60, "open", contact, "<p>Not quite</p>"),
        (80, "close", admin, None),
    ):
        moment = noon + timedelta(minutes=minutes)
        conversations.add_part(talk, str(minutes), part_type, by, moment, body=body)
    found = talk["statistics"]
    assert found["time_to_admin_reply"] == 10 * 60
    assert found["median_time_to_reply"] == 20 * 60
    assert found["time_to_first_close"] == 50 * 60
    assert found["time_to_last_close"] == 80 * 60
    assert found["last_contact_reply_at"] == conversations.epoch(noon + timedelta(minutes=60))
    assert found["count_reopens"] == 1
    assert (talk["state"], talk["waiting_since"]) == ("closed", None)


def test_equal_worlds_are_equal(saas: Saas, postgres: PostgresServer) -> None:
    with postgres.connect("postgres") as server:
        server.execute("create database intercom_again")
    with postgres.connect("intercom_again") as connection:
        with connection.transaction():
            world.load(connection, TODAY, SCALE, seed=1)
        again, first = Documents.load(connection, "intercom"), saas.documents("intercom")
        for kind in ("company", "contact", "conversation", "_counters", "_ongoing"):
            assert again.of(kind) == first.of(kind)
