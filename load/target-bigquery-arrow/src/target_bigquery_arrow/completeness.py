"""Has a FULL_TABLE stream been read to its end?

Only then do rows that it didn't have count as deleted, and Singer has no message for it. An
ACTIVATE_VERSION after the records would say so, but taps of the Singer SDK send it before them, and
a pipe ends alike whether the tap ended well or broke down. What is left are messages that such a
tap sends only after a stream's last record: a STATE that isn't a periodic one, and the first SCHEMA
of the stream that follows. Parents and children take turns, so a message speaks only of the
stream that was last heard of before it.
"""

from dataclasses import dataclass

from singer_sdk import Stream as SDKStream

# The SDK sends a STATE after so many records. If it did, it may send none at the stream's end.
STATE_FREQUENCY = SDKStream.STATE_MSG_FREQUENCY


@dataclass
class Completeness:
    """What the messages so far say of one stream's newest version.

    Attributes:
        records: the stream's RECORD messages so far.
        version: the newest version that an ACTIVATE_VERSION named; None before the first.
    """

    records: int = 0
    version: int | None = None
    _complete_at: int | None = None

    def activate_version(self, version: int, *, follows_records: bool = False) -> None:
        """Take an ACTIVATE_VERSION of this stream, which may be known to follow its records."""
        if follows_records or (self.version is None and self.records):
            self._complete_at = self.records
        self.version = version

    def state(self) -> None:
        """Take a STATE that follows a message of this stream."""
        if self.records == 0 or self.records % STATE_FREQUENCY:
            self._complete_at = self.records

    def next_stream(self) -> None:
        """Take the first SCHEMA of another stream, after a message of this one.

        Before this stream's first record, it may be the SCHEMA of a child.
        """
        if self.records:
            self._complete_at = self.records

    @property
    def is_complete(self) -> bool:
        """Whether no record has come since the sign of the stream's end."""
        return self._complete_at == self.records
