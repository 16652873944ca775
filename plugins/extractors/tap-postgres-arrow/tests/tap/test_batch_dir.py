"""Files wait for the loader in a private folder, and nothing is left of it in the end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tap_postgres_arrow import batch_dir
from tap_postgres_arrow.batch_dir import BatchDir
from tap_postgres_arrow.errors import TapError
from tap_postgres_arrow.output import Output

from .pipeline import Pipeline


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(batch_dir.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def new_batch_dir(batch_bytes: int = 2**20) -> BatchDir:
    return BatchDir(batch_bytes, Output(print))


def sent(files: BatchDir, size: int = 1) -> Path:
    path = files.new_path()
    path.write_bytes(b"x" * size)
    files.announce([path.as_uri()])
    return path


def load(path: Path) -> None:
    """What the loader does once it has loaded a file."""
    path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def test_a_loader_that_is_faster_than_the_tap_leaves_it_its_folder(folder: Path) -> None:
    files = new_batch_dir()
    load(sent(files))
    last = sent(files)
    files.close()
    load(last)
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("folder")
def test_what_was_not_sent_goes_with_the_tap() -> None:
    files = new_batch_dir()
    waiting = sent(files)
    files.new_path().write_bytes(b"half of a")
    files.close()
    assert list(waiting.parent.iterdir()) == [waiting]


def test_only_the_user_may_look_into_it(folder: Path) -> None:
    new_batch_dir()
    (private,) = folder.iterdir()
    assert private.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("folder")
def test_the_tap_waits_for_a_loader_that_has_too_much_to_do() -> None:
    files = new_batch_dir(batch_bytes=100)
    first = sent(files)
    for _ in range(batch_dir.FILES_WAITING + 1):
        last = sent(files, size=100)
    files.wait_for_room()  # nobody has been seen to remove any
    load(first)
    waiting = threading.Thread(target=files.wait_for_room)
    waiting.start()
    time.sleep(0.3)
    assert waiting.is_alive()
    load(last)
    waiting.join(timeout=5)
    assert not waiting.is_alive()


# A run that is stopped while it makes its folder.
STOPPED = """
import os, signal, sys
from tap_postgres_arrow import batch_dir
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
batch_dir.fcntl.flock = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
batch_dir.BatchDir(2**20, batch_dir.Output(print))
"""


def test_a_run_that_is_stopped_while_it_begins_leaves_no_folder(folder: Path) -> None:
    environment = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", STOPPED], env=environment, check=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []


# A run whose starter lives on unless it is killed too, as Meltano's does; its output is read by a
# loader, or is in a file.
RUN = """
import os, sys, time
if os.fork() == 0:
    from tap_postgres_arrow.batch_dir import BatchDir
    from tap_postgres_arrow.output import Output
    files = BatchDir(2**20, Output(print))
    path = files.new_path()
    path.touch()
    files.announce([path.as_uri()])
    if "ends" in sys.argv:
        files.close()
    os.write(2, path.parent.name.encode() + b"\\n")
    if "ends" in sys.argv:
        os._exit(0)
time.sleep(99)
"""


class Run:
    def __init__(self, folder: Path, *how: str, stdout: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *how],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(folder)},
            start_new_session=True,
        )
        assert self.process.stderr
        self.left = folder / self.process.stderr.readline().decode().strip()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.read()  # until both are gone

    def stop_reading(self) -> None:
        if self.process.stdout:
            self.process.stdout.close()


@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_what_a_run_has_left_is_removed_by_the_next_once_nobody_can_want_it(
    folder: Path, how: str
) -> None:
    run = Run(folder, how)
    try:
        new_batch_dir()
        assert run.left.exists(), "the run goes on"
    finally:
        run.kill()
    new_batch_dir()
    assert run.left.exists(), "its loader goes on"
    run.stop_reading()
    new_batch_dir()
    assert not run.left.exists()


def test_the_files_of_a_starter_that_lives_are_left_to_its_loader(folder: Path) -> None:
    """Meltano has read all that the tap wrote; the loader that it feeds is not done yet."""
    run = Run(folder, "ends")
    run.stop_reading()
    try:
        new_batch_dir()
        assert run.left.exists()
    finally:
        run.kill()


@pytest.mark.parametrize(("how", "is_left"), [("ends", True), ("is killed", False)])
def test_messages_in_a_file_may_be_loaded_later_unless_they_break_off(
    folder: Path, how: str, is_left: bool
) -> None:
    run = Run(folder, how, stdout=subprocess.DEVNULL)
    run.kill()
    new_batch_dir()
    assert run.left.exists() == is_left
    age = time.time() - batch_dir.ABANDONED_SECONDS - 60
    if is_left:
        os.utime(run.left, (age, age))
        new_batch_dir()
        assert not run.left.exists()


def test_a_stream_that_fails_leaves_no_half_file(pipeline: Pipeline) -> None:
    pipeline.settings["batch_bytes"] = 2**20
    pipeline.sql(
        "create table t (id int primary key, noise text, n numeric(9, 2))",
        "insert into t select g, repeat(gen_random_uuid()::text, 9), nullif(g, 50000)::numeric / 9 "
        "from generate_series(1, 50000) g",
        "update t set n = 'NaN' where id = 50000",
    )
    with pytest.raises(TapError):
        pipeline.run()
    left = {path.name for path in pipeline.directory.glob(f"{batch_dir.PREFIX}*/*")}
    announced = pipeline.directory.glob(f"{batch_dir.PREFIX}*/in-use")
    assert not list(announced)
    assert len(left) <= 6, "only what a BATCH message has given away"
