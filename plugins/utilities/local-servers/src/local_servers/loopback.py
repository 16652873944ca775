"""The one address that local servers listen on, and free ports there."""

import contextlib
import random
import socket

HOST = "127.0.0.1"
HOST_NAMES = (HOST, "localhost")
"""The names that a request to a server may be sent to: its header `Host`, without the port."""
PORTS = range(20_000, 32_000)
"""Below those that the system gives to connections."""


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nothing listens on at the moment.

    They are chosen at random, since several test runs may look for ports at the same time.
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
    """Return a port that nothing listens on at the moment."""
    (port,) = free_ports(1)
    return port
