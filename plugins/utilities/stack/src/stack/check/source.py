"""A source: can it be reached and read, and has it what the project asks of it?"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from stack import scratch
from stack.check import pins, postgres, variables
from stack.check.context import Context
from stack.check.result import Result, failed, noted, passed, skipped
from stack.check.selection import DOT, Selection, Stream, nearest, unescaped
from stack.check.taps import Tap, TapError
from stack.postgres import Connection, RefusedError
from stack.project import Source

XMIN = "xmin"


def check(context: Context, source: Source) -> Iterator[Result]:
    """Yield what there is to say of a source; what rests on a fault isn't looked at."""
    settings = list(variables.check(context, [source.extractor]))
    yield from settings
    extractor = source.extractor
    if not Path(extractor.executable).exists():
        yield skipped("streams", "not asked: its tap isn't installed")
    elif any(result.ok is False for result in settings):
        yield skipped("streams", "not asked: settings are missing")
    elif not pins.is_redirected(context, extractor):
        yield skipped("streams", "not asked: requests would go to the vendor")
    else:
        with scratch.folder("stack-check") as folder:
            yield from _streams(context, source, folder)


def _streams(context: Context, source: Source, folder: Path) -> Iterator[Result]:
    if not postgres.is_postgres(source.extractor):
        yield from _read(context, source, folder)
        return
    if missing := list(postgres.missing(source)):
        yield from missing
        return
    try:
        with postgres.connected(context, source) as (connection, at):
            version = connection.info.server_version // 10000
            yield passed("connection", f"Postgres {version} at {at}")
            yield from _read(context, source, folder, connection)
    except RefusedError as error:
        yield failed("connection", error.problem, error.fix)


def _read(
    context: Context, source: Source, folder: Path, connection: Connection | None = None
) -> Iterator[Result]:
    """Yield what there is to say of what a tap sees, and of what the database lets it read."""
    if connection and (wrong := list(postgres.schemas(source, connection))):
        yield from wrong
        return
    tap = Tap(context, source, folder)
    try:
        catalog = tap.discover()
    except TapError as error:
        yield failed("discovery", error.reason, error.mend)
        return
    selection = Selection.of(catalog, source.extractor.extras)
    yield from selected(source, selection)
    yield from keys(source, selection)
    if not selection.selected:
        return
    if connection:
        yield from postgres.privileges(source, selection, connection)
    else:
        yield from _reads(tap, catalog, selection.selected)


def selected(source: Source, selection: Selection) -> Iterator[Result]:
    """Yield whether each line of `select` and `metadata` means something."""
    file = source.file.name
    vain = list(selection.in_vain())
    for pattern, near in vain:
        meant = f"did you mean `{near}`?" if near else f"there are: {_some(selection.streams)}."
        detail = f"`{pattern.text}` is nothing that the source has"
        yield failed("select", detail, f"Correct `select` in extract/{file}: {meant}")
    names = [stream.name for stream in selection.streams]
    for pattern in source.extractor.extras.get("metadata") or {}:
        stream = unescaped(DOT.split(pattern, maxsplit=1)[0])
        if not any(fnmatchcase(name, stream) for name in names):
            near = nearest(stream, names)
            meant = f": did you mean `{near}`?" if near else "."
            detail = f"`{pattern}` is nothing that the source has"
            yield failed("metadata", detail, f"Correct `metadata` in extract/{file}{meant}")
    if selection.only_excludes:
        detail = "none is selected: every line of `select` leaves something out"
        yield failed("streams", detail, f"Put `'*.*'` in front of them in extract/{file}.")
    elif not selection.streams:
        mend = "Make one there; or let the user see it, and look at what the settings leave out."
        yield failed("streams", "the source has none", mend)
    elif not selection.selected:
        yield failed("streams", "none is selected", f"Correct `select` in extract/{file}.")
    elif not vain:
        count = f"{len(selection.selected)} of {len(selection.streams)}"
        yield passed("streams", f"{count} selected: {_some(selection.selected)}")


def keys(source: Source, selection: Selection) -> Iterator[Result]:
    """Yield whether each stream can be told row from row, and read from where it was left."""
    file = f"extract/{source.file.name}"
    wrong = False
    for stream in selection.selected:
        fault = _key(stream, file) or _replication_key(stream, file)
        if fault:
            wrong = True
            yield fault
    if selection.selected and not wrong:
        yield passed("keys", "each has a key, and each replication key is there")


def _key(stream: Stream, file: str) -> Result | None:
    gone = [key for key in stream.keys if key not in stream.properties]
    if gone:
        detail = f"{stream.name}: its key `{gone[0]}` isn't among its columns"
        mend = f"Correct `table-key-properties` in `metadata` in {file}{_meant(gone[0], stream)}"
        return failed("keys", detail, mend)
    if stream.keys:
        return None
    detail = f"{stream.name} has no key: each run adds all of its rows anew, and marks the old ones"
    mend = (
        f"Give it a primary key at the source; or say what tells rows apart in {file}: "
        f"`metadata: {{{stream.name}: {{table-key-properties: [id]}}}}`."
    )
    return noted("keys", detail, mend)


def _replication_key(stream: Stream, file: str) -> Result | None:
    key = stream.replication_key
    if key and key != XMIN and key not in [*stream.properties, *stream.replication_keys]:
        detail = f"{stream.name}: its replication key `{key}` isn't among its columns"
        mend = f"Correct `replication-key` in `metadata` in {file}{_meant(key, stream)}"
        return failed("keys", detail, mend)
    return None


def _meant(name: str, stream: Stream) -> str:
    near = nearest(name, stream.properties)
    return f": did you mean `{near}`?" if near else "."


def _reads(tap: Tap, catalog: Mapping[str, Any], streams: Sequence[Stream]) -> Iterator[Result]:
    """Yield whether the source can be read, by reading one record.

    One of one stream: a tap that is ended in the middle of another may leave something open at the
    vendor, as Intercom's scroll through companies, which nobody else may begin meanwhile.
    """
    stream = easiest(streams)
    try:
        tap.read(catalog, stream.name)
    except TapError as error:
        yield failed("reading", f"{stream.name}: {error.reason}", error.mend)
    else:
        yield passed("reading", f"{stream.name} answers")


def easiest(streams: Sequence[Stream]) -> Stream:
    """Return the stream that asks least of the source: read whole, and narrow."""
    return min(streams, key=lambda one: (one.method != "FULL_TABLE", len(one.properties)))


def _some(streams: Sequence[Stream]) -> str:
    """Return the names of some streams, in one line."""
    names = [stream.name for stream in streams]
    shown = 9
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if names[shown:] else "")
