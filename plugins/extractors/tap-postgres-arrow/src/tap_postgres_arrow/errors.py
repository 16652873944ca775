"""What a user reads: errors that name the thing, the place and the fix, in lines that are safe."""

import logging
from collections.abc import Iterable
from typing import Self, override

# Of a line of the log: a server's message, or a name, may be of any length.
LINE_CHARACTERS = 4_000


class TapError(Exception):
    """The extraction can't go on. Ends the process with exit code 1 and no further state."""


class ConnectError(TapError):
    """The database can't be reached, or refuses these settings.

    Attributes:
        problem: what is wrong, and where.
        fix: what to do; settings are in backticks.
    """

    def __init__(self, problem: str, fix: str) -> None:
        """Take both, without a full stop."""
        self.problem, self.fix = problem, f"{fix}."
        super().__init__(f"Can't connect to Postgres: {problem}. {self.fix}")

    def with_others(self, others: Iterable[Self]) -> "ConnectError":
        """Return one error for all servers of a list; the fix is that of the first."""
        problems = [self.problem, *(other.problem for other in others)]
        return ConnectError("; ".join(problems), self.fix.removesuffix("."))


def shortened(text: str, characters: int) -> str:
    """Return a text with its middle left out where it is longer than `characters`."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]} […] {text[-half:]}"


def printable(text: str) -> str:
    """Return a text without control characters, by which a terminal could be steered."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


class SafeLines(logging.Filter):
    """Makes of each record one line of moderate length, whatever the source has put into it."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        # A stream's logger is called as the stream.
        record.name = printable(record.name)
        record.msg = printable(shortened(record.getMessage(), LINE_CHARACTERS))
        record.args = ()
        return True
