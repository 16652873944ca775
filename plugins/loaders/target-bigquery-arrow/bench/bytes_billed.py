"""What loads bill, and the jobs and requests that they take: by arithmetic, BigQuery isn't asked.

Run by `make bench`. The loader runs against a BigQuery emulator of its own, through a proxy that
takes note of each request. `local_servers.billing` has the rules by which statements are billed.

A sample stands for a table of 100 GB: bytes are multiplied, and the sizes at which the loader
partitions a table, and by which it chooses how finely, are divided. All rows have the same size.
"""

import argparse
import datetime
import hashlib
import json
import random
import re
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from local_servers.billing import billed, dollars, processed, table_sizes
from local_servers.emulator import PROJECT, Emulator, running_emulator
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from target_bigquery_arrow import partitioning

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from loader.driver import Loader, Message, activate, files, parquet, schema, state
from loader.flaky_proxy import Fault, FlakyProxy, Request, flaky_proxy

# A hundred rows a day, so that 1% of the rows, spread evenly, is in each day.
ROWS = 100_000
ROW_BYTES = 1_000
TABLE_BYTES = 100 * 10**9
MEBIBYTE = 2**20
# What the loader partitions from, and its other measure: as in its settings.
PARTITIONED_FROM = 256 * MEBIBYTE
DAYS = 1_000
FIRST_DAY = datetime.datetime(2022, 1, 1, tzinfo=datetime.UTC)
MOMENT = pa.timestamp("us", "UTC")
MOST_PERCENT = 5
SAMPLE_STREAMS, SAMPLE_ROWS, SAMPLE_ROW_BYTES = 8, 1_000, 200
MANY_STREAMS = 200
# What no promise can be made of.
EXCEPTIONS = """\
Nothing is promised of changes everywhere, which touch every partition; of a table whose key has no
integer and which has no date of creation: it has no partitions; of deletes by a UUID, for which
all keys are compared, 38 bytes each on both sides; of rows far smaller than 1 kB, of which keys
are a larger part."""

FIRST = "first load"
NOTHING = "nothing changed"
NEWEST = "1% changed: the newest"
MIXED = "1% changed: new, newest, gone"
SCATTERED = "1% changed: everywhere"

TIMESTAMP = {"type": "string", "format": "date-time"}
JOB = re.compile(r"_\d+_([a-z_]+)_\d+$")
POLLED = re.compile(r"/(jobs|queries)/[^/?]+")


@dataclass(frozen=True)
class Kind:
    """A kind of table.

    Attributes:
        name: what it is called in what is printed.
        has_number: whether the key is an integer; else it is a UUID as text.
        is_dated: whether it has a date of creation.
    """

    name: str
    has_number: bool
    is_dated: bool

    @property
    def properties(self) -> dict[str, Any]:
        """Return the properties of its SCHEMA."""
        key = {"id": {"type": "integer" if self.has_number else "string"}}
        dated = {"created_at": TIMESTAMP} if self.is_dated else {}
        return key | dated | {"updated_at": TIMESTAMP, "content": {"type": "string"}}

    def keys(self, numbers: Iterable[int]) -> pa.Array:
        """Return the keys of rows."""
        if self.has_number:
            return pa.array(numbers, pa.int64())
        texts = (hashlib.md5(str(number).encode()).hexdigest() for number in numbers)  # noqa: S324
        return pa.array(str(uuid.UUID(text)) for text in texts)

    def rows(self, numbers: Sequence[int], every: int, run: int, row_bytes: int) -> dict[str, Any]:
        """Return rows as tap-postgres-arrow sends them.

        Args:
            numbers: which rows; a higher number is a later one.
            every: how many rows there are for `DAYS` days.
            run: the run of the extractor's.
            row_bytes: the logical bytes that a row has in its table.
        """
        step = datetime.timedelta(DAYS) / every
        dates = pa.array([FIRST_DAY + number * step for number in numbers], MOMENT)
        # updated_at and five of the loader's own columns; a text has two bytes more.
        others = 8 * 6 + (8 if self.has_number else 38) + 8 * self.is_dated + 2
        chance = random.Random(run)
        half = (row_bytes - others) // 2
        now = pa.scalar(FIRST_DAY + datetime.timedelta(DAYS + run), MOMENT)
        return {
            "id": self.keys(numbers),
            **({"created_at": dates} if self.is_dated else {}),
            "updated_at": dates,
            "content": [chance.randbytes(half).hex() for _ in numbers],
            "_sdc_extracted_at": pa.repeat(now, len(numbers)),
            "_sdc_sequence": pa.repeat(pa.scalar(run), len(numbers)),
            "_sdc_table_version": pa.repeat(pa.scalar(1), len(numbers)),
        }


KINDS = (
    Kind("INT64 key", has_number=True, is_dated=True),
    Kind("UUID key and created_at", has_number=False, is_dated=True),
    Kind("UUID key alone", has_number=False, is_dated=False),
)


@dataclass
class Cost:
    """What a run of the loader took.

    Attributes:
        table_bytes: the table as it was when the run ended.
        requests: how many, by what they are for; asking again for a running job isn't counted.
        billed: the bytes billed, by the step of the load.
    """

    table_bytes: float = 0
    requests: Counter[str] = field(default_factory=Counter)
    billed: Counter[str] = field(default_factory=Counter)

    @property
    def percent(self) -> float:
        """Return what is billed, in percent of the table."""
        return 100 * self.billed.total() / max(1, self.table_bytes)


class Meter:
    """Takes note of what a loader asks of the emulator."""

    def __init__(self, emulator: Emulator, proxy: FlakyProxy, scale: float) -> None:
        self.scale = scale
        self._client = emulator.client()
        self._lock = Lock()
        self._cost = Cost()
        self._asked: set[str] = set()
        proxy.fault = self._note

    def load(self, loader: Loader, *messages: Message) -> Cost:
        """Run the loader; return what it took."""
        self._cost = Cost()
        self._asked.clear()
        loader.load(*messages)
        tables = (f"{PROJECT}.{loader.dataset}.{table}" for table in loader.tables())
        sizes = (table_sizes(self._client, table).bytes for table in tables)
        self._cost.table_bytes = sum(sizes) * self.scale
        return self._cost

    def _note(self, request: Request) -> Fault:
        path = request.path.partition("?")[0]
        purpose = _purpose(request, path)
        with self._lock:
            if POLLED.search(path) and request.method == "GET":
                if path in self._asked:
                    return Fault.NONE
                self._asked.add(path)
            self._cost.requests[purpose] += 1
        if purpose == "job" and not path.startswith("/upload"):
            job = json.loads(request.body)
            step = JOB.search(job["jobReference"]["jobId"])
            query = job["configuration"]["query"]
            default = query.get("defaultDataset")
            dataset = f"{default['projectId']}.{default['datasetId']}" if default else None
            read = processed(query["query"], partial(table_sizes, self._client), dataset)
            scaled = {table: int(size * self.scale) for table, size in read.items()}
            with self._lock:
                self._cost.billed[step[1] if step else "?"] += billed(scaled)
        return Fault.NONE


def _purpose(request: Request, path: str) -> str:
    if path.endswith("/jobs") and request.method == "POST":
        return "job"
    return "metadata" if "/datasets" in path else "other"


@contextmanager
def metered(emulator: Emulator, scale: float, directory: Path) -> Iterator[tuple[Meter, Loader]]:
    """Give a loader into a dataset of its own whose tables count as `scale` times as large."""
    with ExitStack() as stack:
        proxy = stack.enter_context(flaky_proxy(emulator.port))
        smaller = int(partitioning.PARTITION_BYTES / scale)
        stack.enter_context(patch.object(partitioning, "PARTITION_BYTES", smaller))
        settings = {
            "api_endpoint": proxy.endpoint,
            "partition_bytes": int(PARTITIONED_FROM / scale),
            "retry_seconds": 10,
        }
        loader = Loader(emulator, f"bench_{uuid.uuid4().hex}", directory, settings)
        yield Meter(emulator, proxy, scale), loader


def large_table(
    kind: Kind, rows: int, row_bytes: int, emulator: Emulator, directory: Path
) -> Iterator[tuple[str, Cost]]:
    """Load a table, then change it; yield each workload and what it took."""
    percent = rows // 100
    half, tenth = percent // 2, percent // 10
    head = schema("things", kind.properties)

    def batch(numbers: Sequence[int], run: int, **others: Any) -> Message:
        columns = kind.rows(numbers, rows, run, row_bytes)
        return files("BATCH", "things", parquet(directory, columns), temporary=True, **others)

    with metered(emulator, TABLE_BYTES / (rows * row_bytes), directory) as (meter, loader):
        load = partial(meter.load, loader, head)
        guarded = activate("things", 1, max_delete_fraction=0.5)
        yield FIRST, load(batch(range(rows), 1, version=1), guarded, state(1))
        yield NOTHING, load(state(2))
        yield NEWEST, load(batch(range(rows - percent, rows), 3), state(3))
        gone = range(rows - half, rows - half + tenth)
        kept = [*range(gone.start), *range(gone.stop, rows + half)]
        keys = parquet(directory, {"id": kind.keys(kept)})
        yield (
            MIXED,
            load(
                batch(range(gone.stop, rows + half), 4),
                files("KEYS", "things", keys, temporary=True, max_delete_fraction=0.5),
                state(4),
            ),
        )
        yield SCATTERED, load(batch(range(0, rows - half, 100), 5), state(5))


def small_tables(emulator: Emulator, directory: Path) -> Iterator[tuple[str, Cost]]:
    """Load some tables as a start-up has them, then change them."""
    streams = [f"table_{number}" for number in range(SAMPLE_STREAMS)]
    kinds = dict(zip(streams, KINDS * SAMPLE_STREAMS, strict=False))

    def changed(numbers: Sequence[int], run: int, **others: Any) -> Iterator[Message]:
        for stream, kind in kinds.items():
            columns = kind.rows(numbers, SAMPLE_ROWS, run, SAMPLE_ROW_BYTES)
            yield schema(stream, kind.properties)
            yield files("BATCH", stream, parquet(directory, columns), temporary=True, **others)
            if run == 1:
                yield activate(stream, 1, max_delete_fraction=0.5)
            else:
                keys = parquet(directory, {"id": kind.keys(range(numbers[-1] + 1))})
                yield files("KEYS", stream, keys, temporary=True, max_delete_fraction=0.5)
            yield state({"bookmarks": {stream: run}})

    with metered(emulator, 1, directory) as (meter, loader):
        load = partial(meter.load, loader)
        yield FIRST, load(*changed(range(SAMPLE_ROWS), 1, version=1))
        yield NOTHING, load(*unchanged(kinds))
        half = SAMPLE_ROWS // 200
        yield MIXED, load(*changed(range(SAMPLE_ROWS - half, SAMPLE_ROWS + half), 3))


def unchanged(kinds: dict[str, Kind]) -> Iterator[Message]:
    """Yield what the tap sends of streams in which nothing has changed."""
    for stream, kind in kinds.items():
        yield schema(stream, kind.properties)
        yield state({"bookmarks": {stream: 0}})


def many_tables(emulator: Emulator, directory: Path) -> Cost:
    """Return what it takes to find that nothing has changed in many streams."""
    kinds = {f"table_{number}": KINDS[0] for number in range(MANY_STREAMS)}
    with metered(emulator, 1, directory) as (meter, loader):
        loader.load(*unchanged(kinds))
        return meter.load(loader, *unchanged(kinds))


@dataclass(frozen=True)
class Promise:
    """A sentence, the figure that was measured, and whether it bears the sentence out."""

    text: str
    measured: str
    kept: bool


def promises(large: dict[tuple[Kind, str], Cost], many: Cost) -> Iterator[Promise]:
    """Judge what was measured."""
    by_number, by_date, _ = KINDS
    for kind in KINDS:
        for workload, most in ((FIRST, 102), (NOTHING, 0)):
            percent = large[kind, workload].percent
            text = f"{kind.name}, {workload}: at most {most}% of the table"
            yield Promise(text, f"{percent:.2f}%", percent <= most)
    for kind, workload in ((by_number, NEWEST), (by_number, MIXED), (by_date, NEWEST)):
        percent = large[kind, workload].percent
        text = f"{kind.name}, {workload}: at most {MOST_PERCENT}% of the table"
        yield Promise(text, f"{percent:.2f}%", percent <= MOST_PERCENT)
    asked = many.requests.total()
    text = f"{MANY_STREAMS} streams, nothing changed: at most a request each, and ten"
    yield Promise(text, f"{asked}", asked <= MANY_STREAMS + 10)


def report(console: Console, title: str, costs: dict[tuple[str, str], Cost]) -> None:
    """Print what runs took."""
    grid = Grid(box=SIMPLE_HEAD, title=title, title_justify="left")
    grid.add_column("table")
    grid.add_column("workload")
    for name in ("jobs", "requests", "GB billed", "% of the table", "dollars"):
        grid.add_column(name, justify="right")
    grid.add_column("GB by statement")
    for (table, workload), cost in costs.items():
        total = cost.billed.total()
        grid.add_row(
            table,
            workload,
            f"{cost.requests['job']}",
            f"{cost.requests.total()}",
            f"{total / 10**9:,.2f}",
            f"{cost.percent:,.1f}" if cost.table_bytes > total / 10 else "",
            f"{dollars(total):.3f}",
            ", ".join(f"{step} {size / 10**9:,.2f}" for step, size in cost.billed.items() if size),
        )
    console.print(grid)


def main() -> None:
    """Run the workloads, print what they took, and say whether promises are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="rows of the sample: 100,000 or more"
    )
    parser.add_argument("--row-bytes", type=int, default=ROW_BYTES, help="logical bytes of a row")
    options = parser.parse_args()
    console = Console(width=150)
    with (
        tempfile.TemporaryDirectory() as directory,
        running_emulator(Path(directory)) as emulator,
    ):
        world = emulator, Path(directory)
        large = {
            (kind, workload): cost
            for kind in KINDS
            for workload, cost in large_table(kind, options.rows, options.row_bytes, *world)
        }
        small = dict(small_tables(*world))
        many = many_tables(*world)
    title = f"A table of 100 GB, rows of {options.row_bytes:,} bytes"
    report(console, title, {(kind.name, step): cost for (kind, step), cost in large.items()})
    name = f"{SAMPLE_STREAMS} small tables"
    costs = {(name, workload): cost for workload, cost in small.items()}
    report(console, "Small tables", costs | {(f"{MANY_STREAMS} empty tables", NOTHING): many})
    found = list(promises(large, many))
    for promise in found:
        mark = "[green]✓[/]" if promise.kept else "[red]✗[/]"
        console.print(f"{mark} {promise.text}: {promise.measured}", highlight=False)
    console.print(EXCEPTIONS, highlight=False)
    sys.exit(not all(promise.kept for promise in found))


if __name__ == "__main__":
    main()
