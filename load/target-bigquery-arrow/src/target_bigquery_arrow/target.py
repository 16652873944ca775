"""The Singer target: messages in, committed rows and then their state out."""

import contextlib
import os
import secrets
import select
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn, Self, override

import msgspec
from singer_sdk import Target
from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.mapper import RemoveRecordTransform, StreamMap

from target_bigquery_arrow.batches import BatchFile, TemporaryFiles, json_lines, local_paths
from target_bigquery_arrow.bookmarks import Bookmarks
from target_bigquery_arrow.drift import SchemaDrift
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import layout_of
from target_bigquery_arrow.load_pool import LoadPool
from target_bigquery_arrow.messages import (
    ActivateVersion,
    Batch,
    Keys,
    MessageReader,
    Record,
    Schema,
    State,
)
from target_bigquery_arrow.names import dataset_name, table_name
from target_bigquery_arrow.settings import MEBIBYTE, SETTINGS
from target_bigquery_arrow.stream import LoadOptions, Stream
from target_bigquery_arrow.stream_maps import check_key_is_kept, leaves_alone, mapped
from target_bigquery_arrow.table import Dataset
from target_bigquery_arrow.warehouse import Warehouse

# A stream's records become a row group once they take this part of `batch_bytes`.
ROW_GROUPS_PER_BATCH = 16
PARALLEL_LOADS = 4

# Where the records of a stream go.
type Routes = list[tuple[StreamMap, Stream]]


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
        PluginCapabilities.BATCH,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]
    config_jsonschema = SETTINGS

    def __init__(self, *, config: dict[str, Any], **options: Any) -> None:
        """Read the settings and prepare the client. Nothing is sent before the first SCHEMA.

        Raises:
            LoadError: the settings contradict each other, the dataset can't be named, or there
                are no credentials.
        """
        # A setting of null is one that is left out.
        given = {name: value for name, value in config.items() if value is not None}
        super().__init__(config=given, **options)
        if self.config["anonymous"] and not self.config.get("api_endpoint"):
            message = "`anonymous` is for emulators: set `api_endpoint` too, or leave it out."
            raise LoadError(message)
        # Where records go, by the stream's name as the tap gives it; and every stream by table.
        self._routes: dict[str, Routes] = {}
        self._streams: dict[str, Stream] = {}
        self._schemas: dict[str, Schema] = {}
        # States that are not out yet, each with the streams that it waits for.
        self._states: list[tuple[bytes, set[Stream]]] = []
        self._failures: dict[Stream, LoadError] = {}
        self._bookmarks = Bookmarks()
        self._pending_bytes = 0
        self._committed_at = time.monotonic()
        # Those that the last message but STATE was for: the ones whose end a STATE may tell.
        self._last_heard: Routes = []
        self._row_group_bytes = self.config["batch_bytes"] // ROW_GROUPS_PER_BATCH
        self._directory = tempfile.TemporaryDirectory(prefix="target-bigquery-arrow-")
        self._temporary_files = TemporaryFiles()
        self._load_pool = LoadPool(PARALLEL_LOADS)
        self._options = LoadOptions(
            directory=Path(self._directory.name),
            run=secrets.token_hex(6),
            drift=SchemaDrift(self.config["schema_drift"]),
            hard_delete=self.config["hard_delete"],
            partition_bytes=self.config["partition_bytes"],
            repartition=self.config["repartition"],
        )
        self._warehouse = Warehouse(
            project=self.config["project"],
            dataset=dataset_name(self.config["dataset"], self.config.get("developer")),
            location=self.config["location"],
            api_endpoint=self.config.get("api_endpoint"),
            anonymous=self.config["anonymous"],
            credentials_path=self.config.get("credentials_path"),
            maximum_bytes_billed=self.config.get("maximum_bytes_billed"),
            retry_seconds=float(self.config["retry_seconds"]),
        )
        self._dataset: Dataset | None = None

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        # Without the SDK's settings for its own sinks (load_method, batch_size_rows, …).
        super(Target, cls).append_builtin_config(config_jsonschema)

    @classmethod
    @override
    def invoke(
        cls, *, about: bool = False, about_format: str | None = None, **options: Any
    ) -> None:
        # As the SDK does, and `__exit__` after it.
        super(Target, cls).invoke(about=about, about_format=about_format)
        cls.print_version(print_fn=cls.logger.info)
        given = options["config"]
        with cls(config=given.config, parse_env_config=given.parse_env) as target:
            target.listen(options["file_input"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: object, __: object) -> None:
        """Leave no lock and no file behind, however the run has ended."""
        try:
            if isinstance(error, LoadError) and self._states:
                # What came before the message that failed is none the worse for it.
                with contextlib.suppress(LoadError):
                    self.commit()
        finally:
            for stream in self._streams.values():
                stream.close()
            if self._dataset:
                self._dataset.close()
            self._temporary_files.close()
            self._directory.cleanup()

    # Messages

    @override
    def _process_schema_message(self, message: Any) -> None:
        schema: Schema = message
        if self._schemas.get(schema.stream) == schema:
            self._last_heard = self._routes[schema.stream]
            return
        if self._dataset is None:
            self._dataset = Dataset(self._warehouse)
        if schema.stream in self._schemas:
            self.commit([stream for _, stream in self._routes[schema.stream]])
        else:
            for _, stream in self._last_heard:
                stream.completeness.next_stream()
        self._schemas[schema.stream] = schema
        self.mapper.register_raw_stream_schema(
            schema.stream, schema.schema, schema.key_properties or []
        )
        self._routes[schema.stream] = [
            (stream_map, self._stream_for(stream_map, schema.stream, self._dataset))
            for stream_map in self.mapper.stream_maps[schema.stream]
            if not isinstance(stream_map, RemoveRecordTransform)
        ]
        self._last_heard = self._routes[schema.stream]

    def _stream_for(self, stream_map: StreamMap, source: str, dataset: Dataset) -> Stream:
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
            stream = Stream(layout, dataset, self._options)
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
        self._append(record, self._streams_named(record.stream, "RECORD"))

    def _append(self, record: Record, routes: Routes) -> None:
        for stream_map, stream in routes:
            stream.completeness.records += 1
            mapped_record = mapped(record, stream_map)
            if mapped_record is None:
                continue
            self._pending_bytes += stream.append(mapped_record)
            if stream.pending_bytes >= self._row_group_bytes:
                self._spill(stream)
        if self._pending_bytes >= self.config["batch_bytes"]:
            for stream in self._streams.values():
                if stream.pending_bytes:
                    self._spill(stream)

    def _spill(self, stream: Stream) -> None:
        """Write a stream's records to disk; load everything when that is worth it."""
        self._pending_bytes -= stream.pending_bytes
        stream.spill()
        written = sum(stream.written_bytes for stream in self._streams.values())
        if written >= self.config["load_bytes"]:
            for each in self._streams.values():
                self._stage_records(each)

    @override
    def _process_state_message(self, message: Any) -> None:
        state: State = message
        for name in self._bookmarks.moved(state, self._routes.keys()):
            for _, stream in self._routes[name]:
                stream.is_awaited |= stream.is_uncommitted
        awaited = {stream for stream in self._streams.values() if stream.is_awaited}
        if self.config["emit_interim_state"] or not state.is_interim:
            if self._states and self._states[-1][1] == awaited:
                self._states.pop()
            self._states.append((bytes(state.value), awaited))
        for _, stream in self._last_heard:
            stream.completeness.state()
        if time.monotonic() - self._committed_at >= self.config["batch_wait_limit_seconds"]:
            self.commit(awaited)

    @override
    def _process_activate_version_message(self, message: Any) -> None:
        activation: ActivateVersion = message
        if not self.config["process_activate_version_messages"]:
            return
        limit = activation.max_delete_fraction
        for _, stream in self._streams_named(activation.stream, "ACTIVATE_VERSION"):
            stream.max_delete_fraction = limit
            stream.completeness.activate_version(
                activation.version, follows_records=limit is not None
            )

    @override
    def _process_batch_message(self, message: Any) -> None:
        files: Batch | Keys = message
        paths = local_paths(files)
        if files.temporary:
            self._temporary_files.add(paths)
        for stream in self._streams.values():
            stream.check()
        if isinstance(files, Keys):
            self._process_keys(files, paths)
            return
        routes = self._streams_named(files.stream, "BATCH")
        for path in paths:
            if files.encoding.format == "parquet":
                self._process_parquet(files, path, routes)
            elif files.encoding.format == "jsonl":
                for line in json_lines(files.stream, path, files.encoding.compression):
                    record = Record(files.stream, msgspec.Raw(line), version=files.version)
                    self._append(record, routes)
                self._temporary_files.remove(path)
            else:
                raise _unknown_format(files)

    def _process_parquet(self, batch: Batch, path: Path, routes: Routes) -> None:
        """Begin to load a file as it is; where its rows have to be seen, read them as records."""
        file = BatchFile(batch.stream, path)
        if not file.rows:
            self._temporary_files.remove(path)
            return
        loadable = [
            stream
            for stream_map, stream in routes
            if leaves_alone(stream_map) and stream.is_loadable(file)
        ]
        if others := [(map_, stream) for map_, stream in routes if stream not in loadable]:
            properties = self._schemas[batch.stream].schema["properties"]
            for record in file.records(properties, batch.version):
                self._append(record, others)
        for stream in loadable:
            self._stage_records(stream)  # what came as records came before
        works = []
        for stream in loadable:
            stream.completeness.records += file.rows
            works.append(stream.stage(file, batch.version))
        self._start_staging(loadable, works, path)

    def _process_keys(self, keys: Keys, paths: Sequence[Path]) -> None:
        routes = self._streams_named(keys.stream, "KEYS")
        if keys.encoding.format != "parquet":
            raise _unknown_format(keys)
        if not self.config["process_activate_version_messages"]:
            for path in paths:
                self._temporary_files.remove(path)
            return
        check_key_is_kept(
            keys.stream,
            self._schemas[keys.stream].key_properties or [],
            self.mapper.stream_maps_dict,
        )
        files = [file for path in paths if (file := BatchFile(keys.stream, path)).rows]
        streams = [stream for _, stream in routes]
        works = [stream.stage_keys(files, keys.max_delete_fraction) for stream in streams]
        for file, *loads in zip(files, *works, strict=True):
            self._start_staging(streams, loads, file.path)

    def _stage_records(self, stream: Stream) -> None:
        """Begin to load a stream's records into staging; they go into its table with the rest."""
        self._pending_bytes -= stream.pending_bytes
        if load := stream.stage_records():
            stream.wait()
            stream.staging = self._load_pool.start(load)

    def _start_staging(
        self, streams: Sequence[Stream], works: Iterable[Callable[[], None]], path: Path
    ) -> None:
        """Load a file in the background, one at a time for each stream; then let it go."""

        def work() -> None:
            for load in works:
                load()
            self._temporary_files.remove(path)

        for stream in streams:
            stream.wait()
        staging = self._load_pool.start(work)
        for stream in streams:
            stream.staging = staging

    @override
    def process_endofpipe(self) -> None:
        """Load what is left, say what was done, and let the tables go."""
        self._for_each_stream(Stream.commit)
        self._for_each_stream(Stream.activate_version)
        self._settle()
        for stream in self._streams.values():
            self._log_counts(stream)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> NoReturn:
        # What is not committed has no state either: the next run reads it again.
        self._warehouse.stop_retrying()
        sys.exit(128 + signum)

    # Commits

    def commit(self, streams: Collection[Stream] | None = None) -> None:
        """Load some streams' rows, else all, then emit the newest state that they complete.

        Raises:
            LoadError: a stream failed. The others' rows are in the warehouse all the same.
        """
        self._for_each_stream(Stream.commit, streams)
        self._pending_bytes = sum(stream.pending_bytes for stream in self._streams.values())
        self._committed_at = time.monotonic()
        self._settle()

    def _settle(self) -> None:
        """Emit the newest state that waits for no stream that failed; then raise the failure."""
        for index, (state, awaited) in reversed(list(enumerate(self._states))):
            if not any(stream.is_awaited or stream in self._failures for stream in awaited):
                sys.stdout.buffer.write(state + b"\n")
                sys.stdout.buffer.flush()
                self._states = self._states[index + 1 :]
                break
        for failure in self._failures.values():
            raise failure

    def _for_each_stream(
        self, work: Callable[[Stream], None], streams: Collection[Stream] | None = None
    ) -> None:
        """Do some work for streams that have not failed, several at a time."""
        if streams is None:
            streams = self._streams.values()
        with ThreadPoolExecutor(PARALLEL_LOADS) as pool:
            tasks = {
                pool.submit(work, stream): stream
                for stream in streams
                if stream not in self._failures
            }
            try:
                for task in as_completed(tasks):
                    try:
                        task.result()
                    except LoadError as error:
                        self._failures[tasks[task]] = error
            except BaseException:
                self._warehouse.stop_retrying()
                pool.shutdown(cancel_futures=True)
                raise

    def _log_counts(self, stream: Stream) -> None:
        counts = stream.counts
        self.logger.info(
            "%s: %d rows received, %d loaded, %d %s, %d deleted%s",
            stream.target,
            counts.received,
            counts.loaded,
            counts.merged,
            "merged" if stream.layout.keys else "appended",
            counts.deleted,
            f", {stream.billed / MEBIBYTE:,.0f} MiB billed" if stream.billed else "",
        )

    def _streams_named(self, name: str, message_type: str) -> Routes:
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
        for _, stream in routes:
            stream.prepare()
        return routes


def _unknown_format(message: Batch | Keys) -> LoadError:
    return LoadError(
        f"Stream '{message.stream}': files of format '{message.encoding.format}' can't be loaded. "
        f"Set the extractor's `batch_config.encoding.format` to `parquet` or `jsonl`."
    )


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
