"""The errors of Metabase's API, with Metabase's bodies."""

from collections.abc import Mapping, Sequence


class ApiError(Exception):
    """An answer other than 2xx. A `str` body is sent as text, a mapping as JSON."""

    def __init__(self, status: int, body: str | Mapping[str, object]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def unauthenticated() -> ApiError:
    """401: no key or session, or an unknown one."""
    return ApiError(401, "Unauthenticated")


def forbidden() -> ApiError:
    """403: a key or session that may not do this."""
    return ApiError(403, "You don't have permissions to do that.")


def not_found() -> ApiError:
    """An unknown ID."""
    return ApiError(404, "Not found.")


def invalid(errors: Mapping[str, str], specific: Mapping[str, Sequence[str]]) -> ApiError:
    """400: a request that does not fit its schema: `{"errors": …, "specific-errors": …}`."""
    return ApiError(400, {"errors": dict(errors), "specific-errors": dict(specific)})


def invalid_value(key: str, message: str) -> ApiError:
    """400: a value that fits its schema but not the state: `{"errors": {key: message}}`."""
    return ApiError(400, {"errors": {key: message}})


def not_implemented(what: str) -> ApiError:
    """501: a request that Metabase may answer, and the fake can't."""
    return ApiError(501, f"The fake Metabase does not implement {what}.")
