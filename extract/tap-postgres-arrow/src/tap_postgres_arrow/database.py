"""Postgres through ADBC: connections, queries, COPY as Arrow batches, and what errors mean."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_postgresql import StatementOptions, dbapi

from tap_postgres_arrow.connection import Connector
from tap_postgres_arrow.errors import TapError

OLDEST_VERSION = 13
# A table that somebody else has locked for longer than this isn't waited for: whoever comes
# after us would wait too.
LOCK_SECONDS = 60
# How Postgres writes what travels as text.
SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "0",
}
# Four streams at once, with what Parquet's writer holds beside, stay well under 400 MiB.
BATCH_SIZE = {StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(4 * 2**20)}
ERRORS = (adbc_driver_manager.Error, pa.ArrowException, OSError)


def identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quote a text for SQL."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True)
class Place:
    """What a piece of work is about, for errors: a stream's name and its relation's."""

    stream: str
    relation: str

    @property
    def left_out(self) -> str:
        """Return how to do without the stream."""
        return f"leave it out with `select: ['*.*', '!{self.stream}.*']`"


class Database:
    """A Postgres database, by the tap's settings."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take the settings; nothing is sent yet."""
        self._connector = Connector(settings)
        self.user = self._connector.user
        self._statement_timeout = str(settings["statement_timeout"])

    def connect(self) -> "Connection":
        """Open a connection.

        Raises:
            ConnectError: Postgres can't be reached, or lets nobody in by these settings.
        """
        raw = self._connector.connect(dbapi.connect, ERRORS)
        return Connection(raw, self.user)

    def close(self) -> None:
        """Leave the way to it: a tunnel, files with certificates."""
        self._connector.close()

    def begin(self, connection: "Connection", snapshot: str | None = None) -> None:
        """Begin to read what the database held at one moment, and nothing else.

        Args:
            connection: a connection whose transaction has read nothing yet.
            snapshot: what another transaction exported, to see what it sees.

        Raises:
            TapError: the snapshot is gone, or the server is too old.
        """
        connection.execute("set transaction isolation level repeatable read, read only")
        if snapshot:
            connection.execute(f"set transaction snapshot {literal(snapshot)}")
        settings = {**SESSION, "statement_timeout": self._statement_timeout}
        # Until the transaction's end only: behind a pooler, the session isn't ours.
        locally = (f"set_config({literal(k)}, {literal(v)}, true)" for k, v in settings.items())
        version = "current_setting('server_version_num')::int as version"
        (server,) = connection.rows(f"select {version}, {', '.join(locally)}")
        require_version(server["version"])


class Connection:
    """One connection, which is in a transaction from its beginning on.

    Attributes:
        place: what it is used for at the moment, for errors; None while that is no stream.
    """

    def __init__(self, raw: dbapi.Connection, user: str | None) -> None:
        """Wrap a connection of ADBC's."""
        self._raw = raw
        self.place: Place | None = None
        self._user = user
        self._running: dbapi.Cursor | None = None
        self._is_cancelled = False

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it; its transaction has only read."""
        # A cursor that broke off must be closed before its connection can be.
        if self._running:
            self._running.close()
        self._raw.close()

    def execute(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        with self._explained(), self._cursor() as cursor:
            cursor.execute(sql)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Run a query of few rows."""
        with self._explained(), self._cursor() as cursor:
            cursor.execute(sql)
            found: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
            return found

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Run a query by COPY; yield its rows as Arrow batches of some 4 MiB."""
        with self._cursor() as cursor:
            with self._explained():
                cursor.execute(sql)
                # The reader behind `fetch_record_batch()`, which would lose the errors' codes.
                reader = cursor._results.reader
            while True:
                self._require_going_on()
                with self._explained():
                    try:
                        batch = reader.read_next_batch()
                    except StopIteration:
                        return
                yield batch

    def commit(self) -> None:
        """End the transaction, with whatever it has locked, and begin another."""
        with self._explained():
            self._raw.commit()

    def cancel(self) -> None:
        """Let what is running on it in another thread fail soon, and all that would follow."""
        self._is_cancelled = True
        if self._running:
            self._running.adbc_cancel()

    def _require_going_on(self) -> None:
        if self._is_cancelled:
            message = "Stopped, since the run has ended."
            raise TapError(message)

    @contextmanager
    def _cursor(self) -> Iterator[dbapi.Cursor]:
        self._require_going_on()
        cursor = self._raw.cursor(adbc_stmt_kwargs=BATCH_SIZE)
        self._running = cursor
        try:
            yield cursor
        finally:
            self._running = None
            cursor.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            raise explained(error, self.place, self._user) from error


def explained(error: BaseException, place: Place | None, user: str | None) -> TapError:
    """Return the error that a user sees, with its mend.

    Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    where = f"Stream '{place.stream}'" if place else "Postgres"
    left_out = place.left_out if place else "leave it out"
    relation = place.relation if place else "the table"
    state = getattr(error, "sqlstate", None) or ""
    text = reason(error)
    match state:
        case "42501":
            mend = (
                f"Let the tap read it (`grant select on {relation} to {user or '…'}`, and `grant "
                f"usage on schema …`), or {left_out}; one column with `select: "
                f"['!<stream>.<column>']`"
            )
        case "42P01" | "42703" | "3F000":
            mend = f"It was there a moment ago: if it has gone for good, {left_out}; else run again"
        case "42704" if "snapshot" in text:
            mend = "The connection that held this run's snapshot was lost. Run again"
        case "57014" if "statement timeout" in text:
            mend = "Raise the extractor's `statement_timeout`, which is for one statement"
        case "40001" | "57014" if "recovery" in text:
            mend = (
                "The replica gave way to its primary. Set `hot_standby_feedback = on` on it, or "
                "raise its `max_standby_streaming_delay`; then run again"
            )
        case "55P03":
            mend = (
                f"Somebody holds {relation} locked for more than {LOCK_SECONDS} s, a migration "
                f"perhaps. Run again when it has ended"
            )
        case _ if "pooling mode" in text:  # as PgBouncer says it
            mend = (
                "The tap reads in transactions: connect to Postgres itself, or to a pool whose "
                "`pool_mode` is `transaction` or `session`"
            )
        case _ if state.startswith("22"):
            mend = "A value doesn't fit the type that `schema` declares for it: declare another"
        case _ if state.startswith(("08", "57P")) or "connection" in text:
            mend = "The connection was lost. Run again: what is complete is not read twice"
        case _:
            mend = f"If it stays so, {left_out}"
    return TapError(f"{where}: {text}. {mend}.")


def reason(error: BaseException) -> str:
    """Return what Postgres or libpq said, in one line and without the query."""
    text = str(error)
    if said := re.search(r"(?:ERROR|FATAL|PANIC):\s+(.+)", text):
        return said[1].strip().rstrip(".")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return re.sub(r"^\w+: (\[libpq\] )?", "", first).rstrip(".")


def require_version(number: int) -> None:
    """Refuse a server that has no 64-bit transaction ids.

    Args:
        number: `server_version_num`, e.g. 130004.

    Raises:
        TapError: the server is older than version 13.
    """
    if number // 10_000 < OLDEST_VERSION:
        message = (
            f"Postgres is of version {number // 10_000}; the tap needs {OLDEST_VERSION} or newer, "
            f"whose snapshots bear 64-bit transaction ids. Upgrade the server, or use another "
            f"extractor for it (`meltanolabs-tap-postgres`)."
        )
        raise TapError(message)
