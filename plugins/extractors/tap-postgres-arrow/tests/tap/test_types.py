"""Every type arrives with the value that it has in Postgres, however odd."""

import datetime
import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .pipeline import Pipeline, Row

# Text without what Postgres can't hold: NUL, and halves of characters.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
FIRST_MOMENT = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)
LAST_MOMENT = datetime.datetime.max.replace(tzinfo=datetime.UTC)
DATES = st.dates()
MOMENTS = st.datetimes(timezones=st.just(datetime.UTC))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | TEXT
    # Postgres writes jsonb's numbers out in full.
    | st.floats(-1e15, 1e15, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
) | st.integers(40, 60).map(nested := lambda depth: [nested(depth - 1)] if depth else "deep")


def decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    """Decimals of so many digits at most, so many of them after the point."""
    largest = 10**digits - 1
    return st.integers(-largest, largest).map(lambda n: Decimal(f"{n}e-{places}"))


@dataclass(frozen=True)
class Type:
    """A type of Postgres', what to put into it, and what it is in BigQuery."""

    postgres: str
    values: st.SearchStrategy[Any]
    bigquery: str
    # How Postgres itself is asked for the value, and what BigQuery's client makes of it.
    ask: str = "{}"
    expect: Callable[[Any], Any] = lambda value: value


def moment(value: Any) -> Any:
    """Infinity is the last moment that BigQuery has."""
    return {"infinity": LAST_MOMENT, "-infinity": FIRST_MOMENT}.get(value) or (
        value and datetime.datetime.fromisoformat(value)
    )


def day(value: Any) -> Any:
    ends = {"infinity": LAST_MOMENT.date(), "-infinity": FIRST_MOMENT.date()}
    return ends.get(value) or (value and datetime.date.fromisoformat(value))


def text(postgres: str, values: st.SearchStrategy[Any]) -> Type:
    return Type(postgres, values, "STRING", "{}::text")


def parsed(value: Any) -> Any:
    """BigQuery's numbers in JSON are floats; a JSON null is read as none at all."""
    return None if value is None else json.loads(value, parse_int=float)


def as_json(postgres: str, values: st.SearchStrategy[Any], ask: str = "to_json({})::text") -> Type:
    return Type(postgres, values, "JSON", ask, parsed)


INFINITE = st.sampled_from(["infinity", "-infinity"])
STAMP = "to_char({} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')"
ASK_MOMENT = f"case when isfinite({{0}}) then {STAMP.replace('{}', '{0}')} else {{0}}::text end"
TYPES = [
    Type("boolean", st.booleans(), "BOOLEAN"),
    Type("smallint", st.integers(-(2**15), 2**15 - 1), "INTEGER"),
    Type("integer", st.integers(-(2**31), 2**31 - 1), "INTEGER"),
    Type("bigint", st.integers(-(2**63), 2**63 - 1), "INTEGER"),
    Type("oid", st.integers(0, 2**32 - 1), "INTEGER", "{}::bigint"),
    Type("real", st.floats(width=32), "FLOAT", "{}::float8"),
    Type("double precision", st.floats(), "FLOAT"),
    Type("numeric(12, 2)", decimals(12, 2), "NUMERIC"),
    Type("numeric(38, 9)", decimals(38, 9), "NUMERIC"),
    Type("numeric(3, -2)", st.sampled_from([Decimal(99900), Decimal(-100)]), "NUMERIC"),
    # As much as the emulator's BIGNUMERIC holds.
    Type("numeric", decimals(38, 18), "BIGNUMERIC"),
    text("numeric(80, 40)", decimals(80, 40)),
    Type("money", decimals(18, 2), "NUMERIC", "{}::numeric"),
    text("text", TEXT),
    text("varchar(20)", TEXT),
    Type("char(14)", TEXT, "STRING", "rpad({}::text, 14)"),
    text("citext", TEXT),
    text("name", TEXT.filter(lambda s: len(s.encode()) < 64)),
    text("mood", st.sampled_from(["fine", "so 'so'", "😀"])),
    Type("price", decimals(12, 2), "NUMERIC"),
    text("uuid", st.uuids()),
    as_json("json", JSON.map(json.dumps), "{}::text"),
    as_json("jsonb", JSON.map(json.dumps), "{}::text"),
    as_json("hstore", st.dictionaries(TEXT, st.none() | TEXT, max_size=3), "{}::json::text"),
    as_json("pair", st.tuples(st.integers(0, 9), TEXT)),
    Type("date", DATES | INFINITE, "DATE", "{}::text", day),
    Type("time", st.times(), "TIME"),
    text("timetz", st.times(timezones=st.just(datetime.UTC))),
    Type("timestamp", st.datetimes() | INFINITE, "TIMESTAMP", ASK_MOMENT, moment),
    Type("timestamptz", MOMENTS | INFINITE, "TIMESTAMP", ASK_MOMENT, moment),
    text("interval", st.timedeltas(datetime.timedelta(-(10**5)), datetime.timedelta(10**5))),
    Type("bytea", st.binary(max_size=80), "BYTES"),
    text("int4range", st.sampled_from(["empty", "[1,5)", "(,7]", "(,)"])),
    text("tstzrange", st.sampled_from(["empty", "[2020-01-01,infinity)"])),
    text("nummultirange", st.sampled_from(["{}", "{[1,2),(3.5,4]}"])),
    text("inet", st.ip_addresses()),
    text("cidr", st.sampled_from(["10.0.0.0/8", "2001:db8::/32"])),
    text("macaddr", st.just("08:00:2b:01:02:03")),
    text("bit(3)", st.sampled_from(["000", "101"])),
    text("varbit", st.sampled_from(["", "10110"])),
    text("point", st.just("(1.5,-2)")),
    text("tsvector", st.just("'a':1 'b':2A")),
    text("xid8", st.integers(0, 2**60).map(str)),
    Type("text[]", st.lists(TEXT, max_size=4), "STRING REPEATED"),
    Type("mood[]", st.lists(st.sampled_from(["fine", "😀"])), "STRING REPEATED", "{}::text[]"),
    Type("uuid[]", st.lists(st.uuids(), max_size=3), "STRING REPEATED", "{}::text[]"),
    Type("integer[]", st.lists(st.integers(-9, 9), max_size=3), "INTEGER REPEATED"),
    Type("boolean[]", st.lists(st.booleans(), max_size=3), "BOOLEAN REPEATED"),
    Type("double precision[]", st.lists(st.floats(), max_size=3), "FLOAT REPEATED"),
    Type("numeric(12, 2)[]", st.lists(decimals(12, 2), max_size=3), "NUMERIC REPEATED"),
    Type("date[]", st.lists(DATES, max_size=3), "DATE REPEATED"),
    Type("timestamptz[]", st.lists(MOMENTS, max_size=3), "TIMESTAMP REPEATED",
         "array(select extract(epoch from x) from unnest({}) x)", lambda v: [epoch(x) for x in v]),
    as_json("jsonb[]", st.lists(JSON.map(json.dumps), max_size=2)),
    as_json("numeric[]", st.lists(decimals(6, 3), max_size=2)),
    as_json("pair[]", st.lists(st.tuples(st.integers(0, 9), st.just("x")), max_size=2)),
]  # fmt: skip
ROWS = st.lists(st.tuples(*(st.none() | kind.values for kind in TYPES)), max_size=8)


def epoch(seconds: Decimal) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
        microseconds=int(seconds * 10**6)
    )


@pytest.fixture
def typed(pipeline: Pipeline) -> Pipeline:
    pipeline.sql(
        "create type mood as enum ('fine', 'so ''so''', '😀')",
        "create domain price as numeric(12, 2)",
        "create type pair as (a int, b text)",
        "create table t (id int primary key, "
        + ", ".join(f"c{number} {kind.postgres}" for number, kind in enumerate(TYPES))
        + ")",
        "set timezone = 'UTC'",
        "set intervalstyle = 'iso_8601'",
    )
    return pipeline


def test_every_type_has_its_column(typed: Pipeline) -> None:
    typed.run()
    columns = typed.columns("t")
    assert {kind.postgres: columns[f"c{n}"] for n, kind in enumerate(TYPES)} == {
        kind.postgres: kind.bigquery for kind in TYPES
    }


def drawn() -> list[tuple[Any, ...]]:
    """The rows of Hypothesis' examples. (One that fails is named by type and values; to shrink it
    would take a run for each try.)"""
    rows: list[tuple[Any, ...]] = []

    @settings(
        max_examples=24,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(ROWS)
    def draw(found: list[tuple[Any, ...]]) -> None:
        rows.extend(found)

    draw()
    return rows


def test_every_value_is_the_same(typed: Pipeline) -> None:
    """In a first load, and in a second one, which brings other values for the same keys."""
    typed.settings["max_delete_fraction"] = 1
    rows = drawn()
    half = len(rows) // 2
    assert half > 24
    for part in (rows[:half], rows[half:]):
        typed.sql("truncate t")
        casts = ", ".join(f"%s::{kind.postgres}" for kind in TYPES)
        with typed.postgres.cursor() as cursor:
            for number, row in enumerate(part):
                cursor.execute(
                    f"insert into t values ({number}, {casts})", [parameter(value) for value in row]
                )
        typed.run()
        asked = ", ".join(f"{kind.ask.format(f'c{n}')} as c{n}" for n, kind in enumerate(TYPES))
        expected = {row["id"]: row for row in typed.source("t", f"id, {asked}")}
        found = {row["id"]: row for row in typed.loaded("t")}
        assert found.keys() == expected.keys()
        for number, kind in enumerate(TYPES):
            for key, row in expected.items():
                want, got = wanted(kind, row[f"c{number}"]), found[key][f"c{number}"]
                assert same(got, want), (
                    f"{kind.postgres}: {want!r} in Postgres, {got!r} in BigQuery"
                )


def parameter(value: Any) -> Any:
    """Give psycopg what it can write."""
    if isinstance(value, list):
        return [parameter(item) for item in value]
    if isinstance(value, dict):
        pairs = [f"{quoted(k)}=>{'NULL' if v is None else quoted(v)}" for k, v in value.items()]
        return ", ".join(pairs)
    if isinstance(value, float | Decimal | uuid.UUID) or hasattr(value, "packed"):
        return str(value)
    return value


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def wanted(kind: Type, value: Any) -> Any:
    if kind.bigquery.endswith("REPEATED"):
        value = value or []
    return None if value is None else kind.expect(value)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def test_records_for_other_targets_carry_the_same_values(typed: Pipeline) -> None:
    values = {
        "numeric(12, 2)": "10.50", "numeric": "3.25", "json": '{"a": [1.5, null]}',
        "bytea": "\\x00ff", "timestamptz": "2020-01-01 10:00:00.5+02",
        "date": "infinity", "text[]": '{a,"b c"}',
        "mood": "😀", "double precision": "1.5", "time": "23:59:59.5", "boolean": "true",
    }  # fmt: skip
    columns = {f"c{n}": values.get(kind.postgres) for n, kind in enumerate(TYPES)}
    given_ = ", ".join(f"{name}" for name, value in columns.items() if value)
    typed.postgres.execute(
        f"insert into t (id, {given_}) values (1, {', '.join(['%s'] * len(values))})",
        [value for value in columns.values() if value],
    )
    typed.run()
    by_batch = typed.loaded("t")
    typed.query("drop table t")
    typed.state.clear()
    typed.settings["emit"] = "records"
    messages: list[Row] = typed.run()
    assert {message["type"] for message in messages} == {
        *("SCHEMA", "RECORD", "ACTIVATE_VERSION", "STATE")
    }
    assert typed.loaded("t") == by_batch


def test_a_float_that_json_does_not_have_is_no_record(typed: Pipeline) -> None:
    typed.settings["emit"] = "records"
    typed.sql("insert into t (id, c6) values (1, 'NaN')")
    with pytest.raises(Exception, match=r"'c6': JSON has no NaN.*`emit: batches`"):
        typed.extract()


ARRAYS: list[tuple[str, str, list[Any]]] = [
    ("integer[]", "[5:7]={1,2,3}", [1, 2, 3]),
    ("integer[]", "[-1:0]={1,2}", [1, 2]),
    ("integers", "[2147483646:2147483646]={1}", [1]),
    ("int2vector", "1 2", [1, 2]),
    ("mood[]", "[0:0]={fine}", ["fine"]),
    ("money[]", '[3:4]={"$1,234.56",-2}', [Decimal("1234.56"), Decimal(-2)]),
    ("price[]", "[2:2]={1.25}", [Decimal("1.25")]),
    ("fees", "{1.25}", [Decimal("1.25")]),
    ("date[]", "[2:3]={infinity,2024-01-31}", [LAST_MOMENT.date(), datetime.date(2024, 1, 31)]),
    ("timestamp[]", "{-infinity,infinity}", [FIRST_MOMENT, LAST_MOMENT]),
    ("numeric[]", "[7:8]={1.5,2}", [1.5, 2]),
]


def test_arrays_arrive_whatever_their_bounds_and_elements(pipeline: Pipeline) -> None:
    columns = [f"c{number}" for number in range(len(ARRAYS))]
    definitions = [f"{c} {array}" for c, (array, _, _) in zip(columns, ARRAYS, strict=True)]
    pipeline.sql(
        "create type mood as enum ('fine')",
        "create domain integers as integer[]",
        "create domain price as numeric(12, 2)",
        "create domain fee as money",
        "create domain fees as fee[]",
        f"create table t (id int primary key, {', '.join(definitions)})",
    )
    pipeline.postgres.execute(
        f"insert into t values (1{', %s' * len(ARRAYS)})", [value for _, value, _ in ARRAYS]
    )
    pipeline.run()
    (row,) = pipeline.loaded("t")
    for column, (array, value, elements) in zip(columns, ARRAYS, strict=True):
        assert row[column] == elements, f"{array}: {value}"


def test_half_of_a_character_in_json_arrives_as_the_replacement_character(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.sql(
        "create type holder as (doc json)",
        "create table t (id int primary key, doc json, docs json[], holder holder)",
        r"""insert into t values (1, '["\ud83d\ude00 \\ud83d"]', null, null), (
            2, '["\ude00\ud83d \uD83D\uDE00"]', array['["\ud83d"]'::json], row('["\udc00"]')
        )""",
    )
    pipeline.run()
    assert sorted(pipeline.loaded("t"), key=lambda row: row["id"]) == [
        {"id": 1, "doc": ["😀 \\ud83d"], "docs": None, "holder": None},
        {"id": 2, "doc": ["\ufffd\ufffd 😀"], "docs": [["\ufffd"]], "holder": {"doc": ["\ufffd"]}},
    ]
    assert "1 values of column 'doc' have half of a character" in caplog.text
    assert "The first: row with id = 2" in caplog.text
