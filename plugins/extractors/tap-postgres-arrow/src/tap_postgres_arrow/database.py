"""Postgres through ADBC: connections, queries, COPY as Arrow batches, and what errors mean."""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_postgresql import StatementOptions, dbapi

from tap_postgres_arrow.connection import ENCODING, Connector
from tap_postgres_arrow.errors import ConnectError, TapError, shortened

OLDEST_VERSION = 13
# The driver asks for the types once it is connected: that much for both.
ANSWER_SECONDS = 40
# A statement may take any time. After this much of silence, the tap asks on another connection
# whether it is still at work, and once more if that gets no answer.
SILENT_SECONDS = 60
ASKS = 2
LOOK_SECONDS = 5
STOPPED = "Stopped, since the run has ended."
# A table that somebody else has locked for longer than this isn't waited for: whoever comes
# after us would wait too.
LOCK_SECONDS = 60
# In a database of this encoding, a text is any bytes: nothing can convert them, or vouch for them.
ANY_BYTES = "SQL_ASCII"
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
# What only newer servers have. A run is one transaction, which may take hours.
SESSION_IF_KNOWN = {"transaction_timeout": "0"}
SERVER = f"""
select
    current_setting('server_version_num')::int as version,
    current_setting('server_encoding') as encoding,
    pg_catalog.pg_backend_pid() as process,
    set_config(
        'client_encoding',
        case current_setting('server_encoding')
            when '{ANY_BYTES}' then '{ANY_BYTES}' else '{ENCODING}'
        end,
        true
    ),
"""
# Four streams at once, with what Parquet's writer holds beside, stay well under 400 MiB.
BATCH_SIZE = {StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(4 * 2**20)}
# As Postgres says it (and no SQLSTATE comes with what is refused at the door).
TOO_MANY_CONNECTIONS = re.compile(
    r"too many connections for [^\n]+|too many clients already|remaining connection slots [^\n]+"
)
REASON_CHARACTERS = 500
ERRORS = (adbc_driver_manager.Error, pa.ArrowException, OSError)


def in_background[Result](work: Callable[[], Result]) -> "Future[Result]":
    """Do something on a daemon thread, which does not keep the process from ending.

    The driver's calls can't be interrupted. A thread that waits for this one's result can: by a
    signal, or when it has waited enough.
    """
    future: Future[Result] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=do, daemon=True).start()
    return future


def identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quote a text for SQL."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True)
class StreamRef:
    """What a piece of work is about, for errors: a stream's name and its relation's."""

    stream: str
    relation: str

    @property
    def left_out(self) -> str:
        """Return how to do without the stream."""
        return f"leave it out with `select: ['*.*', '!{self.stream}.*']`"


class PostgresError(TapError):
    """What Postgres said no to.

    Attributes:
        state: its SQLSTATE; empty where it has none.
    """

    def __init__(self, message: str, state: str = "") -> None:
        """Take the message that a user sees."""
        super().__init__(message)
        self.state = state

    def of_column(self, column: str) -> "PostgresError":
        """Return the error with the column that it is about."""
        stream, said = str(self).split(": ", 1)
        return PostgresError(f"{stream}, column '{column}': {said}", self.state)

    @property
    def is_of_a_value(self) -> bool:
        """Whether a value is to blame, or what computes it: so one column might be."""
        return self.state.startswith(("22", "P0", "XX"))


class TooManyConnectionsError(TapError):
    """The server, the database or the role has as many connections as it may have."""


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
            TooManyConnectionsError: there are as many as there may be.
            ConnectError: Postgres can't be reached, or refuses these settings.
        """
        return Connection(self._connector.connect(_opened, ERRORS), self.user)

    def close(self) -> None:
        """Leave the way to it: a tunnel, files with certificates."""
        self._connector.close()

    def wait[Result](
        self, work: "Future[Result]", connections: Callable[[], Collection["Connection"]]
    ) -> Result:
        """Wait for something that is done on connections; see that Postgres is at it.

        A connection that is dead may look like one whose statement takes long: through a tunnel,
        say, or with a server that hangs, keepalives are answered.

        Args:
            work: what is done, on other threads.
            connections: the connections that it is done on.

        Returns:
            Its result; or raises what it raised.

        Raises:
            TapError: Postgres doesn't answer any more.
        """
        asked = time.monotonic()
        while True:
            try:
                return work.result(LOOK_SECONDS)
            except TimeoutError:
                if work.done():
                    raise
            now = time.monotonic()
            silent = [c for c in connections() if now - c.heard > SILENT_SECONDS and c.is_waiting]
            if silent and now - asked > SILENT_SECONDS:
                self._require_at_work(silent)
                asked = time.monotonic()

    def _require_at_work(self, connections: Collection["Connection"]) -> None:
        ids = ", ".join(str(connection.process) for connection in connections)
        query = f"select count(*) as count from pg_catalog.pg_stat_activity where pid in ({ids})"

        def ask() -> int:
            with self.connect() as other:
                return int(other.rows(query)[0]["count"])

        for _ in range(ASKS):
            try:
                found = in_background(ask).result(ANSWER_SECONDS + LOOK_SECONDS)
            except TooManyConnectionsError:
                return
            except ConnectError as error:
                # Its fix is for settings that have never worked: these have.
                problem = f"A new connection fails too: {error.problem}."
            except (TapError, TimeoutError) as error:
                problem = str(error) or "A new connection gets no answer either."
            else:
                if found == len(connections):
                    return
                problem = "The server has no such session any more: something on the way lost it."
                break
        message = (
            f"Postgres has been silent for more than {SILENT_SECONDS} s. {problem} See whether the "
            f"server still runs, and what is on the network's way to it: one that forgets idle "
            f"connections needs a `keepalives_idle` below its limit, and a smaller "
            f"`tcp_user_timeout` ends a dead one sooner. Run again: what is complete is not read "
            f"twice."
        )
        raise TapError(message)

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
        # For this transaction only: behind a pooler, other clients share the session.
        locally = [f"set_config({literal(k)}, {literal(v)}, true)" for k, v in settings.items()]
        locally += [
            f"case when current_setting({literal(k)}, true) is not null "
            f"then set_config({literal(k)}, {literal(v)}, true) end"
            for k, v in SESSION_IF_KNOWN.items()
        ]
        (server,) = connection.rows(SERVER + ", ".join(locally))
        require_version(server["version"])
        connection.holds_any_bytes = server["encoding"] == ANY_BYTES
        connection.process = server["process"]


class Connection:
    """One connection, which is in a transaction from its beginning on.

    Attributes:
        stream_ref: what it is used for at the moment, for errors; None while that is no stream.
        holds_any_bytes: whether a text needn't be UTF-8.
        process: the id of the server's process that serves it.
        heard: when it last answered, on the monotonic clock.
    """

    def __init__(self, raw: dbapi.Connection, user: str | None) -> None:
        """Wrap a connection of ADBC's."""
        self._raw = raw
        self.stream_ref: StreamRef | None = None
        self.holds_any_bytes = False
        self.process = 0
        self.heard = time.monotonic()
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
            return _to_pylist(cursor.fetch_arrow_table())

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
                # The caller may have taken long over the batch.
                self.heard = time.monotonic()

    @property
    def is_waiting(self) -> bool:
        """Whether it is used, so that an answer is to be expected."""
        return self._running is not None

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
            raise TapError(STOPPED)

    @contextmanager
    def _cursor(self) -> Iterator[dbapi.Cursor]:
        self._require_going_on()
        cursor = self._raw.cursor(adbc_stmt_kwargs=BATCH_SIZE)
        self._running = cursor
        self.heard = time.monotonic()
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
            raise explained(error, self.stream_ref, self._user) from error


def explained(
    error: BaseException, stream_ref: StreamRef | None, user: str | None
) -> PostgresError:
    """Return the error that a user sees, with its fix.

    Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    where = f"Stream '{stream_ref.stream}'" if stream_ref else "Postgres"
    left_out = stream_ref.left_out if stream_ref else "leave it out"
    relation = stream_ref.relation if stream_ref else "the table"
    state = getattr(error, "sqlstate", None) or ""
    text = reason(error)
    match state:
        case "42501":
            reader = (
                user if re.fullmatch("[a-z_][a-z0-9_]*", user or "") else identifier(user or "…")
            )
            fix = (
                f"Let the tap read it (`grant select on {relation} to {reader}`, and `grant "
                f"usage on schema …`), or {left_out}; one column with `select: "
                f"['!<stream>.<column>']`"
            )
        case "42P01" | "42703" | "3F000" if "\\x" in text:
            fix = (
                f"Its name isn't UTF-8, in a database whose encoding is {ANY_BYTES}: rename it, or "
                f"{left_out}"
            )
        case "42P01" | "42703" | "3F000":
            fix = f"It was there a moment ago: if it has gone for good, {left_out}; else run again"
        case "42704" if "snapshot" in text:
            fix = "The connection that held this run's snapshot was lost. Run again"
        case "57014" if "statement timeout" in text:
            fix = "Raise the extractor's `statement_timeout`, which is for one statement"
        case "40001" | "57014" if "recovery" in text:
            fix = (
                "The replica gave way to its primary. Set `hot_standby_feedback = on` on it, or "
                "raise its `max_standby_streaming_delay`; then run again"
            )
        case "55P03":
            fix = (
                f"Somebody holds {relation} locked for more than {LOCK_SECONDS} s, a migration "
                f"perhaps. Run again when it has ended"
            )
        case _ if "pooling mode" in text:  # as PgBouncer says it
            fix = (
                "The tap reads in transactions: connect to Postgres itself, or to a pool whose "
                "`pool_mode` is `transaction` or `session`"
            )
        case "22023" if "parameter" in text:
            fix = "Correct that setting of the extractor: `30min`, say, or `0` for no limit"
        case _ if state.startswith("22"):
            fix = (
                f"Correct the value, or the view that computes it, at the source; declare another "
                f"type for the column in the extractor's `schema`; or {left_out}"
            )
        case _ if state.startswith(("08", "57P")) or "connection" in text:
            fix = "The connection was lost. Run again: what is complete is not read twice"
        case _:
            fix = f"If it stays so, {left_out}"
    return PostgresError(f"{where}: {text}. {fix}.", state)


def reason(error: BaseException) -> str:
    """Return what Postgres or libpq said, in one line and without the query."""
    return shortened(_reason(error), REASON_CHARACTERS)


def _reason(error: BaseException) -> str:
    # In the server's language.
    if said := dict(getattr(error, "details", None) or ()).get(b"PG_DIAG_MESSAGE_PRIMARY"):
        return str(said.decode(errors="backslashreplace")).rstrip(".")
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


def _to_pylist(table: pa.Table) -> list[dict[str, Any]]:
    """Return a table's rows; of a text that isn't UTF-8, the stray bytes are escaped."""
    try:
        rows: list[dict[str, Any]] = table.to_pylist()
    except UnicodeDecodeError:
        as_bytes = {pa.string(): pa.binary(), pa.list_(pa.string()): pa.list_(pa.binary())}
        columns = [column.cast(as_bytes.get(column.type, column.type)) for column in table.columns]
        raw = pa.Table.from_arrays(columns, names=table.column_names).to_pylist()
        rows = [{name: _decoded(value) for name, value in row.items()} for row in raw]
    return rows


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _opened(conninfo: str) -> dbapi.Connection:
    """Open a connection by libpq's connection string.

    Raises:
        TooManyConnectionsError: there are as many as there may be.
        adbc_driver_manager.Error: there is none.
        OSError: there was no answer in time.
    """
    try:
        return in_background(partial(_open, conninfo)).result(ANSWER_SECONDS)
    except TimeoutError:
        message = f"timeout expired: no answer within {ANSWER_SECONDS} s"
        raise OSError(message) from None
    except ERRORS as error:
        if said := TOO_MANY_CONNECTIONS.search(str(error)):
            message = (
                f"Can't connect to Postgres: {said[0]}. Lower the extractor's "
                f"`max_parallel_streams` (it needs one connection more than that), or raise "
                f"the limit."
            )
            raise TooManyConnectionsError(message) from None
        raise


def _open(conninfo: str) -> dbapi.Connection:
    try:
        return dbapi.connect(conninfo)
    except ERRORS as error:
        # The driver reads the names of all types, and one of them isn't UTF-8.
        if getattr(error, "sqlstate", None) != "22021":
            raise
    return dbapi.connect(f"{conninfo} client_encoding={ANY_BYTES}")
