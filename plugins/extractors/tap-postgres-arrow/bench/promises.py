"""What our path promises, and whether it holds."""

from collections.abc import Iterator
from dataclasses import dataclass

from contestants import BY_HAND, CHANGED, DELETED, DLT, INITIAL, OURS, SLING, UNCHANGED
from figures import Figures

MOST_CPU_SECONDS = {INITIAL: 14, CHANGED: 9, UNCHANGED: 7}
MOST_TIMES_BY_HAND = 1.6
MOST_MEBIBYTES = 400
# Two runs of the same may differ by as much.
SAME = 1.1


@dataclass(frozen=True)
class Promise:
    """A sentence, the figure that was measured, and whether it bears the sentence out."""

    text: str
    measured: str
    kept: bool


def promises(figures: Figures) -> Iterator[Promise]:
    """Judge the medians. That the warehouse was right has been seen after each run."""
    yield from _cost(figures)
    yield from _cost_beside_others(figures)
    yield from _memory(figures)
    yield from _rows(figures)


def _cost(figures: Figures) -> Iterator[Promise]:
    tables = figures.tables
    for step, most in MOST_CPU_SECONDS.items():
        seconds = figures.of(OURS, step, tables.small).cpu_seconds
        yield Promise(f"{step}: at most {most} CPU s", f"{seconds:.1f}", seconds <= most)
    for step in (CHANGED, UNCHANGED):
        wide = figures.of(OURS, step, tables.wide).cpu_seconds
        ratio = wide / figures.of(OURS, step, tables.small).cpu_seconds
        times = tables.wide.content_bytes / tables.small.content_bytes
        yield Promise(
            f"{step}: the same for rows {times:.0f} times as large",
            f"{ratio:.2f} times",
            ratio <= SAME,
        )


def _cost_beside_others(figures: Figures) -> Iterator[Promise]:
    ours = figures.cpu(OURS, INITIAL)
    if figures.has(BY_HAND, INITIAL):
        ratio = ours.per_million / figures.cpu(BY_HAND, INITIAL).per_million
        yield Promise(
            f"each further million rows: at most {MOST_TIMES_BY_HAND} times ADBC's",
            f"{ratio:.2f} times",
            ratio <= MOST_TIMES_BY_HAND,
        )
    rows = figures.tables.small.rows
    for peer in (DLT, SLING):
        if figures.has(peer, INITIAL):
            mine, theirs = ours.at(rows), figures.cpu(peer, INITIAL).at(rows)
            yield Promise(
                f"{INITIAL}: below {peer.name}",
                f"{mine:.1f} to {theirs:.1f}",
                mine < theirs,
            )


def _memory(figures: Figures) -> Iterator[Promise]:
    tables = figures.tables
    peak = figures.of(OURS, INITIAL, tables.large).peak
    ratio = peak / figures.of(OURS, INITIAL, tables.small).peak
    times = tables.large.rows / tables.small.rows
    yield Promise(
        f"peak memory of each process: under {MOST_MEBIBYTES} MiB",
        f"{peak:.0f}",
        peak < MOST_MEBIBYTES,
    )
    yield Promise(
        f"peak memory: the same for {times:.0f} times as many rows",
        f"{ratio:.2f} times",
        ratio <= SAME,
    )


def _rows(figures: Figures) -> Iterator[Promise]:
    table = figures.tables.small
    for step, expected in ((CHANGED, table.rows // 100), (UNCHANGED, 0)):
        rows = figures.of(OURS, step, table).rows
        yield Promise(f"{step}: {expected:,} rows cross over", f"{rows:,.0f}", rows == expected)
    touched = figures.of(OURS, DELETED, table).rows
    yield Promise(
        f"{DELETED}: {table.rows // 10:,} rows marked, no other touched",
        f"{touched:,.0f} touched",
        touched == 0,
    )
