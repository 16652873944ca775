"""Invoices, payments, and their effects on the subscription and the customer."""

from datetime import timedelta

from sandbox.saas.day import epoch
from sandbox.saas.documents import Body
from sandbox.saas.stripe.ledger import Ledger
from sandbox.saas.stripe.objects import (
    FIRST_LINES,
    line_of_invoice_item,
    line_of_item,
    make_charge,
    make_id,
    make_invoice,
    make_invoice_item,
    make_refund,
    with_lines,
)

RETRY_DAYS = (3, 5, 7)
"""How long to wait before a declined card is tried once more."""
FAILS_AT_FIRST, FAILS_AGAIN = 0.04, 0.4
PAYS_IN_TIME_UNTIL = 2
"""How many invoices a late payer pays at once, and how many it leaves open from then on."""
WAITS_AS_DRAFT = 0.1
HAS_A_LINE_TOO_MANY = 0.5


class Billing(Ledger):
    """Stripe's own actions when something is due."""

    # --- From a draft to an open invoice

    def bill(
        self,
        subscription_id: str,
        items: list[Body],
        reason: str,
        *,
        may_wait: bool = False,
        declined: bool | None = None,
    ) -> None:
        """Bill some of a subscription's items for its period, and all pending items.

        Args:
            subscription_id: The subscription.
            items: Its items whose period starts.
            reason: Stripe's billing reason.
            may_wait: Whether the draft may be finalised tomorrow, because it is late in the day.
            declined: Whether the card is declined; random, by the customer's habits, if None.
        """
        subscription = self.get("subscription", subscription_id)
        customer = self.get("customer", subscription["customer"])
        at = self.stamp()
        # Stripe shows pending items first, newest first.
        pending = self.get("_pending", subscription_id)
        waiting = [self.get("invoiceitem", id_) for id_ in reversed(pending["invoice_items"])]
        lines = [line_of_invoice_item(self.rng, item) for item in waiting]
        lines += [self._line(subscription, item) for item in items]
        invoice = make_invoice(self.rng, customer, subscription, lines, reason, at)
        self.create("invoice", invoice, at)
        for item in waiting:
            self.change("invoiceitem", item["id"], invoice=invoice["id"])
        self.remember("_pending", {**pending, "invoice_items": []})
        self.change("subscription", subscription_id, latest_invoice=invoice["id"])
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

    def _line(self, subscription: Body, item: Body) -> Body:
        period = {
            "start": subscription["current_period_start"],
            "end": subscription["current_period_end"],
        }
        name = item["plan"]["nickname"]
        if subscription["status"] == "trialing":
            text = f"Trial period for {name}"
            return line_of_item(self.rng, subscription, item, 0, text, period)
        amount = item["plan"]["amount"] * item["quantity"]
        text = f"{item['quantity']} × {name}"  # noqa: RUF001 - as Stripe writes it
        return line_of_item(self.rng, subscription, item, amount, text, period)

    def _add_by_mistake(self, invoice_id: str) -> None:
        """Add a fee to the draft, and remove it before the draft is finalised."""
        invoice = self.get("invoice", invoice_id)
        customer = self.get("customer", invoice["customer"])
        at = self.stamp()
        period = {"start": self.noon, "end": self.noon}
        fee = make_invoice_item(
            self.rng, customer, 50_000, "Onboarding workshop", period, at, invoice=invoice_id
        )
        self.create("invoiceitem", fee, at)
        lines = [*invoice["lines"]["data"], line_of_invoice_item(self.rng, fee)]
        self.change("invoice", invoice_id, **with_lines(invoice, lines))

    def finalise(self, invoice_id: str, *, declined: bool | None = None) -> None:
        """Number the invoice, apply the customer's credit, and request payment."""
        invoice = self.get("invoice", invoice_id)
        if invoice["status"] != "draft":
            return
        for line in invoice["lines"]["data"]:
            if line["type"] == "invoiceitem" and not line["proration"]:
                self.delete("invoiceitem", line["invoice_item"])
        customer = self.get("customer", invoice["customer"])
        lines = [
            line
            for line in invoice["lines"]["data"]
            if line["type"] == "subscription" or line["proration"]
        ]
        invoice = with_lines({**invoice, "starting_balance": customer["balance"]}, lines)
        number = customer["next_invoice_sequence"]
        balance = min(invoice["total"] + invoice["starting_balance"], 0)
        by_invoice = invoice["collection_method"] == "send_invoice"
        due = self.day.noon + timedelta(days=30)
        url = f"https://invoice.stripe.com/i/acct_sandbox/{make_id(self.rng, 'live')}"
        self.change(
            "invoice",
            invoice_id,
            "finalized",
            **{
                **invoice,
                "number": f"{customer['invoice_prefix']}-{number:04}",
                "status": "open",
                "ending_balance": balance,
                "due_date": epoch(due) if by_invoice else None,
                "hosted_invoice_url": url,
                "invoice_pdf": f"{url}/pdf",
                "status_transitions": {**invoice["status_transitions"], "finalized_at": self.now()},
            },
        )
        self.change("customer", customer["id"], balance=balance, next_invoice_sequence=number + 1)
        if not invoice["amount_due"]:
            self._paid(invoice_id)
        elif by_invoice:
            self.repeat("invoice", invoice_id, "sent")
            self.later("settle", invoice_id, 30 + self.rng.randrange(-20, 15))
            self.later("overdue", invoice_id, 31)
        else:
            payer = self.get("_payer", customer["id"])
            payer["invoices"] += 1
            self.remember("_payer", payer)
            self._attempt(invoice_id, declined=declined)

    def now(self) -> int:
        """Return the current time in Stripe's format."""
        return epoch(self.stamp())

    # --- Payment

    def _attempt(self, invoice_id: str, *, declined: bool | None) -> None:
        """Charge the customer's card."""
        invoice = self.get("invoice", invoice_id)
        attempts = invoice["attempt_count"] + 1
        if declined is None:
            declined = self._is_declined(invoice)
        failure = None
        if declined:
            failure = self.rng.choice(("insufficient_funds", "generic_decline"))
        intent = invoice["payment_intent"] or make_id(self.rng, "pi")
        at = self.stamp()
        amount = invoice["amount_due"]
        charge = make_charge(self.rng, invoice, amount, intent, failure, at)
        self.create("charge", charge, at, "failed" if declined else "succeeded")
        tried = {
            "attempt_count": attempts,
            "attempted": True,
            "charge": charge["id"],
            "payment_intent": intent,
        }
        if not declined:
            self._paid(invoice_id, **tried)
            self.repeat("invoice", invoice_id, "payment_succeeded")
            if self.rng.random() < 0.015:
                self.later("refund", charge["id"], self.rng.randrange(1, 10))
            return
        next_attempt = None
        if invoice["subscription"] and attempts <= len(RETRY_DAYS):
            days = RETRY_DAYS[attempts - 1]
            next_attempt = epoch(self.day.noon + timedelta(days=days))
            self.later("retry", invoice_id, days)
        self.change(
            "invoice", invoice_id, "payment_failed", **tried, next_payment_attempt=next_attempt
        )
        self._fall_into_arrears(invoice_id)
        if next_attempt is None:
            self._give_up(invoice_id)

    def _is_declined(self, invoice: Body) -> bool:
        payer = self.get("_payer", invoice["customer"])
        if payer["habit"] == "late" and payer["invoices"] > PAYS_IN_TIME_UNTIL:
            return True
        chance = FAILS_AGAIN if invoice["attempted"] else FAILS_AT_FIRST
        return self.rng.random() < chance

    def retry(self, invoice_id: str) -> None:
        """Try the card again."""
        if self.get("invoice", invoice_id)["status"] == "open":
            self._attempt(invoice_id, declined=None)

    def settle(self, invoice_id: str) -> None:
        """Pay a sent invoice by bank transfer."""
        if self.get("invoice", invoice_id)["status"] == "open":
            self._paid(invoice_id, paid_out_of_band=True)

    def overdue(self, invoice_id: str) -> None:
        """Put the customer into arrears if a sent invoice is still open."""
        if self.get("invoice", invoice_id)["status"] == "open":
            self._fall_into_arrears(invoice_id)

    def _paid(self, invoice_id: str, **changes: object) -> None:
        invoice = self.get("invoice", invoice_id)
        moment = self.now()
        self.change(
            "invoice",
            invoice_id,
            "paid",
            status="paid",
            paid=True,
            amount_paid=invoice["amount_due"],
            amount_remaining=0,
            next_payment_attempt=None,
            status_transitions={**invoice["status_transitions"], "paid_at": moment},
            **changes,
        )
        self._close(invoice_id)

    def _fall_into_arrears(self, invoice_id: str) -> None:
        invoice = self.get("invoice", invoice_id)
        payer = self.get("_payer", invoice["customer"])
        if invoice_id not in payer["overdue"]:
            payer["overdue"].append(invoice_id)
            self.remember("_payer", payer)
        if self.get("subscription", invoice["subscription"])["status"] == "active":
            self.change("subscription", invoice["subscription"], status="past_due")
        if self.documents.get("customer", payer["id"]):
            self.change("customer", payer["id"], delinquent=True)

    def _give_up(self, invoice_id: str) -> None:
        """End the retries of the card: a late payer pays an older invoice, others leave."""
        invoice = self.get("invoice", invoice_id)
        payer = self.get("_payer", invoice["customer"])
        if payer["habit"] != "late":
            self.end(invoice["subscription"], bill_pending=False)
        elif len(payer["overdue"]) > PAYS_IN_TIME_UNTIL:
            self._paid(payer["overdue"][0], paid_out_of_band=True)

    def void(self, invoice_id: str) -> None:
        """Void an invoice that was a mistake."""
        self._close_unpaid(invoice_id, "voided", "void", "voided_at")

    def write_off(self, invoice_id: str) -> None:
        """Write off an open invoice of a customer who has left."""
        if self.get("invoice", invoice_id)["status"] == "open":
            name = "marked_uncollectible"
            self._close_unpaid(invoice_id, name, "uncollectible", f"{name}_at")

    def _close_unpaid(self, invoice_id: str, event: str, status: str, transition: str) -> None:
        transitions = self.get("invoice", invoice_id)["status_transitions"]
        self.change(
            "invoice",
            invoice_id,
            event,
            status=status,
            next_payment_attempt=None,
            status_transitions={**transitions, transition: self.now()},
        )
        self._close(invoice_id)

    def _close(self, invoice_id: str) -> None:
        """Close an invoice; if no other is past due, the subscription is active again."""
        invoice = self.get("invoice", invoice_id)
        payer = self.get("_payer", invoice["customer"])
        for list_ in (payer["open"], payer["overdue"]):
            if invoice_id in list_:
                list_.remove(invoice_id)
        self.remember("_payer", payer)
        if payer["overdue"]:
            return
        if self.get("subscription", invoice["subscription"])["status"] == "past_due":
            self.change("subscription", invoice["subscription"], status="active")
        if self.documents.get("customer", payer["id"]):
            self.change("customer", payer["id"], delinquent=False)

    def refund(self, charge_id: str) -> None:
        """Refund some or all of a payment."""
        charge = self.get("charge", charge_id)
        share = self.rng.choice((1, 1, 2, 4))
        at = self.stamp()
        refund = make_refund(self.rng, charge, charge["amount"] // share, at)
        self.change(
            "charge",
            charge_id,
            "refunded",
            amount_refunded=refund["amount"],
            refunded=refund["amount"] == charge["amount"],
            refunds={**charge["refunds"], "data": [refund]},
        )

    # --- The end of a subscription

    def end(self, subscription_id: str, *, bill_pending: bool) -> None:
        """Cancel now. Unbilled amounts may go onto a last invoice."""
        if bill_pending and self.get("_pending", subscription_id)["invoice_items"]:
            self.bill(subscription_id, [], "subscription_update", declined=False)
        subscription = self.get("subscription", subscription_id)
        if subscription["ended_at"] is not None:
            return
        for id_ in self.get("_pending", subscription_id)["invoice_items"]:
            self.delete("invoiceitem", id_)
        self.remember("_pending", {"id": subscription_id, "invoice_items": []})
        self.change(
            "subscription",
            subscription_id,
            "deleted",
            status="canceled",
            ended_at=self.noon,
            canceled_at=subscription["canceled_at"] or self.noon,
        )
        if subscription["status"] != "trialing":
            self.note_change(subscription_id)
        payer = self.get("_payer", subscription["customer"])
        for invoice_id in payer["open"]:
            self.later("write_off", invoice_id, 60)
        if payer["comes_back"]:
            self.later("subscribe", payer["id"], self.rng.randrange(60, 100))
