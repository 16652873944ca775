"""A stream that is read in full ends holding exactly what the source has, and never less."""

import pytest
from target_bigquery_arrow.errors import LoadError

from .driver import Loader, Message, activate, completed, record, schema, state

STREAM = "things"
ID = {"id": {"type": "integer"}}
SCHEMA = schema(STREAM, ID)


def rows(version: int | None, *ids: int, stream: str = STREAM) -> list[Message]:
    return [record(stream, {"id": number}, version=version) for number in ids]


def full_read(version: int, *ids: int, limit: float = 1) -> list[Message]:
    """What an extractor sends that says when it has read a stream."""
    proof = activate(STREAM, version, max_delete_fraction=limit)
    return [SCHEMA, *rows(version, *ids), proof, state({})]


def sdk_read(version: int, *ids: int) -> list[Message]:
    """What taps of the Singer SDK send: the version first, and a state when all is read."""
    return [SCHEMA, activate(STREAM, version), *rows(version, *ids), state({"bookmarks": {}})]


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


def test_without_a_key_the_newest_version_is_what_is_there(loader: Loader) -> None:
    keyless = schema(STREAM, ID, keys=())
    for version in (1, 2):
        proof = activate(STREAM, version, max_delete_fraction=0.5)
        loader.load(keyless, *rows(version, 1, 1, 2), proof, state({}))
    assert ids(loader) == [1, 1, 2]


def test_copies_that_broken_off_runs_have_left_are_no_rows_that_the_source_has_lost(
    loader: Loader,
) -> None:
    keyless = schema(STREAM, ID, keys=())

    def read(version: int, *ids: int) -> list[Message]:
        proof = activate(STREAM, version, max_delete_fraction=0.5)
        return [keyless, *rows(version, *ids), proof, state({})]

    loader.load(*read(1, 1, 2, 3, 4))
    for version, last in ((2, 4), (3, 4), (4, 2)):
        loader.load(keyless, *rows(version, *range(1, last + 1)))
    loader.load(*read(5, 1, 2, 3))
    assert ids(loader) == [1, 2, 3]
    for version in (6, 7):
        with pytest.raises(LoadError, match="2 of its 3 live rows are no longer in the source"):
            loader.load(*read(version, 1))


def test_a_tap_of_the_sdk_deletes_nothing_by_itself_whatever_comes_last(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    child = schema("children", ID)
    broken_off: dict[str, list[Message]] = {
        "before the first record": [SCHEMA, activate(STREAM, 2)],
        "among the records": [SCHEMA, activate(STREAM, 2), *rows(2, 1)],
        "by SIGTERM, which sends a state": [SCHEMA, activate(STREAM, 2), *rows(2, 1), state({})],
        "a child, in its second parent": [
            *(SCHEMA, activate(STREAM, 2), *rows(2, 1), activate(STREAM, 2)),
            state({}),
        ],
        "in the next stream": [*sdk_read(2, 1), child, activate("children", 2)],
        "nowhere": sdk_read(2, 1),
    }
    loader.load(*full_read(1, 1, 2, 3))
    for where, pipe in broken_off.items():
        caplog.clear()
        loader.load(*pipe)
        assert ids(loader) == [1, 2, 3], where
        warnings = [line for line in caplog.messages if "counts as deleted" in line]
        assert len(warnings) == 1, where
        assert warnings[0].startswith(f"No row of '{STREAM}'"), where
    loader.load(*full_read(3, 1, 3))
    assert ids(loader) == [1, 3]


def test_an_end_with_exit_code_0_is_proof_where_everything_was_read_in_full(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.settings["max_delete_fraction"] = 1
    loader.load(*full_read(1, 1, 2, 3))
    others, other = schema("others", ID), record("others", {"id": 1})
    in_the_middle = state({"bookmarks": {}, "currently_syncing": STREAM})
    resumed = state({"bookmarks": {"parents": {"replication_key_value": 7}}})
    unproven: dict[str, list[Message]] = {
        "did not read 'others' in full": [*sdk_read(2, 1), others, other],
        "a stream is still being synced": [*sdk_read(2, 1), in_the_middle],
        "has a bookmark of 'parents'": [*sdk_read(2, 1), resumed],
        "has no `bookmarks`": [*sdk_read(2, 1), state(["somewhere"])],
    }
    for reason, pipe in unproven.items():
        loader.load(*pipe, completed())
        assert ids(loader) == [1, 2, 3]
        assert reason in caplog.text
    loader.load(*sdk_read(2, 1), completed(), *rows(2, 3))
    assert ids(loader) == [1, 2, 3]

    of_children = state({"bookmarks": {STREAM: {"partitions": [{"context": {"parent": 1}}]}}})
    loader.load(*sdk_read(3, 1), of_children, completed())
    assert ids(loader) == [1]


def test_the_user_can_vouch_for_a_tap_unless_it_is_seen_to_send_versions_early(
    loader: Loader,
) -> None:
    loader.settings |= {"version_follows_records": True, "max_delete_fraction": 1}
    loader.load(SCHEMA, *rows(1, 1, 2, 3), activate(STREAM, 1), state({}))
    early = [SCHEMA, activate(STREAM, 2), *rows(2, 1), activate(STREAM, 2), state({})]
    loader.load(*early)
    assert ids(loader) == [1, 2, 3]
    loader.load(SCHEMA, *rows(3, 1), activate(STREAM, 3), *rows(3, 2), state({}))
    assert ids(loader) == [1, 2, 3]
    loader.load(SCHEMA, *rows(4, 1), activate(STREAM, 4), state({}))
    assert ids(loader) == [1]


def test_the_guard_of_the_loader_holds_for_taps_that_send_none(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.load(*full_read(1, 1, 2, 3))
    with pytest.raises(LoadError, match=r"2 of its 3 live rows .* `max_delete_fraction` \(0.5\)"):
        loader.load(*sdk_read(2, 1), completed())
    with pytest.raises(LoadError, match=r"`max_delete_fraction` \(0.1\)"):
        loader.load(*full_read(3, 1, 2, limit=0.1))
    assert ids(loader) == [1, 2, 3]
    assert "counts as deleted" not in caplog.text, "there was proof"
    # As Meltano hands on what a variable of the environment says.
    loader.settings["max_delete_fraction"] = "0.7"
    loader.load(*sdk_read(4, 1), completed())
    assert ids(loader) == [1]
    loader.load(*sdk_read(4, 1, 2), completed())
    assert ids(loader) == [1, 2]


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


def test_a_row_that_a_tap_reports_as_deleted_keeps_what_it_held(loader: Loader) -> None:
    """Such a record may be no more than the key."""
    properties = {
        "name": {"type": ["null", "string"]},
        "tags": {"type": ["null", "array"], "items": {"type": "string"}},
        "more": {"type": ["null", "object"]},
        "_sdc_deleted_at": {"type": ["null", "string"], "format": "date-time"},
    }
    reporting = schema(STREAM, ID | properties)
    first = {"id": 1, "name": "One", "tags": ["a"], "more": {"b": 2}}
    loader.load(reporting, record(STREAM, first), record(STREAM, first | {"id": 2}))
    gone = {"_sdc_deleted_at": "2024-01-01T00:00:00Z"}
    loader.load(
        reporting,
        record(STREAM, {"id": 1, **gone}),
        record(STREAM, {"id": 2, "name": "Two", **gone}),
        record(STREAM, {"id": 3, **gone}),
    )
    held = f"select id, name, tags, json_value(more.b) as b from {STREAM} order by id"
    assert [tuple(row.values()) for row in loader.query(held)] == [
        (1, "One", ["a"], "2"),
        (2, "Two", ["a"], "2"),
        (3, None, [], None),
    ]
    loader.load(reporting, record(STREAM, {"id": 1, "name": None}))
    assert [row["name"] for row in loader.rows(STREAM)] == [None]
