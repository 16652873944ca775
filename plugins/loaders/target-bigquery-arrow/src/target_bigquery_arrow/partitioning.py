"""How a large table is partitioned, and which of its partitions a statement has to touch.

BigQuery bills DML by the partitions that a statement may touch. It leaves a partition out only
where a predicate compares the partitioning column with constants. Source:
https://cloud.google.com/bigquery/docs/managing-partitioned-table-data

No data can pass a limit of BigQuery's: a table has 10,000 partitions at most, and a job changes
4,000 (https://cloud.google.com/bigquery/quotas#partitioned_tables). A range of integers gets fewer
than 4,000 partitions; what is outside shares one. So do dates before 1960 and after 2159, which
leaves 2,400 months. Days can be too many: then the table is partitioned by month.
"""

import datetime
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from target_bigquery_arrow.column_types import Kind
from target_bigquery_arrow.layout import BATCHED_AT, Layout

# The lowest and the highest value in a partition, as BigQuery's client returns them: two ints,
# dates or datetimes, or twice None for the partition of nulls.
type Interval = tuple[Any, Any]

MAXIMUM_PARTITIONS = 9_990
MAXIMUM_PARTITIONS_A_JOB = 3_990
# Past so many days in a first load, months are used: the table has room to grow.
MAXIMUM_DAYS_AT_FIRST = 1_500
# A first load fills so many partitions of a range, by its size; the rest is room to grow.
PARTITION_BYTES = 64 * 2**20
FEWEST_AT_FIRST, MOST_AT_FIRST = 40, 400
# A longer predicate gains nothing: neighbours are joined.
MAXIMUM_INTERVALS = 100
LAST_INT64 = 2**63 - 1

DATES = (Kind.TIMESTAMP, Kind.DATE)
# When a row came into being, as sources call it. A wrong guess costs bytes, never a row.
CREATION_DATES = (
    "created_at",
    "createdat",
    "created",
    "created_on",
    "created_date",
    "created_time",
    "date_created",
    "create_date",
    "create_time",
    "creation_date",
    "inserted_at",
)


@dataclass(frozen=True)
class TimePartitioning:
    """Partitions of a day or a month, say, of a DATE or TIMESTAMP column."""

    column: str
    unit: str

    def bucket(self, value: str, kind: Kind) -> str:
        """Return the SQL for what is the same for all values of one partition."""
        function = "date_trunc" if kind is Kind.DATE else "timestamp_trunc"
        return f"{function}({value}, {self.unit.lower()})"

    @property
    def is_bounded(self) -> bool:
        """Whether no data can make more partitions than BigQuery allows."""
        return self.unit in ("MONTH", "YEAR")

    def __str__(self) -> str:
        """Return it in words."""
        return f"by {self.unit.lower()} of '{self.column}'"


@dataclass(frozen=True)
class RangePartitioning:
    """Partitions of an INT64 column: from `start`, each of `interval` values, up to `end`."""

    column: str
    start: int
    end: int
    interval: int
    is_bounded: ClassVar = True

    def bucket(self, value: str, kind: Kind) -> str:  # noqa: ARG002  as for dates
        """Return the SQL for what is the same for all values of one partition."""
        # `start` is a multiple of the interval. What is outside the range shares a partition.
        return f"div(greatest({self.start}, least({value}, {self.end})), {self.interval})"

    def __str__(self) -> str:
        """Return it in words."""
        return f"by ranges of {self.interval:,} of '{self.column}'"


Partitioning = TimePartitioning | RangePartitioning


@dataclass(frozen=True)
class Spread:
    """What a column's values are like.

    Attributes:
        lowest: the lowest value; None where there are none.
        highest: the highest value.
        days: on how many days they are; 0 for integers.
    """

    lowest: Any
    highest: Any
    days: int


@dataclass(frozen=True)
class PartitionFilter:
    """What a statement has to touch of a partitioned table.

    Attributes:
        column: the partitioning column.
        intervals: all of its values that matter are in one of these.
    """

    column: str
    intervals: Sequence[Interval]

    def sql(self, table: str) -> str:
        """Return a predicate of constants alone.

        Args:
            table: the table's alias.
        """
        column = f"{table}.`{self.column}`"
        known = [(low, high) for low, high in self.intervals if low is not None]
        terms = [
            f"{column} between {_literal(low)} and {_literal(high)}" for low, high in _joined(known)
        ]
        if len(known) < len(self.intervals):
            terms.append(f"{column} is null")
        return f"({' or '.join(terms)})" if terms else "false"


def candidates(layout: Layout) -> list[str]:
    """Return the columns that a stream's table may be partitioned by, the best kind only.

    An integer of the key says by itself where a row is, and so does a date of the key. By a
    creation date, the rows that are there already have to be looked up first.
    """
    keys = [column for column in layout.columns if column.name in layout.keys]
    if not keys:
        return [BATCHED_AT]
    for kinds in ((Kind.INT64,), DATES):
        if found := [key.name for key in keys if key.type.kind in kinds]:
            return found
    by_name = {column.name.lower(): column for column in layout.columns}
    for name in CREATION_DATES:
        column = by_name.get(name)
        if column and column.type.kind in DATES and not column.type.repeated:
            return [column.name]
    return []


def partitioning_for(spreads: Mapping[str, Spread], size: int) -> Partitioning | None:
    """Choose among columns by their values; of several integers, the one that varies most.

    Args:
        spreads: the columns and what their values are like.
        size: how large the table is, in bytes.
    """
    column, spread = max(spreads.items(), key=_width, default=(None, None))
    if column is None or spread is None:
        return None
    if isinstance(spread.lowest, int) and isinstance(spread.highest, int):
        return _ranges(column, spread.lowest, spread.highest, size)
    if spread.lowest is None:
        return None
    # Every day of loading would be a day more.
    by_day = spread.days <= MAXIMUM_DAYS_AT_FIRST and column != BATCHED_AT
    return TimePartitioning(column, "DAY" if by_day else "MONTH")


def _width(item: tuple[str, Spread]) -> int:
    lowest, highest = item[1].lowest, item[1].highest
    if isinstance(lowest, int) and isinstance(highest, int):
        return highest - lowest
    return -1


def _ranges(column: str, lowest: int, highest: int, size: int) -> RangePartitioning:
    count = max(FEWEST_AT_FIRST, min(size // PARTITION_BYTES, MOST_AT_FIRST))
    interval = max(1, -(-(highest - lowest + 1) // count))
    start = max(-LAST_INT64, min(lowest // interval * interval, LAST_INT64 - interval))
    count = min(MAXIMUM_PARTITIONS_A_JOB, (LAST_INT64 - start) // interval)
    return RangePartitioning(column, start, start + count * interval, interval)


def _joined(intervals: Sequence[Interval]) -> Iterator[Interval]:
    """Join neighbours, the nearest first, until there are few enough."""
    ordered = sorted(intervals)
    pairs = list(itertools.pairwise(ordered))
    nearest = sorted(range(len(pairs)), key=lambda index: _gap(*pairs[index]))
    joined = set(nearest[: max(0, len(ordered) - MAXIMUM_INTERVALS)])
    begin = 0
    for index in range(len(ordered)):
        if index in joined:
            continue
        yield ordered[begin][0], ordered[index][1]
        begin = index + 1


def _gap(before: Interval, after: Interval) -> float:
    gap = after[0] - before[1]
    return gap.total_seconds() if isinstance(gap, datetime.timedelta) else float(gap)


def _literal(value: Any) -> str:
    match value:
        case datetime.datetime():
            # isoformat writes years before 1000 with four digits, as BigQuery wants them.
            moment = value.astimezone(datetime.UTC).replace(tzinfo=None)
            return f"timestamp '{moment.isoformat(sep=' ', timespec='microseconds')}+00'"
        case datetime.date():
            return f"date '{value.isoformat()}'"
        case _:
            return str(value)
