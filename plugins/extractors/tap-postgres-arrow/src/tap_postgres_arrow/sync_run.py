"""One run: a snapshot, and the streams that are read from it, several at a time."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

from singer_sdk.helpers.types import TapState
from singer_sdk.singerlib.messages import Message

from tap_postgres_arrow.batch_dir import BatchDir
from tap_postgres_arrow.column_types import Field
from tap_postgres_arrow.database import (
    STOPPED,
    Connection,
    Database,
    PostgresError,
    TooManyConnectionsError,
    in_background,
)
from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.messages import IndependentStateMessage, KeysMessage
from tap_postgres_arrow.output import Output
from tap_postgres_arrow.replication import Bookmark
from tap_postgres_arrow.snapshot import export_snapshot
from tap_postgres_arrow.stream_reader import RunContext, StreamReader
from tap_postgres_arrow.streams import PostgresStream

# Each query of a search for the column that fails.
SEARCH_SECONDS = 60
# How long a stream that is being read may take to stop.
STOP_SECONDS = 20


class SyncRun:
    """Reads streams in the background; `wait_for` waits for one of them."""

    def __init__(
        self,
        streams: Sequence[PostgresStream],
        database: Database,
        connection: Connection,
        *,
        config: Mapping[str, Any],
        state: TapState,
        write_message: Callable[[Message], None],
        logger: logging.Logger,
    ) -> None:
        """Take the snapshot.

        Args:
            streams: those to read.
            database: where to open connections.
            connection: holds the snapshot open. It reads no table, and so locks none.
            config: the tap's settings.
            state: Singer's state, which gets each stream's bookmark once it is complete.
            write_message: writes a Singer message to the tap's output.
            logger: takes warnings.

        Raises:
            TapError: it can't be taken.
        """
        self._streams = streams
        self._database = database
        self._state = state
        self._logger = logger
        self._max_parallel_streams = config["max_parallel_streams"]
        output = Output(write_message)
        batches = config["emit"] == "batches"
        self._run = RunContext(
            snapshot=export_snapshot(connection),
            sequence=time.time_ns() // 1_000,
            output=output,
            batch_dir=BatchDir(config["batch_bytes"], output) if batches else None,
            max_delete_fraction=float(config["max_delete_fraction"]),
            nullifies=config["invalid_values"] == "nullify",
        )
        self._completing = threading.Lock()
        # Notified when a connection becomes idle or is closed.
        self._lending = threading.Condition()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._opening = 0
        self._is_closing = False
        self._has_warned = False
        self._last: dict[str, Bookmark] = {}
        self._threads: list[Future[None]] = []
        self._reads: dict[str, Future[None]] = {}

    def forget_row_counts(self) -> None:
        """Keep the last run's bookmarks; until a stream is complete, the state has no `rows`.

        A run may break off when its rows are loaded and its state isn't saved. Whatever of them is
        deleted before the next run, that run would find as many rows as the one before.
        """
        bookmarks = self._state["bookmarks"]
        for stream in self._streams:
            bookmark = bookmarks.get(stream.name)
            self._last[stream.name] = dict(bookmark) if isinstance(bookmark, dict) else {}
            if isinstance(bookmark, dict):
                bookmark.pop("rows", None)

    def _start(self) -> None:
        """Begin to read, on as many threads as there may be connections."""
        self._reads = {stream.name: Future() for stream in self._streams}
        waiting: queue.SimpleQueue[PostgresStream] = queue.SimpleQueue()
        for stream in self._streams:
            waiting.put(stream)

        def work() -> None:
            while not self._is_closing:
                try:
                    stream = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    self._read(stream)
                    self._reads[stream.name].set_result(None)
                except BaseException as error:
                    self._reads[stream.name].set_exception(error)

        at_once = min(self._max_parallel_streams, len(self._streams))
        self._threads = [in_background(work) for _ in range(at_once)]

    def wait_for(self, stream: PostgresStream) -> TapError | None:
        """Return when a stream has been read; return the error if it could not be.

        A table that fails day after day must not keep the rest from moving on.

        Raises:
            TapError: nothing can be read or said any more.
        """
        if not self._reads:
            self._start()
        try:
            self._database.wait(
                self._reads[stream.name],
                lambda: tuple(self._connections),
            )
        except TapError as error:
            if not self._reads[stream.name].done() or not self._run.output.has_reader:
                raise
            return error
        return None

    def close(self) -> None:
        """Stop what is still being read. What has been sent stays for the loader."""
        self._is_closing = True
        with self._lending:
            self._lending.notify_all()
        for connection in tuple(self._connections):
            in_background(connection.cancel)
        # A server that doesn't answer can't be told to stop, and isn't waited for.
        if not wait(self._threads, STOP_SECONDS).not_done:
            for connection in self._connections:
                connection.close()
        if self._run.batch_dir:
            self._run.batch_dir.close()

    def _read(self, stream: PostgresStream) -> None:
        try:
            with self._connected(stream) as connection:
                outcome = StreamReader(stream, self._run, connection).read(
                    self._last.get(stream.name, {})
                )
        except PostgresError as error:
            if error.is_of_a_value and (column := self._failing_column(stream)):
                raise error.of_column(column) from error
            raise
        if outcome.bookmark is None:
            return
        with self._completing:
            self._state.setdefault("bookmarks", {})[stream.name] = outcome.bookmark
            for message in outcome.messages:
                if self._run.batch_dir and isinstance(message, KeysMessage):
                    self._run.batch_dir.announce(message.manifest)
            # Together: a STATE is about the stream of the message before it.
            state = IndependentStateMessage(value=self._state)
            self._run.output.write(*outcome.messages, state)

    def _failing_column(self, stream: PostgresStream) -> str | None:
        """Return the column that Postgres can't read in some row; None if it isn't a single column.

        A binary search over the columns: each step is a query that transfers no rows.
        """

        def fails(fields: Sequence[Field]) -> bool:
            try:
                with self._connected(stream) as connection:
                    connection.execute(f"set local statement_timeout = '{SEARCH_SECONDS}s'")
                    connection.rows(stream.count(fields))
            except PostgresError as error:
                if not error.is_of_a_value:
                    raise
                return True
            return False

        fields: Sequence[Field] = stream.fields
        try:
            if fails([]):
                return None
            while len(fields) > 1:
                half = fields[: len(fields) // 2]
                fields = half if fails(half) else fields[len(half) :]
            return fields[0].name if fails(fields) else None
        except TapError:
            return None

    @contextmanager
    def _connected(self, stream: PostgresStream) -> Iterator[Connection]:
        """Lend a connection that is in the run's snapshot; what it locks is free afterwards."""
        connection = self._connection()
        connection.stream_ref = stream.stream_ref
        try:
            self._database.begin(connection, self._run.snapshot.name)
            yield connection
            connection.commit()
        except BaseException:
            with self._lending:
                self._connections.remove(connection)
                self._lending.notify_all()
            connection.close()
            raise
        with self._lending:
            self._idle.append(connection)
            self._lending.notify_all()

    def _connection(self) -> Connection:
        """Return an idle connection or a new one; wait if the server allows no more.

        Raises:
            TapError: no connection can become free, or the run has ended.
        """
        while True:
            with self._lending:
                if self._is_closing:
                    raise TapError(STOPPED)
                if self._idle:
                    return self._idle.pop()
                self._opening += 1
            try:
                connection = self._open()
            except TooManyConnectionsError as error:
                with self._lending:
                    if not (self._connections or self._opening):
                        raise
                    self._say_once(f"{error} Until then, streams wait for each other.")
                    self._lending.wait_for(
                        lambda: (
                            self._idle
                            or self._is_closing
                            or not (self._connections or self._opening)
                        )
                    )
            else:
                if self._is_closing:
                    connection.cancel()
                return connection

    def _open(self) -> Connection:
        try:
            connection = self._database.connect()
            self._connections.add(connection)
        finally:
            with self._lending:
                self._opening -= 1
                self._lending.notify_all()
        return connection

    def _say_once(self, warning: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._logger.warning("%s", warning)
