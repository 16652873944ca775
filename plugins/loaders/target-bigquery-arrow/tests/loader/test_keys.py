"""One live row a key, whatever became of the key, the clock or the run before."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from target_bigquery_arrow import buffer, table, warehouse
from target_bigquery_arrow.errors import LoadError

from .driver import Loader, Message, activate, record, schema, state
from .flaky_proxy import FlakyProxy, Request, flaky_proxy

PAGES = {"uri": {"type": "string"}, "id": {"type": "integer"}, "n": {"type": "integer"}}


def pages(*keys: str, **options: Any) -> Message:
    return schema("pages", PAGES, keys, **options)


def page(uri: str, n: int, id_: int | None = None, version: int | None = None) -> Message:
    return record("pages", {"uri": uri, "id": id_, "n": n}, version=version)


def loaded(loader: Loader) -> list[tuple[Any, ...]]:
    return sorted((row["uri"], row["id"], row["n"]) for row in loader.rows("pages"))


# Keys that change


def test_a_key_that_the_rows_have_is_adopted(loader: Loader) -> None:
    loader.load(pages("uri"), page("/a", 1, 10), page("/b", 2, 11))
    loader.load(pages("id"), page("/a2", 3, 10), page("/c", 4, 12), state(1))
    assert loaded(loader) == [("/a2", 10, 3), ("/b", 11, 2), ("/c", 12, 4)]


def test_a_table_that_gains_a_key_keeps_the_latest_row_of_each(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.load(pages(), page("/a", 1), page("/a", 2), page("/b", 3))
    loader.load(pages("uri"), page("/b", 4), state(1))
    assert [row[::2] for row in loaded(loader)] == [("/a", 2), ("/b", 4)]
    assert "several rows for some keys" in caplog.text
    caplog.clear()
    loader.load(pages("uri"), page("/b", 5), state(1))
    assert "several rows" not in caplog.text
    assert loader.tables() == {"pages"}


def test_a_row_marked_as_deleted_never_takes_the_place_of_a_live_one(loader: Loader) -> None:
    for version, n in ((1, 1), (2, 2)):
        loader.load(pages(), activate("pages", version), page("/a", n, version=version), state({}))
    loader.query("update pages set _sdc_deleted_at = current_timestamp() where n = 2")
    loader.query("update pages set _sdc_deleted_at = null where n = 1")
    loader.load(pages("uri"), state({}))
    assert loaded(loader) == [("/a", None, 1)]


@pytest.mark.parametrize(
    ("first", "then", "reason"),
    [
        (pages("uri"), pages("id"), "key 'id', which 2 of the table's live rows don't have"),
        (
            schema("pages", {"uri": PAGES["uri"], "n": PAGES["n"]}, ("uri",)),
            pages("id"),
            "key 'id', which none of the table's 2 live rows has",
        ),
        (pages("uri"), pages(), "no key, so that its rows would be there twice"),
    ],
)
def test_a_key_that_the_rows_lack_stops_before_anything_is_written(
    loader: Loader, first: Message, then: Message, reason: str
) -> None:
    columns = first["schema"]["properties"].keys()
    rows = [{"uri": uri, "n": n} for uri, n in (("/a", 1), ("/b", 2))]
    loader.load(first, *(record("pages", row) for row in rows))
    before = loader.query("select * from pages order by uri")
    with pytest.raises(LoadError, match=reason) as error:
        loader.load(then, page("/a", 1, 10), page("/b", 2, 11), state(1))
    assert "table-key-properties" in str(error.value)
    assert "clustered by 'uri'" in str(error.value)
    assert loader.query("select * from pages order by uri") == before
    assert set(loader.columns("pages")) == set(columns)


def test_a_key_may_change_in_the_middle_of_a_run(loader: Loader) -> None:
    loader.load(
        *(pages("uri"), page("/a", 1, 10), page("/b", 2, 11)),
        *(pages("id"), page("/a2", 3, 10), state(1)),
    )
    assert loaded(loader) == [("/a2", 10, 3), ("/b", 11, 2)]


def test_a_table_that_loses_its_key_and_is_read_whole_holds_each_row_once(loader: Loader) -> None:
    loader.load(pages("uri"), page("/a", 1), page("/b", 2))
    for version in (5, 6):
        rows = [page("/a", 1, version=version), page("/b", 3, version=version)]
        loader.load(pages(), *rows, activate("pages", version, max_delete_fraction=1), state({}))
        assert loaded(loader) == [("/a", None, 1), ("/b", None, 3)]


def test_a_table_clustered_by_other_columns_keeps_its_key(loader: Loader) -> None:
    loader.load(pages("uri"), page("/a", 1, 10))
    client = loader.emulator.client()
    clustered = client.get_table(f"local.{loader.dataset}.pages")
    clustered.clustering_fields = ["n"]
    client.update_table(clustered, ["clustering_fields"])
    loader.load(pages("uri"), page("/a", 2), state(1))
    assert loaded(loader) == [("/a", None, 2)]


def test_a_table_of_an_older_release_has_the_key_that_it_is_clustered_by(loader: Loader) -> None:
    loader.load(pages("uri"), page("/a", 1, 10))
    client = loader.emulator.client()
    unlabelled = client.get_table(f"local.{loader.dataset}.pages")
    unlabelled.labels = {warehouse.KEY_LABEL: None}
    client.update_table(unlabelled, ["labels"])
    loader.load(pages("uri"), page("/a", 2), state(1))
    with pytest.raises(LoadError, match="was loaded by another key"):
        loader.load(pages("id"), page("/a", 1, 10))


def test_doubled_keys_are_repaired_by_the_next_run(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.load(pages("uri"), page("/a", 1), page("/b", 2))
    loader.query("insert into pages select * from pages where uri = '/a'")
    assert loader.load(pages("uri"), page("/a", 3), state(1)) == [1]
    assert [row[::2] for row in loaded(loader)] == [("/a", 3), ("/b", 2)]
    assert "several rows for some keys" in caplog.text


# The clock


def test_rows_that_have_gone_are_marked_though_the_clock_went_back(loader: Loader) -> None:
    for keys, version in ((("uri",), 5), ((), 5)):
        stream = f"pages{len(keys)}"
        for number, uris in ((version, ("/a", "/b")), (version - 3, ("/a",))):
            rows = [record(stream, {"uri": uri}, version=number) for uri in uris]
            first = schema(stream, {"uri": PAGES["uri"]}, keys)
            loader.load(first, *rows, activate(stream, number, max_delete_fraction=1), state({}))
        assert [row["uri"] for row in loader.rows(stream)] == ["/a"]


def test_sequences_go_up_though_the_clock_went_back(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (3, 2, 1):
        clock = SimpleNamespace(time_ns=lambda hour=hour: hour * 3600 * 10**9)
        monkeypatch.setattr(buffer, "time", clock)
        monkeypatch.setattr(buffer, "sequence", buffer.SequenceNumbers())
        loader.load(pages(), page("/a", -hour), page("/b", -hour), state({}))
    rows = loader.query("select n from pages order by _sdc_sequence")
    assert [row["n"] for row in rows] == [-3, -3, -2, -2, -1, -1]


# What a run that was killed has left running


@pytest.fixture
def proxy(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    monkeypatch.setattr(warehouse, "PATIENCE_SECONDS", 0.3)
    with flaky_proxy(loader.emulator.port) as proxy:
        loader.settings["api_endpoint"] = proxy.endpoint
        yield proxy


def job(sql: str, state: str) -> dict[str, Any]:
    """A job as BigQuery describes it."""
    return {
        "jobReference": {
            "projectId": "local",
            "jobId": "target_bigquery_arrow_0123456789ab_pages_3_fill_0",
            "location": "US",
        },
        "status": {"state": state},
        "configuration": {"jobType": "QUERY", "query": {"query": sql, "useLegacySql": False}},
        "statistics": {"query": {"statementType": "INSERT"}},
    }


def test_a_statement_that_outlives_its_run_is_waited_for(loader: Loader, proxy: FlakyProxy) -> None:
    """Simulated: the emulator's statements end with the request."""
    loader.load(pages("uri"), page("/a", 1))
    insert = f"insert into `local.{loader.dataset}.pages` (uri, n) select '/a', 1"
    seen: list[str] = []

    def answer(request: Request) -> bytes | None:
        path = request.path.partition("/projects/local")[2]
        if path.startswith("/jobs?") and "stateFilter=running" in path:
            return json.dumps({"jobs": [job(insert, "RUNNING")]}).encode()
        if "0123456789ab" in path and request.method == "GET":
            seen.append("asked")
            done = job(insert, "DONE" if len(seen) > 2 else "RUNNING")
            done["statistics"]["totalSlotMs"] = str(len(seen))
            if "/queries/" in path:
                done |= {"jobComplete": len(seen) > 2}
            elif len(seen) == 3:
                loader.query(insert)  # the very last moment
            return json.dumps(done).encode()
        if b"merge `" in request.body:
            seen.append("merge")
        return None

    proxy.answer = answer
    assert loader.load(pages("uri"), page("/a", 2), state(1)) == [1]
    assert "merge" in seen
    assert seen.index("merge") >= 3, "the job had not ended"
    assert [row[::2] for row in loaded(loader)] == [("/a", 2)]


def test_a_job_without_progress_is_given_up(loader: Loader, proxy: FlakyProxy) -> None:
    loader.load(pages("uri"), page("/a", 1))
    stuck = job(f"insert into `local.{loader.dataset}.pages` select 1", "RUNNING")

    def answer(request: Request) -> bytes | None:
        if "/jobs?" in request.path and "running" in request.path:
            return json.dumps({"jobs": [stuck]}).encode()
        if "0123456789ab" in request.path:
            return json.dumps(stuck | {"jobComplete": False}).encode()
        return None

    proxy.answer = answer
    with pytest.raises(
        LoadError, match=r"job target_bigquery_arrow_0123456789ab_pages.* no progress"
    ):
        loader.load(pages("uri"), page("/a", 2), state(1))


def test_jobs_of_other_tables_and_other_tools_are_not_waited_for(
    loader: Loader, proxy: FlakyProxy
) -> None:
    others = [
        job("insert into `local.elsewhere.pages` select 1", "RUNNING"),
        job(f"insert into `local.{loader.dataset}.pages` select 1", "RUNNING"),
    ]
    others[1]["jobReference"]["jobId"] = "somebody_elses"

    def answer(request: Request) -> bytes | None:
        is_list = "/jobs?" in request.path and "running" in request.path
        return json.dumps({"jobs": others}).encode() if is_list else None

    proxy.answer = answer
    assert loader.load(pages("uri"), page("/a", 2), state(1)) == [1]


# Two runs at once


def test_two_runs_never_load_one_table_at_once_whatever_their_temporary_folders(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Services of systemd have a temporary folder of their own, and so may have cron."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lock = table._locked(f"{loader.emulator.endpoint}/local.{loader.dataset}.pages")
    other = loader.run(pages("uri"), page("/a", 2), state(1))
    assert b"Another run is loading" in other.stderr
    assert other.returncode == 1
    lock.release()
    assert loader.run(pages("uri"), page("/a", 2), state(1)).returncode == 0
