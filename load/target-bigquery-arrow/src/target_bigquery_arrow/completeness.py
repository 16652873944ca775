"""When has a FULL_TABLE stream been read to its end?

Only then may rows that it didn't have count as deleted, and Singer has no message for it. An
ACTIVATE_VERSION that follows the records says so; but taps built on the Singer SDK send it
before them, and a pipe that ends looks the same whether the tap ended well or broke down. What
is left are the messages that such a tap sends only after a stream's last record: the first
SCHEMA of another stream, or a STATE that isn't one of the periodic ones.
"""

from dataclasses import dataclass

from singer_sdk import Stream as SDKStream

STATE_FREQUENCY = SDKStream.STATE_MSG_FREQUENCY


@dataclass
class Completeness:
    """What the messages so far say of one stream's newest version.

    Attributes:
        version: the newest version that an ACTIVATE_VERSION named, if any did.
    """

    version: int | None = None
    _complete_at: int | None = None

    def activate_version(self, version: int, received: int) -> None:
        """Take an ACTIVATE_VERSION, after `received` records of the stream."""
        if self.version is None and received:
            self._complete_at = received
        self.version = version

    def state(self, received: int) -> None:
        """Take a STATE: the SDK sends one every `STATE_FREQUENCY` records, and one at the end."""
        if received == 0 or received % STATE_FREQUENCY:
            self._complete_at = received

    def other_stream_began(self, received: int) -> None:
        """Take the first SCHEMA of another stream. A child's comes before its parent's records."""
        if received or self.version is not None:
            self._complete_at = received

    def is_complete(self, received: int) -> bool:
        """Return whether nothing of the stream came after the sign of its end."""
        return self._complete_at == received
