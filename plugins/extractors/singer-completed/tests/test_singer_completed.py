"""A tap that ends with exit code 0 says so through singer-completed, and only then."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[1] / "src" / "singer_completed" / "__init__.py"
RUN = f"import runpy; runpy.run_path({str(COMMAND)!r})['main']()"
MESSAGE = '{"type": "COMPLETED"}\n'


def run(tmp_path: Path, tap: str, *arguments: str) -> tuple[int, str]:
    script = tmp_path / "tap-test"
    script.write_text(f"#!{sys.executable}\n{tap}\n")
    script.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env={"SINGER_TAP": "tap-test", "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("tap", "code", "says_so"),
    [
        ("print('rows')", 0, True),
        ("import sys; print('rows'); sys.exit()", 0, True),
        ("import sys; print('rows'); sys.exit(0)", 0, True),
        ("import sys; print('rows'); sys.exit(3)", 3, False),
        ("import sys; print('rows'); sys.exit('no more')", 1, False),
        ("print('rows'); raise RuntimeError", 1, False),
        ("import os; print('rows', flush=True); os.kill(os.getpid(), 15)", -15, False),
        ("import os; print('rows', flush=True); os._exit(0)", 0, False),
    ],
)
def test_the_message_follows_an_exit_code_of_0(
    tmp_path: Path, tap: str, code: int, says_so: bool
) -> None:
    assert run(tmp_path, tap, "--config", "c.json") == (code, "rows\n" + MESSAGE * says_so)


def test_it_comes_after_all_that_the_tap_has_to_say(tmp_path: Path) -> None:
    tap = "import threading; threading.Timer(0.2, print, ['rows']).start()"
    assert run(tmp_path, tap, "--config=c.json", "--state", "s") == (0, "rows\n" + MESSAGE)


@pytest.mark.parametrize("option", ["--discover", "--about", "--test", "--version", "-d"])
def test_only_a_sync_is_followed_by_it(tmp_path: Path, option: str) -> None:
    tap = "import sys; print(*sys.argv[1:])"
    assert run(tmp_path, tap, "--config", "c", option) == (0, f"--config c {option}\n")
