"""This machine: is there room, and the right Python?"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stack.check.context import Context
from stack.check.result import Result, failed, passed

GIBIBYTE = 2**30
LEAST = 2 * GIBIBYTE


def check(context: Context) -> Iterator[Result]:
    """Yield whether there is room, and the right Python."""
    for name, path in {
        "disk": context.root / ".meltano",
        "temporary files": Path(tempfile.gettempdir()),
    }.items():
        free = shutil.disk_usage(path if path.exists() else context.root).free
        detail = f"{free / GIBIBYTE:.1f} GiB free for {path}"
        if free < LEAST:
            mend = "Make room: 2 GiB at the least, since loads go through files."
            yield failed(name, detail, mend)
        else:
            yield passed(name, detail)
    wanted = context.root / ".python-version"
    here = sys.version.split()[0]
    if wanted.exists() and not f"{here}.".startswith(f"{wanted.read_text().strip()}."):
        mend = "Set everything up anew: `make clean setup`."
        yield failed("Python", f"{here}, and .python-version says {wanted.read_text()}", mend)
    else:
        yield passed("Python", here)
