"""What can go wrong is one clear error, exit code 1, and no state for rows that aren't there."""

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from sandbox.testing import free_port
from sandbox.testing.emulator import running_emulator
from target_bigquery_arrow.errors import LoadError

from .driver import Loader, Message, activate, lines, record, schema, state
from .waiting import wait_until

ID = {"id": {"type": "integer"}}
THINGS = schema("things", ID | {"at": {"type": "string", "format": "date-time"}})
ONE = record("things", {"id": 1})
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("pipe", "error"),
    [
        ([ONE], "RECORD for stream 'things' came before its SCHEMA"),
        ([activate("things", 1)], "ACTIVATE_VERSION for stream 'things' came before its SCHEMA"),
        ([THINGS, b'{"type": "RECORD", "stream"\n'], "Line 2 of the input is not a Singer message"),
        (
            [THINGS, record("things", {"id": "x"})],
            "'things', property 'id': \"x\" does not fit INT64",
        ),
        ([THINGS, record("things", {"id": 2**63})], "property 'id': 9223372036854775808 does not"),
        (
            [THINGS, record("things", {"id": 1, "at": "soon"})],
            "'at': 'soon' does not fit TIMESTAMP",
        ),
        ([THINGS, record("things", [1])], "'things': a RECORD can't be read"),
        (
            [THINGS, b'{"type":"RECORD","stream":"things","record":{"id":1,"at":"\xff"}}\n'],
            "property 'at': \"�\" does not fit TIMESTAMP",
        ),
        ([THINGS, record("things", {"id": 1}, time_extracted="soon")], "property 'time_extracted'"),
        ([THINGS, record("things", {})], "key property 'id' is missing or null in 1 of 1 records"),
        ([THINGS, ONE, record("things", {"id": None})], "'id' is missing or null in 1 of 2"),
        ([schema("things", ID, ["ID"])], "key property 'ID' is not in its SCHEMA message"),
        ([schema("things", {"id": {}})], "key property 'id' is of type JSON"),
        ([schema("things", {"id": {"type": "number"}})], "key property 'id' is of type FLOAT64"),
        ([schema("things", {})], "'things': its SCHEMA message has no properties"),
        (
            [THINGS, ONE, activate("things", 1, max_delete_fraction=1), state({})],
            "'things': ACTIVATE_VERSION 1 would delete",
        ),
    ],
)
def test_bad_input(
    loader: Loader,
    pipe: list[Message | bytes],
    error: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert loader.invoke(*pipe) == 1
    output, log = capfd.readouterr()
    assert output == "", "state has moved"
    assert error in log
    assert "Traceback" not in log
    (line,) = [line for line in log.splitlines() if error in line]
    assert line.endswith("."), "the error is one line, with its mend"
    if not any(isinstance(message, dict) and message["type"] == "STATE" for message in pipe):
        assert not loader.tables(), "something is half-loaded"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"dataset": ""}, "'' should be non-empty in config['dataset']"),
        ({"api_endpoint": ""}, "'' should be non-empty in config['api_endpoint']"),
        ({"project": None}, "'project' is a required property"),
        ({"schema_drift": "ignore"}, "'ignore' is not one of ['evolve', 'freeze', 'fail']"),
        ({"batch_byte": 1}, "'batch_byte' was unexpected"),
        ({"api_endpoint": None}, "`anonymous` is for emulators"),
        ({"anonymous": False}, "no usable credentials"),
        ({"anonymous": False, "credentials_path": "no.json"}, "`credentials_path`: no.json is not"),
        ({"api_endpoint": "127.0.0.1:9050"}, "Check `api_endpoint`: it should read like http://"),
        ({"developer": ""}, "`developer` is '', which has no letter"),
        ({"developer": "x" * 1024}, "characters, BigQuery takes 1024"),
        ({"maximum_bytes_billed": 0}, "0 is less than the minimum of 1"),
        ({"location": "EU"}, "is in location US, not EU. Correct the loader's `location`"),
    ],
)
def test_bad_settings(
    loader: Loader,
    settings: dict[str, Any],
    error: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(loader.directory))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    loader.emulator.client().create_dataset(loader.dataset)
    loader.settings |= settings
    assert loader.invoke(THINGS, ONE, state({})) == 1
    output, log = capfd.readouterr()
    assert output == ""
    assert error in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"id": None}, "`stream_maps` failed on a record (TypeError"),
        ([1], "Stream 'things': a RECORD can't be read"),
    ],
)
def test_a_record_that_a_stream_map_cannot_take(
    loader: Loader, values: Any, error: str, capfd: pytest.CaptureFixture[str]
) -> None:
    loader.settings["stream_maps"] = {"things": {"next": "int(id + 1)"}}
    assert loader.invoke(THINGS, record("things", values), state({})) == 1
    output, log = capfd.readouterr()
    assert output == ""
    assert error in log
    assert "Traceback" not in log


def test_a_key_file_that_is_none_is_refused_without_showing_it(
    loader: Loader, capfd: pytest.CaptureFixture[str]
) -> None:
    key = loader.directory / "key.json"
    key.write_text(json.dumps({"type": "service_account", "private_key": SECRET}))
    loader.settings |= {"anonymous": False, "credentials_path": str(key)}
    assert loader.invoke(THINGS) == 1
    log = capfd.readouterr().err
    assert str(key) in log
    assert SECRET not in log


def test_schema_drift_fail_refuses_properties_that_are_not_in_the_schema(loader: Loader) -> None:
    loader.settings["schema_drift"] = "fail"
    with pytest.raises(LoadError, match="'extra'"):
        loader.load(THINGS, record("things", {"id": 1, "extra": 1}))


def test_schema_drift_freeze_leaves_new_columns_out(loader: Loader) -> None:
    loader.load(schema("things", ID), ONE)
    loader.settings["schema_drift"] = "freeze"
    loader.load(THINGS, record("things", {"id": 2, "at": "2024-01-01T00:00:00Z"}))
    assert loader.by_id("things") == {1: {"id": 1}, 2: {"id": 2}}


def test_one_stream_that_fails_keeps_the_state_back_and_leaves_the_others_loaded(
    loader: Loader, capfd: pytest.CaptureFixture[str]
) -> None:
    # A column that the loader doesn't know of, and that may not be null.
    loader.emulator.client().create_dataset(loader.dataset)
    loader.query("create table refusing (id int64, needed int64 not null)")
    assert (
        loader.invoke(
            schema("others", ID),
            record("others", {"id": 1}),
            schema("refusing", ID),
            record("refusing", {"id": 1}),
            state({"moved": True}),
        )
        == 1
    )
    output, log = capfd.readouterr()
    assert output == ""
    assert "refusing" in log.splitlines()[-1]
    assert loader.rows("others") == [{"id": 1}]


def test_nothing_listens_at_the_endpoint(loader: Loader, capfd: pytest.CaptureFixture[str]) -> None:
    loader.settings |= {"retry_seconds": 0.5, "api_endpoint": f"http://127.0.0.1:{free_port()}"}
    assert loader.invoke(THINGS, ONE, state({})) == 1
    output, log = capfd.readouterr()
    assert output == ""
    assert "did not answer within 0.5 s" in log
    assert "Connection refused" in log
    assert "`meltano invoke sandbox up` starts it" in log


def test_a_warehouse_that_goes_away_keeps_the_state_back_and_the_next_run_mends_it(
    tmp_path: Path,
) -> None:
    with running_emulator(tmp_path) as emulator:
        loader = Loader(emulator, "lost", tmp_path, {"retry_seconds": 1})
        loader.load(THINGS, ONE, state({"row": 1}))
        run = loader.start()
        assert run.stdin
        run.stdin.write(lines([THINGS, record("things", {"id": 2})]))
        run.stdin.flush()
        wait_until(lambda: any(tmp_path.glob("target-bigquery-arrow-*/*.lock")))
        emulator.stop()
        output, log = run.communicate(lines([state({"row": 2})]), timeout=60)
        assert (run.returncode, output) == (1, b"")
        assert b"did not answer within 1 s" in log
        assert b"Traceback" not in log
        emulator.start()
        assert loader.load(THINGS, record("things", {"id": 2}), state({"row": 2})) == [{"row": 2}]
        assert sorted(loader.by_id("things")) == [1, 2]


def test_sigterm_ends_the_run_at_once_without_state_or_files(loader: Loader) -> None:
    run = loader.start()
    assert run.stdin
    run.stdin.write(lines([THINGS, ONE, state({"row": 1})]))
    run.stdin.flush()
    wait_until(lambda: has_files(loader.directory))
    run.terminate()
    output, _ = run.communicate(timeout=10)
    assert (run.returncode, output) == (128 + signal.SIGTERM, b"")
    assert not has_files(loader.directory)


def test_a_reader_of_states_that_has_gone_is_an_error(loader: Loader) -> None:
    run = loader.start()
    assert run.stdout
    run.stdout.close()
    run.stdout = None
    run.communicate(lines([THINGS, ONE, state({"row": 1})]), timeout=30)
    assert run.returncode == 1
    assert not has_files(loader.directory)
    assert sorted(loader.by_id("things")) == [1]


def test_a_full_disk_is_named(loader: Loader) -> None:
    run = loader.start()
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    rows = (record("things", {"id": number}) for number in range(50_000))
    output, log = run.communicate(lines([THINGS, *rows]), timeout=30)
    assert (run.returncode, output) == (1, b"")
    assert f"can't write to {loader.directory}" in log.decode()
    assert b"set TMPDIR to a larger disk" in log
    assert not has_files(loader.directory)


def test_files_are_private(loader: Loader) -> None:
    run = loader.start()
    assert run.stdin
    wait_until(lambda: has_files(loader.directory))
    (directory,) = directories(loader.directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    run.communicate(timeout=10)
    assert not directory.exists()


def test_two_runs_never_load_one_table_at_once(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(loader.directory))
    monkeypatch.setattr("tempfile.tempdir", None)
    run = loader.start()
    assert run.stdin
    run.stdin.write(lines([THINGS]))
    run.stdin.flush()
    wait_until(lambda: any(loader.directory.glob("target-bigquery-arrow-*/*.lock")))
    with pytest.raises(LoadError, match="Another run is loading"):
        loader.load(THINGS, ONE)
    run.kill()
    run.communicate()
    loader.load(THINGS, ONE)


def directories(parent: Path) -> list[Path]:
    """Folders for Parquet files, without the one for locks."""
    locks = f"target-bigquery-arrow-{os.getuid()}"
    return [path for path in parent.glob("target-bigquery-arrow-*") if path.name != locks]


def has_files(parent: Path) -> bool:
    return bool(directories(parent))
