"""The SQL that the loader runs: pure functions from names to GoogleSQL.

A name from a source is always quoted and, where a table has an alias, qualified by it. An alias is
never the name of a column: a column hides behind an alias of its name, or the other way round. So
does a project behind a column of its name, beside a table or below it: staging tables are named
without project and dataset, which are the job's.
"""

from collections.abc import Iterable, Mapping

from target_bigquery_arrow.column_types import ColumnType, Kind
from target_bigquery_arrow.layout import DELETED_AT, METADATA, SEQUENCE, TABLE_VERSION, Layout
from target_bigquery_arrow.partitioning import PartitionFilter, Partitioning
from target_bigquery_arrow.staging import STAGING_DAYS


def _quoted(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _alias(name: str, columns: Iterable[str]) -> str:
    """Return an alias that no column has as its name."""
    taken = {column.lower() for column in columns}
    while name in taken:
        name += "_"
    return name


def _selected(expressions: Mapping[str, str]) -> str:
    """Return a select list: what each column is made from."""
    return ", ".join(
        expression if expression == f"`{name}`" else f"{expression} as `{name}`"
        for name, expression in expressions.items()
    )


def _from_staged(staged: str, columns: Iterable[str]) -> str:
    """Return a FROM clause whose alias hides no column that expressions name."""
    return f"from `{staged}` as {_alias('staged', columns)}"


def type_and_deduplicate(
    typed: str,
    staged: str,
    layout: Layout,
    expressions: Mapping[str, str],
    columns: Iterable[str],
) -> str:
    """Make a table of the latest staged row of each key, for a MERGE.

    It is a statement of its own, since the local emulator doesn't take named arguments inside
    MERGE … USING.

    Args:
        typed: the table to make.
        staged: the staging table.
        layout: the stream's columns and key.
        expressions: what each column is made from.
        columns: the staging table's columns.
    """
    return f"""create or replace table `{typed}`
options (expiration_timestamp = timestamp_add(current_timestamp(), interval {STAGING_DAYS} day)) as
{_latest(staged, layout, expressions, columns)}"""


def fill(
    target: str,
    staged: str,
    layout: Layout,
    expressions: Mapping[str, str],
    columns: Iterable[str],
) -> str:
    """Insert the latest staged row of each key: what a MERGE comes to where there are no rows."""
    return f"""insert into `{target}` ({", ".join(_quoted(expressions))})
{_latest(staged, layout, expressions, columns)}"""


def _latest(
    staged: str, layout: Layout, expressions: Mapping[str, str], columns: Iterable[str]
) -> str:
    """Select the latest staged row of each key.

    Typed first, so that keys are compared as what they are: 1.0 and 1.00 are one number.
    """
    typed = _alias("typed", expressions)
    keys = ", ".join(f"{typed}.{key}" for key in _quoted(layout.keys))
    return f"""with {typed} as (
select {_selected(expressions)}
{_from_staged(staged, columns)}
)
select {typed}.* from {typed}
where true
qualify row_number() over (partition by {keys} order by {typed}.`{SEQUENCE}` desc) = 1"""


def merge(
    target: str,
    typed: str,
    layout: Layout,
    superseded: Mapping[str, ColumnType],
    where: PartitionFilter | None = None,
) -> str:
    """Upsert typed rows by key: the row as it came replaces the row that is there.

    A row that comes as deleted may be no more than its key: where it says nothing, the row that is
    there stays. What a row held in a superseded column, it now holds in another. (The null is cast,
    since the local emulator takes no bare one here.) Rows outside `where` have other keys.
    """
    columns = [*layout.types, *superseded]
    names = _quoted(layout.types)
    old, new = _alias("target", columns), _alias("source", columns)
    values = {name: f"{new}.`{name}`" for name in layout.types}
    values |= {name: f"cast(null as {type_})" for name, type_ in superseded.items()}
    if layout.reports_deletes:
        for name, value in values.items():
            if name in METADATA or name in layout.keys:
                continue
            repeated = name in layout.types and layout.types[name].repeated
            says = f"array_length({value}) > 0" if repeated else f"{value} is not null"
            is_live = f"{new}.`{DELETED_AT}` is null"
            values[name] = f"if({is_live} or {says}, {value}, {old}.`{name}`)"
    updates = ", ".join(f"`{name}` = {value}" for name, value in values.items())
    return f"""merge `{target}` as {old}
using `{typed}` as {new}
on {_same_key(old, new, layout)}{_and(where, old)}
when matched then update set {updates}
when not matched then insert ({", ".join(names)})
values ({", ".join(f"{new}.{name}" for name in names)})"""


def insert(target: str, staged: str, expressions: Mapping[str, str], columns: Iterable[str]) -> str:
    """Append staged rows: the path of streams that have no key."""
    return f"""insert into `{target}` ({", ".join(_quoted(expressions))})
select {_selected(expressions)}
{_from_staged(staged, columns)}"""


def spread(column: str, kind: Kind, tables: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """Ask for the lowest and the highest value of a column, and on how many days they are.

    Args:
        column: the column.
        kind: its type.
        tables: tables, what the column is made from in each, and the columns of each.
    """
    value = _alias("value", [column])
    union = "\nunion all ".join(
        f"select {expression} as {value} {_from_staged(table, columns)}"
        for table, expression, columns in tables
    )
    days = "0" if kind is Kind.INT64 else f"count(distinct cast({value} as date))"
    return f"select min({value}), max({value}), {days}\nfrom ({union})"


def touched(
    target: str, typed: str, layout: Layout, partitioning: Partitioning, *, by_key: bool
) -> str:
    """Ask which part of each partition a MERGE has to touch: the lowest and the highest value.

    The third column says how many partitions the table will have; 0 where no data can make them too
    many, or where that isn't asked.

    Args:
        target: the table.
        typed: the rows that are to come.
        layout: the stream's columns and key.
        partitioning: the table's partitions.
        by_key: whether to look by key where the rows are that they replace, and to count.
    """
    old, new = _alias("target", layout.types), _alias("source", layout.types)
    column, kind = f"`{partitioning.column}`", layout.types[partitioning.column].kind
    bucket = partitioning.bucket("value", kind)
    typed_values = f"select {new}.{column} as value from `{typed}` as {new}"
    values, count = typed_values, "0"
    if by_key:
        values += f"""
union all select {old}.{column} from `{target}` as {old} join `{typed}` as {new}
on {_same_key(old, new, layout)}"""
    if by_key and not partitioning.is_bounded:
        count = f"""(select count(distinct {bucket}) from ({typed_values}
union all select {old}.{column} from `{target}` as {old}))"""
    return f"""select min(value), max(value), {count}
from ({values})
group by {bucket}"""


def count_replaced(target: str, typed: str, layout: Layout, where: PartitionFilter) -> str:
    """Count the keys of typed rows that are in some partitions of the table."""
    old, new = _alias("target", layout.types), _alias("source", layout.types)
    keys = ", ".join(f"{old}.{key}" for key in _quoted(layout.keys))
    return f"""select count(*) from (
select distinct {keys} from `{target}` as {old} join `{typed}` as {new}
on {_same_key(old, new, layout)} where {where.sql(old)}
)"""


def _same_key(old: str, new: str, layout: Layout) -> str:
    return " and ".join(f"{old}.{key} = {new}.{key}" for key in _quoted(layout.keys))


def count_older(
    target: str, version: int, layout: Layout, partitioning: Partitioning | None
) -> str:
    """Count the live rows, and those of them that are older than a version, by partition.

    The last two columns say where the older ones are: as `touched` does.
    """
    alias = _alias("target", layout.types)
    older = _older(alias, version)
    columns = f"count(*), countif({older})"
    source = f"from `{target}` as {alias} where {alias}.`{DELETED_AT}` is null"
    if partitioning is None:
        return f"select {columns}, null, null\n{source}"
    value = f"{alias}.`{partitioning.column}`"
    return f"""select {columns}, {_bounds(value, older)}
{source}
group by {partitioning.bucket(value, layout.types[partitioning.column].kind)}"""


def count_largest_older(target: str, version: int, layout: Layout) -> str:
    """Count the live rows of that version, of those that are older than one, which has the most."""
    alias = _alias("target", layout.types)
    return f"""select count(*)
from `{target}` as {alias}
where {alias}.`{DELETED_AT}` is null and {_older(alias, version)}
group by {alias}.`{TABLE_VERSION}`
order by count(*) desc
limit 1"""


def activate_version(
    target: str,
    version: int,
    layout: Layout,
    where: PartitionFilter | None = None,
    *,
    hard_delete: bool,
) -> str:
    """Mark, or remove, what does not belong to a FULL_TABLE stream's newest version."""
    alias = _alias("target", layout.types)
    return _delete(target, alias, _older(alias, version), where, hard_delete=hard_delete)


def _older(alias: str, version: int) -> str:
    # Versions are times of a clock that may have gone back: any other version is an older one.
    column = f"{alias}.`{TABLE_VERSION}`"
    return f"({column} is null or {column} != {version})"


def listed_keys(staged: str | None, expressions: Mapping[str, str], columns: Iterable[str]) -> str:
    """Return a query for the keys that the source holds, as `key_1`, `key_2` and so on.

    It holds none where none are staged.
    """
    keys = ", ".join(
        f"{expression} as key_{number}" for number, expression in enumerate(expressions.values(), 1)
    )
    if staged is None:
        return f"select {keys} limit 0"
    return f"select distinct {keys} {_from_staged(staged, columns)}"


def count_unlisted(
    target: str, listed: str, layout: Layout, partitioning: Partitioning | None
) -> str:
    """Count the live rows, those whose keys aren't listed, and the listed keys without a row.

    By partition; the last two columns say where the second are: as `touched` does.
    """
    alias = _alias("target", layout.types)
    columns = [
        f"{alias}.{key} as key_{number}" for number, key in enumerate(_quoted(layout.keys), 1)
    ]
    value, grouping = "null, null", ""
    if partitioning:
        columns.append(f"{alias}.`{partitioning.column}` as value")
        value = _bounds("live.value", "live.is_live and listed.is_listed is null")
        kind = layout.types[partitioning.column].kind
        grouping = f"\ngroup by {partitioning.bucket('live.value', kind)}"
    matches = " and ".join(
        f"live.key_{number} = listed.key_{number}" for number, _ in enumerate(layout.keys, 1)
    )
    return f"""select countif(live.is_live), countif(live.is_live and listed.is_listed is null),
countif(live.is_live is null), {value}
from (select {", ".join(columns)}, true as is_live
from `{target}` as {alias} where {alias}.`{DELETED_AT}` is null) as live
full outer join (select keys.*, true as is_listed from ({listed}) as keys) as listed
on {matches}{grouping}"""


def delete_unlisted(
    target: str,
    listed: str,
    layout: Layout,
    where: PartitionFilter | None = None,
    *,
    hard_delete: bool,
) -> str:
    """Mark, or remove, the live rows whose keys aren't listed."""
    alias = _alias("target", layout.types)
    matches = " and ".join(
        f"{alias}.{key} = listed.key_{number}" for number, key in enumerate(_quoted(layout.keys), 1)
    )
    unlisted = f"not exists (select 1 from ({listed}) as listed where {matches})"
    return _delete(target, alias, unlisted, where, hard_delete=hard_delete)


def count_deleted(target: str, layout: Layout, partitioning: Partitioning | None) -> str:
    """Count the rows that the source itself reported as deleted, by partition.

    The last two columns say where they are: as `touched` does.
    """
    alias = _alias("target", layout.types)
    source = f"from `{target}` as {alias} where {alias}.`{DELETED_AT}` is not null"
    if partitioning is None:
        return f"select count(*), null, null\n{source}"
    value = f"{alias}.`{partitioning.column}`"
    return f"""select count(*), min({value}), max({value})
{source}
group by {partitioning.bucket(value, layout.types[partitioning.column].kind)}"""


def remove_deleted(target: str, layout: Layout, where: PartitionFilter | None = None) -> str:
    """Remove the rows that the source itself reported as deleted."""
    alias = _alias("target", layout.types)
    condition = f"{alias}.`{DELETED_AT}` is not null"
    return f"delete from `{target}` as {alias}\nwhere {condition}{_and(where, alias)}"


def _delete(
    target: str,
    alias: str,
    condition: str,
    where: PartitionFilter | None,
    *,
    hard_delete: bool,
) -> str:
    change = (
        f"delete from `{target}` as {alias}"
        if hard_delete
        else f"update `{target}` as {alias} set `{DELETED_AT}` = current_timestamp()"
    )
    live = f"{alias}.`{DELETED_AT}` is null"
    return f"{change}\nwhere {live} and {condition}{_and(where, alias)}"


def _and(where: PartitionFilter | None, alias: str) -> str:
    return f" and {where.sql(alias)}" if where else ""


def _bounds(value: str, condition: str) -> str:
    return f"min(if({condition}, {value}, null)), max(if({condition}, {value}, null))"


def count_rows(target: str) -> str:
    """Count all rows of a table, which bills nothing."""
    return f"select count(*) from `{target}`"


def count_keys(target: str, layout: Layout) -> str:
    """Count the rows without a whole key, those of them that are live, and the keys."""
    alias = _alias("target", layout.types)
    missing = _misses_key(alias, layout)
    keys = ", ".join(f"{alias}.{key}" for key in _quoted(layout.keys))
    return f"""select missing.all_rows, missing.live_rows, present.keys
from (select countif({missing}) as all_rows,
countif({missing} and {alias}.`{DELETED_AT}` is null) as live_rows
from `{target}` as {alias}) as missing
cross join (select count(*) as keys from (
select distinct {keys} from `{target}` as {alias} where not {missing}
)) as present"""


def count_live(target: str, layout: Layout) -> str:
    """Count the rows that have not been deleted."""
    alias = _alias("target", layout.types)
    return f"select countif({alias}.`{DELETED_AT}` is null) from `{target}` as {alias}"


def copy_rows(target: str, source: str, columns: Iterable[str]) -> str:
    """Copy all rows of a table into another that has the same columns."""
    names = list(columns)
    alias = _alias("source", names)
    return f"""insert into `{target}` ({", ".join(_quoted(names))})
select {", ".join(f"{alias}.{name}" for name in _quoted(names))} from `{source}` as {alias}"""


def copy_one_row_a_key(target: str, source: str, columns: Iterable[str], layout: Layout) -> str:
    """Copy the best row of each key: a live one before a deleted one, then the latest.

    Rows without a whole key are copied as they are.
    """
    names = list(columns)
    alias = _alias("source", names)
    keys = ", ".join(f"{alias}.{key}" for key in _quoted(layout.keys))
    return f"""{copy_rows(target, source, names)}
where true
qualify {_misses_key(alias, layout)} or row_number() over (
    partition by {keys}
    order by if({alias}.`{DELETED_AT}` is null, 0, 1), {alias}.`{SEQUENCE}` desc
) = 1"""


def _misses_key(alias: str, layout: Layout) -> str:
    return f"({' or '.join(f'{alias}.{key} is null' for key in _quoted(layout.keys))})"


def greatest_sequence(target: str, staged: str, expression: str, columns: Iterable[str]) -> str:
    """Ask for the greatest `_sdc_sequence` of a table, and the least that is to come."""
    return f"""select (select max(target.`{SEQUENCE}`) from `{target}` as target),
(select min({expression}) {_from_staged(staged, columns)})"""


def rename_table(target: str, name: str) -> str:
    """Give a table another name in its dataset."""
    return f"alter table `{target}` rename to `{name}`"


def add_columns(target: str, columns: Mapping[str, ColumnType]) -> str:
    """Add columns to a table."""
    additions = (f"add column if not exists `{name}` {kind}" for name, kind in columns.items())
    return f"alter table `{target}` {', '.join(additions)}"


def widen_column(target: str, name: str, column: ColumnType) -> str:
    """Give a column a wider type."""
    return f"alter table `{target}` alter column `{name}` set data type {column}"
