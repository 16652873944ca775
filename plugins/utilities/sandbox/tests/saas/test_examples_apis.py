"""The fakes that the examples read: pages, filters, refusals, and what a day brings."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from local_servers.postgres_server import PostgresServer
from sandbox.saas.documents import Body

from .conftest import SECRET, Saas, Ticked, running

KEYS = {
    "surveys": {"Authorization": f"Bearer {SECRET}"},
    "uptime": {"X-API-Key": SECRET},
    "github": {"Authorization": f"token {SECRET}"},
}
FIRST = {
    "surveys": "/v1/responses",
    "uptime": "/v1/outages",
    "github": "/repos/example/app/issues?state=all&sort=updated&direction=asc",
}
KINDS = {"surveys": "response", "uptime": "outage", "github": "issue"}


@pytest.fixture(scope="module")
def ticked(postgres: PostgresServer) -> Iterator[dict[str, Ticked]]:
    today = datetime.now(UTC).date() - timedelta(days=14)
    with running(postgres, "examples", today, 0.05, seed=3) as saas:
        yield {tool: Ticked(saas, tool, 0) for tool in KEYS}


def get(saas: Saas, tool: str, path: str, **parameters: Any):
    return saas.client.get(f"/{tool}{path}", params=parameters or None, headers=KEYS[tool])


def responses(saas: Saas, **parameters: Any) -> list[Body]:
    """Every response, by the cursor."""
    found: list[Body] = []
    while True:
        page = get(saas, "surveys", "/v1/responses", **parameters).json()
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        parameters["cursor"] = page["next_cursor"]


def outages(saas: Saas, **parameters: Any) -> list[Body]:
    """Every outage, by its pages."""
    found: list[Body] = []
    number = 0
    while True:
        number += 1
        page = get(saas, "uptime", "/v1/outages", page=number, **parameters).json()
        found += page["data"]
        if number >= page["total_pages"]:
            return found


def issues(saas: Saas, **parameters: Any) -> list[Body]:
    """Every issue, by the Link header."""
    found: list[Body] = []
    answer = get(saas, "github", FIRST["github"].partition("?")[0], **QUERY, **parameters)
    while True:
        found += answer.json()
        if "next" not in answer.links:
            return found
        query = answer.links["next"]["url"].partition("?")[2]
        answer = get(saas, "github", f"/repos/example/app/issues?{query}")


QUERY = {"state": "all", "sort": "updated", "direction": "asc"}


@pytest.mark.parametrize("tool", KEYS)
def test_without_the_key_nothing_is_answered(saas: Saas, tool: str) -> None:
    for headers in ({}, {name: f"{value}x" for name, value in KEYS[tool].items()}):
        assert saas.client.get(f"/{tool}{FIRST[tool]}", headers=headers).status_code == 401
    assert saas.client.get(f"/{tool}{FIRST[tool]}", headers=KEYS[tool]).status_code == 200


@pytest.mark.parametrize(
    ("tool", "path"),
    [
        ("surveys", "/v1/responses?cursor=nonsense"),
        ("surveys", "/v1/responses?cursor=WzFd"),
        ("surveys", "/v1/responses?limit=101"),
        ("surveys", "/v1/responses?updated_since=yesterday"),
        ("surveys", "/v1/responses?page=2"),
        ("uptime", "/v1/outages?page=0"),
        ("uptime", "/v1/outages?per_page=1000"),
        ("uptime", "/v1/outages?updated_after=2026-01-01"),
        ("uptime", "/v1/outages?cursor=x"),
        ("github", "/repos/example/app/issues?state=all"),
        ("github", f"{FIRST['github']}&after=nonsense"),
        ("github", f"{FIRST['github']}&page=2"),
        ("github", "/repos/example/other"),
        ("github", "/repos/example/app/pulls"),
    ],
)
def test_what_the_api_does_not_know_is_refused(saas: Saas, tool: str, path: str) -> None:
    answer = saas.client.get(f"/{tool}{path}", headers=KEYS[tool])

    assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    ("tool", "all_of_them", "size"),
    [
        ("surveys", responses, "limit"),
        ("uptime", outages, "per_page"),
        ("github", issues, "per_page"),
    ],
)
@pytest.mark.parametrize("number", [7, 100])
def test_the_pages_together_hold_every_object_once(
    saas: Saas, tool: str, all_of_them: Any, size: str, number: int
) -> None:
    found = all_of_them(saas, **{size: number})

    assert len(found) > 200
    assert sorted(map(repr, found)) == sorted(map(repr, saas.documents(tool).of(KINDS[tool])))


def test_a_day_is_all_that_is_asked_for_after_it(ticked: dict[str, Ticked]) -> None:
    saas = ticked["surveys"].saas
    before = {tool: saas.documents(tool) for tool in KEYS}
    started = datetime.now(UTC).replace(microsecond=0)
    ticked["surveys"].tick()

    since = started.isoformat().removesuffix("+00:00")
    found = {
        "surveys": responses(saas, updated_since=since),
        "uptime": outages(saas, updated_after=int(started.timestamp())),
        "github": issues(saas, since=f"{since}Z"),
    }
    for tool, bodies in found.items():
        kind = KINDS[tool]
        changed = [
            body for body in saas.documents(tool).of(kind) if body not in before[tool].of(kind)
        ]
        assert sorted(map(repr, bodies)) == sorted(map(repr, changed))
        known = [body for body in changed if before[tool].get(kind, str(body["id"]))]
        assert 0 < len(known) < len(changed)


def test_a_refresh_token_gives_an_access_token_and_is_in_no_log(saas: Saas) -> None:
    given = {
        "grant_type": "refresh_token",
        "client_id": "sandbox",
        "client_secret": SECRET,
        "refresh_token": SECRET,
    }
    answer = saas.client.post("/surveys/oauth/token", data=given)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert saas.client.get("/surveys/v1/surveys", headers=headers).status_code == 200
    wrong = saas.client.post("/surveys/oauth/token", data=given | {"refresh_token": "x"})
    assert wrong.status_code == 400
    assert SECRET not in saas.request_log.read_text()


def test_each_outage_is_that_of_one_check(saas: Saas) -> None:
    checks = get(saas, "uptime", "/v1/checks").json()["data"]
    found = [
        outage
        for check in checks
        for outage in get(saas, "uptime", f"/v1/checks/{check['id']}/outages", per_page=100).json()[
            "data"
        ]
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, saas.documents("uptime").of("outage")))


def test_github_tells_a_repository_s_id_and_says_of_others_that_they_are_not_there(
    saas: Saas,
) -> None:
    query = (
        'query {repo0: repository(name: "app", owner: "example") { nameWithOwner databaseId } '
        'repo1: repository(name: "gone", owner: "example") { nameWithOwner databaseId } }'
    )

    answer = saas.client.post("/github/graphql", json={"query": query}, headers=KEYS["github"])

    assert answer.json()["data"]["repo0"] == {"nameWithOwner": "example/app", "databaseId": 1}
    assert answer.json()["data"]["repo1"] is None
