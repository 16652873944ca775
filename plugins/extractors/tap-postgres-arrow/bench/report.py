"""The figures, for people and for programs."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from contestants import BY_HAND, CONTESTANTS, INITIAL, LIMIT, STEPS, TAP_POSTGRES, Contestant
from figures import Figures, Result
from measurement import MEBIBYTE
from promises import Promise
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid


def show(
    console: Console,
    figures: Figures,
    found: Sequence[Promise],
    failures: Mapping[Contestant, str],
) -> None:
    """Print what was measured, what it says of the promises, and who is missing."""
    console.print(_costs(figures))
    console.print(_peaks(figures))
    if found:
        console.print(_promises(figures, found))
    for contestant, reason in failures.items():
        console.print(f"[red]{contestant.name} is out:[/] {escape(reason)}", highlight=False)


def save(
    file: Path,
    figures: Figures,
    results: Sequence[Result],
    found: Sequence[Promise],
    failures: Mapping[Contestant, str],
) -> None:
    """Write the medians, and what each round measured, as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "platform": platform.platform(),
            "cores": psutil.cpu_count(),
            "mebibytes": psutil.virtual_memory().total // MEBIBYTE,
        },
        "medians": [
            {
                "contestant": contestant.name,
                "step": step,
                "table": asdict(table),
                **asdict(figure),
            }
            for (contestant, step, table), figure in figures.medians.items()
        ],
        "measurements": [
            {
                "round": result.round,
                "contestant": result.contestant.name,
                "into": result.contestant.into,
                "versions": result.contestant.requirements,
                "table": asdict(result.table),
                **asdict(result.step),
            }
            for result in results
        ],
        "promises": [asdict(promise) for promise in found],
        "missing": {contestant.name: reason for contestant, reason in failures.items()},
    }
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _costs(figures: Figures) -> Grid:
    small, large = figures.tables.small, figures.tables.large
    grid = _grid(
        "What it costs: all client processes together",
        *("", f"CPU s\n{small}", f"CPU s\n{large}", "CPU s\n+1M"),
        *(f"times\n{LIMIT.name}", f"times\n{BY_HAND.name}", f"wall s\n{small}", f"rows\n{small}"),
    )
    for step in STEPS:
        grid.add_row(f"[bold]{step}[/]")
        for contestant in CONTESTANTS:
            if figures.has(contestant, step):
                grid.add_row(*_cost(figures, contestant, step))
        grid.add_section()
    sample = " and ".join(map(str, figures.tables.sample))
    grid.caption = (
        f"+1M: for each further million rows, as is times {BY_HAND.name}; times {LIMIT.name}: at "
        f"{small}.\nrows: those that crossed over. ~: extrapolated from {sample} rows.\n"
    )
    return grid


def _cost(figures: Figures, contestant: Contestant, step: str) -> list[str]:
    small, large = figures.tables.small.rows, figures.tables.large.rows
    first, _ = figures.tables.of(contestant)
    cpu, wall = figures.cpu(contestant, step), figures.wall(contestant, step)
    times_limit = times_by_hand = ""
    if figures.has(LIMIT, step):
        times_limit = f"{cpu.at(small) / figures.cpu(LIMIT, step).at(small):.1f}"
    if figures.has(BY_HAND, step):
        times_by_hand = f"{cpu.per_million / figures.cpu(BY_HAND, step).per_million:.2f}"
    return [
        f"  {contestant.name} → {contestant.into}",
        *(_seconds(contestant, cpu.at(rows)) for rows in (small, large)),
        f"{cpu.per_million:.1f}",
        times_limit,
        times_by_hand,
        _seconds(contestant, wall.at(small)),
        "" if contestant.slow else f"{figures.of(contestant, step, first).rows:,.0f}",
    ]


def _seconds(contestant: Contestant, seconds: float) -> str:
    return f"~{seconds:.0f}" if contestant.slow else f"{seconds:.1f}"


def _peaks(figures: Figures) -> Grid:
    """Show the initial load's: no other step takes more."""
    small, large = figures.tables.small, figures.tables.large
    grid = _grid("Peak memory of each process, MiB", "", "", str(small), str(large))
    for contestant in CONTESTANTS:
        if not figures.has(contestant, INITIAL):
            continue
        few, many = (
            figures.of(contestant, INITIAL, table).peak_mebibytes
            for table in figures.tables.of(contestant)
        )
        for program, peak in many.items():
            grid.add_row(contestant.name, program, f"{few.get(program, 0):.0f}", f"{peak:.0f}")
    sample = " and ".join(map(str, figures.tables.sample))
    grid.caption = f"{TAP_POSTGRES.name}: at {sample} rows\n"
    return grid


def _promises(figures: Figures, found: Sequence[Promise]) -> Grid:
    small, large = figures.tables.small, figures.tables.large
    title = f"What was promised of 1M and 3M rows, measured with {small} and {large}"
    grid = _grid(title, "", "measured", "")
    for promise in found:
        mark = "[green]✓[/]" if promise.kept else "[red]✗[/]"
        grid.add_row(promise.text, promise.measured, mark)
    return grid


def _grid(title: str, *headers: str) -> Grid:
    grid = Grid(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for number, header in enumerate(headers):
        # Names to the left, figures to the right.
        grid.add_column(header, justify="right" if number and header else "left", no_wrap=True)
    return grid
