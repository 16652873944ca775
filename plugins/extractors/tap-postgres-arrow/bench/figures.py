"""Medians of the rounds, and the lines through them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from contestants import OURS, Contestant, Step
from world import Table

MILLION = 1_000_000


@dataclass(frozen=True)
class Result:
    """One step of a contestant, in one round."""

    round: int
    contestant: Contestant
    table: Table
    step: Step


@dataclass(frozen=True)
class Figure:
    """The medians of a step over all rounds."""

    rows: float
    cpu_seconds: float
    wall_seconds: float
    peak_mebibytes: dict[str, float]
    """By program, the largest first."""

    @property
    def peak(self) -> float:
        """The peak of the largest process."""
        return max(self.peak_mebibytes.values())


@dataclass(frozen=True)
class Line:
    """A cost by the number of rows, through two points."""

    small: tuple[int, float]
    large: tuple[int, float]

    @property
    def per_million(self) -> float:
        """What each further million rows costs: start-up is left out."""
        (few, low), (many, high) = self.small, self.large
        return (high - low) / (many - few) * MILLION

    def at(self, rows: int) -> float:
        """The cost at that many rows."""
        few, low = self.small
        return low + (rows - few) / MILLION * self.per_million


@dataclass(frozen=True)
class Tables:
    """The tables that are read: two sizes tell fixed and marginal cost apart."""

    small: Table
    large: Table
    wide: Table
    """As many rows as the small one has, each much larger."""
    sample: tuple[Table, Table]
    """For those who read a row at a time."""

    def of(self, contestant: Contestant) -> tuple[Table, Table]:
        """The two sizes by which a contestant is judged."""
        return self.sample if contestant.slow else (self.small, self.large)

    def read_by(self, contestant: Contestant) -> tuple[Table, ...]:
        """The tables that a contestant reads."""
        return (*self.of(contestant), *((self.wide,) if contestant is OURS else ()))

    @property
    def all(self) -> tuple[Table, ...]:
        """Each of them."""
        return (*self.sample, self.small, self.large, self.wide)


class Figures:
    """What was measured."""

    def __init__(self, tables: Tables, results: Iterable[Result]) -> None:
        self.tables = tables
        steps: defaultdict[tuple[Contestant, str, Table], list[Step]] = defaultdict(list)
        for result in results:
            steps[result.contestant, result.step.name, result.table].append(result.step)
        self.medians = {key: _medians(found) for key, found in steps.items()}

    def has(self, contestant: Contestant, step: str) -> bool:
        """Whether the contestant has taken this step, on both sizes."""
        return all(
            (contestant, step, table) in self.medians for table in self.tables.of(contestant)
        )

    def of(self, contestant: Contestant, step: str, table: Table) -> Figure:
        """The medians of a step on a table."""
        return self.medians[contestant, step, table]

    def cpu(self, contestant: Contestant, step: str) -> Line:
        """CPU seconds by rows."""
        small, large = self.tables.of(contestant)
        return Line(
            (small.rows, self.of(contestant, step, small).cpu_seconds),
            (large.rows, self.of(contestant, step, large).cpu_seconds),
        )

    def wall(self, contestant: Contestant, step: str) -> Line:
        """Seconds that pass, by rows."""
        small, large = self.tables.of(contestant)
        return Line(
            (small.rows, self.of(contestant, step, small).wall_seconds),
            (large.rows, self.of(contestant, step, large).wall_seconds),
        )


def _medians(steps: list[Step]) -> Figure:
    costs = [step.cost for step in steps]
    peaks: defaultdict[str, list[float]] = defaultdict(list)
    for cost in costs:
        for program, peak in cost.peak_mebibytes.items():
            peaks[program].append(peak)
    by_program = {program: median(found) for program, found in peaks.items()}
    return Figure(
        rows=median(step.rows for step in steps),
        cpu_seconds=median(cost.cpu_seconds for cost in costs),
        wall_seconds=median(cost.wall_seconds for cost in costs),
        peak_mebibytes=dict(sorted(by_program.items(), key=lambda item: -item[1])),
    )
