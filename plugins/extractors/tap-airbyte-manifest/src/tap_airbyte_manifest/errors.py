"""What a user reads: errors that name the thing, the place and the fix, in lines that are safe."""

import base64
import logging
from collections.abc import Iterable
from typing import Any, override
from urllib.parse import quote, quote_plus

# Of a line of the log: a server's message may be of any length.
LINE_CHARACTERS = 4_000
# What the CDK puts into some of its warnings.
TRACEBACK = "Traceback (most recent call last)"
# A secret that is shorter would mask half of every line.
SHORTEST_SECRET = 4


class TapError(Exception):
    """The extraction can't go on. Ends the process with exit code 1 and no further state."""


class Mask:
    """Replaces secrets, in every form in which they may show up in a message, by `****`."""

    def __init__(self) -> None:
        """Begin without secrets."""
        self._forms: list[str] = []

    def add(self, secrets: Iterable[Any]) -> None:
        """Mask these values too: as they are, URL-encoded, and in base64 as basic auth has them."""
        forms = set(self._forms)
        for secret in secrets:
            text = "" if secret is None else str(secret)
            if len(text) >= SHORTEST_SECRET:
                forms |= {text, quote(text, safe=""), quote(text), quote_plus(text)}
                forms |= {repr(text)[1:-1], *_in_base64(text)}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for form in self._forms:
            text = text.replace(form, "****")
        return text


def _in_base64(text: str) -> Iterable[str]:
    """Yield what of a secret shows up in base64, whatever stands before and after it."""
    raw = text.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        # Characters at both ends also hold bits of the neighbours.
        whole = encoded[(0, 2, 3)[offset] : (offset + len(raw)) // 3 * 4].decode()
        if len(whole) >= 2 * SHORTEST_SECRET:
            yield whole
            yield whole.replace("+", "-").replace("/", "_")


mask = Mask()


def shortened(text: str, characters: int) -> str:
    """Return a text with its middle left out where it is longer than `characters`."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]} […] {text[-half:]}"


def one_line(text: str, characters: int = LINE_CHARACTERS) -> str:
    """Return a text as one line without secrets and without control characters."""
    text = shortened(mask(" ".join(text.split())), characters)
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
        record.msg = one_line(record.getMessage().partition(TRACEBACK)[0])
        record.args = ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True
