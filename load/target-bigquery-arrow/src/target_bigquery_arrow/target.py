"""The Singer target: messages in, committed rows and then their state out."""

import contextlib
import os
import secrets
import select
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn, override

import msgspec
from singer_sdk import Target
from singer_sdk import typing as th
from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform, StreamMap

from target_bigquery_arrow.decoder import DECODE_ERRORS, unreadable
from target_bigquery_arrow.drift import SchemaDrift
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import layout_of
from target_bigquery_arrow.messages import (
    ActivateVersion,
    Batch,
    MessageReader,
    Record,
    Schema,
    State,
)
from target_bigquery_arrow.names import table_name, valid_name
from target_bigquery_arrow.stream import LoadOptions, Stream
from target_bigquery_arrow.warehouse import Warehouse

MEBIBYTE = 2**20
# A stream's records become a row group once they take this part of `batch_bytes`.
ROW_GROUPS_PER_BATCH = 16
PARALLEL_LOADS = 4


class TargetBigQueryArrow(Target):
    """Load Singer streams into BigQuery.

    The SDK gives the command line, the settings and `stream_maps`. Its sinks are not used: they
    handle one Python dictionary a record, and this loader handles columns.
    """

    name = "target-bigquery-arrow"
    message_reader_class = MessageReader
    capabilities: ClassVar = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]
    config_jsonschema = th.PropertiesList(
        th.Property(
            "project",
            th.StringType(min_length=1),
            required=True,
            description="The Google Cloud project that owns the dataset and runs the jobs.",
        ),
        th.Property(
            "dataset",
            th.StringType(min_length=1),
            required=True,
            description="The dataset that tables are loaded into; made if it isn't there.",
        ),
        th.Property(
            "location",
            th.StringType(min_length=1),
            default="US",
            description="The dataset's location, e.g. `EU` or `europe-west2`.",
        ),
        th.Property(
            "credentials_path",
            th.StringType(min_length=1),
            description=(
                "A service account's key file. Without it, application default credentials."
            ),
        ),
        th.Property(
            "api_endpoint",
            th.StringType(min_length=1),
            description="Another address of the BigQuery API, e.g. a local emulator's.",
        ),
        th.Property(
            "anonymous",
            th.BooleanType,
            default=False,
            description="Send no credentials. Only with `api_endpoint`, for an emulator.",
        ),
        th.Property(
            "schema_drift",
            th.StringType(allowed_values=[policy.value for policy in SchemaDrift]),
            default=SchemaDrift.EVOLVE.value,
            description=(
                "When a stream's columns differ from its table's: `evolve` the table, `freeze` it "
                "and leave new columns out, or `fail`."
            ),
        ),
        th.Property(
            "process_activate_version_messages",
            th.BooleanType,
            default=True,
            description="Mark, or remove, the rows that a FULL_TABLE stream no longer has.",
        ),
        th.Property(
            "hard_delete",
            th.BooleanType,
            default=False,
            description="Remove deleted rows instead of setting `_sdc_deleted_at`.",
        ),
        th.Property(
            "drop_stream_prefixes",
            th.ArrayType(th.StringType),
            default=["public-"],
            description="Prefixes of stream names that are left out of table names.",
        ),
        th.Property(
            "batch_bytes",
            th.IntegerType(minimum=MEBIBYTE),
            default=64 * MEBIBYTE,
            description="Memory for records that are not on disk yet, for all streams together.",
        ),
        th.Property(
            "load_bytes",
            th.IntegerType(minimum=MEBIBYTE),
            default=512 * MEBIBYTE,
            description="Parquet on disk, for all streams together, before it is loaded.",
        ),
        th.Property(
            "batch_wait_limit_seconds",
            th.IntegerType(minimum=1),
            default=300,
            description="Load, and move the state, at least this often.",
        ),
        th.Property(
            "partition_bytes",
            th.IntegerType(minimum=0),
            default=256 * MEBIBYTE,
            description=(
                "A new table whose first load is at least this large is partitioned by month of "
                "ingestion."
            ),
        ),
        th.Property(
            "retry_seconds",
            th.NumberType(minimum=0),
            default=300,
            description="How long to go on when BigQuery fails or can't be reached.",
        ),
        additional_properties=False,
    ).to_dict()

    def __init__(self, *, config: dict[str, Any], **options: Any) -> None:
        """Read the settings and prepare the client. Nothing is sent before the first SCHEMA.

        Raises:
            LoadError: the settings contradict each other, or there are no credentials.
        """
        # A setting of null is one that is left out.
        given = {name: value for name, value in config.items() if value is not None}
        super().__init__(config=given, **options)
        if self.config["anonymous"] and not self.config.get("api_endpoint"):
            message = "`anonymous` is for emulators: set `api_endpoint` too, or leave it out."
            raise LoadError(message)
        # Where records go, by the stream's name as the tap gives it; and every stream by table.
        self._routes: dict[str, list[tuple[StreamMap, Stream]]] = {}
        self._streams: dict[str, Stream] = {}
        self._schemas: dict[str, Schema] = {}
        self._state: bytes | None = None
        self._pending_bytes = 0
        self._committed_at = time.monotonic()
        # Those that the last message but STATE was for: the ones whose end a STATE may tell.
        self._last_heard: list[tuple[StreamMap, Stream]] = []
        self._row_group_bytes = self.config["batch_bytes"] // ROW_GROUPS_PER_BATCH
        self._directory = tempfile.TemporaryDirectory(prefix="target-bigquery-arrow-")
        self._options = LoadOptions(
            directory=Path(self._directory.name),
            run=secrets.token_hex(6),
            drift=SchemaDrift(self.config["schema_drift"]),
            hard_delete=self.config["hard_delete"],
            partition_bytes=self.config["partition_bytes"],
        )
        self._warehouse = Warehouse(
            project=self.config["project"],
            dataset=valid_name(self.config["dataset"]),
            location=self.config["location"],
            api_endpoint=self.config.get("api_endpoint"),
            anonymous=self.config["anonymous"],
            credentials_path=self.config.get("credentials_path"),
            retry_seconds=float(self.config["retry_seconds"]),
        )

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        # Without the SDK's settings for its own sinks (load_method, batch_size_rows, …).
        super(Target, cls).append_builtin_config(config_jsonschema)

    # Messages

    @override
    def _process_schema_message(self, message: Any) -> None:
        schema: Schema = message
        if self._schemas.get(schema.stream) == schema:
            self._last_heard = self._routes[schema.stream]
            return
        if not self._schemas:
            self._warehouse.ensure_dataset()
        if schema.stream in self._schemas:
            self.commit()
        else:
            for _, stream in self._last_heard:
                stream.completeness.next_stream()
        self._schemas[schema.stream] = schema
        self.mapper.register_raw_stream_schema(
            schema.stream, schema.schema, schema.key_properties or []
        )
        self._routes[schema.stream] = [
            (stream_map, self._stream_for(stream_map, schema.stream))
            for stream_map in self.mapper.stream_maps[schema.stream]
            if not isinstance(stream_map, RemoveRecordTransform)
        ]
        self._last_heard = self._routes[schema.stream]

    def _stream_for(self, stream_map: StreamMap, source: str) -> Stream:
        """Begin to load a stream, or go on with it under its new schema.

        Raises:
            LoadError: another stream of this run goes to the same table.
        """
        name = stream_map.stream_alias
        layout = layout_of(
            name,
            table_name(name, self.config["drop_stream_prefixes"]),
            stream_map.transformed_schema,
            stream_map.transformed_key_properties,
        )
        stream = self._streams.get(layout.table.lower())
        if stream is None:
            stream = Stream(layout, self._warehouse, self._options)
            self._streams[layout.table.lower()] = stream
        elif stream in (known for _, known in self._routes.get(source, [])):
            stream.adopt(layout)
        else:
            message = (
                f"Streams '{stream.layout.stream}' and '{name}' would both be table "
                f"'{stream.target}'. Deselect one of them, rename it with `stream_maps`, or "
                f"change the loader's `drop_stream_prefixes`."
            )
            raise LoadError(message)
        return stream

    @override
    def _process_record_message(self, message: Any) -> None:
        record: Record = message
        for stream_map, stream in self._streams_named(record.stream, "RECORD"):
            stream.completeness.records += 1
            mapped = _mapped(record, stream_map)
            if mapped is None:
                continue
            buffer = stream.buffer
            before = buffer.pending_bytes
            stream.append(mapped)
            self._pending_bytes += buffer.pending_bytes - before
            if buffer.pending_bytes >= self._row_group_bytes:
                self._spill(stream)
        if self._pending_bytes >= self.config["batch_bytes"]:
            for stream in self._streams.values():
                self._spill(stream)

    def _spill(self, stream: Stream) -> None:
        """Write a stream's records to disk; load everything when that is worth it."""
        self._pending_bytes -= stream.buffer.pending_bytes
        stream.buffer.spill()
        written = sum(stream.buffer.written_bytes for stream in self._streams.values())
        if written >= self.config["load_bytes"]:
            self.commit()

    @override
    def _process_state_message(self, message: Any) -> None:
        state: State = message
        self._state = bytes(state.value)
        for _, stream in self._last_heard:
            stream.completeness.state()
        if time.monotonic() - self._committed_at >= self.config["batch_wait_limit_seconds"]:
            self.commit()

    @override
    def _process_activate_version_message(self, message: Any) -> None:
        activation: ActivateVersion = message
        if not self.config["process_activate_version_messages"]:
            return
        for _, stream in self._streams_named(activation.stream, "ACTIVATE_VERSION"):
            stream.completeness.activate_version(activation.version)

    @override
    def _process_batch_message(self, message: Any) -> NoReturn:
        batch: Batch = message
        text = (
            f"Stream '{batch.stream}': BATCH messages are not supported. Leave `batch_config` out "
            f"of the extractor's settings, so that it sends RECORD messages."
        )
        raise LoadError(text)

    @override
    def process_endofpipe(self) -> None:
        """Load what is left, say what was done, and let the tables go."""
        self._load()
        self._for_each_stream(Stream.activate_version)
        self._emit_state()
        for stream in self._streams.values():
            self._log_counts(stream)
            stream.close()
        self._directory.cleanup()

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> NoReturn:
        # What is not committed has no state either: the next run reads it again.
        sys.exit(128 + signum)

    # Commits

    def commit(self) -> None:
        """Load every stream's rows, then emit the newest state that they complete."""
        self._load()
        self._emit_state()

    def _load(self) -> None:
        files = {stream: stream.take_file() for stream in self._streams.values()}
        self._pending_bytes = 0
        self._for_each_stream(lambda stream: stream.load(files[stream]))
        self._committed_at = time.monotonic()

    def _emit_state(self) -> None:
        if self._state is None:
            return
        sys.stdout.buffer.write(self._state + b"\n")
        sys.stdout.buffer.flush()
        self._state = None

    def _for_each_stream(self, work: Callable[[Stream], None]) -> None:
        """Do some work for every stream, several at a time.

        The first failure is the one that is raised, once what is under way has ended.
        """
        with ThreadPoolExecutor(PARALLEL_LOADS) as pool:
            tasks = [pool.submit(work, stream) for stream in self._streams.values()]
            try:
                for task in as_completed(tasks):
                    task.result()
            except BaseException:
                self._warehouse.stop_retrying()
                pool.shutdown(cancel_futures=True)
                raise

    def _log_counts(self, stream: Stream) -> None:
        counts = stream.counts
        self.logger.info(
            "%s: %d rows received, %d loaded, %d %s, %d deleted",
            stream.target,
            counts.received,
            counts.loaded,
            counts.merged,
            "merged" if stream.layout.keys else "appended",
            counts.deleted,
        )

    def _streams_named(self, name: str, message_type: str) -> list[tuple[StreamMap, Stream]]:
        """Return where a stream's messages go, and take note that it was heard of."""
        try:
            routes = self._routes[name]
        except KeyError:
            message = (
                f"{message_type} for stream '{name}' came before its SCHEMA. That is a fault of "
                f"the extractor: report it there, or try another release of it."
            )
            raise LoadError(message) from None
        self._last_heard = routes
        return routes


def _mapped(record: Record, stream_map: StreamMap) -> Record | None:
    """Return a record as `stream_maps` and flattening want it; None where they filter it out."""
    if type(stream_map) is SameRecordTransform and not stream_map.flattening_enabled:
        return record
    try:
        values = _decode(record.record)
    except DECODE_ERRORS as error:
        raise unreadable(record.stream, error) from error
    try:
        transformed = stream_map.transform(values)
    except Exception as error:  # an expression of the user's may raise anything
        message = (
            f"Stream '{record.stream}': `stream_maps` failed on a record "
            f"({type(error).__name__}: {error}). Correct its expression, or what it has to allow "
            f"for: nulls, say."
        )
        raise LoadError(message) from error
    if transformed is None:
        return None
    return msgspec.structs.replace(record, record=msgspec.Raw(_encode(transformed)))


# Decimals, so that stream maps leave a number's digits as they are.
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def main() -> None:
    """Run the target; an expected error is one line, without a traceback."""
    try:
        TargetBigQueryArrow.cli()
    except (LoadError, StreamMapConfigError) as error:
        TargetBigQueryArrow.logger.critical("%s", error)
        discard_input(seconds=10)
        sys.exit(1)


def discard_input(seconds: float) -> None:
    """Read on for a while: Meltano answers a closed pipe with a traceback that buries the error."""
    deadline = time.monotonic() + seconds
    # Where there is no file behind standard input, there is no pipe either.
    with contextlib.suppress(OSError):
        while select.select([sys.stdin], [], [], max(0, deadline - time.monotonic()))[0]:
            if not os.read(sys.stdin.fileno(), MEBIBYTE):
                return


if __name__ == "__main__":
    main()
