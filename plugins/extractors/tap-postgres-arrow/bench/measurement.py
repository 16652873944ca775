"""What a command costs: CPU seconds of all its processes together, and the peak memory of each."""

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.05
MEBIBYTE = 1024 * 1024
LINES_OF_LOG = 20


Command = Sequence[str | Path]


class BenchError(Exception):
    """A contestant can't be measured."""


@dataclass(frozen=True)
class Cost:
    """What one run of a command took."""

    cpu_seconds: float
    wall_seconds: float
    peak_mebibytes: dict[str, float]
    """By the name of the program."""


def measure(command: Command, log: Path, *, environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end; what it prints goes to `log`.

    Raises:
        BenchError: It could not be started, or it failed.
    """
    peaks: dict[str, float] = {}
    started = time.monotonic()
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own arguments
                command, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        except OSError as error:
            raise BenchError(f"{Path(command[0]).name} can't be started: {error}") from None
    # Not Popen.wait: only wait4 tells what the process and all that it waited for have used.
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        _sample(process.pid, peaks)
        time.sleep(SAMPLE_SECONDS)
    wall_seconds = time.monotonic() - started
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-LINES_OF_LOG:])
        name = Path(command[0]).name
        raise BenchError(f"{name} ended with {process.returncode}:\n{last}")
    return Cost(usage.ru_utime + usage.ru_stime, wall_seconds, peaks)


def _sample(pid: int, peaks: dict[str, float]) -> None:
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return
    for process in processes:
        try:
            name, peak = _program(process), _peak_bytes(process) / MEBIBYTE
        except (psutil.Error, OSError):
            continue  # It has just ended.
        peaks[name] = max(peak, peaks.get(name, 0))


def _program(process: psutil.Process) -> str:
    """Name a script by itself, not by its interpreter."""
    program, *arguments = process.cmdline() or [process.name()]
    name = Path(program).name
    if name.startswith("python") and arguments:
        return Path(arguments[0]).name
    return name


def _peak_bytes(process: psutil.Process) -> int:
    """Linux keeps each process' peak; elsewhere what it holds at the moment must do."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    held: int = process.memory_info().rss
    return held
