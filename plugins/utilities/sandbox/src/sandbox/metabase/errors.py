"""The refusals of Metabase's API, with the bodies that Metabase gives them."""

from collections.abc import Mapping, Sequence


class ApiError(Exception):
    """An answer other than 2xx. A `str` body is sent as text, a mapping as JSON."""

    def __init__(self, status: int, body: str | Mapping[str, object]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def unauthenticated() -> ApiError:
    """No key or session, or none that is known."""
    return ApiError(401, "Unauthenticated")


def forbidden() -> ApiError:
    """A key or session that may not do this."""
    return ApiError(403, "You don't have permissions to do that.")


def not_found() -> ApiError:
    """An id that no row has."""
    return ApiError(404, "Not found.")


def invalid(errors: Mapping[str, str], specific: Mapping[str, Sequence[str]]) -> ApiError:
    """A request that does not fit its schema: `{"errors": …, "specific-errors": …}`."""
    return ApiError(400, {"errors": dict(errors), "specific-errors": dict(specific)})


def invalid_value(key: str, message: str) -> ApiError:
    """A value that fits its schema but not the state: `{"errors": {key: message}}`."""
    return ApiError(400, {"errors": {key: message}})


def not_implemented(what: str) -> ApiError:
    """What Metabase may well answer, and the fake can't."""
    return ApiError(501, f"The fake Metabase does not implement {what}.")
