"""The faults of an API that can be switched on."""

import json
import urllib.request
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["429", "500", "slow", "truncated"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANINGS = {
    "429": "is over its rate limit",
    "500": "fails",
    "slow": "takes seconds to answer",
    "truncated": "breaks off in the middle of large answers",
}
SLOW_SECONDS = 2.0
TRUNCATED_FROM_BYTES = 10_000
"""Small answers arrive whole; it is the large ones that break off."""


@dataclass
class Fault:
    """A fault and the number of requests that are left; None: until it is switched off."""

    kind: Kind
    remaining: int | None

    def meets(self) -> bool:
        """Return whether the fault is on, and count the request."""
        if self.remaining is None:
            return True
        if self.remaining == 0:
            return False
        self.remaining -= 1
        return True


def switch(url: str, tool: str, kind: str | None, times: int | None) -> None:
    """Switch a fault of the fakes at an address on, or off with None.

    Raises:
        OSError: The fakes don't answer.
    """
    order = None if kind is None else json.dumps({"kind": kind, "times": times}).encode()
    request = urllib.request.Request(  # noqa: S310 - the sandbox's own address
        f"{url}/faults/{tool}",
        data=order,
        method="PUT" if order else "DELETE",
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=5).close()  # noqa: S310
