"""The part of Close's API that extractors use, as Close documents it.

See https://developer.close.com. tap-closeio needs two features that are no longer
documented there: `query`, which searches leads, and `custom_fields/lead`, now `custom_field/lead`.
All other requests are refused.
"""

import base64
import binascii
import hmac
import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, LiteralString

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from sandbox.saas.store import Store, store_of

logger = logging.getLogger(__name__)

# Sixty a second, as for a whole account; a key has a third of that, but in each group of endpoints.
RATE_LIMIT = (120, 2.0)
MAX_SKIP = 10_000
EVENTS_ARE_KEPT = timedelta(days=30)
EVENTS_A_PAGE = 50

router = APIRouter(prefix="/api/v1")


Documents = Annotated[Store, Depends(store_of("close"))]


def authorised(request: Request, secret: str) -> bool:
    """Tell whether the request has the key: Basic, as user name with an empty password."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(credentials, validate=True)
    except binascii.Error:
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given, f"{secret}:".encode())


def unauthorised() -> Response:
    """Return the answer to a wrong key."""
    headers = {"WWW-Authenticate": 'Basic realm="Close"'}
    return JSONResponse({"error": "Unauthorized: the API key is not valid."}, 401, headers)


def rate_limited(seconds: float) -> Response:
    """Return the answer to too many requests. The headers say how long to wait.

    Close has deprecated a body with the same information.
    """
    limit = f"limit={RATE_LIMIT[0]}, remaining=0, reset={seconds:.3f}"
    headers = {"RateLimit": limit, "Retry-After": str(math.ceil(seconds))}
    return Response(status_code=429, headers=headers)


def server_error() -> Response:
    """Return the answer of a failed Close."""
    return JSONResponse({"error": "Internal Server Error"}, 500)


def unknown_route(path: str) -> Response:
    """Return the answer to a path that Close or the fake doesn't know."""
    logger.error("Close has no %s, or the sandbox's fake does not know it", path)
    return JSONResponse({"error": f"The requested URL was not found: /{path}"}, 404)


class Refusal(Exception):  # noqa: N818 - the answer is what matters
    """A request that Close refuses."""


def _refused(refusal: Refusal) -> Response:
    return JSONResponse({"error": str(refusal)}, 400)


class Page:
    """The requested part of a list. The caller checks all other parameters."""

    def __init__(self, request: Request, *known: str, max_limit: int) -> None:
        self.parameters: Mapping[str, str] = _parameters(request, "_skip", "_limit", *known)
        self.skip = _whole(self.parameters, "_skip", 0, MAX_SKIP)
        self.limit = _whole(self.parameters, "_limit", 100, max_limit)

    def answer(self, found: list[Any], **more: Any) -> Response:
        """Return the page. `found` has one object more than the page if there are more."""
        data = found[: self.limit]
        return JSONResponse({"has_more": len(found) > self.limit, "data": data, **more})


def _parameters(request: Request, *known: str) -> Mapping[str, str]:
    given = request.query_params
    for name in given:
        if name not in known:
            raise Refusal(f"Unknown parameter: {name}")
        if len(given.getlist(name)) > 1:
            raise Refusal(f"Parameter given twice: {name}")
    return given


def _whole(parameters: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    text = parameters.get(name, str(default))
    if not re.fullmatch(r"\d{1,9}", text):
        raise Refusal(f"{name} must be a whole number, not {text!r}.")
    if int(text) > maximum:
        raise Refusal(
            f"The {name.strip('_')} you set is larger than the maximum {name.strip('_')} for this "
            f"resource (max{name} = {maximum})."
        )
    return int(text)


def _moment(name: str, text: str) -> datetime:
    """Parse a time; UTC if it has no zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(f"{name} must be a date or a time in ISO format, not {text!r}.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


SEARCHED = re.compile(r'date_updated>="([^"]*)"')
SORTS: dict[str, LiteralString] = {
    "sort:date_updated": "updated_at, id",
    "sort:-date_updated": "updated_at desc, id",
}


@router.get("/lead/")
def list_leads(request: Request, store: Documents) -> Response:
    """List leads with their opportunities and contacts; `query` searches and sorts."""
    try:
        page = Page(request, "query", max_limit=200)
        where: LiteralString = "true"
        values: list[datetime] = []
        order = SORTS["sort:-date_updated"]
        for word in page.parameters.get("query", "").split():
            if searched := SEARCHED.fullmatch(word):
                where = "updated_at >= %s"
                values = [_moment("date_updated", searched[1])]
            elif word in SORTS:
                order = SORTS[word]
            else:
                raise Refusal(f"Invalid search query: {word}")
    except Refusal as refusal:
        return _refused(refusal)
    leads = store.find("lead", where, values, order=order, limit=page.limit + 1, offset=page.skip)
    return page.answer(leads, total_results=store.count("lead", where, values))


@router.get("/activity/")
def list_activities(request: Request, store: Documents) -> Response:
    """List activities of every type between two times, both excluded; newest first."""
    try:
        page = Page(request, "date_created__gt", "date_created__lt", max_limit=100)
        earliest = _moment(
            "date_created__gt", page.parameters.get("date_created__gt", "0001-01-01")
        )
        latest = _moment("date_created__lt", page.parameters.get("date_created__lt", "9999-12-31"))
    except Refusal as refusal:
        return _refused(refusal)
    activities = store.find(
        "activity",
        "created_at > %s and created_at < %s",
        [earliest, latest],
        order="created_at desc, id",
        limit=page.limit + 1,
        offset=page.skip,
    )
    return page.answer(activities)


@router.get("/user/")
def list_users(request: Request, store: Documents) -> Response:
    """List the users of Close."""
    return _list_all("user", request, store)


@router.get("/custom_field/lead/")
@router.get("/custom_fields/lead/")
def list_custom_fields(request: Request, store: Documents) -> Response:
    """List the custom fields of leads."""
    return _list_all("custom_field", request, store)


@router.get("/task/")
def list_tasks(request: Request, store: Documents) -> Response:
    """List tasks: none, because this sales team doesn't use them."""
    return _list_all("task", request, store)


def _list_all(kind: str, request: Request, store: Store) -> Response:
    try:
        page = Page(request, max_limit=100)
    except Refusal as refusal:
        return _refused(refusal)
    return page.answer(store.find(kind, limit=page.limit + 1, offset=page.skip))


CURSOR = re.compile(r"(\d{1,17})-(ev_\w+)", re.ASCII)


@router.get("/event/")
def list_events(request: Request, store: Documents) -> Response:
    """List the changes of the last thirty days, latest first. The cursor is the last event."""
    try:
        parameters = _parameters(request, "_cursor", "_limit", "date_updated__gte")
        limit = _whole(parameters, "_limit", EVENTS_A_PAGE, EVENTS_A_PAGE)
        oldest = datetime.now(UTC) - EVENTS_ARE_KEPT
        if "date_updated__gte" in parameters:
            asked = _moment("date_updated__gte", parameters["date_updated__gte"])
            oldest = max(oldest, asked)
        before: LiteralString = "true"
        seen: list[Any] = []
        if "_cursor" in parameters:
            cursor = CURSOR.fullmatch(parameters["_cursor"])
            if cursor is None:
                raise Refusal("Invalid cursor.")
            before = "(updated_at, id) < (%s, %s)"
            seen = [_from_microseconds(int(cursor[1])), cursor[2]]
    except Refusal as refusal:
        return _refused(refusal)
    events = store.find(
        "event",
        f"updated_at >= %s and {before}",
        [oldest, *seen],
        order="updated_at desc, id desc",
        limit=limit + 1,
    )
    data = events[:limit]
    more = len(events) > limit
    return JSONResponse(
        {
            "data": data,
            "cursor_next": _cursor(data[-1]) if more else None,
            "cursor_previous": _cursor(data[0]) if data and seen else None,
        }
    )


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _cursor(event: Mapping[str, Any]) -> str:
    since = datetime.fromisoformat(event["date_updated"]) - EPOCH
    return f"{since // timedelta(microseconds=1)}-{event['id']}"


def _from_microseconds(count: int) -> datetime:
    return EPOCH + timedelta(microseconds=count)
