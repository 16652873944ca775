"""The part of Close's API that extractors use, as Close documents it; the rest is refused.

Endpoints and parameters are those of Close's OpenAPI document
(https://api.close.com/api/openapi.json), which lacks the search:
https://developer.close.com/api/resources/advanced-filtering. Close documents neither the largest
`_limit` and `_skip` of each list nor the texts of its errors: those are made up.
"""

import base64
import binascii
import hmac
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, LiteralString

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from sandbox.saas.close import objects
from sandbox.saas.documents import Body
from sandbox.saas.store import Store, store_of

logger = logging.getLogger(__name__)

# Sixty a second, as for a whole account; a key has a third of that, but in each group of endpoints.
RATE_LIMIT = (120, 2.0)
MAX_LIMIT = 100
MAX_SKIP = 1_000
EVENTS_ARE_KEPT = timedelta(days=30)
EVENTS_A_PAGE = 50
SEARCH_MAX_LIMIT = 200
SEARCH_FINDS = 10_000
CURSOR_IS_VALID = timedelta(seconds=30)

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


class Route(APIRoute):
    """A route that answers 400 to a refusal, as Close does."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return the route's handler."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Refusal as refusal:
                return JSONResponse({"error": str(refusal)}, 400)
            except RequestValidationError as error:
                fields = {".".join(map(str, e["loc"][1:])): e["msg"] for e in error.errors()}
                return JSONResponse({"error": "Invalid query.", "field-errors": fields}, 400)

        return answer


router = APIRouter(prefix="/api/v1", route_class=Route)


# ---------------------------------------------------------------------------------- parameters


def _parameters(request: Request, *known: str) -> dict[str, str]:
    given = request.query_params
    for name in given:
        if name not in known:
            raise Refusal(f"Unknown parameter: {name}")
        if len(given.getlist(name)) > 1:
            raise Refusal(f"Parameter given twice: {name}")
    # An empty one counts as not given.
    return {name: text for name, text in given.items() if text}


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


RANGE = ("gte", "gt", "lte", "lt")
"""The suffixes of filters by time."""


def _within(parameters: Mapping[str, str], names: Sequence[str]) -> Callable[[Body], bool]:
    """Return the filter by time that a request asks for, such as `date_updated__gte`."""
    tests = [
        (name, suffix, _moment(f"{name}__{suffix}", parameters[f"{name}__{suffix}"]))
        for name in names
        for suffix in RANGE
        if f"{name}__{suffix}" in parameters
    ]

    def test(body: Body) -> bool:
        for name, suffix, limit in tests:
            value = datetime.fromisoformat(body[name])
            if (value < limit and "g" in suffix) or (value > limit and "l" in suffix):
                return False
            if value == limit and "e" not in suffix:
                return False
        return True

    return test


def _ranges(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}__{suffix}" for name in names for suffix in RANGE)


def _ordered(parameters: Mapping[str, str], found: list[Body], *allowed: str) -> list[Body]:
    """Sort as `_order_by` says; by default the latest first."""
    order = parameters.get("_order_by", "-date_created")
    name = order.removeprefix("-")
    if name not in allowed:
        raise Refusal(f"_order_by may be {', '.join(allowed)}, not {order!r}.")
    found.sort(key=lambda body: body["id"])
    found.sort(key=lambda body: datetime.fromisoformat(body[name]), reverse=order.startswith("-"))
    return found


def _page(parameters: Mapping[str, str], found: list[Body], **more: Any) -> Response:
    """Return the requested part of a list, with the requested fields of each object."""
    skip = _whole(parameters, "_skip", 0, MAX_SKIP)
    limit = _whole(parameters, "_limit", MAX_LIMIT, MAX_LIMIT)
    data = found[skip : skip + limit]
    if "_fields" in parameters:
        names = parameters["_fields"].split(",")
        data = [{name: body[name] for name in names if name in body} for body in data]
    return JSONResponse({"has_more": len(found) > skip + limit, "data": data, **more})


PAGE = ("_limit", "_skip")


# ---------------------------------------------------------------------------------- lists


def _of_leads(store: Store, name: str) -> list[Body]:
    """Return the objects that leads hold under a name, such as `contacts`."""
    return [each for lead in store.find("lead") for each in lead[name]]


def _leads(store: Store) -> list[Body]:
    """Return all leads, each with the IDs of its contacts."""
    return [
        {**lead, "contact_ids": [contact["id"] for contact in lead["contacts"]]}
        for lead in store.find("lead")
    ]


@router.get("/lead/")
def list_leads(request: Request, store: Documents) -> Response:
    """List leads, the latest first. `query` is no longer documented: see the search."""
    parameters = _parameters(request, *PAGE, "_fields")
    return _page(parameters, _ordered({}, _leads(store), "date_created"))


@router.get("/contact/")
def list_contacts(request: Request, store: Documents) -> Response:
    """List contacts, those of one lead or all."""
    parameters = _parameters(request, *PAGE, "_fields", "lead_id")
    found = _of_leads(store, "contacts")
    if "lead_id" in parameters:
        found = [each for each in found if each["lead_id"] == parameters["lead_id"]]
    return _page(parameters, _ordered({}, found, "date_created"))


@router.get("/opportunity/")
def list_opportunities(request: Request, store: Documents) -> Response:
    """List opportunities by when they were created or changed."""
    dates = ("date_created", "date_updated")
    parameters = _parameters(request, *PAGE, "_fields", "_order_by", *_ranges(*dates))
    found = list(filter(_within(parameters, dates), _of_leads(store, "opportunities")))
    return _page(parameters, _ordered(parameters, found, *dates), total_results=len(found))


@router.get("/task/")
def list_tasks(request: Request, store: Documents) -> Response:
    """List tasks by when they were created or changed; sorted by the former only."""
    dates = ("date_created", "date_updated")
    parameters = _parameters(request, *PAGE, "_fields", "_order_by", *_ranges(*dates))
    found = list(filter(_within(parameters, dates), store.find("task")))
    return _page(parameters, _ordered(parameters, found, "date_created"))


@router.get("/activity/")
def list_activities(request: Request, store: Documents) -> Response:
    """List activities of every type by when they were created, the latest first.

    What can filter or sort one lead's activities only is refused.
    """
    dates = ("date_created",)
    parameters = _parameters(request, *PAGE, "_fields", "_order_by", *_ranges(*dates))
    found = list(filter(_within(parameters, dates), store.find("activity")))
    return _page(parameters, _ordered(parameters, found, *dates))


@router.get("/user/")
def list_users(request: Request, store: Documents) -> Response:
    """List the users of Close."""
    parameters = _parameters(request, *PAGE)
    return _page(parameters, store.find("user"))


@router.get("/custom_field/{kind}/")
def list_custom_fields(
    kind: Literal["lead", "contact", "opportunity", "activity", "custom_object_type", "shared"],
    request: Request,
    store: Documents,
) -> Response:
    """List the custom fields of leads: other objects have none. Two of the lists have no pages."""
    known = {"custom_object_type": (), "shared": ("_fields",)}.get(kind, (*PAGE, "_fields"))
    parameters = _parameters(request, *known)
    return _page(parameters, store.find("custom_field") if kind == "lead" else [])


def _whole_list(request: Request, found: list[Body], *known: str) -> Response:
    parameters = _parameters(request, *known)
    return _page({**parameters, "_limit": str(MAX_LIMIT)}, found)


@router.get("/status/lead/")
def list_lead_statuses(request: Request) -> Response:
    """List the statuses that leads may have."""
    return _whole_list(request, objects.lead_statuses())


@router.get("/status/opportunity/")
def list_opportunity_statuses(request: Request) -> Response:
    """List the statuses that opportunities may have."""
    return _whole_list(request, objects.opportunity_statuses(), "_fields")


@router.get("/pipeline/")
def list_pipelines(request: Request) -> Response:
    """List the pipelines, with the statuses of each."""
    return _whole_list(request, [objects.pipeline()])


@router.get("/custom_activity/")
def list_custom_activity_types(request: Request) -> Response:
    """List the types of custom activities: this team has none."""
    return _whole_list(request, [])


# ---------------------------------------------------------------------------------- the search


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RegularField(_Strict):
    """A field that every object of a type has."""

    type: Literal["regular_field"]
    object_type: Literal["lead", "contact"]
    field_name: Literal["date_created", "date_updated"]


class Moment(_Strict):
    """A time in UTC."""

    type: Literal["fixed_utc"]
    value: datetime


class MomentRange(_Strict):
    """A range of times; its end is not part of it."""

    type: Literal["moment_range"]
    on_or_after: Moment | None = None
    before: Moment | None = None


class FieldCondition(_Strict):
    """A condition that a field meets."""

    type: Literal["field_condition"]
    field: RegularField
    condition: MomentRange


class ObjectType(_Strict):
    """The type of the objects that are looked for."""

    type: Literal["object_type"]
    object_type: Literal["lead", "contact"]


class AndQuery(_Strict):
    """What all objects that are found fulfil; the object's type comes first."""

    type: Literal["and"]
    queries: list[ObjectType | FieldCondition] = Field(min_length=1)


class Sort(_Strict):
    """A field to sort by."""

    direction: Literal["asc", "desc"]
    field: RegularField


class Search(_Strict):
    """A search; without `_fields` only IDs are answered."""

    query: AndQuery
    sort: list[Sort] = Field(default=[], max_length=1)
    fields_: dict[Literal["lead", "contact"], list[str]] = Field(default={}, alias="_fields")
    limit_: int = Field(default=50, alias="_limit", ge=1, le=SEARCH_MAX_LIMIT)
    cursor: str | None = None


@router.post("/data/search/")
def search(request: Request, wanted: Search, store: Documents) -> Response:
    """Find leads or contacts. A search finds a limited number; its cursor expires."""
    _parameters(request)
    first, *conditions = wanted.query.queries
    if not isinstance(first, ObjectType):
        raise Refusal("The first query must be one for an object_type.")
    found = _leads(store) if first.object_type == "lead" else _of_leads(store, "contacts")
    for condition in conditions:
        if not isinstance(condition, FieldCondition):
            raise Refusal("A search is for one object_type.")
        found = [body for body in found if _meets(body, condition)]
    for sort in wanted.sort:
        order = ("-" if sort.direction == "desc" else "") + sort.field.field_name
        found = _ordered({"_order_by": order}, found, sort.field.field_name)
    start = _position(wanted.cursor)
    end = min(start + wanted.limit_, SEARCH_FINDS)
    names = wanted.fields_.get(first.object_type, [])
    data = [_with_fields(body, first.object_type, names) for body in found[start:end]]
    more = end < min(len(found), SEARCH_FINDS)
    return JSONResponse({"data": data, "cursor": _search_cursor(end) if more else None})


def _meets(body: Body, condition: FieldCondition) -> bool:
    moment = datetime.fromisoformat(body[condition.field.field_name])
    first, end = condition.condition.on_or_after, condition.condition.before
    return (first is None or moment >= _utc(first.value)) and (
        end is None or moment < _utc(end.value)
    )


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _with_fields(body: Body, object_type: str, names: list[str]) -> Body:
    found = {"__object_type": object_type, "id": body["id"]}
    for name in names:
        if name == "custom":
            found |= {key: value for key, value in body.items() if key.startswith("custom.")}
        elif name not in objects.FIELDS[object_type]:
            raise Refusal(f"A {object_type} has no field {name!r}.")
        else:
            found[name] = body.get(name)
    return found


def _search_cursor(position: int) -> str:
    content = json.dumps({"position": position, "at": datetime.now(UTC).isoformat()})
    return base64.urlsafe_b64encode(content.encode()).decode()


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        position, at = int(content["position"]), datetime.fromisoformat(content["at"])
    except (ValueError, KeyError, TypeError):
        raise Refusal("Invalid cursor.") from None
    if datetime.now(UTC) - at > CURSOR_IS_VALID:
        raise Refusal("Expired cursor.")
    return position


# ---------------------------------------------------------------------------------- the event log

CURSOR = re.compile(r"(\d{1,17})-(ev_\w+)", re.ASCII)


@router.get("/event/")
def list_events(request: Request, store: Documents) -> Response:
    """List the changes of the last thirty days, latest first. The cursor is the last event.

    A cursor takes all filters of the request before, but not that by time.
    """
    parameters = _parameters(request, "_cursor", "_limit", "date_updated__gte")
    limit = _whole(parameters, "_limit", EVENTS_A_PAGE, EVENTS_A_PAGE)
    oldest = datetime.now(UTC) - EVENTS_ARE_KEPT
    before: LiteralString = "true"
    seen: list[Any] = []
    if "_cursor" in parameters:
        cursor = CURSOR.fullmatch(parameters["_cursor"])
        if cursor is None:
            raise Refusal("Invalid cursor.")
        before = "(updated_at, id) < (%s, %s)"
        seen = [_from_microseconds(int(cursor[1])), cursor[2]]
    elif "date_updated__gte" in parameters:
        oldest = max(oldest, _moment("date_updated__gte", parameters["date_updated__gte"]))
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
