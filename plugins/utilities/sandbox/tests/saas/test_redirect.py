"""The taps' hosts lead to the sandbox in `local`, and nowhere else are they touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "redirect"
SHOW = """
import sandbox_redirect
from unittest.mock import patch
import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool

def urlopen(self, url, **_):
    print(f"{self.scheme}://{self.host}:{self.port}{url}")
    raise SystemExit

with patch.object(HTTPConnectionPool, "urlopen", lambda self, method, url, **_: urlopen(self, url)):
    requests.get("ADDRESS")
"""


def asked(address: str, **environment: str) -> str:
    """The address that a request for another really goes to."""
    result = subprocess.run(
        [sys.executable, "-c", SHOW.replace("ADDRESS", address)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("https://api.close.com/api/v1/user/?_skip=0", "/close/api/v1/user/?_skip=0"),
        ("https://api.intercom.io/contacts/search", "/intercom/contacts/search"),
        ("https://api.eu.intercom.io/tags", "/intercom/eu/tags"),
        ("https://api.au.intercom.io/tags", "/intercom/au/tags"),
        ("https://api.stripe.com/v1/invoices?limit=3", "/stripe/v1/invoices?limit=3"),
    ],
)
def test_in_local_the_tools_are_at_the_sandbox(address: str, there: str) -> None:
    found = asked(address, MELTANO_ENVIRONMENT="local", SANDBOX_SAAS_PORT="14000")
    assert found == f"http://127.0.0.1:14000{there}"


def test_other_hosts_are_left_alone() -> None:
    found = asked("https://example.com/x", MELTANO_ENVIRONMENT="local", SANDBOX_SAAS_PORT="1")
    assert found == "https://example.com:443/x"


@pytest.mark.parametrize("environment", [{}, {"MELTANO_ENVIRONMENT": "prod"}])
def test_elsewhere_nothing_is_rerouted(environment: dict[str, str]) -> None:
    found = asked("https://api.stripe.com/v1/x", SANDBOX_SAAS_PORT="1", **environment)
    assert found == "https://api.stripe.com:443/v1/x"
