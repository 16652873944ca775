"""The HTTP application: the API, its page, and the answers during start-up."""

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from sandbox.metabase import content, errors, page, pages, query_routes
from sandbox.metabase.discovery import BigQueryWarehouse, Warehouse
from sandbox.metabase.routes import router
from sandbox.metabase.store import Store
from sandbox.metabase.sync import Syncer

logger = logging.getLogger(__name__)

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def create_app(
    store: Store,
    initialise: Callable[[], None],
    connect: Callable[[Mapping[str, Any]], Warehouse] = BigQueryWarehouse,
) -> FastAPI:
    """Create an application that answers 503 until `initialise` has ended in the background.

    `connect` turns a database's connection details into its warehouse.
    """
    ready = threading.Event()

    def run_initialise() -> None:
        try:
            initialise()
        except Exception:
            logger.exception("the fake Metabase can't initialise; it answers 503 until restarted")
        else:
            ready.set()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=run_initialise, name="initialise", daemon=True).start()
        yield

    # No OpenAPI: its pages load scripts from other hosts.
    app = FastAPI(
        title="Fake Metabase",
        openapi_url=None,
        lifespan=lifespan,
        exception_handlers={
            errors.ApiError: _refuse,
            RequestValidationError: _refuse_request,
        },
    )
    app.state.store = store
    app.state.syncer = Syncer(store, connect)
    app.state.connect = connect

    @app.middleware("http")
    async def wait_for_initialisation(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if ready.is_set() or request.url.path == "/api/health":
            return await call_next(request)
        return PlainTextResponse(
            "Metabase is still initializing. Please sit tight...", HTTPStatus.SERVICE_UNAVAILABLE
        )

    @app.get("/api/health")
    def health() -> Response:
        if ready.is_set():
            return JSONResponse({"status": "ok"})
        return JSONResponse(
            {"status": "initializing", "progress": 0.0}, HTTPStatus.SERVICE_UNAVAILABLE
        )

    @app.get("/", response_class=HTMLResponse)
    def show() -> str:
        with store.read() as state:
            return page.render(state)

    app.include_router(router)
    app.include_router(content.router)
    app.include_router(query_routes.router)
    app.include_router(pages.router)
    app.add_api_route("/{path:path}", _refuse_unknown_route, methods=list(_METHODS))
    return app


def _refuse_unknown_route(request: Request) -> None:
    raise errors.not_implemented(f"{request.method} {request.url.path}")


async def _refuse(_: Request, error: errors.ApiError) -> Response:
    if error.status == HTTPStatus.NOT_IMPLEMENTED:
        logger.error("501 %s", error.body)
    if isinstance(error.body, str):
        return PlainTextResponse(error.body, error.status)
    return JSONResponse(dict(error.body), error.status)


async def _refuse_request(request: Request, error: RequestValidationError) -> Response:
    """FastAPI's own errors about query keys and bodies, in Metabase's format."""
    problems = {".".join(map(str, problem["loc"][1:])): problem for problem in error.errors()}
    if any(problem["type"] in ("json_invalid", "missing") for problem in problems.values()):
        return PlainTextResponse("Malformed JSON in request body.", HTTPStatus.BAD_REQUEST)
    expected = {key: problem["msg"] for key, problem in problems.items()}
    received = {key: problem["input"] for key, problem in problems.items()}
    specific = {key: [f"{expected[key]}, received: {received[key]!r}"] for key in problems}
    return await _refuse(request, errors.invalid(expected, specific))
