"""The fake Stripe answers as Stripe documents, and its world is sound."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from local_servers.postgres_server import PostgresServer
from psycopg import Connection
from sandbox import world
from sandbox.product.database import Clock
from sandbox.product.world import generate
from sandbox.saas.day import Account, Day, epoch
from sandbox.saas.documents import Documents
from sandbox.saas.stripe import api
from sandbox.saas.stripe.billing import period_end
from sandbox.saas.stripe.catalogue import terms_of
from sandbox.saas.stripe.ledger import set_version
from sandbox.saas.stripe.versions import NEWEST, OLD, VERSIONS
from sandbox.saas.stripe.world import pass_day
from sandbox.saas.world import Product, chance, days

from .conftest import running

KEY = "sk_live_51MarkedKeyThatIsLong"
TODAY = date(2026, 3, 12)
WITHOUT_EVENTS = {"event", "balance_transaction", "invoice_payment"}
LISTS = {
    "customers": "customer",
    "subscriptions": "subscription",
    "invoices": "invoice",
    "invoiceitems": "invoiceitem",
    "invoice_payments": "invoice_payment",
    "payment_intents": "payment_intent",
    "charges": "charge",
    "refunds": "refund",
    "balance_transactions": "balance_transaction",
    "payouts": "payout",
    "products": "product",
    "prices": "price",
    "events": "event",
}


def history(scale: float, seed: int = 1) -> Documents:
    """What has happened in Stripe by a day, in memory."""
    rows = generate(TODAY, scale, seed)
    product = Product({row.id: row for row in rows.organisations}, {u.id: u for u in rows.users})
    accounts = {id_: Account(row, n) for n, (id_, row) in enumerate(product.organisations.items())}
    clock = Clock(seed, scale, TODAY, ticks=0)
    documents = Documents("stripe")
    for day in days(product, accounts, clock):
        day.rng = chance(clock, "stripe", day.date)
        pass_day(documents, day)
    return documents


@pytest.fixture(scope="module")
def documents() -> Documents:
    return history(1)


@dataclass
class Sandbox:
    """A world in Postgres, with the API in front of it."""

    client: TestClient
    connection: Connection[Any]

    def get(self, path: str, **parameters: Any) -> Any:
        response = self.client.get(f"/stripe/v1/{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, path: str, **parameters: Any) -> tuple[int, dict[str, str]]:
        response = self.client.get(f"/stripe/v1/{path}", params=parameters)
        return response.status_code, response.json()["error"]

    def all(self, path: str, size: int = 100, **parameters: Any) -> list[dict[str, Any]]:
        """Every object, page by page, as an SDK reads them."""
        found: list[dict[str, Any]] = []
        page = self.get(path, limit=size, **parameters)
        while True:
            found += page["data"]
            if not page["has_more"]:
                return found
            assert len(page["data"]) == size
            cursor = found[-1]["id"]
            page = self.get(path, limit=size, starting_after=cursor, **parameters)

    def documents(self) -> Documents:
        return Documents.load(self.connection, "stripe")


@pytest.fixture(scope="module")
def stripe(postgres: PostgresServer) -> Iterator[Sandbox]:
    """A world of its own: ticks pass in it, and it has to be large enough for odd cases."""
    with pytest.MonkeyPatch.context() as patch:
        # These tests ask for more than a hundred pages a second.
        patch.setattr(api, "RATE_LIMIT", (100_000, 1.0))
        with running(postgres, "stripe", TODAY, 0.3, seed=1, key=KEY) as saas:
            saas.client.headers["Authorization"] = f"Bearer {KEY}"
            saas.client.headers["Stripe-Version"] = NEWEST
            set_version(saas.connection, NEWEST)
            yield Sandbox(saas.client, saas.connection)


# --- The API


def test_a_wrong_key_is_refused_and_masked(stripe: Sandbox) -> None:
    wrong = "sk_live_SomebodyElsesLongKey"
    answer = stripe.client.get("/stripe/v1/customers", headers={"Authorization": f"Bearer {wrong}"})
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] == "Invalid API Key provided: sk_live_****************gKey"
    assert answer.headers["Request-Id"].startswith("req_")
    without = stripe.client.get("/stripe/v1/customers", headers={"Authorization": ""})
    assert without.status_code == 401
    assert "You did not provide an API key" in without.json()["error"]["message"]


def test_basic_authentication_is_taken_too(stripe: Sandbox) -> None:
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    answer = stripe.client.get("/stripe/v1/plans", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 200


def test_the_account_is_the_companys_own(stripe: Sandbox) -> None:
    account = stripe.get("accounts/acct_sandbox")
    assert account["settings"]["dashboard"]["display_name"]
    assert stripe.get("account") == account
    assert stripe.refused("accounts/acct_other")[0] == 403
    answer = stripe.client.get("/stripe/v1/plans", headers={"Stripe-Account": "acct_other"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "account_invalid")


@pytest.mark.parametrize("path", LISTS)
def test_pages_join_up_newest_first_whichever_way(stripe: Sandbox, path: str) -> None:
    everything = {"status": "all"} if path == "subscriptions" else {}
    found = stripe.all(path, 7, **everything)
    ids = [body["id"] for body in found]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {body["id"] for body in stripe.documents().of(LISTS[path])}
    stamped = "date" if path == "invoiceitems" else "created"
    assert all(a[stamped] >= b[stamped] for a, b in pairwise(found))
    assert all(body["object"] == LISTS[path] for body in found)
    middle = len(ids) // 2
    before = stripe.get(path, limit=3, ending_before=ids[middle], **everything)
    assert [body["id"] for body in before["data"]] == ids[max(middle - 3, 0) : middle]
    assert before["has_more"] == (middle > 3)


def test_created_includes_and_excludes_as_it_says(stripe: Sandbox) -> None:
    moments = sorted(body["created"] for body in stripe.all("invoices"))
    low, high = moments[len(moments) // 3], moments[len(moments) // 2]
    checks = {
        ("gte", "lt"): lambda t: low <= t < high,
        ("gt", "lte"): lambda t: low < t <= high,
    }
    for (lower, upper), belongs in checks.items():
        found = stripe.all("invoices", **{f"created[{lower}]": low, f"created[{upper}]": high})
        assert sorted(body["created"] for body in found) == [t for t in moments if belongs(t)]
    assert {body["created"] for body in stripe.all("invoices", created=low)} == {low}


@pytest.mark.parametrize(
    ("path", "parameters", "code", "param"),
    [
        ("customers", {"email": "a@b.example"}, "parameter_unknown", "email"),
        ("customers", {"status": "all"}, "parameter_unknown", "status"),
        ("customers", {"created[after]": "1"}, "parameter_unknown", "created[after]"),
        ("customers", {"created[gte]": "yesterday"}, "parameter_invalid_integer", "created[gte]"),
        ("customers", {"created": "999999999999"}, "parameter_invalid_integer", "created"),
        ("customers", {"limit": "101"}, "parameter_invalid_integer", "limit"),
        ("customers", {"limit": "0"}, "parameter_invalid_integer", "limit"),
        ("customers", {"limit": "many"}, "parameter_invalid_integer", "limit"),
        ("customers", {"starting_after": "cus_none"}, "resource_missing", "starting_after"),
        ("customers", {"ending_before": "in_none"}, "resource_missing", "ending_before"),
        ("invoices", {"expand[0]": "data.currency"}, None, "expand[0]"),
        ("invoices", {"expand[]": "payments"}, None, "expand[]"),
        ("invoices", {"expand[]": "data.lines.data.discounts.source"}, None, "expand[]"),
        ("subscriptions", {"status": "finished"}, None, "status"),
        ("events", {"type": "customer.*.x"}, None, "type"),
        ("subscription_items", {}, "parameter_missing", "subscription"),
        ("accounts/acct_sandbox", {"limit": "1"}, "parameter_unknown", "limit"),
    ],
)
def test_what_is_not_known_is_refused(
    stripe: Sandbox, path: str, parameters: dict[str, str], code: str | None, param: str
) -> None:
    status, error = stripe.refused(path, **parameters)
    assert status == 400
    assert (error.get("code"), error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"


def test_a_page_lies_on_one_side_of_a_cursor(stripe: Sandbox) -> None:
    one = stripe.get("plans", limit=1)["data"][0]["id"]
    status, error = stripe.refused("plans", starting_after=one, ending_before=one)
    assert (status, error["type"]) == (400, "invalid_request_error")


def test_unknown_routes_and_versions_are_refused(stripe: Sandbox) -> None:
    status, error = stripe.refused("payment_methods")
    assert status == 404
    assert error["message"].startswith("Unrecognized request URL (GET: /v1/payment_methods)")
    answer = stripe.client.get("/stripe/v1/plans", headers={"Stripe-Version": "2024-06-20"})
    assert answer.status_code == 400


def test_versions_are_those_that_a_request_and_the_account_name(stripe: Sandbox) -> None:
    def answer(path: str, version: str) -> Any:
        headers = {"Stripe-Version": version}
        got = stripe.client.get(f"/stripe/v1/{path}", params={"limit": 1}, headers=headers)
        assert got.headers["Stripe-Version"] == version
        return got.json()["data"][0]

    for version in VERSIONS:
        subscription, invoice = answer("subscriptions", version), answer("invoices", version)
        line, charge = invoice["lines"]["data"][0], answer("charges", version)
        item = subscription["items"]["data"][0]
        is_old = version == OLD
        assert ("current_period_end" in subscription, "current_period_end" in item) == (
            is_old,
            not is_old,
        )
        assert ("subscription" in invoice, "paid" in invoice, "parent" in invoice) == (
            is_old,
            is_old,
            not is_old,
        )
        assert ("price" in line, "plan" in line, "pricing" in line) == (is_old, is_old, not is_old)
        assert ("invoice" in charge) == is_old
        # Events are in the account's version, whatever a request names.
        set_version(stripe.connection, version)
        try:
            for event in stripe.all("events", type="invoice.*"):
                assert event["api_version"] == version
                assert ("paid" in event["data"]["object"]) == is_old
                previous = event["data"].get("previous_attributes", {})
                assert previous.keys() <= event["data"]["object"].keys()
        finally:
            set_version(stripe.connection, NEWEST)


def test_an_object_is_shown_by_its_id(stripe: Sandbox) -> None:
    for path in (*LISTS, "subscription_schedules", "coupons"):
        for body in stripe.get(path, limit=3)["data"]:
            assert stripe.get(f"{path}/{body['id']}") == body
        status, error = stripe.refused(f"{path}/none")
        assert (status, error["code"], error["param"]) == (404, "resource_missing", "id")
        assert stripe.refused(f"{path}/none", limit=1)[1]["code"] == "parameter_unknown"
    item = stripe.get("subscriptions", limit=1)["data"][0]["items"]["data"][0]
    assert stripe.get(f"subscription_items/{item['id']}") == item
    gone = [body for body in stripe.documents().of("_deleted") if body["id"].startswith("customer")]
    assert gone
    for body in gone:
        id_ = body["body"]["id"]
        deleted = {"id": id_, "object": "customer", "deleted": True}
        assert stripe.get(f"customers/{id_}") == deleted


def test_a_restricted_key_reads_what_it_may(stripe: Sandbox) -> None:
    key = f"rk_{KEY}_without_payout_read,charge_read"
    headers = {"Authorization": f"Bearer {key}"}
    for path in LISTS:
        answer = stripe.client.get(f"/stripe/v1/{path}", headers=headers)
        lacking = {"payouts": "rak_payout_read", "charges": "rak_charge_read"}
        if permission := (lacking | {"refunds": "rak_charge_read"}).get(path):
            message = answer.json()["error"]["message"]
            assert answer.status_code == 403
            assert message.endswith(
                "does not have the required permissions for this endpoint on account "
                f"'acct_sandbox'. Having the '{permission}' permission would allow this request "
                "to continue."
            )
            assert KEY not in message
        else:
            assert answer.status_code == 200
    assert stripe.client.get("/stripe/v1/account", headers=headers).status_code == 403
    other = {"Stripe-Account": "acct_other"}
    answer = stripe.client.get("/stripe/v1/customers", headers=other)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "account_invalid")


def test_events_are_found_by_some_types(stripe: Sandbox) -> None:
    wanted = ["invoice.paid", "customer.updated"]
    found = stripe.get("events", limit=100, **{"types[]": wanted})["data"]
    assert {event["type"] for event in found} == set(wanted)
    status, error = stripe.refused("events", **{"types[]": "invoice.*"})
    assert (status, error["param"]) == (400, "types")


def test_canceled_subscriptions_are_listed_if_asked_for(stripe: Sandbox) -> None:
    every = stripe.all("subscriptions", status="all")
    canceled = {body["id"] for body in every if body["status"] == "canceled"}
    assert canceled
    assert {body["id"] for body in stripe.all("subscriptions")} == (
        {body["id"] for body in every} - canceled
    )
    assert {body["id"] for body in stripe.all("subscriptions", status="canceled")} == canceled


def test_an_invoice_shows_its_first_ten_lines_and_lists_them_all(stripe: Sandbox) -> None:
    long = [body for body in stripe.documents().of("invoice") if len(body["lines"]["data"]) > 12]
    shown = {body["id"]: body for body in stripe.all("invoices")}
    assert long
    for invoice in long:
        lines = shown[invoice["id"]]["lines"]
        assert lines["data"] == invoice["lines"]["data"][:10]
        assert lines["has_more"]
        path = lines["url"].removeprefix("/v1/")
        assert stripe.all(path, 4) == invoice["lines"]["data"]
    last = long[-1]["lines"]["data"][3]["id"]
    before = stripe.get(path, limit=2, ending_before=last)
    assert before["data"] == long[-1]["lines"]["data"][1:3]
    status, error = stripe.refused(path, starting_after="il_none")
    assert (status, error["message"]) == (400, "No such invoice item: 'il_none'")


def test_attributes_are_expanded_on_request(stripe: Sandbox) -> None:
    running = [b for b in stripe.all("subscriptions") if b["status"] != "incomplete_expired"]
    plain = stripe.get("customers", limit=1)["data"][0]
    assert not {"subscriptions", "sources", "tax_ids"} & plain.keys()
    wanted = {f"expand[{n}]": f"data.{k}" for n, k in enumerate(("subscriptions", "tax_ids"))}
    customers = stripe.all("customers", **wanted)
    found = [sub for customer in customers for sub in customer["subscriptions"]["data"]]
    assert sorted(sub["id"] for sub in found) == sorted(sub["id"] for sub in running)
    refunded = [b for b in stripe.documents().of("charge") if b["amount_refunded"]]
    charges = {body["id"]: body for body in stripe.all("charges", **{"expand[]": "data.refunds"})}
    assert refunded
    for charge in refunded:
        (refund,) = charges[charge["id"]]["refunds"]["data"]
        assert refund["amount"] == charge["amount_refunded"]
    assert "refunds" not in stripe.get("charges", limit=1)["data"][0]


def test_items_of_a_subscription_are_listed(stripe: Sandbox) -> None:
    several = [b for b in stripe.all("subscriptions", status="all") if len(b["items"]["data"]) > 1]
    assert several
    for subscription in several:
        items = stripe.all("subscription_items", 1, subscription=subscription["id"])
        assert items == subscription["items"]["data"]


def test_events_are_found_by_type(stripe: Sandbox) -> None:
    every = stripe.all("events")
    for pattern, belongs in {
        "invoice.*": lambda type_: type_.startswith("invoice."),
        "customer.subscription.*": lambda type_: type_.startswith("customer.subscription."),
        "invoice.paid": lambda type_: type_ == "invoice.paid",
    }.items():
        found = [event["id"] for event in stripe.all("events", type=pattern)]
        assert found
        assert found == [event["id"] for event in every if belongs(event["type"])]


@pytest.mark.parametrize("ticks", [2, pytest.param(12, marks=pytest.mark.thorough)])
def test_each_change_of_a_tick_is_seen_in_the_newest_event(stripe: Sandbox, ticks: int) -> None:
    started = int(datetime.now(UTC).timestamp())
    kinds = {kind: path for path, kind in LISTS.items() if kind not in WITHOUT_EVENTS}
    seen: set[str] = set()
    for _ in range(ticks):
        before = stripe.documents()
        with stripe.connection.transaction():
            world.tick(stripe.connection)
        after = stripe.documents()
        events = stripe.all("events", **{"created[gte]": started})
        newest: dict[str, dict[str, Any]] = {}
        for event in reversed(events):
            if event["data"]["object"]["object"] != "plan":  # it has the ID of its price
                newest[event["data"]["object"]["id"]] = event
        for kind, path in kinds.items():
            everything = {"status": "all"} if kind == "subscription" else {}
            shown = {body["id"]: body for body in stripe.all(path, **everything)}
            old = {body["id"]: body for body in before.of(kind)}
            new = {body["id"]: body for body in after.of(kind)}
            changed = {id_ for id_, body in new.items() if old.get(id_) != body}
            for id_ in changed:
                if kind == "invoiceitem" and (invoice := new[id_]["invoice"]):
                    # Since 2023, no event of its own says so.
                    assert invoice in newest
                    assert id_ in str(after.get("invoice", invoice))
                    continue
                assert newest[id_]["data"]["object"] == shown[id_]
                seen.add(newest[id_]["type"])
            for id_ in new.keys() - old.keys():
                stamped = new[id_]["date" if kind == "invoiceitem" else "created"]
                assert stamped >= started
            for id_ in old.keys() - new.keys():
                assert newest[id_]["type"] == f"{kind}.deleted"
                assert id_ not in shown
    assert {"customer.subscription.updated", "invoice.payment_succeeded"} <= seen
    assert {"charge.succeeded", "customer.updated"} <= seen


# --- The world


def test_two_equal_worlds_are_equal() -> None:
    one, other = history(0.2), history(0.2)
    kinds = [*LISTS.values(), "_subscription_change", "_due"]
    assert all(one.of(kind) == other.of(kind) for kind in kinds)
    assert one.of("charge") != history(0.2, seed=2).of("charge")


def test_every_odd_case_is_there(documents: Documents) -> None:
    statuses = {body["status"] for body in documents.of("subscription")}
    assert {"active", "trialing", "past_due", "canceled", "incomplete_expired"} <= statuses
    assert {"paid", "open", "void"} <= {body["status"] for body in documents.of("invoice")}
    charges = {body["status"] for body in documents.of("charge")}
    assert {"succeeded", "failed"} <= charges <= {"succeeded", "failed", "pending"}
    for kind in ("coupon", "discount", "refund", "credit_note", "dispute", "payout"):
        assert documents.of(kind), kind
    assert {"usd", "eur", "gbp", "jpy"} == {body["currency"] for body in documents.of("customer")}
    assert any(not body["metadata"].get("organisation_id") for body in documents.of("customer"))
    assert any(len(body["customers"]) == 2 for body in documents.of("_organisation"))
    deleted = [p for p in documents.of("_payer") if not documents.get("customer", p["id"])]
    assert deleted
    for payer in deleted:
        for id_ in payer["subscriptions"]:
            subscription = documents.get("subscription", id_)
            assert subscription is not None
            assert subscription["ended_at"]
    in_arrears = {body["id"] for body in documents.of("customer") if body["delinquent"]}
    assert in_arrears
    past_due = {b["customer"] for b in documents.of("subscription") if b["status"] == "past_due"}
    assert past_due <= in_arrears
    runs_again = [p for p in documents.of("_payer") if p["comes_back"] and p["subscriptions"][1:]]
    assert runs_again


def test_invoices_add_up(documents: Documents) -> None:
    numbers: set[str] = set()
    for invoice in documents.of("invoice"):
        lines = invoice["lines"]["data"]
        assert invoice["subtotal"] == sum(line["amount"] for line in lines)
        off = sum(given["amount"] for line in lines for given in line["discount_amounts"])
        taxes = [tax for line in lines for tax in line["taxes"]]
        exclusive, inclusive = (
            sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == behaviour)
            for behaviour in ("exclusive", "inclusive")
        )
        total = invoice["total"]
        assert total == invoice["subtotal"] - off + exclusive
        assert invoice["total_excluding_tax"] == invoice["subtotal"] - off - inclusive
        credited = invoice["pre_payment_credit_notes_amount"]
        assert invoice["amount_due"] == max(total + invoice["starting_balance"], 0) - credited
        assert invoice["amount_remaining"] == invoice["amount_due"] - invoice["amount_paid"]
        if invoice["status"] == "paid":
            assert invoice["amount_remaining"] == 0
        assert (invoice["number"] is None) == (invoice["status"] == "draft")
        if invoice["number"]:
            assert invoice["number"] not in numbers
            numbers.add(invoice["number"])
        if invoice["status"] != "draft":
            assert not any(line["parent"]["invoice_item_details"] for line in lines)
    taken = {body["id"]: 0 for body in documents.of("invoice")}
    for charge in documents.of("charge"):
        if charge["status"] == "succeeded":
            taken[charge["_invoice"]] += charge["amount"]
    for invoice in documents.of("invoice"):
        by_card = invoice["status"] == "paid" and not invoice["_out_of_band"]
        assert taken[invoice["id"]] == (invoice["amount_paid"] if by_card else 0)


def test_prorations_are_the_shares_of_the_time_that_is_left(documents: Documents) -> None:
    # A period by its end: every change within it is prorated for the time up to there.
    periods = {
        (details["subscription_item"], line["period"]["end"]): line["period"]["start"]
        for invoice in documents.of("invoice")
        for line in invoice["lines"]["data"]
        if (details := line["parent"]["subscription_item_details"]) and not details["proration"]
    }
    # Of a subscription with a discount, the discount's share is off too.
    reduced = {discount["subscription"] for discount in documents.of("discount")}
    credited, charged = 0, 0
    for item in documents.of("invoiceitem"):
        parent = item["parent"]
        if parent and parent["subscription_details"]["subscription"] not in reduced:
            start, end = item["period"]["start"], item["period"]["end"]
            id_ = item["parent"]["subscription_details"]["subscription_item"]
            share = Fraction(end - start, end - periods[id_, end])
            assert 0 < share < 1
            whole = Fraction(item["pricing"]["unit_amount_decimal"]) * item["quantity"]
            assert abs(abs(item["amount"]) - whole * share) <= Fraction(1, 2)
            credited += item["amount"] < 0
            charged += item["amount"] > 0
    assert credited > charged > 100  # a month that becomes a year is credited only


def test_the_truth_ends_where_the_subscriptions_are(documents: Documents) -> None:
    last: dict[str, tuple[str, Fraction, str]] = {}
    for change in documents.of("_subscription_change"):
        amount, net = Fraction(change["gross_monthly_amount"]), change["monthly_amount"]
        on, *before = last.get(change["subscription"], ("", Fraction(), "0"))
        assert change["on"] > on or amount == 0
        assert before != [amount, net]
        assert 0 <= Fraction(net) <= amount
        last[change["subscription"]] = (change["on"], amount, net)
    prices = {price["id"]: terms_of(price) for price in documents.of("price") if price["recurring"]}
    for subscription in documents.of("subscription"):
        runs = subscription["status"] in ("active", "past_due")
        expected = sum(
            (
                prices[item["price"]["id"]].amount(item["quantity"])
                / prices[item["price"]["id"]].months
                for item in subscription["items"]["data"]
            ),
            Fraction(),
        )
        on, amount, _ = last.get(subscription["id"], ("", Fraction(), "0"))
        assert amount == (expected if runs else 0)
        if subscription["status"] == "canceled" and on:
            assert on == f"{datetime.fromtimestamp(subscription['ended_at'], UTC):%Y-%m-%d}"


def test_events_are_kept_for_thirty_days_in_order(documents: Documents) -> None:
    moments = [event["created"] for event in documents.of("event")]
    oldest = epoch(datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)) - 30 * 86_400
    assert min(moments) >= oldest
    assert moments == sorted(moments)


@pytest.mark.parametrize(
    ("anchor", "start", "months", "end"),
    [
        ("2026-01-31", "2026-01-31", 1, "2026-02-28"),
        ("2026-01-31", "2026-02-28", 1, "2026-03-31"),
        ("2026-01-31", "2026-03-31", 1, "2026-04-30"),
        ("2027-12-15", "2027-12-15", 1, "2028-01-15"),
        ("2024-02-29", "2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", "2027-02-28", 12, "2028-02-29"),
    ],
)
def test_periods_keep_the_day_of_the_month(anchor: str, start: str, months: int, end: str) -> None:
    first, begins, ends = map(datetime.fromisoformat, (anchor, start, end))
    assert period_end(first, begins, "month", months) == ends


def test_a_day_needs_no_organisation() -> None:
    documents = Documents("stripe")
    for number in range(60):
        on = TODAY + timedelta(days=number)
        pass_day(documents, Day(on, Random(number), {}, {}))
    assert {body["organisation_id"] for body in documents.of("_payer")} == {None}
    assert documents.of("invoice")
