"""The messages that the SDK doesn't have, or not with all that is said in them."""

from dataclasses import dataclass
from typing import Any

from singer_sdk.singerlib.messages import ActivateVersionMessage, Message, StateMessage

PARQUET = {"format": "parquet", "compression": "zstd"}


@dataclass
class BatchMessage(Message):
    """Rows in Parquet files.

    Args:
        stream: the stream's name.
        manifest: the files' URLs. They are handed over (`temporary`): whoever has loaded them
            removes them.
        version: the table version that the rows belong to, where all rows are read.
    """

    stream: str
    manifest: list[str]
    version: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the message as it is written."""
        message = {
            "type": "BATCH",
            "stream": self.stream,
            "encoding": PARQUET,
            "manifest": self.manifest,
            "temporary": True,
        }
        return message | ({"version": self.version} if self.version else {})


@dataclass
class KeysMessage(Message):
    """All keys that the source holds, in Parquet files: what isn't among them has been deleted.

    No message of Singer's says so; a target that doesn't know it stops.

    Args:
        stream: the stream's name.
        manifest: the files' URLs, as in BATCH; none where the source is empty.
        max_delete_fraction: the share of a table's live rows that may go at once.
    """

    stream: str
    manifest: list[str]
    max_delete_fraction: float

    def to_dict(self) -> dict[str, Any]:
        """Return the message as it is written."""
        return {
            "type": "KEYS",
            "stream": self.stream,
            "encoding": PARQUET,
            "manifest": self.manifest,
            "temporary": True,
            "max_delete_fraction": self.max_delete_fraction,
        }


@dataclass
class IndependentStateMessage(StateMessage):
    """STATE in which each stream's bookmark is independent of the others.

    If one of them fails in the target, it may keep its own bookmark back and let the others go on.
    The first STATE of a run holds the bookmarks that it began with.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return the message as it is written."""
        return {"type": "STATE", "value": self.value, "independent": True}


@dataclass
class GuardedActivateVersionMessage(ActivateVersionMessage):
    """ACTIVATE_VERSION, with the share of a table's live rows that may go at once."""

    max_delete_fraction: float = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the message as it is written."""
        return {
            "type": "ACTIVATE_VERSION",
            "stream": self.stream,
            "version": self.version,
            "max_delete_fraction": self.max_delete_fraction,
        }
