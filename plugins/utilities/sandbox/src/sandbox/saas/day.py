"""A day as the three tools see it: the product's events, and the clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from uuid import UUID

from sandbox.product.calendar import working_moment
from sandbox.product.tables import Organisation, User


def day_of(moment: datetime) -> date:
    """Return the world's day of a time."""
    return moment.astimezone(UTC).date()


def epoch(moment: datetime) -> int:
    """Return epoch seconds, the format of times in Intercom and Stripe."""
    return int(moment.timestamp())


@dataclass(frozen=True)
class Account:
    """An organisation and its number, from 0 in the order of sign-up.

    The number decides which tools know the organisation, so that every special case exists at
    every scale: see the predicates.
    """

    organisation: Organisation
    number: int

    @property
    def has_lead(self) -> bool:
        """Whether Close knows the organisation."""
        return self.number % 10 != 3

    @property
    def has_two_leads(self) -> bool:
        """Whether Close has the organisation twice."""
        return self.number % 10 == 1

    @property
    def has_company(self) -> bool:
        """Whether Intercom knows the organisation and its users."""
        return self.number % 10 != 5

    @property
    def has_customer(self) -> bool:
        """Whether Stripe knows the organisation, once it has a contract."""
        return self.number % 10 != 7

    @property
    def stops_paying(self) -> bool:
        """Whether its card is declined from some day on, so that it gets into arrears."""
        return self.number % 10 == 2

    @property
    def churns(self) -> bool:
        """Whether it ends its subscription after some months."""
        return self.number % 10 == 4

    @property
    def comes_back(self) -> bool:
        """Whether, having churned, it subscribes again some months later."""
        return self.number % 20 == 4


@dataclass
class Day:
    """A day of the world.

    Events of a day in the world's history have times of that day. Events of a tick have real times,
    because extractors store the real time of their last run: events of today must be later.
    """

    date: date
    rng: Random
    accounts: Mapping[UUID, Account]
    """Every organisation that there is at the end of the day, by id."""
    users: Mapping[UUID, Sequence[User]]
    """Its users, by organisation; those who have joined by the end of the day."""
    signed_up: Sequence[Account] = ()
    """Organisations that signed up today."""
    set_up: Sequence[Account] = ()
    """Organisations that completed their set-up today."""
    archived: Sequence[Account] = ()
    """Organisations that were archived today."""
    joined: Sequence[User] = ()
    """Users who joined today."""
    purged: frozenset[UUID] = frozenset()
    """Organisations that were deleted from the product today."""
    erased: frozenset[UUID] = frozenset()
    """Users who were deleted from the product today, those of purged organisations included."""
    now: datetime | None = None
    """The real time of a tick; None on a day of the history."""
    _stamps: int = field(default=0, init=False)

    def stamp(self, after: datetime | None = None) -> datetime:
        """Return the time of an event: later than `after`, and in a tick later than all before."""
        if self.now is not None:
            self._stamps += 1
            return self.now + timedelta(microseconds=self._stamps)
        moment = working_moment(self.rng, self.date)
        if after is not None and moment <= after:
            return after + timedelta(minutes=self.rng.uniform(1, 30))
        return moment

    def is_archived(self, account: Account) -> bool:
        """Whether it is archived by the end of the day; the account holds its final state."""
        archived_at = account.organisation.archived_at
        return archived_at is not None and day_of(archived_at) <= self.date

    def about(self, expected: float) -> int:
        """Return a random whole number that is `expected` on average."""
        return int(expected + self.rng.random())

    @property
    def noon(self) -> datetime:
        """Return noon of the day in the world's time, for billing periods."""
        return datetime(self.date.year, self.date.month, self.date.day, 12, tzinfo=UTC)
