"""What the three fakes have in common: faults, rate limits, and a log without secrets."""

import base64
import time
from collections.abc import Iterator

import pytest
from sandbox.saas.app import RateLimit
from sandbox.settings import TOOLS

from .conftest import SECRET, Saas

BASIC = base64.b64encode(f"{SECRET}:".encode()).decode()
AUTHORISED = {
    "close": {"Authorization": f"Basic {BASIC}"},
    "intercom": {"Authorization": f"Bearer {SECRET}", "Intercom-Version": "2.16"},
    "stripe": {"Authorization": f"Bearer {SECRET}"},
}
SMALL = {"close": "/api/v1/user/", "intercom": "/tags", "stripe": "/v1/products"}
LARGE = {"close": "/api/v1/lead/", "intercom": "/companies/scroll", "stripe": "/v1/invoices"}


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest, saas: Saas) -> Iterator[str]:
    yield request.param
    saas.client.delete(f"/faults/{request.param}")


def get(saas: Saas, tool: str, path: str):
    return saas.client.get(f"/{tool}{path}", headers=AUTHORISED[tool])


def test_without_the_key_nothing_is_answered(saas: Saas, tool: str) -> None:
    for headers in ({}, {"Authorization": AUTHORISED[tool]["Authorization"] + "x"}):
        assert saas.client.get(f"/{tool}{SMALL[tool]}", headers=headers).status_code == 401
    assert get(saas, tool, SMALL[tool]).status_code == 200


def test_what_the_vendor_does_not_have_is_not_found(saas: Saas, tool: str) -> None:
    assert get(saas, tool, "/no/such/thing").status_code == 404


@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("500", 500)])
def test_a_fault_meets_so_many_requests_and_then_ends(
    saas: Saas, tool: str, kind: str, status: int
) -> None:
    saas.client.put(f"/faults/{tool}", json={"kind": kind, "times": 2})

    answers = [get(saas, tool, SMALL[tool]) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert ("retry-after" in answers[0].headers) == (status == 429)


def test_a_fault_lasts_until_it_is_switched_off(saas: Saas, tool: str) -> None:
    saas.client.put(f"/faults/{tool}", json={"kind": "500"})
    assert {get(saas, tool, SMALL[tool]).status_code for _ in range(5)} == {500}

    saas.client.delete(f"/faults/{tool}")
    assert get(saas, tool, SMALL[tool]).status_code == 200


def test_large_answers_break_off_and_small_ones_do_not(saas: Saas, tool: str) -> None:
    saas.client.put(f"/faults/{tool}", json={"kind": "truncated"})

    assert get(saas, tool, SMALL[tool]).status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        get(saas, tool, LARGE[tool]).json()


def test_too_many_requests_are_turned_away_until_the_window_has_passed() -> None:
    limit = RateLimit(2, 0.2)
    assert [limit.wait(), limit.wait()] == [0, 0]

    wait = limit.wait()
    assert 0 < wait <= 0.2
    time.sleep(wait)
    assert limit.wait() == 0


def test_the_log_tells_what_was_asked_but_no_key(saas: Saas, tool: str) -> None:
    get(saas, tool, SMALL[tool])

    last = saas.requests()[-1]
    assert (last["tool"], last["path"], last["status"]) == (tool, SMALL[tool], 200)
    text = saas.request_log.read_text()
    assert SECRET not in text
    assert BASIC not in text


def test_an_order_for_no_known_fault_or_tool_is_refused(saas: Saas) -> None:
    assert saas.client.put("/faults/close", json={"kind": "tired"}).status_code == 422
    assert saas.client.put("/faults/fax", json={"kind": "500"}).status_code == 404
