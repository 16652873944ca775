"""The SQL that the loader runs: pure functions from names to GoogleSQL."""

from collections.abc import Iterable, Mapping

from target_bigquery_arrow.column_types import ColumnType
from target_bigquery_arrow.layout import DELETED_AT, SEQUENCE, TABLE_VERSION, Layout


def _quoted(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _selected(expressions: Mapping[str, str]) -> str:
    """Return a select list: what each column is made from."""
    return ", ".join(
        expression if expression == f"`{name}`" else f"{expression} as `{name}`"
        for name, expression in expressions.items()
    )


def type_and_deduplicate(
    typed: str, staged: str, layout: Layout, expressions: Mapping[str, str]
) -> str:
    """Make a table of the latest staged row of each key, for a MERGE.

    It is a statement of its own, since the local emulator doesn't take named arguments inside
    MERGE … USING.
    """
    return f"""create or replace table `{typed}`
options (expiration_timestamp = timestamp_add(current_timestamp(), interval 1 day)) as
{_latest(staged, layout, expressions)}"""


def fill(target: str, staged: str, layout: Layout, expressions: Mapping[str, str]) -> str:
    """Insert the latest staged row of each key: what a MERGE comes to where there are no rows."""
    return f"""insert into `{target}` ({", ".join(_quoted(expressions))})
{_latest(staged, layout, expressions)}"""


def _latest(staged: str, layout: Layout, expressions: Mapping[str, str]) -> str:
    """Select the latest staged row of each key.

    Typed first, so that keys are compared as what they are: 1.0 and 1.00 are one number.
    """
    return f"""with typed as (
select {_selected(expressions)}
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


def insert(target: str, staged: str, expressions: Mapping[str, str]) -> str:
    """Append staged rows: the road of streams that have no key."""
    return f"""insert into `{target}` ({", ".join(_quoted(expressions))})
select {_selected(expressions)}
from `{staged}`"""


def activate_version(target: str, version: int, *, hard_delete: bool) -> str:
    """Mark, or remove, what does not belong to a FULL_TABLE stream's newest version."""
    if hard_delete:
        return f"delete from `{target}` where {_older(version)}"
    return f"""update `{target}` set `{DELETED_AT}` = current_timestamp()
where {_older(version)} and `{DELETED_AT}` is null"""


def count_older(target: str, version: int) -> str:
    """Count the live rows, and those of them that are older than a version."""
    return f"""select count(*), countif({_older(version)})
from `{target}` where `{DELETED_AT}` is null"""


def _older(version: int) -> str:
    return f"(`{TABLE_VERSION}` is null or `{TABLE_VERSION}` < {version})"


def listed_keys(staged: str | None, expressions: Mapping[str, str]) -> str:
    """Return a query for the keys that the source holds; it holds none where none are staged."""
    if staged is None:
        return f"select {_selected(expressions)} limit 0"
    return f"select distinct {_selected(expressions)} from `{staged}`"


def count_unlisted(target: str, listed: str, layout: Layout) -> str:
    """Count the live rows, those whose keys aren't listed, and the listed keys without a row."""
    keys = ", ".join(_quoted(layout.keys))
    return f"""select countif(live), countif(live and listed is null), countif(live is null)
from (select {keys}, true as live from `{target}` where `{DELETED_AT}` is null)
full outer join (select *, true as listed from ({listed})) using ({keys})"""


def delete_unlisted(target: str, listed: str, layout: Layout, *, hard_delete: bool) -> str:
    """Mark, or remove, the live rows whose keys aren't listed."""
    matches = " and ".join(f"target.{key} = listed.{key}" for key in _quoted(layout.keys))
    change = (
        f"delete from `{target}` as target"
        if hard_delete
        else f"update `{target}` as target set `{DELETED_AT}` = current_timestamp()"
    )
    return f"""{change}
where `{DELETED_AT}` is null and not exists (select 1 from ({listed}) as listed where {matches})"""


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
