"""What goes wrong in a way that people can fix."""

import click

from stack.terminal import plain


class StackError(click.ClickException):
    """Names the thing, the place and the fix; ends the command with exit code 1."""

    def __init__(self, message: str) -> None:
        """Keep the message, made plain: it may quote what others have said."""
        super().__init__(plain(message))


class Interrupted(StackError):  # noqa: N818 - no error
    """Ctrl-C; ends the command as a shell expects: with 128 and the signal's number."""

    exit_code = 130
