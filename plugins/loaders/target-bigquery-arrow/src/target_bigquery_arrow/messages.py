"""Singer messages, decoded no further than each needs.

A RECORD keeps its payload as raw JSON until the whole batch is turned into columns: that,
and one typed decode for many records, is what makes the RECORD path fast.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Annotated, Any, BinaryIO, Protocol

import msgspec
from singer_sdk.singerlib.encoding.base import GenericSingerReader

from target_bigquery_arrow.errors import LoadError, RunError
from target_bigquery_arrow.logs import shown

# BigQuery's longest row; a longer line is never read whole. Source:
# https://cloud.google.com/bigquery/quotas#load_jobs
LONGEST_LINE = 100_000_000
# What is looked at of a line that can't be read. The stream's name stands before the record, as
# the SDK and singer-python write it, or after it; one inside the record is another.
ENDS = 2**16
READ_AT_ONCE = 2**18
_TEXT = rb'"(?:[^"\\]|\\.)*+"'
_PAIR = rb"\s*" + _TEXT + rb"\s*:\s*(?:" + _TEXT + rb"|[\w.+-]+)\s*"
_STREAM = rb'\s*"stream"\s*:\s*(' + _TEXT + rb")\s*"
STREAM_FIRST = re.compile(rb"\s*\{(?:" + _PAIR + rb",)*?" + _STREAM)
STREAM_LAST = re.compile(rb"," + _STREAM + rb"(?:," + _PAIR + rb")*\}\s*$")
# No bound of a column's has more digits.
LONGEST_INTEGER = 100

# A table's version is an INT64 in BigQuery.
Version = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Record(msgspec.Struct, tag_field="type", tag="RECORD", gc=False):
    """A RECORD message. `time_extracted` is ISO 8601; `version` belongs to ACTIVATE_VERSION."""

    stream: str
    record: msgspec.Raw
    time_extracted: str | None = None
    version: Version | None = None


class Schema(msgspec.Struct, tag_field="type", tag="SCHEMA"):
    """A SCHEMA message, whose schema is kept as it came: taps repeat it."""

    stream: str
    schema: msgspec.Raw
    key_properties: list[str] | None = None

    @property
    def decoded(self) -> dict[str, Any]:
        """Return the schema. A number beyond FLOAT64 is an infinity, as `maximum: 1e400` means it.

        Raises:
            LoadError: it isn't an object, or too deep to be read.
        """
        try:
            found = json.loads(bytes(self.schema), parse_int=_integer)
        except RecursionError as error:
            raise too_deep(self.stream, "SCHEMA") from error
        if not isinstance(found, dict):
            message = (
                f"Stream '{self.stream}': its SCHEMA message has no schema. That is a fault of the "
                f"extractor: report it there, or try another release of it."
            )
            raise LoadError(message)
        return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)


class _Progress(msgspec.Struct):
    """What singer-python's taps say in their state of the stream that they are in."""

    currently_syncing: Any = None


_decode_progress = msgspec.json.Decoder(_Progress).decode


class State(msgspec.Struct, tag_field="type", tag="STATE"):
    """A STATE message, whose value is handed back as it came.

    `independent` is tap-postgres-arrow's: no stream's rows depend on another's bookmark, and the
    first STATE of a run holds the bookmarks that it began with.
    """

    value: msgspec.Raw
    independent: bool = False

    @property
    def is_interim(self) -> bool:
        """Whether the tap says that it is in the middle of a stream."""
        return _decode_progress(self.value).currently_syncing is not None


class ActivateVersion(msgspec.Struct, tag_field="type", tag="ACTIVATE_VERSION"):
    """An ACTIVATE_VERSION message: the stream's rows of older versions have gone.

    `max_delete_fraction` is tap-postgres-arrow's, which sends the message after the records.
    """

    stream: str
    version: Version
    max_delete_fraction: Fraction | None = None


class Encoding(msgspec.Struct):
    """How the files of a message are written."""

    format: str
    compression: str | None = None


class Batch(msgspec.Struct, tag_field="type", tag="BATCH"):
    """A BATCH message: records in files. `temporary` ones are removed once they are loaded."""

    stream: str
    encoding: Encoding
    manifest: list[str]
    version: Version | None = None
    temporary: bool = False


class Keys(msgspec.Struct, tag_field="type", tag="KEYS"):
    """A KEYS message, tap-postgres-arrow's own: every key that the source holds now, in files."""

    stream: str
    encoding: Encoding
    manifest: list[str]
    max_delete_fraction: Fraction
    temporary: bool = False


class Completed(msgspec.Struct, tag_field="type", tag="COMPLETED"):
    """A COMPLETED message, singer-completed's own: the extractor has ended with exit code 0."""


class Unreadable(msgspec.Struct, tag_field="type", tag="UNREADABLE"):
    """A message of a stream that can't be read, and why: never sent by a tap."""

    stream: str
    reason: str


Message = Record | Schema | State | ActivateVersion | Batch | Keys | Completed


class Readable(Protocol):
    """What lines can be read from."""

    def read1(self, limit: int, /) -> bytes:
        """Read what is there, but no more than so many bytes; nothing at the end."""


class MessageReader(GenericSingerReader[bytes]):
    """Read Singer messages from the pipe, as bytes."""

    def __init__(self) -> None:
        """Prepare the decoder."""
        super().__init__()
        self._decode = msgspec.json.Decoder(Message).decode

    @property
    def default_input(self) -> IO[bytes]:
        """Return the pipe, as the SDK asks for it."""
        return self._pipe

    @property
    def _pipe(self) -> BinaryIO:
        if sys.stdin is None:
            message = "Standard input is closed: there are no messages to load."
            raise RunError(message)
        return sys.stdin.buffer

    def deserialize_json(self, line: bytes) -> Any:
        """Decode one line to its message."""
        return self._decode(line)

    def process_lines(
        self,
        file_input: IO[Any] | None,
        callbacks: dict[str, Callable[[Any], None]],
    ) -> Counter[str]:
        """Hand each message to the callback for its type.

        Raises:
            RunError: a line isn't a Singer message, or too long. Its text is kept out of the
                error, since it may hold a secret.
        """
        given: Any = self._pipe if file_input is None else file_input
        source: Readable = getattr(given, "buffer", given)
        decode = self._decode
        handlers: dict[object, Callable[[Any], None]] = {
            Record: callbacks["RECORD"],
            Schema: callbacks["SCHEMA"],
            State: callbacks["STATE"],
            ActivateVersion: callbacks["ACTIVATE_VERSION"],
            Batch: callbacks["BATCH"],
            # The SDK knows of no more types than these.
            Keys: callbacks["BATCH"],
            Unreadable: callbacks["BATCH"],
            Completed: callbacks["ACTIVATE_VERSION"],
        }
        counts: Counter[type] = Counter()
        for number, line in enumerate(lines_of(source), start=1):
            if line.__class__ is TooLong:
                message = _unreadable(number, line, TooLong.REASON)
            else:
                try:
                    message = decode(line)
                except RecursionError:
                    message = _unreadable(number, line, "is nested too deep to be read")
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    if not line.strip():
                        continue
                    text = (
                        f"Line {number} of the input is not a Singer message: "
                        f"{shown(error, 200)}. Only messages, in valid Unicode, may come from the "
                        f"extractor's standard output: run it alone with `meltano invoke "
                        f"<extractor>` to see the line."
                    )
                    raise RunError(text) from error
            kind = type(message)
            counts[kind] += 1
            handlers[kind](message)
        return Counter({_message_type(kind): count for kind, count in counts.items()})


class TooLong(bytes):
    """The beginning and the end of a line that is longer than `LONGEST_LINE`."""

    REASON = f"is longer than the {LONGEST_LINE:,} bytes of BigQuery's longest row"


def lines_of(file: Readable) -> Iterator[bytes]:
    """Read lines, without their ends; one that is too long is never in memory as a whole."""
    parts: list[bytes] = []
    size = 0
    while chunk := file.read1(READ_AT_ONCE):
        first, *others = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > LONGEST_LINE:
            text = b"".join(parts)
            parts = [text[:ENDS], text[-ENDS:]]
        if others:
            yield _line(parts, size)
            *whole, last = others
            yield from whole
            parts, size = [last], len(last)
    if size:
        yield _line(parts, size)


def _line(parts: list[bytes], size: int) -> bytes:
    return b"".join(parts) if size <= LONGEST_LINE else TooLong(b"\0".join(parts))


def _unreadable(number: int, line: bytes, reason: str) -> "Unreadable":
    """Return what is known of a line.

    Raises:
        RunError: not even which stream it is of.
    """
    if found := STREAM_FIRST.match(line[:ENDS]) or STREAM_LAST.search(line[-ENDS:]):
        return Unreadable(
            msgspec.json.decode(found.group(1)), f"line {number} of the input {reason}"
        )
    message = f"Line {number} of the input {reason}, and which stream it is of isn't known."
    raise RunError(message)


def too_deep(stream: str, what: str) -> LoadError:
    """Return the error for JSON whose nesting has no end."""
    return LoadError(
        f"Stream '{stream}': a {what} is nested too deep to be read (BigQuery's JSON takes 500 "
        f"levels). Leave the property out in the extractor's `select`, or correct it at the source."
    )


def _message_type(kind: type) -> str:
    return str(kind.__struct_config__.tag)  # type: ignore[attr-defined]
