"""What the sandbox's world holds, and so what the marts have to say: computed in Python.

None of this is SQL, and none of it sees what the taps have read: it looks at the documents behind
the tools' APIs, and at the product's own tables.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import groupby
from typing import Any

import psycopg
from sandbox.saas.documents import Documents

Body = dict[str, Any]
Contacts = dict[str, str | None]
"""The organisation of each of Intercom's contacts."""
ZERO_DECIMAL = {"JPY"}


@dataclass
class World:
    """The product's organisations and users, and the objects of each tool, at one moment."""

    organisations: set[str]
    users: dict[str, str]
    """Each user's organisation."""
    close: Documents
    intercom: Documents
    stripe: Documents

    @classmethod
    def read(cls, dsn: str) -> "World":
        with psycopg.connect(dsn) as connection:
            organisations = connection.execute("select id::text from organisations").fetchall()
            users = connection.execute("select id::text, organisation_id::text from users")
            return cls(
                {id_ for (id_,) in organisations},
                dict(users.fetchall()),
                *(Documents.load(connection, tool) for tool in ("close", "intercom", "stripe")),
            )

    def known(self, organisation_id: str | None) -> str | None:
        """The organisation, if the product still has it."""
        return organisation_id if organisation_id in self.organisations else None

    # Close

    def leads(self) -> dict[str, str | None]:
        """Each lead's organisation."""
        return {
            lead["id"]: self.known(lead["custom"].get("Organisation ID"))
            for lead in self.close.of("lead")
        }

    def chosen_leads(self) -> dict[str, tuple[str, str]]:
        """For each organisation that Close knows, the lead that stands for it and its status."""
        by_organisation = defaultdict(list)
        for lead in self.close.of("lead"):
            by_organisation[self.leads()[lead["id"]]].append(lead)
        by_organisation.pop(None, None)
        chosen = {
            id_: min(
                leads,
                key=lambda lead: (
                    not any(deal["status_type"] == "won" for deal in lead["opportunities"]),
                    datetime.fromisoformat(lead["date_created"]),
                    lead["id"],
                ),
            )
            for id_, leads in by_organisation.items()
        }
        return {id_: (lead["id"], lead["status_label"]) for id_, lead in chosen.items()}

    def opportunities(self) -> dict[tuple[str | None, str, str], tuple[int, Decimal]]:
        """By organisation, outcome and currency: how many, and what they are worth."""
        leads = self.leads()
        return added_up(
            (
                (leads[lead["id"]], deal["status_type"], deal["value_currency"]),
                money(deal["value"] or 0, deal["value_currency"]),
            )
            for lead in self.close.of("lead")
            for deal in lead["opportunities"]
        )

    # Intercom

    def organisation_of(self, contact: Body) -> str | None:
        """The organisation that one of Intercom's contacts belongs to."""
        company = next(iter(contact["companies"]["data"]), {"id": None})
        known = self.intercom.get("company", company["id"] or "")
        user_id = contact["external_id"] if contact["role"] == "user" else None
        return self.known(known and known["company_id"]) or self.users.get(user_id or "")

    def contacts(self) -> Contacts:
        """Each contact's organisation."""
        return {body["id"]: self.organisation_of(body) for body in self.intercom.of("contact")}

    def conversations(self, contacts: Contacts) -> Counter[tuple[str | None, str]]:
        """How many, by organisation and state."""
        return Counter(
            (
                self.known(contacts.get(conversation["contacts"]["contacts"][0]["id"])),
                conversation["state"],
            )
            for conversation in self.intercom.of("conversation")
        )

    # Stripe

    def payers(self) -> dict[str, str | None]:
        """Each customer's organisation, deleted customers included."""
        return {
            payer["id"]: self.known(payer["organisation_id"]) for payer in self.stripe.of("_payer")
        }

    def subscriptions(self) -> Counter[tuple[str | None, str]]:
        """How many, by organisation and status."""
        payers = self.payers()
        return Counter(
            (payers[body["customer"]], body["status"]) for body in self.stripe.of("subscription")
        )

    def invoices(self) -> dict[tuple[str | None, str, str], tuple[int, Decimal]]:
        """By organisation, status and currency: how many, and what they come to."""
        payers = self.payers()
        return added_up(
            (
                (payers[body["customer"]], body["status"], body["currency"].upper()),
                money(body["total"], body["currency"]),
            )
            for body in self.stripe.of("invoice")
        )

    def overdue(self, today: date) -> Iterable[tuple[str | None, str, Decimal]]:
        """The organisation, the currency and what is left to pay of each overdue invoice."""
        payers = self.payers()
        midnight = datetime(today.year, today.month, today.day, tzinfo=UTC).timestamp()
        for body in self.stripe.of("invoice"):
            late = body["due_date"] is not None and body["due_date"] < midnight
            charge = self.stripe.get("charge", body.get("_charge", ""))
            # A debit that is still clearing is not overdue.
            failed = charge is not None and charge["status"] != "pending"
            if body["status"] == "open" and (failed or late):
                amount = money(body["amount_remaining"], body["currency"])
                yield payers[body["customer"]], body["currency"].upper(), amount

    def amounts_due(self, today: date) -> dict[str | None, Decimal]:
        """What is left to pay of overdue invoices, by organisation."""
        due: dict[str | None, Decimal] = defaultdict(Decimal)
        for id_, _, amount in self.overdue(today):
            due[id_] += amount
        return {id_: amount for id_, amount in due.items() if amount}

    def mrr(self, today: date) -> dict[tuple[str, str, date], Decimal]:
        """By organisation (or customer without one), currency and month, at its end, where any.

        From the changes that the world noted down as it made them.
        """
        payers = self.payers()
        changes = sorted(self.stripe.of("_subscription_change"), key=lambda change: change["id"])
        found: dict[tuple[str, str, date], Fraction] = defaultdict(Fraction)
        for _, of_one in groupby(changes, key=lambda change: change["subscription"]):
            history = list(of_one)
            first = date.fromisoformat(history[0]["on"]).replace(day=1)
            for month in months(first, today.replace(day=1)):
                after = (month + timedelta(days=32)).replace(day=1)
                known = [c for c in history if date.fromisoformat(c["on"]) < after]
                subscriber = payers[known[-1]["customer"]] or known[-1]["customer"]
                key = (subscriber, known[-1]["currency"].upper(), month)
                found[key] += Fraction(known[-1]["monthly_amount"])
        return {key: in_whole_units(amount, key[1]) for key, amount in found.items() if amount}

    def changing_after(self, today: date) -> set[str]:
        """Organisations (or customers without one) with a subscription that changes after a day.

        The world's days are ahead of the clock by those that tests let pass. What today's revenue
        is, if a subscription begins or ends tomorrow, Stripe never has to tell.
        """
        payers = self.payers()
        return {
            payers[change["customer"]] or change["customer"]
            for change in self.stripe.of("_subscription_change")
            if date.fromisoformat(change["on"]) > today
        }


def months(first: date, last: date) -> Iterable[date]:
    """The first day of each month from one to another."""
    while first <= last:
        yield first
        first = (first + timedelta(days=32)).replace(day=1)


def added_up[Key](amounts: Iterable[tuple[Key, Decimal]]) -> dict[Key, tuple[int, Decimal]]:
    """How many amounts there are by key, and their sum."""
    found: dict[Key, tuple[int, Decimal]] = {}
    for key, amount in amounts:
        count, total = found.get(key, (0, Decimal()))
        found[key] = (count + 1, total + amount)
    return found


def money(minor_units: int, currency: str) -> Decimal:
    """An amount as people write it."""
    return Decimal(minor_units) / (1 if currency.upper() in ZERO_DECIMAL else 100)


def in_whole_units(minor_units: Fraction, currency: str) -> Decimal:
    """An exact amount, rounded to what the currency has."""
    exact = Decimal(minor_units.numerator) / Decimal(minor_units.denominator)
    return money(int(exact.quantize(Decimal(1), ROUND_HALF_UP)), currency)
