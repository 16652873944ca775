"""BigQuery takes every statement of the loader, whatever a tap's tables and columns are called.

The emulator takes more than BigQuery does: Google's own analyser decides here.
"""

import datetime
import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import pytest
from local_servers.googlesql import Catalog, GoogleSQL
from target_bigquery_arrow import staging, statements
from target_bigquery_arrow.column_types import ColumnType, Kind
from target_bigquery_arrow.drift import HELD_BY, WIDER
from target_bigquery_arrow.layout import BATCHED_AT, SEQUENCE, Layout, layout_of
from target_bigquery_arrow.partitioning import (
    PartitionFilter,
    Partitioning,
    RangePartitioning,
    TimePartitioning,
)

SCALARS = [ColumnType(kind) for kind in Kind]
ARRAYS = [ColumnType(kind, repeated=True) for kind in Kind if kind is not Kind.JSON]
# As BigQuery has them; DATETIME is in staging alone.
TYPES = [column for column in (*SCALARS, *ARRAYS) if column.kind is not Kind.DATETIME]
SCHEMAS = {
    "whole": {"type": "integer"},
    "number": {"type": "number", "multipleOf": 1e-12},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "moment": {"type": "string", "format": "date-time"},
    "anything": {},
    "list": {"type": "array", "items": {"type": "string", "format": "date"}},
}
# https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
RESERVED = {
    *("all", "and", "any", "array", "as", "asc", "assert_rows_modified", "at", "between", "by"),
    *("case", "cast", "collate", "contains", "create", "cross", "cube", "current", "default"),
    *("define", "desc", "distinct", "else", "end", "enum", "escape", "except", "exclude"),
    *("exists", "extract", "false", "fetch", "following", "for", "from", "full", "group"),
    *("grouping", "groups", "hash", "having", "if", "ignore", "in", "inner", "intersect"),
    *("interval", "into", "is", "join", "lateral", "left", "like", "limit", "lookup", "merge"),
    *("natural", "new", "no", "not", "null", "nulls", "of", "on", "or", "order", "outer", "over"),
    *("partition", "preceding", "proto", "qualify", "range", "recursive", "respect", "right"),
    *("rollup", "rows", "select", "set", "some", "struct", "tablesample", "then", "to", "treat"),
    *("true", "unbounded", "union", "unnest", "using", "when", "where", "window", "with"),
    "within",
}


@dataclass(frozen=True)
class Case:
    """A stream, and the names and expressions that its statements are built from."""

    layout: Layout

    @property
    def target(self) -> str:
        return f"raw.{self.layout.table}"

    @property
    def staged(self) -> str:
        return f"_sdc_staging__{self.layout.table}__1"

    @property
    def typed(self) -> str:
        return f"_sdc_staging__{self.layout.table}__2_typed"

    @property
    def staging(self) -> staging.StagingTable:
        return staging.of_records(self.staged, self.layout, casts={})

    @property
    def expressions(self) -> Mapping[str, str]:
        return self.staging.expressions

    @property
    def columns(self) -> Iterable[str]:
        return self.staging.columns

    @property
    def listed(self) -> str:
        keys = {key: self.expressions[key] for key in self.layout.keys}
        return statements.listed_keys(self.staged, keys, self.columns)

    @property
    def none_listed(self) -> str:
        absent = {key: staging.absent(self.layout.types[key]) for key in self.layout.keys}
        return statements.listed_keys(None, absent, ())

    @property
    def partitionings(self) -> list[Partitioning | None]:
        """None, and one of each kind, by columns of the stream where it has them."""
        kinds = {column.type.kind: column.name for column in self.layout.columns}
        whole = kinds.get(Kind.INT64, SEQUENCE)
        moment = kinds.get(Kind.TIMESTAMP, BATCHED_AT)
        return [None, RangePartitioning(whole, -100, 1000, 10), TimePartitioning(moment, "DAY")]

    @property
    def of_each_kind(self) -> Mapping[str, ColumnType]:
        """One column of each type, arrays apart."""
        names = {column: name for name, column in self.layout.types.items()}
        return {name: column for column, name in names.items() if not column.repeated}

    @property
    def filters(self) -> list[PartitionFilter | None]:
        return [None, *(_filter(part) for part in self.partitionings if part)]

    @property
    def tables(self) -> dict[str, dict[str, str]]:
        types = {name: str(column) for name, column in self.layout.types.items()}
        staged = {name: str(column) for name, column in self.staging.columns.items()}
        return {self.target: types, self.typed: types, self.staged: staged}


def _filter(partitioning: Partitioning) -> PartitionFilter:
    if isinstance(partitioning, RangePartitioning):
        return PartitionFilter(partitioning.column, [(-(2**63), 2), (7, 7), (None, None)])
    first = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)
    return PartitionFilter(partitioning.column, [(first, first), (None, None)])


# A builder that is new goes here, once for each way in which its arguments change what it builds.
BUILDERS: Mapping[str, Callable[[Case], Iterable[str]]] = {
    "type_and_deduplicate": lambda of: [
        statements.type_and_deduplicate(of.typed, of.staged, of.layout, of.expressions, of.columns)
    ],
    "fill": lambda of: [
        statements.fill(of.target, of.staged, of.layout, of.expressions, of.columns)
    ],
    "insert": lambda of: [statements.insert(of.target, of.staged, of.expressions, of.columns)],
    "merge": lambda of: [
        statements.merge(of.target, of.typed, layout, {}, where)
        for where in of.filters
        for layout in (of.layout, replace(of.layout, reports_deletes=True))
    ],
    "spread": lambda of: [
        statements.spread(name, column.kind, [(of.staged, of.expressions[name], of.columns)] * 2)
        for name, column in of.of_each_kind.items()
        if column.kind in (Kind.INT64, Kind.DATE, Kind.TIMESTAMP)
    ],
    "touched": lambda of: [
        statements.touched(of.target, of.typed, of.layout, partitioning, by_key=by_key)
        for partitioning in of.partitionings
        for by_key in (True, False)
        if partitioning
    ],
    "count_replaced": lambda of: [
        statements.count_replaced(of.target, of.typed, of.layout, where)
        for where in of.filters
        if where
    ],
    "listed_keys": lambda of: [of.listed, of.none_listed],
    "count_unlisted": lambda of: [
        statements.count_unlisted(of.target, listed, of.layout, partitioning)
        for listed in (of.listed, of.none_listed)
        for partitioning in of.partitionings
    ],
    "delete_unlisted": lambda of: [
        statements.delete_unlisted(of.target, listed, of.layout, where, hard_delete=hard)
        for listed in (of.listed, of.none_listed)
        for where in of.filters
        for hard in (True, False)
    ],
    "count_older": lambda of: [
        statements.count_older(of.target, 1, of.layout, partitioning)
        for partitioning in of.partitionings
    ],
    "count_largest_older": lambda of: [statements.count_largest_older(of.target, 1, of.layout)],
    "activate_version": lambda of: [
        statements.activate_version(of.target, 1, of.layout, where, hard_delete=hard)
        for where in of.filters
        for hard in (True, False)
    ],
    "count_deleted": lambda of: [
        statements.count_deleted(of.target, of.layout, partitioning)
        for partitioning in of.partitionings
    ],
    "remove_deleted": lambda of: [
        statements.remove_deleted(of.target, of.layout, where) for where in of.filters
    ],
    "count_rows": lambda of: [statements.count_rows(of.target)],
    "count_keys": lambda of: [statements.count_keys(of.target, of.layout)],
    "count_live": lambda of: [statements.count_live(of.target, of.layout)],
    "copy_rows": lambda of: [statements.copy_rows(of.target, of.typed, of.layout.types)],
    "copy_one_row_a_key": lambda of: [
        statements.copy_one_row_a_key(of.target, of.typed, of.layout.types, of.layout)
    ],
    "greatest_sequence": lambda of: [
        statements.greatest_sequence(of.target, of.staged, of.expressions[SEQUENCE], of.columns)
    ],
    "rename_table": lambda of: [statements.rename_table(of.target, of.layout.table)],
    "add_columns": lambda of: [statements.add_columns(of.target, of.layout.types)],
    "widen_column": lambda of: [
        statements.widen_column(of.target, name, ColumnType(Kind.NUMERIC))
        for name, column in of.layout.types.items()
        if column == ColumnType(Kind.INT64)
    ],
}


def test_every_builder_is_tested_here() -> None:
    functions = dict(inspect.getmembers(statements, inspect.isfunction))
    own = {name for name, one in functions.items() if one.__module__ == statements.__name__}
    assert {name for name in own if not name.startswith("_")} == BUILDERS.keys()


def case(table: str, columns: Iterable[str], keys: Iterable[str]) -> Case:
    """A stream whose columns have all types in turn, and whose keys are texts."""
    of_any_type = itertools.cycle(SCHEMAS.values())
    properties = dict(zip(columns, of_any_type, strict=False))
    properties |= {key: {"type": "string"} for key in keys}
    return Case(layout_of(table, table, {"properties": properties}, list(keys)))


PLAIN = case("plain_table", [f"plain_{name}" for name in SCHEMAS], ["plain_key", "plain_key_2"])


def statements_of(case: Case) -> str:
    built = [sql for build in BUILDERS.values() for sql in build(case)]
    return "\n".join([*built, *(expression for _, _, expression in conversions())])


def words() -> set[str]:
    """Every function, keyword and alias of the statements, and the dataset."""
    found = {word.lower() for word in re.findall(r"[A-Za-z_]\w*", statements_of(PLAIN))}
    return {word for word in found if not word.startswith(("_sdc_", "plain_"))}


def aliases() -> set[str]:
    """What the statements call tables and columns that are only theirs, and the dataset."""
    return {"raw", *re.findall(r"\b(?:as|with) ([a-z]\w*)", statements_of(PLAIN))} - RESERVED


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Tables and their keys, named like what the statements call theirs."""
    names = sorted({*aliases(), "select", "count", "tag"})
    return [PLAIN, *(case(name, ["other"], [name]) for name in names)]


@pytest.fixture(scope="module")
def wide() -> list[Case]:
    """All words as columns of one table, and as its keys."""
    every = sorted({*words(), *RESERVED, "count", "key", "offset", "position", "value"})
    return [case("wide", every, ["id"]), case("keyed", ["id"], every)]


@pytest.fixture(scope="module")
def catalog(googlesql: GoogleSQL, cases: list[Case], wide: list[Case]) -> Catalog:
    return googlesql.catalog({k: v for one in (*cases, *wide) for k, v in one.tables.items()})


def conversions() -> list[tuple[ColumnType, ColumnType, str]]:
    """All pairs of a staged type and a column's, and the expression from one to the other.

    Some are cast once more, to the type that an older table has.
    """
    found = []
    for staged, wanted in itertools.product([*SCALARS, *ARRAYS], TYPES):
        if expression := staging.converted("`element`", staged, wanted):
            found.append((staged, wanted, expression))
            held_by = () if wanted.repeated else HELD_BY.get(wanted.kind, ())
            found += [
                (staged, ColumnType(kind), f"cast({expression} as {kind})") for kind in held_by
            ]
    return list(dict.fromkeys(found))


def rejected(catalog: Catalog, cases: list[Case], statements: slice, builder: str) -> set[str]:
    """What BigQuery says of some of a builder's statements."""
    return {
        f"{one.layout.table}: {why}"
        for one in cases
        for sql in list(BUILDERS[builder](one))[statements]
        if (why := catalog.rejection(sql))
    }


@pytest.mark.parametrize("builder", BUILDERS)
def test_any_table_and_column_can_have_any_name(
    catalog: Catalog, cases: list[Case], wide: list[Case], builder: str
) -> None:
    assert rejected(catalog, cases, slice(None), builder) == set()
    assert rejected(catalog, wide, slice(1), builder) == set()


@pytest.mark.thorough
@pytest.mark.parametrize("builder", BUILDERS)
def test_in_each_way_that_a_statement_is_built_any_column_can_have_any_name(
    catalog: Catalog, wide: list[Case], builder: str
) -> None:
    assert rejected(catalog, wide, slice(1, None), builder) == set()


def test_any_type_becomes_any_other_that_holds_it(googlesql: GoogleSQL) -> None:
    def staged(column: ColumnType) -> str:
        return f"raw.staged_{column.kind}{'_array' * column.repeated}"

    def target(column: ColumnType) -> str:
        return f"raw.target_{column.kind}{'_array' * column.repeated}"

    catalog = googlesql.catalog(
        {staged(column): {"element": str(column)} for column in (*SCALARS, *ARRAYS)}
        | {target(column): {"element": str(column)} for column in TYPES}
    )
    pairs = conversions()
    pairs += [(column, column, staging.absent(column)) for column in TYPES]
    rejected = {
        f"{before} to {after}: {why}"
        for before, after, expression in pairs
        if (
            why := catalog.rejection(
                statements.insert(
                    target(after), staged(before), {"element": expression}, ["element"]
                )
            )
        )
    }
    assert rejected == set()


def test_a_column_of_any_type_is_added_and_superseded(googlesql: GoogleSQL) -> None:
    for old in TYPES:
        one = case("drifted", ["new"], ["id"])
        tables = one.tables
        tables[one.target] = {**tables[one.target], "old": str(old)}
        catalog = googlesql.catalog(tables)
        assert catalog.rejection(statements.add_columns(one.target, {"added": old})) is None
        merge = statements.merge(one.target, one.typed, one.layout, {"old": old})
        assert catalog.rejection(merge) is None


def test_a_column_is_widened_to_any_wider_type(googlesql: GoogleSQL) -> None:
    for narrow, wider in ((narrow, wide) for narrow, found in WIDER.items() for wide in found):
        catalog = googlesql.catalog({"raw.narrow": {"column": str(narrow)}})
        sql = statements.widen_column("raw.narrow", "column", ColumnType(wider))
        assert catalog.rejection(sql) is None


def test_a_column_of_a_file_is_read_whatever_it_is_called(googlesql: GoogleSQL) -> None:
    names = ["größe", "first name", "a-b", "50%", "it's", "--", "#1", "a:b", "日本"]
    assert not [name for name in names if staging.REFUSED_NAME.search(name)]
    text, wanted = ColumnType(Kind.STRING), ColumnType(Kind.JSON)
    expressions = {
        f"column_{number}": staging.converted(f"`{name}`", text, wanted) or ""
        for number, name in enumerate(names)
    }
    catalog = googlesql.catalog(
        {
            "raw.staged": dict.fromkeys(names, str(text)),
            "raw.target": dict.fromkeys(expressions, str(wanted)),
        }
    )
    assert (
        catalog.rejection(statements.insert("raw.target", "raw.staged", expressions, names)) is None
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"a": 1.0}', {"a": 1.0}),
        ("null", None),
        # Neither fits FLOAT64, which BigQuery refuses and the emulator doesn't.
        ("1e400", "1e400"),
        ('{"a": -1e999}', '{"a": -1e999}'),
        (f"[{'9' * 400}]", f"[{'9' * 400}]"),
        ('{"a": ', '{"a": '),
    ],
)
def test_json_that_bigquery_refuses_is_kept_as_text(
    googlesql: GoogleSQL, text: str, kept: object
) -> None:
    expression = staging.converted("`doc`", ColumnType(Kind.STRING), ColumnType(Kind.JSON))
    catalog = googlesql.catalog({"raw.staged": {"doc": "STRING"}})
    query = f"select to_json_string({expression}) as doc from `raw.staged`"
    (row,) = catalog.evaluate(query, {"raw.staged": [{"doc": f"r'''{text}'''"}]})
    assert json.loads(row["doc"]) == kept
