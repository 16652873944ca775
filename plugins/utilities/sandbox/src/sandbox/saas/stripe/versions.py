"""Renders objects as older versions of Stripe's API show them.

The world stores objects in the newest version. As Stripe does, each step back undoes the breaking
changes of one version: https://docs.stripe.com/changelog. Attributes that were only added stay.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sandbox.saas.documents import Body
from sandbox.saas.stripe.objects import period_of, priced, subscription_of

NEWEST = "2026-10-28.endive"
"""What the `stripe` package 16.1.0 on PyPI documents."""
BASIL = "2025-03-31.basil"
OLD = "2022-11-15"
VERSIONS = (NEWEST, BASIL, OLD)
ACCOUNT_VERSION = OLD
"""The version of an account that has set none."""

Find = Callable[[str, str], Body | None]
"""Finds an object by its kind and ID, deleted ones included."""
Step = Callable[[Body, Find], Body]


def render(body: Body, version: str, find: Find) -> Body:
    """Return an object, with all that it holds, as a version of the API shows it.

    Args:
        body: The object in the newest version.
        version: One of `VERSIONS`.
        find: Finds the objects that older versions showed within others.
    """
    rendered: Body = _walk(body, STEPS[: VERSIONS.index(version)], find)
    return rendered


def render_event(event: Body, version: str, find: Find) -> Body:
    """Return an event with its object in a version: the account's, whatever a request names."""
    data = event["data"]
    shown = {"object": render(data["object"], version, find)}
    if "previous_attributes" in data:
        before = render({**data["object"], **data["previous_attributes"]}, version, find)
        shown["previous_attributes"] = {
            key: value for key, value in before.items() if shown["object"].get(key) != value
        }
    return {**event, "api_version": version, "data": shown}


def _walk(value: Any, steps: Iterable[dict[str, Step]], find: Find) -> Any:
    if isinstance(value, list):
        return [_walk(entry, steps, find) for entry in value]
    if not isinstance(value, dict):
        return value
    for step in steps:
        change = step.get(value.get("object", ""))
        value = change(value, find) if change else value
    return {key: _walk(v, steps, find) for key, v in value.items() if not key.startswith("_")}


def _without(body: Body, names: str, **own: Any) -> Body:
    gone = names.split()
    return {**{key: value for key, value in body.items() if key not in gone}, **own}


def _found(find: Find, kind: str, id_: str | None) -> Body | None:
    return find(kind, id_) if id_ else None


# --- From 2025-09-30.clover to 2025-03-31.basil


def _discount(body: Body, find: Find) -> Body:
    return _without(body, "source", coupon=find("coupon", body["source"]["coupon"]))


# --- From 2025-03-31.basil to 2022-11-15


def _subscription(body: Body, find: Find) -> Body:
    period, items = period_of(body), body["items"]["data"]
    only = items[0] if len(items) == 1 else {}
    return _without(
        body,
        "discounts",
        current_period_end=period["end"],
        current_period_start=period["start"],
        discount=_found(find, "discount", next(iter(body["discounts"]), None)),
        plan=only.get("plan"),
        quantity=only.get("quantity"),
    )


def _subscription_item(body: Body, _: Find) -> Body:
    return _without(body, "current_period_end current_period_start discounts")


def _price(body: Body, _: Find) -> Body:
    recurring = body["recurring"]
    return {**body, "recurring": recurring and _usage(recurring)}


def _usage(body: Body, _: Find | None = None) -> Body:
    summed = "sum" if body["usage_type"] == "metered" else None
    return _without(body, "meter", aggregate_usage=summed)


def _invoice(body: Body, find: Find) -> Body:
    taxes = _tax_amounts(body["total_taxes"])
    return _without(
        body,
        "amount_overpaid parent payments total_taxes",
        application_fee_amount=None,
        charge=body.get("_charge"),
        discount=_found(find, "discount", next(iter(body["discounts"]), None)),
        paid=body["status"] == "paid",
        paid_out_of_band=body["_out_of_band"],
        payment_intent=body.get("_payment_intent"),
        quote=None,
        rendering_options=None,
        subscription=subscription_of(body),
        subscription_details={"metadata": body["metadata"]},
        tax=sum(tax["amount"] for tax in taxes) if taxes else None,
        total_tax_amounts=taxes,
        transfer_data=None,
    )


def _line(body: Body, find: Find) -> Body:
    details = body["parent"][body["parent"]["type"]]
    item = details.get("subscription_item")
    tax = sum(t["amount"] for t in body["taxes"] if t["tax_behavior"] == "inclusive")
    optional = {"invoice_item": details["invoice_item"], "subscription_item": item}
    return _without(
        body,
        "invoice parent pretax_credit_amounts pricing quantity_decimal subtotal taxes",
        amount_excluding_tax=body["amount"] - tax,
        **_priced_as_before(body, find),
        proration=details["proration"],
        proration_details=details["proration_details"],
        tax_amounts=_tax_amounts(body["taxes"]),
        tax_rates=[find("tax_rate", t["tax_rate_details"]["tax_rate"]) for t in body["taxes"]],
        type="subscription" if details["invoice_item"] is None else "invoiceitem",
        unit_amount_excluding_tax=body["pricing"]["unit_amount_decimal"],
        **{key: value for key, value in optional.items() if value is not None},
    )


def _invoice_item(body: Body, find: Find) -> Body:
    held = body["parent"]["subscription_details"] if body["parent"] else {"subscription": None}
    unit_amount = body["pricing"]["unit_amount_decimal"]
    is_whole = unit_amount is not None and unit_amount.lstrip("-").isdigit()
    return _without(
        body,
        "net_amount parent pricing proration_details quantity_decimal",
        **_priced_as_before(body, find),
        **held,
        unit_amount=int(unit_amount) if is_whole else None,
        unit_amount_decimal=unit_amount,
    )


def _priced_as_before(body: Body, find: Find) -> Body:
    price = find("price", body["pricing"]["price_details"]["price"])
    if price is None:
        return {"price": None, "plan": None}
    return priced(price) if price["recurring"] else {"price": price, "plan": None}


def _tax_amounts(taxes: Iterable[Body]) -> list[Body]:
    return [
        {
            "amount": tax["amount"],
            "inclusive": tax["tax_behavior"] == "inclusive",
            "tax_rate": tax["tax_rate_details"]["tax_rate"],
            "taxability_reason": tax["taxability_reason"],
            "taxable_amount": tax["taxable_amount"],
        }
        for tax in taxes
    ]


def _credit_note(body: Body, _: Find) -> Body:
    refunds = [given["refund"] for given in body["refunds"]]
    return _without(
        body,
        "post_payment_amount pre_payment_amount refunds total_taxes",
        refund=next(iter(refunds), None),
        tax_amounts=_tax_amounts(body["total_taxes"]),
    )


def _credit_note_line(body: Body, _: Find) -> Body:
    tax = sum(t["amount"] for t in body["taxes"] if t["tax_behavior"] == "inclusive")
    return _without(
        body,
        "taxes",
        amount_excluding_tax=body["amount"] - tax,
        tax_amounts=_tax_amounts(body["taxes"]),
        unit_amount_excluding_tax=None,
    )


def _paid_for(body: Body, _: Find) -> Body:
    return {**body, "invoice": body["_invoice"]}


def _schedule(body: Body, _: Find) -> Body:
    return {**body, "phases": [_phase(phase) for phase in body["phases"]]}


def _phase(phase: Body) -> Body:
    coupon = next((given["coupon"] for given in phase["discounts"]), None)
    items = [_without(item, "discounts") for item in phase["items"]]
    return _without(phase, "discounts", coupon=coupon, items=items)


STEPS: tuple[dict[str, Step], ...] = (
    {"discount": _discount},
    {
        "charge": _paid_for,
        "credit_note": _credit_note,
        "credit_note_line_item": _credit_note_line,
        "invoice": _invoice,
        "invoiceitem": _invoice_item,
        "line_item": _line,
        "payment_intent": _paid_for,
        "plan": _usage,
        "price": _price,
        "subscription": _subscription,
        "subscription_item": _subscription_item,
        "subscription_schedule": _schedule,
    },
)
"""By version, newest first: what changes on the way to the one before."""
