"""Servers for the tests and benches of other packages: each on free ports, with data of its own."""

import socket

from sandbox.settings import HOST


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on at the moment, all different."""
    listeners = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    (port,) = free_ports(1)
    return port
