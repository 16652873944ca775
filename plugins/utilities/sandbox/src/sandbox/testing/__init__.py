"""Servers for the tests and benches of other packages: each on free ports, with data of its own."""

import contextlib
import random
import socket

from sandbox.settings import HOST

PORTS = range(20_000, 32_000)
"""Below those that the system gives to connections."""


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on at the moment, all different.

    At random, since several test runs may be looking at the same time.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError):
            socket.create_server((HOST, port)).close()
            found.append(port)
        if len(found) == count:
            break
    return found


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    (port,) = free_ports(1)
    return port
