"""One run: the CDK's messages become Singer's."""

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec
from airbyte_cdk.models import AirbyteMessage, AirbyteStreamStatus, TraceType, Type
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from tap_airbyte_manifest.catalog import Selection
from tap_airbyte_manifest.errors import TapError, mask, one_line
from tap_airbyte_manifest.records import Fitting
from tap_airbyte_manifest.runtime import notes
from tap_airbyte_manifest.source import ManifestSource, Window, window

logger = logging.getLogger("tap-airbyte-manifest")
_encode = msgspec.json.Encoder(decimal_format="number").encode

# The bookmark of the settings that the API has changed: tokens that are good for one use.
CONFIG = "airbyte_config"


class _StreamError(Exception):
    """A record can't be loaded, so its stream fails."""


class _Stream:
    """What is known of a stream while it is read."""

    def __init__(self, selection: Selection, current: Window, before: Window | None) -> None:
        """Take what the catalog selects, and what is read of it now and was before."""
        self.name = selection.name
        self.selection = selection
        self.fit = Fitting(selection.schema, selection.left_out, selection.wants)
        self.window = current
        self.window_before = before
        self.records = 0
        self.held: Mapping[str, Any] | None = None

    def check(self, record: Mapping[str, Any]) -> None:
        """See whether a record can be loaded.

        Raises:
            _StreamError: its key or its cursor isn't there.
        """
        for key in self.selection.keys:
            if record.get(key) is None:
                message = (
                    f"a record has no `{key}`, which is of its key. Correct `primary_key` in the "
                    f"manifest, or choose another key with `table-key-properties` in the "
                    f"extractor's `metadata`"
                )
                raise _StreamError(message)
        cursor = self.selection.cursor
        if cursor and record.get(cursor) is None:
            message = (
                f"a record has no `{cursor}`, which the stream is read by. Correct `cursor_field` "
                f"in the manifest, or read the stream with `replication-method: FULL_TABLE` in the "
                f"extractor's `metadata`"
            )
            raise _StreamError(message)


class Sync:
    """Reads streams and writes Singer's messages.

    Attributes:
        failures: what went wrong, by stream.
    """

    def __init__(
        self,
        source: ManifestSource,
        selected: Sequence[Selection],
        state: Mapping[str, Any],
        *,
        output: BinaryIO,
        given: Mapping[str, Any],
        max_delete_fraction: float,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            source: the CDK's.
            selected: what to read of it.
            state: that the last run left.
            output: where messages go.
            given: the settings that the user gave, before any change by the API.
            max_delete_fraction: the share of a table's live rows that may go at once.
        """
        bookmarks = state.get("bookmarks") or {}
        self._state = {**state, "bookmarks": dict(bookmarks)}
        self._source = source
        self._given = fingerprint(given)
        self._config_before = deepcopy(dict(source.config))
        built = {stream.name: stream for stream in source.streams({})}
        self.failures: dict[str, str] = {}
        self._streams: dict[str, _Stream] = {}
        for selection in selected:
            name = selection.name
            if name not in built:
                missing = (
                    "the catalog selects it, but the manifest has no such stream. Leave it out "
                    f"with `select: ['*.*', '!{name}.*']`"
                )
                self._fail(name, source.broken.get(name, missing))
                continue
            try:
                current = window(built[name])
            except Exception as error:  # whatever the cursor makes of the settings
                self._fail(name, f"its cursor can't be set up: {error}")
            else:
                bookmark = bookmarks.get(name)
                before = bookmark.get("window") if isinstance(bookmark, Mapping) else None
                self._streams[name] = _Stream(
                    selection, current, Window(**before) if before else None
                )
        self._max_delete_fraction = max_delete_fraction
        self._version = time.time_ns() // 1_000_000
        self._output = output
        # A token may change while records are written.
        self._lock = threading.Lock()

    def run(self) -> None:
        """Read all streams.

        Raises:
            TapError: some could not be read; the others have been.
        """
        with self._lock:
            self._write_state_now()
        try:
            for message in self._source.read_streams(list(self._streams)):
                self._handle(message)
        except AirbyteTracedException:
            # That streams have failed. Each of them has been told.
            if not self.failures:
                raise
        self._output.flush()
        for name, reason in self.failures.items():
            logger.error("Stream '%s': %s.", name, reason)
        if self.failures:
            names = ", ".join(f"'{name}'" for name in self.failures)
            failed = f"{len(self.failures)} of the streams failed: {names}. The others were read."
            raise TapError(failed)

    def take_config(self, config: Mapping[str, Any]) -> None:
        """Keep settings that the API has changed, such as its tokens, for the next run."""
        changed = _changes(self._config_before, config)
        mask.add(_texts(changed))
        with self._lock:
            kept = _kept_config(self._state, self._given)
            self._state["bookmarks"][CONFIG] = {
                "given": self._given,
                "config": _merged(kept, changed),
            }
            self._write_state_now()

    def _handle(self, message: AirbyteMessage) -> None:
        if message.type is Type.RECORD and message.record is not None:
            self._record(message.record.stream, message.record.data)
        elif message.type is Type.STATE and message.state is not None:
            stream = message.state.stream
            if stream is not None and stream.stream_state is not None:
                self._checkpoint(stream.stream_descriptor.name, vars(stream.stream_state))
        elif message.type is Type.TRACE and message.trace is not None:
            trace = message.trace
            if trace.type is TraceType.STREAM_STATUS and trace.stream_status is not None:
                self._status(trace.stream_status.stream_descriptor.name, trace.stream_status.status)
            elif trace.type is TraceType.ERROR and trace.error is not None:
                descriptor = trace.error.stream_descriptor
                if descriptor is not None:
                    self._fail(descriptor.name, _reason(trace.error))

    def _record(self, name: str, data: dict[str, Any]) -> None:
        if name in self.failures:
            return
        stream = self._streams[name]
        record = stream.fit(data)
        try:
            stream.check(record)
        except _StreamError as error:
            self._fail(name, str(error))
            return
        message: dict[str, Any] = {"type": "RECORD", "stream": name, "record": record}
        if _is_read_in_full(stream):
            message["version"] = self._version
        message["time_extracted"] = datetime.now(UTC).isoformat()
        stream.records += 1
        try:
            self._write(message)
        except (TypeError, ValueError, RecursionError) as error:
            self._fail(name, f"a record can't be written as JSON: {error}")

    def _checkpoint(
        self, name: str, state: Mapping[str, Any], *, is_complete: bool = False
    ) -> None:
        # After a failure, what comes may stand for rows that didn't.
        if name in self.failures or name not in self._streams:
            return
        stream = self._streams[name]
        if stream.selection.incremental and name in notes.read_in_full and not is_complete:
            # It stands for the deletes too.
            stream.held = state
            return
        bookmark: dict[str, Any] = {"airbyte_state": dict(state)}
        if stream.selection.cursor:
            bookmark["replication_key"] = stream.selection.cursor
        if stream.window.start is not None:
            bookmark["window"] = self._widest(stream)._asdict()
        with self._lock:
            self._state["bookmarks"][name] = bookmark
            self._write_state_now()

    @staticmethod
    def _widest(stream: _Stream) -> Window:
        """Return the window in which rows have been read, in this run or before."""
        before = stream.window_before
        if before is None or stream.window.covers(before):
            return stream.window
        return Window(before.start, stream.window.end)

    def _status(self, name: str, status: AirbyteStreamStatus) -> None:
        stream = self._streams.get(name)
        if stream is None:
            return
        if status is AirbyteStreamStatus.STARTED:
            schema = {
                "type": "SCHEMA",
                "stream": name,
                "schema": stream.selection.schema,
                "key_properties": stream.selection.keys,
            }
            if stream.selection.cursor:
                schema["bookmark_properties"] = [stream.selection.cursor]
            self._write(schema)
        elif status is AirbyteStreamStatus.INCOMPLETE:
            self._fail(name, "it was not read to its end")
        elif status is AirbyteStreamStatus.COMPLETE and name not in self.failures:
            logger.info("Stream '%s': %s records.", name, f"{stream.records:,}")
            self._complete(stream)
            if stream.held is not None:
                self._checkpoint(name, stream.held, is_complete=True)

    def _complete(self, stream: _Stream) -> None:
        """End a stream: where all of it was read, what didn't come has gone."""
        if not _is_read_in_full(stream):
            return
        doubt = notes.doubts.get(stream.name)
        before = stream.window_before
        if not doubt and before is not None and not stream.window.covers(before):
            doubt = (
                "earlier runs read from an earlier start, or to a later end. Set that again, or "
                "remove the stream's bookmark from the state if those rows may go"
            )
        if doubt:
            logger.warning(
                "Stream '%s' may lack rows: %s. No row counts as deleted in this run.",
                stream.name,
                doubt,
            )
            return
        self._write(
            {
                "type": "ACTIVATE_VERSION",
                "stream": stream.name,
                "version": self._version,
                "max_delete_fraction": self._max_delete_fraction,
            }
        )

    def _fail(self, name: str, reason: str) -> None:
        if name not in self.failures:
            notes.given_up.add(name)
            self.failures[name] = one_line(reason).rstrip(".")

    def _write(self, message: Mapping[str, Any]) -> None:
        line = _encode(message) + b"\n"
        with self._lock:
            self._output.write(line)

    def _write_state_now(self) -> None:
        message = {"type": "STATE", "value": self._state, "independent": True}
        self._output.write(_encode(message) + b"\n")
        self._output.flush()


def _is_read_in_full(stream: _Stream) -> bool:
    return not stream.selection.incremental or stream.name in notes.read_in_full


def known_config(config: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with what the API changed in an earlier run, unless the user did since."""
    kept = _kept_config(state, fingerprint(config))
    mask.add(_texts(kept))
    return _merged(config, kept)


def _kept_config(state: Mapping[str, Any], given: str) -> Mapping[str, Any]:
    bookmark = (state.get("bookmarks") or {}).get(CONFIG) or {}
    return bookmark["config"] if bookmark.get("given") == given else {}


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return what tells settings from others, and nothing else of them."""
    return hashlib.sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()[:16]


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has changed, and nothing beside it."""
    return {
        name: _changes(before[name], value)
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping)
        else value
        for name, value in after.items()
        if name not in before or before[name] != value
    }


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes, which may be deep inside."""
    return dict(base) | {
        name: _merged(base[name], value)
        if isinstance(value, Mapping) and isinstance(base.get(name), Mapping)
        else value
        for name, value in changes.items()
    }


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def _reason(error: Any) -> str:
    """Return what a stream failed of, by the CDK's message or by the exception behind it."""
    message = str(error.message)
    internal = str(error.internal_message or "")
    if message.startswith("An unexpected error occurred") and internal:
        kind = message.rpartition(":")[2].strip()
        return f"the manifest doesn't fit the API's answers, or its settings: {internal} ({kind})"
    return message
