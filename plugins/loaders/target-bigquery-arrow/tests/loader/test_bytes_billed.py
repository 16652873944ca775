"""The arithmetic by which `make bench` says what a load bills, against sums made by hand."""

from typing import Any

import pytest
from local_servers.billing import Partition, TableSizes, billed, processed, table_sizes

from .driver import Loader, record, schema

# Three partitions of 100 values each, and the one of nulls.
THINGS = TableSizes(
    ["id", "name"],
    [
        Partition(0, 100, {"id": 8, "name": 100}),
        Partition(100, 200, {"id": 16, "name": 1000}),
        Partition(200, 300, {"id": 24, "name": 10000}),
        Partition(None, None, {"id": 0, "name": 100000}, holds_nulls=True),
    ],
    "id",
)
NEW = TableSizes(["id", "name"], [Partition(None, None, {"id": 5, "name": 60})])
SIZES = {"p.d.things": THINGS, "p.d.new": NEW}

MERGE = """merge `p.d.things` as target using `p.d.new` as source
on target.`id` = source.`id` and {}
when matched then update set `id` = source.`id`, `name` = source.`name`
when not matched then insert (`id`, `name`) values (source.`id`, source.`name`)"""


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        # The columns named, of the whole table
        ("select count(*) from `p.d.things`", {}),
        ("select max(id) from `p.d.things`", {"things": 48}),
        ("select t.* from (select * from `p.d.new`) as t where true", {"new": 65}),
        ("select 1 from `p.d.things` as t join `p.d.new` as n on t.id = n.id", [48, 5]),
        ("with old as (select * from things) select id from old", {"things": 48}),
        ("select max(id) from `p.d.new` union all select min(id) from `p.d.new`", {"new": 5}),
        # Constants leave partitions out, nothing else does
        ("select max(name) from `p.d.things` where id between 150 and 160", {"things": 1016}),
        ("select max(name) from `p.d.things` where id + 0 between 1 and 2", {"things": 111148}),
        (
            "select 1 from `p.d.things` as t join `p.d.new` as n on t.id = n.id "
            "and t.id between 0 and 9",
            [8, 5],
        ),
        (
            "select 1 from `p.d.things` as t left join `p.d.new` as n on t.id = n.id "
            "and t.id between 0 and 9",
            [48, 5],
        ),
        # What is written is billed for what it reads
        ("insert into `p.d.things` (id) select id from `p.d.new`", {"new": 5}),
        ("create table `p.d.more` as select * from `p.d.new`", {"new": 65}),
        ("alter table `p.d.things` rename to `other`", {}),
        # What is changed is billed with all columns of the partitions scanned, besides
        (MERGE.format("true"), [48 + 111148, 65]),
        (MERGE.format("(target.id between 0 and 99)"), [8 + 108, 65]),
        (MERGE.format("(target.id between 0 and 100)"), [24 + 1124, 65]),
        (MERGE.format("(target.id between 0 and 1 or target.id is null)"), [8 + 100108, 65]),
        (MERGE.format("(target.id between -9 and -1)"), {"new": 65}),
        (MERGE.format("false"), {"new": 65}),
        ("delete from `p.d.things` as t where t.id between 0 and 5", {"things": 8 + 108}),
        (
            "update `p.d.things` as t set name = 'x' where t.name is null and not exists (select 1 "
            "from (select distinct id as key_1 from `p.d.new`) as n where t.id = n.key_1)",
            [111148 * 2, 5],
        ),
    ],
)
def test_what_a_statement_processes(sql: str, expected: Any) -> None:
    if isinstance(expected, list):
        expected = dict(zip(("things", "new"), expected, strict=True))
    found = processed(sql, SIZES.__getitem__, "p.d")
    assert {name.removeprefix("p.d."): size for name, size in found.items()} == expected


def test_ten_megabytes_are_billed_of_each_table_at_least() -> None:
    assert billed({}) == 0
    assert billed({"a": 1, "b": 2}) == 20 * 2**20
    assert billed({"a": 10 * 2**20 + 1}) == 11 * 2**20


def test_sizes_of_a_table_by_partition(loader: Loader) -> None:
    loader.settings["partition_bytes"] = 0
    properties = {
        "at": {"type": "string", "format": "date-time"},
        "amount": {"type": ["null", "number"], "multipleOf": 1e-9},
        "note": {"type": ["null", "string"]},
        "data": {"type": ["null", "object"]},
    }
    rows: list[dict[str, Any]] = [
        {"at": "2024-01-01T00:00:00Z", "amount": 1, "note": "Ærø", "data": {"a": 1}},
        {"at": "2024-01-01T23:00:00Z", "amount": None, "note": "", "data": None},
        {"at": "2024-01-03T00:00:00Z", "amount": 2, "note": None, "data": None},
    ]
    loader.load(schema("things", properties, ["at"]), *(record("things", row) for row in rows))
    found = table_sizes(loader.emulator.client(), f"local.{loader.dataset}.things")
    first, second = sorted(found.partitions, key=lambda part: part.start)
    assert [first.sizes[name] for name in properties] == [16, 16, 2 + 5 + 2, len('{"a":1}')]
    assert [second.sizes[name] for name in properties] == [8, 16, 0, 0]
    assert (first.end - first.start).days == 1
