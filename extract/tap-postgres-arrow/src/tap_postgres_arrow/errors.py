"""The errors a user sees: each names the thing, the place and the mend."""

from collections.abc import Iterable
from typing import Self


class TapError(Exception):
    """The extraction can't go on. Ends the process with exit code 1 and no further state."""


class ConnectError(TapError):
    """The database can't be reached, or lets nobody in by these settings.

    Attributes:
        problem: what is wrong, and where.
        fix: what to do; settings stand in backticks.
    """

    def __init__(self, problem: str, fix: str) -> None:
        """Take both, without a full stop."""
        self.problem, self.fix = problem, f"{fix}."
        super().__init__(f"Can't connect to Postgres: {problem}. {self.fix}")

    def with_others(self, others: Iterable[Self]) -> "ConnectError":
        """Return one error for all servers of a list; the fix is that of the first."""
        problems = [self.problem, *(other.problem for other in others)]
        return ConnectError("; ".join(problems), self.fix.removesuffix("."))
