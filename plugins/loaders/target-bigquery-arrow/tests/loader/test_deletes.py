"""KEYS lists what the source holds: what it lacks is deleted, unless that is too much."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from target_bigquery_arrow.errors import LoadError

from .driver import (
    Loader,
    Message,
    activate,
    batch_dir,
    files,
    parquet,
    read_states,
    record,
    schema,
    state,
)

ID = {"id": {"type": "integer"}}
SCHEMA = schema("things", ID)


def batch(directory: Path, *ids: Any, stream: str = "things", **others: Any) -> Message:
    return files("BATCH", stream, parquet(directory, {"id": list(ids)}), **others)


def keys(directory: Path, *ids: Any, stream: str = "things", limit: float = 0.5) -> Message:
    paths = [parquet(directory, {"id": list(ids)})] if ids else []
    return files("KEYS", stream, *paths, max_delete_fraction=limit)


def ids(loader: Loader, *, table: str = "things", deleted: bool = False) -> list[int]:
    return sorted(row["id"] for row in loader.rows(table, deleted=deleted))


def test_exactly_the_rows_that_are_not_listed_are_marked_until_they_return(
    loader: Loader, tmp_path: Path
) -> None:
    loader.load(SCHEMA, batch(tmp_path, 1, 2, 3, 4), keys(tmp_path, 1, 2, 3, 4), state(1))
    assert loader.load(SCHEMA, batch(tmp_path, 5), keys(tmp_path, 1, 2, 5), state(2)) == [2]
    assert (ids(loader), ids(loader, deleted=True)) == ([1, 2, 5], [3, 4])
    (marked,) = loader.query("select distinct _sdc_deleted_at from things where id in (3, 4)")
    loader.load(SCHEMA, batch(tmp_path, 3), keys(tmp_path, 1, 2, 3, 5), state(3))
    assert (ids(loader), ids(loader, deleted=True)) == ([1, 2, 3, 5], [4])
    assert loader.query("select _sdc_deleted_at from things where id = 4") == [marked]


def test_hard_delete_removes_them(loader: Loader, tmp_path: Path) -> None:
    loader.settings["hard_delete"] = True
    loader.load(SCHEMA, batch(tmp_path, 1, 2), keys(tmp_path, 1))
    assert (ids(loader), ids(loader, deleted=True)) == ([1], [])


def test_a_key_of_several_columns(loader: Loader, tmp_path: Path) -> None:
    key = {"account": {"type": "string"}, "day": {"type": "string", "format": "date"}}
    pairs = schema("pairs", key | {"id": {"type": "integer"}}, key)
    days = [datetime.date(2024, 1, day) for day in (1, 2, 1)]
    rows = {"account": ["a", "a", "b"], "day": days, "id": [1, 2, 3]}
    left = {"account": ["a", "b"], "day": [days[1], days[0]]}
    loader.load(
        pairs,
        files("BATCH", "pairs", parquet(tmp_path, rows)),
        files("KEYS", "pairs", parquet(tmp_path, left), max_delete_fraction=0.5),
    )
    assert ids(loader, table="pairs") == [2, 3]


def test_a_key_that_is_of_another_type_in_the_table(loader: Loader, tmp_path: Path) -> None:
    loader.load(schema("things", {"id": {"type": "string"}}), record("things", {"id": "1"}))
    loader.load(SCHEMA, batch(tmp_path, 2, 3), keys(tmp_path, 1, 3))
    assert [row["id"] for row in loader.rows("things", deleted=True)] == ["2"]
    with pytest.raises(LoadError, match="2 of its 2 live rows"):
        loader.load(SCHEMA, keys(tmp_path))


def test_a_source_that_is_empty_deletes_all_only_when_told_to(
    loader: Loader, tmp_path: Path
) -> None:
    loader.load(SCHEMA, batch(tmp_path, 1, 2))
    with pytest.raises(LoadError) as error:
        loader.load(SCHEMA, keys(tmp_path), state(1))
    assert str(error.value) == (
        f"Table local.{loader.dataset}.things: 2 of its 2 live rows are no longer in the source, "
        "more than `max_delete_fraction` (0.5) allows; none is marked as deleted. If they have "
        "truly gone, run once with `max_delete_fraction: 1` on the extractor, or on the loader if "
        "the extractor has no such setting."
    )
    assert ids(loader) == [1, 2]
    assert loader.load(SCHEMA, keys(tmp_path, limit=1), state(2)) == [2]
    assert ids(loader, deleted=True) == [1, 2]
    assert loader.load(SCHEMA, keys(tmp_path), state(3)) == [3], "nothing is left to guard"


def test_rows_of_the_same_run_count_as_live(loader: Loader, tmp_path: Path) -> None:
    loader.load(SCHEMA, batch(tmp_path, 1, 2))
    loader.load(SCHEMA, batch(tmp_path, 3, 4), keys(tmp_path, 3, 4))
    assert ids(loader) == [3, 4]


def test_rows_after_the_keys_make_them_void(
    loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader.load(SCHEMA, batch(tmp_path, 1, 2, 3))
    loader.load(SCHEMA, keys(tmp_path, 1, 2), batch(tmp_path, 4), state(1))
    assert ids(loader) == [1, 2, 3, 4]
    (warning,) = (line for line in caplog.messages if "counts as deleted" in line)
    assert warning.startswith("No row of 'things' counts as deleted")
    loader.load(SCHEMA, keys(tmp_path, 1, 2, 4), state(2))
    assert ids(loader) == [1, 2, 4]


def test_a_stream_that_the_guard_stops_keeps_back_no_state_but_its_own(
    loader: Loader, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    others = schema("others", ID)
    loader.load(SCHEMA, batch(tmp_path, 1, 2, 3))
    pipe: list[Message] = [
        *(SCHEMA, others, batch(tmp_path, 1, stream="others")),
        *(keys(tmp_path, 1, 2, stream="others"), state("others")),
        *(batch(tmp_path, 4), keys(tmp_path, 4), state("others and things")),
        *(batch(tmp_path, 2, stream="others"), state("all of others")),
    ]
    assert loader.invoke(*pipe) == 1
    output, log = capfd.readouterr()
    assert read_states(output.encode()) == ["others"]
    assert "3 of its 4 live rows" in log.splitlines()[-1]
    assert ids(loader) == [1, 2, 3, 4]
    assert ids(loader, table="others") == [1, 2]


@pytest.mark.parametrize("key", [["id"], []])
def test_a_full_read_is_guarded_too(loader: Loader, tmp_path: Path, key: list[str]) -> None:
    def full_read(version: int, *ids: int) -> list[Message]:
        activation = activate("things", version, max_delete_fraction=0.5)
        rows = batch(tmp_path, *ids, version=version)
        return [schema("things", ID, key), rows, activation, state(version)]

    loader.load(*full_read(1, 1, 2, 3, 4))
    assert loader.load(*full_read(2, 1, 2)) == [2]
    assert ids(loader) == [1, 2]
    with pytest.raises(LoadError, match="2 of its 2 live rows"):
        loader.load(*full_read(3))
    assert ids(loader) == [1, 2]


def test_keys_that_the_table_lacks_are_reported(
    loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader.load(SCHEMA, batch(tmp_path, 1), keys(tmp_path, 1, 8, 9))
    assert ids(loader) == [1]
    assert "lacks 2 rows whose keys the source holds" in caplog.text
    assert "--full-refresh" in caplog.text


def test_the_setting_turns_it_off(loader: Loader, tmp_path: Path) -> None:
    loader.settings["process_activate_version_messages"] = False
    folder = batch_dir(tmp_path)
    message = keys(folder, 1) | {"temporary": True}
    loader.load(SCHEMA, batch(tmp_path, 1, 2), message)
    assert ids(loader) == [1, 2]
    assert not folder.exists()


@pytest.mark.parametrize(
    ("key", "values", "maps", "error"),
    [
        ([], {"id": [1]}, {}, "Stream 'things' has no key, so KEYS can't tell"),
        (["id"], {"other": [1]}, {}, "key property 'id' is missing or null in 1 of 1"),
        (["id"], {"id": [b"1"]}, {}, "'id': its files hold binary, which can't become INT64"),
        (["id"], {"id": [1]}, {"thing*": {"id": "id + 1"}}, "`stream_maps` alter its key"),
    ],
)
def test_keys_that_cannot_be_compared(
    loader: Loader, tmp_path: Path, key: list[str], values: Any, maps: Any, error: str
) -> None:
    loader.settings["stream_maps"] = maps
    message = files("KEYS", "things", parquet(tmp_path, values), max_delete_fraction=1)
    with pytest.raises(LoadError, match=error):
        loader.load(schema("things", ID, key), message)
    with pytest.raises(LoadError, match="KEYS for stream 'others' came before its SCHEMA"):
        loader.load(message | {"stream": "others"})


def test_a_stream_map_that_leaves_the_key_alone(loader: Loader, tmp_path: Path) -> None:
    loader.settings["stream_maps"] = {"things": {"twice": "int(id * 2)"}}
    loader.load(SCHEMA, batch(tmp_path, 1, 2), keys(tmp_path, 2))
    assert loader.rows("things") == [{"id": 2, "twice": 4}]
