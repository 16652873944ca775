"""Reroutes requests for Close, Intercom, Stripe and GitHub to the sandbox's fakes.

The taps have these hosts in their code. Python imports this module whenever it starts in the
virtual environment in which it is installed (`sandbox_redirect.pth`). The module is installed only
for Meltano's environment `local`, and does nothing in any other.
"""

import os
from typing import Any
from urllib.parse import urlsplit, urlunsplit

PREFIXES = {
    "api.close.com": "/close",
    "api.intercom.io": "/intercom",
    "api.eu.intercom.io": "/intercom/eu",
    "api.au.intercom.io": "/intercom/au",
    "api.stripe.com": "/stripe",
    "api.github.com": "/github",
}


def rerouted(url: str, port: str) -> str:
    """The sandbox's address for a vendor's address; other addresses are returned unchanged."""
    parts = urlsplit(url)
    prefix = PREFIXES.get(parts.hostname or "")
    if prefix is None:
        return url
    return urlunsplit(("http", f"127.0.0.1:{port}", prefix + parts.path, parts.query, ""))


def install(port: str) -> None:
    """Reroute every later request of `requests`."""
    from requests import PreparedRequest
    from requests.adapters import HTTPAdapter

    send = HTTPAdapter.send

    def send_rerouted(
        self: HTTPAdapter, request: PreparedRequest, *args: Any, **kwargs: Any
    ) -> Any:
        request.url = rerouted(request.url or "", port)
        return send(self, request, *args, **kwargs)

    HTTPAdapter.send = send_rerouted  # type: ignore[method-assign]


if os.environ.get("MELTANO_ENVIRONMENT") == "local":
    # Without a port, to an address where nobody listens, never to the vendor.
    install(os.environ.get("SANDBOX_SAAS_PORT", "0"))
