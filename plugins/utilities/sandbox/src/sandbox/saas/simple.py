"""What the fakes of the examples have in common: their refusals, and how they write moments."""

from datetime import datetime
from math import ceil

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse, Response


def iso(moment: datetime) -> str:
    """A moment as most APIs write it, in whole seconds of UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def unauthorised() -> Response:
    """A request without the key, or with another."""
    return JSONResponse({"detail": "The key is missing or wrong."}, 401)


def rate_limited(seconds: float) -> Response:
    """More requests than are welcome."""
    headers = {"Retry-After": str(ceil(seconds))}
    return JSONResponse({"detail": "Too many requests."}, 429, headers)


def server_error() -> Response:
    """The API's own failure."""
    return JSONResponse({"detail": "Something went wrong."}, 500)


def unknown_route(path: str) -> Response:
    """An unknown route."""
    return JSONResponse({"detail": f"There is no /{path}."}, 404)


def refuse_unknown_parameters(request: Request) -> None:
    """A dependency that answers 400 where the query has a name that the route doesn't know."""
    declared = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    for name in sorted(request.query_params.keys() - declared):
        raise HTTPException(400, f"There is no parameter {name}.")
