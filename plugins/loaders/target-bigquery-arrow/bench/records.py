"""The RECORD path: rows per CPU second of the loader, and the memory it takes at its peak.

Run by `make bench`. Starts a BigQuery emulator of its own and sends 8 narrow columns.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from local_servers.emulator import PROJECT, Emulator, running_emulator

ROWS = (100_000, 500_000, 2_000_000)
LINES_PER_WRITE = 10_000
STREAM = "narrow"
PROPERTIES = {
    "id": {"type": "integer"},
    "uid": {"type": "string"},
    "name": {"type": ["null", "string"]},
    "amount": {"type": ["null", "number"]},
    "ok": {"type": ["null", "boolean"]},
    "day": {"type": ["null", "string"], "format": "date"},
    "at": {"type": ["null", "string"], "format": "date-time"},
    "kind": {"type": ["null", "string"]},
}


@dataclass
class Measurement:
    """What loading `rows` rows took. CPU seconds are the loader's alone, start-up included."""

    rows: int
    cpu_seconds: float
    peak_mebibytes: float

    @property
    def rows_per_cpu_second(self) -> float:
        """Return the figure that depends least on what else the machine does."""
        return self.rows / self.cpu_seconds


def messages(rows: int) -> Iterator[bytes]:
    """Yield what a tap would write, many lines at a time."""
    chance = random.Random(1)
    schema = {"properties": PROPERTIES}
    opening = {"type": "SCHEMA", "stream": STREAM, "schema": schema, "key_properties": ["id"]}
    yield f"{json.dumps(opening)}\n".encode()
    for start in range(0, rows, LINES_PER_WRITE):
        yield "".join(
            f'{{"type":"RECORD","stream":"{STREAM}","record":{{"id":{row},'
            f'"uid":"{chance.getrandbits(128):032x}","name":"name {row}","amount":{row * 1.37:.3f},'
            f'"ok":true,"day":"2024-0{row % 9 + 1}-11",'
            f'"at":"2024-01-01T10:{row % 60:02d}:11.123456+00:00","kind":"k{row % 7}"}},'
            f'"time_extracted":"2026-01-01T00:00:00.123456+00:00"}}\n'
            for row in range(start, min(start + LINES_PER_WRITE, rows))
        ).encode()
    yield b'{"type":"STATE","value":{}}\n'


def measure(rows: int, emulator: Emulator, directory: Path) -> Measurement:
    """Load `rows` rows into a table of their own.

    Raises:
        RuntimeError: the loader failed.
    """
    config = {
        "project": PROJECT,
        "dataset": f"bench_{rows}",
        "api_endpoint": emulator.endpoint,
        "anonymous": True,
    }
    path = directory / "config.json"
    path.write_text(json.dumps(config))
    loader = subprocess.Popen(  # noqa: S603
        [Path(sys.executable).with_name("target-bigquery-arrow"), "--config", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with loader.stdin as pipe:  # type: ignore[union-attr]
        for part in messages(rows):
            pipe.write(part)
    _, status, usage = os.wait4(loader.pid, 0)
    if status:
        message = f"the loader ended with {os.waitstatus_to_exitcode(status)} on {rows} rows"
        raise RuntimeError(message)
    return Measurement(rows, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    """Measure and print, as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="rows to load")
    options = parser.parse_args()
    if not options.json:
        print(f"{'rows':>10} {'CPU s':>8} {'rows/CPU s':>12} {'peak MiB':>10}")  # noqa: T201
    with (
        tempfile.TemporaryDirectory() as directory,
        running_emulator(Path(directory)) as emulator,
    ):
        for rows in options.rows:
            found = measure(rows, emulator, Path(directory))
            rate = found.rows_per_cpu_second
            if options.json:
                line = json.dumps(asdict(found) | {"rows_per_cpu_second": rate})
            else:
                line = (
                    f"{rows:>10,} {found.cpu_seconds:>8.2f} {rate:>12,.0f} "
                    f"{found.peak_mebibytes:>10.0f}"
                )
            print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
