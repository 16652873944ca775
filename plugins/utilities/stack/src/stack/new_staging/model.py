"""What a staging model is."""

from collections.abc import Iterable
from dataclasses import dataclass

from stack.new_staging.catalog import Table
from stack.new_staging.columns import Column
from stack.new_staging.sql import Expression


@dataclass(frozen=True)
class Unnesting:
    """How the rows of a child model come out of their parent's.

    Attributes:
        parent: the name of the parent's model.
        parent_key: its key, as the child's column is called.
        parent_value: the same in SQL.
        items: the list in SQL.
        item: what an item of it is called in SQL.
    """

    parent: str
    parent_key: str
    parent_value: Expression
    items: Expression
    item: str


@dataclass(frozen=True)
class Model:
    """A staging model.

    Attributes:
        name: `stg_<source>__<stream>`.
        source: the source that it is made of.
        table: the raw table that it is made of.
        one: what a row is, such as `order_line`.
        alias: what the raw table is called in SQL: `source` unless a column is called so.
        columns: in the order of the file.
        description: what it holds, in words.
        unnesting: of a child: how its rows come about.
        untyped_times: columns that may be times, and are texts.
    """

    name: str
    source: str
    table: Table
    one: str
    alias: str
    columns: tuple[Column, ...]
    description: str
    unnesting: Unnesting | None = None
    untyped_times: tuple[str, ...] = ()

    @property
    def key(self) -> Column:
        """The column that identifies a row."""
        return next(column for column in self.columns if column.is_key)


def alias_of(table: Table) -> str:
    """Return what a raw table is called in SQL."""
    return free_name("source", "raw", taken=(column.name for column in table.layout.columns))


def free_name(*names: str, taken: Iterable[str]) -> str:
    """Return the first name that isn't taken by a column, whose names have no case in SQL."""
    columns = {name.lower() for name in taken}
    numbered = (f"{names[-1]}_{number}" for number in range(2, len(columns) + 3))
    return next(name for name in (*names, *numbered) if name not in columns)
