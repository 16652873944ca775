"""The objects of Stripe's API in its newest version, as the world stores them.

An object is a template with the attributes that differ. A body is never changed in place: a change
makes a new body, so an event can hold the object as it was. Attributes that begin with `_` are
never shown; `versions` needs them to render older versions of the API.

Shapes: https://docs.stripe.com/api, which is generated from the same specification as the types of
the `stripe` package. `tests/saas/test_stripe_types.py` compares the two.
"""

from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import Any

from sandbox.saas.day import epoch
from sandbox.saas.documents import Body

ACCOUNT_ID = "acct_sandbox"
ACCOUNT_NAME = "Incidents Incorporated"
FIRST_LINES = 10
"""How many entries of a list Stripe shows within the object that holds it."""
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"
SELF: Body = {"type": "self"}
NO_AUTOMATIC_TAX: Body = {"disabled_reason": None, "enabled": False, "liability": None}
CLASSIC: Body = {"flexible": None, "type": "classic"}
LIVE: Body = {"livemode": True, "metadata": {}}


def nulls(names: str) -> Body:
    """Return attributes that are null."""
    return dict.fromkeys(names.split())


TEMPLATES: dict[str, Body] = {
    "customer": {
        **nulls("address customer_account default_source description discount phone shipping"),
        **LIVE,
        "balance": 0,
        "delinquent": False,
        "invoice_settings": nulls("custom_fields default_payment_method footer rendering_options"),
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "tax_exempt": "none",
        "test_clock": None,
    },
    "product": {
        **nulls("default_price package_dimensions shippable statement_descriptor tax_code"),
        **nulls("tax_details url"),
        **LIVE,
        "active": True,
        "images": [],
        "marketing_features": [],
        "type": "service",
    },
    "price": {
        **nulls("custom_unit_amount lookup_key tiers_mode transform_quantity"),
        **LIVE,
        "active": True,
        "billing_scheme": "per_unit",
        "tax_behavior": "unspecified",
    },
    "coupon": {
        **nulls("amount_off currency duration_in_months max_redemptions percent_off redeem_by"),
        **LIVE,
        "times_redeemed": 0,
        "valid": True,
    },
    "discount": nulls(
        "checkout_session customer_account end invoice invoice_item promotion_code subscription "
        "subscription_item"
    ),
    "tax_rate": {
        **nulls("description flat_amount jurisdiction jurisdiction_level state"),
        **LIVE,
        "active": True,
        "rate_type": "percentage",
        "tax_type": "vat",
    },
    "subscription": {
        **nulls("application application_fee_percent billing_cycle_anchor_config"),
        **nulls("billing_thresholds cancel_at canceled_at customer_account days_until_due"),
        **nulls("default_payment_method default_source description ended_at latest_invoice"),
        **nulls("managed_payments next_pending_invoice_item_invoice on_behalf_of"),
        **nulls("pause_collection pending_invoice_item_interval pending_setup_intent"),
        **nulls("pending_update schedule test_clock transfer_data trial_end trial_start"),
        **LIVE,
        "automatic_tax": NO_AUTOMATIC_TAX,
        "billing_mode": CLASSIC,
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": nulls("comment feedback feedback_option reason"),
        "collection_method": "charge_automatically",
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {
            **nulls("account_tax_ids custom_fields description footer"),
            "issuer": SELF,
        },
        "payment_settings": {
            **nulls("payment_method_options payment_method_types"),
            "save_default_payment_method": "off",
        },
        "trial_settings": {
            "end_behavior": {
                "billing_cycle_anchor": None,
                "missing_payment_method": "create_invoice",
            }
        },
    },
    "subscription_item": {
        **nulls("billing_thresholds current_trial"),
        "discounts": [],
        "metadata": {},
        "tax_rates": [],
    },
    "subscription_schedule": {
        **nulls("application canceled_at completed_at current_phase customer_account"),
        **nulls("released_at released_subscription subscription test_clock"),
        **LIVE,
        "billing_mode": CLASSIC,
        "default_settings": {
            **nulls("application_fee_percent billing_thresholds default_payment_method"),
            **nulls("description on_behalf_of transfer_data"),
            "automatic_tax": NO_AUTOMATIC_TAX,
            "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
            "invoice_settings": {
                **nulls("account_tax_ids custom_fields days_until_due description footer"),
                "issuer": SELF,
            },
        },
        "end_behavior": "release",
        "pause_schedules": [],
        "status": "active",
    },
    "phase": {
        **nulls("application_fee_percent billing_cycle_anchor billing_thresholds"),
        **nulls("collection_method default_payment_method description invoice_settings"),
        **nulls("on_behalf_of transfer_data trial_end"),
        "add_invoice_items": [],
        "default_tax_rates": [],
        "discounts": [],
        "metadata": {},
        "proration_behavior": "none",
    },
    "invoiceitem": {
        **nulls("customer_account invoice parent test_clock"),
        **LIVE,
        "discountable": True,
        "discounts": [],
        "proration": False,
        "quantity": 1,
        "tax_rates": [],
    },
    "line_item": {
        **LIVE,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "pretax_credit_amounts": [],
        "subscription": None,
        "taxes": [],
    },
    "invoice": {
        **nulls("account_tax_ids application automatically_finalizes_at custom_fields"),
        **nulls("customer_account customer_address customer_phone customer_shipping"),
        **nulls("default_payment_method default_source description due_date effective_at"),
        **nulls("ending_balance footer from_invoice hosted_invoice_url invoice_pdf"),
        **nulls("last_finalization_error latest_revision next_payment_attempt number"),
        **nulls("on_behalf_of parent receipt_number rendering shipping_cost shipping_details"),
        **nulls("statement_descriptor test_clock"),
        **LIVE,
        "account_country": "US",
        "account_name": ACCOUNT_NAME,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            **nulls("disabled_reason liability provider status"),
            "enabled": False,
        },
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": SELF,
        "payment_settings": nulls("default_mandate payment_method_options payment_method_types"),
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "status": "draft",
        "status_transitions": nulls("finalized_at marked_uncollectible_at paid_at voided_at"),
        "total_pretax_credit_amounts": [],
    },
    "invoice_payment": {
        "amount_paid": None,
        "is_default": True,
        "livemode": True,
        "status": "open",
        "status_transitions": nulls("canceled_at paid_at"),
    },
    "credit_note": {
        **nulls("customer_account customer_balance_transaction memo out_of_band_amount"),
        **nulls("shipping_cost voided_at"),
        **LIVE,
        "amount_shipping": 0,
        "discount_amount": 0,
        "discount_amounts": [],
        "pretax_credit_amounts": [],
        "reason": "order_change",
        "refunds": [],
        "status": "issued",
        "total_taxes": [],
    },
    "credit_note_line_item": {
        **LIVE,
        "discount_amount": 0,
        "discount_amounts": [],
        "pretax_credit_amounts": [],
        "quantity": None,
        "tax_rates": [],
        "taxes": [],
        "type": "invoice_line_item",
        "unit_amount": None,
        "unit_amount_decimal": None,
    },
    "payment_intent": {
        **nulls("allowed_payment_method_types application application_fee_amount"),
        **nulls("automatic_payment_methods canceled_at cancellation_reason customer_account"),
        **nulls("excluded_payment_method_types last_payment_error managed_payments next_action"),
        **nulls("on_behalf_of payment_method_configuration_details payment_method_options"),
        **nulls("payment_record processing receipt_email review setup_future_usage shipping"),
        **nulls("source statement_descriptor statement_descriptor_suffix transfer_data"),
        **nulls("transfer_group client_secret latest_charge"),
        **LIVE,
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": "automatic",
        "confirmation_method": "automatic",
    },
    "charge": {
        **nulls("application application_fee application_fee_amount balance_transaction"),
        **nulls("failure_balance_transaction failure_code failure_message on_behalf_of"),
        **nulls("receipt_email receipt_number receipt_url review shipping source"),
        **nulls("source_transfer statement_descriptor statement_descriptor_suffix"),
        **nulls("transfer_data transfer_group"),
        **LIVE,
        "amount_refunded": 0,
        "calculated_statement_descriptor": "INCIDENTS INC",
        "disputed": False,
        "fraud_details": {},
        "refunded": False,
    },
    "refund": {
        **nulls("balance_transaction customer_account receipt_number source_transfer_reversal"),
        **nulls("transfer_reversal"),
        "metadata": {},
        "reason": "requested_by_customer",
        "status": "succeeded",
    },
    "dispute": {
        **LIVE,
        "enhanced_eligibility_types": [],
        "evidence": {
            **nulls("access_activity_log billing_address cancellation_policy"),
            **nulls("cancellation_policy_disclosure cancellation_rebuttal customer_communication"),
            **nulls("customer_email_address customer_name customer_purchase_ip"),
            **nulls("customer_signature duplicate_charge_documentation duplicate_charge_id"),
            **nulls("duplicate_charge_explanation product_description receipt refund_policy"),
            **nulls("refund_policy_disclosure refund_refusal_explanation service_date"),
            **nulls("service_documentation shipping_address shipping_carrier shipping_date"),
            **nulls("shipping_documentation shipping_tracking_number uncategorized_file"),
            "uncategorized_text": None,
            "enhanced_evidence": {},
        },
        "intended_submission_method": None,
        "is_charge_refundable": False,
        "reason": "general",
        "status": "needs_response",
    },
    "balance_transaction": {
        "balance_type": "payments",
        "description": None,
        "exchange_rate": None,
        "status": "available",
    },
    "payout": {
        **nulls("application_fee application_fee_amount description"),
        **nulls("failure_balance_transaction failure_code failure_message original_payout"),
        **nulls("payout_method reversed_by statement_descriptor trace_id"),
        **LIVE,
        "automatic": True,
        "destination": "ba_sandbox",
        "method": "standard",
        "reconciliation_status": "completed",
        "source_type": "card",
        "status": "paid",
        "type": "bank_account",
    },
    "account": {
        "business_type": "company",
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": "billing@incidents.example",
        "payouts_enabled": True,
        "settings": {
            "branding": nulls("icon logo primary_color secondary_color"),
            "card_payments": nulls(
                "statement_descriptor_prefix statement_descriptor_prefix_kana "
                "statement_descriptor_prefix_kanji"
            ),
            "dashboard": {"display_name": ACCOUNT_NAME, "timezone": "Etc/UTC"},
            "payments": nulls(
                "statement_descriptor statement_descriptor_kana statement_descriptor_kanji "
                "statement_descriptor_prefix_kana statement_descriptor_prefix_kanji"
            ),
        },
        "type": "standard",
    },
}
"""By kind: what most objects of it have in common. A phase is a part of a schedule."""


def make(kind: str, id_: str, **own: Any) -> Body:
    """Return an object: the template of its kind, and what is its own."""
    return {"id": id_, "object": kind, **TEMPLATES[kind], **own}


def make_id(rng: Random, prefix: str, length: int = 24) -> str:
    """Return an ID such as `in_1MtHbELkdIwHu7ixl4OzzPMv`; the prefix names the kind."""
    return f"{prefix}_" + "".join(rng.choices(ALPHABET, k=length))


def list_of(url: str, data: Sequence[Body], *, has_more: bool = False) -> Body:
    """Return a list in Stripe's format, as an answer or within an object."""
    return {"object": "list", "data": list(data), "has_more": has_more, "url": url}


def shortened(body: Body) -> Body:
    """Return an object as the API shows it: with the first entries of the list that it holds."""
    name = {"invoice": "lines", "subscription": "items"}.get(body["object"], "")
    data = body[name]["data"] if name else []
    if len(data) <= FIRST_LINES:
        return body
    return {**body, name: {**body[name], "data": data[:FIRST_LINES], "has_more": True}}


def plan_of(price: Body) -> Body:
    """Return the plan of a recurring price: its older name, with the same ID."""
    recurring, package = price["recurring"], price["transform_quantity"]
    same = ("id", "active", "billing_scheme", "created", "currency", "livemode", "metadata")
    plan = {
        **{key: price[key] for key in (*same, "nickname", "product", "tiers_mode")},
        **{key: recurring[key] for key in ("interval", "interval_count", "meter", "usage_type")},
        "object": "plan",
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "transform_usage": package,
        "trial_period_days": None,
    }
    return {**plan, "_tiers": price["_tiers"]} if "_tiers" in price else plan


def make_customer(
    rng: Random, name: str, email: str | None, currency: str, metadata: dict[str, str], at: datetime
) -> Body:
    """Return a customer."""
    return make(
        "customer",
        make_id(rng, "cus", 14),
        created=epoch(at),
        currency=currency,
        email=email,
        invoice_prefix="".join(rng.choices("ABCDEF0123456789", k=8)),
        metadata=metadata,
        name=name,
    )


def make_item(
    rng: Random, subscription: str, price: Body, quantity: int | None, period: Body, at: datetime
) -> Body:
    """Return an item of a subscription: one price. A metered item has no quantity."""
    item = make(
        "subscription_item",
        make_id(rng, "si", 14),
        created=epoch(at),
        current_period_end=period["end"],
        current_period_start=period["start"],
        subscription=subscription,
        **priced(price),
    )
    return item if quantity is None else {**item, "quantity": quantity}


def priced(price: Body) -> Body:
    """Return the price and the plan that an item shows: tiers are not among their attributes."""
    shown = {key: value for key, value in price.items() if key != "_tiers"}
    return {"price": shown, "plan": plan_of(shown)}


def with_items(subscription: Body, items: Sequence[Body]) -> Body:
    """Return the subscription with these items."""
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    return {**subscription, "items": {**list_of(url, items), "total_count": len(items)}}


def period_of(subscription: Body) -> Body:
    """Return the current period of a subscription: all of its items have the same."""
    item = subscription["items"]["data"][0]
    return {"start": item["current_period_start"], "end": item["current_period_end"]}


def pricing(price: Body, unit_amount: str | None) -> Body:
    """Return what an invoice item or a line says about its price."""
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": unit_amount,
    }


def make_invoice_item(
    rng: Random,
    customer: str,
    price: Body,
    amount: int,
    description: str,
    period: Body,
    at: datetime,
    *,
    currency: str,
    item: Body | None = None,
    invoice: str | None = None,
    tax_rates: Sequence[Body] = (),
) -> Body:
    """Return an item for a draft invoice, or for the next invoice.

    With an item of a subscription it is a credit or a charge for the rest of a period.
    """
    quantity = item.get("quantity", 1) if item else 1
    invoice_item = make(
        "invoiceitem",
        make_id(rng, "ii"),
        amount=amount,
        currency=currency,
        customer=customer,
        date=epoch(at),
        description=description,
        discountable=item is None,
        invoice=invoice,
        period=period,
        pricing=pricing(price, price["unit_amount_decimal"] if item else str(amount)),
        proration=item is not None,
        quantity=quantity,
        quantity_decimal=str(quantity),
        tax_rates=list(tax_rates),
    )
    if item is None:
        return invoice_item
    details = {"subscription": item["subscription"], "subscription_item": item["id"]}
    return {
        **invoice_item,
        "net_amount": amount,
        "parent": {"subscription_details": details, "type": "subscription_details"},
        "proration_details": {"credited_items": None, "discount_amounts": []},
    }


def line_of_invoice_item(rng: Random, invoice_item: Body) -> Body:
    """Return the line of an invoice item."""
    parent = invoice_item["parent"]
    details = {
        "invoice_item": invoice_item["id"],
        "proration": invoice_item["proration"],
        "proration_details": {"credited_items": None},
    }
    held = parent["subscription_details"] if parent else {"subscription": None}
    kind = "subscription_item_details" if parent else "invoice_item_details"
    copied = ("amount", "currency", "description", "discountable", "discounts", "metadata")
    return make(
        "line_item",
        make_id(rng, "il"),
        **{key: invoice_item[key] for key in (*copied, "period", "pricing", "quantity")},
        invoice=invoice_item["invoice"],
        parent={
            "invoice_item_details": None,
            "subscription_item_details": None,
            kind: {**details, **held},
            "type": kind,
        },
        quantity_decimal=invoice_item["quantity_decimal"],
        subscription=held["subscription"],
        subtotal=invoice_item["amount"],
    )


def line_of_item(
    rng: Random,
    item: Body,
    amount: int,
    quantity: int,
    unit_amount: str | None,
    description: str,
    period: Body,
) -> Body:
    """Return a line that bills a subscription's item for a period."""
    price = item["price"]
    return make(
        "line_item",
        make_id(rng, "il"),
        amount=amount,
        currency=price["currency"],
        description=description,
        invoice=None,
        parent={
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": item["subscription"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        period=period,
        pricing=pricing(price, unit_amount),
        quantity=quantity,
        quantity_decimal=str(quantity),
        subscription=item["subscription"],
        subtotal=amount,
    )


def make_invoice(
    rng: Random,
    customer: Body,
    subscription: Body,
    lines: Sequence[Body],
    billing_reason: str,
    at: datetime,
) -> Body:
    """Return a draft invoice with all of its lines; `with_lines` adds its totals."""
    id_ = make_id(rng, "in")
    start = period_of(subscription)["start"]
    invoice = make(
        "invoice",
        id_,
        billing_reason=billing_reason,
        collection_method=subscription["collection_method"],
        created=epoch(at),
        currency=subscription["currency"],
        customer=customer["id"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        default_tax_rates=subscription["default_tax_rates"],
        discounts=subscription["discounts"],
        parent={
            "quote_details": None,
            "subscription_details": {
                "metadata": subscription["metadata"],
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        period_end=start,
        period_start=start,
        starting_balance=customer["balance"],
        webhooks_delivered_at=epoch(at),
        _out_of_band=False,
    )
    return with_lines(invoice, [{**line, "invoice": id_} for line in lines])


def with_lines(invoice: Body, lines: Sequence[Body]) -> Body:
    """Return the draft with these lines and their totals, with earlier balances."""
    subtotal = sum(line["amount"] for line in lines)
    discounts: dict[str, int] = {}
    taxes: dict[str, Body] = {}
    for line in lines:
        for given in line["discount_amounts"]:
            discounts[given["discount"]] = discounts.get(given["discount"], 0) + given["amount"]
        for tax in line["taxes"]:
            rate = tax["tax_rate_details"]["tax_rate"]
            known = taxes.get(rate, {"amount": 0, "taxable_amount": 0})
            added = {key: known[key] + tax[key] for key in ("amount", "taxable_amount")}
            taxes[rate] = {**tax, **added}
    inclusive, exclusive = (
        sum(tax["amount"] for tax in taxes.values() if tax["tax_behavior"] == behaviour)
        for behaviour in ("inclusive", "exclusive")
    )
    after_discounts = subtotal - sum(discounts.values())
    due = max(after_discounts + exclusive + invoice["starting_balance"], 0)
    url = f"/v1/invoices/{invoice['id']}/lines"
    return {
        **invoice,
        "amount_due": due,
        "amount_remaining": due,
        "lines": {**list_of(url, lines), "total_count": len(lines)},
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - inclusive,
        "total": after_discounts + exclusive,
        "total_discount_amounts": [
            {"amount": amount, "discount": discount} for discount, amount in discounts.items()
        ],
        "total_excluding_tax": after_discounts - inclusive,
        "total_taxes": list(taxes.values()),
    }


def subscription_of(invoice: Body) -> str | None:
    """Return the ID of an invoice's subscription."""
    parent = invoice["parent"]
    return parent["subscription_details"]["subscription"] if parent else None


def make_charge(
    rng: Random,
    invoice: Body,
    amount: int,
    payment_intent: str,
    *,
    status: str,
    method: Body,
    failure: str | None,
    at: datetime,
) -> Body:
    """Return a charge: an attempt to debit a card or a bank account. A failure has a reason."""
    failed = status == "failed"
    outcome = {
        **nulls("advice_code network_advice_code network_decline_code"),
        "network_status": "declined_by_network" if failed else "approved_by_network",
        "reason": failure,
        "risk_level": "normal",
        "seller_message": "The bank did not return any further details with this decline."
        if failed
        else "Payment complete.",
        "type": "issuer_declined" if failed else "authorized",
    }
    return make(
        "charge",
        make_id(rng, "ch" if method["type"] == "card" else "py"),
        amount=amount,
        amount_captured=0 if failed else amount,
        billing_details={
            **nulls("address phone tax_id"),
            "email": invoice["customer_email"],
            "name": invoice["customer_name"],
        },
        captured=not failed,
        created=epoch(at),
        currency=invoice["currency"],
        customer=invoice["customer"],
        description="Subscription creation"
        if invoice["billing_reason"] == "subscription_create"
        else "Subscription update",
        failure_code="card_declined" if failed else None,
        failure_message="Your card has insufficient funds."
        if failure == "insufficient_funds"
        else "Your card was declined."
        if failed
        else None,
        outcome=outcome,
        paid=status == "succeeded",
        payment_intent=payment_intent,
        payment_method=make_id(rng, "pm"),
        payment_method_details=method,
        status=status,
        _invoice=invoice["id"],
    )


def card(rng: Random, at: datetime) -> Body:
    """Return the details of a payment by card."""
    details = {
        **nulls("authorization_code electronic_commerce_indicator installments mandate"),
        **nulls(
            "network_transaction_id regulated_status three_d_secure transaction_link_id wallet"
        ),
        "amount_authorized": None,
        "brand": rng.choice(("visa", "visa", "mastercard", "amex")),
        "checks": None,
        "country": "US",
        "exp_month": rng.randrange(1, 13),
        "exp_year": at.year + rng.randrange(1, 5),
        "funding": "credit",
        "last4": f"{rng.randrange(10_000):04}",
    }
    return {"card": {**details, "network": details["brand"]}, "type": "card"}


def bank_debit(rng: Random, currency: str) -> Body:
    """Return the details of a debit that takes days to clear: SEPA in euros, else ACH."""
    last4 = f"{rng.randrange(10_000):04}"
    if currency == "eur":
        details = {
            **nulls("bank_code branch_code mandate"),
            "country": "DE",
            "fingerprint": None,
            "last4": last4,
        }
        return {"sepa_debit": details, "type": "sepa_debit"}
    details = {
        **nulls("bank_name fingerprint payment_reference routing_number"),
        "account_holder_type": "company",
        "account_type": "checking",
        "last4": last4,
    }
    return {"us_bank_account": details, "type": "us_bank_account"}


def make_event(
    rng: Random, type_: str, snapshot: Body, previous: dict[str, Any] | None, at: datetime
) -> Body:
    """Return an event, with the object as it was then; `versions` renders it."""
    data: dict[str, Any] = {"object": snapshot}
    if previous is not None:
        data["previous_attributes"] = previous
    return {
        "id": make_id(rng, "evt"),
        "object": "event",
        "created": epoch(at),
        "data": data,
        "livemode": True,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": type_,
    }
