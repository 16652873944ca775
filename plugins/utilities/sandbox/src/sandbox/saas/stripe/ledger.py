"""Creates and changes Stripe's objects, each time with an event; and the world's own books.

A kind that begins with `_` is the world's own memory: `_due` holds the actions of a future day,
`_payer` how a customer pays, `_contract` what a subscription owes and what it counts for,
`_deleted` objects that are gone, and `_subscription_change` a subscription's monthly recurring
revenue from a day on. The last is the truth that reports are compared with: it is noted as the
world acts, and nothing else is computed from it.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from sandbox.saas.day import Day, epoch
from sandbox.saas.documents import Body, Documents
from sandbox.saas.stripe.catalogue import Terms, terms_of
from sandbox.saas.stripe.objects import make_event, plan_of, shortened

EVENTS_KEPT = timedelta(days=30)
EVENT_OF = {
    "subscription": "customer.subscription",
    "discount": "customer.discount",
    "dispute": "charge.dispute",
}
"""What events of a kind are called, where not after the kind."""
WITHOUT_EVENTS = ("account", "balance_transaction", "discount")
"""Kinds of which Stripe sends no events, or only those that the world names itself."""
GONE: Any = object()
"""In a change: the attribute is removed."""
NEVER_SENT = ("invoiceitem.updated",)
"""Stripe sends it no more since 2023: https://docs.stripe.com/changelog#september-4,-2023. That an
item is on an invoice now is seen in the event of the invoice only."""
COUNTS = ("active", "past_due")
"""The statuses of a subscription that count for MRR."""


class Ledger:
    """Stripe's objects on one day. Every change has a later time than all before."""

    pace = 1.0
    """How much time passes between changes: less in a larger world, so that a day is enough."""

    def __init__(self, documents: Documents, day: Day) -> None:
        self.documents = documents
        self.day = day
        self.rng = day.rng
        self.noon = epoch(day.noon)
        self.tells = True
        """Whether events are written: not on days whose events are forgotten in the end."""
        self._moment: datetime | None = None

    def stamp(self) -> datetime:
        """Return the next time of the day."""
        if self.day.now is not None:
            return self.day.stamp()
        moment = self._moment or self.day.stamp(after=self.day.noon)
        self._moment = moment + timedelta(seconds=self.rng.uniform(1, 15) * self.pace)
        return self._moment

    def now(self) -> int:
        """Return the current time in Stripe's format."""
        return epoch(self.stamp())

    # --- Objects

    def get(self, kind: str, id_: str) -> Body:
        """Return an object that exists."""
        body = self.documents.get(kind, id_)
        if body is None:
            raise KeyError(f"{kind} {id_}")
        return body

    def kept(self, kind: str, id_: str) -> Body:
        """Return an object that exists, or existed."""
        body = self.documents.get(kind, id_)
        return self.get("_deleted", f"{kind}/{id_}")["body"] if body is None else body

    def create(self, kind: str, body: Body, at: datetime, event: str = "created") -> Body:
        """Add an object."""
        self.documents.put(kind, body, at)
        if kind not in WITHOUT_EVENTS:
            self._tell(kind, event, body, None, at)
        return body

    def change(self, kind: str, id_: str, event: str = "updated", **changes: Any) -> Body:
        """Change attributes of an object, with an event only if any differs."""
        old = self.get(kind, id_)
        previous = {key: old.get(key) for key, value in changes.items() if old.get(key) != value}
        if not previous and event == "updated":
            return old
        new = {key: value for key, value in (old | changes).items() if value is not GONE}
        at = self.stamp()
        self.documents.put(kind, new, at)
        self._tell(kind, event, new, previous, at)
        return new

    def delete(self, kind: str, id_: str) -> None:
        """Remove an object for good; `_deleted` keeps it, for the objects that hold it."""
        body = self.get(kind, id_)
        self.documents.delete(kind, id_)
        self.remember("_deleted", {"id": f"{kind}/{id_}", "body": body})
        self._tell(kind, "deleted", body, None, self.stamp())

    def repeat(self, kind: str, id_: str, event: str) -> None:
        """Add another event for the same change of an object."""
        self._tell(kind, event, self.get(kind, id_), None, self.stamp())

    def _tell(self, kind: str, event: str, body: Body, previous: Body | None, at: datetime) -> None:
        if not self.tells or f"{kind}.{event}" in NEVER_SENT:
            return
        if kind == "invoice":
            previous = previous and {k: v for k, v in previous.items() if k != "lines"}
        self._write_event(f"{EVENT_OF.get(kind, kind)}.{event}", shortened(body), previous, at)
        if kind == "price" and body["recurring"]:
            plan, before = plan_of(body), plan_of({**body, **(previous or {})})
            changed = {key: value for key, value in before.items() if plan[key] != value}
            self._write_event(f"plan.{event}", plan, changed if previous else None, at)

    def _write_event(self, name: str, body: Body, previous: Body | None, at: datetime) -> None:
        self.documents.put("event", make_event(self.rng, name, body, previous, at), at)

    def forget_old_events(self) -> None:
        """Remove events after thirty days, as Stripe does."""
        oldest = epoch(self.day.noon - EVENTS_KEPT)
        for event in self.documents.of("event"):
            if event["created"] >= oldest:
                break
            self.documents.delete("event", event["id"])

    # --- The world's own memory

    def remember(self, kind: str, body: Body) -> None:
        """Write a document of the world's memory."""
        self.documents.put(kind, body, self.day.noon)

    def later(self, action: str, id_: str, days: int) -> None:
        """Schedule an action on an object some days from now, tomorrow at the earliest."""
        on = (self.day.date + timedelta(days=max(days, 1))).isoformat()
        due = self.documents.get("_due", on) or {"id": on, "tasks": []}
        due["tasks"].append([action, id_])
        self.remember("_due", due)

    def due_today(self) -> list[tuple[str, str]]:
        """Return today's actions."""
        due = self.documents.get("_due", self.day.date.isoformat())
        if due is None:
            return []
        self.documents.delete("_due", due["id"])
        return [(action, id_) for action, id_ in due["tasks"]]

    def terms(self, item: Body) -> Terms:
        """Return the terms of an item's price."""
        return terms_of(self.kept("price", item["price"]["id"]))

    # --- Monthly recurring revenue

    def open_contract(self, subscription_id: str) -> None:
        """Begin the books of a subscription."""
        contract = {
            "id": subscription_id,
            "collected": True,
            "discounts": [],
            "invoice_items": [],
            "noted": ["0", "0"],
            "periods": 0,
        }
        self.remember("_contract", contract)

    def note_change(self, id_: str) -> None:
        """Note a subscription's exact monthly revenue from today on, if it is another.

        As Stripe defines it (https://docs.stripe.com/billing/subscriptions/analytics): the monthly
        value of items that aren't metered, after lasting discounts and without taxes, while the
        subscription is active or past due and its current period is to be collected.
        """
        subscription, contract = self.get("subscription", id_), self.get("_contract", id_)
        gross, net = Fraction(), Fraction()
        if subscription["status"] in COUNTS and contract["collected"]:
            gross, net = self._monthly(subscription, contract["discounts"])
        noted = [str(gross), str(net)]
        if contract["noted"] == noted:
            return
        self.remember("_contract", {**contract, "noted": noted})
        payer = self.get("_payer", subscription["customer"])
        payer["changes"] += 1
        self.remember("_payer", payer)
        change = {
            "id": f"{id_}/{payer['changes']:06}",
            "organisation_id": payer["organisation_id"],
            "customer": payer["id"],
            "subscription": id_,
            "on": self.day.date.isoformat(),
            "gross_monthly_amount": str(gross),
            "monthly_amount": str(net),
            "currency": subscription["currency"],
        }
        self.remember("_subscription_change", change)

    def note_usage(self, subscription: Body, lines: Iterable[Body]) -> None:
        """Note what metered lines come to, without taxes and after discounts.

        It belongs to the month of the last second of the line's period.
        """
        metered = {item["id"] for item in subscription["items"]["data"] if self.terms(item).metered}
        payer = self.get("_payer", subscription["customer"])
        for line in lines:
            details = line["parent"]["subscription_item_details"]
            if not details or details["subscription_item"] not in metered or not line["amount"]:
                continue
            off = sum(given["amount"] for given in line["discount_amounts"])
            taxes = (t["amount"] for t in line["taxes"] if t["tax_behavior"] == "inclusive")
            month = datetime.fromtimestamp(line["period"]["end"] - 1, UTC).replace(day=1).date()
            usage = {
                "id": line["id"],
                "organisation_id": payer["organisation_id"],
                "customer": payer["id"],
                "month": month.isoformat(),
                "amount": line["amount"] - off - sum(taxes),
                "currency": subscription["currency"],
            }
            self.remember("_usage", usage)

    def _monthly(self, subscription: Body, discount_ids: list[str]) -> tuple[Fraction, Fraction]:
        """Return the monthly value before and after discounts, both without inclusive taxes."""
        coupons = [
            (d, self.kept("coupon", d["source"]["coupon"])) for d in self._held(discount_ids)
        ]
        gross, net = Fraction(), Fraction()
        values: list[tuple[Fraction, Fraction, Fraction]] = []
        for item in subscription["items"]["data"]:
            terms = self.terms(item)
            if terms.metered:
                continue
            amount = Fraction(terms.amount(item["quantity"]))
            left = amount
            for discount, coupon in coupons:
                if discount["subscription_item"] in (None, item["id"]) and coupon["percent_off"]:
                    left *= 1 - Fraction(str(coupon["percent_off"])) / 100
            rates = item["tax_rates"] or subscription["default_tax_rates"]
            inclusive = sum(rate["percentage"] for rate in rates if rate["inclusive"])
            values.append((amount, left, (1 + Fraction(inclusive) / 100) * terms.months))
        whole = sum((left for _, left, _ in values), Fraction())
        off = min(sum(coupon["amount_off"] or 0 for _, coupon in coupons), whole)
        for amount, left, divisor in values:
            share = off * left / whole if whole else Fraction()
            gross, net = gross + amount / divisor, net + (left - share) / divisor
        return gross, net

    def _held(self, discount_ids: Iterable[str]) -> list[Body]:
        """Return those discounts that last: not `once`, and not ended by today."""
        discounts = [self.get("discount", id_) for id_ in discount_ids]
        return [d for d in discounts if d["end"] is None or d["end"] > self.noon]


def set_version(connection: Connection[Any], version: str) -> None:
    """Set the version of the API in which the account's events are rendered."""
    connection.execute("delete from sandbox.documents where tool = 'stripe' and kind = '_version'")
    connection.execute(
        "insert into sandbox.documents values ('stripe', '_version', 'account', %s, now(), now())",
        [Jsonb({"version": version})],
    )


def monthly_revenue(
    documents: Documents, months: Iterable[date]
) -> dict[tuple[str, str, date], Fraction]:
    """Return MRR by organisation (or customer without one), currency and month, where any.

    Args:
        documents: Stripe's objects and the world's own books.
        months: The first day of each month; the amount is the one at its end, in UTC.

    Returns:
        Exact amounts in the currency's smallest unit.
    """
    history: dict[str, list[Body]] = {}
    for change in sorted(documents.of("_subscription_change"), key=lambda change: change["id"]):
        history.setdefault(change["subscription"], []).append(change)
    found: dict[tuple[str, str, date], Fraction] = {}
    for month in months:
        after = (month + timedelta(days=32)).replace(day=1).isoformat()
        for changes in history.values():
            known = [change for change in changes if change["on"] < after]
            if known:
                last = known[-1]
                key = (last["organisation_id"] or last["customer"], last["currency"], month)
                found[key] = found.get(key, Fraction()) + Fraction(last["monthly_amount"])
    return {key: amount for key, amount in found.items() if amount}


def monthly_usage(documents: Documents) -> dict[tuple[str, str, date], int]:
    """Return what metered items came to, by organisation (or customer), currency and month."""
    found: dict[tuple[str, str, date], int] = {}
    for usage in documents.of("_usage"):
        subscriber = usage["organisation_id"] or usage["customer"]
        key = (subscriber, usage["currency"], date.fromisoformat(usage["month"]))
        found[key] = found.get(key, 0) + usage["amount"]
    return found
