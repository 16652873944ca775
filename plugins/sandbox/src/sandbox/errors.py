"""The one exception that reaches the terminal."""

import click


class SandboxError(click.ClickException):
    """Names the thing that failed, the place and the mend; the CLI prints it and exits 1."""
