"""Gives a Postgres server that speaks no SSL an address at which it does."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from local_servers.loopback import HOST

SSL_REQUEST = 8
"""The bytes in which a client asks for encryption, before all else."""


@contextmanager
def encrypted(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Yield another port of the server on `port`, encrypted.

    Args:
        port: the server's own, on loopback.
        context: with the server's certificate, and what it asks of clients.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(SSL_REQUEST)
            self.request.sendall(b"S")
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection((HOST, port)) as server,
            ):
                threading.Thread(target=_copy, args=(server, client), daemon=True).start()
                _copy(client, server)

    with socketserver.ThreadingTCPServer((HOST, 0), Handler) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy.server_address[1]
        proxy.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
