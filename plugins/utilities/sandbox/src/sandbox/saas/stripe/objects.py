"""The objects of Stripe's API version 2022-11-15 that this company uses.

A body is never changed in place: a change makes a new body. So an event can hold the object as it
was.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from random import Random
from typing import Any

from sandbox.saas.day import epoch
from sandbox.saas.documents import Body

ACCOUNT_ID = "acct_sandbox"
ACCOUNT_NAME = "Incidents Incorporated"
API_VERSION = "2022-11-15"
FIRST_LINES = 10
"""How many entries of a list Stripe shows within the object that holds it."""
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"


def make_id(rng: Random, prefix: str, length: int = 24) -> str:
    """Return an ID such as `in_1MtHbELkdIwHu7ixl4OzzPMv`; the prefix names the kind."""
    return f"{prefix}_" + "".join(rng.choices(ALPHABET, k=length))


def list_of(url: str, data: Sequence[Body], *, has_more: bool = False) -> Body:
    """Return a list in Stripe's format, as an answer or within an object."""
    return {"object": "list", "data": list(data), "has_more": has_more, "url": url}


def shortened(invoice: Body) -> Body:
    """Return an invoice as the API shows it: with its first lines."""
    lines = invoice["lines"]
    data = lines["data"]
    shown = {**lines, "data": data[:FIRST_LINES], "has_more": len(data) > FIRST_LINES}
    return {**invoice, "lines": shown}


def make_account(created: datetime) -> Body:
    """Return the company's own account."""
    return {
        "id": ACCOUNT_ID,
        "object": "account",
        "business_type": "company",
        "charges_enabled": True,
        "country": "US",
        "created": epoch(created),
        "default_currency": "usd",
        "details_submitted": True,
        "email": "billing@incidents.example",
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": ACCOUNT_NAME, "timezone": "Etc/UTC"}},
        "type": "standard",
    }


def make_product(id_: str, name: str, description: str, unit: str | None, at: datetime) -> Body:
    """Return a product."""
    return {
        "id": id_,
        "object": "product",
        "active": True,
        "attributes": [],
        "created": epoch(at),
        "default_price": None,
        "description": description,
        "images": [],
        "livemode": True,
        "metadata": {},
        "name": name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": unit,
        "updated": epoch(at),
        "url": None,
    }


def make_plan(
    id_: str, nickname: str, product: str, amount: int, currency: str, interval: str, at: datetime
) -> Body:
    """Return a plan: the price per seat and month or year, in the currency's smallest unit."""
    return {
        "id": id_,
        "object": "plan",
        "active": True,
        "aggregate_usage": None,
        "amount": amount,
        "amount_decimal": str(amount),
        "billing_scheme": "per_unit",
        "created": epoch(at),
        "currency": currency,
        "interval": interval,
        "interval_count": 1,
        "livemode": True,
        "metadata": {},
        "nickname": nickname,
        "product": product,
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def price_of(plan: Body) -> Body:
    """Return the price of a plan, its newer name."""
    return {
        "id": plan["id"],
        "object": "price",
        "active": plan["active"],
        "billing_scheme": "per_unit",
        "created": plan["created"],
        "currency": plan["currency"],
        "custom_unit_amount": None,
        "livemode": True,
        "lookup_key": None,
        "metadata": {},
        "nickname": plan["nickname"],
        "product": plan["product"],
        "recurring": {
            "aggregate_usage": None,
            "interval": plan["interval"],
            "interval_count": plan["interval_count"],
            "trial_period_days": None,
            "usage_type": "licensed",
        },
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": plan["amount"],
        "unit_amount_decimal": plan["amount_decimal"],
    }


def make_customer(
    rng: Random, name: str, email: str | None, currency: str, metadata: dict[str, str], at: datetime
) -> Body:
    """Return a customer."""
    return {
        "id": make_id(rng, "cus", 14),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": epoch(at),
        "currency": currency,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": email,
        "invoice_prefix": "".join(rng.choices("ABCDEF0123456789", k=8)),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": True,
        "metadata": metadata,
        "name": name,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def make_subscription(
    rng: Random,
    customer: Body,
    plans: Iterable[tuple[Body, int]],
    start: datetime,
    end: datetime,
    *,
    status: str,
    days_until_due: int | None,
    at: datetime,
) -> Body:
    """Return a subscription to plans with numbers of seats, in its first period or trial."""
    id_ = make_id(rng, "sub")
    trial = status == "trialing"
    subscription = {
        "id": id_,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"enabled": False},
        "billing_cycle_anchor": epoch(end if trial else start),
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "collection_method": "send_invoice" if days_until_due else "charge_automatically",
        "created": epoch(at),
        "currency": customer["currency"],
        "current_period_end": epoch(end),
        "current_period_start": epoch(start),
        "customer": customer["id"],
        "days_until_due": days_until_due,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discount": None,
        "ended_at": None,
        "latest_invoice": None,
        "livemode": True,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": epoch(start),
        "status": status,
        "test_clock": None,
        "transfer_data": None,
        "trial_end": epoch(end) if trial else None,
        "trial_start": epoch(start) if trial else None,
    }
    items = [make_item(rng, id_, plan, quantity, at) for plan, quantity in plans]
    return with_items(subscription, items)


def make_item(rng: Random, subscription: str, plan: Body, quantity: int, at: datetime) -> Body:
    """Return an item of a subscription: one plan."""
    item: Body = {
        "id": make_id(rng, "si", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": epoch(at),
        "metadata": {},
        "subscription": subscription,
        "tax_rates": [],
    }
    return {**item, "plan": plan, "price": price_of(plan), "quantity": quantity}


def with_items(subscription: Body, items: Sequence[Body]) -> Body:
    """Return the subscription with these items; with several, its own plan is null."""
    (first, *others) = items
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    return {
        **subscription,
        "items": {**list_of(url, items), "total_count": len(items)},
        "plan": None if others else first["plan"],
        "quantity": None if others else first["quantity"],
    }


def make_invoice_item(
    rng: Random,
    customer: Body,
    amount: int,
    description: str,
    period: dict[str, int],
    at: datetime,
    *,
    item: Body | None = None,
    invoice: str | None = None,
) -> Body:
    """Return an item for a draft invoice, or for the next invoice.

    With an item of a subscription it is a credit or a charge for the rest of a period.
    """
    return {
        "id": make_id(rng, "ii"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": customer["currency"],
        "customer": customer["id"],
        "date": epoch(at),
        "description": description,
        "discountable": item is None,
        "discounts": [],
        "invoice": invoice,
        "livemode": True,
        "metadata": {},
        "period": period,
        "plan": item["plan"] if item else None,
        "price": item["price"] if item else None,
        "proration": item is not None,
        "quantity": item["quantity"] if item else 1,
        "subscription": item["subscription"] if item else None,
        "subscription_item": item["id"] if item else None,
        "tax_rates": [],
        "test_clock": None,
        "unit_amount": item["plan"]["amount"] if item else amount,
        "unit_amount_decimal": item["plan"]["amount_decimal"] if item else str(amount),
    }


def line_of_invoice_item(rng: Random, invoice_item: Body) -> Body:
    """Return the line of an invoice item."""
    credited: Body | None = None
    if invoice_item["proration"] and invoice_item["amount"] < 0:
        credited = {"invoice": None, "invoice_line_items": []}
    copied = (
        *("amount", "currency", "description", "discountable", "discounts", "livemode"),
        *("metadata", "period", "plan", "price", "proration", "quantity", "subscription"),
        "tax_rates",
    )
    return {
        "id": make_id(rng, "il"),
        "object": "line_item",
        **{key: invoice_item[key] for key in copied},
        "discount_amounts": [],
        "invoice_item": invoice_item["id"],
        "proration_details": {"credited_items": credited},
        "subscription_item": invoice_item["subscription_item"],
        "tax_amounts": [],
        "type": "invoiceitem",
    }


def line_of_item(
    rng: Random,
    subscription: Body,
    item: Body,
    amount: int,
    description: str,
    period: dict[str, int],
) -> Body:
    """Return the line that bills a subscription's item for a period."""
    return {
        "id": make_id(rng, "il"),
        "object": "line_item",
        "amount": amount,
        "currency": subscription["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "livemode": True,
        "metadata": {},
        "period": period,
        "plan": item["plan"],
        "price": item["price"],
        "proration": False,
        "proration_details": {"credited_items": None},
        "quantity": item["quantity"],
        "subscription": subscription["id"],
        "subscription_item": item["id"],
        "tax_amounts": [],
        "tax_rates": [],
        "type": "subscription",
    }


def make_invoice(
    rng: Random,
    customer: Body,
    subscription: Body,
    lines: Sequence[Body],
    billing_reason: str,
    at: datetime,
) -> Body:
    """Return a draft invoice with all of its lines."""
    id_ = make_id(rng, "in")
    invoice = {
        "id": id_,
        "object": "invoice",
        "account_country": "US",
        "account_name": ACCOUNT_NAME,
        "account_tax_ids": None,
        "amount_paid": 0,
        "application": None,
        "application_fee_amount": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {"enabled": False, "status": None},
        "billing_reason": billing_reason,
        "charge": None,
        "collection_method": subscription["collection_method"],
        "created": epoch(at),
        "currency": customer["currency"],
        "custom_fields": None,
        "customer": customer["id"],
        "customer_address": None,
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": None,
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discount": None,
        "discounts": [],
        "due_date": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "last_finalization_error": None,
        "latest_revision": None,
        "livemode": True,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "paid": False,
        "paid_out_of_band": False,
        "payment_intent": None,
        "payment_settings": {"payment_method_options": None, "payment_method_types": None},
        "period_end": subscription["current_period_start"],
        "period_start": subscription["current_period_start"],
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "quote": None,
        "receipt_number": None,
        "starting_balance": customer["balance"],
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subscription": subscription["id"],
        "tax": None,
        "test_clock": None,
        "total_discount_amounts": [],
        "total_tax_amounts": [],
        "transfer_data": None,
        "webhooks_delivered_at": epoch(at),
    }
    return with_lines(invoice, lines)


def with_lines(invoice: Body, lines: Sequence[Body]) -> Body:
    """Return the draft with these lines and their total, with earlier balances."""
    total = sum(line["amount"] for line in lines)
    due = max(total + invoice["starting_balance"], 0)
    held = {**list_of(f"/v1/invoices/{invoice['id']}/lines", lines), "total_count": len(lines)}
    return {
        **invoice,
        "amount_due": due,
        "amount_remaining": due,
        "lines": held,
        "subtotal": total,
        "total": total,
    }


def make_charge(
    rng: Random, invoice: Body, amount: int, payment_intent: str, failure: str | None, at: datetime
) -> Body:
    """Return a charge: an attempt to debit a card. A failure has a reason."""
    declined = failure is not None
    return {
        "id": make_id(rng, "ch"),
        "object": "charge",
        "amount": amount,
        "amount_captured": 0 if declined else amount,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None if declined else make_id(rng, "txn"),
        "billing_details": {
            "address": None,
            "email": invoice["customer_email"],
            "name": invoice["customer_name"],
            "phone": None,
        },
        "calculated_statement_descriptor": "INCIDENTS INC",
        "captured": not declined,
        "created": epoch(at),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "description": "Subscription creation"
        if invoice["billing_reason"] == "subscription_create"
        else "Subscription update",
        "destination": None,
        "dispute": None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": "card_declined" if declined else None,
        "failure_message": "Your card has insufficient funds."
        if failure == "insufficient_funds"
        else "Your card was declined."
        if declined
        else None,
        "fraud_details": {},
        "invoice": invoice["id"],
        "livemode": True,
        "metadata": {},
        "on_behalf_of": None,
        "order": None,
        "outcome": {
            "network_status": "declined_by_network" if declined else "approved_by_network",
            "reason": failure,
            "risk_level": "normal",
            "seller_message": "The bank did not return any further details with this decline."
            if declined
            else "Payment complete.",
            "type": "issuer_declined" if declined else "authorized",
        },
        "paid": not declined,
        "payment_intent": payment_intent,
        "payment_method": make_id(rng, "pm"),
        "payment_method_details": {
            "card": {
                "brand": rng.choice(("visa", "visa", "mastercard", "amex")),
                "country": "US",
                "exp_month": rng.randrange(1, 13),
                "exp_year": at.year + rng.randrange(1, 5),
                "funding": "credit",
                "last4": f"{rng.randrange(10_000):04}",
            },
            "type": "card",
        },
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "refunds": list_of("", []),
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "failed" if declined else "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }


def make_refund(rng: Random, charge: Body, amount: int, at: datetime) -> Body:
    """Return a refund."""
    return {
        "id": make_id(rng, "re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": make_id(rng, "txn"),
        "charge": charge["id"],
        "created": epoch(at),
        "currency": charge["currency"],
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": "requested_by_customer",
        "receipt_number": None,
        "status": "succeeded",
    }


def make_event(
    rng: Random, type_: str, snapshot: Body, previous: dict[str, Any] | None, at: datetime
) -> Body:
    """Return an event, with the object as it was then."""
    data: dict[str, Any] = {"object": snapshot}
    if previous is not None:
        data["previous_attributes"] = previous
    return {
        "id": make_id(rng, "evt"),
        "object": "event",
        "api_version": API_VERSION,
        "created": epoch(at),
        "data": data,
        "livemode": True,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": type_,
    }
