"""Subscriptions: their periods, changes, discounts and ends, and the invoices of all these."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from sandbox.saas.day import epoch
from sandbox.saas.documents import Body
from sandbox.saas.stripe import catalogue
from sandbox.saas.stripe.catalogue import decimal, rounded
from sandbox.saas.stripe.objects import (
    FIRST_LINES,
    line_of_invoice_item,
    line_of_item,
    make,
    make_id,
    make_invoice,
    make_invoice_item,
    make_item,
    nulls,
    period_of,
    with_items,
    with_lines,
)
from sandbox.saas.stripe.payments import Payments

WAITS_AS_DRAFT = 0.1
HAS_A_LINE_TOO_MANY = 0.5
TIMES = "\N{MULTIPLICATION SIGN}"


class Billing(Payments):
    """What Stripe does with subscriptions."""

    # --- Subscriptions and their periods

    def start(
        self,
        customer: Body,
        prices: Iterable[tuple[Body, int | None]],
        *,
        trial: timedelta | None = None,
        declined: bool | None = False,
        coupons: Iterable[str] = (),
        **own: Any,
    ) -> str:
        """Start a subscription: with a trial, with a first payment, or with a failed one.

        Args:
            customer: Who pays.
            prices: Each with a quantity, or None if it is metered.
            trial: How long the trial lasts, if there is one.
            declined: Whether the first payment fails.
            coupons: What is taken off.
            own: Attributes of the subscription.

        Returns:
            The subscription's ID.
        """
        prices = list(prices)
        first, start, at = prices[0][0], self.day.noon, self.stamp()
        end = start + trial if trial else _end(first, start, start)
        id_, days_until_due = make_id(self.rng, "sub"), own.get("days_until_due")
        subscription = make(
            "subscription",
            id_,
            billing_cycle_anchor=epoch(end if trial else start),
            created=epoch(at),
            currency=first["currency"],
            customer=customer["id"],
            start_date=self.noon,
            status="trialing" if trial else "incomplete" if declined else "active",
            **own,
        )
        if days_until_due:
            subscription["collection_method"] = "send_invoice"
        if trial:
            subscription |= {"trial_end": epoch(end), "trial_start": self.noon}
        period = {"start": self.noon, "end": epoch(end)}
        items = [make_item(self.rng, id_, price, n, period, at) for price, n in prices]
        subscription = with_items(subscription, items)
        payer = self.get("_payer", customer["id"])
        self.remember("_payer", {**payer, "subscriptions": [*payer["subscriptions"], id_]})
        self.open_contract(id_)
        self.create("subscription", subscription, at)
        for coupon in coupons:
            self.give_discount(id_, coupon)
        items = self.get("subscription", id_)["items"]["data"]
        self.bill(id_, items, "subscription_create", declined=declined)
        return id_

    def start_period(self, id_: str, items: Sequence[Body] = (), **changes: Any) -> int:
        """Start a period today, with these items if any; return the days until it ends."""
        self.remember_period(id_)
        subscription = self.get("subscription", id_)
        items = items or subscription["items"]["data"]
        anchor = at_noon({**subscription, **changes}["billing_cycle_anchor"])
        end = _end(items[0]["price"], anchor, self.day.noon)
        period = {"current_period_start": self.noon, "current_period_end": epoch(end)}
        held = with_items(subscription, [{**item, **period} for item in items])
        self.change("subscription", id_, items=held["items"], **changes)
        return (end - self.day.noon).days

    def prorate(self, subscription: Body, items: Sequence[Body]) -> int:
        """Change the items, credit unused time, and charge the remaining time.

        In a monthly subscription both wait for the next invoice, in a yearly one they are billed
        at once. Another interval starts a new period. A trial costs nothing either way.

        Returns:
            The days until the new period ends; 0 if none was started.
        """
        id_ = subscription["id"]
        old = {item["id"]: item for item in subscription["items"]["data"]}
        new = {item["id"]: item for item in items}
        held = with_items(subscription, items)["items"]
        if subscription["status"] == "trialing":
            self.change("subscription", id_, items=held)
            return 0
        intervals = {item["price"]["recurring"]["interval"] for item in (*old.values(), *items)}
        for key in dict.fromkeys((*old, *new)):
            if old.get(key) != new.get(key):
                if key in old and "quantity" in old[key]:
                    self._add_pending(subscription, old[key], "Unused time on", -1)
                if key in new and "quantity" in new[key] and len(intervals) == 1:
                    self._add_pending(subscription, new[key], "Remaining time on", 1)
        days = 0
        if len(intervals) > 1:
            days = self.start_period(id_, items, billing_cycle_anchor=self.noon)
        else:
            self.change("subscription", id_, items=held)
        self.note_change(id_)
        if items[0]["price"]["recurring"]["interval"] == "year":
            items = self.get("subscription", id_)["items"]["data"]
            self.bill(id_, items if days else [], "subscription_update")
        return days

    def _add_pending(self, subscription: Body, item: Body, text: str, sign: int) -> None:
        start, end = period_of(subscription).values()
        share = Fraction(end - self.noon, end - start)
        contract = self.get("_contract", subscription["id"])
        for discount in self._held(contract["discounts"]):
            percent = self.kept("coupon", discount["source"]["coupon"])["percent_off"]
            if discount["subscription_item"] in (None, item["id"]) and percent:
                share *= 1 - Fraction(str(percent)) / 100
        currency = subscription["currency"]
        amount = sign * rounded(self.terms(item).amount(item["quantity"]) * share, currency)
        name, on, at = item["price"]["nickname"], f"{self.day.date:%d %b %Y}", self.stamp()
        invoice_item = make_invoice_item(
            self.rng,
            subscription["customer"],
            item["price"],
            amount,
            f"{text} {item['quantity']} {TIMES} {name} after {on}",
            {"start": self.noon, "end": end},
            at,
            currency=currency,
            item=item,
        )
        self.create("invoiceitem", invoice_item, at)
        contract["invoice_items"].append(invoice_item["id"])
        self.remember("_contract", contract)

    # --- From a draft to an open invoice

    def bill(
        self,
        subscription_id: str,
        items: Sequence[Body],
        reason: str,
        *,
        may_wait: bool = False,
        declined: bool | None = None,
    ) -> None:
        """Bill some of a subscription's items for its period, and all pending items.

        Args:
            subscription_id: The subscription.
            items: Its items whose period starts, or, if they are metered, whose period has ended.
            reason: Stripe's billing reason.
            may_wait: Whether the draft may be finalised tomorrow, because it is late in the day.
            declined: Whether the card is declined; random, by the customer's habits, if None.
        """
        subscription = self.get("subscription", subscription_id)
        customer = self.get("customer", subscription["customer"])
        contract = self.get("_contract", subscription_id)
        at = self.stamp()
        # Stripe shows pending items first, newest first.
        waiting = [self.get("invoiceitem", id_) for id_ in reversed(contract["invoice_items"])]
        lines = [line_of_invoice_item(self.rng, item) for item in waiting]
        lines += [line for item in items for line in self._lines(subscription, item, reason)]
        discounts = self._discounts_of(subscription, customer, items)
        lines = self._discounted(lines, discounts)
        lines = [self._taxed(line, subscription) for line in lines]
        if customer["currency"] != subscription["currency"]:
            customer = {**customer, "balance": 0}
        invoice = make_invoice(self.rng, customer, subscription, lines, reason, at)
        on_invoice = [d["id"] for d in discounts if d["subscription_item"] is None]
        invoice = {**invoice, "discounts": on_invoice}
        pause = subscription["pause_collection"]
        held_back = subscription["status"] == "unpaid" or bool(
            pause and pause["behavior"] == "keep_as_draft"
        )
        self.create("invoice", {**invoice, "auto_advance": not (held_back or pause)}, at)
        for item in waiting:
            self.change("invoiceitem", item["id"], invoice=invoice["id"])
        if not held_back and not pause:
            self.note_usage(subscription, lines)
        contract = {**contract, "invoice_items": []}
        if items:
            lasting = [d["id"] for d in discounts if self._lasts(d)]
            contract |= {"discounts": lasting, "collected": pause is None}
        self.remember("_contract", contract)
        self.change("subscription", subscription_id, latest_invoice=invoice["id"])
        if items and subscription["status"] != "trialing":
            self._use_up(subscription_id, discounts)
            self.note_change(subscription_id)
        if held_back:
            return
        if pause:
            self._not_collected(invoice["id"], pause["behavior"])
            return
        payer = self.get("_payer", customer["id"])
        payer["open"].append(invoice["id"])
        self.remember("_payer", payer)
        if may_wait and self.rng.random() < WAITS_AS_DRAFT:
            # On a longer invoice, a removed line would not show: see FIRST_LINES.
            if len(lines) < FIRST_LINES and self.rng.random() < HAS_A_LINE_TOO_MANY:
                self._add_by_mistake(invoice["id"])
            self.later("finalise", invoice["id"], 1)
        else:
            self.finalise(invoice["id"], declined=declined)

    def _lines(self, subscription: Body, item: Body, reason: str) -> Iterable[Body]:
        """Yield the lines that bill an item: the period ahead, or the usage of the last one."""
        terms, name = self.terms(item), item["price"]["nickname"]
        period = {"start": item["current_period_start"], "end": item["current_period_end"]}
        quantity = item.get("quantity", 0)
        if subscription["status"] == "trialing":
            text = f"Trial period for {name}"
            yield line_of_item(self.rng, item, 0, quantity, "0", text, period)
            return
        if terms.metered and reason != "subscription_create":
            period = self.get("_contract", subscription["id"])["last_period"]
            quantity = self.usage()
        for charge in terms.charges(quantity):
            text = f"{charge.quantity} {TIMES} {name}{charge.text}"
            shown = (charge.amount, charge.quantity, decimal(charge.unit), text, period)
            yield line_of_item(self.rng, item, *shown)

    def usage(self) -> int:
        """Return what was used of a metered item in a period that has ended."""
        raise NotImplementedError

    # --- Discounts and taxes

    def _discounts_of(
        self, subscription: Body, customer: Body, items: Iterable[Body]
    ) -> list[Body]:
        """Return the discounts that hold now: of the items, and of the subscription or customer."""
        ids = [id_ for item in items for id_ in item["discounts"]]
        ids += subscription["discounts"]
        if not subscription["discounts"] and customer["discount"]:
            ids.append(customer["discount"]["id"])
        return self._held(ids)

    def _lasts(self, discount: Body) -> bool:
        return bool(self.kept("coupon", discount["source"]["coupon"])["duration"] != "once")

    def _use_up(self, subscription_id: str, discounts: Iterable[Body]) -> None:
        """Remove discounts that are for one invoice."""
        for discount in discounts:
            if not self._lasts(discount):
                self.remove_discount(subscription_id, discount["id"])

    def give_discount(self, subscription_id: str, coupon_id: str, item: str | None = None) -> None:
        """Give a discount to a subscription, or to one of its items."""
        subscription = self.get("subscription", subscription_id)
        discount = self._make_discount(
            coupon_id,
            subscription["customer"],
            subscription=subscription_id,
            subscription_item=item,
        )
        if item is None:
            discounts = [*subscription["discounts"], discount["id"]]
            self.change("subscription", subscription_id, discounts=discounts)
        else:
            items = [
                {**held, "discounts": [discount["id"]]} if held["id"] == item else held
                for held in subscription["items"]["data"]
            ]
            self.change(
                "subscription", subscription_id, items=with_items(subscription, items)["items"]
            )
        if discount["end"] is not None:
            days = (discount["end"] - self.noon) // 86_400
            self.later("discount_ends", subscription_id, days)

    def give_customer_discount(self, customer_id: str, coupon_id: str) -> None:
        """Give a discount to a customer."""
        discount = self._make_discount(coupon_id, customer_id)
        self.change("customer", customer_id, discount=discount)

    def _make_discount(self, coupon_id: str, customer_id: str, **holder: str | None) -> Body:
        coupon = self.get("coupon", coupon_id)
        months, at = coupon["duration_in_months"], self.stamp()
        end = period_end(self.day.noon, self.day.noon, "month", months) if months else None
        discount = make(
            "discount",
            make_id(self.rng, "di"),
            customer=customer_id,
            source={"coupon": coupon_id, "type": "coupon"},
            start=self.noon,
            **holder,
        )
        discount["end"] = epoch(end) if end else None
        self.create("discount", discount, at)
        self._tell("discount", "created", discount, None, at)
        self.change("coupon", coupon_id, times_redeemed=coupon["times_redeemed"] + 1)
        return discount

    def remove_discount(self, subscription_id: str, discount_id: str) -> None:
        """Take a discount away from a subscription."""
        subscription = self.get("subscription", subscription_id)
        left = [id_ for id_ in subscription["discounts"] if id_ != discount_id]
        self.change("subscription", subscription_id, discounts=left)
        self.repeat("discount", discount_id, "deleted")

    def discount_ends(self, subscription_id: str) -> None:
        """Remove the discounts of a subscription that have ended, and note what it pays now."""
        subscription = self.get("subscription", subscription_id)
        held = {discount["id"] for discount in self._held(subscription["discounts"])}
        for id_ in subscription["discounts"]:
            if id_ not in held:
                self.remove_discount(subscription_id, id_)
        items = [
            {**item, "discounts": [d["id"] for d in self._held(item["discounts"])]}
            for item in subscription["items"]["data"]
        ]
        self.change("subscription", subscription_id, items=with_items(subscription, items)["items"])
        self.note_change(subscription_id)

    def _discounted(self, lines: Sequence[Body], discounts: Iterable[Body]) -> list[Body]:
        """Return the lines with what each discount takes off: percentages first."""
        left = [line["amount"] for line in lines]
        lines = list(lines)
        coupons = [(d, self.kept("coupon", d["source"]["coupon"])) for d in discounts]
        for discount, coupon in sorted(coupons, key=lambda pair: pair[1]["percent_off"] is None):
            item = discount["subscription_item"]
            places = [
                place
                for place, line in enumerate(lines)
                if line["discountable"] and left[place] > 0 and item in (None, _item_of(line))
            ]
            if coupon["percent_off"] is not None:
                share = Fraction(str(coupon["percent_off"])) / 100
                off = [rounded(left[place] * share, lines[place]["currency"]) for place in places]
            else:
                off = _spread(coupon["amount_off"], [left[place] for place in places])
            for place, amount in zip(places, off, strict=True):
                left[place] -= amount
                lines[place] = _less(lines[place], discount, amount)
        return lines

    def _taxed(self, line: Body, subscription: Body) -> Body:
        """Return the line with its taxes, which are on what is left after discounts."""
        item_id = _item_of(line)
        items = (item for item in subscription["items"]["data"] if item["id"] == item_id)
        own = [rate for item in items for rate in item["tax_rates"]]
        amount = line["amount"] - sum(given["amount"] for given in line["discount_amounts"])
        taxes = []
        for rate in own or subscription["default_tax_rates"]:
            whole = 100 + rate["percentage"] if rate["inclusive"] else 100
            tax = rounded(Fraction(amount * rate["percentage"], whole), line["currency"])
            taxes.append(
                {
                    "amount": tax,
                    "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
                    "tax_rate_details": {"tax_rate": rate["id"]},
                    "taxability_reason": "standard_rated",
                    "taxable_amount": amount - tax if rate["inclusive"] else amount,
                    "type": "tax_rate_details",
                }
            )
        return {**line, "taxes": taxes}

    # --- Drafts

    def _add_by_mistake(self, invoice_id: str) -> None:
        """Add a fee to the draft, and remove it before the draft is finalised."""
        invoice = self.get("invoice", invoice_id)
        at = self.stamp()
        fee = make_invoice_item(
            self.rng,
            invoice["customer"],
            self.get("price", catalogue.FEE),
            50_000,
            "Onboarding workshop",
            {"start": self.noon, "end": self.noon},
            at,
            currency=invoice["currency"],
            invoice=invoice_id,
        )
        self.create("invoiceitem", {**fee, "_mistake": True}, at)
        lines = [*invoice["lines"]["data"], line_of_invoice_item(self.rng, fee)]
        self.change("invoice", invoice_id, **with_lines(invoice, lines))

    def add_fee(self, subscription: Body, amount: int) -> None:
        """Add a fee to a subscription's next invoice."""
        at = self.stamp()
        period = {"start": self.noon, "end": self.noon}
        fee = make_invoice_item(
            self.rng,
            subscription["customer"],
            self.get("price", catalogue.FEE),
            amount,
            "Setup fee",
            period,
            at,
            currency=subscription["currency"],
        )
        self.create("invoiceitem", fee, at)
        contract = self.get("_contract", subscription["id"])
        waiting = [*contract["invoice_items"], fee["id"]]
        self.remember("_contract", {**contract, "invoice_items": waiting})

    def _is_mistake(self, line: Body) -> bool:
        details = line["parent"]["invoice_item_details"]
        return bool(details and "_mistake" in self.get("invoiceitem", details["invoice_item"]))

    def finalise(self, invoice_id: str, *, declined: bool | None = None) -> None:
        """Number the invoice, apply the customer's credit, and request payment."""
        invoice = self.get("invoice", invoice_id)
        if invoice["status"] != "draft":
            return
        mistakes = [line for line in invoice["lines"]["data"] if self._is_mistake(line)]
        for line in mistakes:
            self.delete("invoiceitem", line["parent"]["invoice_item_details"]["invoice_item"])
        lines = [line for line in invoice["lines"]["data"] if line not in mistakes]
        customer = self.get("customer", invoice["customer"])
        has_balance = customer["currency"] == invoice["currency"]
        balance = customer["balance"] if has_balance else 0
        invoice = with_lines({**invoice, "starting_balance": balance}, lines)
        number = customer["next_invoice_sequence"]
        left = min(invoice["total"] + balance, 0)
        by_invoice = invoice["collection_method"] == "send_invoice"
        due = self.day.noon + timedelta(days=30)
        url = f"https://invoice.stripe.com/i/acct_sandbox/{make_id(self.rng, 'live')}"
        moment = self.now()
        self.change(
            "invoice",
            invoice_id,
            "finalized",
            **{
                **invoice,
                "number": f"{customer['invoice_prefix']}-{number:04}",
                "status": "open",
                "effective_at": moment,
                "ending_balance": left,
                "due_date": epoch(due) if by_invoice else None,
                "hosted_invoice_url": url,
                "invoice_pdf": f"{url}/pdf",
                "status_transitions": {**invoice["status_transitions"], "finalized_at": moment},
            },
        )
        changes = {"balance": left} if has_balance else {}
        self.change("customer", customer["id"], next_invoice_sequence=number + 1, **changes)
        if not invoice["auto_advance"]:
            return
        if not invoice["amount_due"]:
            self.paid(invoice_id)
        elif by_invoice:
            self.repeat("invoice", invoice_id, "sent")
            self.later("settle", invoice_id, 30 + self.rng.randrange(-20, 15))
            self.later("overdue", invoice_id, 31)
        else:
            payer = self.get("_payer", customer["id"])
            payer["invoices"] += 1
            self.remember("_payer", payer)
            self.attempt(invoice_id, declined=declined)

    def _not_collected(self, invoice_id: str, behaviour: str) -> None:
        """Finalise an invoice of a subscription whose collection is paused, and close it."""
        self.finalise(invoice_id)
        if behaviour == "void":
            self.void(invoice_id)
        else:
            reason = {"uncollectible": {"reason": "subscription_paused"}}
            self.close_unpaid(
                invoice_id, "marked_uncollectible", "uncollectible", status_details=reason
            )

    # --- The end of a subscription

    def end(
        self,
        subscription_id: str,
        *,
        bill_pending: bool,
        reason: str = "cancellation_requested",
    ) -> None:
        """Cancel now. Unbilled amounts may go onto a last invoice."""
        subscription = self.get("subscription", subscription_id)
        metered = [item for item in subscription["items"]["data"] if "quantity" not in item]
        if subscription["status"] == "trialing":
            metered = []
        pending = self.get("_contract", subscription_id)["invoice_items"]
        if bill_pending and (pending or metered):
            if metered:
                self.remember_period(subscription_id)
            kept = self.get("_contract", subscription_id)
            self.bill(subscription_id, metered, "subscription_update", declined=False)
            after = self.get("_contract", subscription_id)
            self.remember("_contract", {**after, "discounts": kept["discounts"]})
        subscription = self.get("subscription", subscription_id)
        if subscription["ended_at"] is not None:
            return
        contract = self.get("_contract", subscription_id)
        for id_ in contract["invoice_items"]:
            self.delete("invoiceitem", id_)
        self.remember("_contract", {**contract, "invoice_items": []})
        self.change(
            "subscription",
            subscription_id,
            "deleted",
            status="canceled",
            ended_at=self.noon,
            canceled_at=subscription["canceled_at"] or self.noon,
            cancellation_details={**nulls("comment feedback feedback_option"), "reason": reason},
        )
        self.note_change(subscription_id)
        payer = self.get("_payer", subscription["customer"])
        for invoice_id in payer["open"]:
            self.later("write_off", invoice_id, 60)
        if payer["comes_back"]:
            self.later("subscribe", payer["id"], self.rng.randrange(60, 100))

    def remember_period(self, subscription_id: str) -> None:
        """Remember the period that ends today, for what was used in it."""
        contract = self.get("_contract", subscription_id)
        period = period_of(self.get("subscription", subscription_id))
        period = {"start": period["start"], "end": min(period["end"], self.noon)}
        self.remember("_contract", {**contract, "last_period": period})


def _item_of(line: Body) -> str | None:
    details = line["parent"]["subscription_item_details"]
    return details["subscription_item"] if details else None


def _less(line: Body, discount: Body, amount: int) -> Body:
    """Return a line with one more discount; it lists only those of its own item."""
    given = {"amount": amount, "discount": discount["id"]}
    own = [discount["id"]] if discount["subscription_item"] else []
    return {
        **line,
        "discount_amounts": [*line["discount_amounts"], given],
        "discounts": [*line["discounts"], *own],
        "pretax_credit_amounts": [*line["pretax_credit_amounts"], {**given, "type": "discount"}],
    }


def _spread(amount: int, over: Sequence[int]) -> list[int]:
    """Spread an amount in proportion, in whole units; the last one takes what rounding left."""
    whole = sum(over)
    amount = min(amount, whole)
    shares = [amount * part // whole for part in over]
    if shares:
        shares[-1] += amount - sum(shares)
    return shares


def period_end(anchor: datetime, start: datetime, interval: str, count: int = 1) -> datetime:
    """Return the end of a period that starts: days and weeks later, or on the anchor's day.

    Months and years end on the anchor's day of the month, or on the month's last day.
    """
    if interval in ("day", "week"):
        return start + timedelta(days=count * (7 if interval == "week" else 1))
    months = count * (12 if interval == "year" else 1)
    passed = (start.year - anchor.year) * 12 + start.month - anchor.month
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + passed + months, 12)
    first = anchor.replace(year=year, month=month + 1, day=1)
    next_month = (first + timedelta(days=31)).replace(day=1)
    last = (next_month - timedelta(days=1)).day
    return first.replace(day=min(anchor.day, last))


def _end(price: Body, anchor: datetime, start: datetime) -> datetime:
    recurring = price["recurring"]
    return period_end(anchor, start, recurring["interval"], recurring["interval_count"])


def at_noon(seconds: int) -> datetime:
    """Return the time of a period's start or end."""
    return datetime.fromtimestamp(seconds, UTC)
