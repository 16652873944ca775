"""Serves an application on loopback until it is told to stop."""

import socket
from typing import Any

import uvicorn
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from local_servers.loopback import HOST, HOST_NAMES

from sandbox.errors import SandboxError


def serve(application: Any, port: int, variable: str) -> None:
    """Serve an ASGI application on 127.0.0.1, under the machine's own names only.

    Requests to other host names are refused. A web page sends such requests if its name resolves to
    127.0.0.1 (DNS rebinding).

    Raises:
        SandboxError: The port is in use; `variable` names the variable that sets it.
    """
    # TCP by name: only then asyncio sends answers at once. Nagle's algorithm would delay the
    # second half of each answer by 40 ms.
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
