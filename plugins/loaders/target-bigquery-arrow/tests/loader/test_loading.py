"""What is sent is what is in BigQuery: every value, the latest of each key, run after run."""

import base64
import datetime
import random
import subprocess
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .driver import Loader, Message, lines, read_states, record, schema, state
from .waiting import wait_until

DATES = st.dates()
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSONS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MOMENTS = st.datetimes(timezones=st.just(datetime.UTC))

ID = {"id": {"type": "integer"}}
NOTE = ID | {"note": {"type": ["null", "string"]}}

# For each property: its JSON Schema, values to send, and what a value is once it is loaded.
PROPERTIES: dict[str, tuple[Any, st.SearchStrategy[Any], Any]] = {
    "integer": ({"type": "integer"}, st.integers(-(2**63), 2**63 - 1), int),
    "whole number": ({"type": "integer"}, st.integers(-(2**53), 2**53).map(float), int),
    "number": ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False), float),
    "numeric": (
        {"type": "number", "multipleOf": 1e-9},
        st.decimals(-(10**29) + 1, 10**29 - 1, places=9),
        Decimal,
    ),
    # The emulator has 20 digits before the point and 18 after; BigQuery has 38 and 38.
    "bignumeric": (
        {"type": "string", "format": "singer.decimal"},
        st.decimals(-(10**20) + 1, 10**20 - 1, places=18).map(str),
        Decimal,
    ),
    "boolean": ({"type": "boolean"}, st.booleans(), bool),
    "string": ({"type": "string"}, TEXT, str),
    "bytes": (
        {"type": "string", "contentEncoding": "base64"},
        st.binary().map(lambda value: base64.b64encode(value).decode()),
        base64.b64decode,
    ),
    "date": (
        {"type": "string", "format": "date"},
        DATES.map(str),
        datetime.date.fromisoformat,
    ),
    "time": (
        {"type": "string", "format": "time"},
        st.times().map(str),
        datetime.time.fromisoformat,
    ),
    "moment": (
        {"type": "string", "format": "date-time"},
        MOMENTS.map(datetime.datetime.isoformat) | MOMENTS.map(str),
        datetime.datetime.fromisoformat,
    ),
    "object": ({"type": "object"}, st.dictionaries(TEXT, JSONS, max_size=3), lambda value: value),
    "anything": ({}, JSONS, lambda value: value),
    "strings": ({"type": "array", "items": {"type": "string"}}, st.lists(TEXT), list),
    "dates": (
        {"type": "array", "items": {"type": "string", "format": "date"}},
        st.lists(DATES.map(str)),
        lambda values: [datetime.date.fromisoformat(value) for value in values],
    ),
    'quoted "name"': ({"type": "string"}, TEXT, str),
}
COLUMNS = {name: name.replace(" ", "_").replace('"', "_") for name in PROPERTIES}


def nullable(rule: dict[str, Any]) -> dict[str, Any]:
    return {**rule, "type": ["null", rule["type"]]} if "type" in rule else rule


def loaded(name: str, value: Any) -> Any:
    if value is None:
        return [] if PROPERTIES[name][0].get("type") == "array" else None
    return PROPERTIES[name][2](value)


RECORDS = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(0, 5)},
        optional={name: st.none() | values for name, (_, values, _) in PROPERTIES.items()},
    ),
    min_size=1,
    max_size=30,
)


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(records=RECORDS)
def test_every_value_arrives_and_the_latest_of_each_key_wins(
    loader: Loader, records: list[dict[str, Any]]
) -> None:
    loader.dataset = f"values_{time.time_ns()}"
    properties = {name: nullable(rule) for name, (rule, *_) in PROPERTIES.items()}
    states = loader.load(
        schema("things", ID | properties),
        *(record("things", row) for row in records),
        state({"done": True}),
    )
    assert states == [{"done": True}]
    assert loader.by_id("things") == {
        row["id"]: {"id": row["id"]}
        | {COLUMNS[name]: loaded(name, row.get(name)) for name in PROPERTIES}
        for row in records
    }


def test_each_property_has_the_type_of_the_table(loader: Loader) -> None:
    loader.load(schema("things", {name: rule for name, (rule, *_) in PROPERTIES.items()}, ()))
    assert loader.columns("things") == {
        "integer": "INTEGER",
        "whole_number": "INTEGER",
        "number": "FLOAT",
        "numeric": "NUMERIC",
        "bignumeric": "BIGNUMERIC",
        "boolean": "BOOLEAN",
        "string": "STRING",
        "bytes": "BYTES",
        "date": "DATE",
        "time": "TIME",
        "moment": "TIMESTAMP",
        "object": "JSON",
        "anything": "JSON",
        "strings": "STRING REPEATED",
        "dates": "DATE REPEATED",
        "quoted__name_": "STRING",
    }


def test_a_state_comes_out_as_it_went_in_and_only_the_newest(loader: Loader) -> None:
    states = loader.load(
        schema("things", ID),
        record("things", {"id": 1}),
        state({"cursor": Decimal("1.10")}),
        record("things", {"id": 2}),
        state({"cursor": 123456789012345678901234567890, "é": None}),
    )
    assert states == [{"cursor": 123456789012345678901234567890, "é": None}]


def test_a_state_waits_for_the_rows_of_every_stream_that_it_stands_for(loader: Loader) -> None:
    process = loader.start()
    assert process.stdin
    process.stdin.write(
        lines(
            [
                schema("waiting", ID),
                record("waiting", {"id": 1}),
                schema("changing", ID),
                record("changing", {"id": 1}),
                state({"both": 1}),
                # Each change of a stream's schema loads what that stream has had, and no other.
                schema("changing", NOTE),
                record("changing", {"id": 2}),
                schema("changing", NOTE | {"more": {"type": "boolean"}}),
            ]
        )
    )
    process.stdin.flush()
    wait_until(
        lambda: "changing" in loader.tables() and len(loader.rows("changing")) == 2, seconds=60
    )
    process.kill()
    output, _ = process.communicate()
    assert "waiting" not in loader.tables() or not loader.rows("waiting")
    assert read_states(output) == []


def test_a_state_in_the_middle_of_a_stream_can_be_held_back(loader: Loader) -> None:
    begun, ended = {"currently_syncing": "things", "n": 1}, {"currently_syncing": None, "n": 2}
    broken_off = [schema("things", ID), record("things", {"id": 1}), state(begun)]
    assert loader.load(*broken_off) == [begun]

    loader.settings["emit_interim_state"] = False
    assert loader.load(*broken_off) == []
    assert loader.load(*broken_off, record("things", {"id": 2}), state(ended)) == [ended]
    assert sorted(row["id"] for row in loader.rows("things")) == [1, 2]


def test_a_stream_without_records_is_an_empty_table(loader: Loader) -> None:
    loader.load(schema("public-things", NOTE))
    assert loader.columns("things") == {"id": "INTEGER", "note": "STRING"}
    assert loader.rows("things") == []


def test_the_same_input_again_ends_in_the_same_rows(loader: Loader) -> None:
    pipe = [schema("things", NOTE), record("things", {"id": 1, "note": "a"})]
    for _ in "ab":
        loader.load(*pipe)
        assert loader.rows("things") == [{"id": 1, "note": "a"}]


def test_a_stream_without_a_key_is_appended(loader: Loader) -> None:
    pipe = [schema("log", NOTE, keys=()), *(record("log", {"id": 1, "note": "x"}) for _ in "ab")]
    for runs in (1, 2):
        loader.load(*pipe)
        assert loader.rows("log") == [{"id": 1, "note": "x"}] * 2 * runs


def test_every_row_says_when_it_was_extracted_and_loaded(loader: Loader) -> None:
    loader.load(
        schema("things", ID),
        record("things", {"id": 1}, time_extracted="2024-01-02T03:04:05.678901+02:00"),
        record("things", {"id": 2}, version=7),
    )
    first, second = loader.query("select * from things order by id")
    extracted = datetime.datetime(2024, 1, 2, 1, 4, 5, 678901, datetime.UTC)
    assert first["_sdc_extracted_at"] == extracted
    assert extracted < first["_sdc_received_at"] <= datetime.datetime.now(datetime.UTC)
    assert first["_sdc_batched_at"]
    assert first["_sdc_sequence"] < second["_sdc_sequence"]
    assert (first["_sdc_table_version"], second["_sdc_table_version"]) == (None, 7)
    assert second["_sdc_extracted_at"]


def test_a_schema_that_changes_in_the_middle_of_a_run_loses_nothing(loader: Loader) -> None:
    """Both forms have as many rows, so counts alone would not show one taken for the other."""
    loader.load(
        schema("things", ID),
        record("things", {"id": 1}),
        schema("things", NOTE),
        record("things", {"id": 2, "note": "b"}),
        schema("things", ID),
        record("things", {"id": 3}),
        state({}),
    )
    assert loader.by_id("things") == {
        1: {"id": 1, "note": None},
        2: {"id": 2, "note": "b"},
        3: {"id": 3, "note": None},
    }


def test_a_table_follows_its_stream_as_it_changes(loader: Loader) -> None:
    loader.load(
        schema("things", ID | {"a": {"type": "integer"}}), record("things", {"id": 1, "a": 1})
    )
    loader.load(
        schema("things", ID | {"a": {"type": "number", "multipleOf": 0.1}, "b": {}}),
        record("things", {"id": 2, "a": 1.5, "b": [1]}),
    )
    assert loader.columns("things") == {"id": "INTEGER", "a": "NUMERIC", "b": "JSON"}
    loader.load(
        schema("things", ID | {"a": {"type": "boolean"}}),
        record("things", {"id": 2, "a": True}),
    )
    assert loader.by_id("things") == {
        1: {"id": 1, "a": Decimal(1), "b": None, "a__bool": None},
        2: {"id": 2, "a": None, "b": [1], "a__bool": True},
    }


@pytest.mark.parametrize(
    ("kind", "value", "column", "loaded"),
    [
        ({"type": "integer"}, 4, "a__int64", 4),
        ({"type": "string"}, "text", "a__string", "text"),
        (
            {"type": "string", "format": "date-time"},
            "2026-01-02T03:04:05Z",
            "a__timestamp",
            datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        ),
    ],
)
def test_json_that_becomes_another_type_goes_into_a_column_beside(
    loader: Loader, kind: dict[str, Any], value: Any, column: str, loaded: Any
) -> None:
    loader.load(schema("s", ID | {"a": {"type": "object"}}), record("s", {"id": 1, "a": {"b": 1}}))
    loader.load(schema("s", ID | {"a": kind}), record("s", {"id": 1, "a": value}))
    assert loader.query(f"select a, {column} from s") == [{"a": None, column: loaded}]


def test_properties_that_are_not_in_the_schema_are_kept_as_json_and_reported_once(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.settings["batch_bytes"] = 2**20  # several row groups
    rows = [{"id": number, "pad": "x" * 400, "_sdc_batched_at": None} for number in range(2000)]
    rows[1000] |= {"a b": {"c": [1]}}
    rows[1999] |= {"late": "text", "a b": None}
    things = schema("things", ID | {"pad": {"type": "string"}})
    for expected in (1, 1):  # a table that is new, and one that has the columns
        caplog.clear()
        loader.load(things, *(record("things", row) for row in rows))
        (first, second) = [text for text in caplog.messages if "not in its SCHEMA" in text]
        assert "Stream 'things'" in first
        assert "'a b'. They are kept as JSON" in first
        assert "'late'" in second
        assert len(loader.by_id("things")) == 2000 * expected
    assert loader.columns("things") == {
        "id": "INTEGER",
        "pad": "STRING",
        "a_b": "JSON",
        "late": "JSON",
    }
    found = loader.by_id("things")
    assert found[1000]["a_b"] == {"c": [1]}
    assert (found[1999]["late"], found[1999]["a_b"]) == ("text", None)
    assert found[0]["a_b"] is None


def test_a_frozen_table_leaves_properties_out_that_are_not_in_the_schema(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.load(schema("things", ID))
    loader.settings["schema_drift"] = "freeze"
    loader.load(schema("things", ID), record("things", {"id": 1, "extra": 1}))
    assert loader.rows("things") == [{"id": 1}]
    assert "'extra'. Declare them" in caplog.text


def test_stream_maps_and_flattening_keep_every_digit(loader: Loader) -> None:
    loader.settings |= {
        "stream_maps": {"things": {"__alias__": "mapped", "double": "int(id * 2)"}, "others": None},
        "flattening_enabled": True,
        "flattening_max_depth": 1,
    }
    loader.load(
        schema("others", ID),
        record("others", {"id": 1}),
        schema(
            "things",
            ID
            | {
                "o": {"type": "object", "properties": {"n": {"type": "number", "multipleOf": 1e-9}}}
            },
        ),
        record("things", {"id": 1, "o": {"n": Decimal("12345678901234567890.123456789")}}),
    )
    assert loader.tables() == {"mapped"}
    assert loader.rows("mapped") == [
        {"id": 1, "o__n": Decimal("12345678901234567890.123456789"), "double": 2}
    ]


def test_flattening_drops_nothing(loader: Loader) -> None:
    loader.settings |= {
        "flattening_enabled": True,
        "flattening_max_depth": 2,
        "schema_drift": "fail",
    }
    point = {"type": ["null", "object"], "properties": {"lat": {"type": "number"}}}
    place = {"type": "object", "properties": {"city": {"type": "string"}, "geo": point}}
    properties = ID | {
        "place": {"anyOf": [place, {"type": "null"}]},
        "referred": {"$ref": "#/definitions/place"},
        "mixed": {"type": ["object", "string", "null"], "properties": {"a": {"type": "string"}}},
        "free": {"type": ["null", "object"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "list": {"type": "array", "items": place},
        "any": {},
    }
    things = schema("things", properties)
    things["schema"]["definitions"] = {"place": place}
    rows: list[dict[str, Any]] = [
        {
            "place": {"city": "c", "geo": {"lat": 1.5}},
            "referred": {"geo": {"lat": 2.5}},
            "mixed": {"a": "b"},
            "free": {"k": {"l": 1}},
            "tags": ["a"],
            "list": [{"city": "d"}],
            "any": {"x": [1]},
        },
        {"place": None, "referred": {"geo": None}, "mixed": "plain", "free": {}, "any": "text"},
        {"place": {"city": None}, "mixed": None},
    ]
    loader.load(
        things, *(record("things", {"id": number} | row) for number, row in enumerate(rows))
    )
    assert loader.columns("things") == {
        "id": "INTEGER",
        "place__city": "STRING",
        "place__geo__lat": "FLOAT",
        "referred__city": "STRING",
        "referred__geo__lat": "FLOAT",
        "mixed": "JSON",
        "free": "JSON",
        "tags": "STRING REPEATED",
        "list": "JSON",
        "any": "JSON",
    }
    found = loader.by_id("things")
    nothing = dict.fromkeys(loader.columns("things")) | {"tags": []}
    assert found == {
        0: {
            "id": 0,
            "place__city": "c",
            "place__geo__lat": 1.5,
            "referred__city": None,
            "referred__geo__lat": 2.5,
            "mixed": {"a": "b"},
            "free": {"k": {"l": 1}},
            "tags": ["a"],
            "list": [{"city": "d"}],
            "any": {"x": [1]},
        },
        1: nothing | {"id": 1, "mixed": "plain", "free": {}, "any": "text"},
        2: nothing | {"id": 2},
    }
    loader.settings["schema_drift"] = "evolve"
    loader.load(things, record("things", {"id": 3, "place": "somewhere", "referred": {"new": 1}}))
    assert loader.query("select place, referred__new from things where id = 3") == [
        {"place": "somewhere", "referred__new": 1}
    ]


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.thorough)])
def test_runs_that_are_killed_at_any_moment_end_in_the_same_table(
    loader: Loader, kills: int
) -> None:
    """`kill -9` at random moments of runs that read ever further; in the end, one whole run."""
    rows = [{"id": number % 3000, "note": f"note {number}"} for number in range(9000)]
    pipe: list[Message] = [schema("things", NOTE), schema("log", NOTE, keys=())]
    for number, row in enumerate(rows):
        pipe += [record("things", row), record("log", row)]
        if number % 1000 == 0:
            pipe.append(state({"row": number}))
    chance = random.Random(7)
    for end in sorted(chance.sample(range(len(pipe)), kills)):
        run = loader.start()
        try:
            run.communicate(lines(pipe[:end]), timeout=chance.uniform(1.2, 4))
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
    assert loader.run(*pipe).returncode == 0
    assert loader.by_id("things") == {row["id"]: row for row in rows}
    # Without a key, rows come at least once.
    log = Counter(row["note"] for row in loader.rows("log"))
    assert log.keys() == {row["note"] for row in rows}
    assert loader.tables() == {"things", "log"}, "staging tables are left over"
