"""The errors a user sees: each names the thing, the place and the fix."""

from collections.abc import Sequence

from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException


class LoadError(Exception):
    """A stream can't be loaded. The others are, and the process ends with exit code 1."""


class RunError(LoadError):
    """No stream can be loaded from here on: the process ends at once."""


class UnknownStreamError(LoadError, RecordsWithoutSchemaException):
    """A message of a stream came before its SCHEMA. Also the error that Singer's SDK has for it."""


class NullKeyError(LoadError, MissingKeyPropertiesError):
    """A record lacks a key property. Also the error that Singer's SDK has for it."""


class StreamsError(LoadError):
    """Several streams could not be loaded.

    Attributes:
        failures: the error of each.
    """

    def __init__(self, failures: Sequence[LoadError]) -> None:
        """Take the errors."""
        super().__init__("\n".join(map(str, failures)))
        self.failures = failures
