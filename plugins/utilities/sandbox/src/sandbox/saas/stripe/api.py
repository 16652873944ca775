"""A fake of Stripe's API, version 2022-11-15: the lists that an extractor reads.

It answers as https://docs.stripe.com/api documents: newest first, in pages, within ranges of
`created`, with some attributes only on request. It refuses all other requests.
"""

import base64
import binascii
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, LiteralString

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from sandbox.saas.documents import Body
from sandbox.saas.store import Store, store_of
from sandbox.saas.stripe.objects import ACCOUNT_ID, API_VERSION, list_of, shortened

logger = logging.getLogger(__name__)

RATE_LIMIT: tuple[int, float] = (100, 1.0)
PAGE_SIZE, PAGE_SIZE_AT_MOST = 10, 100
STATUSES = (
    *("active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired"),
    *("trialing", "paused"),
)
_key: ContextVar[str | None] = ContextVar("key", default=None)
"""The key of the request that is being answered, for the message that refuses it."""


# --- Errors


class StripeError(Exception):
    """A request that is refused."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.response = _error(status, message, code=code, param=param)


def _error(
    status: int,
    message: str,
    *,
    type_: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    error = {"code": code, "message": message, "param": param, "type": type_}
    if code is not None:
        error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
    body = {"error": {key: value for key, value in error.items() if value is not None}}
    return _answer(body, status, headers)


def _answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    own = {"Request-Id": f"req_{uuid.uuid4().hex[:14]}", "Stripe-Version": API_VERSION}
    return JSONResponse(body, status, {**own, **(headers or {})})


def authorised(request: Request, secret: str) -> bool:
    """Tell whether the request has the key: as a bearer token, or as the user of basic auth."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            value = ""
    _key.set(value.strip() or None)
    return value.strip() == secret


def unauthorised() -> Response:
    """401: a wrong key. Like Stripe, the answer masks most of it."""
    key = _key.get()
    if key is None:
        message = (
            "You did not provide an API key. You need to provide your API key in the "
            "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
            "YOUR_SECRET_KEY')."
        )
    else:
        masked = "*" * len(key)
        if len(key) > 16:
            masked = f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"
        message = f"Invalid API Key provided: {masked}"
    return _error(401, message, headers={"WWW-Authenticate": 'Basic realm="Stripe"'})


def rate_limited(seconds: float) -> Response:
    """429: too many requests."""
    return _error(
        429,
        "Request rate limit exceeded. Learn more about rate limits here "
        "https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        headers={
            "Retry-After": str(max(round(seconds), 1)),
            "Stripe-Rate-Limited-Reason": "global-rate",
        },
    )


def server_error() -> Response:
    """500: a failure of Stripe."""
    message = "An unknown error occurred. Please contact support if this persists."
    return _error(500, message, type_="api_error")


def unknown_route(request: Request, path: str) -> Response:
    """404: a route that Stripe or the fake doesn't have."""
    logger.warning("Stripe: the fake has no route %s /%s", request.method, path)
    message = (
        f"Unrecognized request URL ({request.method}: /{path}). Please see "
        "https://stripe.com/docs or we can help at https://support.stripe.com/."
    )
    return _error(404, message)


# --- Parameters of lists


@dataclass(frozen=True)
class Listing:
    """A kind of object that can be listed."""

    kind: str
    name: str
    """What errors call an object of it."""
    expandable: frozenset[str] = frozenset()
    filters: frozenset[str] = frozenset()
    show: Callable[[Store, Body, frozenset[str]], Body] = lambda _store, body, _expand: body
    """Makes an answer of a document, given what was asked to be expanded."""


@dataclass
class Query:
    """A request's parameters, each known and well-formed."""

    limit: int = PAGE_SIZE
    starting_after: str | None = None
    ending_before: str | None = None
    created: dict[str, int] = field(default_factory=dict)
    expand: frozenset[str] = frozenset()
    filters: dict[str, str] = field(default_factory=dict)


def parse(
    parameters: Iterable[tuple[str, str]],
    *,
    expandable: frozenset[str] = frozenset(),
    filters: frozenset[str] = frozenset(),
    has_created: bool = True,
) -> Query:
    """Read the parameters of a list.

    Raises:
        StripeError: A parameter is unknown, or has a wrong value.
    """
    query = Query()
    for key, value in parameters:
        created = re.fullmatch(r"created(?:\[(gte|gt|lte|lt)\])?", key) if has_created else None
        if key == "limit":
            query.limit = _page_size(value)
        elif key == "starting_after":
            query.starting_after = value
        elif key == "ending_before":
            query.ending_before = value
        elif created:
            query.created[created[1] or "exact"] = _integer(value, key)
        elif re.fullmatch(r"expand\[\d*\]", key):
            if value not in expandable:
                name = value.removeprefix("data.")
                raise StripeError(400, f"This property cannot be expanded ({name}).", param=key)
            query.expand |= {value}
        elif key in filters:
            query.filters[key] = value
        else:
            raise StripeError(
                400, f"Received unknown parameter: {key}", code="parameter_unknown", param=key
            )
    if query.starting_after and query.ending_before:
        raise StripeError(
            400, "You cannot pass both `starting_after` and `ending_before` at the same time."
        )
    return query


def _integer(value: str, param: str) -> int:
    if not re.fullmatch(r"-?\d{1,11}", value):
        raise StripeError(
            400, f"Invalid integer: {value}", code="parameter_invalid_integer", param=param
        )
    return int(value)


def _page_size(value: str) -> int:
    size = _integer(value, "limit")
    if not 1 <= size <= PAGE_SIZE_AT_MOST:
        bound = "greater than or equal to 1"
        if size > PAGE_SIZE_AT_MOST:
            bound = f"less than or equal to {PAGE_SIZE_AT_MOST}"
        message = f"This value must be {bound} (it currently is '{size}')."
        raise StripeError(400, message, code="parameter_invalid_integer", param="limit")
    return size


# --- Lists of objects


def check_request(request: Request) -> None:
    """Refuse other versions of the API, and accounts other than the company's."""
    version = request.headers.get("Stripe-Version", API_VERSION)
    if version != API_VERSION:
        raise StripeError(400, f"Invalid Stripe API version: {version}")
    account = request.headers.get("Stripe-Account", ACCOUNT_ID)
    if account != ACCOUNT_ID:
        raise _no_such_account(account)


def _no_such_account(account: str) -> StripeError:
    return StripeError(
        403,
        f"The provided key does not have access to account '{account}' (or that account does not "
        "exist). Application access may have been revoked.",
        code="account_invalid",
    )


StoreOf = Annotated[Store, Depends(store_of("stripe"))]
router = APIRouter()


def _list(request: Request, store: Store, listing: Listing) -> Response:
    """Return one page, or the error of the request."""
    try:
        check_request(request)
        query = parse(
            request.query_params.multi_items(),
            expandable=listing.expandable,
            filters=listing.filters,
        )
        bodies, has_more = _page(store, listing, query)
    except StripeError as error:
        return error.response
    shown = [listing.show(store, body, query.expand) for body in bodies]
    return _answer(list_of(f"/v1/{request.url.path.rsplit('/', 1)[-1]}", shown, has_more=has_more))


def _page(store: Store, listing: Listing, query: Query) -> tuple[list[Body], bool]:
    """Return objects, newest first; before a cursor are the next newer ones."""
    conditions: list[LiteralString] = ["true"]
    values: list[Any] = []
    for operator, seconds in query.created.items():
        # Stripe's times are whole seconds; the documents have microseconds.
        condition, later = _CREATED[operator]
        conditions.append(condition)
        values += [datetime.fromtimestamp(seconds + extra, UTC) for extra in later]
    for name, value in query.filters.items():
        condition, arguments = _FILTERS[name](value)
        conditions.append(condition)
        values += arguments
    if listing.kind == "subscription" and "status" not in query.filters:
        conditions.append("body ->> 'status' <> 'canceled'")
    cursor = query.starting_after or query.ending_before
    if cursor is not None:
        param = "starting_after" if query.starting_after else "ending_before"
        if store.one(listing.kind, cursor) is None:
            raise StripeError(
                400, f"No such {listing.name}: '{cursor}'", code="resource_missing", param=param
            )
        conditions.append(_AFTER if query.starting_after else _BEFORE)
        values += [listing.kind, cursor]
    found = store.find(
        listing.kind,
        _all_of(conditions),
        values,
        order="created_at, id" if query.ending_before else "created_at desc, id desc",
        limit=query.limit + 1,
    )
    page = found[: query.limit]
    return page[::-1] if query.ending_before else page, len(found) > query.limit


def _all_of(conditions: Iterable[LiteralString]) -> LiteralString:
    joined: LiteralString = ") and (".join(conditions)
    return "(" + joined + ")"


_CREATED: dict[str, tuple[LiteralString, tuple[int, ...]]] = {
    "gte": ("created_at >= %s", (0,)),
    "gt": ("created_at >= %s", (1,)),
    "lte": ("created_at < %s", (1,)),
    "lt": ("created_at < %s", (0,)),
    "exact": ("created_at >= %s and created_at < %s", (0, 1)),
}
"""By operator: the condition, and the seconds to add for each of its values."""
_AFTER: LiteralString = (
    "(created_at, id) < (select created_at, id from sandbox.documents "
    "where tool = 'stripe' and kind = %s and id = %s)"
)
_BEFORE: LiteralString = (
    "(created_at, id) > (select created_at, id from sandbox.documents "
    "where tool = 'stripe' and kind = %s and id = %s)"
)


def _by_status(value: str) -> tuple[LiteralString, list[Any]]:
    if value == "all":
        return "true", []
    if value == "ended":
        return "body ->> 'status' in ('canceled', 'incomplete_expired')", []
    if value not in STATUSES:
        known = ", ".join((*STATUSES, "all", "ended"))
        raise StripeError(400, f"Invalid status: must be one of {known}", param="status")
    return "body ->> 'status' = %s", [value]


def _by_type(value: str) -> tuple[LiteralString, list[Any]]:
    """Match an event's type; a star matches anything."""
    if not re.fullmatch(r"[a-z_.]*\*?", value) or not value:
        raise StripeError(400, f"Invalid event type: {value}", param="type")
    return "body ->> 'type' like %s", [value.replace("_", r"\_").replace("*", "%")]


_FILTERS: dict[str, Callable[[str], tuple[LiteralString, list[Any]]]] = {
    "status": _by_status,
    "type": _by_type,
}


def _show_customer(store: Store, body: Body, expand: frozenset[str]) -> Body:
    url = f"/v1/customers/{body['id']}"
    shown = dict(body)
    if "data.sources" in expand:
        shown["sources"] = list_of(f"{url}/sources", [])
    if "data.tax_ids" in expand:
        shown["tax_ids"] = list_of(f"{url}/tax_ids", [])
    if "data.subscriptions" in expand:
        running = store.find(
            "subscription",
            "body ->> 'customer' = %s and body ->> 'status' not in "
            "('canceled', 'incomplete_expired')",
            [body["id"]],
            order="created_at desc, id desc",
        )
        shown["subscriptions"] = list_of(f"{url}/subscriptions", running)
    return shown


def _show_charge(_: Store, body: Body, expand: frozenset[str]) -> Body:
    refunds = {**body["refunds"], "url": f"/v1/charges/{body['id']}/refunds"}
    shown = {key: value for key, value in body.items() if key != "refunds"}
    return {**shown, "refunds": refunds} if "data.refunds" in expand else shown


def _show_invoice(_: Store, body: Body, _expand: frozenset[str]) -> Body:
    return shortened(body)


TIERS = frozenset({"data.plan.tiers"})
CUSTOMERS = Listing(
    "customer",
    "customer",
    expandable=frozenset({"data.sources", "data.subscriptions", "data.tax_ids"}),
    show=_show_customer,
)
SUBSCRIPTIONS = Listing(
    "subscription", "subscription", expandable=TIERS, filters=frozenset({"status"})
)
INVOICES = Listing("invoice", "invoice", show=_show_invoice)
INVOICE_ITEMS = Listing("invoiceitem", "invoiceitem", expandable=TIERS)
CHARGES = Listing("charge", "charge", expandable=frozenset({"data.refunds"}), show=_show_charge)
PRODUCTS = Listing("product", "product")
PLANS = Listing("plan", "plan", expandable=frozenset({"data.tiers"}))
EVENTS = Listing("event", "event", filters=frozenset({"type"}))


@router.get("/v1/account")
def show_own_account(request: Request, store: StoreOf) -> Response:
    """Show the account that the key belongs to."""
    return show_account(ACCOUNT_ID, request, store)


@router.get("/v1/accounts/{account_id}")
def show_account(account_id: str, request: Request, store: StoreOf) -> Response:
    """Show the company's own account."""
    try:
        check_request(request)
        parse_none(request)
        account = store.one("account", account_id)
        if account is None:
            raise _no_such_account(account_id)
    except StripeError as error:
        return error.response
    return _answer(account)


def parse_none(request: Request) -> None:
    """Refuse any parameter."""
    for key in request.query_params:
        raise StripeError(
            400, f"Received unknown parameter: {key}", code="parameter_unknown", param=key
        )


def _route(listing: Listing) -> Callable[[Request, Store], Response]:
    """Return a route that lists the objects of a kind."""

    def list_objects(request: Request, store: StoreOf) -> Response:
        return _list(request, store, listing)

    return list_objects


for _path, _listing in {
    "/v1/customers": CUSTOMERS,
    "/v1/subscriptions": SUBSCRIPTIONS,
    "/v1/invoices": INVOICES,
    "/v1/invoiceitems": INVOICE_ITEMS,
    "/v1/charges": CHARGES,
    "/v1/products": PRODUCTS,
    "/v1/plans": PLANS,
    "/v1/events": EVENTS,
}.items():
    router.add_api_route(_path, _route(_listing))


# --- Lists within an object


@router.get("/v1/invoices/{invoice_id}/lines")
def list_lines(invoice_id: str, request: Request, store: StoreOf) -> Response:
    """List an invoice's lines."""
    try:
        check_request(request)
        query = parse(request.query_params.multi_items(), has_created=False)
        invoice = _known(store, "invoice", invoice_id, param="invoice", status=404)
        # A line of an invoice item has the item's ID here.
        answer = _part(invoice["lines"], query, "invoice item")
    except StripeError as error:
        return error.response
    return _answer(answer)


@router.get("/v1/subscription_items")
def list_subscription_items(request: Request, store: StoreOf) -> Response:
    """List a subscription's items."""
    try:
        check_request(request)
        query = parse(
            request.query_params.multi_items(),
            filters=frozenset({"subscription"}),
            has_created=False,
        )
        if "subscription" not in query.filters:
            raise StripeError(
                400,
                "Missing required param: subscription.",
                code="parameter_missing",
                param="subscription",
            )
        id_ = query.filters["subscription"]
        subscription = _known(store, "subscription", id_, param="subscription", status=400)
        answer = _part(subscription["items"], query, "subscription item")
    except StripeError as error:
        return error.response
    return _answer(answer)


def _known(store: Store, kind: str, id_: str, *, param: str, status: int) -> Body:
    body = store.one(kind, id_)
    if body is None:
        raise StripeError(status, f"No such {kind}: '{id_}'", code="resource_missing", param=param)
    return body


def _part(whole: Body, query: Query, name: str) -> Body:
    """Return a page of a list, in the list's own order."""
    entries = whole["data"]
    positions = {entry["id"]: number for number, entry in enumerate(entries)}
    cursor = query.starting_after or query.ending_before
    if cursor is not None and cursor not in positions:
        param = "starting_after" if query.starting_after else "ending_before"
        raise StripeError(400, f"No such {name}: '{cursor}'", code="resource_missing", param=param)
    if query.ending_before:
        before = entries[: positions[query.ending_before]]
        return list_of(whole["url"], before[-query.limit :], has_more=len(before) > query.limit)
    rest = entries[positions[query.starting_after] + 1 :] if query.starting_after else entries
    return list_of(whole["url"], rest[: query.limit], has_more=len(rest) > query.limit)
