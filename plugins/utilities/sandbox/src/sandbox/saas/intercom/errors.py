"""The errors of Intercom's API, all in one format: a list of errors, each with a code."""

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
        """Return the answer."""
        error = {"code": self.code, "message": self.message}
        body = {"type": "error.list", "request_id": str(uuid4()), "errors": [error]}
        return JSONResponse(body, self.status, headers)


def not_found(message: str) -> ApiError:
    """A missing object."""
    return ApiError(404, "not_found", message)


def bad_parameter(name: str) -> ApiError:
    """An unknown parameter, or a wrong value of one."""
    return ApiError(400, "bad_request", f"bad '{name}' parameter")


def invalid_query(message: str) -> ApiError:
    """A malformed search."""
    return ApiError(400, "invalid_query", message)


def invalid_field(name: object) -> ApiError:
    """A search by a field that can't be searched."""
    return ApiError(400, "invalid_field", f"{name} is not a valid field")


def invalid_operator(message: str) -> ApiError:
    """A search with an unknown operator, or one that this field doesn't take."""
    return ApiError(400, "invalid_operator", message)


def invalid_value(message: str) -> ApiError:
    """A search for a value of a wrong type."""
    return ApiError(400, "invalid_value", message)


class Route(APIRoute):
    """A route that answers errors in Intercom's format."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Handle requests and errors."""
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
