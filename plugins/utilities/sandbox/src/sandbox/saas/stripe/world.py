"""Events in Stripe, day by day: new subscriptions, their changes and their ends.

Actions of a later day are stored in that day's `_due` document, so that a day reads only its own
actions. Periods, due dates and ends of subscriptions are at noon of the world's days. Times that
Stripe sets itself are later.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sandbox.product import words
from sandbox.product.factory import ascii_slug
from sandbox.saas.day import Account, Day, epoch
from sandbox.saas.documents import Body, Documents
from sandbox.saas.stripe import catalogue
from sandbox.saas.stripe.billing import Billing
from sandbox.saas.stripe.objects import (
    ACCOUNT_ID,
    make,
    make_customer,
    period_of,
    priced,
)

RUNNING = ("trialing", "active", "past_due")
TRIAL = timedelta(days=14)
WALK_INS = (20, 45, 100, 230, 340, 440, 500)
"""Days after the first on which somebody subscribes who is no organisation of the product."""
SEATS_AT_MOST = 400
COUPONS_OF = {0: ["first-quarter"], 15: ["open-source"]}
"""Which coupons an organisation has, by the last part of its number."""


def pass_day(documents: Documents, day: Day) -> None:
    """Simulate one day."""
    _World(documents, day).pass_by()


class _World(Billing):
    def pass_by(self) -> None:
        if self.documents.get("_state", "stripe") is None:
            self._begin()
        self.forget_old_events()
        # Stripe's actions at noon come before people's actions.
        actions: dict[str, Callable[[str], None]] = {
            "discount_ends": self.discount_ends,
            "expire": self._expire,
            "finalise": self.finalise,
            "renew": self._renew,
            "retry": self.retry,
            "settle": self.settle,
            "overdue": self.overdue,
            "write_off": self.write_off,
            "clear": self.clear,
            "refund": self.refund,
            "dispute": self.dispute,
            "judge": self.judge,
            "credit": self.credit,
            "leave": self._leave,
            "change": self._change_something,
            "subscribe": self._subscribe,
            "add_department": self._add_department,
            "walk_in": self._walk_in,
        }
        order = list(actions)
        for action, id_ in sorted(self.due_today(), key=lambda task: order.index(task[0])):
            actions[action](id_)
        self._meet_new_customers()
        for account in self.day.archived:
            self._archive(account)
        if self.day.date.weekday() == 0:
            self.pay_out()
        if self.rng.random() < 1 / 150:
            self._raise_a_price()
        if self.rng.random() < 1 / 120:
            self.later("walk_in", "", 1)
        if self.rng.random() < 1 / 150:
            self._delete_a_customer()

    # --- Products and prices

    def _begin(self) -> None:
        at = self.stamp()
        self.remember("_state", {"id": "stripe", "successors": 0, "walk_ins": 0, "prices": {}})
        self.create("account", make("account", ACCOUNT_ID, created=epoch(at)), at)
        for product in catalogue.products(at):
            self.create("product", product, at)
        for price in catalogue.prices(at):
            self.create("price", price, at)
        for coupon in catalogue.coupons(at):
            self.create("coupon", coupon, at)
        for days in WALK_INS:
            self.later("walk_in", "", days)

    def _price(self, product: str, interval: str, currency: str) -> Body:
        """Return the price for new subscriptions."""
        key = catalogue.price_key(product, interval, currency)
        return self.get("price", self.get("_state", "stripe")["prices"].get(key, key))

    def _raise_a_price(self) -> None:
        """Raise a price for new subscriptions; old ones keep theirs."""
        state = self.get("_state", "stripe")
        sold = [p["id"] for p in self.documents.of("price") if p["active"] and p["recurring"]]
        old = self.change("price", self.rng.choice(sold), active=False)
        state["successors"] += 1
        at = self.stamp()
        new = self.create("price", catalogue.successor(old, state["successors"], at), at)
        state["prices"][catalogue.key_of(old)] = new["id"]
        self.remember("_state", state)

    # --- Customers

    def _meet_new_customers(self) -> None:
        """Make organisations with a contract customers, some days after their set-up."""
        for account in self.day.accounts.values():
            organisation = account.organisation
            if (
                not account.has_customer
                or organisation.annual_contract_value is None
                or organisation.setup_completed_at is None
                or self.documents.get("_organisation", str(organisation.id)) is not None
            ):
                continue
            days = (self.day.date - organisation.setup_completed_at.date()).days
            if days <= account.number % 5 or self.day.is_archived(account):
                continue
            self._subscribe(self._add_customer(account))
            if account.number % 20 == 8:
                days = self.rng.randrange(20, 60)
                self.later("add_department", str(organisation.id), days)

    def _add_customer(self, account: Account) -> str:
        organisation = account.organisation
        users = self.day.users.get(organisation.id, ())
        contract = organisation.annual_contract_value or 0
        currency = self.rng.choices(("usd", "eur", "gbp"), (75, 15, 10))[0]
        by_bank = account.number % 20 == 9
        id_ = self._new_customer(
            organisation.name,
            users[0].email if users else None,
            "eur" if by_bank else "jpy" if account.number % 40 == 6 else currency,
            {"organisation_id": str(organisation.id)},
            habit=_habit(account),
            comes_back=account.comes_back,
            method="bank" if by_bank else "card",
            coupons=COUPONS_OF.get(account.number % 20, []),
            product="enterprise"
            if contract > 40_000
            else "business"
            if contract > 12_000
            else "team",
            seats=min(max(len(users), 3), SEATS_AT_MOST),
        )
        known = self.documents.get("_organisation", str(organisation.id))
        customers = known["customers"] if known else []
        self.remember("_organisation", {"id": str(organisation.id), "customers": [*customers, id_]})
        return id_

    def _new_customer(
        self,
        name: str,
        email: str | None,
        currency: str,
        metadata: dict[str, str],
        **memory: Any,
    ) -> str:
        at = self.stamp()
        customer = make_customer(self.rng, name, email, currency, metadata, at)
        self.create("customer", customer, at)
        payer = {
            "id": customer["id"],
            "organisation_id": metadata.get("organisation_id"),
            "subscriptions": [],
            "open": [],
            "overdue": [],
            "invoices": 0,
            "changes": 0,
            **memory,
        }
        self.remember("_payer", payer)
        return str(customer["id"])

    def _add_department(self, organisation_id: str) -> None:
        """Add a second customer for an organisation: a department that pays for itself."""
        for account in self.day.accounts.values():
            if str(account.organisation.id) == organisation_id and not self.day.is_archived(
                account
            ):
                self._subscribe(self._add_customer(account))
                return

    def _walk_in(self, _: str) -> None:
        """Add a customer that is no organisation of the product; the second one pays in yen."""
        state = self.get("_state", "stripe")
        state["walk_ins"] += 1
        self.remember("_state", state)
        name = f"{self.rng.choice(words.FIRST_NAMES)} {self.rng.choice(words.LAST_NAMES)}"
        id_ = self._new_customer(
            name,
            f"{ascii_slug(name)}@mail.example",
            "jpy" if state["walk_ins"] == 2 else "usd",
            {"source": "website"} if self.rng.random() < 0.5 else {},
            habit="ordinary",
            comes_back=False,
            method="card",
            coupons=[],
            product="team",
            seats=self.rng.randrange(1, 6),
        )
        self._subscribe(id_)

    def _archive(self, account: Account) -> None:
        """Cancel for an organisation that has left, at once or at the end of the period."""
        known = self.documents.get("_organisation", str(account.organisation.id))
        for customer_id in known["customers"] if known else ():
            for subscription in self._running(customer_id):
                if self.rng.random() < 0.5:
                    self.end(subscription["id"], bill_pending=True)
                else:
                    self._leave(subscription["id"])
            payer = self.get("_payer", customer_id)
            payer["comes_back"] = False
            self.remember("_payer", payer)

    def _delete_a_customer(self) -> None:
        """Delete a customer without debts that is no organisation, or that has left.

        Stripe shows a deletion for thirty days only, and nobody read the history in time. So the
        history deletes no organisation's customer.
        """
        candidates = [
            payer["id"]
            for payer in self.documents.of("_payer")
            if payer["subscriptions"] and not payer["open"] and self._may_be_deleted(payer)
        ]
        if not candidates:
            return
        id_ = self.rng.choice(candidates)
        for subscription in self._running(id_):
            self.end(subscription["id"], bill_pending=False)
        self.delete("customer", id_)

    def _may_be_deleted(self, payer: Body) -> bool:
        customer = self.documents.get("customer", payer["id"])
        # One customer stays who pays in yen, which has no smaller unit.
        if customer is None or customer["currency"] == "jpy":
            return False
        running = [subscription["id"] for subscription in self._running(payer["id"])]
        nothing_pending = not any(self.get("_contract", id_)["invoice_items"] for id_ in running)
        if payer["organisation_id"] is None:
            return nothing_pending
        return self.day.now is not None and not running

    def _running(self, customer_id: str) -> list[Body]:
        """Return the customer's active subscriptions; none if the customer is deleted."""
        if self.documents.get("customer", customer_id) is None:
            return []
        ids = self.get("_payer", customer_id)["subscriptions"]
        subscriptions = (self.get("subscription", id_) for id_ in ids)
        return [body for body in subscriptions if body["status"] in RUNNING]

    # --- Subscriptions

    def _subscribe(self, customer_id: str) -> None:
        """Start a subscription: with a trial, with a first payment, or with a failed one."""
        customer = self.documents.get("customer", customer_id)
        if customer is None or self._running(customer_id):
            return
        payer = self.get("_payer", customer_id)
        ordinary = payer["habit"] == "ordinary"
        interval = "year" if ordinary and self.rng.random() < 0.35 else "month"
        by_invoice = interval == "year" and self.rng.random() < 0.4
        trial = not by_invoice and payer["product"] != "enterprise" and self.rng.random() < 0.35
        declined = ordinary and not by_invoice and not trial and self.rng.random() < 0.06
        id_ = self.start(
            customer,
            self._choose_prices(payer, interval, customer["currency"]),
            trial=TRIAL if trial else None,
            declined=declined,
            coupons=payer["coupons"],
            days_until_due=30 if by_invoice else None,
        )
        if declined:
            self.later("expire", id_, 1)
            self.later("subscribe", customer_id, self.rng.randrange(2, 6))
            return
        self.later("renew", id_, self._days_left(id_))
        self.later("change", id_, self._days_to_next_change(payer))
        if payer["habit"] == "churns":
            self.later("leave", id_, self.rng.randrange(100, 170))
        elif trial and ordinary and self.rng.random() < 0.2:
            self.later("leave", id_, 9)

    def _choose_prices(self, payer: Body, interval: str, currency: str) -> list[tuple[Body, int]]:
        seats = 1 if payer["product"] == "enterprise" else payer["seats"]
        chosen = [(self._price(payer["product"], interval, currency), seats)]
        if payer["product"] == "business" and self.rng.random() < 0.3:
            chosen.append((self._price("status-pages", interval, currency), seats))
        return chosen

    def _expire(self, id_: str) -> None:
        """Expire a subscription whose first payment failed."""
        self.void(self.get("subscription", id_)["latest_invoice"])
        self.change("subscription", id_, status="incomplete_expired", ended_at=self.noon)

    def _renew(self, id_: str) -> None:
        """End a period, or the trial."""
        subscription = self.get("subscription", id_)
        # A change of the interval has replaced some periods.
        ends = period_of(subscription)["end"]
        if ends != self.noon or subscription["status"] not in RUNNING:
            return
        if subscription["cancel_at_period_end"]:
            self.end(id_, bill_pending=True)
            return
        was_trial = subscription["status"] == "trialing"
        changes: dict[str, Any] = {"status": "active"} if was_trial else {}
        days = self.start_period(id_, **changes)
        self.later("renew", id_, days)
        items = self.get("subscription", id_)["items"]["data"]
        self.bill(id_, items, "subscription_cycle", may_wait=True)
        self._regret(id_)
        leaves = 0.015 if _interval(items[0]) == "month" else 0.1
        habit = self.get("_payer", subscription["customer"])["habit"]
        if habit == "ordinary" and self.rng.random() < leaves:
            self.later("leave", id_, self.rng.randrange(1, 25))

    def _leave(self, id_: str) -> None:
        """Cancel at the end of the period."""
        subscription = self.get("subscription", id_)
        if subscription["status"] in RUNNING and not subscription["cancel_at_period_end"]:
            self.change(
                "subscription",
                id_,
                cancel_at_period_end=True,
                cancel_at=period_of(subscription)["end"],
                canceled_at=self.noon,
            )

    def _regret(self, id_: str) -> None:
        """Now and then, credit a part of the last invoice, or dispute its payment."""
        chance, invoice_id = self.rng.random(), self.get("subscription", id_)["latest_invoice"]
        charge_id = self.get("invoice", invoice_id).get("_charge")
        if chance < 0.01:
            self.later("credit", invoice_id, 3)
        elif chance < 0.013 and charge_id and self.get("charge", charge_id)["paid"]:
            self.later("dispute", charge_id, 8)

    def _days_left(self, id_: str) -> int:
        return int(period_of(self.get("subscription", id_))["end"] - self.noon) // 86_400

    # --- Changes within a period

    def _days_to_next_change(self, payer: Body) -> int:
        if payer["habit"] == "busy":
            return self.rng.randrange(2, 5)
        return 5 + int(self.rng.expovariate(1 / 60))

    def _change_something(self, id_: str) -> None:
        """Change the seats, the product, or the interval to yearly."""
        subscription = self.get("subscription", id_)
        if subscription["ended_at"] is not None:
            return
        payer = self.get("_payer", subscription["customer"])
        self.later("change", id_, self._days_to_next_change(payer))
        # Customers with debts change nothing; nobody does on the day of a renewal.
        if (
            subscription["status"] not in ("active", "trialing")
            or self.noon in period_of(subscription).values()
        ):
            return
        items = subscription["items"]["data"]
        chance = self.rng.random()
        if subscription["status"] == "trialing" or payer["habit"] == "busy" or chance < 0.7:
            new = [self._with_other_seats(item) for item in items]
        elif chance < 0.85:
            new = [self._with_other_product(item) for item in items]
        elif payer["habit"] == "ordinary" and not subscription["cancel_at_period_end"]:
            new = [self._for_a_year(item) for item in items]
        else:
            return
        if new != items:
            days = self.prorate(subscription, new)
            if days:
                self.later("renew", id_, days)

    def _with_other_seats(self, item: Body) -> Body:
        if item["price"]["product"] == catalogue.product_id("enterprise"):
            return item
        few = max(item["quantity"] // 6, 1)
        change = self.rng.randint(1, few) * (1 if self.rng.random() < 0.65 else -1)
        return {**item, "quantity": min(max(item["quantity"] + change, 1), SEATS_AT_MOST)}

    def _with_other_product(self, item: Body) -> Body:
        other = {
            catalogue.product_id("team"): "business",
            catalogue.product_id("business"): "team",
        }.get(item["price"]["product"])
        if other is None:
            return item
        return self._with_price(item, other, _interval(item))

    def _for_a_year(self, item: Body) -> Body:
        return self._with_price(item, catalogue.product_of(item["price"]), "year")

    def _with_price(self, item: Body, product: str, interval: str) -> Body:
        return {**item, **priced(self._price(product, interval, item["price"]["currency"]))}


def _interval(item: Body) -> str:
    return str(item["price"]["recurring"]["interval"])


def _habit(account: Account) -> str:
    """Return how an organisation pays, and whether it stays."""
    if account.stops_paying:
        return "late"
    if account.churns:
        return "churns"
    return "busy" if account.number % 10 == 6 else "ordinary"
