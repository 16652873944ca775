"""What the fakes answer is what the vendors' own specifications describe, object by object.

Stripe's types are in the `stripe` package on PyPI, generated from the specification of one API
version. The specifications themselves are too large for this repository, and a test has no network.
Whoever has them names their folder in `OPENAPI_SPECIFICATIONS`; `SPECIFICATIONS` has the files.
"""

import inspect
import json
import os
import typing
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import httpx
import pytest
import stripe
import yaml
from jsonschema import Draft4Validator, Draft202012Validator
from sandbox.saas.documents import Body, Documents
from sandbox.saas.stripe import every_way
from sandbox.saas.stripe.objects import list_of, plan_of, shortened
from sandbox.saas.stripe.versions import BASIL, NEWEST, OLD, Find, render, render_event
from stripe._object_classes import get_object_class

from .conftest import SECRET, Saas

SPECIFICATIONS = {
    NEWEST: "stripe-2026-10-28.endive.json",  # latest/openapi.spec3.json of stripe/openapi
    BASIL: "stripe-2025-03-31.basil.json",
    OLD: "stripe-2022-11-15.yaml",  # openapi/spec3.yaml of stripe/openapi, a1e2bbd3
    "close": "close.yaml",  # https://developer.close.com/openapi.yml
    "intercom": "intercom.yaml",  # descriptions/2.16 of intercom/Intercom-OpenAPI
}
INTERCOM_VERSION = "2.16"
KINDS = (
    *("account", "balance_transaction", "charge", "coupon", "credit_note", "customer", "discount"),
    *("dispute", "invoice", "invoice_payment", "invoiceitem", "payment_intent", "payout", "plan"),
    *("price", "product", "refund", "subscription", "subscription_schedule", "tax_rate"),
)


OPTIONAL = {
    "charge": "authorization_code level3 presentment_details radar_options refunds transfer",
    "coupon": "applies_to currency_options",
    "customer": "business_name cash_balance individual_name invoice_credit_balance sources "
    "subscriptions tax tax_ids",
    "dispute": "network_reason_code payment_method_details",
    "invoice": "amount_paid_off_stripe confirmation_secret payments status_details "
    "threshold_reason",
    "invoiceitem": "frozen_fields invoicing_rules net_amount proration_details",
    "payment_intent": "amount_details hooks payment_details presentment_details",
    "plan": "tiers",
    "price": "currency_options tiers",
    "refund": "description destination_details failure_balance_transaction failure_reason "
    "instructions_email next_action pending_reason presentment_details",
    "subscription": "presentment_details status_details",
    "subscription_item": "billed_until quantity",
}
"""What an object may lack. The package's types don't tell it from what may be null."""


@pytest.fixture(scope="module")
def documents() -> Documents:
    """Two customers of every way of charging."""
    return every_way.build(2 * len(every_way.WAYS))


def found_in(documents: Documents) -> Find:
    def find(kind: str, id_: str) -> Body | None:
        gone = documents.get("_deleted", f"{kind}/{id_}")
        return documents.get(kind, id_) or (gone and gone["body"])

    return find


def shown(documents: Documents, kind: str, version: str) -> Iterator[Body]:
    """Every object of a kind, with what is shown on request only, in a version of the API."""
    find = found_in(documents)
    for body in documents.of("price" if kind == "plan" else kind):
        if kind == "plan" and body["recurring"] is None:
            continue
        body = shortened(plan_of(body) if kind == "plan" else body)
        if "_tiers" in body:
            body = {**body, "tiers": body["_tiers"]}
        if kind == "invoice" and version != OLD:
            payment = documents.get("invoice_payment", body.get("_payment", ""))
            body = {
                **body,
                "payments": list_of("/v1/invoice_payments", [payment] if payment else []),
            }
        yield render(body, version, find)


# --- Stripe's newest version, by the types of its package


@pytest.mark.parametrize("kind", KINDS)
def test_stripe_answers_what_the_types_of_its_package_say(documents: Documents, kind: str) -> None:
    assert stripe.api_version == NEWEST
    bodies = list(shown(documents, kind, NEWEST))
    assert bodies
    wrong = {problem for body in bodies for problem in differences(body)}
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("version", [NEWEST, BASIL, OLD])
def test_every_kind_of_event_is_one_of_stripe(documents: Documents, version: str) -> None:
    known = get_args(inspect.get_annotations(stripe.Event)["type"])
    events = [render_event(e, version, found_in(documents)) for e in documents.of("event")]
    assert len(events) > 1000
    for event in events:
        assert event["type"] in known
        assert event["api_version"] == version
        if version == NEWEST:
            assert not list(differences(event["data"]["object"]))


def differences(value: Any, hint: Any = None, path: str = "") -> Iterator[str]:
    """Yield what an object has that its class in Stripe's package doesn't allow.

    Args:
        value: An object of the API, or a value within one.
        hint: The type that the package gives for the value; for an object, found by its name.
        path: Where the value is, for the message.
    """
    if isinstance(value, dict) and "object" in value:
        name = value["object"]
        if name == "list":
            for entry in value["data"]:
                yield from differences(entry, None, f"{path}[]")
            return
        class_ = get_object_class("V1", name)
        yield from _differences_of_class(value, class_, path or name)
        optional = {"deleted", *OPTIONAL.get(name, "").split()}
        for missing in _fields(class_).keys() - value.keys() - optional:
            if name != "account":  # most of it is about the company
                yield f"{path or name}.{missing}: missing"
        return
    if isinstance(hint, str | ForwardRef):
        hint = getattr(stripe, hint if isinstance(hint, str) else hint.__forward_arg__)
    choices = _choices(hint)
    literals = [choice for choice in choices if get_origin(choice) is Literal]
    if value is None:
        allowed = type(None) in choices
    elif isinstance(value, str) and literals:
        # The types allow any other text too, for values that are added later.
        allowed = value in [text for literal in literals for text in get_args(literal)]
    elif isinstance(value, dict):
        classes = [
            choice for choice in choices if hasattr(get_origin(choice) or choice, "OBJECT_NAME")
        ]
        nested = [c for c in choices if isinstance(c, type) and issubclass(c, stripe.StripeObject)]
        for class_ in nested[:1]:
            yield from _differences_of_class(value, class_, path)
        allowed = bool(nested or classes) or any(
            get_origin(choice) in (dict, stripe._stripe_object.UntypedStripeObject)
            for choice in choices
        )
    elif isinstance(value, list):
        lists = [choice for choice in choices if get_origin(choice) is list]
        for entry in value if lists else ():
            yield from differences(entry, get_args(lists[0])[0], f"{path}[]")
        allowed = bool(lists)
    else:
        types = {bool: (bool,), int: (int, float), float: (float,), str: (str, Decimal)}
        allowed = Any in choices or any(choice in types[type(value)] for choice in choices)
    if not allowed:
        yield f"{path}: {value!r:.60} is not {hint}"


@cache
def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Union:
        return tuple(choice for part in get_args(hint) for choice in _choices(part))
    return (hint,)


@cache
def _fields(class_: type) -> dict[str, Any]:
    own = inspect.get_annotations(class_)
    return {name: hint for name, hint in own.items() if get_origin(hint) is not typing.ClassVar}


def _differences_of_class(value: Body, class_: type, path: str) -> Iterator[str]:
    fields = _fields(class_)
    for name in value.keys() - fields.keys():
        yield f"{path}.{name}: unknown"
    for name, hint in fields.items():
        if name in value:
            yield from differences(value[name], hint, f"{path}.{name}")
        elif type(None) not in _choices(hint):
            yield f"{path}.{name}: missing"


# --- Any version and vendor, by its OpenAPI specification


def specification(name: str) -> dict[str, Any]:
    """A vendor's specification; the test is skipped if it isn't there."""
    folder = os.environ.get("OPENAPI_SPECIFICATIONS")
    path = Path(folder or ".", SPECIFICATIONS[name])
    if not folder or not path.exists():
        pytest.skip(f"needs {path.name} in the folder that OPENAPI_SPECIFICATIONS names")
    text = path.read_text()
    loaded: dict[str, Any] = (
        json.loads(text) if path.suffix == ".json" else yaml.load(text, yaml.CSafeLoader)
    )
    return loaded


def validator(specification: dict[str, Any], schema: Any) -> Draft4Validator | Draft202012Validator:
    """OpenAPI 3.1 is JSON Schema's draft 2020-12; 3.0 is its draft 4, with `nullable`."""
    if specification["openapi"].startswith("3.1"):
        return Draft202012Validator({**specification, "paths": {}, **schema})
    loaded = {**specification, "paths": {}, "components": _nullable(specification["components"])}
    return Draft4Validator({**loaded, **_nullable(schema)})


def problems(valid: Draft4Validator | Draft202012Validator, body: Any) -> Iterator[str]:
    """Yield what a body has that its schema doesn't allow, as deep within it as can be said."""
    for error in valid.iter_errors(body):
        while error.context:
            error = max(error.context, key=lambda inner: len(inner.absolute_path))
        place = ".".join("[]" if isinstance(p, int) else p for p in error.absolute_path)
        yield f"{place}: {error.message:.200}"


def _nullable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_nullable(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    known = {key: _nullable(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [known, {"type": "null"}]} if schema.get("nullable") is True else known


@pytest.mark.parametrize("version", [NEWEST, BASIL, OLD])
@pytest.mark.parametrize("kind", KINDS)
def test_stripe_answers_what_its_specification_says(
    documents: Documents, kind: str, version: str
) -> None:
    loaded = specification(version)
    if kind == "invoice_payment" and version == OLD:
        pytest.skip("came in 2025-03-31")
    valid = validator(loaded, {"$ref": f"#/components/schemas/{kind}"})
    wrong = {
        problem for body in shown(documents, kind, version) for problem in problems(valid, body)
    }
    assert not wrong, "\n".join(sorted(wrong)[:20])


def errors_of(loaded: dict[str, Any], path: str, method: str, answer: httpx.Response) -> set[str]:
    """What an answer has that the vendor's specification doesn't allow there."""
    assert answer.status_code == 200, answer.text
    response = loaded["paths"][path][method]["responses"]["200"]
    valid = validator(loaded, response["content"]["application/json"]["schema"])
    return set(problems(valid, answer.json()))


@pytest.mark.parametrize(
    "path",
    [
        *("/lead/", "/contact/", "/opportunity/", "/task/", "/activity/", "/user/", "/event/"),
        *("/custom_field/lead/", "/custom_field/contact/", "/custom_field/opportunity/"),
        *("/custom_field/activity/", "/custom_field/shared/", "/status/lead/"),
        *("/status/opportunity/", "/pipeline/", "/custom_activity/"),
    ],
)
def test_close_answers_what_its_specification_says(saas: Saas, path: str) -> None:
    loaded = specification("close")
    answer = saas.client.get(f"/close/api/v1{path}", auth=(SECRET, ""))
    wrong = errors_of(loaded, path, "get", answer)
    assert not wrong, "\n".join(sorted(wrong))


INTERCOM_ITSELF_DIFFERS = (
    # The specification says texts, and its own example has a truth value and numbers.
    "custom_attributes.",
    # Its answers have null for what hasn't happened yet, as in the older of these attributes.
    "statistics.time_to_admin_reply: None",
    "statistics.time_to_first_close: None",
)
SEARCH = {"query": {"field": "created_at", "operator": ">", "value": 0}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admins", None),
        ("/teams", None),
        ("/tags", None),
        ("/companies/scroll", None),
        ("/contacts/search", SEARCH),
        ("/contacts/{contact_id}/tags", None),
        ("/contacts/{contact_id}/companies", None),
        ("/conversations/search", SEARCH),
        ("/conversations/{conversation_id}", None),
    ],
)
def test_intercom_answers_what_its_specification_says(
    saas: Saas, path: str, body: dict[str, Any] | None
) -> None:
    loaded = specification("intercom")
    headers = {"Authorization": f"Bearer {SECRET}", "Intercom-Version": INTERCOM_VERSION}
    documents = saas.documents("intercom")
    ids = {f"{kind}_id": documents.of(kind)[0]["id"] for kind in ("contact", "conversation")}
    url = f"/intercom{path.format(**ids)}"
    if body is None:
        wrong = errors_of(loaded, path, "get", saas.client.get(url, headers=headers))
    else:
        answer = saas.client.post(url, json=body, headers=headers)
        wrong = errors_of(loaded, path, "post", answer)
    wrong = {error for error in wrong if not any(map(error.__contains__, INTERCOM_ITSELF_DIFFERS))}
    assert not wrong, "\n".join(sorted(wrong))
