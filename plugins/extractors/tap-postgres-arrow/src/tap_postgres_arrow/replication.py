"""What one run reads of a stream: everything, or what has changed since the last.

By xmin, the id of the transaction that wrote a row. Each run remembers the oldest transaction that
was running at its snapshot; the next reads the rows of that transaction and of all later ones, so
that what was in flight is not lost, and all that its own snapshot holds of them, however new.
Rows keep their xmin when they are frozen; that xmin has 32 bits and wraps around.

Some changes leave xmin alone: a column that is added with a default, a partition that is
attached, another table that takes the name of this one, another cluster behind the same address.
The bookmark records what these changes can be recognised by; where they can't, all is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tap_postgres_arrow.column_types import PostgresType
from tap_postgres_arrow.database import Connection, PostgresError, identifier, literal
from tap_postgres_arrow.discovery import XMIN, Column, Relation
from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.snapshot import Snapshot

XMIN_RANGE = 2**32
TIMES = ("date", "timestamp", "timestamptz")
NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
Bookmark = dict[str, Any]


@dataclass(frozen=True)
class ReadPlan:
    """What to read of a stream.

    Attributes:
        bookmark: where the next run begins, once all of this is loaded.
        condition: which rows, in SQL; None for all of them.
        reason: why, in words for the log.
        warnings: what else to say.
    """

    bookmark: Bookmark
    condition: str | None
    reason: str
    warnings: tuple[str, ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether a row that is missing from what is read was deleted at the source."""
        return self.condition is None


def full_table() -> ReadPlan:
    """Read everything, as every run does."""
    return ReadPlan({}, None, "FULL_TABLE")


def by_xmin(
    relation: Relation,
    columns: Sequence[str],
    keys: Sequence[str],
    snapshot: Snapshot,
    last: Mapping[str, Any],
) -> ReadPlan:
    """Read the rows that were written since the last run.

    Args:
        relation: the table.
        columns: those that are selected.
        keys: the stream's key properties.
        snapshot: the moment that is read.
        last: the bookmark of the last run; empty before the first.
    """
    bookmark = {
        "replication_key": XMIN,
        "replication_key_value": snapshot.ceiling,
        "cluster": snapshot.cluster,
        "parts": list(relation.parts),
        "columns": _numbers(relation, columns),
        "keys": list(keys),
    }
    if unknown := _unknown(bookmark, last, snapshot):
        return ReadPlan(bookmark, None, unknown)
    floor = last["replication_key_value"]
    conditions = [written_between(floor, snapshot.next_transaction)]
    if added := sorted(set(relation.parts) - set(last["parts"])):
        conditions.append(f"tableoid in ({', '.join(map(str, added))})")
    return ReadPlan(bookmark, " or ".join(conditions), f"changed since transaction {floor}")


def written_between(floor: int, end: int) -> str:
    """Return the condition for rows whose xmin is one of the 64-bit ids from floor to before end.

    There must be no more ids between the two than xmin can tell apart. Rows that are older by a
    whole turn may be among them; they are read once more, which does no harm.
    """
    if floor == end:
        return "false"
    xmin, low, high = "xmin::text::bigint", floor % XMIN_RANGE, end % XMIN_RANGE
    if low < high:
        return f"({xmin} >= {low} and {xmin} < {high})"
    return f"({xmin} >= {low} or {xmin} < {high})"


def _unknown(bookmark: Bookmark, last: Mapping[str, Any], snapshot: Snapshot) -> str | None:
    """Return why changes since the last bookmark are unknown; None if they are known."""
    floor = last.get("replication_key_value")
    if last.get("replication_key") != XMIN or not isinstance(floor, int):
        return "first read by xmin"
    if last.get("cluster") != bookmark["cluster"]:
        return "the database is another cluster, or was restored or promoted"
    if floor > snapshot.next_transaction:
        return "the database is behind the last run: it was restored"
    if snapshot.next_transaction - floor >= XMIN_RANGE:
        return "transaction ids have gone round since the last run"
    if not set(last.get("parts", ())) & set(bookmark["parts"]):
        return "the table is another than before"
    if last.get("keys") != bookmark["keys"]:
        return "the key is another than before"
    return _added_columns(bookmark, last)


def _added_columns(bookmark: Bookmark, last: Mapping[str, Any]) -> str | None:
    added = bookmark["columns"].items() - last.get("columns", {}).items()
    if not added:
        return None
    return f"new columns: {', '.join(sorted(name for name, _ in added))}"


def _numbers(relation: Relation, columns: Sequence[str]) -> dict[str, int]:
    return {column.name: column.number for column in relation.columns if column.name in columns}


def by_column(
    relation: Relation,
    columns: Sequence[str],
    replication_key: str,
    connection: Connection,
    last: Mapping[str, Any],
    *,
    snapshot: Snapshot,
    overlap: str | None,
) -> ReadPlan:
    """Read the rows whose replication key is at or past the greatest of the last run.

    A time after the snapshot's doesn't count: else a row of the year 2999 would be the last that
    is ever read.

    Args:
        relation: the table or view.
        columns: those that are selected.
        replication_key: the property.
        connection: where to look for its greatest value.
        last: the bookmark of the last run; empty before the first.
        snapshot: the moment that is read.
        overlap: how far before the last run's value to begin: an interval, or a number.

    Raises:
        TapError: the column has nulls, so that these rows would never be read; or the overlap
            doesn't go with its type.
    """
    key = next(column for column in relation.columns if column.name == replication_key)
    overlap_type = _overlap_type(relation, key, overlap, connection)
    greatest = _greatest(relation, key.source, key.type, connection, snapshot)
    if greatest["nulls"]:
        message = (
            f"Stream '{relation.stream}': its replication key '{key.name}' is null in "
            f"{greatest['nulls']} rows of {relation.sql}, which would never be read. Replicate it "
            f"by `xmin`, as FULL_TABLE, or by a column that is never null."
        )
        raise TapError(message)
    same_key = last.get("replication_key") == key.name
    floor = last.get("replication_key_value") if same_key else None
    bookmark = {
        "replication_key": key.name,
        "replication_key_value": floor if greatest["value"] is None else greatest["value"],
        "columns": _numbers(relation, columns),
    }
    warnings = []
    if greatest["future"]:
        warnings.append(
            f"{relation.stream}: replication key '{key.name}' is in the future in "
            f"{greatest['future']:,} rows (up to {greatest['last']}), which every run reads again "
            f"until then; the bookmark doesn't pass this run's time. Correct them at the source."
        )
    sql = identifier(key.source)
    if floor is None:
        return ReadPlan(bookmark, None, f"first read by {key.name}", tuple(warnings))
    # The bookmark of another extractor doesn't list the columns.
    if added := "columns" in last and _added_columns(bookmark, last):
        return ReadPlan(bookmark, None, added, tuple(warnings))
    if key.type.name in TIMES and _is_after(floor, key.type, connection, snapshot):
        reason = f"the last run's {key.name}, {floor}, is in the future: rows may be missing"
        bookmark["replication_key_value"] = greatest["value"]
        return ReadPlan(bookmark, None, reason, tuple(warnings))
    begin = literal(str(floor))
    if overlap is not None:
        begin = f"{begin}::{key.type.name} - {literal(overlap)}::{overlap_type}"
    condition = f"{sql} >= {begin}"
    since = f"{key.name} from {floor}" + (f" less {overlap}" if overlap else "")
    return ReadPlan(bookmark, condition, since, tuple(warnings))


def _overlap_type(
    relation: Relation, key: Column, overlap: str | None, connection: Connection
) -> str:
    kind = "interval" if key.type.name in TIMES else "numeric"
    if overlap is None:
        return kind
    problem = f"'{key.name}' is neither" if key.type.name not in (*TIMES, *NUMBERS) else None
    if not problem:
        try:
            connection.rows(f"select {literal(overlap)}::{kind} >= '0' as is_overlap")
        except PostgresError:
            problem = f"'{overlap}' is no {kind}"
    if problem:
        message = (
            f"Stream '{relation.stream}': `replication-key-overlap` is an interval (`10 minutes`) "
            f"for times, and a number for numbers; {problem}. Correct it in the extractor's "
            f"`metadata`."
        )
        raise TapError(message)
    return kind


def _greatest(
    relation: Relation,
    name: str,
    column: PostgresType,
    connection: Connection,
    snapshot: Snapshot,
) -> dict[str, Any]:
    """Return what there is to know of a replication key.

    Returns:
        Its greatest value, as text: of a time, the greatest that isn't after the snapshot's; in
        how many rows it is null; and in how many it is more than a day after the snapshot's,
        more than time zones explain, with the last of these.
    """
    sql = identifier(name)
    greatest, future, last = f"max({sql})", "0::bigint", "null::text"
    if column.name in TIMES:
        now = _now(snapshot, column)
        is_past = f"filter (where {sql} <= {now})"
        is_future = f"filter (where {sql} > {now} + interval '1 day' and isfinite({sql}))"
        future, last = f"count(*) {is_future}", f"(max({sql}) {is_future})::text"
        greatest = f"{greatest} {is_past}"
    (found,) = connection.rows(
        f"select ({greatest})::text as value, count(*) - count({sql}) as nulls, "
        f"{future} as future, {last} as last from {relation.source}"
    )
    return found


def _now(snapshot: Snapshot, column: PostgresType) -> str:
    """Return the snapshot's time in SQL, in the type of a column that holds times."""
    return f"{literal(snapshot.taken_at.isoformat())}::timestamptz::{column.name}"


def _is_after(floor: Any, column: PostgresType, connection: Connection, snapshot: Snapshot) -> bool:
    value = f"{literal(str(floor))}::{column.name}"
    (found,) = connection.rows(
        f"select isfinite({value}) and {value} > {_now(snapshot, column)} + interval '1 day' as so"
    )
    return bool(found["so"])


def require_replicable(
    relation: Relation, method: str, replication_key: str | None, keys: Sequence[str]
) -> None:
    """Refuse what can't be replicated as the catalog asks for.

    Raises:
        TapError: with the reason and what to choose instead.
    """
    problem = _problem(relation, method, replication_key, keys)
    if problem:
        message = (
            f"Stream '{relation.stream}': {problem}. Choose another `replication-method` or "
            f"`replication-key` for it in the extractor's `metadata`; FULL_TABLE always works."
        )
        raise TapError(message)


def _problem(
    relation: Relation, method: str, replication_key: str | None, keys: Sequence[str]
) -> str | None:
    if method == "FULL_TABLE":
        return None
    if method != "INCREMENTAL":
        return f"this extractor has no replication method {method}"
    if not replication_key:
        return "INCREMENTAL needs a replication key: `xmin`, or a column such as `updated_at`"
    if replication_key != XMIN:
        known = {column.name for column in relation.columns}
        return None if replication_key in known else f"it has no column '{replication_key}'"
    if relation.has_foreign_parts:
        return "some of its partitions are on another server, whose xmin can't be read here"
    if not relation.has_xmin:
        return f"{relation.sql} is a {relation.kind.name.lower().replace('_', ' ')}: no xmin"
    if not keys:
        return (
            "by `xmin`, a changed row replaces the one with its key, but it has no primary key and "
            "no unique index over columns without nulls (`table-key-properties` declares one)"
        )
    return None
