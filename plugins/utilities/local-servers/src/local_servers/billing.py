"""What BigQuery bills for a statement, computed from what it reads.

No emulator bills, so this follows the documentation, for on-demand pricing. Sources:
https://cloud.google.com/bigquery/docs/estimate-costs#on-demand_query_size_calculation and
https://cloud.google.com/bigquery/pricing#on_demand_pricing

- A query processes the bytes of the columns that it names, of all rows of the partitions that it
  scans. A column that it names twice counts once.
- DML processes that much too (q), and of the table that UPDATE, DELETE or a MERGE with such a
  clause changes, all columns of the partitions scanned (t): of all rows, if it isn't partitioned.
  INSERT and CREATE TABLE AS SELECT process q alone.
- A partition is left out only where constants say so that are compared with the partitioning column
  in WHERE, or in the ON of a MERGE or a join:
  https://cloud.google.com/bigquery/docs/using-dml-with-partitioned-tables
- Each table from which anything is read is billed as 10 MB at least, and up to the next MB.
- Load jobs, copies, DDL, metadata, and `count(*)` of a whole table, are free.
- INT64, FLOAT64, DATE, DATETIME, TIME and TIMESTAMP take 8 bytes, NUMERIC 16, BIGNUMERIC 32,
  BOOL 1, STRING and BYTES 2 more than their content, JSON its text, a null none.

Clustering may lower the bill further; BigQuery doesn't say by how much before a query has run.
"""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot
from google.cloud import bigquery
from sqlglot import exp
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.qualify_tables import qualify_tables
from sqlglot.optimizer.scope import Scope, traverse_scope

MEBIBYTE = 2**20
FEWEST_MEBIBYTES = 10
DOLLARS_A_TEBIBYTE = 6.25
CHANGED = "changed"
SIZES = {
    "BOOLEAN": "count({0})",
    "NUMERIC": "16 * count({0})",
    "BIGNUMERIC": "32 * count({0})",
    "STRING": "coalesce(sum(2 + byte_length({0})), 0)",
    "BYTES": "coalesce(sum(2 + byte_length({0})), 0)",
    "JSON": "coalesce(sum(if({0} is null, 0, byte_length(to_json_string({0})))), 0)",
} | dict.fromkeys(
    ("INTEGER", "FLOAT", "DATE", "DATETIME", "TIME", "TIMESTAMP"),
    "8 * count({0})",
)


@dataclass(frozen=True)
class Partition:
    """Part of a table.

    Attributes:
        start: the lowest value of the partitioning column that belongs here; None where there is
            no lowest: the partition of nulls, the one of what is outside, a whole table.
        end: the lowest value that is too high.
        holds_nulls: whether it is the partition of nulls.
        sizes: the logical bytes of each column.
    """

    start: Any
    end: Any
    sizes: Mapping[str, int]
    holds_nulls: bool = False


@dataclass(frozen=True)
class TableSizes:
    """How large a table is.

    Attributes:
        columns: its columns.
        partitions: its partitions that hold rows; a table without partitions is one.
        partitioned_by: the partitioning column.
    """

    columns: Sequence[str]
    partitions: Sequence[Partition]
    partitioned_by: str | None = None

    @property
    def bytes(self) -> int:
        """Return the bytes of the whole table."""
        return sum(sum(partition.sizes.values()) for partition in self.partitions)


# The values for which a condition may hold: pairs of the lowest and the highest, or None for null.
type Values = list[tuple[Any, Any] | None]
# A part of a table: its number among the partitions, and a column; None for all columns (t).
type Part = tuple[int, str | None]


def processed(
    sql: str, sizes: Callable[[str], TableSizes], dataset: str | None = None
) -> dict[str, int]:
    """Return the bytes that a statement processes, of each table from which it reads any.

    Args:
        sql: a statement in GoogleSQL.
        sizes: called with the full name of each table that is read.
        dataset: the project and dataset of tables that are named without.

    Raises:
        ValueError: there are no rules for such a statement.
    """
    statement = sqlglot.parse_one(sql, dialect="bigquery")
    query = _as_query(statement)
    if query is None:
        return {}
    project, _, default = (dataset or "").partition(".")
    query = qualify_tables(query, db=default or None, catalog=project or None, dialect="bigquery")
    names = {_name(table): table for table in query.find_all(exp.Table) if table.catalog}
    found = {name: sizes(name) for name in names}
    schema: dict[str, Any] = {}
    for name, table in names.items():
        tables = schema.setdefault(table.catalog, {}).setdefault(table.db, {})
        # Types decide nothing here.
        tables[table.name] = dict.fromkeys(found[name].columns, "INT64")
    query = qualify(query, dialect="bigquery", schema=schema, validate_qualify_columns=True)
    query = pushdown_projections(query)
    parts: dict[str, set[Part]] = {name: set() for name in names}
    for scope in traverse_scope(query):
        for alias, source in scope.sources.items():
            if not isinstance(source, exp.Table):
                continue
            name = _name(source)
            scanned = _scanned(scope, alias, found[name])
            columns = {column.name for column in scope.columns if column.table == alias}
            parts[name] |= {(number, column) for number in scanned for column in columns}
            if source.meta.get(CHANGED):
                parts[name] |= {(number, None) for number in scanned}
    totals = {
        name: sum(_size(found[name].partitions[number], column) for number, column in some)
        for name, some in parts.items()
    }
    return {name: total for name, total in totals.items() if total}


def billed(processed: Mapping[str, int]) -> int:
    """Return the bytes billed for those that a statement processes of each table."""
    return sum(
        MEBIBYTE * max(FEWEST_MEBIBYTES, -(-size // MEBIBYTE)) for size in processed.values()
    )


def dollars(billed: float) -> float:
    """Return the price of bytes billed, in the multi-regions US and EU."""
    return billed / 2**40 * DOLLARS_A_TEBIBYTE


def table_sizes(client: bigquery.Client, name: str) -> TableSizes:
    """Measure a table of the emulator's.

    Raises:
        KeyError: it has a column of a type that isn't known here.
    """
    table = client.get_table(name)
    columns = [field.name for field in table.schema]
    sums = [SIZES[field.field_type].format(f"`{field.name}`") for field in table.schema]
    time, ranges = table.time_partitioning, table.range_partitioning
    column = (time or ranges).field if time or ranges else None
    start = "null"
    if time:
        start = f"timestamp_trunc(cast(`{column}` as timestamp), {time.type_.lower()})"
    elif ranges:
        range_ = ranges.range_
        start = (
            f"if(`{column}` between {range_.start} and {range_.end - 1}, `{column}` "
            f"- mod(`{column}` - {range_.start}, {range_.interval}), null)"
        )
    is_null = f"`{column}` is null" if column else "false"
    sql = f"select {start}, {is_null}, {', '.join(sums)} from `{name}` group by 1, 2"
    partitions = []
    for first, holds_nulls, *sizes in (row.values() for row in client.query(sql).result()):
        end = None
        if first is not None:
            end = _next(first, time.type_) if time else first + ranges.range_.interval
        by_column = dict(zip(columns, map(int, sizes), strict=True))
        partitions.append(Partition(first, end, by_column, holds_nulls))
    return TableSizes(columns, partitions, column)


def _next(start: datetime.datetime, unit: str) -> datetime.datetime:
    """Return the beginning of the next day, month or year."""
    days = {"DAY": 1, "MONTH": 31, "YEAR": 366}[unit]
    after = start + datetime.timedelta(days)
    return {
        "DAY": after,
        "MONTH": after.replace(day=1),
        "YEAR": after.replace(day=1, month=1),
    }[unit]


def _as_query(statement: exp.Expr) -> exp.Query | None:
    """Return a query that reads what a statement reads, if it reads anything.

    The table whose rows the statement changes is marked as `CHANGED`.
    """
    match statement:
        case exp.Query():
            return statement
        case exp.Create(expression=exp.Query()) | exp.Insert(expression=exp.Query()):
            return _as_query(statement.expression)
        case exp.Update() | exp.Delete():
            target = statement.this
            target.meta[CHANGED] = True
            values = [assigned.expression for assigned in statement.expressions]
            query = exp.select(*(values or ["1"])).from_(target)
            query.set("where", statement.args.get("where"))
            return query
        case exp.Merge():
            target, whens = statement.this, statement.args["whens"]
            values = [column for column in whens.find_all(exp.Column) if column.table]
            actions = [when.args["then"] for when in whens.expressions]
            target.meta[CHANGED] = any(not isinstance(action, exp.Insert) for action in actions)
            query = exp.select(*(column.copy() for column in values))
            query = query.from_(statement.args["using"])
            return query.join(target, on=statement.args["on"], join_type="left")
        case exp.Alter():
            return None
    message = f"no rule for {type(statement).__name__}"
    raise ValueError(message)


def _scanned(scope: Scope, alias: str, sizes: TableSizes) -> list[int]:
    """Return the numbers of the partitions that a query scans."""
    numbers = list(range(len(sizes.partitions)))
    column = sizes.partitioned_by
    if column is None:
        return numbers
    for condition in _conditions(scope.expression, alias):
        values = _values(condition, alias, column)
        if values is not None:
            numbers = [number for number in numbers if _may_hold(sizes.partitions[number], values)]
    return numbers


def _conditions(query: exp.Expr, alias: str) -> Iterator[exp.Expr]:
    """Yield conditions that the rows that are read of a table have to fulfil."""
    if where := query.args.get("where"):
        yield where.this
    for join in query.args.get("joins") or ():
        # An outer join gives all rows of its one side, whatever the condition says.
        holds = not join.side or (join.side == "LEFT" and join.this.alias_or_name == alias)
        if holds and (on := join.args.get("on")):
            yield on


def _values(condition: exp.Expr, alias: str, column: str) -> Values | None:
    """Return the column's values for which a condition may hold; None where it doesn't say."""

    def is_column(expression: exp.Expr) -> bool:
        return (
            isinstance(expression, exp.Column)
            and expression.table == alias
            and expression.name.lower() == column.lower()
        )

    match condition:
        case exp.Paren():
            return _values(condition.this, alias, column)
        case exp.Or():
            left, right = (_values(side, alias, column) for side in condition.unnest_operands())
            return None if left is None or right is None else left + right
        case exp.And():
            # The loader says all that it knows in one term: the first that says something is it.
            sides = (_values(side, alias, column) for side in condition.unnest_operands())
            return next((values for values in sides if values is not None), None)
        case exp.Between() if is_column(condition.this):
            low, high = _constant(condition.args["low"]), _constant(condition.args["high"])
            return None if low is None or high is None else [(low, high)]
        case exp.Is(expression=exp.Null()) if is_column(condition.this):
            return [None]
        case exp.Boolean(this=False):
            return []
    return None


def _constant(expression: exp.Expr) -> Any:
    match expression:
        case exp.Neg():
            value = _constant(expression.this)
            return None if value is None else -value
        case exp.Literal(is_string=False):
            return int(expression.this)
        case exp.Cast(this=exp.Literal(is_string=True)):
            value = datetime.datetime.fromisoformat(expression.this.this)
            return value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    return None


def _may_hold(partition: Partition, values: Values) -> bool:
    """Return whether a partition may hold one of the values."""
    if partition.holds_nulls:
        return None in values
    if partition.start is None:
        return any(value is not None for value in values)
    return any(
        value is not None and value[0] < partition.end and value[1] >= partition.start
        for value in values
    )


def _size(partition: Partition, column: str | None) -> int:
    return sum(partition.sizes.values()) if column is None else partition.sizes[column]


def _name(table: exp.Table) -> str:
    return ".".join(part.name for part in table.parts)
