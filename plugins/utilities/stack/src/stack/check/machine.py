"""This machine: is there room, the right Python, and are passwords kept from others?"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stack.check.context import Context
from stack.check.result import Result, failed, passed

GIBIBYTE = 2**30
LEAST = 2 * GIBIBYTE
PRIVATE = {".env": 0o600, ".meltano": 0o700}
"""What holds passwords, with its mode: in .meltano, the settings and logs of runs."""
OTHERS = 0o077


def check(context: Context) -> Iterator[Result]:
    """Yield whether there is room, the right Python, and whether others can read passwords."""
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
    opened = [name for name in PRIVATE if is_open(context.root / name)]
    if opened:
        detail = f"other users of this machine can open {' and '.join(opened)}: passwords are there"
        fix = " && ".join(f"chmod {PRIVATE[name]:o} {name}" for name in opened)
        yield failed("private files", detail, f"In {context.root}: {fix}")
    else:
        yield passed("private files", f"{' and '.join(PRIVATE)} are closed to other users")


def is_open(path: Path) -> bool:
    """Return whether others than its owner have any right to a file or folder."""
    return path.exists() and bool(path.stat().st_mode & OTHERS)
