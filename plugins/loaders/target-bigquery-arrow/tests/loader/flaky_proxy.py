"""A way to BigQuery that is not to be relied on: errors, and answers that are lost."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Fault(Enum):
    """What happens to one request."""

    NONE = auto()
    UNAVAILABLE = 503
    RATE_LIMITED = 429
    ANSWER_LOST = auto()
    """BigQuery has done what it was asked for, but the connection breaks before it says so."""


@dataclass
class Request:
    """A request on its way to BigQuery."""

    method: str
    path: str
    body: bytes


@dataclass
class FlakyProxy:
    """Passes requests on to the emulator, with a fault where `fault` says so."""

    emulator_port: int
    fault: Callable[[Request], Fault] = lambda _: Fault.NONE
    answer: Callable[[Request], bytes | None] = lambda _: None
    """What BigQuery says, where it isn't the emulator that answers."""
    endpoint: str = ""
    faults: list[Fault] = field(default_factory=list)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        asked = Request(request.command, request.path, body)
        if (said := self.answer(asked)) is not None:
            request.send_response(200)
            request.send_header("content-length", str(len(said)))
            request.end_headers()
            request.wfile.write(said)
            return
        fault = self.fault(asked)
        self.faults.append(fault)
        if fault in (Fault.UNAVAILABLE, Fault.RATE_LIMITED):
            request.send_response(fault.value)
            request.send_header("content-length", "0")
            request.end_headers()
            return
        # The Host header goes along, so that upload addresses lead back here.
        server = http.client.HTTPConnection("127.0.0.1", self.emulator_port)
        server.request(request.command, request.path, body, dict(request.headers))
        answer = server.getresponse()
        content = answer.read()
        server.close()
        if fault is Fault.ANSWER_LOST:
            request.close_connection = True
            return
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "date", "server"):
                request.send_header(name, value)
        request.send_header("content-length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@contextmanager
def flaky_proxy(emulator_port: int) -> Iterator[FlakyProxy]:
    """Serve a proxy on a free port."""
    proxy = FlakyProxy(emulator_port)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            proxy.handle(self)

        do_GET = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()
