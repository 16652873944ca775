"""What is known of each stream, from Meltano and BigQuery, and the listing of it as text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from stack.project import Project, Source
from stack.streams import state
from stack.streams.catalog import (
    Catalog,
    Run,
    RunHistory,
    Stream,
    changes,
    destinations,
    only_key,
    readable,
    table_of,
)
from stack.terminal import plain, style, table
from stack.warehouse import Orphan, RawTable, UnreachableError, Warehouse

Tables = Mapping[str, RawTable]


@dataclass(frozen=True)
class StreamReport:
    """One stream: None is what no catalog, or BigQuery, has told.

    Attributes:
        tables: the raw tables that it goes into; more than one only by `stream_maps`.
        replication_key: the column, or `xmin`.
        bookmark: where the next run begins, in words; None where it begins at the beginning.
        bookmarks: the same, as the tap wrote it.
        rows: those that aren't marked as deleted.
        newest: when the newest row was extracted.
        changes: how the catalog and the tables differ.
    """

    stream: str
    tables: Sequence[str]
    replication_method: str | None
    replication_key: str | None
    is_loaded: bool | None
    bookmark: str | None
    bookmarks: Mapping[str, Any]
    rows: int | None
    deleted: int | None
    newest: datetime | None
    changes: Sequence[str]


@dataclass(frozen=True)
class SourceReport:
    """One source, and its raw dataset in this environment.

    Attributes:
        catalog_read_at: when the tap was last asked what it has.
        streams: those that are selected, in the catalog's order.
        not_filled: tables of the dataset that no stream goes into.
        notes: what can't be known, and why.
    """

    source: str
    dataset: str
    job: str | None
    interval: str | None
    last_run: Run | None
    catalog_read_at: datetime | None
    newest: datetime | None
    streams: Sequence[StreamReport]
    not_selected: Sequence[str]
    not_filled: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True)
class Listing:
    """What `stack streams` shows: `orphans` are datasets and states that no source's file names."""

    environment: str
    sources: Sequence[SourceReport]
    orphans: Sequence[Orphan]
    orphaned_states: Sequence[str]
    notes: Sequence[str] = field(default=())


def listing(project: Project, sources: Sequence[Source], *, orphans: bool) -> Listing:
    """Return all that is known of some sources' streams."""
    history = RunHistory(sources)
    notes: list[str] = []
    tables: Mapping[str, Tables] | None = None
    found: Sequence[Orphan] = ()

    def ask() -> tuple[Mapping[str, Tables], Sequence[Orphan]]:
        warehouse = Warehouse(project.loader)
        tables = warehouse.all_tables(source.dataset for source in sources)
        return tables, warehouse.orphans(project) if orphans else []

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        catalogs = {source.name: history.catalog(source) for source in sources}
        try:
            tables, found = asking.result()
        except UnreachableError as error:
            notes.append(f"{error.message} So rows and changes of schema aren't known.")
    reports = []
    for source in sources:
        run, catalog = history.last_run(source.state_id), catalogs[source.name]
        own = None if tables is None else tables[source.dataset]
        reports.append(_source_report(project, source, catalog, run, own))
    states = _orphaned_states(project) if orphans else []
    return Listing(project.environment, reports, found, states, notes)


def _orphaned_states(project: Project) -> list[str]:
    """Return the states from which a source that comes back would go on, in this environment."""
    environment, suffix = re.escape(project.environment), project.facts["state_id_suffix"]
    ours = re.compile(f"{environment}:([^:]+)-to-[^:]+{re.escape(f':{suffix}') if suffix else ''}")
    matches = filter(None, map(ours.fullmatch, project.facts["states"]))
    return sorted(match[0] for match in matches if match[1] not in project.plugins)


def _source_report(
    project: Project,
    source: Source,
    catalog: Catalog | None,
    last_run: Run | None,
    tables: Tables | None,
) -> SourceReport:
    whole = project.facts["states"].get(source.state_id) or {}
    known = catalog.streams if catalog else _guessed(project, source, tables)
    streams = [
        _stream_report(source, stream, state.bookmarks(whole, stream.name, known), tables)
        for stream in known.values()
        if stream.is_selected
    ]
    filled = {table for stream in streams for table in stream.tables}
    unknown = (
        f"{source.extractor.name} hasn't run on this machine, so what it has isn't known: run "
        f"it, or ask with `--discover`."
    )
    return SourceReport(
        source=source.name,
        dataset=source.dataset,
        job=source.job,
        interval=source.interval,
        last_run=last_run,
        catalog_read_at=catalog.read_at if catalog else None,
        newest=max((stream.newest for stream in streams if stream.newest), default=None),
        streams=streams,
        not_selected=[stream.name for stream in known.values() if not stream.is_selected],
        not_filled=sorted(set(tables or ()) - filled),
        notes=[] if catalog else [unknown],
    )


def _guessed(project: Project, source: Source, tables: Tables | None) -> dict[str, Stream]:
    """Return streams as bookmarks and tables tell them, where no catalog does."""
    found: dict[str, Stream] = {}
    for name in [*(project.state(source).get("bookmarks") or {}), *(tables or {})]:
        table = table_of(name, source.loader.config())
        if tables is None or table in tables:
            found.setdefault(table, Stream(name, None, None, (), True, {}, ()))
    return {stream.name: stream for stream in found.values()}


def _stream_report(
    source: Source, stream: Stream, bookmarks: Mapping[str, Any], tables: Tables | None
) -> StreamReport:
    goes_into = [found.table for found in destinations(stream, source.loader)]
    there = {name: tables[name] for name in goes_into if name in tables} if tables else {}
    counted = [table for table in there.values() if table.live is not None]
    return StreamReport(
        stream=stream.name,
        tables=goes_into,
        replication_method=stream.method,
        replication_key=stream.replication_key or only_key(bookmarks.get(stream.name)),
        is_loaded=None if tables is None else bool(there),
        bookmark=readable(stream.name, bookmarks),
        bookmarks=bookmarks,
        rows=sum(table.live or 0 for table in counted) if counted else None,
        deleted=sum(table.deleted or 0 for table in counted) if counted else None,
        newest=max((table.newest for table in counted if table.newest), default=None),
        changes=[
            change
            for name, table in there.items()
            if stream.properties
            for change in changes(stream, source.loader, name, table.columns)
        ],
    )


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
            yield plain(f"  To begin from the start instead: meltano state clear {state_id}")


def _source(report: SourceReport) -> Iterator[str]:
    schedule = f" ({report.job}, at {report.interval})" if report.interval else ""
    title = style(report.source, bold=True)
    yield f"{title} → {plain(f'dataset {report.dataset}{schedule}')}"
    yield f"  {_last_run(report)}"
    for note in report.notes:
        yield style(f"  ! {note}", fg="yellow")
    if report.streams:
        yield ""
        yield from table(HEADINGS, map(_row, report.streams), NUMBERS)
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
    said = "No run of it is known here"
    if run := report.last_run:
        said = f"Last run {run.started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC {RUNS[run.state]}"
        if run.ended_at:
            said += f" after {(run.ended_at - run.started_at).total_seconds():.0f} s"
    return said + (f"; newest row {_age(report.newest)} old" if report.newest else "")


def _row(stream: StreamReport) -> Sequence[str]:
    method = (stream.replication_method or "").lower().replace("_", " ")
    is_by_key = stream.replication_key and method != "full table"
    if stream.newest:
        newest = _age(stream.newest)
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


def _age(moment: datetime) -> str:
    age = datetime.now(UTC) - moment
    for name, unit in (("d", timedelta(days=1)), ("h", timedelta(hours=1))):
        if age >= 2 * unit:
            return f"{age // unit} {name}"
    return f"{max(0, age // timedelta(minutes=1))} min"
