"""What goes wrong in a way that people can mend."""

import click


class StackError(click.ClickException):
    """Names the thing, the place and the mend; ends the command with exit code 1."""
