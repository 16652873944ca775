"""One run: a snapshot, and the streams that are read from it, several at a time."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from singer_sdk.singerlib.messages import StateMessage

from tap_postgres_arrow.database import Connection
from tap_postgres_arrow.handover import Handover
from tap_postgres_arrow.output import Output
from tap_postgres_arrow.reading import Run, StreamReader
from tap_postgres_arrow.replication import Bookmark
from tap_postgres_arrow.snapshot import export_snapshot
from tap_postgres_arrow.streams import PostgresStream

if TYPE_CHECKING:
    from tap_postgres_arrow.tap import TapPostgresArrow


class Extraction:
    """Reads streams in the background; whoever needs one waits for it."""

    def __init__(self, tap: "TapPostgresArrow", streams: Sequence[PostgresStream]) -> None:
        """Take the snapshot and begin to read.

        Raises:
            TapError: there is no connection to be had.
        """
        self._tap = tap
        output = Output(tap.write_message)
        batches = tap.config["emit"] == "batches"
        self._run = Run(
            # The tap's own connection holds it open. That one reads no table, and so locks none.
            snapshot=export_snapshot(tap.connection),
            sequence=time.time_ns() // 1_000,
            output=output,
            handover=Handover(tap.config["batch_bytes"], output) if batches else None,
            max_delete_fraction=float(tap.config["max_delete_fraction"]),
        )
        self._completing = threading.Lock()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._is_closing = False
        self._last = self._forget_row_counts(streams)
        self._pool = ThreadPoolExecutor(tap.config["max_parallel_streams"])
        self._readings = {stream.name: self._pool.submit(self._read, stream) for stream in streams}

    def _forget_row_counts(self, streams: Sequence[PostgresStream]) -> dict[str, Bookmark]:
        """Return the last run's bookmarks; until a stream is complete, the state has no `rows`.

        A run may break off when its rows are loaded and its state isn't saved. Whatever of them is
        deleted before the next run, that run would find as many rows as the one before.
        """
        bookmarks = self._tap.state.get("bookmarks", {})
        last = {stream.name: dict(bookmarks.get(stream.name, {})) for stream in streams}
        counted = [name for name, bookmark in last.items() if "rows" in bookmark]
        for name in counted:
            del bookmarks[name]["rows"]
        if counted:
            self._run.output.write(StateMessage(value=self._tap.state))
        return last

    def wait_for(self, stream: PostgresStream) -> None:
        """Return when a stream has been read.

        If it could not be, the others are read all the same before that is said: a table that
        fails day after day must not keep the rest from moving on.

        Raises:
            TapError: it could not be read.
        """
        failure = self._readings[stream.name].exception()
        if failure is None:
            return
        for name, reading in self._readings.items():
            if (
                self._run.output.has_reader
                and name != stream.name
                and (error := reading.exception())
            ):
                self._tap.logger.error("%s", error)
        raise failure

    def close(self) -> None:
        """Stop what is still being read. What has been sent stays for the loader."""
        self._is_closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in tuple(self._connections):
            with contextlib.suppress(Exception):
                connection.cancel()
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()
        if self._run.handover:
            self._run.handover.close()

    def _read(self, stream: PostgresStream) -> None:
        with self._connected(stream) as connection:
            outcome = StreamReader(stream, self._run, connection).read(self._last[stream.name])
        if outcome.bookmark is None:
            return
        with self._completing:
            self._tap.state.setdefault("bookmarks", {})[stream.name] = outcome.bookmark
            # Together: a STATE speaks of the stream that was last heard of before it.
            self._run.output.write(*outcome.messages, StateMessage(value=self._tap.state))

    @contextmanager
    def _connected(self, stream: PostgresStream) -> Iterator[Connection]:
        """Lend a connection that is in the run's snapshot; what it locks is free afterwards."""
        database = self._tap.database
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = database.connect()
        self._connections.add(connection)
        if self._is_closing:
            connection.cancel()
        connection.place = stream.place
        try:
            database.begin(connection, self._run.snapshot.name)
            yield connection
            connection.commit()
        except BaseException:
            self._connections.remove(connection)
            connection.close()
            raise
        self._idle.append(connection)
