"""What a user reads: errors that name the thing, the place and the fix, in lines that are safe."""

import logging
from typing import override

# Of a line of the log: a server's message, or a name, may be of any length.
LINE_CHARACTERS = 4_000


class TapError(Exception):
    """The extraction can't go on. Ends the process with exit code 1 and no further state."""


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
