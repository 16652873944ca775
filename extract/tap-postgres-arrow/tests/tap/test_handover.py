"""Files wait for the loader in a private folder, and nothing is left of it in the end."""

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest
from tap_postgres_arrow import handover
from tap_postgres_arrow.handover import Handover
from tap_postgres_arrow.output import Output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(handover.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def new_handover(batch_bytes: int = 2**20) -> Handover:
    return Handover(batch_bytes, Output(print))


def sent(files: Handover, size: int = 1) -> Path:
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
    files = new_handover()
    load(sent(files))
    last = sent(files)
    files.close()
    load(last)
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("folder")
def test_what_was_not_sent_goes_with_the_tap() -> None:
    files = new_handover()
    waiting = sent(files)
    files.new_path().write_bytes(b"half of a")
    files.close()
    assert list(waiting.parent.iterdir()) == [waiting]


def test_only_the_user_may_look_into_it(folder: Path) -> None:
    new_handover()
    (private,) = folder.iterdir()
    assert private.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("folder")
def test_the_tap_waits_for_a_loader_that_has_too_much_to_do() -> None:
    files = new_handover(batch_bytes=100)
    first = sent(files)
    for _ in range(handover.FILES_WAITING + 1):
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


def test_what_killed_runs_have_left_is_removed_a_day_later(folder: Path) -> None:
    for name, age in {"old": handover.ABANDONED_SECONDS + 60, "new": 60}.items():
        left = folder / f"{handover.PREFIX}{name}"
        left.mkdir()
        (left / "1.parquet").touch()
        os.utime(left, (time.time() - age, time.time() - age))
    new_handover()
    names = {path.name for path in folder.iterdir()}
    assert f"{handover.PREFIX}new" in names
    assert f"{handover.PREFIX}old" not in names
