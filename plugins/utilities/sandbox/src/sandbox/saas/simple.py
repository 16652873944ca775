"""The errors and the format of times that the fakes of the examples share."""

from datetime import datetime
from math import ceil

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse, Response


def iso(moment: datetime) -> str:
    """Return a time as most APIs write it: UTC, in whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def unauthorised() -> Response:
    """401: a request without the key, or with a wrong one."""
    return JSONResponse({"detail": "The key is missing or wrong."}, 401)


def rate_limited(seconds: float) -> Response:
    """429: too many requests."""
    headers = {"Retry-After": str(ceil(seconds))}
    return JSONResponse({"detail": "Too many requests."}, 429, headers)


def server_error() -> Response:
    """500: a failure of the API."""
    return JSONResponse({"detail": "Something went wrong."}, 500)


def unknown_route(path: str) -> Response:
    """404: an unknown route."""
    return JSONResponse({"detail": f"There is no /{path}."}, 404)


def refuse_unknown_parameters(request: Request) -> None:
    """A dependency that answers 400 to query parameters that the route doesn't know."""
    declared = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    for name in sorted(request.query_params.keys() - declared):
        raise HTTPException(400, f"There is no parameter {name}.")
