"""Creates and changes Stripe's objects, each time with an event; and the world's own memory.

A kind that begins with `_` is the world's own memory: `_due` holds the actions of a future day,
`_payer` how a customer pays, `_pending` the unbilled items of a subscription, and
`_subscription_change` a subscription's monthly revenue from a day on.
"""

from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from sandbox.saas.day import Day, epoch
from sandbox.saas.documents import Body, Documents
from sandbox.saas.stripe.catalogue import MONTHS
from sandbox.saas.stripe.objects import make_event, shortened

EVENTS_KEPT = timedelta(days=30)
EVENT_OF = {"subscription": "customer.subscription"}
"""What events of a kind are called, where not after the kind."""
NOT_SHOWN = {"charge": "refunds"}
"""What the object of an event lacks."""


class Ledger:
    """Stripe's objects on one day. Every change has a later time than all before."""

    def __init__(self, documents: Documents, day: Day) -> None:
        self.documents = documents
        self.day = day
        self.rng = day.rng
        self.noon = epoch(day.noon)
        self._moment: datetime | None = None

    def stamp(self) -> datetime:
        """Return the next time of the day."""
        if self.day.now is not None:
            return self.day.stamp()
        moment = self._moment or self.day.stamp(after=self.day.noon)
        self._moment = moment + timedelta(seconds=self.rng.uniform(1, 15))
        return self._moment

    # --- Objects

    def get(self, kind: str, id_: str) -> Body:
        """Return an object that exists."""
        body = self.documents.get(kind, id_)
        if body is None:
            raise KeyError(f"{kind} {id_}")
        return body

    def create(self, kind: str, body: Body, at: datetime, event: str = "created") -> Body:
        """Add an object."""
        self.documents.put(kind, body, at)
        self._tell(kind, event, body, None, at)
        return body

    def change(self, kind: str, id_: str, event: str = "updated", **changes: Any) -> Body:
        """Change attributes of an object, with an event only if any differs."""
        old = self.get(kind, id_)
        previous = {key: old[key] for key, value in changes.items() if old[key] != value}
        if not previous and event == "updated":
            return old
        new = {**old, **changes}
        at = self.stamp()
        self.documents.put(kind, new, at)
        self._tell(kind, event, new, previous, at)
        return new

    def delete(self, kind: str, id_: str) -> None:
        """Remove an object for good."""
        body = self.get(kind, id_)
        self.documents.delete(kind, id_)
        self._tell(kind, "deleted", body, None, self.stamp())

    def repeat(self, kind: str, id_: str, event: str) -> None:
        """Add another event for the same change of an object."""
        self._tell(kind, event, self.get(kind, id_), None, self.stamp())

    def _tell(self, kind: str, event: str, body: Body, previous: Body | None, at: datetime) -> None:
        if kind == "invoice":
            body = shortened(body)
        hidden = NOT_SHOWN.get(kind)
        shown = {key: value for key, value in body.items() if key != hidden}
        if previous is not None:
            previous = {k: v for k, v in previous.items() if k not in (hidden, "lines")}
        name = f"{EVENT_OF.get(kind, kind)}.{event}"
        self.documents.put("event", make_event(self.rng, name, shown, previous, at), at)

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

    def note_change(self, id_: str) -> None:
        """Store a subscription's exact monthly revenue from today on."""
        subscription = self.get("subscription", id_)
        payer = self.get("_payer", subscription["customer"])
        payer["changes"] += 1
        self.remember("_payer", payer)
        amount = Fraction()
        if subscription["status"] in ("active", "past_due"):
            amount = sum(map(monthly_amount, subscription["items"]["data"]), amount)
        change = {
            "id": f"{id_}/{payer['changes']:06}",
            "organisation_id": payer["organisation_id"],
            "customer": payer["id"],
            "subscription": id_,
            "on": self.day.date.isoformat(),
            "monthly_amount": str(amount),
            "currency": subscription["currency"],
        }
        self.remember("_subscription_change", change)


def monthly_amount(item: Body) -> Fraction:
    """Return the monthly price of a subscription's item, in the currency's smallest unit."""
    return Fraction(item["plan"]["amount"] * item["quantity"], MONTHS[item["plan"]["interval"]])
