"""Servers for the tests and benches of other packages: each on free ports, with data of its own."""

import contextlib
import os
import random
import socket

from sandbox.settings import HOST


PORTS_A_WORKER = 4_000
FIRST_PORT = 20_000
"""Below those that the system gives to connections."""


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on at the moment, all different.

    Each of pytest's workers has a range of its own: they look at the same time.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST_PORT + worker * PORTS_A_WORKER
    found: list[int] = []
    for port in random.sample(range(first, first + PORTS_A_WORKER), PORTS_A_WORKER):
        with contextlib.suppress(OSError):
            socket.create_server((HOST, port)).close()
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"There are not {count} free ports from {first} on.")


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    (port,) = free_ports(1)
    return port
