"""The command `target-bigquery-arrow`."""

import contextlib
import gc
import os
import signal


def _prepare() -> None:
    """Let nothing that happens before the loader runs end in a traceback."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Or else the next file that is opened takes the place of a closed standard stream.
            os.open(os.devnull, os.O_RDWR)
    # There is nothing to clean up yet. The loader has its own handlers.
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):
            signal.signal(number, lambda received, _: os._exit(128 + received))


_prepare()

# While modules are loaded there is nothing to collect, and looking for it takes a tenth of the
# start-up: which is most of a run that finds little to do.
gc.disable()

from target_bigquery_arrow.target import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
