"""Is a schedule's interval one that cron takes?"""

import re
from collections.abc import Sequence

ALIASES = ("@once", "@manual", "@none", "@hourly", "@daily", "@midnight", "@weekly", "@monthly")
ALIASES_OF_YEARS = ("@yearly", "@annually")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)


def complaint(interval: str) -> str | None:
    """Return what is wrong with an interval; None where nothing is."""
    if interval in (*ALIASES, *ALIASES_OF_YEARS):
        return None
    fields = interval.lower().split()
    if len(fields) != len(FIELDS):
        return f"'{interval}' has {len(fields)} fields, where cron wants 5"
    for text, (name, first, last, names) in zip(fields, FIELDS, strict=True):
        if not all(_is_valid(part, first, last, names) for part in text.split(",")):
            return f"'{interval}': '{text}' is no {name} ({first} to {last})"
    return None


def _is_valid(part: str, first: int, last: int, names: Sequence[str]) -> bool:
    found = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", part)
    if found is None or (found[3] and int(found[3]) == 0):
        return False
    if found[1] == "*":
        return found[2] is None
    ends = [_number(end, first, names) for end in found.group(1, 2) if end]
    if any(end is None or not first <= end <= last for end in ends):
        return False
    return len(ends) == 1 or bool(names) or (ends[0] or 0) <= (ends[1] or 0)


def _number(text: str, first: int, names: Sequence[str]) -> int | None:
    if text in names:
        return names.index(text) + first
    return int(text) if text.isdigit() else None
