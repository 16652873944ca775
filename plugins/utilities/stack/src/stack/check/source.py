"""A source: can it be reached and read, and does it have what the project selects?"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from stack import manifests, postgres, scratch
from stack.check import installation, report
from stack.check.report import Context, Result, failed, meant, nearest, noted, passed, skipped
from stack.check.taps import Tap, TapError
from stack.postgres import TAP, Connection, RefusedError
from stack.project import Plugin, Source
from stack.streams.catalog import Stream
from stack.terminal import StackError

DOT = re.compile(r"(?<!\\)\.")
UNAPPLIED = "Meltano can't apply `schema`, `select` and `metadata`"


def streams_of(context: Context, extractor: Plugin, catalog: Mapping[str, Any]) -> list[Stream]:
    """Return the streams of an extractor's catalog, as Meltano selects them."""
    request = {"operation": "streams", "extractor": extractor.name, "catalog": catalog}
    found = context.project.ask(request, failing=UNAPPLIED)
    if "error" in found:
        raise StackError(f"{UNAPPLIED}: {found['error']}")
    return [Stream(**facts) for facts in found["streams"]]


def unmatched(
    patterns: Sequence[str], streams: Sequence[Stream]
) -> Iterator[tuple[str, str | None]]:
    """Yield each pattern of `select` that fits nothing, with the nearest name that exists."""
    for pattern in patterns:
        name, *rest = DOT.split(pattern.removeprefix("!"), maxsplit=1)
        stream = unescaped(name)
        fitting = [one for one in streams if fnmatchcase(one.name, stream)]
        properties = [name for one in fitting for name in one.properties]
        inner = rest[0] if rest else "*"
        top = unescaped(DOT.split(inner, maxsplit=1)[0])
        if not fitting:
            yield pattern, nearest(stream, (one.name for one in streams))
        elif inner != "*" and not any(fnmatchcase(name, top) for name in properties):
            near = nearest(inner, properties)
            yield pattern, f"{stream}.{near}" if near else None


def unescaped(pattern: str) -> str:
    """Return a pattern without the backslashes before dots."""
    return pattern.replace("\\.", ".")


SCHEMAS = Path(__file__).with_name("schemas.sql").read_text()
UNREADABLE = Path(__file__).with_name("unreadable.sql").read_text()


@contextmanager
def connected(context: Context, source: Source) -> Iterator[tuple[Connection, str]]:
    """Yield a connection, and where it leads.

    Raises:
        RefusedError: there is none; secrets are masked, and settings named where they stand.
    """
    extractor = source.extractor
    try:
        with postgres.connected(
            extractor.executable, extractor.config(), context.inherited, "stack check"
        ) as found:
            yield found
    except RefusedError as error:
        raise RefusedError(context.masked(error.problem), _placed(extractor, error.fix)) from None


def schemas(source: Source, connection: Connection) -> Iterator[Result]:
    """Yield which schemas are missing, or may not be used."""
    extractor = source.extractor
    user = connection.info.user
    names = extractor.config().get("filter_schemas") or []
    for schema in connection.execute(SCHEMAS, [names]).fetchall():
        if not schema["is_there"]:
            fix = f"Correct `filter_schemas` of {extractor.name} in extract/{source.file.name}."
            yield failed("schemas", f"there is no schema '{schema['name']}'", fix)
        elif not schema["is_usable"]:
            fix = f"As its owner: grant usage on schema {schema['name']} to {user}"
            yield failed("schemas", f"{user} may not use the schema '{schema['name']}'", fix)


def privileges(
    source: Source, selected: Sequence[Stream], connection: Connection
) -> Iterator[Result]:
    """Yield which selected tables and columns may not be read."""
    user = connection.info.user
    streams = {stream.name: stream for stream in selected}
    rows = connection.execute(UNREADABLE, [list(streams)]).fetchall()
    wrong = False
    for row in rows:
        columns = [name for name in row["columns"] if name in streams[row["stream"]].selected]
        if not columns:
            continue
        wrong = True
        stream, relation = row["stream"], row["relation"]
        if row["is_whole"]:
            detail, granted, left_out = f"{user} may not read {relation}", "", f"!{stream}.*"
        else:
            names = ", ".join(columns)
            detail = f"{user} may not read {names} of {relation}"
            granted, left_out = f" ({names})", f"!{stream}.{columns[0]}"
        # Without a line that takes something in, all is.
        has_lines = bool(source.extractor.extras.get("select"))
        how = f"add `'{left_out}'` to `select`" if has_lines else f"`select: ['*.*', '{left_out}']`"
        fix = (
            f"As its owner: grant select{granted} on {relation} to {user}; or leave it out: {how}."
        )
        yield failed("privileges", detail, fix)
    if not wrong:
        yield passed("privileges", f"{user} may read all of them")


def _placed(extractor: Plugin, fix: str) -> str:
    """Return a fix with each setting of the tap named by the variable that holds it."""

    def place(named: re.Match[str]) -> str:
        return extractor.where(named[1]) if named[1] in extractor.settings else named[0]

    return re.sub(r"`(\w+)`", place, fix)


def check(context: Context, source: Source) -> Iterator[Result]:
    """Yield what there is to say of a source; what rests on a fault isn't looked at."""
    settings = list(report.settings(context, [source.extractor]))
    yield from settings
    extractor = source.extractor
    if not Path(extractor.executable).exists():
        yield skipped("streams", "not asked: its tap isn't installed")
    elif any(result.ok is False for result in settings):
        yield skipped("streams", "not asked: settings are missing")
    elif installation.lacks_redirect(context, extractor):
        yield skipped("streams", "not asked: requests would go to the vendor")
    elif extractor.program == manifests.TAP and not manifests.of(extractor, context.root):
        yield skipped("streams", "not asked: its manifest can't be read")
    else:
        with scratch.folder("stack-check") as folder:
            tap = Tap(context, source, folder)
            if extractor.program != TAP:
                yield from _read(context, source, tap)
                return
            try:
                with connected(context, source) as (connection, at):
                    version = connection.info.server_version // 10000
                    yield passed("connection", f"Postgres {version} at {at}")
                    yield from _read(context, source, tap, connection)
            except RefusedError as error:
                yield failed("connection", error.problem, error.fix)


def _read(
    context: Context, source: Source, tap: Tap, connection: Connection | None = None
) -> Iterator[Result]:
    """Yield what there is to say of what a tap sees, and of what the database lets it read."""
    if connection and (wrong := list(schemas(source, connection))):
        yield from wrong
        return
    try:
        catalog = tap.discover()
    except TapError as error:
        yield failed("discovery", error.reason, error.fix)
        return
    try:
        streams = streams_of(context, source.extractor, catalog)
    except StackError as error:
        fix = f"Correct them in extract/{source.file.name}, or the catalog of the tap."
        yield failed("select", error.message, fix)
        return
    selected = [stream for stream in streams if stream.is_selected]
    yield from selection(source, streams, selected)
    if not selected:
        return
    wrong = [fault for one in selected for fault in keys(one, f"extract/{source.file.name}")]
    yield from wrong or [passed("keys", "each has a key, and each replication key is there")]
    if connection:
        yield from privileges(source, selected, connection)
    elif source.extractor.program == manifests.TAP:
        yield from _reads(tap.check, "the manifest's own check")
    else:
        # Of the stream that asks least of the source: read whole, and narrow. And of that alone: a
        # tap that is ended in the middle of another may leave something open at the vendor, such as
        # a scroll that nobody else may begin then.
        least = min(selected, key=lambda one: (one.method != "FULL_TABLE", len(one.properties)))
        stream = least.name
        yield from _reads(partial(tap.read, catalog, stream), stream)


def selection(
    source: Source, streams: Sequence[Stream], selected: Sequence[Stream]
) -> Iterator[Result]:
    """Yield whether each line of `select` and `metadata` fits something."""
    file = source.file.name
    patterns = source.extractor.extras.get("select") or ["*.*"]
    unknown = list(unmatched(patterns, streams))
    for pattern, near in unknown:
        detail = f"`{pattern}` is nothing that the source has"
        there = f"did you mean `{near}`?" if near else f"there are: {_some(streams)}."
        yield failed("select", detail, f"Correct `select` in extract/{file}: {there}")
    names = [stream.name for stream in streams]
    for pattern in source.extractor.extras.get("metadata") or {}:
        stream = unescaped(DOT.split(pattern, maxsplit=1)[0])
        if not any(fnmatchcase(name, stream) for name in names):
            detail = f"`{pattern}` is nothing that the source has"
            fix = f"Correct `metadata` in extract/{file}{meant(stream, names)}"
            yield failed("metadata", detail, fix)
    if all(pattern.startswith("!") for pattern in patterns):
        detail = "none is selected: every line of `select` leaves something out"
        yield failed("streams", detail, f"Put `'*.*'` in front of them in extract/{file}.")
    elif not streams:
        fix = "Make one there; or let the user see it, and look at what the settings leave out."
        yield failed("streams", "the source has none", fix)
    elif not selected:
        yield failed("streams", "none is selected", f"Correct `select` in extract/{file}.")
    elif not unknown:
        count = f"{len(selected)} of {len(streams)}"
        yield passed("streams", f"{count} selected: {_some(selected)}")


def keys(stream: Stream, file: str) -> Iterator[Result]:
    """Yield what is wrong with a stream's key, or with its replication key."""
    known = {"its key": ("table-key-properties", stream.keys, list(stream.properties))}
    if stream.replication_key and stream.replication_key != "xmin":
        there = [*stream.properties, *stream.valid_replication_keys]
        known["its replication key"] = ("replication-key", [stream.replication_key], there)
    for said, (setting, keys, there) in known.items():
        for key in [key for key in keys if key not in there][:1]:
            detail = f"{stream.name}: {said} `{key}` isn't among its columns"
            near = meant(key, stream.properties)
            yield failed("keys", detail, f"Correct `{setting}` in `metadata` in {file}{near}")
    if not stream.keys:
        detail = f"{stream.name} has no key: each run adds all of its rows, and marks the old ones"
        fix = (
            f"Give it a primary key at the source; or say what tells rows apart in {file}: "
            f"`metadata: {{{stream.name}: {{table-key-properties: [id]}}}}`."
        )
        yield noted("keys", detail, fix)


def _reads(read: Callable[[], None], what: str) -> Iterator[Result]:
    """Yield whether the source can be read, by reading a little of it."""
    try:
        read()
    except TapError as error:
        yield failed("reading", f"{what}: {error.reason}", error.fix)
    else:
        yield passed("reading", f"{what} answers")


def _some(streams: Sequence[Stream]) -> str:
    """Return the names of some streams, in one line."""
    names = [stream.name for stream in streams]
    shown = 9
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if names[shown:] else "")
