"""What an API's bad day leaves behind: the same tables once it is over, and no source harmed."""

import contextlib
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from sandbox.settings import TOOLS

from ..stack import Stack
from ..world import Contacts, World
from .test_every_source import check

FAULTS = ("truncated", "429", "slow", "500")
"""Faults that pass. First the one that only large answers meet: there may be none later."""
DAYS = 5
"""After which every tool has large answers, and requests enough for all faults."""


@pytest.fixture(autouse=True)
def all_is_well_afterwards(stack: Stack, contacts: Contacts) -> Iterator[None]:
    yield
    for tool in TOOLS:
        stack.switch_fault(tool, None)
    contacts |= World.read(stack.status["postgres"]["dsn"]).contacts()


def load_while_faults_pass(stack: Stack, *tools: str) -> None:
    """Load tools, each of which meets every fault twice, one fault after the other."""
    before = len(stack.requests())
    to_come = {tool: list(FAULTS) for tool in tools}
    for tool in tools:
        stack.sandbox("fault", tool, to_come[tool].pop(0), "--times", "2")
    blocks = [block for tool in tools for block in (f"tap-{tool}", "target-bigquery")]
    run = stack.start("run", *blocks)
    output, deadline = None, time.monotonic() + 300
    while output is None:
        assert time.monotonic() < deadline
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, _ = run.communicate(timeout=0.2)
        left = stack.faults_left()
        for tool, faults in to_come.items():
            if faults and left[tool] == 0:
                stack.switch_fault(tool, faults.pop(0), times=2)
    assert run.returncode == 0, output[-6000:]

    assert to_come == {tool: [] for tool in tools}
    assert {tool: stack.faults_left()[tool] for tool in tools} == dict.fromkeys(tools, 0)
    failed = [request for request in stack.requests(since=before) if request["status"] >= 429]
    assert Counter((request["tool"], request["status"]) for request in failed) == {
        (tool, status): 2 for tool in tools for status in (429, 500)
    }


def test_while_an_api_is_down_other_sources_go_on_and_wait_for_faults_that_pass(
    stack: Stack,
) -> None:
    for _ in range(DAYS):
        stack.pass_day()
    stack.switch_fault("close", "500")
    # Each stream has its time.
    patience = {"TAP_CLOSE_MAX_RETRY_SECONDS": "1"}
    output = stack.meltano("run", "tap-close", "target-bigquery", fails=True, **patience)
    assert re.search(r"Stream .leads.: HTTP 500 for POST \S+/data/search/", output)

    load_while_faults_pass(stack, "intercom", "stripe")


def test_an_api_that_is_up_again_is_made_up_for_and_faults_that_pass_are_waited_for(
    stack: Stack,
) -> None:
    load_while_faults_pass(stack, "close")


@pytest.mark.parametrize(
    ("tool", "variable", "error"),
    [
        (
            "close",
            "TAP_CLOSE_CONFIG_API_KEY",
            r"Stream .users.: HTTP 401 for GET .*: the API key is not valid",
        ),
        (
            "intercom",
            "TAP_INTERCOM_CONFIG_ACCESS_TOKEN",
            r"Stream .admins.: HTTP 401 for GET .*: Intercom says 'Access Token Invalid'",
        ),
        (
            "stripe",
            "TAP_STRIPE_CONFIG_API_KEY",
            r"Stream .customers.: HTTP 401 for GET .*: Invalid API Key provided",
        ),
    ],
    ids=TOOLS,
)
def test_a_wrong_key_is_a_clear_error(stack: Stack, tool: str, variable: str, error: str) -> None:
    wrong = {variable: "not-the-key-of-anybody"}
    output = stack.meltano("run", f"tap-{tool}", "target-bigquery", fails=True, **wrong)
    assert re.search(error, output)
    assert "not-the-key-of-anybody" not in output


def test_a_wrong_region_is_a_clear_error(stack: Stack) -> None:
    region = {"TAP_INTERCOM_CONFIG_REGION": "EU"}
    output = stack.meltano("run", "tap-intercom", "target-bigquery", fails=True, **region)
    assert re.search(r"Stream .admins.: HTTP 401 .* or region, which is EU", output)


def test_after_all_of_this_the_marts_equal_the_world(stack: Stack, contacts: Contacts) -> None:
    stack.load_and_build()
    check(stack, contacts)
