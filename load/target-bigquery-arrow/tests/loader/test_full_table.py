"""A stream that is read in full ends holding exactly what the source has, and never less."""

import pytest
from target_bigquery_arrow.completeness import STATE_FREQUENCY, Completeness

from .driver import Loader, Message, activate, record, schema, state

STREAM = "things"
ID = {"id": {"type": "integer"}}
SCHEMA = schema(STREAM, ID)


def rows(version: int | None, *ids: int, stream: str = STREAM) -> list[Message]:
    return [record(stream, {"id": number}, version=version) for number in ids]


def full_read(version: int, *ids: int) -> list[Message]:
    """What taps of the Singer SDK send: the version first, and a state when all is read."""
    return [SCHEMA, activate(STREAM, version), *rows(version, *ids), state({})]


def ids(loader: Loader, *, deleted: bool = False) -> list[int]:
    return sorted(row["id"] for row in loader.rows(STREAM, deleted=deleted))


def test_rows_that_have_gone_are_marked_and_come_back_when_they_come_back(loader: Loader) -> None:
    loader.load(*full_read(1, 1, 2, 3))
    loader.load(*full_read(2, 1))
    assert (ids(loader), ids(loader, deleted=True)) == ([1], [2, 3])
    loader.load(*full_read(3, 1, 3))
    assert (ids(loader), ids(loader, deleted=True)) == ([1, 3], [2])
    loader.load(*full_read(4))
    assert (ids(loader), ids(loader, deleted=True)) == ([], [1, 2, 3])


def test_hard_delete_removes_them(loader: Loader) -> None:
    loader.settings["hard_delete"] = True
    loader.load(*full_read(1, 1, 2))
    loader.load(*full_read(2, 2))
    assert (ids(loader), ids(loader, deleted=True)) == ([2], [])


def test_a_version_that_is_activated_after_its_records_does_the_same(loader: Loader) -> None:
    loader.load(*full_read(1, 1, 2))
    loader.load(SCHEMA, *rows(2, 2), activate(STREAM, 2), state({}))
    assert ids(loader) == [2]


def test_without_a_key_the_newest_version_is_what_is_there(loader: Loader) -> None:
    keyless = schema(STREAM, ID, keys=())
    for version in (1, 2):
        loader.load(keyless, activate(STREAM, version), *rows(version, 1, 1, 2), state({}))
    assert ids(loader) == [1, 1, 2]


def test_a_stream_that_breaks_off_loses_nothing(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    child = schema("children", ID)
    broken_off: dict[str, list[Message]] = {
        "before the first record": [SCHEMA, activate(STREAM, 2)],
        "among the records": [SCHEMA, activate(STREAM, 2), *rows(2, 1)],
        "in its first child": [SCHEMA, activate(STREAM, 2), child, activate("children", 2)],
        "in a parent, after a child's state": [
            *(SCHEMA, activate(STREAM, 2), child, activate("children", 2), state({})),
            *rows(2, 1),
        ],
    }
    loader.load(*full_read(1, 1, 2, 3))
    for where, pipe in broken_off.items():
        caplog.clear()
        loader.load(*pipe)
        assert ids(loader) == [1, 2, 3], where
        assert f"Stream '{STREAM}' ended without a sign that it was read to its end" in caplog.text
    loader.load(*full_read(3, 1, 3))
    assert ids(loader) == [1, 3]


def test_a_stream_read_before_another_breaks_off_is_complete_all_the_same(loader: Loader) -> None:
    loader.load(*full_read(1, 1, 2))
    others = schema("others", ID)
    # No state is sent at the end of a long stream: the next stream's schema tells.
    loader.load(SCHEMA, activate(STREAM, 2), *rows(2, 1), others, record("others", {"id": 1}))
    assert ids(loader) == [1]


def test_a_periodic_state_is_not_the_end() -> None:
    stream = Completeness(version=1, records=STATE_FREQUENCY)
    stream.state()
    assert not stream.is_complete
    stream.records += 1
    stream.state()
    assert stream.is_complete
    stream.records += 1
    assert not stream.is_complete


def test_the_setting_turns_it_off(loader: Loader) -> None:
    loader.settings["process_activate_version_messages"] = False
    loader.load(*full_read(1, 1, 2))
    loader.load(*full_read(2, 1))
    assert ids(loader) == [1, 2]


def test_a_row_that_a_tap_reports_as_deleted_is_marked_or_removed(loader: Loader) -> None:
    reporting = schema(STREAM, ID | {"_sdc_deleted_at": {"type": ["null", "string"]}})
    gone = record(STREAM, {"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z"})
    loader.load(reporting, *rows(None, 1, 2), gone)
    assert (ids(loader), ids(loader, deleted=True)) == ([2], [1])
    loader.settings["hard_delete"] = True
    loader.load(reporting, *rows(None, 3))
    assert (ids(loader), ids(loader, deleted=True)) == ([2, 3], [])
