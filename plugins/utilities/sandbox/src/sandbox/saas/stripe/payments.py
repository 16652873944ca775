"""Payments of invoices, and money that goes back: charges, refunds, disputes, payouts."""

from datetime import timedelta
from fractions import Fraction

from sandbox.saas.day import epoch
from sandbox.saas.documents import Body
from sandbox.saas.stripe.catalogue import rounded
from sandbox.saas.stripe.ledger import Ledger
from sandbox.saas.stripe.objects import (
    bank_debit,
    card,
    list_of,
    make,
    make_charge,
    make_id,
    subscription_of,
)

RETRY_DAYS = (3, 5, 7)
"""How long to wait before a declined card is tried once more."""
FAILS_AT_FIRST, FAILS_AGAIN = 0.04, 0.4
PAYS_IN_TIME_UNTIL = 2
"""How many invoices a late payer pays at once, and how many it leaves open from then on."""
CLEARS_AFTER_DAYS = 5
"""How long a bank debit takes."""


class Payments(Ledger):
    """What happens to an invoice that was finalised."""

    # --- Payment

    def attempt(self, invoice_id: str, *, declined: bool | None) -> None:
        """Charge the customer's card, or debit the bank account."""
        invoice = self.get("invoice", invoice_id)
        payer = self.get("_payer", invoice["customer"])
        by_bank = payer.get("method") == "bank"
        if declined is None:
            declined = not by_bank and self.is_declined(invoice)
        failure = self.rng.choice(("insufficient_funds", "generic_decline")) if declined else None
        intent = invoice.get("_payment_intent") or self._ask(invoice)
        at = self.stamp()
        status = "pending" if by_bank else "failed" if declined else "succeeded"
        charge = make_charge(
            self.rng,
            invoice,
            invoice["amount_remaining"],
            intent,
            status=status,
            method=bank_debit(self.rng, invoice["currency"]) if by_bank else card(self.rng, at),
            failure=failure,
            at=at,
        )
        if status == "succeeded":
            charge["balance_transaction"] = self._book_charge(charge)
        self.create("charge", charge, at, status)
        tried = {
            "attempt_count": invoice["attempt_count"] + 1,
            "attempted": True,
            "next_payment_attempt": None,
            "_charge": charge["id"],
        }
        if by_bank:
            self._advance(intent, "processing", charge)
            self.change("invoice", invoice_id, **tried)
            self.later("clear", charge["id"], CLEARS_AFTER_DAYS)
        elif declined:
            self._declined(invoice_id, charge, tried)
        else:
            self._collected(invoice_id, charge, tried)

    def clear(self, charge_id: str) -> None:
        """End a bank debit: it is credited, or comes back."""
        charge = self.get("charge", charge_id)
        invoice = self.get("invoice", charge["_invoice"])
        if invoice["status"] == "open" and not self.bounces(invoice):
            done = {"paid": True, "balance_transaction": self._book_charge(charge)}
            charge = self.change("charge", charge_id, "succeeded", status="succeeded", **done)
            self._collected(invoice["id"], charge, {})
            return
        failure = {"failure_code": "insufficient_funds", "failure_message": "Returned by the bank."}
        charge = self.change("charge", charge_id, "failed", status="failed", **failure)
        if invoice["status"] == "open":
            self._declined(invoice["id"], charge, {})

    def bounces(self, invoice: Body) -> bool:  # noqa: ARG002 - a company may have such payers
        """Whether a bank debit comes back."""
        return False

    def _ask(self, invoice: Body) -> str:
        """Create the payment intent of an invoice, and the invoice payment that holds it."""
        at = self.stamp()
        intent = make(
            "payment_intent",
            make_id(self.rng, "pi"),
            amount=invoice["amount_remaining"],
            created=epoch(at),
            currency=invoice["currency"],
            customer=invoice["customer"],
            description=f"Payment for invoice {invoice['number']}",
            payment_method=None,
            payment_method_types=["card"],
            status="requires_payment_method",
            _invoice=invoice["id"],
        )
        self.create("payment_intent", intent, at)
        payment = make(
            "invoice_payment",
            make_id(self.rng, "inpay"),
            amount_requested=invoice["amount_remaining"],
            created=epoch(at),
            currency=invoice["currency"],
            invoice=invoice["id"],
            payment={"payment_intent": intent["id"], "type": "payment_intent"},
        )
        self.documents.put("invoice_payment", payment, at)
        held = {"_payment_intent": intent["id"], "_payment": payment["id"]}
        # Nothing that the API shows changes, so there is no event.
        self.documents.put("invoice", {**self.get("invoice", invoice["id"]), **held}, at)
        return str(intent["id"])

    def _advance(self, intent_id: str, status: str, charge: Body) -> None:
        changes = {
            "latest_charge": charge["id"],
            "payment_method": charge["payment_method"],
            "payment_method_types": [charge["payment_method_details"]["type"]],
        }
        if status == "succeeded":
            changes["amount_received"] = charge["amount"]
        event = "payment_failed" if status == "requires_payment_method" else status
        self.change("payment_intent", intent_id, event, status=status, **changes)

    def _collected(self, invoice_id: str, charge: Body, tried: Body) -> None:
        self._advance(charge["payment_intent"], "succeeded", charge)
        self.paid(invoice_id, **tried)
        self.repeat("invoice", invoice_id, "payment_succeeded")
        if self.rng.random() < 0.015:
            self.later("refund", charge["id"], self.rng.randrange(1, 10))

    def _declined(self, invoice_id: str, charge: Body, tried: Body) -> None:
        self._advance(charge["payment_intent"], "requires_payment_method", charge)
        invoice = self.get("invoice", invoice_id) | tried
        attempts, next_attempt = invoice["attempt_count"], None
        if attempts <= len(RETRY_DAYS):
            days = RETRY_DAYS[attempts - 1]
            next_attempt = epoch(self.day.noon + timedelta(days=days))
            self.later("retry", invoice_id, days)
        self.change(
            "invoice",
            invoice_id,
            "payment_failed",
            **tried | {"next_payment_attempt": next_attempt},
        )
        self._fall_into_arrears(invoice_id)
        if next_attempt is None:
            self._give_up(invoice_id)

    def is_declined(self, invoice: Body) -> bool:
        """Whether the card is declined, by the customer's habit."""
        payer = self.get("_payer", invoice["customer"])
        if payer["habit"] == "late" and payer["invoices"] > PAYS_IN_TIME_UNTIL:
            return True
        chance = FAILS_AGAIN if invoice["attempted"] else FAILS_AT_FIRST
        return self.rng.random() < chance

    def retry(self, invoice_id: str) -> None:
        """Try the card again."""
        if self.get("invoice", invoice_id)["status"] == "open":
            self.attempt(invoice_id, declined=None)

    def pay_up(self, invoice_id: str) -> None:
        """Pay an invoice by card after all attempts have failed."""
        if self.get("invoice", invoice_id)["status"] == "open":
            self.attempt(invoice_id, declined=False)

    def settle(self, invoice_id: str) -> None:
        """Pay a sent invoice by bank transfer."""
        if self.get("invoice", invoice_id)["status"] == "open":
            self.paid(invoice_id, _out_of_band=True)

    def overdue(self, invoice_id: str) -> None:
        """Put the customer into arrears if a sent invoice is still open."""
        if self.get("invoice", invoice_id)["status"] == "open":
            self._fall_into_arrears(invoice_id)

    def paid(self, invoice_id: str, **changes: object) -> None:
        """Close an invoice that is paid, by a charge or by other means."""
        invoice = self.get("invoice", invoice_id)
        moment = self.now()
        self.change(
            "invoice",
            invoice_id,
            "paid",
            **{
                "status": "paid",
                "amount_paid": invoice["amount_due"],
                "amount_remaining": 0,
                "next_payment_attempt": None,
                "status_transitions": {**invoice["status_transitions"], "paid_at": moment},
                **changes,
            },
        )
        self._end_payment(invoice_id, paid_at=None if changes.get("_out_of_band") else moment)
        self._close(invoice_id)

    def _end_payment(
        self, invoice_id: str, *, paid_at: int | None, reason: str | None = None
    ) -> None:
        """Pay or cancel the invoice payment; a payment intent that isn't needed is cancelled."""
        invoice = self.get("invoice", invoice_id)
        payment = self.documents.get("invoice_payment", invoice.get("_payment", ""))
        if payment is None:
            return
        moment = paid_at or self.now()
        done = (
            {"status": "paid", "amount_paid": invoice["amount_paid"]}
            if paid_at
            else {"status": "canceled"}
        )
        transitions = {"paid_at": paid_at, "canceled_at": None if paid_at else moment}
        self.documents.put(
            "invoice_payment", {**payment, **done, "status_transitions": transitions}, self.stamp()
        )
        if not paid_at:
            self.change(
                "payment_intent",
                invoice["_payment_intent"],
                "canceled",
                status="canceled",
                canceled_at=moment,
                cancellation_reason=reason,
            )

    def _fall_into_arrears(self, invoice_id: str) -> None:
        invoice = self.get("invoice", invoice_id)
        payer = self.get("_payer", invoice["customer"])
        if invoice_id not in payer["overdue"]:
            payer["overdue"].append(invoice_id)
            self.remember("_payer", payer)
        subscription = self.get("subscription", subscription_of(invoice) or "")
        if subscription["status"] == "active":
            self.change("subscription", subscription["id"], status="past_due")
        if self.documents.get("customer", payer["id"]):
            self.change("customer", payer["id"], delinquent=True)

    def _give_up(self, invoice_id: str) -> None:
        """End the retries as the customer's dunning says; a late payer pays an older invoice."""
        invoice = self.get("invoice", invoice_id)
        subscription_id = subscription_of(invoice) or ""
        payer = self.get("_payer", invoice["customer"])
        if payer.get("dunning") == "unpaid":
            self.change("subscription", subscription_id, status="unpaid")
            self.note_change(subscription_id)
            if payer["pays_up_after"]:
                self.later("pay_up", invoice_id, payer["pays_up_after"])
        elif payer["habit"] != "late":
            self.end(subscription_id, bill_pending=False, reason="payment_failed")
        elif len(payer["overdue"]) > PAYS_IN_TIME_UNTIL:
            self.paid(payer["overdue"][0], _out_of_band=True)

    def void(self, invoice_id: str) -> None:
        """Void an invoice that was a mistake."""
        self.close_unpaid(invoice_id, "voided", "void")

    def write_off(self, invoice_id: str) -> None:
        """Write off an open invoice of a customer who has left."""
        if self.get("invoice", invoice_id)["status"] == "open":
            self.close_unpaid(invoice_id, "marked_uncollectible", "uncollectible")

    def close_unpaid(self, invoice_id: str, event: str, status: str, **changes: object) -> None:
        """Close an invoice that nobody pays any more."""
        transitions = self.get("invoice", invoice_id)["status_transitions"]
        self.change(
            "invoice",
            invoice_id,
            event,
            status=status,
            next_payment_attempt=None,
            status_transitions={**transitions, f"{event}_at": self.now()},
            **changes,
        )
        if status == "void":
            self._end_payment(invoice_id, paid_at=None, reason="void_invoice")
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
        subscription = self.get("subscription", subscription_of(invoice) or "")
        if subscription["status"] in ("past_due", "unpaid"):
            self.change("subscription", subscription["id"], status="active")
            self.note_change(subscription["id"])
        if self.documents.get("customer", payer["id"]):
            self.change("customer", payer["id"], delinquent=False)

    # --- Money that goes back

    def refund(self, charge_id: str) -> None:
        """Refund some or all of a payment."""
        charge = self.get("charge", charge_id)
        self.give_back(charge, charge["amount"] // self.rng.choice((1, 1, 2, 4)))

    def give_back(self, charge: Body, amount: int) -> Body:
        """Refund an amount of a charge."""
        at = self.stamp()
        refund = make(
            "refund",
            make_id(self.rng, "re"),
            amount=amount,
            charge=charge["id"],
            created=epoch(at),
            currency=charge["currency"],
            customer=charge["customer"],
            payment_intent=charge["payment_intent"],
            payment_method=charge["payment_method"],
        )
        refund["balance_transaction"] = self.book(
            -amount, charge["currency"], "refund", refund["id"]
        )
        self.create("refund", refund, at)
        refunded = charge["amount_refunded"] + amount
        done = {"amount_refunded": refunded, "refunded": refunded == charge["amount"]}
        self.change("charge", charge["id"], "refunded", **done)
        return refund

    def credit(self, invoice_id: str) -> None:
        """Issue a credit note for half of an invoice's first line: a refund, or less to pay."""
        invoice = self.get("invoice", invoice_id)
        line = invoice["lines"]["data"][0]
        amount = rounded(Fraction(line["amount"], 2), invoice["currency"])
        if invoice["status"] not in ("open", "paid") or not 0 < amount < invoice["amount_due"]:
            return
        id_ = make_id(self.rng, "cn")
        number = sum(note["invoice"] == invoice_id for note in self.documents.of("credit_note")) + 1
        line_item = make(
            "credit_note_line_item",
            make_id(self.rng, "cnli"),
            amount=amount,
            description=line["description"],
            invoice_line_item=line["id"],
        )
        is_paid = invoice["status"] == "paid"
        refunds, charge = [], self.documents.get("charge", invoice.get("_charge", ""))
        if is_paid and charge:
            refund = self.give_back(charge, amount)
            refunds = [
                {
                    "amount_refunded": amount,
                    "payment_record_refund": None,
                    "refund": refund["id"],
                    "type": "refund",
                }
            ]
        at = self.stamp()
        note = make(
            "credit_note",
            id_,
            amount=amount,
            created=epoch(at),
            currency=invoice["currency"],
            customer=invoice["customer"],
            effective_at=epoch(at),
            invoice=invoice_id,
            lines={**list_of(f"/v1/credit_notes/{id_}/lines", [line_item]), "total_count": 1},
            number=f"{invoice['number']}-CN-{number:02}",
            out_of_band_amount=amount if is_paid and not refunds else None,
            pdf=f"https://pay.stripe.com/credit_notes/acct_sandbox/{id_}/pdf",
            post_payment_amount=amount if is_paid else 0,
            pre_payment_amount=0 if is_paid else amount,
            refunds=refunds,
            subtotal=amount,
            subtotal_excluding_tax=amount,
            total=amount,
            total_excluding_tax=amount,
            type="post_payment" if is_paid else "pre_payment",
        )
        self.create("credit_note", note, at)
        key = f"{note['type']}_credit_notes_amount"
        less = (
            {} if is_paid else {k: invoice[k] - amount for k in ("amount_due", "amount_remaining")}
        )
        self.change("invoice", invoice_id, **{key: invoice[key] + amount}, **less)

    def dispute(self, charge_id: str) -> None:
        """Open a dispute about a payment."""
        charge = self.get("charge", charge_id)
        at = self.stamp()
        id_ = make_id(self.rng, "du")
        taken = self.book(-charge["amount"], charge["currency"], "adjustment", id_)
        dispute = make(
            "dispute",
            id_,
            amount=charge["amount"],
            balance_transactions=[self.get("balance_transaction", taken)],
            charge=charge_id,
            created=epoch(at),
            currency=charge["currency"],
            evidence_details={
                "due_by": self.noon + 14 * 86_400,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
                "submission_method": "manual",
            },
            payment_intent=charge["payment_intent"],
        )
        self.create("dispute", dispute, at)
        self.change("charge", charge_id, disputed=True)
        self.later("judge", id_, 20)

    def judge(self, dispute_id: str) -> None:
        """End a dispute: won every other time, with the money given back."""
        dispute = self.get("dispute", dispute_id)
        won = self.rng.random() < 0.5
        transactions = dispute["balance_transactions"]
        if won:
            given = self.book(dispute["amount"], dispute["currency"], "adjustment", dispute_id)
            transactions = [*transactions, self.get("balance_transaction", given)]
        status = {"status": "won" if won else "lost", "balance_transactions": transactions}
        self.change("dispute", dispute_id, "closed", **status)

    # --- The balance

    def _book_charge(self, charge: Body) -> str:
        return self.book(charge["amount"], charge["currency"], "charge", charge["id"])

    def book(self, amount: int, currency: str, type_: str, source: str) -> str:
        """Add a balance transaction; return its ID."""
        at = self.stamp()
        fee = rounded(Fraction(amount * 29, 1000), currency) if type_ == "charge" else 0
        details = {"amount": fee, "application": None, "currency": currency}
        shown = {**details, "description": "Stripe processing fees", "type": "stripe_fee"}
        transaction = make(
            "balance_transaction",
            make_id(self.rng, "txn"),
            amount=amount,
            available_on=epoch(self.day.noon + timedelta(days=2)),
            created=epoch(at),
            currency=currency,
            fee=fee,
            fee_details=[shown] if fee else [],
            net=amount - fee,
            reporting_category="dispute" if type_ == "adjustment" else type_,
            source=source,
            type=type_,
        )
        self.create("balance_transaction", transaction, at)
        if type_ != "payout":
            balance = self.documents.get("_balance", currency) or {"id": currency, "net": 0}
            self.remember("_balance", {**balance, "net": balance["net"] + amount - fee})
        return str(transaction["id"])

    def pay_out(self) -> None:
        """Send what each currency's balance holds to the bank."""
        for balance in self.documents.of("_balance"):
            if balance["net"] <= 0:
                continue
            at, id_ = self.stamp(), make_id(self.rng, "po")
            net, currency = balance["net"], balance["id"]
            payout = make(
                "payout",
                id_,
                amount=net,
                arrival_date=epoch(self.day.noon + timedelta(days=2)),
                balance_transaction=self.book(-net, currency, "payout", id_),
                created=epoch(at),
                currency=currency,
            )
            self.create("payout", payout, at, "paid")
            self.remember("_balance", {**balance, "net": 0})

    def end(self, subscription_id: str, *, bill_pending: bool, reason: str = "") -> None:
        """Cancel a subscription now."""
        raise NotImplementedError
