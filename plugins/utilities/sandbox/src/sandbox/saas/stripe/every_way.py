"""A company that charges in every way that Stripe has: for tests and measurements.

It has no product behind it: `WAYS` says how a customer is charged and what it does, and each
customer follows one of them, in turn. So the same number of customers, day and seed give the same
world, and every way exists at every scale from one customer a way on.

    documents = build(customers=2000, today=date.today())
    ledger.monthly_revenue(documents, months)    # what MRR has to be
    replace_all(connection, documents)           # the sandbox's API shows this world instead
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from psycopg import Connection

from sandbox.saas.day import Day, epoch
from sandbox.saas.documents import Body, Documents
from sandbox.saas.stripe.billing import Billing, at_noon, period_end
from sandbox.saas.stripe.catalogue import (
    FEE,
    Terms,
    Tier,
    make_coupon,
    make_price,
    make_product,
    make_tax_rate,
)
from sandbox.saas.stripe.ledger import EVENTS_KEPT, GONE
from sandbox.saas.stripe.objects import (
    ACCOUNT_ID,
    TEMPLATES,
    make,
    make_customer,
    make_id,
    make_item,
    period_of,
    priced,
    with_items,
)

MONTHS = 18
TIERS = (Tier(5, 1000), Tier(10, 800), Tier(None, 500))
PRICES = {
    "flat": Terms("flat", "usd", 4900),
    "flat-2weeks": Terms("flat", "usd", 2300, "week", 2),
    "flat-day": Terms("flat", "usd", 200, "day"),
    "flat-eur": Terms("flat", "eur", 4500),
    "flat-half-year": Terms("flat", "usd", 27_000, "month", 6),
    "flat-jpy": Terms("flat", "jpy", 5000),
    "flat-kwd": Terms("flat", "kwd", 15_000),
    "flat-plus": Terms("flat", "usd", 9900),
    "flat-quarter": Terms("flat", "usd", 14_000, "month", 3),
    "flat-week": Terms("flat", "usd", 1400, "week"),
    "flat-year": Terms("flat", "usd", 49_000, "year"),
    "free": Terms("flat", "usd", 0),
    "seats": Terms("seats", "usd", 1500),
    "seats-gbp": Terms("seats", "gbp", 1200),
    "seats-kwd": Terms("seats", "kwd", 4550),
    "seats-year": Terms("seats", "usd", 15_000, "year"),
    "taxed-eur": Terms("taxed", "eur", 12_000),
    "taxed-usd": Terms("taxed", "usd", 10_000),
    "volume": Terms("volume", "usd", tiers=(Tier(10, 1800), Tier(None, 1500)), mode="volume"),
    "volume-flat": Terms(
        "volume", "usd", tiers=(Tier(10, 0, 9000), Tier(None, 700, 2000)), mode="volume"
    ),
    "graduated": Terms("graduated", "usd", tiers=TIERS, mode="graduated"),
    "graduated-flat": Terms(
        "graduated", "usd", tiers=(Tier(5, 0, 2500), *TIERS[1:]), mode="graduated"
    ),
    "graduated-year": Terms(
        "graduated", "usd", interval="year", tiers=(Tier(3, 12_000), Tier(None, 6000)),
        mode="graduated",
    ),
    "package": Terms("package", "usd", 500, package=100),
    "fraction": Terms("fraction", "usd", Fraction(1, 2)),
    "metered": Terms("metered", "usd", 5, metered=True),
    "metered-graduated": Terms(
        "metered", "usd", tiers=(Tier(100, 0), Tier(None, 3)), mode="graduated", metered=True
    ),
    "metered-package": Terms("metered", "usd", 250, package=1000, metered=True),
}  # fmt: skip
COUPONS: dict[str, dict[str, Any]] = {
    "forever-20": {"duration": "forever", "percent_off": 20},
    "forever-5.00": {"duration": "forever", "amount_off": 500, "currency": "usd"},
    "free/friends": {"duration": "forever", "percent_off": 100},
    "once-50%": {"duration": "once", "percent_off": 50},
    "repeating-25": {"duration": "repeating", "duration_in_months": 4, "percent_off": 25},
    "repeating-10.00": {
        "duration": "repeating",
        "duration_in_months": 3,
        "amount_off": 1000,
        "currency": "usd",
    },
    "withdrawn-10": {"duration": "forever", "percent_off": 10},
}
"""IDs of coupons may have any character."""
TAXES = {
    "vat-inclusive": ("VAT", 20, True),
    "vat-exclusive": ("VAT", 19, False),
    "sales-tax": ("Sales tax", 8, False),
}
Act = tuple[int, int, str, Any]
"""In which period (0 is the first), on which of its days, what is done, and with what.

Day 0 of a later period is before the period is billed, so that nothing is prorated.
"""


@dataclass(frozen=True)
class Way:
    """How a customer is charged, and what it does."""

    prices: tuple[tuple[str, int | None], ...]
    """Keys of prices, each with a quantity; None if it is metered."""
    acts: tuple[Act, ...] = ()
    trial: int = 0
    """Days."""
    coupons: tuple[str, ...] = ()
    tax: str | None = None
    own: dict[str, Any] = field(default_factory=dict)
    """Attributes of the subscription."""
    payer: dict[str, Any] = field(default_factory=dict)
    """How the customer pays: `method`, `dunning`, `fails` (periods that can't be paid by card)."""


def flat(*acts: Act, **own: Any) -> Way:
    """Return a way of a monthly price."""
    return Way((("flat", 1),), acts, **own)


UNPAID = {"dunning": "unpaid", "fails": [3], "pays_up_after": 45}
WAYS: dict[str, Way] = {
    "monthly": flat(),
    "yearly": Way((("flat-year", 1),)),
    "yearly by invoice": Way((("seats-year", 4),), own={"days_until_due": 30}),
    "weekly": Way((("flat-week", 1),), ((6, 2, "quantity", 3), (30, 0, "cancel", None))),
    "every two weeks": Way((("flat-2weeks", 2),)),
    "daily": Way((("flat-day", 3),), ((40, 0, "quantity", 5), (70, 0, "cancel", None))),
    "quarterly": Way((("flat-quarter", 1),), ((1, 40, "quantity", 2),)),
    "half-yearly": Way((("flat-half-year", 1),)),
    "volume": Way((("volume", 5),), ((2, 9, "quantity", 14), (4, 11, "quantity", 8))),
    "volume with a flat fee": Way((("volume-flat", 8),), ((3, 10, "quantity", 12),)),
    "graduated": Way((("graduated", 10),), ((2, 12, "quantity", 17), (5, 6, "quantity", 4))),
    "graduated with a flat fee": Way((("graduated-flat", 7),), ((3, 8, "quantity", 3),)),
    "graduated yearly": Way((("graduated-year", 5),), ((0, 100, "quantity", 8),)),
    "package": Way((("package", 950),), ((2, 14, "quantity", 1001), (6, 3, "quantity", 100))),
    "half cents": Way((("fraction", 1001),), ((2, 14, "quantity", 7777),)),
    "metered": Way((("metered", None),), ((7, 4, "end", None),)),
    "metered, graduated, beside seats": Way((("seats", 3), ("metered-graduated", None))),
    "metered by package, cancelled": Way(
        (("flat", 1), ("metered-package", None)), ((5, 0, "cancel", None),)
    ),
    "several items": Way(
        (("flat", 1), ("seats", 6), ("volume", 12)),
        ((1, 7, "add", ("package", 250)), (3, 5, "remove", 1), (5, 9, "quantity", 2)),
    ),
    "many items": Way(
        (
            *((key, 1) for key in ("flat", "flat-plus", "free", "taxed-usd")),
            *((key, 7) for key in ("seats", "volume", "volume-flat", "graduated")),
            *((key, 120) for key in ("graduated-flat", "package", "fraction")),
            ("metered", None),
        )
    ),
    "trial": flat(trial=14),
    "trial that is cancelled": flat((0, 8, "cancel", None), trial=14),
    "trial without a payment method": flat(
        trial=14, own={"_resumes_after": 40}, payer={"no_method": True}
    ),
    "trial without a payment method that stays paused": flat(
        trial=30, own={"_resumes_after": 0}, payer={"no_method": True}
    ),
    "upgrade, downgrade": flat((2, 10, "price", "flat-plus"), (6, 20, "price", "flat")),
    "month to year": flat((3, 13, "price", "flat-year")),
    "seats up and down": Way(
        (("seats", 5),),
        tuple((n, 3 + n, "quantity", seats) for n, seats in enumerate((7, 4, 9, 6, 12, 2, 8), 1)),
    ),
    "seats without prorations": Way(
        (("seats", 5),), ((2, 0, "quantity", 9), (5, 0, "quantity", 3))
    ),
    "cancelled at the end of the period": flat((4, 12, "cancel", None)),
    "cancelled, and kept": flat((3, 6, "cancel", None), (3, 15, "keep", None)),
    "cancelled at once": flat((4, 12, "end", None)),
    "cancel_at, two periods ahead": flat((3, 5, "cancel_at", 2)),
    "cancel_at within the period": flat((3, 5, "cancel_at", 0)),
    "comes back": flat((3, 9, "end", None), (3, 9, "again", 80)),
    "schedule of two phases": Way((("flat", 1),), ((0, 0, "schedule", ("flat-plus", 3)),)),
    "schedule that ends": Way((("seats", 4),), ((0, 0, "schedule", (None, 5)),)),
    "unpaid, then pays": flat(payer=UNPAID),
    "unpaid for good": flat(payer={**UNPAID, "pays_up_after": 0}),
    "unpaid, then cancelled": flat((5, 10, "end", None), payer={**UNPAID, "pays_up_after": 0}),
    "declined twice, then pays": flat(payer={"fails_once": [2, 6]}),
    "declined until it is cancelled": flat(payer={"fails": [5]}),
    "first payment fails": flat(payer={"fails_first": True}),
    "collection paused, void": flat((3, 0, "pause", "void"), (6, 0, "resume", None)),
    "collection paused, uncollectible": flat(
        (3, 0, "pause", "mark_uncollectible"), (5, 0, "resume", None)
    ),
    "collection paused, draft": flat((4, 0, "pause", "keep_as_draft"), (6, 0, "resume", None)),
    "collection paused for good": flat((5, 0, "pause", "void")),
    "20 % off forever": flat((3, 7, "quantity", 2), coupons=("forever-20",)),
    "5.00 off forever": Way((("seats", 3),), coupons=("forever-5.00",)),
    "25 % off for four months": flat(coupons=("repeating-25",)),
    "10.00 off for three months": flat(coupons=("repeating-10.00",)),
    "half off once": flat(coupons=("once-50%",)),
    "100 % off": flat(coupons=("free/friends",)),
    "100 % off for a while": flat((4, 0, "coupon", "free/friends"), (7, 0, "no coupon", None)),
    "two discounts": flat(coupons=("forever-20", "forever-5.00")),
    "a discount of the customer": flat(payer={"coupon": "forever-20"}),
    "a discount of one item": Way(
        (("flat", 1), ("seats", 4)), payer={"item_coupon": "repeating-25"}
    ),
    "a coupon that was deleted": flat(coupons=("withdrawn-10",)),
    "tax included": Way((("taxed-eur", 1),), ((3, 11, "quantity", 2),), tax="vat-inclusive"),
    "tax included, 20 % off": Way(
        (("taxed-eur", 2),), coupons=("forever-20",), tax="vat-inclusive"
    ),
    "tax added": Way((("taxed-usd", 2),), ((2, 9, "quantity", 3),), tax="sales-tax"),
    "VAT added": Way((("flat-eur", 1),), tax="vat-exclusive"),
    "free": Way((("free", 1),), ((3, 0, "price", "flat"),)),
    "two currencies": flat((1, 3, "second", ("seats-gbp", 3))),
    "yen": Way((("flat-jpy", 2),), ((2, 17, "quantity", 3),)),
    "dinars": Way((("flat-kwd", 1), ("seats-kwd", 3)), ((2, 19, "quantity", 2),)),
    "SEPA": Way((("flat-eur", 1),), payer={"method": "bank"}),
    "ACH": flat(payer={"method": "bank"}),
    "ACH that bounces": flat(payer={"method": "bank", "bounces": [3]}),
    "refunded": flat((2, 3, "refund", None), (5, 6, "refund", None)),
    "credited": Way((("seats", 7),), ((2, 3, "credit", None), (4, 8, "credit", None))),
    "credited before it is paid": Way(
        (("seats", 7),), ((3, 1, "credit", None),), own={"days_until_due": 30}
    ),
    "disputed": flat((3, 8, "dispute", None)),
    "one-off fees": flat((2, 6, "fee", 2500), (4, 9, "fee", 4000)),
    "leaves, and is deleted": flat((4, 12, "end", None), (4, 12, "delete", None)),
}  # fmt: skip
RUNNING = ("trialing", "active", "past_due", "unpaid")
WITHOUT_ORGANISATION = 9
"""One customer in so many is no organisation of the product."""
SHARED = 10
"""One customer in so many belongs to the organisation of the one before."""


def build(
    customers: int = 2000, *, today: date | None = None, seed: int = 1, first: int = 0
) -> Documents:
    """Simulate eighteen months.

    Args:
        customers: How many there are at the end.
        today: The last day.
        seed: Of all that is random.
        first: The way of the first customer.
    """
    documents = Documents("stripe")
    today = today or date.today()
    days = MONTHS * 365 // 12
    for number in range(days + 1):
        on = today - timedelta(days=days - number)
        world = World(documents, Day(on, Random(f"{seed}/{on}"), {}, {}))
        world.tells = today - on <= EVENTS_KEPT
        if number == 0:
            world.begin(customers, days, first)
        world.pass_by()
    return documents


def pass_day(documents: Documents, on: date, seed: int = 1, now: datetime | None = None) -> None:
    """Simulate one more day; with `now`, changes have real times, as in a tick of the sandbox."""
    World(documents, Day(on, Random(f"{seed}/{on}"), {}, {}, now=now)).pass_by()


def replace_all(connection: Connection[Any], documents: Documents) -> None:
    """Show this world in the sandbox's API, instead of the sample company's."""
    connection.execute("delete from sandbox.documents where tool = 'stripe'")
    documents.save(connection)
    connection.execute("analyze sandbox.documents")


class World(Billing):
    """One day of this company."""

    pace = 0.2

    def begin(self, customers: int, days: int, first: int) -> None:
        """Make the catalogue, and say when each customer arrives."""
        at = self.stamp()
        self.remember("_state", {"id": "stripe", "first": first})
        self.create("account", make("account", ACCOUNT_ID, created=epoch(at)), at)
        for product in dict.fromkeys(terms.product for terms in PRICES.values()):
            self.create("product", make_product(product, product.title(), None, None, at), at)
        for key, terms in PRICES.items():
            self.create("price", make_price(key, terms, key.title(), at), at)
        once = Terms("flat", "usd", 2500)
        self.create("price", make_price(FEE, once, "Fee", at, recurring=False), at)
        for id_, coupon in COUPONS.items():
            self.create("coupon", make_coupon(id_, id_, at=at, **coupon), at)
        for id_, (name, percentage, inclusive) in TAXES.items():
            rate = make_tax_rate(f"txr_{id_}", name, percentage, at, inclusive=inclusive)
            self.create("tax_rate", rate, at)
        for number in range(customers):
            # The first ones come early, so that every way is gone to its end; then at any time.
            span = 60 if number < len(WAYS) else days - 14
            self.later("arrive", str(number), number * 7919 % span)
        self.later("withdraw", "withdrawn-10", days - 10)

    def pass_by(self) -> None:
        """Simulate the day."""
        if self.tells:
            self.forget_old_events()
        actions: dict[str, Callable[[str], None]] = {
            "expire": self._expire,
            "discount_ends": self.discount_ends,
            "renew": self._renew,
            "retry": self.retry,
            "pay_up": self.pay_up,
            "clear": self.clear,
            "settle": self.settle,
            "overdue": self.overdue,
            "write_off": self.write_off,
            "refund": self.refund,
            "judge": self.judge,
            "resume": self._resume,
            "end_on": self._end_on,
            "act": self._act,
            "arrive": self._arrive,
            "subscribe": self._subscribe,
            "withdraw": lambda id_: self.delete("coupon", id_),
        }
        order = list(actions)
        for action, id_ in sorted(self.due_today(), key=lambda task: order.index(task[0])):
            actions[action](id_)
        if self.day.date.weekday() == 0:
            self.pay_out()

    # --- Customers

    def _way(self, customer_id: str) -> Way:
        return WAYS[self.get("_payer", customer_id)["way"]]

    def _arrive(self, number: str) -> None:
        n = int(number)
        name = list(WAYS)[(n + self.get("_state", "stripe")["first"]) % len(WAYS)]
        way, at = WAYS[name], self.stamp()
        currency = PRICES[way.prices[0][0]].currency
        shared = n - 1 if n % SHARED == SHARED - 1 else n
        organisation = str(uuid5(NAMESPACE_URL, f"organisation/{shared}"))
        has_none = shared % WITHOUT_ORGANISATION == WITHOUT_ORGANISATION - 1
        metadata = {} if has_none else {"organisation_id": organisation}
        email = f"billing@customer-{n}.example"
        customer = make_customer(self.rng, f"{name} {n}", email, currency, metadata, at)
        self.create("customer", customer, at)
        payer = {
            "id": customer["id"],
            "organisation_id": None if has_none else organisation,
            "way": name,
            "subscriptions": [],
            "open": [],
            "overdue": [],
            "invoices": 0,
            "changes": 0,
            "habit": "ordinary",
            "comes_back": False,
            **way.payer,
        }
        self.remember("_payer", payer)
        if "coupon" in payer:
            self.give_customer_discount(customer["id"], payer["coupon"])
        self._subscribe(customer["id"])

    def _subscribe(self, customer_id: str) -> None:
        customer, payer = self.get("customer", customer_id), self.get("_payer", customer_id)
        way = self._way(customer_id)
        own = dict(way.own)
        if way.tax:
            own["default_tax_rates"] = [self.get("tax_rate", f"txr_{way.tax}")]
        if payer.get("no_method"):
            end_behavior = {"billing_cycle_anchor": None, "missing_payment_method": "pause"}
            own["trial_settings"] = {"end_behavior": end_behavior}
        fails = payer.get("fails_first") and not payer["subscriptions"]
        id_ = self.start(
            customer,
            [(self.get("price", key), quantity) for key, quantity in way.prices],
            trial=timedelta(days=way.trial) if way.trial else None,
            declined=bool(fails),
            coupons=way.coupons,
            **own,
        )
        if fails:
            self.later("expire", id_, 1)
            self.later("subscribe", customer_id, 4)
            return
        if "item_coupon" in payer:
            # It counts from the next period on: this one is billed.
            item = self.get("subscription", id_)["items"]["data"][-1]
            self.give_discount(id_, payer["item_coupon"], item["id"])
        self._plan_acts(id_)
        self.later("renew", id_, self._days_left(id_))

    def _days_left(self, id_: str) -> int:
        return int(period_of(self.get("subscription", id_))["end"] - self.noon) // 86_400

    def _expire(self, id_: str) -> None:
        """Expire a subscription whose first payment failed."""
        self.void(self.get("subscription", id_)["latest_invoice"])
        self.change("subscription", id_, status="incomplete_expired", ended_at=self.noon)

    # --- Payment: who can pay is a part of the way

    def bounces(self, invoice: Body) -> bool:
        """Whether a bank debit comes back: the first one of some periods."""
        payer = self.get("_payer", invoice["customer"])
        period = self.get("_contract", payer["subscriptions"][0])["periods"]
        return period in payer.get("bounces", ()) and invoice["attempt_count"] == 1

    def usage(self) -> int:
        """Return what was used: sometimes nothing."""
        return self.rng.choice((0, 1, 150, 999, 1000, 2345))

    def is_declined(self, invoice: Body) -> bool:
        """Whether the card is declined: in some periods always, or twice."""
        payer = self.get("_payer", invoice["customer"])
        subscription = payer["subscriptions"][0]
        period = self.get("_contract", subscription)["periods"]
        if period in payer.get("fails_once", ()):
            return bool(invoice["attempt_count"] < 2)
        return period in payer.get("fails", ())

    # --- Periods

    def _renew(self, id_: str) -> None:
        """End a period, or the trial."""
        subscription = self.get("subscription", id_)
        ends = period_of(subscription)["end"]
        if ends != self.noon or subscription["status"] not in RUNNING:
            return
        if subscription["cancel_at_period_end"] or subscription["cancel_at"] == self.noon:
            self.end(id_, bill_pending=True)
            if subscription["schedule"]:
                done = {"status": "completed", "completed_at": self.noon, "current_phase": None}
                self.change("subscription_schedule", subscription["schedule"], "completed", **done)
            return
        changes: dict[str, Any] = {}
        if subscription["status"] == "trialing":
            if self.get("_payer", subscription["customer"]).get("no_method"):
                self._pause(subscription)
                return
            changes = {"status": "active"}
        contract = self.get("_contract", id_)
        self.remember("_contract", {**contract, "periods": contract["periods"] + 1})
        days = self.start_period(id_, **changes)
        for _, _, act, argument in self._acts_of(id_, day=0):
            self._do(id_, act, argument)
        self.later("renew", id_, days)
        self._plan_acts(id_)
        self.bill(id_, self.get("subscription", id_)["items"]["data"], "subscription_cycle")

    def _pause(self, subscription: Body) -> None:
        """Pause a subscription whose trial has ended without a payment method."""
        why = {"type": "trial_end_without_payment_method"}
        paused = {"subscription": why, "transitioned_at": self.noon, "type": "subscription"}
        id_ = subscription["id"]
        self.change(
            "subscription", id_, "paused", status="paused", status_details={"paused": paused}
        )
        if subscription["_resumes_after"]:
            self.later("resume", id_, subscription["_resumes_after"])

    def _resume(self, id_: str) -> None:
        """Resume a paused subscription: a period starts today."""
        days = self.start_period(id_, billing_cycle_anchor=self.noon)
        self.change("subscription", id_, "resumed", status="active", status_details=GONE)
        self.later("renew", id_, days)
        self.bill(id_, self.get("subscription", id_)["items"]["data"], "subscription_update")

    # --- Acts

    def _acts_of(self, id_: str, *, day: int | None = None) -> list[Act]:
        """Return what is done in the current period: on a day, or on any later one."""
        subscription = self.get("subscription", id_)
        payer, contract = self.get("_payer", subscription["customer"]), self.get("_contract", id_)
        if payer["subscriptions"][0] != id_:
            return []
        return [
            act
            for act in (*self._way(subscription["customer"]).acts, *contract.get("phases", ()))
            if act[0] == contract["periods"] and (act[1] > 0 if day is None else act[1] == day)
        ]

    def _plan_acts(self, id_: str) -> None:
        for number, (_, day, _, _) in enumerate(self._acts_of(id_)):
            self.later("act", f"{id_}/{number}", day)
        if self.get("_contract", id_)["periods"] == 0:
            for _, _, act, argument in self._acts_of(id_, day=0):
                self._do(id_, act, argument)

    def _act(self, which: str) -> None:
        id_, _, number = which.partition("/")
        _, _, act, argument = self._acts_of(id_)[int(number)]
        self._do(id_, act, argument)

    def _do(self, id_: str, act: str, argument: Any) -> None:
        """Do what the way says, unless the subscription has ended."""
        subscription = self.get("subscription", id_)
        if act not in ("again", "delete") and subscription["ended_at"]:
            return
        customer_id, items = subscription["customer"], subscription["items"]["data"]
        invoice = self.get("invoice", subscription["latest_invoice"])
        charge = invoice.get("_charge") if invoice["status"] == "paid" else None
        if act in ("quantity", "price", "add", "remove"):
            self._change_items(subscription, self._changed(act, argument, subscription, items))
        elif act == "cancel":
            end = {"cancel_at": period_of(subscription)["end"], "canceled_at": self.noon}
            self.change("subscription", id_, cancel_at_period_end=True, **end)
        elif act == "keep":
            none: dict[str, Any] = {"cancel_at": None, "canceled_at": None}
            self.change("subscription", id_, cancel_at_period_end=False, **none)
        elif act == "cancel_at":
            self._cancel_at(subscription, argument)
        elif act == "end":
            self.end(id_, bill_pending=True)
        elif act == "again":
            self.later("subscribe", customer_id, argument)
        elif act == "schedule":
            self._schedule(subscription, *argument)
        elif act == "pause":
            pause = {"behavior": argument, "resumes_at": None}
            self.change("subscription", id_, pause_collection=pause)
        elif act == "resume":
            self.change("subscription", id_, pause_collection=None)
        elif act == "coupon":
            self.give_discount(id_, argument)
        elif act == "no coupon":
            for discount in subscription["discounts"]:
                self.remove_discount(id_, discount)
        elif act == "second":
            key, quantity = argument
            other = self.start(
                self.get("customer", customer_id), [(self.get("price", key), quantity)]
            )
            self.later("renew", other, self._days_left(other))
        elif act == "refund" and charge:
            self.refund(charge)
        elif act == "dispute" and charge:
            self.dispute(charge)
        elif act == "credit":
            self.credit(invoice["id"])
        elif act == "fee":
            self.add_fee(subscription, argument)
        elif act == "delete":
            self.delete("customer", customer_id)

    def _changed(
        self, act: str, argument: Any, subscription: Body, items: list[Body]
    ) -> list[Body]:
        if act == "remove":
            return [item for place, item in enumerate(items) if place != argument]
        if act == "add":
            key, quantity = argument
            period, at = period_of(subscription), self.stamp()
            price = self.get("price", key)
            return [*items, make_item(self.rng, subscription["id"], price, quantity, period, at)]
        own = {"quantity": argument} if act == "quantity" else priced(self.get("price", argument))
        return [{**items[0], **own}, *items[1:]]

    def _change_items(self, subscription: Body, items: list[Body]) -> None:
        if period_of(subscription)["start"] == self.noon:
            held = with_items(subscription, items)["items"]
            self.change("subscription", subscription["id"], items=held)
        elif days := self.prorate(subscription, items):
            self.later("renew", subscription["id"], days)

    def _cancel_at(self, subscription: Body, periods: int) -> None:
        """Cancel at a time: at the end of a later period, or within this one, without a credit."""
        at = self.noon + 7 * 86_400
        if periods:
            anchor, start = subscription["billing_cycle_anchor"], period_of(subscription)["start"]
            at = epoch(period_end(at_noon(anchor), at_noon(start), "month", periods + 1))
        else:
            self.later("end_on", subscription["id"], 7)
        self.change("subscription", subscription["id"], cancel_at=at, canceled_at=self.noon)

    def _end_on(self, id_: str) -> None:
        if self.get("subscription", id_)["ended_at"] is None:
            self.end(id_, bill_pending=False)

    def _schedule(self, subscription: Body, key: str | None, periods: int) -> None:
        """Attach a schedule: after some periods another price, or the end."""
        id_, at = make_id(self.rng, "sub_sched"), self.stamp()
        item = subscription["items"]["data"][0]
        first = _phase(item, item["price"], self.noon, periods)
        phases = [first]
        if key:
            phases.append(_phase(item, self.get("price", key), first["end_date"], 12))
        schedule = make(
            "subscription_schedule",
            id_,
            created=epoch(at),
            current_phase={name: first[name] for name in ("start_date", "end_date")},
            customer=subscription["customer"],
            end_behavior="release" if key else "cancel",
            phases=phases,
            subscription=subscription["id"],
        )
        self.create("subscription_schedule", schedule, at)
        ends = {} if key else {"cancel_at": first["end_date"]}
        self.change("subscription", subscription["id"], schedule=id_, **ends)
        if key:
            contract = self.get("_contract", subscription["id"])
            self.remember("_contract", {**contract, "phases": [[periods, 0, "price", key]]})


def _phase(item: Body, price: Body, start: int, months: int) -> Body:
    """Return a phase of a schedule: some months of a price."""
    held = {
        "billing_thresholds": None,
        "discounts": [],
        "metadata": {},
        "plan": price["id"],
        "price": price["id"],
        "quantity": item["quantity"],
        "tax_rates": [],
    }
    return {
        **TEMPLATES["phase"],
        "currency": price["currency"],
        "end_date": epoch(period_end(at_noon(start), at_noon(start), "month", months)),
        "items": [held],
        "start_date": start,
    }
