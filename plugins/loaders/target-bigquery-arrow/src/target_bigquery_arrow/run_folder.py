"""The private folder of a run, which goes with it: at the latest when the next one begins."""

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PREFIX = "target-bigquery-arrow-"
OWNER = "owner"


class RunFolder:
    """A folder for files, locked for as long as its process lives.

    Attributes:
        path: where it is, readable by this user only.
    """

    def __init__(self) -> None:
        """Make the folder, and remove those of runs that were killed."""
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            _remove_if_abandoned(folder)
        self.path = Path(tempfile.gettempdir()) / f"{PREFIX}{secrets.token_hex(8)}"
        # A signal may end the process before anybody can close the folder.
        atexit.register(shutil.rmtree, self.path, ignore_errors=True)
        self.path.mkdir(mode=0o700)
        # Locked before it is renamed: another run would take an unlocked folder for abandoned.
        unnamed = self.path / f"{OWNER}.new"
        self._owner = unnamed.open("w")
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        unnamed.rename(self.path / OWNER)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a folder if its owner has ended: its lock is free then."""
    with contextlib.suppress(OSError), _lock_of(folder) as owner:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)


@contextlib.contextmanager
def _lock_of(folder: Path) -> Iterator[IO[str]]:
    """Open the lock of a folder of this user's.

    Raises:
        OSError: it has none, or is another's.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError
        lock = os.open(OWNER, os.O_RDWR | os.O_NOFOLLOW, dir_fd=descriptor)
        with open(lock, "w") as file:  # noqa: PTH123  a descriptor
            yield file
    finally:
        os.close(descriptor)
