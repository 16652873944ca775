"""Our path from Postgres beside its limit and its peers: CPU seconds, peak memory, wall seconds.

Run by `make bench`. Makes Postgres servers and BigQuery emulators of its own; those aren't counted.
The contestants take turns for several rounds, so that all suffer alike from whatever else the
machine does; what counts is the median.
"""

import argparse
import itertools
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from contestants import CONTESTANTS, ENVIRONMENTS, OURS, Contestant, Workspace
from figures import Figures, Result, Tables
from measurement import BenchError
from promises import promises
from report import save, show
from rich.console import Console
from world import Table, World, running_world

ROWS = (1_000_000, 3_000_000)
QUICK_ROWS = (50_000, 150_000)
WIDE_PADDING = 1_013


@dataclass
class Bench:
    """The worlds, and what has been found out so far."""

    tables: Tables
    console: Console
    worlds: dict[Table, World] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    failures: dict[Contestant, str] = field(default_factory=dict)

    def install(self) -> None:
        """Install the peers; one that can't be had is missing, and no more."""
        for contestant in CONTESTANTS:
            with self.console.status(f"installing {contestant.name}"):
                try:
                    contestant.install()
                except BenchError as error:
                    self._fails(contestant, error)

    def make_worlds(self, directory: Path, stack: ExitStack) -> None:
        """Make all worlds at once; they last as long as `stack`."""

        def make(number: int, table: Table) -> World:
            return stack.enter_context(running_world(table, directory / str(number)))

        with self.console.status("making tables"), ThreadPoolExecutor() as threads:
            worlds = threads.map(make, itertools.count(), self.tables.all)
            self.worlds.update(zip(self.tables.all, worlds, strict=True))

    def round(self, number: int) -> None:
        """Let everybody run once, each round another one first."""
        first = (number - 1) % len(CONTESTANTS)
        for contestant in (*CONTESTANTS[first:], *CONTESTANTS[:first]):
            for table in self.tables.read_by(contestant):
                if contestant not in self.failures:
                    self._run(number, contestant, table)

    def _run(self, number: int, contestant: Contestant, table: Table) -> None:
        with (
            self.console.status(f"round {number}: {contestant.name} reads {table}"),
            tempfile.TemporaryDirectory() as scratch,
        ):
            workspace = Workspace(contestant.environment, Path(scratch))
            try:
                for step in contestant.run(self.worlds[table], workspace):
                    self.results.append(Result(number, contestant, table, step))
                    self.console.print(
                        f"round {number}  {contestant.name:<14}{table!s:<9}{step.name:<16}"
                        f"{step.cost.cpu_seconds:>7.1f} CPU s{step.cost.wall_seconds:>7.1f} s",
                        highlight=False,
                    )
            except BenchError as error:
                self._fails(contestant, error)

    def _fails(self, contestant: Contestant, error: BenchError) -> None:
        self.failures[contestant] = str(error)
        self.console.print(f"[red]{contestant.name} is out[/], for a reason that is shown below")


def main() -> None:
    """Measure, print, and write JSON; exit with 1 if our own path failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=ROWS, help="rows of the two tables")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round with few rows")
    parser.add_argument("--json", type=Path, default=ENVIRONMENTS / "postgres.json")
    options = parser.parse_args()
    small, large = QUICK_ROWS if options.quick else options.rows
    tables = Tables(
        small=Table(small),
        large=Table(large),
        wide=Table(small, WIDE_PADDING),
        sample=(Table(small // 50), Table(small // 10)),
    )
    console = Console()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        bench = Bench(tables, console)
        bench.install()
        bench.make_worlds(Path(directory), stack)
        for number in range(1 if options.quick else options.rounds):
            bench.round(number + 1)
    figures = Figures(tables, bench.results)
    found = [] if OURS in bench.failures else list(promises(figures))
    show(console, figures, found, bench.failures)
    save(options.json, figures, bench.results, found, bench.failures)
    sys.exit(OURS in bench.failures)


if __name__ == "__main__":
    main()
