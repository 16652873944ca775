"""However a command ends, it says so in a line; and no text of others is a terminal's command."""

import os
import signal
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from stack import cli, scratch
from stack.check.command import show
from stack.check.report import failed
from stack.terminal import LONGEST_LINE, StackError, plain

ROOT = Path(__file__).resolve().parents[5]
STACK = ROOT / ".venv" / "bin" / "stack"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\r\x08\x7f\u202e\ud800"


@given(st.text(st.characters()))
def test_plain_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    found = plain(text)
    assert {unicodedata.category(one) for one in found if one not in "\t\n"}.isdisjoint(
        {"Cc", "Cs"}
    )
    assert plain(found) == found
    found.encode()


@given(st.text(st.characters(exclude_categories=["C"]), max_size=200))
def test_what_is_plain_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_a_giant_line_ends_and_says_what_is_missing() -> None:
    lines = plain(f"one\n{'x' * 10_000_000}\nthree").split("\n")
    assert [lines[0], lines[2]] == ["one", "three"]
    assert len(lines[1]) < LONGEST_LINE + 50
    assert "(9,998,000 characters more)" in lines[1]


def test_errors_and_results_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    StackError(f"It said {HOSTILE}.").show()
    show("Source", [failed("tap", f"It said {HOSTILE}\nand more", HOSTILE)])
    printed = capsys.readouterr()
    for text in (printed.err, printed.out):
        assert not set("\x1b\x07\x9b\r\x08\x7f\u202e\ud800") & set(click.unstyle(text))
        assert r"\x1b]0;owned\x07" in text


# --- How a command ends


def run(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any], **variables: str
) -> tuple[int, str]:
    """Run a command that does this; return its exit code and what it said of an error."""
    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: click.command()(function))
    done = CliRunner().invoke(cli.main, ["any"], env=variables)
    return done.exit_code, done.stderr


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


def deep() -> Any:
    return [deep()]


@pytest.mark.parametrize(
    ("function", "code", "said"),
    [
        (raising(KeyboardInterrupt()), 130, "Error: Interrupted."),
        (deep, 1, "nested too deeply"),
        (raising(MemoryError()), 1, "Not enough memory"),
        (raising(ValueError(f"bad {HOSTILE}\nsecond")), 1, r"ValueError: bad \x1b]0;owned"),
        (raising(BrokenPipeError(32, "Broken pipe")), 1, ""),
    ],
)
def test_whatever_ends_a_command_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any], code: int, said: str
) -> None:
    found, error = run(monkeypatch, function)
    assert found == code
    assert said in error
    assert len(error.splitlines()) == (1 if said else 0)


def test_where_an_error_comes_from_is_shown_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cli.Commands, "get_command", lambda *_: click.command()(raising(ValueError("bad")))
    )
    monkeypatch.setenv(cli.TRACEBACK, "1")
    with pytest.raises(ValueError, match="bad"):
        CliRunner().invoke(cli.main, ["any"], catch_exceptions=False)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_modules_are_imported_is_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import stack; raise KeyboardInterrupt"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr == "Interrupted.\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "| head -c 1"])
@pytest.mark.parametrize("arguments", ["--help", "new-source x", "check --no-such-option"])
def test_closed_streams_are_no_traceback(tmp_path: Path, closed: str, arguments: str) -> None:
    log = tmp_path / "log"
    done = subprocess.run(
        ["bash", "-c", f"({STACK} {arguments} {closed}) 2>{log}"], stdout=subprocess.DEVNULL
    )
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in log.read_text()
    assert "Exception" not in log.read_text()


# --- What it leaves behind

WAITING = """
import sys, time, click
from stack import cli, scratch
@click.command()
def wait():
    with scratch.folder("stack-test") as folder:
        (folder / "secret").write_text("secret")
        print(folder, flush=True)
        time.sleep(60)
cli.Commands.get_command = lambda *_: wait
sys.argv = ["stack", "wait"]
cli.main()
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
@pytest.mark.usefixtures("interruptible")
def test_files_of_a_command_that_was_stopped_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    command = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout
    folder = Path(command.stdout.readline().strip())
    assert folder.stat().st_mode & 0o777 == 0o700
    command.send_signal(number)
    _, error = command.communicate(timeout=30)
    assert command.returncode == code
    assert "Traceback" not in error
    if number == signal.SIGKILL:
        with scratch.folder("stack-test"):
            assert folder.exists(), "it is not known yet to be nobody's"
        os.utime(folder, (0, 0))
        with scratch.folder("stack-test"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_others_have_is_not_swept_away(tmp_path: Path) -> None:
    kept = [
        f"purpose-{os.getpid()}-a",  # at work
        "purpose-1-a",  # somebody else's
        "purpose-99999999-b.example",
        "purpose-x-a",
        "purposes-99999999-a",
        ".env.example",
    ]
    for name in [*kept, "purpose-99999998-a"]:
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / kept[2])
    scratch.sweep(tmp_path, "purpose")
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
