"""What comes from a source never reaches a log as it is: it may be long, or move the cursor."""

import logging
import re

LONGEST_LINE = 2_000
# Control characters, among them the terminal's escapes; what turns the direction of writing;
# line and paragraph separators; and halves of surrogate pairs, which no log can be written with.
UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(text: object, longest: int = LONGEST_LINE) -> str:
    """Return a text as it can be shown: escaped, and without its middle where it is long."""
    text = str(text)
    if len(text) > longest:
        head, tail = longest * 3 // 4, longest // 4
        text = f"{text[:head]}… {len(text) - head - tail:,} characters more …{text[-tail:]}"
    return UNSAFE.sub(lambda found: ascii(found.group())[1:-1], text)


class SafeLogRecord(logging.LogRecord):
    """A log record of one line, for every logger and handler."""

    def getMessage(self) -> str:  # noqa: N802  the standard library's name
        """Return the message as it can be shown."""
        return shown(super().getMessage())
