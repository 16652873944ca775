"""One stream is read anew: whatever breaks off, the source's state tells what BigQuery holds."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from stack import bridge, manifests
from stack.project import Plugin, Project, Setting, Source
from stack.streams import reread
from stack.streams.catalog import Catalog, Stream
from stack.streams.reread import Beginning, Reread, beginning, find, parse
from stack.streams.state import ChangedError, adopt, bookmarks, carry, drop, owner, prepare
from stack.terminal import StackError

STRIPE = ("charges", "invoices", "invoice_items", "invoice_line_items")
MAIN, TEMPORARY = "prod:tap-x-to-target-y", "prod:tap-x-to-target-y:resync-invoices"
NOW = datetime(2026, 1, 31, tzinfo=UTC)


class States:
    """Meltano's state service, in memory."""

    def __init__(self, **main: Any) -> None:
        self.states = {MAIN: {"singer_state": {"bookmarks": main}}} if main else {}

    def get_state(self, state_id: str) -> Any:
        return copy.deepcopy(self.states.get(state_id, {}))

    def set_state(self, state_id: str, state: str) -> None:
        self.states[state_id] = json.loads(state)

    def clear_state(self, state_id: str) -> None:
        self.states.pop(state_id, None)

    def run(self, **new: Any) -> None:
        """Do as a re-read does."""
        self.states[TEMPORARY] = {"singer_state": {"bookmarks": new}}


def request(stream: str, streams: Any = STRIPE, **more: Any) -> dict[str, Any]:
    return {"main": MAIN, "temporary": TEMPORARY, "stream": stream, "streams": streams} | more


def plugin(**settings: Any) -> Plugin:
    found = {
        name: Setting(name, value, value, "meltano_yml", False, None)
        for name, value in settings.items()
    }
    return Plugin("extractors", "tap-x", None, "x", "X", None, "", {}, found)


def stream(name: str = "items", key: str | None = "updated_at", **other: Any) -> Stream:
    facts = {
        "method": "INCREMENTAL",
        "keys": ["id"],
        "is_selected": True,
        "properties": {
            "id": {"type": "integer"},
            "updated_at": {"type": ["null", "string"], "format": "date-time"},
            "day": {"type": "string", "format": "date"},
        },
        "selected": ["id", "updated_at", "day"],
    }
    return Stream(name=name, replication_key=key, **(facts | other))


def test_a_second_bookmark_belongs_to_its_stream_and_a_parents_is_its_own() -> None:
    assert owner("charges_events", STRIPE) == "charges"
    assert owner("invoice_line_items_events", STRIPE) == "invoice_line_items"
    assert owner("invoice_items", STRIPE) == "invoice_items"
    assert owner("refunds", STRIPE) is None
    parents = ("conversations", "conversation_parts")
    assert owner("conversation_parts", parents) == "conversation_parts"


def test_only_the_bookmarks_of_the_stream_are_taken_over() -> None:
    states = States(charges={"created": 1}, invoices={"date": 1}, invoices_events={"at": 1})
    states.states[MAIN]["singer_state"]["currently_syncing"] = None
    before = prepare(states, request("invoices", seed=None))
    # A tap that reads a stream's parent, or child, moves its bookmark too.
    states.run(invoices={"date": 9}, invoices_events={"at": 9}, charges={"created": 9})
    adopt(states, request("invoices", before=before))
    assert states.states == {
        MAIN: {
            "singer_state": {
                "bookmarks": {
                    "charges": {"created": 1},
                    "invoices": {"date": 9},
                    "invoices_events": {"at": 9},
                },
                "currently_syncing": None,
            }
        }
    }


def test_a_re_read_that_was_killed_has_left_nothing_that_the_next_one_begins_with() -> None:
    states = States(invoices={"date": 1})
    prepare(states, request("invoices", seed=None))
    states.run(invoices={"date": 5})
    main = copy.deepcopy(states.states[MAIN])
    prepare(states, request("invoices", seed=None))
    assert states.states == {MAIN: main}


def test_a_run_that_came_between_is_noticed_and_its_bookmark_stays() -> None:
    states = States(invoices={"date": 1})
    before = prepare(states, request("invoices", seed=None))
    states.states[MAIN]["singer_state"]["bookmarks"]["invoices"] = {"date": 7}
    states.run(invoices={"date": 5})
    with pytest.raises(ChangedError):
        adopt(states, request("invoices", before=before))
    assert bookmarks(states.get_state(MAIN), "invoices", STRIPE) == {"invoices": {"date": 7}}


def test_until_the_new_bookmark_is_there_postgres_compares_all_keys() -> None:
    users = {"replication_key": "xmin", "replication_key_value": 700, "rows": 20}
    states = States(users=users, teams=users)
    before = prepare(states, request("users", ["users", "teams"], seed=None))
    found = states.get_state(MAIN)["singer_state"]["bookmarks"]
    assert found == {"users": {k: v for k, v in users.items() if k != "rows"}, "teams": users}
    states.run(users=users | {"replication_key_value": 800})
    adopt(states, request("users", ["users", "teams"], before=before))
    found = states.get_state(MAIN)["singer_state"]["bookmarks"]
    assert found == {"users": users | {"replication_key_value": 800}, "teams": users}


def test_a_stream_without_bookmarks_leaves_the_state_as_it_was() -> None:
    states = States(charges={"created": 1})
    before = prepare(states, request("tags", ["charges", "tags"], seed=None))
    states.run()
    adopt(states, request("tags", ["charges", "tags"], before=before))
    assert states.states == {MAIN: {"singer_state": {"bookmarks": {"charges": {"created": 1}}}}}


def test_a_backfill_begins_with_its_seed_and_leaves_no_trace() -> None:
    states = States(invoices={"date": 5})
    main, seed = states.get_state(MAIN), {"singer_state": {"bookmarks": {"invoices": {"date": 1}}}}
    prepare(states, request("invoices", seed=seed))
    assert states.get_state(TEMPORARY) == seed
    drop(states, request("invoices"))
    assert states.states == {MAIN: main}


def rotated(token: str) -> dict[str, Any]:
    return {"refresh_token": token}


@pytest.mark.parametrize("ending", [adopt, drop, carry, prepare])
def test_a_token_that_a_re_read_has_rotated_is_the_source_s_however_it_ends(ending: Any) -> None:
    states = States(invoices={"date": 5}, airbyte_config=rotated("first"))
    before = prepare(states, request("invoices", seed=None))
    (begun,) = states.get_state(TEMPORARY)["singer_state"]["bookmarks"].items()
    assert begun == ("airbyte_config", rotated("first"))
    states.run(invoices={"date": 9}, airbyte_config=rotated("second"))
    ending(states, request("invoices", before=before, seed=None))
    bookmarks = states.get_state(MAIN)["singer_state"]["bookmarks"]
    assert bookmarks["airbyte_config"] == rotated("second")
    assert bookmarks["invoices"] == {"date": 9 if ending is adopt else 5}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31T12:00:00Z", datetime(2025, 1, 31, 12, tzinfo=UTC)),
        ("2025-01-31T12:00:00+02:00", datetime(2025, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31", NOW),
    ],
)
def test_a_date_is_utc_unless_it_says_otherwise(text: str, moment: datetime) -> None:
    assert parse(text, NOW) == moment


@pytest.mark.parametrize(
    ("text", "said"),
    [("31.1.2025", "as 2025-01-31"), ("2025-02-30", "no such"), ("2026-02-01", "future")],
)
def test_what_is_no_date_of_the_past_is_an_error(text: str, said: str) -> None:
    with pytest.raises(StackError, match=said):
        parse(text, NOW)


def test_a_tap_with_a_start_date_is_told_by_it() -> None:
    found = beginning(stream(key=None), None, plugin(start_date="2020-01-01"), NOW)
    assert found.state is None
    assert found.variables == {"TAP_X_START_DATE": "2026-01-31T00:00:00Z"}


@pytest.mark.parametrize(
    ("now", "written"),
    [("2020-01-01", "2026-01-31"), ("2020-01-01T00:00:00Z", "2026-01-31T00:00:00Z")],
)
@pytest.mark.parametrize(
    "start",
    [
        "{{ config['since'] }}",
        {"type": "MinMaxDatetime", "datetime": '{{ config["since"] }}'},
        "{{ format_datetime(config.get('since', '2020-01-01'), '%Y-%m-%d') }}",
        "{{ config.since }}",
    ],
)
def test_a_manifest_says_by_which_setting_its_streams_begin(
    now: str, written: str, start: Any
) -> None:
    cursor = {"type": "DatetimeBasedCursor", "start_datetime": start}
    found = manifests.start_settings({"streams": [{"incremental_sync": cursor}]})
    assert found == {"config.since"}
    extractor = plugin(**{"config.since": now})
    begins = beginning(stream(), "updated_at", extractor, NOW, found)
    assert begins == Beginning(None, {"TAP_X_CONFIG_SINCE": written})


@pytest.mark.parametrize(
    ("key", "value"), [("updated_at", "2026-01-31T00:00:00Z"), ("day", "2026-01-31")]
)
def test_another_tap_is_told_by_a_bookmark_in_both_shapes(key: str, value: str) -> None:
    found = beginning(stream(key=key), key, plugin(host="x"), NOW)
    assert found.variables == {}
    assert bookmarks(found.state or {}, "items", ["items"]) == {
        "items": {"replication_key": key, "replication_key_value": value, key: value}
    }


@pytest.mark.parametrize(
    ("one", "key"),
    [(stream(key="xmin"), "xmin"), (stream(key="id"), "id"), (stream(key=None), None)],
)
def test_where_a_date_means_nothing_a_backfill_is_refused(one: Stream, key: str | None) -> None:
    with pytest.raises(StackError, match="a date means nothing"):
        beginning(one, key, plugin(), NOW)


def test_a_stream_that_is_read_whole_has_no_date_whatever_settings_there_are() -> None:
    with pytest.raises(StackError, match="whole, by each run, where a date means nothing"):
        beginning(stream(method="FULL_TABLE"), None, plugin(start_date="2020-01-01"), NOW)


def test_rows_without_a_key_are_not_read_twice() -> None:
    source = Source("x", Path("/p/extract/x.meltano.yml"), plugin(), plugin(), "x", "", None, None)
    project = Project()
    project.root = Path("/p")
    keyless = stream(keys=[])
    with pytest.raises(StackError, match=r"table-key-properties: \[id\].*drop the table"):
        Reread(project, source, keyless, ["items"], None).require_no_doubles()
    whole = stream(keys=[], method="FULL_TABLE")
    Reread(project, source, whole, ["items"], None).require_no_doubles()


def test_a_stream_is_found_by_its_tables_name_too() -> None:
    source = Source("x", Path("x"), plugin(), plugin(), "x", "", None, None)
    users = stream("public-users")
    catalog = Catalog(NOW, {"public-users": users})
    assert find(catalog, "users", source) is find(catalog, "public-users", source) is users
    assert find(catalog, "teams", source) is None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were asked for their catalog: it then has a stream `late`."""
    project = Project()
    project.root = Path("/p")
    loader = plugin()
    notes = Source("x", Path("/p/extract/x.meltano.yml"), loader, loader, "x", "", None, None)
    project.__dict__["sources"] = {"x": notes}
    found = [stream("items"), stream("drafts", is_selected=False)]
    names: list[str] = []

    def discover(source: Source) -> None:
        names.append(source.name)
        found.append(stream("late"))

    def history(_: list[Source]) -> Mock:
        catalog = Catalog(NOW, {one.name: one for one in found})
        return Mock(**{"catalog.return_value": catalog, "last_run.return_value": None})

    monkeypatch.setattr(reread, "Project", lambda **_: project)
    monkeypatch.setattr(reread, "RunHistory", history)
    monkeypatch.setattr(reread, "discover", discover)
    return names


def test_a_source_is_asked_only_for_a_stream_that_its_last_run_did_not_know(
    asked: list[str],
) -> None:
    assert Reread.of("x", "items").stream.name == "items"
    assert asked == []
    assert Reread.of("x", "late").stream.name == "late"
    assert asked == ["x"]


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("y", "items", r"No source 'y'.*There are: x\."),
        ("x", "nothing", r"x has no stream 'nothing'\. Selected are: items, late\."),
        ("x", "drafts", r"Add `drafts\.\*` to `select` in extract/x\.meltano\.yml"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_what_is(
    source: str, name: str, said: str
) -> None:
    with pytest.raises(StackError, match=said):
        Reread.of(source, name)


def test_a_variable_is_called_as_meltano_calls_it() -> None:
    assert plugin().variable("_select_filter") == "TAP_X__SELECT_FILTER"


@pytest.mark.parametrize(
    ("metadata", "entry", "keys", "replication_key"),
    [
        ({}, {"key_properties": ["id"]}, ["id"], None),
        ({"table-key-properties": ["a", "b"]}, {"key_properties": ["id"]}, ["a", "b"], None),
        ({"view-key-properties": ["id"]}, {"key_properties": []}, ["id"], None),
        ({"view-key-properties": ["a"]}, {"key_properties": ["id"]}, ["id"], None),
        ({"replication-key": "at"}, {"replication_key": "on"}, [], "at"),
        ({"valid-replication-keys": ["at"]}, {}, [], "at"),
        ({"valid-replication-keys": ["at", "on"]}, {}, [], None),
    ],
)
def test_a_catalogs_entry_tells_the_keys_that_a_run_uses(
    metadata: dict[str, Any], entry: dict[str, Any], keys: list[str], replication_key: str | None
) -> None:
    found = bridge.stream_facts(
        {
            "tap_stream_id": "x",
            "schema": {"properties": {"id": {}}},
            "metadata": [{"breadcrumb": [], "metadata": metadata}],
            **entry,
        },
        {"id"},
    )
    assert found["keys"] == keys
    assert found["replication_key"] == replication_key
