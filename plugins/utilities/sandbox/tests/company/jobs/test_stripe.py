"""What a user of Stripe relies on beyond the daily run: requests, deletes, an old dataset."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import requests
from sandbox.saas.documents import Body, Documents

from ..conftest import running_stack
from ..stack import Stack

EXTRACT_LOAD = ("tap-stripe", "target-bigquery")
STATE = "local:tap-stripe-to-target-bigquery"
# Raw tables, the world's kinds of objects, and their paths in the API.
OBJECTS = {
    "customers": ("customer", "customers"),
    "products": ("product", "products"),
    "prices": ("price", "prices"),
    "coupons": ("coupon", "coupons"),
    "subscriptions": ("subscription", "subscriptions"),
    "subscription_schedules": ("subscription_schedule", "subscription_schedules"),
    "invoices": ("invoice", "invoices"),
    "invoice_items": ("invoiceitem", "invoiceitems"),
    "credit_notes": ("credit_note", "credit_notes"),
    "charges": ("charge", "charges"),
    "payment_intents": ("payment_intent", "payment_intents"),
    "refunds": ("refund", "refunds"),
    "disputes": ("dispute", "disputes"),
    "payouts": ("payout", "payouts"),
    "tax_rates": ("tax_rate", "tax_rates"),
}
# Objects that change with another one, by the attribute that names them.
ALSO = {
    "dispute": {"charge": "charge"},
    "refund": {"charge": "charge"},
    "discount": {"customer": "customer", "subscription": "subscription"},
}

# What tap-stripe 3.3.0 declared. All that it declared may be null.
TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": ["null", "string"]},
    "time": {"type": ["null", "string"], "format": "date-time"},
    "whole": {"type": ["null", "integer"]},
    "decimal": {"type": ["null", "string"], "format": "singer.decimal"},
    "number": {"type": ["null", "number"]},
    "yes_no": {"type": ["null", "boolean"]},
    "texts": {"type": ["null", "array"], "items": {"type": ["null", "string"]}},
    "json": {"type": ["null", "object"]},
}
TAP_STRIPE = {
    "charges": {
        "text": """id object status currency customer payment_intent invoice balance_transaction
            failure_code failure_message description receipt_email receipt_number receipt_url
            payment_method transfer_group on_behalf_of review statement_descriptor application
            statement_descriptor_suffix calculated_statement_descriptor source_transfer
            application_fee updated_by_event_type""",
        "json": """metadata fraud_details billing_details transfer_data source outcome shipping
            refunds payment_method_details""",
        "whole": "amount amount_captured amount_refunded application_fee_amount",
        "yes_no": "disputed refunded livemode captured paid",
        "time": "created updated",
    },
    "customers": {
        "text": """id object name email phone description currency tax_exempt customer_account
            default_source invoice_prefix updated_by_event_type""",
        "json": "metadata invoice_settings address shipping discount",
        "texts": "preferred_locales subscriptions",
        "whole": "balance next_invoice_sequence",
        "yes_no": "delinquent livemode",
        "time": "created updated",
    },
    "products": {
        "text": """id object name description type unit_label url tax_code statement_descriptor
            updated_by_event_type""",
        "json": "metadata package_dimensions",
        "texts": "images",
        "yes_no": "active livemode shippable",
        "time": "created updated",
    },
    "subscriptions": {
        "text": """id object status customer customer_account schedule latest_invoice
            pending_setup_intent collection_method default_source default_payment_method
            updated_by_event_type""",
        "json": """metadata pending_invoice_item_interval pause_collection transfer_data plan
            billing_thresholds discount""",
        "texts": "items",
        "number": "application_fee_percent",
        "whole": "quantity days_until_due",
        "yes_no": "livemode cancel_at_period_end",
        "time": """created updated start_date trial_start trial_end current_period_start
            current_period_end cancel_at canceled_at ended_at billing_cycle_anchor
            next_pending_invoice_item_invoice""",
    },
    "subscription_items": {
        "text": "id object subscription",
        "json": "metadata plan price tax_rates billing_thresholds",
        "whole": "quantity",
        "time": "created",
    },
    "invoices": {
        "text": """id object status number customer customer_email customer_name customer_phone
            customer_tax_exempt customer_account subscription charge payment_intent currency
            billing_reason collection_method description footer receipt_number account_name
            account_country default_source default_payment_method statement_descriptor
            hosted_invoice_url invoice_pdf updated_by_event_type""",
        "json": """metadata lines status_transitions transfer_data total_discount_amounts discount
            total_tax_amounts last_finalization_error default_tax_rates customer_tax_ids
            customer_address customer_shipping payment_settings on_behalf_of custom_fields
            automatic_tax""",
        "texts": "discounts account_tax_ids",
        "whole": """amount_due amount_paid amount_remaining subtotal tax total starting_balance
            ending_balance attempt_count pre_payment_credit_notes_amount
            post_payment_credit_notes_amount application_fee_amount""",
        "yes_no": "paid attempted auto_advance livemode paid_out_of_band",
        "time": """created updated due_date period_start period_end next_payment_attempt
            webhooks_delivered_at""",
    },
    "invoice_items": {
        "text": """id object customer customer_account invoice subscription subscription_item
            currency description updated_by_event_type""",
        "json": "metadata plan period tax_rates",
        "texts": "discounts",
        "decimal": "unit_amount_decimal",
        "whole": "amount quantity unit_amount",
        "yes_no": "livemode discountable proration",
        "time": "date updated",
    },
    "invoice_line_items": {
        "text": """id object type invoice subscription subscription_item invoice_item currency
            description""",
        "json": """metadata plan price period discount_amounts tax_amounts tax_rates
            proration_details""",
        "texts": "discounts",
        "whole": "amount quantity",
        "yes_no": "discountable livemode proration",
    },
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, secrets: frozenset[str]) -> Iterator[Stack]:
    """A sandbox of its own: days pass, and datasets are dropped."""
    with running_stack(tmp_path_factory.mktemp("stripe"), secrets) as stack:
        yield stack


@pytest.fixture
def world(stack: Stack) -> Documents:
    return read(stack)


@dataclass
class OverOldRows:
    """What there was of the tap from PyPI, and what came of the first run of today's over it."""

    ids: dict[str, list[str]]
    columns: dict[tuple[str, str], str]
    printed: str


@pytest.fixture(scope="module")
def over_old_rows(stack: Stack) -> OverOldRows:
    old = dict(messages_of_tap_stripe(stack))
    stack.meltano("state", "set", "--force", STATE, json.dumps({"singer_state": OLD_STATE}))
    stack.load("stripe", itertools.chain(*old.values()))
    found = {name: sorted(ids(stack, name)) for name in old}
    columns = stack.column_types("stripe", old)
    return OverOldRows(found, columns, stack.meltano("run", *EXTRACT_LOAD))


def read(stack: Stack) -> Documents:
    """What Stripe holds."""
    with psycopg.connect(stack.status["postgres"]["dsn"]) as connection:
        return Documents.load(connection, "stripe")


def ids(stack: Stack, table: str, where: str = "_sdc_deleted_at is null") -> list[str]:
    return [row["id"] for row in stack.query(f"select id from stripe.{table} where {where}")]


def held(world: Documents) -> dict[str, list[str]]:
    """The ids of what Stripe holds, by raw table."""
    found = {name: [body["id"] for body in world.of(kind)] for name, (kind, _) in OBJECTS.items()}
    found["balance_transactions"] = [body["id"] for body in world.of("balance_transaction")]
    for name, kind, part in (
        ("subscription_items", "subscription", "items"),
        ("invoice_line_items", "invoice", "lines"),
    ):
        found[name] = [each["id"] for body in world.of(kind) for each in body[part]["data"]]
    return {name: sorted(found_ids) for name, found_ids in found.items()}


def loaded(stack: Stack, world: Documents) -> dict[str, list[str]]:
    return {name: sorted(ids(stack, name)) for name in held(world)}


def test_a_dataset_of_the_tap_from_pypi_goes_on_being_right(
    stack: Stack, world: Documents, over_old_rows: OverOldRows
) -> None:
    """The first run reads all that there is, and merges it by key: nothing is there twice."""
    old = over_old_rows.ids
    assert old == {name: held(world)[name] for name in old}
    assert "is in the table and" not in over_old_rows.printed
    assert "JSON in the table" not in over_old_rows.printed
    after = stack.column_types("stripe", old)
    assert {name: after[name] for name in over_old_rows.columns} == over_old_rows.columns
    assert loaded(stack, world) == held(world)
    for name in old:
        assert len(ids(stack, name, "true")) == len(set(ids(stack, name, "true")))
        assert not ids(stack, name, "api_version is null")


@pytest.mark.usefixtures("over_old_rows")
def test_a_run_asks_for_the_events_and_once_for_each_object_that_has_changed(stack: Stack) -> None:
    for _ in range(12):
        stack.pass_day()
    before = len(stack.requests())
    stack.meltano("run", *EXTRACT_LOAD)
    world = read(stack)
    assert loaded(stack, world) == held(world)

    asked = [each for each in stack.requests(since=before) if each["tool"] == "stripe"]
    paths = Counter(each["path"] for each in asked)
    items_of = Counter(
        query["invoice"] for each in asked if "invoice" in (query := dict(each["query"]))
    )
    window = next(dict(each["query"]) for each in asked if each["path"] == "/v1/events")
    events = [
        event
        for event in world.of("event")
        if int(window["created[gte]"]) <= event["created"] <= int(window["created[lte]"])
    ]
    pages = {"/v1/events": max(-(-len(events) // 100), 1), "/v1/balance_transactions": 1}
    objects = dict.fromkeys(changed(events), 1)
    assert len(objects) > 5
    # No event of an invoice item tells that it is put onto an invoice.
    invoices = {
        event["data"]["object"]["id"]: 1
        for event in events
        if event["type"] in ("invoice.created", "invoice.updated")
    }
    assert items_of == invoices
    assert paths == objects | pages | {"/v1/invoiceitems": len(invoices)}
    table = "select id, invoice from stripe.invoice_items where _sdc_deleted_at is null"
    on_invoices = {row["id"]: row["invoice"] for row in stack.query(table)}
    assert on_invoices == {body["id"]: body["invoice"] for body in world.of("invoiceitem")}


def changed(events: Iterable[Body]) -> Iterator[str]:
    """The paths of the objects that events name."""
    paths = dict(OBJECTS.values())
    for event in events:
        body = event["data"]["object"]
        if body["object"] in paths and "id" in body:
            yield f"/v1/{paths[body['object']]}/{body['id']}"
        for attribute, kind in ALSO.get(body["object"], {}).items():
            if body.get(attribute):
                yield f"/v1/{paths[kind]}/{body[attribute]}"


def test_the_check_names_the_permission_that_a_key_lacks(stack: Stack) -> None:
    key = stack.environment["SANDBOX_STRIPE_SECRET"]
    for lacking in ("event_read", "payout_read"):
        limited = {"TAP_STRIPE_CONFIG_API_KEY": f"rk_{key}_without_{lacking}"}
        output = stack.meltano("invoke", "stack", "check", "stripe", fails=True, **limited)
        assert f"the key lacks the permission rak_{lacking}" in " ".join(output.split())
    # What isn't selected needs none.
    file = stack.root / "extract/stripe.meltano.yml"
    text = file.read_text()
    file.write_text(text.replace("    - '*.*'", "    - '!payouts.*'\n    - '*.*'"))
    try:
        stack.meltano("invoke", "stack", "check", "stripe", **limited)
    finally:
        file.write_text(text)


# As that tap left it.
OLD_STATE = {
    "bookmarks": {
        name: {"created": 1_700_000_000} for name in (*TAP_STRIPE, "charges_events", "plans")
    }
}


def messages_of_tap_stripe(stack: Stack) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What tap-stripe would have sent, by stream: it read API version 2022-11-15."""
    for stream, types in TAP_STRIPE.items():
        names = {name: kind for kind, found in types.items() for name in found.split()}
        properties = {name: TYPES[kind] for name, kind in names.items()}
        schema = {"type": "object", "properties": properties}
        messages = [
            {"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": ["id"]}
        ]
        for body in bodies(stack, stream):
            record = {
                name: as_that_tap(kind, body[name])
                for name, kind in names.items()
                if body.get(name) is not None
            }
            messages.append({"type": "RECORD", "stream": stream, "record": record})
        yield stream, messages


def bodies(stack: Stack, stream: str) -> Iterator[Body]:
    if stream == "subscription_items":
        for body in listed(stack, "subscriptions", status="all"):
            items = body["items"]["data"]
            if body["items"]["has_more"]:
                items = listed(stack, "subscription_items", subscription=body["id"])
            yield from items
    elif stream == "invoice_line_items":
        for body in listed(stack, "invoices"):
            lines = body["lines"]["data"]
            if body["lines"]["has_more"]:
                lines = listed(stack, f"invoices/{body['id']}/lines")
            for line in lines:
                yield {**line, "invoice": body["id"]}
    else:
        options = {"status": "all"} if stream == "subscriptions" else {}
        yield from listed(stack, OBJECTS[stream][1], **options)


def listed(stack: Stack, path: str, **options: str) -> Iterator[Body]:
    """All objects of a list, in that version."""
    key = stack.environment["SANDBOX_STRIPE_SECRET"]
    headers = {"Authorization": f"Bearer {key}", "Stripe-Version": "2022-11-15"}
    address = f"{stack.status['saas']['url']}/stripe/v1/{path}"
    more = True
    while more:
        page = requests.get(address, {"limit": "100"} | options, headers=headers, timeout=30)
        page.raise_for_status()
        yield from (found := page.json()["data"])
        more = page.json()["has_more"]
        options["starting_after"] = found[-1]["id"] if found else ""


def as_that_tap(kind: str, value: Any) -> Any:
    if kind == "time":
        return datetime.fromtimestamp(value, UTC).isoformat()
    if kind == "texts" and isinstance(value, dict):
        return [each["id"] for each in value["data"]]
    return value
