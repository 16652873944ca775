"""The HTTP application: one API per tool, each under a prefix, and the sandbox's own routes.

Before a request reaches a tool's own routes, it is logged, authorised, counted against the tool's
rate limit, and answered by the fault if one is switched on.
"""

import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from psycopg.errors import OperationalError
from psycopg_pool import ConnectionPool
from pydantic import BaseModel

from sandbox.saas.close import api as close
from sandbox.saas.faults import SLOW_SECONDS, TRUNCATED_FROM_BYTES, Fault, Kind
from sandbox.saas.github import api as github
from sandbox.saas.intercom import api as intercom
from sandbox.saas.stripe import api as stripe
from sandbox.saas.surveys import api as surveys
from sandbox.saas.uptime import api as uptime

TOOLS: dict[str, ModuleType] = {
    "close": close,
    "intercom": intercom,
    "stripe": stripe,
    "surveys": surveys,
    "uptime": uptime,
    "github": github,
}
NO_FAULT = Fault("slow", 0)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class RateLimit:
    """A rate limit: a number of requests within a number of seconds."""

    def __init__(self, requests: int, seconds: float) -> None:
        self.requests = requests
        self.seconds = seconds
        self._times: deque[float] = deque()

    def wait(self) -> float:
        """Return the seconds until a request is allowed; count the request if it is allowed now."""
        now = time.monotonic()
        while self._times and self._times[0] <= now - self.seconds:
            self._times.popleft()
        if len(self._times) >= self.requests:
            return self._times[0] + self.seconds - now
        self._times.append(now)
        return 0.0


class FaultOrder(BaseModel):
    """A request of `sandbox fault`."""

    kind: Kind
    times: int | None = None


def create_app(
    connections: ConnectionPool[Any], request_log: Path, secrets: dict[str, str]
) -> FastAPI:
    """Create the application.

    Args:
        connections: Connections to the product's Postgres.
        request_log: File to which every request is appended as a line of JSON.
        secrets: The key of each tool, by the tool's name.
    """
    # No OpenAPI: its pages load scripts from other hosts.
    app = FastAPI(title="Fake SaaS APIs", openapi_url=None)
    app.state.connections = connections
    app.state.secrets = secrets
    faults: dict[str, Fault] = {}
    limits = {name: RateLimit(*tool.RATE_LIMIT) for name, tool in TOOLS.items()}

    def guard(request: Request, name: str, fault: Fault) -> Response | None:
        """Return the answer to a request that must not reach the tool's own routes, else None."""
        tool = TOOLS[name]
        refusal: Response | None = None
        if not tool.authorised(request, secrets[name]):
            refusal = tool.unauthorised()
        elif wait := limits[name].wait():
            refusal = tool.rate_limited(wait)
        elif fault.kind == "429" and fault.meets():
            refusal = tool.rate_limited(1.0)
        elif fault.kind == "500" and fault.meets():
            refusal = tool.server_error()
        return refusal

    @app.middleware("http")
    async def serve(
        request: Request, call_next: Callable[[Request], Awaitable[StreamingResponse]]
    ) -> Response:
        name = request.url.path.split("/")[1]
        if name not in TOOLS:
            return await call_next(request)
        body = await request.body()
        fault = faults.get(name, NO_FAULT)
        response = guard(request, name, fault)
        if response is None:
            response = await whole(await call_next(request))
            if fault.kind == "slow" and fault.meets():
                await anyio.sleep(SLOW_SECONDS)
            elif (
                fault.kind == "truncated"
                and len(response.body) > TRUNCATED_FROM_BYTES
                and fault.meets()
            ):
                half = bytes(response.body[: len(response.body) // 2])
                response = Response(half, response.status_code, media_type=response.media_type)
        _log(request_log, request, name, body, response.status_code)
        return response

    for name, tool in TOOLS.items():
        app.include_router(tool.router, prefix=f"/{name}")
        app.add_api_route(f"/{name}/{{path:path}}", tool.unknown_route, methods=METHODS)

    @app.exception_handler(OperationalError)
    async def postgres_is_down(request: Request, _: OperationalError) -> Response:
        failure: Response = TOOLS[request.url.path.split("/")[1]].server_error()
        return failure

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/faults")
    def show_faults() -> dict[str, Any]:
        return {name: {"kind": f.kind, "remaining": f.remaining} for name, f in faults.items()}

    @app.put("/faults/{name}")
    def switch_on(name: str, order: FaultOrder) -> Response:
        if name not in TOOLS:
            raise HTTPException(404, f"There is no tool {name}.")
        faults[name] = Fault(order.kind, order.times)
        return JSONResponse({"kind": order.kind, "remaining": order.times})

    @app.delete("/faults/{name}")
    def switch_off(name: str) -> Response:
        faults.pop(name, None)
        return JSONResponse({})

    return app


async def whole(response: StreamingResponse) -> Response:
    """Return a response whose body is in memory."""
    content = b"".join([bytes(part) async for part in response.body_iterator])  # type: ignore[arg-type]
    headers = {k: v for k, v in response.headers.items() if k != "content-length"}
    return Response(content, response.status_code, headers)


def _log(path: Path, request: Request, name: str, body: bytes, status: int) -> None:
    """Append a line with the request and its answer, but no headers: they hold the secret."""
    line = {
        "at": time.time(),
        "tool": name,
        "method": request.method,
        "path": request.url.path.removeprefix(f"/{name}"),
        "query": list(request.query_params.multi_items()),
        # Secrets are sent to get a token.
        "body": "" if "oauth" in request.url.path else body.decode(errors="replace"),
        "status": status,
    }
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
