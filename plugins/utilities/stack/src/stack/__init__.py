"""The project's own commands, run through `meltano invoke stack`."""

import sys
from types import TracebackType


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Show an uncaught error; Ctrl-C while modules are imported is shown as one line."""
    if issubclass(kind, KeyboardInterrupt):
        if sys.stderr:
            sys.stderr.write("Interrupted.\n")
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _show
