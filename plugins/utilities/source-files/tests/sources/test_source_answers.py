"""An answer of an API that is no list of records is named in a line; Ctrl-C ends the waiting."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from source_files.new_source import rest
from stack.terminal import StackError

ROOT = Path(__file__).resolve().parents[5]
STACK = ROOT / ".venv" / "bin" / "stack"
BODIES = {
    "/empty": b"",
    "/blank": b" \n",
    "/page": b"<html>Log in \x1b]0;owned\x07</html>",
    "/bytes": b"\xff\xfe\xfd\x00{",
    "/deep": b"[" * 100_000 + b"]" * 100_000,
    "/number": b'[{"id": ' + b"9" * 5000 + b"}]",
    "/large": b"[" + b" " * (rest.LARGEST + 1) + b"]",
    "/fine": b'\xef\xbb\xbf{"items": []}',
}


class Answers(BaseHTTPRequestHandler):
    """Answers with what the path names; `/hang` doesn't."""

    hanging = threading.Event()
    ended = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/hang":
            self.hanging.set()
            self.ended.wait(30)
            return
        body = BODIES[self.path]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # it has read enough
            return

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Answers.ended.set()
    server.shutdown()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/empty", "answers 200 with nothing"),
        ("/blank", "answers 200 with nothing"),
        ("/page", r"answers 200 with application/json, not JSON: .*Log in"),
        ("/bytes", "answers 200 with application/json, not JSON"),
        ("/deep", "nested too deeply"),
        ("/number", "a number of thousands of digits"),
        ("/large", "more than 64 MiB"),
    ],
)
def test_an_answer_that_no_tap_can_read_is_named(address: str, path: str, said: str) -> None:
    with pytest.raises(StackError, match=said) as refused:
        rest.fetch(rest.Page(f"{address}{path}", {}, {}))
    assert len(refused.value.message) < 1000
    assert len(refused.value.message.splitlines()) == 1


def test_json_with_a_byte_order_mark_is_json(address: str) -> None:
    assert rest.fetch(rest.Page(f"{address}/fine", {}, {})).document == {"items": []}


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_command_that_waits(address: str) -> None:
    command = subprocess.Popen(
        [STACK, "new-source", "waiting", f"{address}/hang"],
        cwd=ROOT,
        env=os.environ | {"MELTANO_PROJECT_ROOT": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert Answers.hanging.wait(60)
    command.send_signal(signal.SIGINT)
    _, error = command.communicate(timeout=30)
    assert command.returncode == 130
    assert error == "Error: Interrupted.\n"
