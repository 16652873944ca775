"""Times of events: more as the company grows, fewer at weekends, mostly in working hours."""

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from random import Random

WEEKEND_SHARE = 0.2
"""A weekend day's activity as a share of a working day's."""
GROWTH = 6.0
"""How many times more happens on the last day than on the first."""


def start_of(day: date) -> datetime:
    """Return midnight UTC at the start of a day."""
    return datetime.combine(day, time(), UTC)


def end_of(day: date) -> datetime:
    """Return the last microsecond of a day."""
    return start_of(day) + timedelta(days=1, microseconds=-1)


def rhythm(day: date) -> float:
    """Return how busy a day of the week is; a working day is 1."""
    return WEEKEND_SHARE if day.weekday() >= 5 else 1.0


def between(rng: Random, start: datetime, end: datetime) -> datetime:
    """Return a random time in [start, end]; `start` if there is no time between them."""
    return start + max(end - start, timedelta()) * rng.random()


def working_moment(rng: Random, day: date) -> datetime:
    """Return a random time of a day, most likely around 13:00 UTC."""
    hour = rng.gauss(13, 3.5)
    return start_of(day) + timedelta(hours=hour if 0 <= hour < 24 else rng.uniform(0, 24))


class Calendar:
    """The days of the world, from the first to the last."""

    def __init__(self, first: date, last: date) -> None:
        self.first = first
        self.last = last
        days = (last - first).days + 1
        weights = (
            GROWTH ** (number / days) * rhythm(first + timedelta(days=number))
            for number in range(days)
        )
        self._busy_until = [0.0, *accumulate(weights)]

    def moment(self, rng: Random, after: datetime, before: datetime) -> datetime:
        """Return a random time in [after, before], more likely on busier days."""
        low = self._busy_until[max((after.date() - self.first).days, 0)]
        high = self._busy_until[(before.date() - self.first).days + 1]
        number = bisect_left(self._busy_until, rng.uniform(low, high)) - 1
        moment = working_moment(rng, self.first + timedelta(days=max(number, 0)))
        return min(max(moment, after + timedelta(seconds=rng.uniform(1, 3600))), before)
