"""Run a Singer tap in this process, and say so when it has ended with exit code 0."""

import os
import runpy
import shutil
import sys
import threading
from typing import NoReturn

# The options of a sync, each with a value. Whatever has another isn't one.
SYNC_OPTIONS = {"-c", "--config", "-s", "--state", "-p", "--properties", "--catalog"}
COMPLETED = b'{"type": "COMPLETED"}\n'


def main() -> NoReturn:
    """Run the tap that `SINGER_TAP` names, with this command's arguments."""
    name = os.environ.get("SINGER_TAP", "")
    command = shutil.which(name)
    if not command:
        sys.exit(f"SINGER_TAP is '{name}', which is no command. Set it to the tap's own.")
    sys.argv[0] = command
    is_sync = all(argument.partition("=")[0] in SYNC_OPTIONS for argument in _options())
    try:
        runpy.run_path(command, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    # What it started may have something to write yet.
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    if is_sync:
        sys.stdout.flush()
        sys.stdout.buffer.write(COMPLETED)
        sys.stdout.flush()
    sys.exit()


def _options() -> list[str]:
    return [argument for argument in sys.argv[1:] if argument.startswith("-")]
