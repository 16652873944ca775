"""The monitoring tool's API: a key in a header, numbered pages, and times in epoch seconds."""

import hmac
from math import ceil
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from sandbox.saas import simple
from sandbox.saas.documents import Body
from sandbox.saas.simple import refuse_unknown_parameters
from sandbox.saas.store import Store, store_of

RATE_LIMIT = (600, 60.0)
unauthorised = simple.unauthorised
rate_limited = simple.rate_limited
server_error = simple.server_error
unknown_route = simple.unknown_route


def authorised(request: Request, secret: str) -> bool:
    """Tell whether the request has the key."""
    return hmac.compare_digest(request.headers.get("x-api-key", "").encode(), secret.encode())


router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])
StoreOf = Annotated[Store, Depends(store_of("uptime"))]
PageNumber = Annotated[int, Query(ge=1)]
PerPage = Annotated[int, Query(ge=1, le=100)]


@router.get("/v1/checks")
def list_checks(store: StoreOf, page: PageNumber = 1, per_page: PerPage = 20) -> Body:
    """List the checks."""
    return _page(store, "check", page, per_page)


@router.get("/v1/outages")
def list_outages(
    store: StoreOf,
    page: PageNumber = 1,
    per_page: PerPage = 20,
    updated_after: Annotated[int, Query(ge=0)] = 0,
) -> Body:
    """List outages by their start, so that a change moves none to another page."""
    return _page(store, "outage", page, per_page, updated_after)


@router.get("/v1/checks/{check_id}/outages")
def list_outages_of_a_check(
    store: StoreOf,
    check_id: int,
    page: PageNumber = 1,
    per_page: PerPage = 20,
    updated_after: Annotated[int, Query(ge=0)] = 0,
) -> Body:
    """List the outages of one check, by their start."""
    return _page(store, "outage", page, per_page, updated_after, check_id)


def _page(
    store: Store, kind: str, page: int, per_page: int, after: int = 0, check: int | None = None
) -> Body:
    """Return a page of objects that changed after a time, of one check or of all."""
    changed = (
        "(body->>'updated_at')::bigint >= %s "
        "and (%s::bigint is null or (body->'check'->>'id')::bigint = %s)",
        [after, check, check],
    )
    return {
        "data": store.find(kind, *changed, limit=per_page, offset=(page - 1) * per_page),
        "page": page,
        "total_pages": ceil(store.count(kind, *changed) / per_page),
    }
