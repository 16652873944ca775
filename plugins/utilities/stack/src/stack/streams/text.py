"""A listing of streams as text: a table for each source."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import click

from stack.streams.catalog import Run
from stack.streams.freshness import Verdict
from stack.streams.listing import Listing, SourceReport, StreamReport
from stack.terminal import plain, style

MARKS = {Verdict.PASS: ("✓", "green"), Verdict.WARN: ("!", "yellow"), Verdict.ERROR: ("✗", "red")}
RUNS = {
    "SUCCESS": "succeeded",
    "FAIL": "failed",
    "RUNNING": "is running",
    "STALE": "was killed",
}
NUMBERS = ("rows", "deleted")
HEADINGS = ("stream", "replication", "bookmark", *NUMBERS, "newest row")


def lines(found: Listing) -> Iterator[str]:
    """Return a listing's lines."""
    for note in found.notes:
        yield style(f"! {note}", fg="yellow")
    for report in found.sources:
        yield ""
        yield from _source(report)
    if found.orphans:
        yield ""
        yield style("Raw datasets that no source's file names: orphaned", bold=True)
        for orphan in found.orphans:
            tables = "1 table" if orphan.tables == 1 else f"{orphan.tables} tables"
            yield plain(f"  {orphan.dataset}, {tables}. If nobody needs it: {orphan.removal}")
    if found.orphaned_states:
        yield ""
        yield style("States of no source: it would go on from there if it came back", bold=True)
        for state_id in found.orphaned_states:
            yield plain(f"  To begin anew instead: meltano state clear {state_id}")


def _source(report: SourceReport) -> Iterator[str]:
    schedule = f" ({report.job}, at {report.interval})" if report.interval else ""
    title = style(report.source, bold=True)
    yield f"{title} → {plain(f'dataset {report.dataset}{schedule}')}"
    yield f"  {_last_run(report)}"
    for note in report.notes:
        yield style(f"  ! {note}", fg="yellow")
    if report.streams:
        yield ""
        yield from _table([_row(stream) for stream in report.streams])
    changed = [stream for stream in report.streams if stream.changes]
    if changed:
        yield ""
        for stream in changed:
            for change in stream.changes:
                yield style(f"  ! {stream.stream}: {change}", fg="yellow")
    if report.not_filled:
        yield plain(f"  No stream fills {', '.join(report.not_filled)} any more.")
    if report.not_selected:
        yield plain(f"  Not selected: {', '.join(report.not_selected)}.")


def _last_run(report: SourceReport) -> str:
    said = _run(report.last_run) if report.last_run else "No run of it is known here"
    if report.newest:
        mark = _mark(report.freshness)
        said += f"; newest row {_age(report.newest)} old{mark}"
    return said


def _run(run: Run) -> str:
    said = f"Last run {run.started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC {RUNS[run.state]}"
    if run.ended_at:
        said += f" after {(run.ended_at - run.started_at).total_seconds():.0f} s"
    return said


def _row(stream: StreamReport) -> Sequence[str]:
    method = (stream.replication_method or "").lower().replace("_", " ")
    is_by_key = stream.replication_key and method != "full table"
    if stream.newest:
        newest = f"{_age(stream.newest)}{_mark(stream.freshness)}"
    else:
        newest = "never loaded" if stream.is_loaded is False else ""
    return (
        plain(stream.stream),
        plain(f"{method} by {stream.replication_key}".strip() if is_by_key else method),
        plain(stream.bookmark or "-"),
        "-" if stream.rows is None else f"{stream.rows:,}",
        "-" if stream.deleted is None else f"{stream.deleted:,}",
        newest,
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [
        max(len(click.unstyle(row[index])) for row in (HEADINGS, *rows))
        for index in range(len(HEADINGS))
    ]
    for row in (HEADINGS, *rows):
        cells = []
        for name, cell, width in zip(HEADINGS, row, widths, strict=True):
            align: Callable[[int], str] = cell.rjust if name in NUMBERS else cell.ljust
            cells.append(align(width))
        line = f"  {'  '.join(cells)}".rstrip()
        yield style(line, dim=True) if row is HEADINGS else line


def _mark(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    mark, colour = MARKS[verdict]
    return f" {style(mark, fg=colour)}"


def _age(moment: datetime) -> str:
    age = datetime.now(UTC) - moment
    for name, unit in (("d", timedelta(days=1)), ("h", timedelta(hours=1))):
        if age >= 2 * unit:
            return f"{age // unit} {name}"
    return f"{max(0, age // timedelta(minutes=1))} min"
