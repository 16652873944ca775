"""The command `tap-postgres-arrow`."""

import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def open_closed_streams() -> None:
    """Open the standard streams that are closed, so that no connection takes their numbers.

    Raises:
        SystemExit: standard output is closed: there is nowhere to write messages to.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    if sys.stdout is None:
        sys.exit("tap-postgres-arrow: standard output is closed: messages are written there")


def stop_at_once(number: int, _: FrameType | None) -> NoReturn:
    """Stop before anything has begun."""
    os.write(2, b"tap-postgres-arrow: stopped while it was starting. Nothing was read.\n")
    os._exit(128 + number)


open_closed_streams()
signal.signal(signal.SIGINT, stop_at_once)
signal.signal(signal.SIGTERM, stop_at_once)
# While modules are loaded there is nothing to collect, and looking for it takes a tenth of the
# start-up: which is most of a run that finds little to do.
gc.disable()

from tap_postgres_arrow.tap import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
