"""`stack check | streams | new-source | …`, each imported only when it is called."""

from importlib import import_module
from typing import override

import click

COMMANDS: dict[str, str] = {
    "new-source": "stack.new_source.command:new_source",
    "new-staging": "stack.new_staging.command:new_staging",
    "check": "stack.check.command:check",
    "guard": "stack.guard:guard",
    "run": "stack.run:run",
    "streams": "stack.streams.command:streams",
    "resync": "stack.streams.command:resync",
    "backfill": "stack.streams.command:backfill",
}
"""Where each command is: `module:function`."""


class Commands(click.Group):
    """A group that imports a command when it is asked for: start-up counts in every job."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), function)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look after sources, streams and environments."""
