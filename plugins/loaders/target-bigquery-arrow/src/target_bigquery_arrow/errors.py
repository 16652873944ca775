"""The errors a user sees: each names the thing, the place and the fix.

Without Singer's SDK, which takes a quarter of a second of CPU to import: commands of each job need
no more of the loader than these and its names. Errors that are the SDK's too stand where they are
raised.
"""

from collections.abc import Sequence


class LoadError(Exception):
    """A stream can't be loaded. The others are, and the process ends with exit code 1."""


class RunError(LoadError):
    """No stream can be loaded from here on: the process ends at once."""


class StreamsError(LoadError):
    """Several streams could not be loaded.

    Attributes:
        failures: the error of each.
    """

    def __init__(self, failures: Sequence[LoadError]) -> None:
        """Take the errors."""
        super().__init__("\n".join(map(str, failures)))
        self.failures = failures
