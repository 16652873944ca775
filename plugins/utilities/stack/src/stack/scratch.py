"""Folders and files that are gone when a command ends, and what killed commands left of theirs."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HOUR = 60 * 60


@contextmanager
def folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder that only we can open, and remove it at the end."""
    parent = parent or Path(tempfile.gettempdir())
    sweep(parent, purpose)
    with tempfile.TemporaryDirectory(dir=parent, prefix=_prefix(purpose)) as name:
        yield Path(name)


def put(texts: Mapping[Path, str], mode: int) -> None:
    """Write files, each at once; if one can't be written, none is replaced.

    Args:
        texts: by path, in folders that exist.
        mode: who may read them.
    """
    drafts: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            purpose = f"{path.name}.draft"
            sweep(path.parent, purpose)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(purpose))
            drafts[path] = Path(name)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            drafts[path].chmod(mode)
        for path, draft in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def sweep(parent: Path, purpose: str) -> None:
    """Remove what commands have left that were killed: an hour old, ours, and of no process.

    Its name tells the process that made it. That of another machine or container, which shares
    the folder, may be unknown here and at work: hence the hour.
    """
    for path in parent.glob(f"{purpose}-*-*"):
        process = re.match(r"(\d+)-", path.name.removeprefix(f"{purpose}-"))
        try:
            found = path.lstat()
            is_old = time.time() - found.st_mtime > HOUR
            if not process or not is_old or found.st_uid != os.getuid() or _lives(int(process[1])):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        except OSError:  # another command has come first
            continue


def _prefix(purpose: str) -> str:
    return f"{purpose}-{os.getpid()}-"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
