"""The refusals of Intercom's API, all in its one shape: a list of errors, each with a code."""

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute


class ApiError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """The answer."""
        error = {"code": self.code, "message": self.message}
        body = {"type": "error.list", "request_id": str(uuid4()), "errors": [error]}
        return JSONResponse(body, self.status, headers)


def not_found(message: str) -> ApiError:
    """A missing object."""
    return ApiError(404, "not_found", message)


def bad_parameter(name: str) -> ApiError:
    """A parameter that isn't known, or not with this value."""
    return ApiError(400, "bad_request", f"bad '{name}' parameter")


def invalid_query(message: str) -> ApiError:
    """A search that isn't put as searches are."""
    return ApiError(400, "invalid_query", message)


def invalid_field(name: object) -> ApiError:
    """A search for, or by, a field that can't be searched."""
    return ApiError(400, "invalid_field", f"{name} is not a valid field")


def invalid_operator(message: str) -> ApiError:
    """A search with an unknown operator, or one that this field doesn't take."""
    return ApiError(400, "invalid_operator", message)


def invalid_value(message: str) -> ApiError:
    """A search for a value that the field can't have."""
    return ApiError(400, "invalid_value", message)


class Route(APIRoute):
    """A route whose refusals are Intercom's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Handle requests, and errors as well."""
        handle = super().get_route_handler()

        async def handle_with_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except ApiError as error:
                return error.response()
            except RequestValidationError as error:
                name = str(error.errors()[0]["loc"][-1])
                return bad_parameter(name).response()

        return handle_with_errors
