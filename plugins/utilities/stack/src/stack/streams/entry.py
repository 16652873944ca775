"""What a catalog's entry says of its stream.

`stack.bridge` imports this on Meltano's own Python: it needs the standard library only.
"""

from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]


def root_metadata(entry: Entry) -> Mapping[str, Any]:
    """Return the metadata of a stream as a whole."""
    return next(
        (item["metadata"] for item in entry.get("metadata") or [] if not item.get("breadcrumb")), {}
    )


def keys_of(entry: Entry) -> list[str]:
    """Return a stream's key: what `metadata` says goes before what the tap says."""
    root = root_metadata(entry)
    metadata, view = root.get("table-key-properties"), root.get("view-key-properties")
    return list(metadata or entry.get("key_properties") or view or ())


def method_of(entry: Entry) -> str | None:
    """Return how a stream is replicated: `FULL_TABLE`, `INCREMENTAL` or `LOG_BASED`."""
    root = root_metadata(entry)
    return (
        root.get("replication-method")
        or root.get("forced-replication-method")
        or entry.get("replication_method")
    )


def replication_key_of(entry: Entry) -> str | None:
    """Return the replication key that is set, or the only one that the tap allows."""
    root = root_metadata(entry)
    valid = root.get("valid-replication-keys") or []
    only = valid[0] if len(valid) == 1 else None
    return root.get("replication-key") or entry.get("replication_key") or only
