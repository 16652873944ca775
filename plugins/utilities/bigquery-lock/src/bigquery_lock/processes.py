"""Processes of this machine, told apart from those that had the same number before."""

import contextlib
import functools
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

STARTED_SECONDS = 2.0
"""By how much the start of one process may seem to differ: it follows corrections of the clock."""


@dataclass(frozen=True)
class Process:
    """A process.

    Attributes:
        pid: its number.
        started: when it was started, seconds since 1970.
    """

    pid: int
    started: float

    @classmethod
    def current(cls) -> Self:
        """Return this one."""
        return cls(os.getpid(), psutil.Process().create_time())

    @classmethod
    def find(cls, pid: int) -> Self | None:
        """Return the process with a number; None where there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started) < STARTED_SECONDS
            return is_same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:  # another user's
            return True

    def is_ancestor(self) -> bool:
        """Return whether it is this process, or has started it, itself or by others."""
        process: psutil.Process | None = psutil.Process()
        while process:
            if process.pid == self.pid:
                return abs(process.create_time() - self.started) < STARTED_SECONDS
            process = process.parent()
        return False


def host() -> str:
    """Return the machine's name."""
    return platform.node()


@functools.cache
def machine() -> str:
    """Return what no other machine has, nor a container beside this one, nor after a restart."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # only Linux has them
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(Path("/proc/self/ns/pid").readlink().name)
    return " ".join(parts)
