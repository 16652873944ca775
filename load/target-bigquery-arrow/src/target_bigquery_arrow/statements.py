"""The SQL that the loader runs: pure functions from names to GoogleSQL."""

from collections.abc import Iterable, Mapping

from target_bigquery_arrow.column_types import TYPED_IN_SQL, ColumnType
from target_bigquery_arrow.layout import DELETED_AT, SEQUENCE, TABLE_VERSION, Layout


def _quoted(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _expressions(layout: Layout, casts: Mapping[str, ColumnType]) -> list[str]:
    """Return one select expression a column: staged as text where need be, typed here."""
    expressions = []
    for name, column in layout.types.items():
        expression = TYPED_IN_SQL.get(column.kind, "{column}").format(column=f"`{name}`")
        if name in casts:
            expression = f"cast({expression} as {casts[name]})"
        expressions.append(expression if expression == f"`{name}`" else f"{expression} as `{name}`")
    return expressions


def type_and_deduplicate(
    typed: str, staged: str, layout: Layout, casts: Mapping[str, ColumnType]
) -> str:
    """Give staged rows their types and keep the latest of each key, in a table of their own.

    The typing is a statement before the MERGE, since the local emulator doesn't take named
    arguments inside MERGE … USING. Typed first, so that keys are compared as what they are:
    1.0 and 1.00 are one number.
    """
    return f"""create or replace table `{typed}`
options (expiration_timestamp = timestamp_add(current_timestamp(), interval 1 day)) as
with typed as (
select {", ".join(_expressions(layout, casts))}
from `{staged}`
)
select * from typed
where true
qualify row_number() over (
    partition by {", ".join(_quoted(layout.keys))} order by `{SEQUENCE}` desc
) = 1"""


def merge(target: str, typed: str, layout: Layout, superseded: Mapping[str, ColumnType]) -> str:
    """Upsert typed rows by key: the row as it came replaces the row that is there.

    What a row held in a superseded column, it now holds in another. (The null is cast, since the
    local emulator takes no bare one here.)
    """
    names = _quoted(layout.types)
    matches = " and ".join(f"target.{key} = source.{key}" for key in _quoted(layout.keys))
    updates = [f"{name} = source.{name}" for name in names]
    updates += [f"`{name}` = cast(null as {column})" for name, column in superseded.items()]
    return f"""merge `{target}` as target
using `{typed}` as source
on {matches}
when matched then update set {", ".join(updates)}
when not matched then insert ({", ".join(names)})
values ({", ".join(f"source.{name}" for name in names)})"""


def insert(target: str, staged: str, layout: Layout, casts: Mapping[str, ColumnType]) -> str:
    """Append staged rows: the road of streams that have no key."""
    return f"""insert into `{target}` ({", ".join(_quoted(layout.types))})
select {", ".join(_expressions(layout, casts))}
from `{staged}`"""


def activate_version(target: str, version: int, *, hard_delete: bool) -> str:
    """Mark, or remove, what does not belong to a FULL_TABLE stream's newest version."""
    older = f"(`{TABLE_VERSION}` is null or `{TABLE_VERSION}` < {version})"
    if hard_delete:
        return f"delete from `{target}` where {older}"
    return f"""update `{target}` set `{DELETED_AT}` = current_timestamp()
where {older} and `{DELETED_AT}` is null"""


def remove_deleted(target: str) -> str:
    """Remove the rows that the source itself reported as deleted."""
    return f"delete from `{target}` where `{DELETED_AT}` is not null"


def add_columns(target: str, columns: Mapping[str, ColumnType]) -> str:
    """Add columns to a table."""
    additions = (f"add column if not exists `{name}` {kind}" for name, kind in columns.items())
    return f"alter table `{target}` {', '.join(additions)}"


def widen_column(target: str, name: str, column: ColumnType) -> str:
    """Give a column a wider type."""
    return f"alter table `{target}` alter column `{name}` set data type {column}"
