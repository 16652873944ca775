"""How a command ends: in a line, whatever happens."""

import errno
import os
import re
from typing import Any, override

import click

TRACEBACK = "SANDBOX_TRACEBACK"
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class SandboxError(click.ClickException):
    """Names the thing that failed, the place and the fix; the CLI prints it and exits 1."""

    def __init__(self, message: str) -> None:
        """Keep the message. It may quote a log: what a terminal would obey is written out."""
        super().__init__(CONTROLS.sub(lambda match: ascii(match[0])[1:-1], message))


class Interrupted(SandboxError):  # noqa: N818 - no error
    """Ctrl-C; ends the command as a shell expects: with 128 and the signal's number."""

    exit_code = 130


class Commands(click.Group):
    """A group whose commands end with a line instead of a traceback."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            message = "Interrupted. `sandbox status` says what runs."
            raise Interrupted(message) from error
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:
            is_closed = isinstance(error, OSError) and error.errno == errno.EPIPE
            if is_closed or os.environ.get(TRACEBACK):
                raise  # where whoever read the output has left, click ends quietly
            said = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
            message = f"{said} (Not foreseen: {TRACEBACK}=1 shows where it comes from.)"
            raise SandboxError(message) from error
