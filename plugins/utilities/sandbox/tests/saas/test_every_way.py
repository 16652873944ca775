"""The company that charges in every way: its own books have the right values."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
from sandbox.saas.documents import Body, Documents
from sandbox.saas.stripe import every_way
from sandbox.saas.stripe.catalogue import Terms, Tier
from sandbox.saas.stripe.ledger import monthly_revenue, monthly_usage
from sandbox.saas.stripe.objects import subscription_of

TODAY = date(2026, 11, 28)
BY_WEEK, BY_DAY = Fraction(365, 7 * 12), Fraction(365, 12)
REVENUE: dict[str, list[int | Fraction]] = {
    "monthly": [4900],
    "yearly": [Fraction(49_000, 12)],
    "weekly": [1400 * BY_WEEK, 4200 * BY_WEEK, 0],
    "every two weeks": [2300 * BY_WEEK],
    "daily": [600 * BY_DAY, 1000 * BY_DAY, 0],
    "quarterly": [Fraction(14_000, 3), Fraction(28_000, 3)],
    "half-yearly": [4500],
    "volume": [9000, 21_000, 14_400],
    "volume with a flat fee": [9000, 10_400],
    "graduated": [9000, 12_500, 4000],
    "graduated with a flat fee": [4100, 2500],
    "graduated yearly": [4000, 5500],
    "package": [5000, 5500, 500],
    "half cents": [501, 3889],
    "metered": [],
    "metered, graduated, beside seats": [4500],
    "several items": [31_900, 33_400, 24_400, 29_300],
    "trial": [4900],
    "trial that is cancelled": [],
    "trial without a payment method": [4900],
    "trial without a payment method that stays paused": [],
    "upgrade, downgrade": [4900, 9900, 4900],
    "month to year": [4900, Fraction(49_000, 12)],
    "seats without prorations": [7500, 13_500, 4500],
    "cancelled at the end of the period": [4900, 0],
    "cancelled, and kept": [4900],
    "cancel_at, two periods ahead": [4900, 0],
    "cancel_at within the period": [4900, 0],
    "comes back": [4900, 0, 4900],
    "schedule of two phases": [4900, 9900],
    "schedule that ends": [6000, 0],
    "unpaid, then pays": [4900, 0, 4900],
    "unpaid for good": [4900, 0],
    "declined twice, then pays": [4900],
    "declined until it is cancelled": [4900, 0],
    "collection paused, void": [4900, 0, 4900],
    "collection paused, uncollectible": [4900, 0, 4900],
    "collection paused, draft": [4900, 0, 4900],
    "collection paused for good": [4900, 0],
    "20 % off forever": [3920, 7840],
    "5.00 off forever": [4000],
    "25 % off for four months": [3675, 4900],
    "10.00 off for three months": [3900, 4900],
    "half off once": [4900],
    "100 % off": [0],
    "100 % off for a while": [4900, 0, 4900],
    "two discounts": [3420],
    "a discount of the customer": [3920],
    "a discount of one item": [10_900, 9400, 10_900],
    "a coupon that was deleted": [4410],
    "tax included": [10_000, 20_000],
    "tax included, 20 % off": [16_000],
    "tax added": [20_000, 30_000],
    "free": [4900],
    "yen": [10_000, 15_000],
    "dinars": [28_650, 43_650],
    "SEPA": [4500],
    "ACH that bounces": [4900],
    "refunded": [4900],
    "credited": [10_500],
    "disputed": [4900],
    "one-off fees": [4900],
    "leaves, and is deleted": [4900, 0],
}
"""MRR of the first customer of a way, after each change, in the currency's smallest unit."""


@pytest.fixture(scope="module")
def documents() -> Documents:
    return every_way.build(2 * len(every_way.WAYS), today=TODAY)


def test_mrr_of_every_way_is_right(documents: Documents) -> None:
    changes = defaultdict(list)
    for change in documents.of("_subscription_change"):
        changes[change["customer"]].append(change)
    found: dict[str, list[Fraction]] = {}
    for payer in documents.of("_payer"):
        of_one = sorted(changes[payer["id"]], key=lambda change: str(change["on"]))
        found.setdefault(payer["way"], [Fraction(c["monthly_amount"]) for c in of_one])
    assert {way: found[way] for way in REVENUE} == REVENUE


def test_movements_add_up_to_the_change_of_mrr(documents: Documents) -> None:
    months = [date(2025 + n // 12, n % 12 + 1, 1) for n in range(5, 23)]
    revenue = monthly_revenue(documents, months)
    subscribers = {key[:2] for key in revenue}
    assert len(subscribers) > 100
    assert {currency for _, currency in subscribers} == {"usd", "eur", "gbp", "jpy", "kwd"}
    for subscriber in subscribers:
        series = [revenue.get((*subscriber, month), Fraction()) for month in months]
        moved = sum((after - before for before, after in pairwise(series)), Fraction())
        assert series[0] + moved == series[-1]
    metered = monthly_usage(documents)
    assert metered
    assert all(amount > 0 for amount in metered.values())


def test_the_evidence_of_each_way_is_in_its_objects(documents: Documents) -> None:
    """What can't be told from objects as they are now, no report could get right."""
    of_way: dict[str, list[Body]] = defaultdict(list)
    ways = {payer["id"]: payer["way"] for payer in documents.of("_payer")}
    for invoice in documents.of("invoice"):
        of_way[ways[invoice["customer"]]].append(invoice)

    def statuses(way: str) -> set[str]:
        return {invoice["status"] for invoice in of_way[way]}

    assert "void" in statuses("collection paused, void")
    assert "uncollectible" in statuses("collection paused, uncollectible")
    assert "draft" in statuses("collection paused, draft")
    assert "draft" in statuses("unpaid, then pays")
    two, three = (
        next(invoice for invoice in of_way[way] if invoice["status"] == "paid")
        for way in ("graduated", "several items")
    )
    assert [line["amount"] for line in two["lines"]["data"]] == [5000, 4000]
    assert len({line["pricing"]["price_details"]["price"] for line in two["lines"]["data"]}) == 1
    assert len(three["lines"]["data"]) == 3
    (included,) = of_way["tax included"][0]["lines"]["data"]
    assert (included["amount"], included["taxes"][0]["amount"]) == (12_000, 2000)
    (flat, seats) = of_way["a discount of one item"][1]["lines"]["data"]
    assert (flat["discounts"], seats["discounts"]) == (
        [],
        [given["discount"] for given in seats["discount_amounts"]],
    )
    clearing = [i for i in of_way["SEPA"] + of_way["ACH"] if i["status"] == "open"]
    for invoice in clearing:
        charge = documents.get("charge", invoice["_charge"])
        assert invoice["attempted"]
        assert charge is not None
        assert charge["status"] == "pending"
    assert {body["status"] for body in documents.of("charge")} >= {"succeeded", "failed"}
    assert {subscription_of(i) for i in of_way["monthly"]} <= {
        s["id"] for s in documents.of("subscription")
    }


def test_the_same_seed_makes_the_same_world() -> None:
    one, other, third = (every_way.build(40, today=TODAY, seed=seed) for seed in (1, 1, 2))
    for kind in ("invoice", "charge", "event", "_subscription_change", "_due"):
        assert one.of(kind) == other.of(kind)
    assert one.of("charge") != third.of("charge")


def test_days_pass_in_real_time(documents: Documents) -> None:
    known = {event["id"] for event in documents.of("event")}
    now = datetime.now(UTC)
    every_way.pass_day(documents, TODAY + timedelta(days=1), now=now)
    new = [event for event in documents.of("event") if event["id"] not in known]
    assert new
    assert all(event["created"] >= int(now.timestamp()) for event in new)


@pytest.mark.parametrize(
    ("terms", "quantity", "amounts"),
    [
        (Terms("p", "usd", 500, package=100), 950, [5000]),
        (Terms("p", "usd", 500, package=100), 900, [4500]),
        (Terms("p", "usd", tiers=(Tier(10, 1800), Tier(None, 1500)), mode="volume"), 10, [18_000]),
        (Terms("p", "usd", tiers=(Tier(10, 1800), Tier(None, 1500)), mode="volume"), 11, [16_500]),
        (Terms("p", "usd", tiers=every_way.TIERS, mode="graduated"), 12, [5000, 4000, 1000]),
        (Terms("p", "usd", tiers=every_way.TIERS, mode="graduated"), 5, [5000]),
        (Terms("p", "usd", tiers=every_way.TIERS, mode="graduated"), 0, [0]),
        (Terms("p", "usd", Fraction(1, 2)), 1001, [501]),
        (Terms("p", "kwd", Fraction(1, 2)), 1001, [500]),
    ],
)
def test_a_period_costs_what_the_price_says(
    terms: Terms, quantity: int, amounts: list[int]
) -> None:
    assert [charge.amount for charge in terms.charges(quantity)] == amounts
