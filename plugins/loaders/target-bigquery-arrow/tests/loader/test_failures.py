"""What can go wrong is one clear error, exit code 1, and no state for rows that are missing."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from local_servers.emulator import running_emulator
from local_servers.loopback import free_port
from target_bigquery_arrow import table
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.target import TargetBigQueryArrow, main

from .driver import (
    Loader,
    Message,
    activate,
    batch_dir,
    files,
    lines,
    parquet,
    read_states,
    record,
    schema,
    state,
)
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
    assert line.endswith("."), "the error is one line, with its fix"
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
        ({"developer": ""}, "`developer` is ''. A developer's own datasets"),
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
    ("text", "error"),
    [
        (b'{"password": hunter2', "it is no JSON (Expecting value: line 1 column 14 (char 13))."),
        (b'["hunter2"]', "it holds no object."),
        (b'{"password": "hunter2\xff"}', "it is no JSON ('utf-8' codec can't decode byte 0xff"),
        (None, "No such file or directory."),
    ],
)
def test_a_file_of_settings_that_cannot_be_read(
    tmp_path: Path, text: bytes | None, error: str, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    if text:
        config.write_bytes(text)
    arguments = ["target-bigquery-arrow", "--config", str(config)]
    with patch.object(sys, "argv", arguments), pytest.raises(SystemExit, match="1"):
        main()
    _, log = capfd.readouterr()
    (line,) = log.splitlines()
    assert f"The file of `--config`, {config}, can't be read: {error}" in line
    assert SECRET not in line


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
        wait_until(lambda: is_locked(f"{emulator.endpoint}/local.lost.things"))
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


def test_every_stream_is_loaded_that_can_be_and_every_failure_is_named(
    loader: Loader, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = batch_dir(tmp_path)
    bad = schema("bad", {"Name": {"type": "string"}, "name": {"type": "string"}}, keys=())
    damaged = parquet(folder, {"id": [1]})
    damaged.write_bytes(b"")
    skipped, good = (parquet(folder, {"id": [number]}) for number in (1, 2))
    assert (
        loader.invoke(
            *(THINGS, ONE, state("things")),
            *(bad, record("bad", {"name": "a"}), files("BATCH", "bad", skipped, temporary=True)),
            *(schema("late", ID), record("late", {"id": "x"})),
            *(schema("damaged", ID), files("BATCH", "damaged", damaged, temporary=True)),
            record("unknown", {"id": 1}),
            *(schema("good", ID), record("good", {"id": 1})),
            files("BATCH", "good", good, temporary=True),
            *(activate("late", 1, max_delete_fraction=1), state("all")),
            record("things", {"id": 2}),
        )
        == 1
    )
    output, log = capfd.readouterr()
    assert read_states(output.encode()) == ["things"]
    errors = [line for line in log.splitlines() if "CRITICAL" in line]
    for error in (
        "Stream 'bad': properties 'Name' and 'name' would both be column 'name'",
        "Stream 'late', property 'id': \"x\" does not fit INT64",
        "Stream 'damaged': the file",
        "RECORD for stream 'unknown' came before its SCHEMA",
    ):
        assert [line for line in errors if error in line], error
    assert len(errors) == 4
    assert sorted(loader.by_id("things")) == [1, 2]
    assert sorted(loader.by_id("good")) == [1, 2]
    assert list(folder.iterdir()) == [damaged]


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([b'{"type":"RECORD","stream":"bad","record":{"at":' + DEEP + b"}}\n"], "nested too deep"),
        (
            [b'{"type":"RECORD","record":{"stream":"no","at":' + DEEP + b'},"stream":"bad"}\n'],
            "deep",
        ),
        ([b'{"type":"SCHEMA","stream":"bad","schema":{"properties":' + DEEP + b"}}\n"], "deep"),
        ([record("bad", {"id": 1, "at": "x" * 20_000})], "longer than the"),
        (
            [b'{"type":"RECORD","record":{"id":"' + b"x" * 20_000 + b'"},"stream":"bad"}'],
            "longer than the",
        ),
    ],
)
def test_a_message_without_bounds_fails_its_stream_alone(
    loader: Loader,
    bad: list[Message | bytes],
    error: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if error == "longer than the":
        monkeypatch.setattr("target_bigquery_arrow.messages.LONGEST_LINE", 10_000)
        monkeypatch.setattr("target_bigquery_arrow.messages.ENDS", 5_000)
        monkeypatch.setattr("target_bigquery_arrow.messages.READ_AT_ONCE", 1_000)
    assert loader.invoke(THINGS, ONE, schema("bad", ID), *bad) == 1
    _, log = capfd.readouterr()
    (line,) = [line for line in log.splitlines() if "CRITICAL" in line]
    assert error in line
    assert "Stream 'bad'" in line
    assert len(line) < 3_000
    assert "Traceback" not in log
    assert sorted(loader.by_id("things")) == [1]


def test_bounds_beyond_every_number_are_taken(loader: Loader) -> None:
    bounds = b'"minimum": -1%s, "maximum": 1e400' % (b"0" * 10_000)
    things = b'{"type": "SCHEMA", "stream": "things", "key_properties": ["id"], "schema": '
    things += b'{"properties": {"id": {"type": "integer", %s}}}}\n' % bounds
    loader.load(things, record("things", {"id": 10**19}))
    assert loader.columns("things") == {"id": "BIGNUMERIC"}


def test_nothing_from_a_source_reaches_the_log_as_it_is(
    loader: Loader, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "\x1b[2J\u202ethings\r\n" + "x" * 100_000
    value = "\x1b]0;owned\x07" + "y" * 1_000_000
    assert (
        loader.invoke(
            schema(name, ID),
            record(name, {"id": value, value: 1}),
            schema("days", ID | {"day": {"type": "string", "format": "date"}}),
            record("days", {"id": 1, "day": value}),
        )
        == 1
    )
    _, log = capfd.readouterr()
    assert "\\x1b[2J\\u202ethings\\r\\n" in log
    assert not set(log) & {"\x1b", "\x07", "\r", "\u202e"}
    assert all(len(line) < 3_000 for line in log.splitlines())


def test_not_enough_memory_is_a_line(
    loader: Loader, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(TargetBigQueryArrow, "listen", listen)
    assert loader.invoke(ONE) == 1
    _, log = capfd.readouterr()
    assert "There is not enough memory" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("closed", "code", "error"),
    [
        ("<&-", 1, "Standard input is closed"),
        (">&-", 1, "Standard output is closed"),
        ("2>&-", 0, ""),
    ],
)
def test_closed_standard_streams(loader: Loader, closed: str, code: int, error: str) -> None:
    config, pipe = loader.directory / "config.json", loader.directory / "pipe"
    config.write_text(json.dumps(loader.config))
    pipe.write_bytes(lines([THINGS, ONE]))
    command = Path(sys.executable).with_name("target-bigquery-arrow")
    redirect = closed if closed == "<&-" else f"<{pipe} {closed}"
    done = subprocess.run(
        ["sh", "-c", f"{command} --config {config} {redirect}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code
    assert error in done.stderr
    assert "Traceback" not in done.stderr
    assert bool(loader.tables()) == (code == 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_start_up_ends_it_at_once(number: int) -> None:
    script = f"""
import os, runpy, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "google.cloud.bigquery":
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
runpy.run_module("target_bigquery_arrow", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")


def test_files_of_a_run_that_was_killed_go_with_the_next_and_of_no_other(loader: Loader) -> None:
    killed, living = loader.start(), loader.start()
    wait_until(lambda: len(directories(loader.directory)) == 2)
    wait_until(lambda: all((path / "owner").exists() for path in directories(loader.directory)))
    killed.kill()
    killed.communicate()
    assert loader.run(THINGS, ONE).returncode == 0
    (left,) = directories(loader.directory)
    assert left.exists()
    living.communicate(timeout=30)
    assert living.returncode == 0
    assert not has_files(loader.directory)


def is_locked(resource: str) -> bool:
    try:
        table._locked(resource).release()
    except LoadError:
        return True
    return False


def directories(parent: Path) -> list[Path]:
    """Folders for Parquet files, without the one for locks."""
    locks = f"target-bigquery-arrow-{os.getuid()}"
    return [path for path in parent.glob("target-bigquery-arrow-*") if path.name != locks]


def has_files(parent: Path) -> bool:
    return bool(directories(parent))
