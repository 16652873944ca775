"""One run: the CDK's messages become Singer's."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from airbyte_cdk.models import AirbyteMessage, AirbyteStreamStatus, SyncMode, TraceType, Type

from tap_airbyte_manifest.catalog import Selection
from tap_airbyte_manifest.errors import TapError, one_line
from tap_airbyte_manifest.source import ManifestSource, read

logger = logging.getLogger("tap-airbyte-manifest")
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Sync:
    """Reads streams and writes Singer's messages.

    Attributes:
        failures: what went wrong, by stream.
    """

    def __init__(
        self,
        source: ManifestSource,
        streams: Sequence[Selection],
        state: Mapping[str, Any],
        max_delete_fraction: float,
    ) -> None:
        """Prepare; nothing is read yet."""
        self._source = source
        self._streams = {stream.name: stream for stream in streams}
        self._state = {**state, "bookmarks": dict(state.get("bookmarks") or {})}
        self._max_delete_fraction = max_delete_fraction
        self._version = time.time_ns() // 1_000_000
        self._extracted = datetime.now(UTC).isoformat()
        self.failures: dict[str, str] = {}
        self._write = sys.stdout.buffer.write

    def run(self) -> None:
        """Read all streams.

        Raises:
            TapError: some could not be read; the others have been.
        """
        self._write_state()
        modes = {
            name: SyncMode.incremental if stream.incremental else SyncMode.full_refresh
            for name, stream in self._streams.items()
        }
        for message in read(self._source, modes):
            self._handle(message)
        sys.stdout.flush()

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
                    self._fail(descriptor.name, trace.error.message)

    def _record(self, name: str, data: Any) -> None:
        stream = self._streams[name]
        message = {"type": "RECORD", "stream": name, "record": data}
        if not stream.incremental:
            message["version"] = self._version
        message["time_extracted"] = self._extracted
        self._write(_encode(message) + b"\n")

    def _checkpoint(self, name: str, state: Mapping[str, Any]) -> None:
        if name in self.failures or name not in self._streams:
            return
        stream = self._streams[name]
        bookmark: dict[str, Any] = {"airbyte_state": dict(state)}
        if stream.cursor:
            bookmark["replication_key"] = stream.cursor
        self._state["bookmarks"][name] = bookmark
        self._write_state()

    def _write_state(self) -> None:
        self._write(_encode({"type": "STATE", "value": self._state, "independent": True}) + b"\n")
        sys.stdout.flush()

    def _status(self, name: str, status: AirbyteStreamStatus) -> None:
        stream = self._streams.get(name)
        if stream is None:
            return
        if status is AirbyteStreamStatus.STARTED:
            schema = {
                "type": "SCHEMA",
                "stream": name,
                "schema": stream.schema,
                "key_properties": stream.keys,
            }
            if stream.cursor:
                schema["bookmark_properties"] = [stream.cursor]
            self._write(_encode(schema) + b"\n")
        elif status is AirbyteStreamStatus.INCOMPLETE:
            self._fail(name, "it was not read to its end")
        elif status is AirbyteStreamStatus.COMPLETE and not stream.incremental:
            if name not in self.failures:
                self._write(
                    _encode(
                        {
                            "type": "ACTIVATE_VERSION",
                            "stream": name,
                            "version": self._version,
                            "max_delete_fraction": self._max_delete_fraction,
                        }
                    )
                    + b"\n"
                )

    def _fail(self, name: str, reason: str) -> None:
        if name not in self.failures:
            self.failures[name] = one_line(reason)


def failed(failures: Mapping[str, str]) -> TapError:
    """Return the error that ends a run of which streams failed."""
    names = ", ".join(f"'{name}'" for name in failures)
    return TapError(f"Not read to their end: {names}. The others were.")
