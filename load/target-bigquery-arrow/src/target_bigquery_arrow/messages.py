"""Singer messages, decoded no further than each needs.

A RECORD keeps its payload as raw JSON until the whole batch is turned into columns: that,
and one typed decode for many records, is what makes the RECORD road fast.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import IO, Annotated, Any

import msgspec
from singer_sdk.singerlib.encoding.base import GenericSingerReader

from target_bigquery_arrow.errors import LoadError

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
    """A SCHEMA message."""

    stream: str
    schema: dict[str, Any]
    key_properties: list[str] | None = None


class _Progress(msgspec.Struct):
    """What singer-python's taps say in their state of the stream that they are in."""

    currently_syncing: Any = None


_decode_progress = msgspec.json.Decoder(_Progress).decode


class State(msgspec.Struct, tag_field="type", tag="STATE"):
    """A STATE message, whose value is handed back as it came."""

    value: msgspec.Raw

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


Message = Record | Schema | State | ActivateVersion | Batch | Keys


class MessageReader(GenericSingerReader[bytes]):
    """Read Singer messages from the pipe, as bytes."""

    default_input = sys.stdin.buffer

    def __init__(self) -> None:
        """Prepare the decoder."""
        super().__init__()
        self._decode = msgspec.json.Decoder(Message).decode

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
            LoadError: a line isn't a Singer message. Its text is kept out of the error,
                since it may hold a secret.
        """
        lines: Iterable[bytes] = getattr(file_input, "buffer", file_input) or self.default_input
        decode = self._decode
        handlers: dict[object, Callable[[Any], None]] = {
            Record: callbacks["RECORD"],
            Schema: callbacks["SCHEMA"],
            State: callbacks["STATE"],
            ActivateVersion: callbacks["ACTIVATE_VERSION"],
            Batch: callbacks["BATCH"],
            Keys: callbacks["BATCH"],  # the SDK knows of no more types than these
        }
        counts: Counter[type] = Counter()
        for number, line in enumerate(lines, start=1):
            try:
                message = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if not line.strip():
                    continue
                text = (
                    f"Line {number} of the input is not a Singer message: {error}. Only messages, "
                    f"in valid Unicode, may come from the extractor's standard output: run it "
                    f"alone with `meltano invoke <extractor>` to see the line."
                )
                raise LoadError(text) from error
            kind = type(message)
            counts[kind] += 1
            handlers[kind](message)
        return Counter({_message_type(kind): count for kind, count in counts.items()})


def _message_type(kind: type) -> str:
    return str(kind.__struct_config__.tag)  # type: ignore[attr-defined]
