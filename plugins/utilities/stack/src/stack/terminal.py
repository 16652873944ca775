"""What `stack` prints: text of others is shown as text, whatever it holds."""

import contextlib
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import click

# What a terminal takes for a command, what turns the direction of writing, and halves of
# characters, which can't be encoded. A tab and the end of a line stay.
CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
LONGEST_LINE = 2000


def plain(text: str) -> str:
    """Return a text that no terminal obeys, with control characters written out.

    Lines longer than 2,000 characters end there, and say how much is missing.
    """
    written = CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)
    if len(written) <= LONGEST_LINE:
        return written
    return "\n".join(
        line
        if len(line) <= LONGEST_LINE
        else f"{line[:LONGEST_LINE]}… ({len(line) - LONGEST_LINE:,} characters more)"
        for line in written.split("\n")
    )


def last_line(text: str) -> str:
    """Return the last line of what a program has printed; that there is none, if so."""
    return (text.strip().splitlines() or ["it says nothing"])[-1].strip()


def echo(text: str = "", *, nl: bool = True) -> None:
    """Print a text, made plain."""
    click.echo(plain(text), nl=nl)


def style(text: str, **looks: Any) -> str:
    """Return a text, made plain, with colours and the like (see `click.style`)."""
    return click.style(plain(text), **looks)


def secho(text: str, *, nl: bool = True, **looks: Any) -> None:
    """Print a text, made plain, with colours and the like (see `click.style`)."""
    click.echo(style(text, **looks), nl=nl)


def json_text(found: object) -> str:
    """Return what a program reads; a time is in ISO 8601."""

    def written(value: object) -> str:
        return value.isoformat() if isinstance(value, datetime) else str(value)

    return json.dumps(found, default=written, indent=2)


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str]
) -> Iterator[str]:
    """Return the lines of a table, whose cells are plain but for colours; numbers end on a line."""
    rows = list(rows)
    columns = zip(headings, *rows, strict=True)
    widths = [max(len(click.unstyle(cell)) for cell in column) for column in columns]
    for row in (headings, *rows):
        line = ""
        for name, cell, width in zip(headings, row, widths, strict=True):
            space = " " * (width - len(click.unstyle(cell)))
            line += "  " + (space + cell if name in numbers else cell + space)
        yield style(line.rstrip(), dim=True) if row is headings else line.rstrip()


def ask(question: str, *, hidden: bool = False, options: Sequence[str] = ()) -> str:
    """Return an answer from the terminal; `hidden` is for secrets, `options` are all that do.

    Standard output may be a file, and `meltano invoke` shows standard error by whole lines.
    """
    with contextlib.ExitStack() as stack:
        terminal: TextIO = sys.stderr
        with contextlib.suppress(OSError):
            terminal = stack.enter_context(Path("/dev/tty").open("w"))
        stack.enter_context(contextlib.redirect_stdout(terminal))
        kind = click.Choice(options) if options else None
        return str(click.prompt(plain(question), hide_input=hidden, type=kind))


class StackError(click.ClickException):
    """Names the thing, the place and the fix; ends the command with exit code 1.

    Whatever asks Meltano, a tap, BigQuery or the user may raise it: only other errors are listed
    under `Raises`.
    """

    def __init__(self, message: str) -> None:
        """Keep the message, made plain: it may quote what others have said."""
        super().__init__(plain(message))


class Interrupted(StackError):  # noqa: N818 - no error
    """Ctrl-C; ends the command as a shell expects: with 128 and the signal's number."""

    exit_code = 130
