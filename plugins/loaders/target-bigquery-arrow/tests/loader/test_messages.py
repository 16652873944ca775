"""What comes down the pipe is read as Singer messages, or refused with its line number."""

import io
from typing import Any

import pytest
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.messages import MessageReader

TYPES = ("RECORD", "SCHEMA", "STATE", "ACTIVATE_VERSION", "BATCH")


def read(pipe: bytes) -> list[Any]:
    messages: list[Any] = []
    MessageReader().process_lines(io.BytesIO(pipe), dict.fromkeys(TYPES, messages.append))
    return messages


def test_a_state_is_handed_on_digit_for_digit() -> None:
    value = b'{"cursor": 1.10, "big": 123456789012345678901234567890, "\\u00e9": 1e2}'
    (message,) = read(b'{"type": "STATE", "value": ' + value + b"}\n")
    assert bytes(message.value) == value


def test_empty_lines_are_nothing() -> None:
    assert len(read(b'\n{"type": "STATE", "value": {}}\n\n')) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"Traceback (most recent call last): password=hunter2",
        b'{"type": "RECORD", "stream": "s", "record": {"password": "hunter2"',
        b'{"type": "RECORD", "stream": "s", "record": {"password": "hunter2", "x": NaN}}',
        b'{"type": "RECORD", "stream": "s", "record": {"password": "hunter2\\ud800"}}',
        b'{"type": "RECORD", "record": {"password": "hunter2"}}',
        b'{"type": "RECORD", "stream": "s", "record": {}, "version": -1}',
        b'["hunter2"]',
        b"hunter2\xff",
    ],
)
def test_anything_else_is_an_error_with_its_line_and_without_its_text(line: bytes) -> None:
    with pytest.raises(LoadError, match=r"^Line 2 of the input is not a Singer message") as error:
        read(b'{"type": "STATE", "value": {}}\n' + line + b"\n")
    assert "hunter2" not in str(error.value)
    assert "meltano invoke" in str(error.value)
