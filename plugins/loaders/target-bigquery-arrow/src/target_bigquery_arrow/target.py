"""The Singer target: messages in, committed rows and then their state out."""

import contextlib
import json
import logging
import os
import secrets
import select
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn, Self, override

import bigquery_lock
import msgspec
from singer_sdk import Target
from singer_sdk.exceptions import RecordsWithoutSchemaException, StreamMapConfigError
from singer_sdk.helpers.capabilities import PluginCapabilities

from target_bigquery_arrow.batches import (
    BatchFile,
    TemporaryFiles,
    UnreadableFileError,
    json_lines,
    local_paths,
)
from target_bigquery_arrow.bookmarks import Bookmarks
from target_bigquery_arrow.completeness import ExtractorReport, Vouched, listed
from target_bigquery_arrow.drift import SchemaDrift
from target_bigquery_arrow.errors import LoadError, RunError, StreamsError
from target_bigquery_arrow.json_schema import resolved
from target_bigquery_arrow.layout import layout_of
from target_bigquery_arrow.ledger import Ledger, Load
from target_bigquery_arrow.load_pool import LoadPool
from target_bigquery_arrow.logs import SafeLogRecord
from target_bigquery_arrow.messages import (
    ActivateVersion,
    Batch,
    Completed,
    Keys,
    MessageReader,
    Record,
    Schema,
    State,
    Unreadable,
)
from target_bigquery_arrow.names import dataset_name, table_name
from target_bigquery_arrow.run_folder import RunFolder
from target_bigquery_arrow.settings import MEBIBYTE, SETTINGS
from target_bigquery_arrow.stream import LoadOptions, Stream
from target_bigquery_arrow.stream_maps import (
    RecordMap,
    check_key_is_kept,
    record_maps,
    without_flattening,
)
from target_bigquery_arrow.table import Dataset
from target_bigquery_arrow.warehouse import Warehouse

# A stream's records become a row group once they take this part of `batch_bytes`.
ROW_GROUPS_PER_BATCH = 16
PARALLEL_LOADS = 4

# Where the records of a stream go.
type Routes = list[tuple[RecordMap, Stream]]


class UnknownStreamError(LoadError, RecordsWithoutSchemaException):
    """A message of a stream came before its SCHEMA. Also the error that Singer's SDK has for it."""


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
        # The stream, as the tap names it, that each of ours comes from.
        self._sources: dict[Stream, str] = {}
        # States that are not out yet, each with the streams that it waits for.
        self._states: list[tuple[State, set[Stream | str]]] = []
        self._bookmarks = Bookmarks()
        # What failed: a stream by its table, or by its name where it has come to none.
        self._failures: dict[Stream | str, LoadError] = {}
        self._report = ExtractorReport()
        self._vouched = Vouched()
        self._pending_bytes = 0
        self._committed_at = time.monotonic()
        self._batch_bytes: int = self.config["batch_bytes"]
        self._row_group_bytes = self._batch_bytes // ROW_GROUPS_PER_BATCH
        self._folder = RunFolder()
        self._temporary_files = TemporaryFiles()
        self._load_pool = LoadPool(PARALLEL_LOADS)
        self._options = LoadOptions(
            directory=self._folder.path,
            run=secrets.token_hex(6),
            drift=SchemaDrift(self.config["schema_drift"]),
            hard_delete=self.config["hard_delete"],
            partition_bytes=self.config["partition_bytes"],
            repartition=self.config["repartition"],
        )
        self._warehouse = self._warehouse_of(self.config["dataset"])
        self._dataset: Dataset | None = None
        self._lock: bigquery_lock.Lock | None = None
        if dataset := self.config.get("lock_dataset"):
            self._lock = self._lock_in(self._warehouse_of(dataset))
        self._ledger: Ledger | None = None
        if ledger := self.config.get("ledger_dataset"):
            self._ledger = Ledger(
                self._warehouse_of(ledger),
                run=self._options.run,
                source=self.config.get("source") or os.environ.get("MELTANO_EXTRACTOR_NAME"),
                dataset=self._warehouse.dataset.rpartition(".")[2],
            )

    def _warehouse_of(self, dataset: str) -> Warehouse:
        return Warehouse(
            project=self.config["project"],
            dataset=dataset_name(dataset, self.config.get("developer")),
            location=self.config["location"],
            api_endpoint=self.config.get("api_endpoint"),
            anonymous=self.config["anonymous"],
            credentials_path=self.config.get("credentials_path"),
            maximum_bytes_billed=self.config.get("maximum_bytes_billed"),
            retry_seconds=float(self.config["retry_seconds"]),
        )

    def _lock_in(self, warehouse: Warehouse) -> bigquery_lock.Lock:
        name = self._warehouse.dataset.rpartition(".")[2]
        # Meltano, which has started this process, stores the state after it has ended.
        is_meltano_above = "MELTANO_EXTRACTOR_NAME" in os.environ
        return bigquery_lock.Lock(
            warehouse.connection(),
            f"{warehouse.dataset}.lock_{name}",
            purpose=f"the load of {name}",
            owner=os.getppid() if is_meltano_above else None,
        )

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        # Without the SDK's settings for its own sinks (load_method, batch_size_rows, …).
        super(Target, cls).append_builtin_config(config_jsonschema)

    @classmethod
    @override
    def cb_config(cls, ctx: Any, param: Any, value: tuple[str, ...]) -> Any:
        for path in value:
            if path != "ENV":
                _require_settings(Path(path))
        return super().cb_config(ctx, param, value)

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
                # Messages before the one that failed are loaded all the same.
                with contextlib.suppress(LoadError):
                    self.commit()
        finally:
            for stream in self._streams.values():
                stream.close()
            # On a signal, or without BigQuery, the run ends at once.
            is_over = error is None or (
                isinstance(error, LoadError) and not isinstance(error, RunError)
            )
            if self._ledger and is_over:
                self._ledger.record(self._loads())
            if self._dataset:
                self._dataset.close()
            if self._lock:
                self._lock.release(is_patient=is_over)
            self._temporary_files.close()
            self._folder.close()

    # Messages

    @override
    def _process_schema_message(self, message: Any) -> None:
        schema: Schema = message
        name = schema.stream
        self._report.hear(name)
        if self._schemas.get(name) == schema or name in self._failures:
            return
        if self._dataset is None:
            self._take_lock()
            self._dataset = Dataset(self._warehouse)
        if name in self._schemas:
            self.commit([stream for _, stream in self._routes[name]])
        with self._failing(name):
            self._schemas[name] = schema
            self._routes[name] = [
                (record_map, self._stream_for(record_map, name, self._dataset))
                for record_map in record_maps(self.mapper, schema, self._flattening)
            ]

    def _take_lock(self) -> None:
        """Take the dataset's lock.

        It isn't waited for: by then what the extractor reads would be older than what is loaded.

        Raises:
            RunError: another run loads into the dataset; or BigQuery refuses, or doesn't answer.
        """
        if self._lock is None:
            return
        try:
            self._lock.acquire()
        except bigquery_lock.Held as error:
            message = f"{error} Nothing was loaded: run again once it has ended."
            raise RunError(message) from error
        except bigquery_lock.LockError as error:
            message = (
                f"{error} Nothing was loaded. Locally, `meltano invoke sandbox up` starts it; "
                f"otherwise check `api_endpoint`, the network and the rights in `lock_dataset`."
            )
            raise RunError(message) from error

    @override
    def setup_mapper(self) -> None:
        super().setup_mapper()
        self._flattening = self.mapper.flattening_options
        self.mapper.flattening_options = without_flattening(self._flattening)

    def _stream_for(self, record_map: RecordMap, source: str, dataset: Dataset) -> Stream:
        """Begin to load a stream, or go on with it under its new schema.

        Raises:
            LoadError: another stream of this run goes to the same table.
        """
        name = record_map.stream
        layout = layout_of(
            name,
            table_name(name, self.config["drop_stream_prefixes"]),
            record_map.schema,
            record_map.keys,
        )
        stream = self._streams.get(layout.table.lower())
        if stream is None:
            stream = Stream(layout, dataset, self._options)
            self._streams[layout.table.lower()] = stream
            self._sources[stream] = source
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

    def _process_unreadable(self, message: Unreadable) -> None:
        with self._failing(message.stream):
            text = (
                f"Stream '{message.stream}': {message.reason}. Leave the property out in the "
                f"extractor's `select`, or correct it at the source."
            )
            raise LoadError(text)

    def _append(self, record: Record, routes: Routes) -> None:
        for record_map, stream in routes:
            try:
                completeness = stream.completeness
                completeness.records += 1
                completeness.versions.add(record.version)
                mapped = record if record_map.leaves_alone else record_map.mapped(record)
                if mapped is None:
                    continue
                self._pending_bytes += stream.append(mapped)
                if stream.pending_bytes >= self._row_group_bytes:
                    self._spill(stream)
            except LoadError as error:
                self._fail(stream, error)
        if self._pending_bytes >= self._batch_bytes:
            for stream in self._streams.values():
                with self._failing(stream):
                    if stream.pending_bytes:
                        self._spill(stream)

    def _spill(self, stream: Stream) -> None:
        """Write a stream's records to disk; load everything into staging when that is worth it."""
        self._pending_bytes -= stream.pending_bytes
        stream.spill()
        written = sum(stream.written_bytes for stream in self._streams.values())
        if written >= self.config["load_bytes"]:
            for each in self._streams.values():
                with self._failing(each):
                    if each.written_bytes:
                        self._stage_records(each)

    def _stage_records(self, stream: Stream) -> None:
        """Begin to load a stream's records into staging; they go into its table with the rest."""
        self._pending_bytes -= stream.pending_bytes
        if load := stream.stage_records():
            stream.wait()
            stream.staging = self._load_pool.start(load)

    @override
    def _process_state_message(self, message: Any) -> None:
        state: State = message
        self._report.state(bytes(state.value))
        for name in self._bookmarks.moved(state, self._routes.keys()):
            for _, stream in self._routes[name]:
                stream.is_awaited |= stream.is_uncommitted
        awaited: set[Stream | str] = {
            stream for stream in self._streams.values() if stream.is_awaited
        }
        # What has failed will not be in the table: no later state may move past it.
        awaited |= self._failures.keys()
        if self.config["emit_interim_state"] or not state.is_interim:
            if self._states and self._states[-1][1] == awaited:
                self._states.pop()
            self._states.append((state, awaited))
        if time.monotonic() - self._committed_at >= self.config["batch_wait_limit_seconds"]:
            self.commit([stream for stream in awaited if isinstance(stream, Stream)])

    @override
    def _process_activate_version_message(self, message: Any) -> None:
        activation: ActivateVersion | Completed = message
        if isinstance(activation, Completed):
            self._report.complete(self._records)
            return
        if not self.config["process_activate_version_messages"]:
            return
        routes = self._streams_named(activation.stream, "ACTIVATE_VERSION")
        self._report.hear(activation.stream, in_full=True)
        limit = activation.max_delete_fraction
        for _, stream in routes:
            stream.max_delete_fraction = (
                float(self.config["max_delete_fraction"]) if limit is None else limit
            )
            vouched = self.config["version_follows_records"] and self._vouched.counts(
                activation.stream, stream.completeness.records
            )
            stream.completeness.activate_version(
                activation.version, follows_records=vouched or limit is not None
            )

    @property
    def _records(self) -> int:
        return sum(stream.completeness.records for stream in self._streams.values())

    @override
    def _process_batch_message(self, message: Any) -> None:
        files: Batch | Keys | Unreadable = message
        if isinstance(files, Unreadable):
            self._process_unreadable(files)
            return
        routes = self._streams_named(files.stream, "BATCH" if isinstance(files, Batch) else "KEYS")
        self._report.hear(files.stream)
        for stream in self._streams.values():
            with self._failing(stream):
                stream.check()
        with self._failing(files.stream):
            paths = local_paths(files)
            if files.temporary:
                self._temporary_files.add(paths)
            if not routes:  # it has failed, or is wanted nowhere
                self._temporary_files.remove(*paths)
            elif isinstance(files, Keys):
                self._process_keys(files, paths, routes)
            else:
                self._process_batch(files, paths, routes)

    def _process_batch(self, batch: Batch, paths: Sequence[Path], routes: Routes) -> None:
        for path in paths:
            if batch.encoding.format == "parquet":
                self._process_parquet(batch, path, routes)
            elif batch.encoding.format == "jsonl":
                for line in json_lines(batch.stream, path, batch.encoding.compression):
                    record = Record(batch.stream, msgspec.Raw(line), version=batch.version)
                    self._append(record, routes)
                self._temporary_files.remove(path)
            else:
                raise _unknown_format(batch)

    def _process_parquet(self, batch: Batch, path: Path, routes: Routes) -> None:
        """Begin to load a file as it is; where its rows have to be seen, read them as records."""
        file = BatchFile(batch.stream, path)
        if not file.rows:
            self._temporary_files.remove(path)
            return
        loadable = [
            stream
            for record_map, stream in routes
            if record_map.leaves_alone and stream.is_loadable(file)
        ]
        if others := [(map_, stream) for map_, stream in routes if stream not in loadable]:
            properties = resolved(self._schemas[batch.stream].decoded)["properties"]
            for record in file.records(properties, batch.version):
                self._append(record, others)
        for stream in loadable:
            self._stage_records(stream)  # what came as records came before
        works = []
        for stream in loadable:
            stream.completeness.add(file.rows, batch.version)
            works.append(stream.stage(file, batch.version))
        self._start_staging(loadable, works, path)

    def _process_keys(self, keys: Keys, paths: Sequence[Path], routes: Routes) -> None:
        if keys.encoding.format != "parquet":
            raise _unknown_format(keys)
        if not self.config["process_activate_version_messages"]:
            self._temporary_files.remove(*paths)
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
        """Load what is left, say what was done, and let the tables go.

        Raises:
            LoadError: a stream failed, or StreamsError: several.
        """
        self._for_each_stream(Stream.commit)
        self._find_deletes()
        self._settle()
        for stream in self._streams.values():
            self._log_counts(stream)
        failures = list(dict.fromkeys(self._failures.values()))
        if failures:
            raise failures[0] if len(failures) == 1 else StreamsError(failures)

    def _find_deletes(self) -> None:
        """Mark, or remove, what has gone from streams that were read in full; say of which not."""
        waiting = self._with_open_versions()
        reason = self._report.objection(self._records)
        if reason is None:
            for stream in waiting:
                stream.completeness.complete()
            self._for_each_stream(Stream.activate_version)
            waiting = self._with_open_versions()
            reason = "records came after the proof of their end, or with another version"
        if waiting:
            self.logger.warning(
                "No row of %s counts as deleted: %s. What was read is loaded. See Deletes in the "
                "README of target-bigquery-arrow.",
                listed(stream.layout.stream for stream in waiting),
                reason,
            )

    def _with_open_versions(self) -> list[Stream]:
        return [
            stream
            for stream in self._streams.values()
            if stream.has_open_version and stream not in self._failures
        ]

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> NoReturn:
        # What is not committed has no state either: the next run reads it again.
        if "_warehouse" in self.__dict__:  # a signal may come while the loader starts
            self._warehouse.stop_retrying()
        sys.exit(128 + signum)

    # Commits

    def commit(self, streams: Collection[Stream] | None = None) -> None:
        """Load some streams' rows, else all, then emit the newest state that they complete.

        Raises:
            RunError: no stream can be loaded any more.
        """
        self._for_each_stream(Stream.commit, streams)
        self._pending_bytes = sum(stream.pending_bytes for stream in self._streams.values())
        self._committed_at = time.monotonic()
        self._settle()

    def _settle(self) -> None:
        """Emit the newest state whose rows are all in the warehouse.

        Raises:
            RunError: no stream can be loaded any more.
        """
        for index, (state, awaited) in reversed(list(enumerate(self._states))):
            if value := self._complete(state, awaited):
                sys.stdout.buffer.write(value + b"\n")
                sys.stdout.buffer.flush()
                self._states = self._states[index + 1 :]
                break
        for failure in self._failures.values():
            if isinstance(failure, RunError):
                raise failure

    def _complete(self, state: State, awaited: Set[Stream | str]) -> bytes | None:
        """Return a state as it may come out now; None where rows are missing that it stands for.

        Where the extractor's streams are independent of each other, those that failed keep the
        bookmarks that they had when the run began.
        """
        failed = [one for one in awaited if one in self._failures]
        waits = any(
            isinstance(one, Stream) and one.is_awaited for one in awaited if one not in failed
        )
        if waits or (failed and not state.independent):
            return None
        names = {self._sources[one] if isinstance(one, Stream) else one for one in failed}
        return self._bookmarks.kept_back(state, names) if names else bytes(state.value)

    def _for_each_stream(
        self, work: Callable[[Stream], None], streams: Collection[Stream] | None = None
    ) -> None:
        """Do some work for streams that have not failed, several at a time.

        Raises:
            RunError: the dataset's lock was lost.
        """
        if self._lock and self._dataset:
            try:
                self._lock.check()
            except bigquery_lock.Lost as error:
                raise RunError(str(error)) from error
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
                        self._fail(tasks[task], error)
            except BaseException:
                self._warehouse.stop_retrying()
                pool.shutdown(cancel_futures=True)
                raise

    # Failures

    @contextmanager
    def _failing(self, failing: Stream | str) -> Iterator[None]:
        """Let an error fail one stream alone."""
        try:
            yield
        except LoadError as error:
            self._fail(failing, error)

    def _fail(self, failed: Stream | str, error: LoadError) -> None:
        """Take a stream out of the run: what has yet to come of it is skipped.

        Args:
            failed: one table's stream, or the name of one with all its tables.
            error: what is wrong.

        Raises:
            RunError: no stream can be loaded any more.
        """
        if isinstance(error, UnreadableFileError):
            self._temporary_files.keep(error.path)
        if isinstance(failed, Stream):
            streams = [failed]
        else:
            streams = [stream for _, stream in self._routes.get(failed, [])]
            self._failures.setdefault(failed, error)
            self._routes[failed] = []
        for stream in streams:
            self._failures.setdefault(stream, error)
            self._pending_bytes -= stream.pending_bytes
            stream.abandon()
        for name, routes in self._routes.items():
            self._routes[name] = [route for route in routes if route[1] not in streams]
        if isinstance(error, RunError):
            raise error
        self.logger.info(
            "Stream '%s' has failed: its messages are skipped from here on. Others go on.",
            failed.layout.stream if isinstance(failed, Stream) else failed,
        )

    def _loads(self) -> list[Load]:
        """Return what has become of each table, and of each stream that has come to none."""
        loads = []
        for stream in self._streams.values():
            counts, failure = stream.counts, self._failures.get(stream)
            load = Load(
                stream.layout.stream,
                table=stream.layout.table,
                rows_received=counts.received,
                rows_inserted=counts.inserted,
                rows_updated=counts.merged - counts.inserted,
                rows_deleted=counts.deleted,
                bytes_billed=stream.billed,
                is_proven_complete=stream.is_proven_complete,
                schema_changes=stream.schema_changes,
                bookmark=None if failure else self._bookmarks.last(self._sources[stream]),
                error=str(failure) if failure else None,
            )
            loads.append(load)
        with_table = set(self._sources.values())
        loads += [
            Load(name, error=str(failure))
            for name, failure in self._failures.items()
            if isinstance(name, str) and name not in with_table
        ]
        return loads

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
        """Return where a stream's messages go: nowhere where it has failed."""
        routes = self._routes.get(name)
        if routes is None:
            message = (
                f"{message_type} for stream '{name}' came before its SCHEMA. That is a fault of "
                f"the extractor: report it there, or try another release of it."
            )
            self._fail(name, UnknownStreamError(message))
            routes = []
        if any(stream.is_unprepared for _, stream in routes):
            for _, stream in routes:
                with self._failing(stream):
                    stream.prepare()
            routes = self._routes[name]
        return routes


def _require_settings(path: Path) -> None:
    """See that a file of `--config` can be read. The error repeats nothing of it: it holds secrets.

    Raises:
        LoadError: it can't.
    """
    try:
        if isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
            return
        problem = "it holds no object"
    except OSError as error:
        problem = str(error.strerror)
    except (ValueError, RecursionError) as error:
        problem = f"it is no JSON ({error})"
    message = f"The file of `--config`, {path}, can't be read: {problem}."
    raise LoadError(message)


def _unknown_format(message: Batch | Keys) -> LoadError:
    return LoadError(
        f"Stream '{message.stream}': files of format '{message.encoding.format}' can't be loaded. "
        f"Set the extractor's `batch_config.encoding.format` to `parquet` or `jsonl`."
    )


def main() -> None:
    """Run the target; whatever goes wrong is a line a stream, without a traceback if expected."""
    logging.setLogRecordFactory(SafeLogRecord)
    logger = TargetBigQueryArrow.logger
    try:
        if sys.stdout is None:
            message = "Standard output is closed: there is nowhere for the state to go."
            raise RunError(message)
        TargetBigQueryArrow.cli()
    except StreamsError as error:
        for failure in error.failures:
            logger.critical("%s", failure)
    except (LoadError, StreamMapConfigError) as error:
        logger.critical("%s", error)
    except MemoryError:
        logger.critical(
            "There is not enough memory. No state has moved past what isn't loaded. Lower the "
            "loader's `batch_bytes`, leave large properties out in the extractor's `select`, or "
            "give the process more memory."
        )
    except Exception as error:  # a fault of ours
        for line in "".join(traceback.format_exception(error)).splitlines():
            logger.critical("%s", line)
    discard_input(seconds=10)
    sys.exit(1)


def discard_input(seconds: float) -> None:
    """Read on for a while: Meltano answers a closed pipe with a traceback that buries the error."""
    if sys.stdin is None:
        return
    deadline = time.monotonic() + seconds
    # Where there is no file behind standard input, there is no pipe either.
    with contextlib.suppress(OSError):
        while select.select([sys.stdin], [], [], max(0, deadline - time.monotonic()))[0]:
            if not os.read(sys.stdin.fileno(), MEBIBYTE):
                return
