"""How one stream is read in a run, from its plan to its bookmark."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from singer_sdk.singerlib.messages import Message, SchemaMessage

from tap_postgres_arrow.batch_dir import BatchDir
from tap_postgres_arrow.column_types import Field
from tap_postgres_arrow.database import Connection
from tap_postgres_arrow.discovery import XMIN
from tap_postgres_arrow.emit import (
    EXTRACTED_AT,
    SEQUENCE,
    TABLE_VERSION,
    BatchEmitter,
    Conversion,
    Emitter,
    RecordEmitter,
)
from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.messages import BatchMessage, GuardedActivateVersionMessage, KeysMessage
from tap_postgres_arrow.output import Output
from tap_postgres_arrow.replication import (
    Bookmark,
    ReadPlan,
    by_column,
    by_xmin,
    full_table,
    require_replicable,
)
from tap_postgres_arrow.snapshot import Snapshot
from tap_postgres_arrow.streams import PostgresStream

PROGRESS_SECONDS = 15
# A table that was truncated or rewritten after the snapshot looks empty in it. Source:
# https://www.postgresql.org/docs/current/mvcc-caveats.html
REWRITTEN = """
select count(*) as count
from pg_catalog.pg_class
where
    oid in ({parts})
    and relkind in ('r', 'm')
    and pg_catalog.pg_relation_filenode(oid) is distinct from relfilenode
"""


@dataclass(frozen=True)
class RunContext:
    """What the streams of one run share.

    Attributes:
        snapshot: the moment that is read.
        sequence: microseconds since the epoch: greater in every later run.
        output: where messages go.
        batch_dir: where files go; None where rows are sent as RECORD messages.
        max_delete_fraction: the share of a table's live rows that may go at once.
        nullifies: whether a value that doesn't fit its type arrives as null.
    """

    snapshot: Snapshot
    sequence: int
    output: Output
    batch_dir: BatchDir | None
    max_delete_fraction: float
    nullifies: bool

    @property
    def version(self) -> int:
        """Return the table version of what is read in full: milliseconds since the epoch."""
        return self.sequence // 1_000


@dataclass(frozen=True)
class Outcome:
    """What is to be said once all rows of a stream have been sent.

    Attributes:
        messages: which rows have been deleted.
        bookmark: where the next run begins; None where this one was only a test.
    """

    messages: Sequence[Message]
    bookmark: Bookmark | None


class StreamReader:
    """Reads one stream on a connection of its own, which is in the run's snapshot."""

    def __init__(self, stream: PostgresStream, run: RunContext, connection: Connection) -> None:
        """Prepare to read."""
        self._stream = stream
        self._run = run
        self._connection = connection

    def read(self, last: Mapping[str, Any]) -> Outcome:
        """Send the rows that are to be read.

        Args:
            last: the bookmark of the last run; empty before the first.

        Raises:
            TapError: something of it can't be read or sent.
        """
        stream = self._stream
        require_replicable(
            stream.relation, stream.replication_method, stream.replication_key, stream.primary_keys
        )
        self._require_unchanged()
        self._say_what_is_renamed(last)
        plan = self._plan(last)
        for warning in plan.warnings:
            stream.logger.warning("%s", warning)
        rows = self._send_rows(plan)
        stream.logger.info("%s: %s rows read (%s)", stream.name, f"{rows:,}", plan.reason)
        if stream.ABORT_AT_RECORD_COUNT:
            return Outcome([], None)
        return self._deletes(plan, rows, last)

    def _say_what_is_renamed(self, last: Mapping[str, Any]) -> None:
        renamed = [column for column in self._stream.columns if column.name != column.source]
        if renamed and not last:
            names = ", ".join(f"{column.source} as {column.name}" for column in renamed)
            self._stream.logger.warning(
                "%s: columns that are called as the loader's own arrive under other names: %s",
                self._stream.name,
                names,
            )

    def _require_unchanged(self) -> None:
        """Lock the table, as any SELECT does, and see that it still holds the snapshot's rows."""
        relation = self._stream.relation
        self._connection.execute(f"select 1 from {relation.source} limit 0")
        parts = ", ".join(map(str, relation.parts))
        if not parts:
            return
        (rewritten,) = self._connection.rows(REWRITTEN.format(parts=parts))
        if rewritten["count"]:
            message = (
                f"Stream '{self._stream.name}': {relation.sql} was truncated or rewritten (by a "
                f"migration, VACUUM FULL or REFRESH) after this run had begun, whose snapshot "
                f"doesn't show what it holds any more. Run again."
            )
            raise TapError(message)

    def _plan(self, last: Mapping[str, Any]) -> ReadPlan:
        stream = self._stream
        columns = [column.name for column in stream.columns]
        if stream.replication_method == "FULL_TABLE":
            return full_table()
        if stream.replication_key == XMIN:
            keys = list(stream.primary_keys)
            return by_xmin(stream.relation, columns, keys, self._run.snapshot, last)
        return by_column(
            stream.relation,
            columns,
            str(stream.replication_key),
            self._connection,
            last,
            snapshot=self._run.snapshot,
            overlap=stream.replication_key_overlap,
        )

    def _schema_message(self) -> SchemaMessage:
        stream = self._stream
        return SchemaMessage(
            stream.name,
            stream.message_schema(batches=self._run.batch_dir is not None),
            list(stream.primary_keys),
        )

    def _send_rows(self, plan: ReadPlan) -> int:
        stream, run, version = self._stream, self._run, self._version(plan)
        # With the first rows: what can't be read doesn't make a table.
        schema = [self._schema_message()]
        emitter: Emitter
        if run.batch_dir:
            metadata = {
                EXTRACTED_AT: run.snapshot.taken_at,
                SEQUENCE: run.sequence,
                TABLE_VERSION: version,
            }
            emitter = BatchEmitter(
                stream.name,
                stream.fields,
                run.batch_dir,
                lambda url: self._announce(url, version, schema),
                metadata,
            )
        else:
            envelope = {"time_extracted": run.snapshot.taken_at} | (
                {"version": version} if version else {}
            )
            emitter = RecordEmitter(stream.name, stream.fields, run.output, envelope)
            run.output.write(schema.pop())
        rows = self._send(stream.fields, plan.condition, emitter)
        run.output.write(*schema)
        return rows

    def _announce(self, url: str, version: int | None, schema: list[SchemaMessage]) -> None:
        if self._run.batch_dir:
            self._run.batch_dir.announce([url])
        messages = (*schema, BatchMessage(self._stream.name, [url], version))
        schema.clear()
        self._run.output.write(*messages)

    def _send(self, fields: Sequence[Field], condition: str | None, emitter: Emitter) -> int:
        """Send what a query finds; return the number of rows."""
        rows = 0
        spoke = time.monotonic()
        conversion = Conversion(
            self._stream.name,
            fields,
            self._stream.primary_keys,
            checks_text=self._connection.holds_any_bytes,
            nullifies=self._run.nullifies,
        )
        try:
            for batch in self._connection.batches(self._stream.select(fields, condition)):
                if batch.num_rows:
                    emitter.write(conversion.columns(batch))
                    rows += batch.num_rows
                if time.monotonic() - spoke > PROGRESS_SECONDS:
                    spoke = time.monotonic()
                    self._stream.logger.info("%s: %s rows so far", self._stream.name, f"{rows:,}")
            emitter.close()
        finally:
            emitter.discard()
        for warning in conversion.warnings():
            self._stream.logger.warning("%s", warning)
        return rows

    def _version(self, plan: ReadPlan) -> int | None:
        """Return the table version, by which a loader finds the rows that a full read lacks."""
        is_full_table = self._stream.replication_method == "FULL_TABLE"
        tells = plan.is_full and (is_full_table or self._stream.detects_deletes)
        return self._run.version if tells else None

    def _deletes(self, plan: ReadPlan, rows: int, last: Mapping[str, Any]) -> Outcome:
        """Return the messages by which the loader finds deleted rows."""
        stream, run = self._stream, self._run
        fraction = run.max_delete_fraction
        if version := self._version(plan):
            activation = GuardedActivateVersionMessage(stream.name, version, fraction)
            return Outcome([activation], plan.bookmark | {"rows": rows})
        if not stream.detects_deletes or not run.batch_dir:
            return Outcome([], plan.bookmark)
        if self._holds_the_same_keys(plan, rows, last):
            return Outcome([], plan.bookmark | {"rows": last["rows"]})
        urls: list[str] = []
        emitter = BatchEmitter(stream.name, stream.key_fields, run.batch_dir, urls.append)
        keys = self._send(stream.key_fields, None, emitter)
        stream.logger.info("%s: %s keys to compare", stream.name, f"{keys:,}")
        return Outcome([KeysMessage(stream.name, urls, fraction)], plan.bookmark | {"rows": keys})

    def _holds_the_same_keys(self, plan: ReadPlan, rows: int, last: Mapping[str, Any]) -> bool:
        """Tell whether no row has been deleted without looking at the keys.

        By xmin every row that was inserted is seen. If none was, and there are as many as there
        were, they are the same ones. Another replication key may miss some.
        """
        if rows or plan.bookmark["replication_key"] != XMIN or "rows" not in last:
            return False
        (found,) = self._connection.rows(
            f"select count(*) as count from {self._stream.relation.source}"
        )
        return bool(found["count"] == last["rows"])
