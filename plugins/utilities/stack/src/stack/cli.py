"""`stack check | streams | new-source | …`, each imported only when it is called."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn, override

import click

from stack.terminal import Interrupted, StackError

TRACEBACK = "STACK_TRACEBACK"
COMMANDS: dict[str, str] = {
    "new-source": "source_files.new_source.command:new_source",
    "new-staging": "source_files.new_staging.command:new_staging",
    "check": "stack.check.command:check",
    "guard": "stack.guard:guard",
    "run": "stack.guard:run",
    "streams": "stack.streams.command:streams",
    "resync": "stack.streams.command:resync",
    "backfill": "stack.streams.command:backfill",
    "runs": "stack.runs:runs",
    "run-ended": "run_ledger.ended:run_ended",
}
"""Where each command is: `module:function`. Some are in packages of their own, beside this one."""


class Commands(click.Group):
    """A group that imports a command when it is asked for: start-up counts in every job.

    However a command ends, it says why in one line: users can't do anything with a traceback.
    """

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

    @override
    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        if args is None:  # as a program, not in a test
            # Files are removed then, too.
            signal.signal(signal.SIGTERM, _end)
        try:
            super().main(args, *rest, **options)
        except SystemExit as end:
            # Checks that still wait for an answer are left behind.
            if args is None and threading.active_count() > 1:
                _leave(end.code)
            raise

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort) as error:
            if isinstance(error, click.Abort) and not _is_interrupt(error):
                raise
            message = "Interrupted."
            raise Interrupted(message) from error
        except RecursionError as error:
            message = "What was read is nested too deeply, or refers to itself: in YAML or in JSON."
            raise _told(message, error) from error
        except MemoryError as error:
            message = "Not enough memory: what was read is too large for this machine."
            raise _told(message, error) from error
        except (click.exceptions.Exit, click.ClickException):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of the output is gone: click ends quietly
            said = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
            raise _told(said, error) from error


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _is_interrupt(error: BaseException) -> bool:
    """Return whether a question was answered by Ctrl-C, rather than by the end of the input."""
    return isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)


def _told(said: str, error: BaseException) -> StackError:
    """Return an error of a line; where it is asked for, what it comes of is shown before.

    Raises:
        BaseException: the error itself, if `STACK_TRACEBACK` is set.
    """
    if os.environ.get(TRACEBACK):
        raise error
    return StackError(f"{said} (Not foreseen: {TRACEBACK}=1 shows where it comes from.)")


def _leave(code: Any) -> None:
    """End this process at once."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # closed
            continue
    os._exit(code if isinstance(code, int) else 1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look after sources, streams and environments."""
