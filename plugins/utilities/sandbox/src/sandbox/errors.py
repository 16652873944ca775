"""How a command ends: with one line, whatever happens."""

import errno
import os
import re
from typing import Any, override

import click

TRACEBACK = "SANDBOX_TRACEBACK"
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class SandboxError(click.ClickException):
    """Names what failed, the place and the fix. The CLI prints it and exits with 1."""

    def __init__(self, message: str) -> None:
        """Keep the message. It may quote a log, so control characters are escaped."""
        super().__init__(CONTROLS.sub(lambda match: ascii(match[0])[1:-1], message))


class Interrupted(SandboxError):  # noqa: N818 - no error
    """Ctrl-C. The command ends as shells expect: with 128 plus the signal's number."""

    exit_code = 130


class Commands(click.Group):
    """A group whose commands end with one line instead of a traceback."""

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
                raise  # click ends quietly if the reader of the output is gone
            said = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
            message = f"{said} (Not foreseen: {TRACEBACK}=1 shows where it comes from.)"
            raise SandboxError(message) from error
