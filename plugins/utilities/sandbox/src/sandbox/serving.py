"""Serving an application on loopback until it is told to stop."""

import socket
from typing import Any

import uvicorn
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from local_servers.loopback import HOST, HOST_NAMES

from sandbox.errors import SandboxError


def serve(application: Any, port: int, variable: str) -> None:
    """Serve an ASGI application on 127.0.0.1, under no other name than this machine's own.

    Requests to other names are refused: a web page whose name is made to lead to 127.0.0.1 (DNS
    rebinding) sends them.

    Raises:
        SandboxError: The port is taken; `variable` is the one that sets it.
    """
    # TCP by name: only then does asyncio send answers at once. Nagle's algorithm would hold the
    # second half of each back for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise SandboxError(
            f"Port {port} can't be listened on ({error.strerror}). Stop what uses it, or choose "
            f"another with {variable}."
        ) from error
    guarded = TrustedHostMiddleware(application, allowed_hosts=[*HOST_NAMES])
    configuration = uvicorn.Config(guarded, log_config=None, access_log=False)
    uvicorn.Server(configuration).run(sockets=[listener])
