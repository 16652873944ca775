"""The scroll over all companies: one at a time, and it expires after a minute without a request."""

import threading
import time
from dataclasses import dataclass
from uuid import uuid4

from sandbox.saas.documents import Body
from sandbox.saas.intercom import errors

EXPIRES_AFTER = 60.0
PER_PAGE = 100


@dataclass
class _Scroll:
    rest: list[Body]
    """What has not been asked for yet, of the companies that there were when it was opened."""
    parameter: str
    asked_at: float
    used: set[str]


class Scrolls:
    """The one scroll that may be open.

    Each answer names the parameter for the next page. A page can't be requested twice: a client
    that lost an answer must start again, "it is not possible to continue from a specific point".
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scroll: _Scroll | None = None

    def check_free(self) -> None:
        """Refuse to open another scroll while one is open.

        Raises:
            ApiError: 400.
        """
        with self._lock:
            self._expire()
            if self._scroll is not None:
                raise errors.ApiError(
                    400, "scroll_exists", "scroll already exists for this workspace"
                )

    def open(self, companies: list[Body]) -> tuple[list[Body], str]:
        """Open a scroll; return its first page and the parameter for the next.

        Raises:
            ApiError: 400 if one is open.
        """
        self.check_free()
        with self._lock:
            self._scroll = _Scroll(companies, "", time.monotonic(), set())
            return self._next(self._scroll)

    def go_on(self, parameter: str) -> tuple[list[Body], str]:
        """Return the next page. An empty page after the last one ends the scroll.

        Raises:
            ApiError: 404 if there is no such scroll, 500 if its page was requested before.
        """
        with self._lock:
            self._expire()
            scroll = self._scroll
            if scroll is None or parameter not in {scroll.parameter, *scroll.used}:
                raise errors.not_found("scroll parameter not found")
            if parameter != scroll.parameter:
                raise errors.ApiError(
                    500,
                    "server_error",
                    "Request failed due to an internal network error. Please restart the scroll "
                    "operation.",
                )
            scroll.used.add(parameter)
            if not scroll.rest:
                self._scroll = None
                return [], parameter
            return self._next(scroll)

    def _next(self, scroll: _Scroll) -> tuple[list[Body], str]:
        page, scroll.rest = scroll.rest[:PER_PAGE], scroll.rest[PER_PAGE:]
        scroll.parameter = str(uuid4())
        scroll.asked_at = time.monotonic()
        return page, scroll.parameter

    def _expire(self) -> None:
        if self._scroll and time.monotonic() - self._scroll.asked_at > EXPIRES_AFTER:
            self._scroll = None
