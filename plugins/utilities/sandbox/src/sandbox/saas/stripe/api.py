"""A fake of Stripe's API: the lists and objects that an extractor reads.

It answers as https://docs.stripe.com/api documents: newest first, in pages, within ranges of
`created`, with some attributes only on request, in the version that the request names. Events are
in the account's version. It refuses all other requests.
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
from psycopg.types.json import Jsonb

from sandbox.saas.documents import Body
from sandbox.saas.store import Store, store_of
from sandbox.saas.stripe.objects import ACCOUNT_ID, list_of, plan_of, shortened
from sandbox.saas.stripe.versions import (
    ACCOUNT_VERSION,
    OLD,
    VERSIONS,
    render,
    render_event,
)

logger = logging.getLogger(__name__)

RATE_LIMIT: tuple[int, float] = (100, 1.0)
PAGE_SIZE, PAGE_SIZE_AT_MOST = 10, 100
EXPANSION_DEPTH = 4
WITHOUT = "_without_"
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
    own = {"Request-Id": f"req_{uuid.uuid4().hex[:14]}"}
    return JSONResponse(body, status, {**own, **(headers or {})})


def authorised(request: Request, secret: str) -> bool:
    """Tell whether the request has the key, or a restricted key.

    The fake's restricted keys name what they lack: `rk_SECRET_without_payout_read,event_read`.
    """
    key = _key_of(request)
    _key.set(key or None)
    return key == secret or key.startswith(f"rk_{secret}{WITHOUT}")


def _key_of(request: Request) -> str:
    """Return the key of a request: the bearer token, or the user of basic auth."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            value = ""
    return value.strip()


def _lacking(key: str) -> list[str]:
    """Return the permissions that a key lacks; no restricted key may read the account."""
    names = key.partition(WITHOUT)[2]
    return [*names.split(","), ACCOUNT_PERMISSION] if names else []


def _masked(key: str) -> str:
    return f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}" if len(key) > 16 else "*" * len(key)


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
        message = f"Invalid API Key provided: {_masked(key)}"
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


# --- Requests


@dataclass(frozen=True)
class Resource:
    """A kind of object that the API lists, and shows by its ID."""

    kind: str
    permission: str
    """What a restricted key needs to read it: https://docs.stripe.com/keys/restricted-api-keys."""
    filters: frozenset[str] = frozenset()


@dataclass
class Query:
    """A request's parameters, each known and well-formed."""

    limit: int = PAGE_SIZE
    starting_after: str | None = None
    ending_before: str | None = None
    created: dict[str, int] = field(default_factory=dict)
    expand: dict[str, str] = field(default_factory=dict)
    """What is to be expanded, without `data.`; and the parameter that says so, for errors."""
    filters: dict[str, str | list[str]] = field(default_factory=dict)


def parse(
    parameters: Iterable[tuple[str, str]],
    *,
    filters: Iterable[str] = (),
    has_created: bool = True,
    has_pages: bool = True,
) -> Query:
    """Read the parameters of a list, or of one object.

    Raises:
        StripeError: A parameter is unknown, or has a wrong value.
    """
    query = Query()
    for key, value in parameters:
        created = re.fullmatch(r"created(?:\[(gte|gt|lte|lt)\])?", key) if has_created else None
        if re.fullmatch(r"expand\[\d*\]", key):
            _read_expansion(query, key, value, of_list=has_pages)
        elif key == "limit" and has_pages:
            query.limit = _page_size(value)
        elif key == "starting_after" and has_pages:
            query.starting_after = value
        elif key == "ending_before" and has_pages:
            query.ending_before = value
        elif created:
            query.created[created[1] or "exact"] = _integer(value, key)
        elif re.fullmatch(r"types\[\d*\]", key) and "types" in filters:
            query.filters["types"] = [*query.filters.get("types", []), value]
        elif key in filters and key != "types":
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


def _read_expansion(query: Query, key: str, value: str, *, of_list: bool) -> None:
    path = value.removeprefix("data.") if of_list else value
    if of_list and path == value:
        raise _cannot_expand(value, key)
    if len(value.split(".")) > EXPANSION_DEPTH:
        message = f"You cannot expand more than {EXPANSION_DEPTH} levels of a property ({value})."
        raise StripeError(400, message, param=key)
    query.expand[path] = key


def _cannot_expand(path: str, param: str) -> StripeError:
    return StripeError(400, f"This property cannot be expanded ({path}).", param=param)


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


class Reader:
    """What one request may read, in the version of the API that it names."""

    def __init__(self, request: Request, store: Store, permission: str) -> None:
        """Check the request's headers.

        Raises:
            StripeError: The version or the account is unknown, or the key lacks the permission.
        """
        self._store = store
        self._found: dict[tuple[str, str], Body | None] = {}
        known = store.one("_version", "account")
        self.account_version = known["version"] if known else ACCOUNT_VERSION
        self.version = request.headers.get("Stripe-Version", self.account_version)
        if self.version not in VERSIONS:
            raise StripeError(400, f"Invalid Stripe API version: {self.version}")
        account = request.headers.get("Stripe-Account", ACCOUNT_ID)
        if account != ACCOUNT_ID:
            raise _no_such_account(account)
        key = _key_of(request)
        if permission in _lacking(key):
            raise StripeError(
                403,
                f"The provided key '{_masked(key)}' does not have the required permissions for "
                f"this endpoint on account '{account}'. Having the 'rak_{permission}' permission "
                "would allow this request to continue.",
            )

    def find(self, kind: str, id_: str) -> Body | None:
        """Find an object, a deleted one included."""
        if (kind, id_) not in self._found:
            body = self._store.one(kind, id_)
            gone = None if body else self._store.one("_deleted", f"{kind}/{id_}")
            self._found[kind, id_] = gone["body"] if gone else body
        return self._found[kind, id_]

    def show(self, body: Body, expand: dict[str, str]) -> Body:
        """Return an object as the API answers it."""
        if body["object"] == "event":
            return render_event(body, self.account_version, self.find)
        body = shortened(body)
        for path, param in expand.items():
            if (self.version, path) not in EXPANDED_BEFORE:
                body = self._expanded(body, path.split("."), path, param)
        return render(body, self.version, self.find)

    def _expanded(self, value: Any, names: list[str], path: str, param: str, kind: str = "") -> Any:
        """Return a value in which what is at the path is expanded."""
        if isinstance(value, list):
            return [self._expanded(entry, names, path, param, kind) for entry in value]
        if value is None or not names:
            return value
        name, *rest = names
        kind = value.get("object", kind)
        if (kind, name) in INCLUDED:
            inner = INCLUDED[kind, name](self._store, value)
        elif name in value and name in EXPANDABLE.get(kind, {}):
            inner = self._whole(value[name], EXPANDABLE[kind][name])
        elif rest and name in value and isinstance(value[name], dict | list | None):
            inner = value[name]
        else:
            raise _cannot_expand(path, param)
        if inner is None and name not in value:
            return value
        return {**value, name: self._expanded(inner, rest, path, param, f"{kind}.{name}")}

    def _whole(self, value: Any, kind: str) -> Any:
        if isinstance(value, list):
            return [self._whole(entry, kind) for entry in value]
        return self.find(kind, value) if isinstance(value, str) else value

    def page(self, resource: Resource, query: Query) -> tuple[list[Body], bool]:
        """Return objects, newest first; before a cursor are the next newer ones."""
        kind = resource.kind
        conditions: list[LiteralString] = ["true"]
        values: list[Any] = []
        for operator, seconds in query.created.items():
            # Stripe's times are whole seconds; the documents have microseconds.
            condition, later = _CREATED[operator]
            conditions.append(condition)
            values += [datetime.fromtimestamp(seconds + extra, UTC) for extra in later]
        for name, value in query.filters.items():
            condition, arguments = _filter(kind, name, value)
            conditions.append(condition)
            values += arguments
        if kind == "subscription" and "status" not in query.filters:
            conditions.append("body ->> 'status' <> 'canceled'")
        if kind == "plan":
            kind = "price"
            conditions.append("body ->> 'type' = 'recurring'")
        cursor = query.starting_after or query.ending_before
        if cursor is not None:
            param = "starting_after" if query.starting_after else "ending_before"
            if self._store.one(kind, cursor) is None:
                raise _missing(resource.kind, cursor, param, status=400)
            conditions.append(_AFTER if query.starting_after else _BEFORE)
            values += [kind, cursor]
        found = self._store.find(
            kind,
            _all_of(conditions),
            values,
            order="created_at, id" if query.ending_before else "created_at desc, id desc",
            limit=query.limit + 1,
        )
        page = found[: query.limit]
        if resource.kind == "plan":
            page = [plan_of(price) for price in page]
        return page[::-1] if query.ending_before else page, len(found) > query.limit


def _missing(kind: str, id_: str, param: str, *, status: int) -> StripeError:
    message = f"No such {kind}: '{id_}'"
    return StripeError(status, message, code="resource_missing", param=param)


def _no_such_account(account: str) -> StripeError:
    return StripeError(
        403,
        f"The provided key does not have access to account '{account}' (or that account does not "
        "exist). Application access may have been revoked.",
        code="account_invalid",
    )


# --- What objects show on request only


def _tiers(store: Store, body: Body) -> list[Body] | None:
    price = store.one("price", body["id"]) or {}
    tiers: list[Body] | None = body.get("_tiers", price.get("_tiers"))
    return tiers


def _payments(store: Store, invoice: Body) -> Body:
    payment = store.one("invoice_payment", invoice.get("_payment", ""))
    return list_of("/v1/invoice_payments", [payment] if payment else [])


def _refunds(store: Store, charge: Body) -> Body:
    found = store.find("refund", "body ->> 'charge' = %s", [charge["id"]])
    return list_of(f"/v1/charges/{charge['id']}/refunds", found[::-1])


def _subscriptions(store: Store, customer: Body) -> Body:
    running = store.find(
        "subscription",
        "body ->> 'customer' = %s and body ->> 'status' not in ('canceled', 'incomplete_expired')",
        [customer["id"]],
        order="created_at desc, id desc",
    )
    return list_of(f"/v1/customers/{customer['id']}/subscriptions", running)


def _empty(name: str) -> Callable[[Store, Body], Body]:
    return lambda _, customer: list_of(f"/v1/customers/{customer['id']}/{name}", [])


INCLUDED: dict[tuple[str, str], Callable[[Store, Body], Any]] = {
    ("charge", "refunds"): _refunds,
    ("coupon", "applies_to"): lambda _store, _coupon: None,
    ("customer", "sources"): _empty("sources"),
    ("customer", "subscriptions"): _subscriptions,
    ("customer", "tax_ids"): _empty("tax_ids"),
    ("invoice", "payments"): _payments,
    ("plan", "tiers"): _tiers,
    ("price", "tiers"): _tiers,
}
EXPANDABLE: dict[str, dict[str, str]] = {
    "balance_transaction": {},
    "charge": {
        "balance_transaction": "balance_transaction",
        "customer": "customer",
        "payment_intent": "payment_intent",
    },
    "discount": {"customer": "customer"},
    "discount.source": {"coupon": "coupon"},
    "invoice": {"customer": "customer", "discounts": "discount"},
    "invoice.parent.subscription_details": {"subscription": "subscription"},
    "invoice_payment.payment": {"payment_intent": "payment_intent"},
    "invoiceitem": {"customer": "customer", "discounts": "discount", "invoice": "invoice"},
    "line_item": {"discounts": "discount", "subscription": "subscription"},
    "payment_intent": {"customer": "customer", "latest_charge": "charge"},
    "plan": {"product": "product"},
    "price": {"product": "product"},
    "refund": {"balance_transaction": "balance_transaction", "charge": "charge"},
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "subscription": {
        "customer": "customer",
        "discounts": "discount",
        "latest_invoice": "invoice",
        "schedule": "subscription_schedule",
    },
    "subscription_item": {"discounts": "discount"},
    "subscription_schedule": {"customer": "customer", "subscription": "subscription"},
}
"""By kind: which IDs can be expanded, and the kind of their objects."""
EXPANDED_BEFORE = {(OLD, "plan.tiers")}
"""What old versions could expand of objects that newer ones have elsewhere; no plan has tiers."""


# --- Lists


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
_EQUAL: dict[str, LiteralString] = {
    "active": "(body -> 'active')::text = %s",
    "charge": "body ->> 'charge' = %s",
    "currency": "body ->> 'currency' = %s",
    "customer": "body ->> 'customer' = %s",
    "invoice": "body ->> 'invoice' = %s",
    "payment_intent": "body ->> 'payment_intent' = %s",
    "product": "body ->> 'product' = %s",
    "source": "body ->> 'source' = %s",
    "status": "body ->> 'status' = %s",
    "subscription": "body #>> '{parent,subscription_details,subscription}' = %s",
    "type": "body ->> 'type' = %s",
}


def _filter(kind: str, name: str, value: str | list[str]) -> tuple[LiteralString, list[Any]]:
    if kind == "event":
        return _by_type(name, value)
    if kind == "subscription" and name == "status":
        return _by_status(str(value))
    return _EQUAL[name], [value]


def _by_status(value: str) -> tuple[LiteralString, list[Any]]:
    if value == "all":
        return "true", []
    if value == "ended":
        return "body ->> 'status' in ('canceled', 'incomplete_expired')", []
    if value not in STATUSES:
        known = ", ".join((*STATUSES, "all", "ended"))
        raise StripeError(400, f"Invalid status: must be one of {known}", param="status")
    return _EQUAL["status"], [value]


def _by_type(name: str, value: str | list[str]) -> tuple[LiteralString, list[Any]]:
    """Match events' types: one, in which a star matches anything, or some."""
    types = [value] if isinstance(value, str) else value
    for type_ in types:
        if not re.fullmatch(r"[a-z_.]*\*?" if name == "type" else r"[a-z_.]+", type_) or not type_:
            raise StripeError(400, f"Invalid event type: {type_}", param=name)
    patterns = [type_.replace("_", r"\_").replace("*", "%") for type_ in types]
    return "body ->> 'type' like any(%s)", [patterns]


def _filters(names: str) -> frozenset[str]:
    return frozenset(names.split())


RESOURCES: dict[str, Resource] = {
    "balance_transactions": Resource(
        "balance_transaction", "balance_transaction_source_read", _filters("currency source type")
    ),
    "charges": Resource("charge", "charge_read", _filters("customer payment_intent")),
    "coupons": Resource("coupon", "coupon_read"),
    "credit_notes": Resource("credit_note", "credit_note_read", _filters("customer invoice")),
    "customers": Resource("customer", "customer_read"),
    "disputes": Resource("dispute", "dispute_read", _filters("charge payment_intent")),
    "events": Resource("event", "event_read", _filters("type types")),
    "invoice_payments": Resource("invoice_payment", "invoice_read", _filters("invoice status")),
    "invoiceitems": Resource("invoiceitem", "invoice_read", _filters("customer invoice")),
    "invoices": Resource("invoice", "invoice_read", _filters("customer status subscription")),
    "payment_intents": Resource("payment_intent", "payment_intent_read", _filters("customer")),
    "payouts": Resource("payout", "payout_read", _filters("status")),
    "plans": Resource("plan", "plan_read", _filters("active product")),
    "prices": Resource("price", "plan_read", _filters("active currency product type")),
    "products": Resource("product", "product_read", _filters("active")),
    "refunds": Resource("refund", "charge_read", _filters("charge payment_intent")),
    "subscription_schedules": Resource(
        "subscription_schedule", "subscription_read", _filters("customer")
    ),
    "subscriptions": Resource("subscription", "subscription_read", _filters("customer status")),
    "tax_rates": Resource("tax_rate", "tax_rate_read", _filters("active")),
}
"""By path. Filters that the real API has but nothing uses are refused as unknown."""
ACCOUNT_PERMISSION = "accounts_kyc_basic_read"

StoreOf = Annotated[Store, Depends(store_of("stripe"))]
router = APIRouter()


def _answering(
    answer: Callable[[Request, Store], tuple[Reader, Any]],
) -> Callable[[Request, Store], Response]:
    """Return a route that answers, or refuses."""

    def route(request: Request, store: StoreOf) -> Response:
        try:
            reader, body = answer(request, store)
        except StripeError as error:
            return error.response
        return _answer(body, headers={"Stripe-Version": reader.version})

    return route


def _listing(resource: Resource, path: str) -> Callable[[Request, Store], tuple[Reader, Any]]:
    def answer(request: Request, store: Store) -> tuple[Reader, Any]:
        reader = Reader(request, store, resource.permission)
        query = parse(request.query_params.multi_items(), filters=resource.filters)
        bodies, has_more = reader.page(resource, query)
        shown = [reader.show(body, query.expand) for body in bodies]
        return reader, list_of(f"/v1/{path}", shown, has_more=has_more)

    return answer


def _showing(resource: Resource) -> Callable[[Request, Store], tuple[Reader, Any]]:
    def answer(request: Request, store: Store) -> tuple[Reader, Any]:
        reader = Reader(request, store, resource.permission)
        query = parse(request.query_params.multi_items(), has_created=False, has_pages=False)
        id_ = request.path_params["id_"]
        price = store.one("price", id_) if resource.kind == "plan" else None
        body = plan_of(price) if price else store.one(resource.kind, id_)
        if body is None and resource.kind == "customer" and reader.find("customer", id_):
            return reader, {"id": id_, "object": "customer", "deleted": True}
        if body is None:
            raise _missing(resource.kind, id_, "id", status=404)
        return reader, reader.show(body, query.expand)

    return answer


def _show_account(request: Request, store: Store) -> tuple[Reader, Any]:
    """Show the company's own account, which no restricted key may read."""
    reader = Reader(request, store, ACCOUNT_PERMISSION)
    id_ = request.path_params.get("id_", ACCOUNT_ID)
    parse(request.query_params.multi_items(), has_created=False, has_pages=False)
    account = store.one("account", id_)
    if account is None:
        raise _no_such_account(id_)
    return reader, reader.show(account, {})


def _list_lines(request: Request, store: Store) -> tuple[Reader, Any]:
    """List an invoice's lines."""
    reader = Reader(request, store, "invoice_read")
    query = parse(request.query_params.multi_items(), has_created=False)
    id_ = request.path_params["id_"]
    invoice = store.one("invoice", id_)
    if invoice is None:
        raise _missing("invoice", id_, "invoice", status=404)
    # A line of an invoice item has the item's ID in errors.
    return reader, _part(reader, invoice["lines"], query, "invoice item")


def _list_items(request: Request, store: Store) -> tuple[Reader, Any]:
    """List a subscription's items."""
    reader = Reader(request, store, "subscription_read")
    query = parse(request.query_params.multi_items(), filters=["subscription"], has_created=False)
    if "subscription" not in query.filters:
        message = "Missing required param: subscription."
        raise StripeError(400, message, code="parameter_missing", param="subscription")
    id_ = str(query.filters["subscription"])
    subscription = store.one("subscription", id_)
    if subscription is None:
        raise _missing("subscription", id_, "subscription", status=400)
    return reader, _part(reader, subscription["items"], query, "subscription item")


def _show_item(request: Request, store: Store) -> tuple[Reader, Any]:
    """Show an item of a subscription."""
    reader = Reader(request, store, "subscription_read")
    query = parse(request.query_params.multi_items(), has_created=False, has_pages=False)
    id_ = request.path_params["id_"]
    holders = store.find(
        "subscription", "body #> '{items,data}' @> %s", [Jsonb([{"id": id_}])], limit=1
    )
    for item in (item for holder in holders for item in holder["items"]["data"]):
        if item["id"] == id_:
            return reader, reader.show(item, query.expand)
    raise _missing("subscription item", id_, "id", status=404)


def _part(reader: Reader, whole: Body, query: Query, name: str) -> Body:
    """Return a page of a list, in the list's own order."""
    entries = whole["data"]
    positions = {entry["id"]: number for number, entry in enumerate(entries)}
    cursor = query.starting_after or query.ending_before
    if cursor is not None and cursor not in positions:
        param = "starting_after" if query.starting_after else "ending_before"
        raise _missing(name, cursor, param, status=400)
    if query.ending_before:
        before = entries[: positions[query.ending_before]]
        page, has_more = before[-query.limit :], len(before) > query.limit
    else:
        rest = entries[positions[query.starting_after] + 1 :] if query.starting_after else entries
        page, has_more = rest[: query.limit], len(rest) > query.limit
    shown = [reader.show(entry, query.expand) for entry in page]
    return list_of(whole["url"].split("?")[0], shown, has_more=has_more)


_ROUTES: dict[str, Callable[[Request, Store], tuple[Reader, Any]]] = {
    "account": _show_account,
    "accounts/{id_}": _show_account,
    "invoices/{id_}/lines": _list_lines,
    "subscription_items": _list_items,
    "subscription_items/{id_}": _show_item,
}
for _path, _resource in RESOURCES.items():
    _ROUTES[_path] = _listing(_resource, _path)
    # IDs of coupons may have any character.
    _ROUTES[f"{_path}/{{id_:path}}"] = _showing(_resource)
for _path, _answer_of in _ROUTES.items():
    router.add_api_route(f"/v1/{_path}", _answering(_answer_of))
