"""Standard output, which several threads write to and somebody may have stopped reading."""

import select
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tap_postgres_arrow.errors import TapError

NO_READER = "Nobody reads the extractor's messages any more: the loader has ended"

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Output:
    """The way out for messages.

    Attributes:
        has_reader: whether somebody was there at the last message.
    """

    def __init__(self, write: Callable[[Any], None]) -> None:
        """Write by the SDK's writer."""
        self.has_reader = True
        self._write = write
        self._lock = threading.Lock()

    def write(self, *messages: Any) -> None:
        """Write messages of the SDK's kind, with none of another stream's between them.

        Raises:
            TapError: the reader of standard output has gone.
        """
        with self._lock:
            self._guarded(lambda: [self._write(message) for message in messages])

    def write_records(self, messages: Sequence[dict[str, Any]]) -> None:
        """Write messages as they are, many at a time.

        Raises:
            TapError: the reader of standard output has gone.
        """
        lines = b"".join(_encode(message) + b"\n" for message in messages).decode()
        with self._lock:
            self._guarded(lambda: sys.stdout.write(lines))

    def require_reader(self) -> None:
        """See to it that what is written will be read.

        Raises:
            TapError: standard output is a pipe that nobody reads from.
        """
        poll = select.poll()
        try:
            # Errors and hang-ups are told unasked.
            poll.register(sys.stdout.fileno(), 0)
        except (OSError, ValueError):
            return
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            self.has_reader = False
            raise TapError(NO_READER)

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BrokenPipeError:
            self.has_reader = False
            raise TapError(NO_READER) from None
        except OSError as error:
            self.has_reader = False
            message = f"Can't write messages to standard output: {error.strerror or error}."
            raise TapError(message) from None
