"""What a run asks of BigQuery: little at its start, and nothing again that it has asked."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from target_bigquery_arrow.bookmarks import Bookmarks
from target_bigquery_arrow.messages import State
from target_bigquery_arrow.table import STAGING_PREFIX

from .driver import Loader, Message, files, parquet, read_states, record, schema, state
from .flaky_proxy import Fault, Request, flaky_proxy

ID = {"id": {"type": "integer"}}


@pytest.fixture
def requests(loader: Loader) -> Iterator[list[Request]]:
    """Every request that the loader sends."""
    sent: list[Request] = []

    def note(request: Request) -> Fault:
        sent.append(request)
        return Fault.NONE

    with flaky_proxy(loader.emulator.port) as proxy:
        loader.settings["api_endpoint"] = proxy.endpoint
        proxy.fault = note
        yield sent


def jobs(requests: list[Request]) -> list[str]:
    """The statements that were run, by their first word and their table."""
    queries = (json.loads(r.body)["configuration"] for r in requests if b'"query": "' in r.body)
    return [" ".join(query["query"]["query"].split()[:3]) for query in queries]


def test_the_dataset_is_listed_once_and_each_table_asked_for_once(
    loader: Loader, requests: list[Request]
) -> None:
    pipe = [schema(f"stream_{number}", ID) for number in range(20)]
    loader.load(*pipe, state({}))
    requests.clear()
    loader.load(*pipe, state({}))
    assert {request.method for request in requests} == {"GET"}
    paths = [request.path.partition("/datasets/")[2] for request in requests]
    assert sum("/tables?" in path for path in paths) == 1
    assert sum("/tables/stream_" in path for path in paths) == 20
    assert len(paths) == 24, "the dataset, its list, its tables, and jobs under way in two states"


def test_staging_tables_go_by_themselves(loader: Loader, requests: list[Request]) -> None:
    for _ in range(2):
        loader.load(schema("things", ID), record("things", {"id": 1}), state({}))
    made = [
        json.loads(request.body)
        for request in requests
        if request.method == "POST" and request.path.partition("?")[0].endswith("/tables")
    ]
    staging = [t for t in made if t["tableReference"]["tableId"].startswith(STAGING_PREFIX)]
    assert len(staging) == 2
    assert all(int(table["expirationTime"]) > 0 for table in staging)
    typed = [r.body for r in requests if b"create or replace table" in r.body]
    assert all(b"expiration_timestamp" in statement for statement in typed)
    assert typed


# States


def test_a_table_that_is_still_being_read_is_not_written_for_the_states_of_others(
    loader: Loader, requests: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each STATE is due at once.
    clock = SimpleNamespace(monotonic=itertools.count(step=1000).__next__)
    monkeypatch.setattr("target_bigquery_arrow.target.time", clock)
    large, small = schema("large", ID), [schema(f"small_{number}", ID) for number in range(3)]
    pipe: list[Any] = [state({"bookmarks": {}}), large, *small]
    for number in range(3):
        path = parquet(tmp_path, {"id": [number], "_sdc_sequence": [number]})
        pipe += [files("BATCH", "large", path), record(f"small_{number}", {"id": 1})]
        pipe += [state({"bookmarks": {f"small_{n}": {"at": 1} for n in range(number + 1)}})]
    pipe += [state({"bookmarks": {f"small_{n}": {"at": 1} for n in range(3)} | {"large": {}}})]
    assert loader.load(*pipe) == [
        message["value"] for message in pipe if message["type"] == "STATE"
    ]
    written = [job for job in jobs(requests) if ".large`" in job]
    assert len(written) == 1
    assert len(loader.rows("large")) == 3


def moved(*values: Any) -> list[list[str]]:
    bookmarks, streams = Bookmarks(), ["a", "b"]
    return [sorted(bookmarks.moved(State(json.dumps(value).encode()), streams)) for value in values]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([{"bookmarks": {}}], ["a", "b"]),
        ([{"bookmarks": {}}, {"bookmarks": {"a": 1}}], ["a"]),
        ([{"bookmarks": {"a": 1, "b": 1}}, {"bookmarks": {"a": 1, "b": 2}}], ["b"]),
        ([{"bookmarks": {"a": 1, "b": 1}}, {"bookmarks": {"b": 1}}], ["a"]),
        ([{"bookmarks": {}}, {"bookmarks": {}, "currently_syncing": "a"}], []),
        # Of what a STATE doesn't say which stream it speaks of, it speaks of all.
        ([{"bookmarks": {}}, {"bookmarks": {}, "page": 2}], ["a", "b"]),
        ([{"bookmarks": {}}, {"bookmarks": {"schema-a": 1}}], ["a", "b"]),
        ([{"a": 1}, {"a": 1}], ["a", "b"]),
        ([[1], [1]], ["a", "b"]),
        ([{"bookmarks": [1]}, {"bookmarks": [1]}], ["a", "b"]),
    ],
)
def test_a_state_speaks_of_the_streams_whose_bookmarks_have_moved(
    states: list[Any], expected: list[str]
) -> None:
    assert moved(*states)[-1] == expected


def mark(independent: bool, **bookmarks: int) -> Message:
    return state({"bookmarks": bookmarks}) | {"independent": independent}


@pytest.mark.parametrize("fails", ["by its schema", "by a record"])
def test_a_stream_that_fails_keeps_its_bookmark_and_holds_no_independent_one_back(
    loader: Loader, capfd: pytest.CaptureFixture[str], fails: str
) -> None:
    bad = schema(
        "bad", {"Name": ID["id"], "name": ID["id"]} if fails == "by its schema" else ID, ()
    )
    for independent in (True, False):
        pipe = [
            mark(independent, bad=1, good=1),
            *(bad, record("bad", {"id": "x", "Name": 1}), mark(independent, bad=2, good=1)),
            *(schema("good", ID), record("good", {"id": 1}), mark(independent, bad=2, good=2)),
        ]
        assert loader.invoke(*pipe) == 1
        output, _ = capfd.readouterr()
        kept = {"bad": 1, "good": 2 if independent else 1}
        assert read_states(output.encode()) == [{"bookmarks": kept}]
        assert [row["id"] for row in loader.rows("good")] == [1]


def test_a_stream_that_fails_in_its_first_run_has_no_bookmark(
    loader: Loader, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe = [mark(True), schema("bad", ID), record("bad", {"id": "x"}), mark(True, bad=2)]
    pipe += [schema("good", ID), record("good", {"id": 1}), mark(True, bad=2, good=1)]
    assert loader.invoke(*pipe) == 1
    output, _ = capfd.readouterr()
    assert read_states(output.encode()) == [{"bookmarks": {"good": 1}}]


# Values and names


def test_json_that_bigquery_refuses_is_kept_as_text(loader: Loader, tmp_path: Path) -> None:
    texts = ['{"a": 1}', '{"a": ', None, '"text"', "null"]
    path = parquet(tmp_path, {"id": list(range(5)), "doc": texts})
    loader.load(schema("things", ID | {"doc": {"type": "object"}}), files("BATCH", "things", path))
    kept = [row["doc"] for _, row in sorted(loader.by_id("things").items())]
    assert kept == [{"a": 1}, '{"a": ', None, "text", None]
    nulls = loader.query("select id from things where doc is null")
    assert [row["id"] for row in nulls] == [2], "JSON's null is no missing value"


def test_a_file_with_a_name_that_load_jobs_refuse_is_read_row_by_row(
    loader: Loader, requests: list[Request], tmp_path: Path
) -> None:
    path = parquet(tmp_path, {"id": [1, 2], "not.selected": ["a", "b"], "a": [1, 2]})
    loader.load(schema("things", ID | {"a": {"type": "integer"}}), files("BATCH", "things", path))
    assert loader.by_id("things") == {1: {"id": 1, "a": 1}, 2: {"id": 2, "a": 2}}
    uploads = [request.body for request in requests if request.method == "PUT"]
    assert uploads
    assert not any(b"not.selected" in body for body in uploads)
