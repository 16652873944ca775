"""The ledger: what every run did to each table, also where a stream failed, and at no risk."""

from typing import Any

import pytest
from target_bigquery_arrow.errors import LoadError

from .driver import Loader, activate, record, schema, state

THINGS = schema("things", {"id": {"type": "integer"}, "name": {"type": ["null", "string"]}})
COUNTS = ("rows_received", "rows_inserted", "rows_updated", "rows_deleted")


@pytest.fixture
def recorded(loader: Loader) -> Loader:
    """A loader whose ledger lies in its own dataset."""
    loader.settings |= {"ledger_dataset": loader.dataset, "source": "tap-things"}
    return loader


def loads(loader: Loader) -> list[dict[str, Any]]:
    return loader.query("select * from loads order by ended_at, stream")


def counts(load: dict[str, Any]) -> tuple[int, ...]:
    return tuple(load[name] for name in COUNTS)


def things(*ids: int, version: int | None = None) -> list[dict[str, Any]]:
    envelope = {} if version is None else {"version": version}
    return [record("things", {"id": number, "name": "a"}, **envelope) for number in ids]


def test_each_run_has_a_row_a_table_with_what_it_did(recorded: Loader) -> None:
    bookmark = {"bookmarks": {"things": {"replication_key_value": 2}}, "token": "secret"}
    recorded.load(THINGS, *things(1, 2, version=1), state(bookmark))
    guard = {"max_delete_fraction": 1.0}
    recorded.load(THINGS, *things(2, 3, 3, version=2), activate("things", 2, **guard))
    recorded.load(THINGS)
    first, second, third = loads(recorded)
    assert counts(first) == (2, 2, 0, 0)
    assert counts(second) == (3, 1, 1, 1)
    assert counts(third) == (0, 0, 0, 0)
    assert [load["is_proven_complete"] for load in (first, second)] == [False, True]
    assert first["bookmark"] == {"replication_key_value": 2}
    assert "secret" not in str(first)
    assert len({load["load_id"] for load in (first, second, third)}) == 3
    for load in (first, second, third):
        assert (load["source"], load["stream"]) == ("tap-things", "things")
        assert (load["dataset"], load["table"]) == (recorded.dataset, "things")
        assert load["started_at"] <= load["ended_at"]
        assert load["error"] is None


def test_a_stream_that_fails_has_its_error_and_the_others_their_rows(recorded: Loader) -> None:
    with pytest.raises(LoadError):
        recorded.load(
            schema("broken", {"id": {"type": "integer"}}),
            schema("named twice", {"a b": {"type": "string"}, "a_b": {"type": "string"}}, ()),
            THINGS,
            record("broken", {"id": "no number"}),
            *things(1),
        )
    broken, named_twice, good = loads(recorded)
    assert "Stream 'broken'" in broken["error"]
    assert (broken["table"], broken["rows_inserted"]) == ("broken", 0)
    assert "would both be column" in named_twice["error"]
    assert named_twice["table"] is None
    assert (good["error"], counts(good)) == (None, (1, 1, 0, 0))


def test_a_change_of_columns_is_noted(recorded: Loader) -> None:
    recorded.load(THINGS, *things(1))
    wider = schema("things", {"id": {"type": "integer"}, "size": {"type": "number"}})
    recorded.load(wider, record("things", {"id": 1, "size": 0.5}))
    assert [load["schema_changes"] for load in loads(recorded)] == [
        [],
        ["new column 'size' (FLOAT64)"],
    ]


def test_a_run_whose_loads_cannot_be_recorded_is_good_all_the_same(
    recorded: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    recorded.emulator.client().create_dataset(recorded.dataset)
    recorded.query("create table loads (load_id int64)")
    states = recorded.load(THINGS, *things(1), state(1))
    assert states == [1]
    assert list(recorded.by_id("things")) == [1]
    assert "This load is not recorded" in caplog.text


def test_a_developers_loads_are_recorded_apart(recorded: Loader) -> None:
    recorded.settings |= {"ledger_dataset": "ops", "developer": "lawrence"}
    recorded.load(THINGS, *things(1))
    client = recorded.emulator.client()
    try:
        assert client.get_table("lawrence_ops.loads").num_rows == 1
    finally:
        for dataset in ("lawrence_ops", f"lawrence_{recorded.dataset}"):
            client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)


def test_without_a_dataset_for_it_nothing_is_recorded(loader: Loader) -> None:
    loader.load(THINGS, *things(1))
    assert loader.tables() == {"things"}
