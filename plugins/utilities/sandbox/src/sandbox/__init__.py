"""The local world: Postgres, a BigQuery emulator and a fake Metabase on loopback."""

import sys
from types import TracebackType


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an uncaught exception; for Ctrl-C during imports, print one line."""
    if issubclass(kind, KeyboardInterrupt):
        if sys.stderr:
            sys.stderr.write("Interrupted.\n")
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _show
