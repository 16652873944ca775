"""What there is to read: relations, columns, keys and types, from the system catalogs."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tap_postgres_arrow.column_types import JSONSchema, PostgresType, json_schema
from tap_postgres_arrow.database import Connection, identifier, literal

XMIN = "xmin"
# What loaders write into every row. A source that is a warehouse itself may have such columns.
METADATA_NAMES = frozenset(
    f"_sdc_{name}"
    for name in (
        "extracted_at",
        "received_at",
        "batched_at",
        "deleted_at",
        "sequence",
        "table_version",
    )
)


class RelationKind(StrEnum):
    """`pg_class.relkind`, as far as it can be read."""

    TABLE = "r"
    PARTITIONED_TABLE = "p"
    VIEW = "v"
    MATERIALIZED_VIEW = "m"
    FOREIGN_TABLE = "f"


@dataclass(frozen=True)
class Column:
    """A column. Its number is never given to another, even if its name is.

    Attributes:
        name: the property's name: the column's, unless that is one of the loader's own.
        source: the column's name.
    """

    name: str
    source: str
    number: int
    type: PostgresType
    description: str | None

    @property
    def schema(self) -> JSONSchema:
        """Return its JSON Schema, with the comment that the database has on it."""
        described = {"description": self.description} if self.description else {}
        return json_schema(self.type) | described


@dataclass(frozen=True)
class Relation:
    """A table or view.

    Attributes:
        schema: the schema that it is in.
        name: its name there.
        kind: what it is.
        columns: in their order.
        key: the columns of its primary key, or else of a unique index over columns without nulls;
            empty where there is none.
        parts: the oids of what holds its rows: its own, or those of its partitions.
        has_foreign_parts: whether some of them are on another server.
    """

    schema: str
    name: str
    kind: RelationKind
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    parts: tuple[int, ...]
    has_foreign_parts: bool

    @property
    def stream(self) -> str:
        """Return the stream's name."""
        return f"{self.schema}-{self.name}"

    @property
    def sql(self) -> str:
        """Return the name for SQL."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def source(self) -> str:
        """Return the FROM clause: without the tables that inherit from a table."""
        return f"only {self.sql}" if self.kind is RelationKind.TABLE else self.sql

    @property
    def has_xmin(self) -> bool:
        """Whether each row tells which transaction wrote it."""
        stored = (
            RelationKind.TABLE,
            RelationKind.PARTITIONED_TABLE,
            RelationKind.MATERIALIZED_VIEW,
        )
        return self.kind in stored and not self.has_foreign_parts

    @property
    def json_schema(self) -> JSONSchema:
        """Return the stream's JSON Schema."""
        return {
            "type": "object",
            "properties": {column.name: column.schema for column in self.columns},
        }


# One row a column. Not read: partitions (their parents are), temporary tables, what belongs to
# an extension, and schemas that the user may not use.
COLUMNS = """
with recursive domains as (
    select oid as domain, typbasetype as base, typtypmod as modifier
    from pg_catalog.pg_type
    where typtype = 'd'
    union all
    select domains.domain, pg_type.typbasetype, pg_type.typtypmod
    from domains
    inner join pg_catalog.pg_type on pg_type.oid = domains.base
    where pg_type.typtype = 'd'
),

types as (
    select
        pg_type.oid,
        domains.modifier,
        case when base.typcategory = 'A' and base.typelem <> 0 then base.typelem end as element,
        case
            when base.typnamespace = 'pg_catalog'::regnamespace then base.typname::text
            when base.typname = 'hstore' then 'hstore'
            when base.typtype = 'c' then 'composite'
            else ''
        end as name
    from pg_catalog.pg_type
    left join domains
        inner join pg_catalog.pg_type as below on below.oid = domains.base and below.typtype <> 'd'
        on domains.domain = pg_type.oid
    inner join pg_catalog.pg_type as base on base.oid = coalesce(domains.base, pg_type.oid)
),

keys as (
    select distinct on (pg_index.indrelid)
        pg_index.indrelid,
        columns.names
    from pg_catalog.pg_index
    cross join lateral (
        select
            array_agg(attname::text order by position) as names,
            bool_and(attnotnull and {is_checked}) as are_never_null
        from unnest(pg_index.indkey) with ordinality as indexed (number, position)
        inner join pg_catalog.pg_attribute
            on attrelid = pg_index.indrelid and attnum = indexed.number
        where position <= pg_index.indnkeyatts
    ) as columns
    where
        pg_index.indisunique
        and pg_index.indisvalid
        and pg_index.indpred is null
        and pg_index.indexprs is null
        and columns.are_never_null
    order by
        pg_index.indrelid,
        pg_index.indisprimary desc,
        pg_index.indisreplident desc,
        pg_index.indnkeyatts,
        pg_index.indexrelid
)

select
    pg_namespace.nspname::text as schema,
    pg_class.relname::text as relation,
    pg_class.relkind::text as kind,
    coalesce(keys.names, '{{}}') as key,
    parts.oids as parts,
    parts.have_foreign as has_foreign_parts,
    pg_attribute.attname::text as name,
    pg_attribute.attnum as number,
    types.name as type,
    coalesce(types.modifier, pg_attribute.atttypmod) as modifier,
    elements.name as element,
    elements.modifier as element_modifier,
    pg_catalog.col_description(pg_class.oid, pg_attribute.attnum) as description
from pg_catalog.pg_class
inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
inner join pg_catalog.pg_attribute on pg_attribute.attrelid = pg_class.oid
inner join types on types.oid = pg_attribute.atttypid
left join types as elements on elements.oid = types.element
left join keys on keys.indrelid = pg_class.oid
cross join lateral (
    select
        array_agg(part.oid::bigint order by part.oid) as oids,
        bool_or(part.relkind = 'f') as have_foreign
    from pg_catalog.pg_class as part
    where
        part.oid in (
            select tree.relid from pg_catalog.pg_partition_tree(pg_class.oid) as tree
            where tree.isleaf
        )
        or (part.oid = pg_class.oid and pg_class.relkind <> 'p')
) as parts
where
    pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
    and pg_class.relpersistence <> 't'
    and not pg_class.relispartition
    and pg_attribute.attnum > 0
    and not pg_attribute.attisdropped
    and pg_catalog.has_schema_privilege(pg_namespace.oid, 'usage')
    and not exists (
        select from pg_catalog.pg_depend
        where
            pg_depend.classid = 'pg_catalog.pg_class'::regclass
            and pg_depend.objid = pg_class.oid
            and pg_depend.deptype = 'e'
    )
    and {schemas}
order by schema, relation, number
"""
# A NOT NULL that is NOT VALID, as of Postgres 18, holds for new rows only; `attnotnull` is true all
# the same. Source: https://www.postgresql.org/docs/18/catalog-pg-attribute.html
IS_CHECKED = """not exists (
    select from pg_catalog.pg_constraint
    where
        pg_constraint.conrelid = pg_attribute.attrelid
        and pg_constraint.contype = 'n'
        and pg_constraint.conkey = array[pg_attribute.attnum]
        and not pg_constraint.convalidated
)"""
USERS_SCHEMAS = "pg_namespace.nspname <> 'information_schema' and pg_namespace.nspname !~ '^pg_'"


def discover(connection: Connection, schemas: Sequence[str]) -> list[Relation]:
    """Return all that can be read.

    Args:
        connection: where to look.
        schemas: which schemas to look at; all but Postgres' own where there are none.

    Raises:
        TapError: the catalogs can't be read.
    """
    among = ", ".join(map(literal, schemas))
    chosen = f"pg_namespace.nspname in ({among})" if schemas else USERS_SCHEMAS
    rows = connection.rows(COLUMNS.format(schemas=chosen, is_checked=IS_CHECKED))
    by_relation = itertools.groupby(rows, key=lambda row: (row["schema"], row["relation"]))
    return [_relation(list(columns)) for _, columns in by_relation]


def _relation(rows: Sequence[dict[str, Any]]) -> Relation:
    first = rows[0]
    return Relation(
        schema=first["schema"],
        name=first["relation"],
        kind=RelationKind(first["kind"]),
        columns=tuple(_columns(rows)),
        key=tuple(first["key"]),
        parts=tuple(first["parts"] or ()),
        has_foreign_parts=bool(first["has_foreign_parts"]),
    )


def _property(column: str, others: Collection[str]) -> str:
    """Return the name under which a column arrives: another where the loader has that one."""
    if column.lower() not in METADATA_NAMES:
        return column
    name = f"source{column}"
    while name in others:
        name = f"source_{name}"
    return name


def _columns(rows: Collection[dict[str, Any]]) -> Iterable[Column]:
    names = {row["name"] for row in rows}
    for row in rows:
        # A domain over an array says what its elements are; so does one that is an element.
        modifier = row["modifier"] if row["modifier"] != -1 else row["element_modifier"]
        yield Column(
            name=_property(row["name"], names),
            source=row["name"],
            number=row["number"],
            type=PostgresType(row["type"], -1 if modifier is None else modifier, row["element"]),
            description=row["description"],
        )
