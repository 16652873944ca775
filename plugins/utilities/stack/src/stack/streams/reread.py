"""`stack resync` and `stack backfill`: one stream is read again, the others' bookmarks stay.

The source's own tap and loader run, with that stream alone, under a state ID of their own. Only
once all is loaded does the source's state learn of it. So a run that breaks off has moved no
bookmark, and is made up for by running the command again.
"""

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from run_ledger.ops import Ops

from stack import killed_runs, locks, meltano
from stack.project import Plugin, Project, Source
from stack.streams import state
from stack.streams.catalog import (
    Catalog,
    Run,
    RunHistory,
    Stream,
    destinations,
    discover,
    only_key,
    table_of,
)
from stack.streams.state import State
from stack.terminal import StackError, echo, secho
from stack.warehouse import RawTable, UnreachableError, Warehouse


@dataclass(frozen=True)
class Reread:
    """A stream that is to be read again."""

    project: Project
    source: Source
    stream: Stream
    streams: Collection[str]
    """The names of all streams of the source."""
    last_run: Run | None
    """The source's last run that this machine knows of."""

    @classmethod
    def of(cls, source_name: str, stream_name: str) -> "Reread":
        """Find a stream by its name, or by its table's.

        Raises:
            StackError: there is no such source or stream, or the stream isn't selected.
        """
        project = Project(states=True)
        source = project.source(source_name)
        if take_lock(source):  # a run has ended meanwhile: it has moved the bookmarks
            project = Project(states=True)
            source = project.source(source_name)
        history = RunHistory([source])
        # It may be new since the last run.
        if find(history.catalog(source), stream_name, source) is None:
            echo(f"Asking {source.name} which streams it has …")
            discover(source)
            history = RunHistory([source])
        catalog = history.catalog(source)
        stream = find(catalog, stream_name, source)
        if stream is None or catalog is None:
            names = ", ".join(stream.name for stream in catalog.selected) if catalog else "none"
            message = f"{source.name} has no stream '{stream_name}'. Selected are: {names}."
            raise StackError(message)
        if not stream.is_selected:
            message = (
                f"Stream '{stream.name}' of {source.name} isn't selected. Add `{stream.name}.*` to "
                f"`select` in {_file(project, source)}: the next run reads all of it."
            )
            raise StackError(message)
        return cls(project, source, stream, catalog.streams, history.last_run(source.state_id))

    @property
    def replication_key(self) -> str | None:
        """Return the column by which the stream is read, or `xmin`; None where nothing tells."""
        whole = self.project.facts["states"].get(self.source.state_id) or {}
        bookmarks = state.bookmarks(whole, self.stream.name, self.streams)
        return self.stream.replication_key or only_key(bookmarks.get(self.stream.name))

    def require_no_doubles(self) -> None:
        """Make sure that a row that is read twice is not stored twice: that takes a key.

        What each run reads whole is no worse for one more.
        """
        if self.stream.keys or self.stream.method == "FULL_TABLE":
            return
        message = (
            f"Stream '{self.stream.name}' of {self.source.name} has no key, so what is read again "
            f"would be there twice. Declare one in {_file(self.project, self.source)}, e.g. "
            f"`metadata: {{{self.stream.name}: {{table-key-properties: [id]}}}}`, drop the table, "
            f"and run this command again."
        )
        raise StackError(message)

    def run(
        self, what: str, *, seed: state.State | None, moves_bookmark: bool, **variables: str
    ) -> None:
        """Read the stream under a state ID of its own, and say what has come of it.

        Args:
            what: `resync` or `backfill`, for the state ID.
            seed: the state to begin with; None for an empty one.
            moves_bookmark: whether the next run continues from where this one ends.
            variables: settings of tap and loader for this run.

        Raises:
            StackError: another run is under way, or this one failed.
        """
        self._require_idle()
        suffix = self._suffix(what)
        extractor, loader = self.source.extractor.name, self.source.loader.name
        request = {
            "environment": self.project.environment,
            "main": self.source.state_id,
            "temporary": f"{self.project.environment}:{extractor}-to-{loader}:{suffix}",
            "stream": self.stream.name,
            "streams": list(self.streams),
        }
        begun = datetime.now(UTC)
        before = self._counts(begun)
        bookmarks = change("prepare", request | {"seed": seed})
        echo(
            f"Reading {self.stream.name} of {self.source.name} again, into {self.source.dataset} …"
        )
        only = self.source.extractor.variable("_select_filter")
        variables[only] = json.dumps([self.stream.name])
        # `--force`: two of this command are kept apart by the loader, which locks the table.
        # Without it, one that was killed would be waited for.
        options = ("--force", f"--state-id-suffix={suffix}")
        try:
            meltano.run("run", *options, extractor, loader, **variables)
        except StackError as error:
            change("carry", request)
            message = (
                f"{error.message} No bookmark has moved: fix what it names, then run this "
                f"command again."
            )
            raise StackError(message) from error
        if moves_bookmark:
            change("adopt", request | {"before": bookmarks})
        else:
            change("drop", request)
        self._say(before, self._counts(begun))

    def _suffix(self, what: str) -> str:
        own = self.project.facts["state_id_suffix"]
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{what}-{self.stream.name}")
        return f"{own}-{name}" if own else name

    def _require_idle(self) -> None:
        """Make sure that no run of the source is under way, which would move its bookmarks."""
        if not self.last_run or self.last_run.state != "RUNNING":
            return
        killed = killed_runs.forget(self.project.root, self.project.environment)
        if not any(self.source.state_id in line.split() for line in killed):
            began = self.last_run.started_at.astimezone(UTC)
            message = (
                f"A run of {self.source.name} is under way since {began:%H:%M} UTC: wait for its "
                f"end. (If it was killed on another machine, Meltano takes five minutes to know.)"
            )
            raise StackError(message)

    def _counts(self, since: datetime) -> RawTable | None:
        """Count the stream's rows; None where they can't be counted, or there are none yet."""
        tables = destinations(self.stream, self.source.loader)
        try:
            warehouse = Warehouse(self.source.loader)
            return warehouse.counts(self.source.dataset, tables[0].table, since)
        except (IndexError, UnreachableError):
            return None

    def _say(self, before: RawTable | None, after: RawTable | None) -> None:
        secho(f"✓ {self.stream.name} of {self.source.name} has been read again.", fg="green")
        if after:
            was = f" ({before.live:,} before)" if before else ""
            echo(
                f"  {after.read_since:,} rows were read. The table has {after.live:,}{was}, and "
                f"{after.deleted:,} that are marked as deleted."
            )
        if (dbt := f"dbt-{self.source.name}") in self.project.plugins:
            echo(f"  What dbt makes of it follows with: meltano invoke {dbt}:build")


def take_lock(source: Source) -> bool:
    """Take the lock of a source's dataset for this process; return whether it was waited for.

    Raises:
        StackError: another run has held it for too long; or BigQuery refuses, or doesn't answer.
    """
    waited: list[str] = []

    def on_wait(text: str) -> None:
        waited.append(text)
        echo(text)

    ops = Ops(source.loader.config())
    locks.leave(ops, source.dataset, owner=os.getpid(), on_wait=on_wait)
    return bool(waited)


def find(catalog: Catalog | None, name: str, source: Source) -> Stream | None:
    """Return a stream by its name or its table's."""
    if catalog is None:
        return None
    by_table = {table_of(stream, source.loader.config()): stream for stream in catalog.streams}
    return catalog.streams.get(name) or catalog.streams.get(by_table.get(name, ""))


def _file(project: Project, source: Source) -> Path:
    return source.file.relative_to(project.root)


def change(operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Change states by `stack.streams.state`."""
    failing = "No bookmark has moved: run this command again. Meltano's state backend"
    found = meltano.ask({"operation": operation, **request}, failing=failing)
    if "is_changed" in found:
        message = (
            f"Another run has moved the bookmark of {request['stream']} in between, and may have "
            f"written older rows over newer ones or the other way round. Run this command again."
        )
        raise StackError(message)
    return found


def parse(text: str, now: datetime | None = None) -> datetime:
    """Return the moment that a date or time of ISO 8601 tells, UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"--from {text}: no such date. Write it as 2025-01-31 or 2025-01-31T12:00:00Z."
        raise StackError(message) from error
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > (now or datetime.now(UTC)):
        message = f"--from {text} is in the future: nothing has changed since then."
        raise StackError(message)
    return moment


DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Beginning:
    """How a tap is told where to begin: by a setting, or by a state."""

    state: State | None
    variables: Mapping[str, str]


def beginning(
    stream: Stream,
    replication_key: str | None,
    extractor: Plugin,
    moment: datetime,
    starts: Collection[str] = (),
) -> Beginning:
    """Return how to make a tap begin at a moment, if dates mean anything to the stream.

    `starts` are settings beside `start_date` that say where the tap begins.
    """
    text = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    by_date = stream.method != "FULL_TABLE" and replication_key != "xmin"
    for name in ("start_date", *sorted(starts)):
        if by_date and name in extractor.settings:
            is_date = name in starts and DATE.fullmatch(str(extractor.settings[name].value))
            return Beginning(None, {extractor.variable(name): text[:10] if is_date else text})
    form = (stream.properties.get(replication_key or "") or {}).get("format")
    if not by_date or form not in ("date", "date-time"):
        how = "whole, by each run" if stream.method == "FULL_TABLE" else f"by {replication_key}"
        message = f"Stream '{stream.name}' is read {how}, where a date means nothing."
        raise StackError(message)
    value = text if form == "date-time" else f"{moment:%Y-%m-%d}"
    # As the Singer SDK and our Postgres tap write it, and as singer-python does.
    bookmark = {
        "replication_key": replication_key,
        "replication_key_value": value,
        replication_key: value,
    }
    return Beginning({"singer_state": {"bookmarks": {stream.name: bookmark}}}, {})
