"""What an API's bad day leaves behind: the same tables once it is over, and no source harmed."""

import re
from collections.abc import Iterator

import pytest
import requests
from sandbox.settings import TOOLS

from ..stack import EXTRACT_LOAD, Stack
from ..world import Contacts, World
from .test_every_source import check

KINDS = ("429", "500", "slow")


@pytest.fixture(autouse=True)
def all_is_well_afterwards(stack: Stack, contacts: Contacts) -> Iterator[None]:
    yield
    for tool in TOOLS:
        stack.sandbox("fault", tool, "off")
    contacts |= World.read(stack.status["postgres"]["dsn"]).contacts()


@pytest.mark.parametrize("turn", range(3))
def test_a_fault_that_passes_is_waited_for(stack: Stack, turn: int) -> None:
    # Each tool meets each of the faults in one of the runs.
    kinds = {tool: KINDS[(turn + number) % 3] for number, tool in enumerate(TOOLS)}
    before = len(stack.requests())
    stack.sandbox("tick")
    for tool, kind in kinds.items():
        stack.sandbox("fault", tool, kind, "--times", "2")
    stack.meltano("run", *EXTRACT_LOAD)

    met = [(r["tool"], r["status"]) for r in stack.requests(since=before) if r["status"] >= 429]
    expected = [(tool, int(kind)) for tool, kind in kinds.items() if kind.isdigit()] * 2
    assert sorted(met) == sorted(expected)


def test_answers_that_break_off_are_asked_for_again(stack: Stack) -> None:
    stack.sandbox("tick")
    for tool in TOOLS:
        stack.sandbox("fault", tool, "truncated", "--times", "2")
    stack.meltano("run", *EXTRACT_LOAD)
    faults = requests.get(f"{stack.status['saas']['url']}/faults", timeout=5).json()
    assert {tool: faults[tool]["remaining"] for tool in TOOLS} == dict.fromkeys(TOOLS, 0)


def test_an_api_that_stays_down_is_a_clear_error_and_other_sources_go_on(stack: Stack) -> None:
    stack.sandbox("tick")
    stack.sandbox("fault", "close", "500")
    # Each stream has its time.
    patience = {"TAP_CLOSE_MAX_RETRY_SECONDS": "1"}
    output = stack.meltano("run", "tap-close", "target-bigquery", fails=True, **patience)
    assert re.search(r"Stream .leads.: HTTP 500 for POST \S+/data/search/", output)

    stack.meltano("run", *EXTRACT_LOAD[2:])


@pytest.mark.parametrize(
    ("blocks", "variable", "error"),
    [
        (
            EXTRACT_LOAD[0:2],
            "TAP_CLOSE_CONFIG_API_KEY",
            r"Stream .users.: HTTP 401 for GET .*: the API key is not valid",
        ),
        (
            EXTRACT_LOAD[2:4],
            "TAP_INTERCOM_CONFIG_ACCESS_TOKEN",
            r"Stream .admins.: HTTP 401 for GET .*: Intercom says 'Access Token Invalid'",
        ),
        (
            EXTRACT_LOAD[4:6],
            "TAP_STRIPE_CONFIG_API_KEY",
            r"Stream .customers.: HTTP 401 for GET .*: Invalid API Key provided",
        ),
    ],
)
def test_a_wrong_key_is_a_clear_error(
    stack: Stack, blocks: tuple[str, ...], variable: str, error: str
) -> None:
    output = stack.meltano("run", *blocks, fails=True, **{variable: "not-the-key-of-anybody"})
    assert re.search(error, output)
    assert "not-the-key-of-anybody" not in output


def test_a_wrong_region_is_a_clear_error(stack: Stack) -> None:
    output = stack.meltano("run", *EXTRACT_LOAD[2:4], fails=True, TAP_INTERCOM_CONFIG_REGION="EU")
    assert re.search(r"Stream .admins.: HTTP 401 .* or region, which is EU", output)


def test_after_all_of_this_the_marts_equal_the_world(stack: Stack, contacts: Contacts) -> None:
    stack.load_and_build()
    check(stack, contacts)
