"""What the SDK's `stream_maps` and flattening make of a record and of a stream's key."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatch
from typing import Any

import msgspec
from singer_sdk.mapper import SameRecordTransform, StreamMap

from target_bigquery_arrow.decoder import DECODE_ERRORS, unreadable
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.messages import Record

# Decimals, so that stream maps leave a number's digits as they are.
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def leaves_alone(stream_map: StreamMap) -> bool:
    """Return whether records pass as they are."""
    return type(stream_map) is SameRecordTransform and not stream_map.flattening_enabled


def mapped(record: Record, stream_map: StreamMap) -> Record | None:
    """Return a record as `stream_maps` and flattening want it; None where they filter it out."""
    if leaves_alone(stream_map):
        return record
    try:
        values = _decode(record.record)
    except DECODE_ERRORS as error:
        raise unreadable(record.stream, error) from error
    try:
        transformed = stream_map.transform(values)
    except Exception as error:  # an expression of the user's may raise anything
        message = (
            f"Stream '{record.stream}': `stream_maps` failed on a record "
            f"({type(error).__name__}: {error}). Correct its expression, or what it has to allow "
            f"for: nulls, say."
        )
        raise LoadError(message) from error
    if transformed is None:
        return None
    return msgspec.structs.replace(record, record=msgspec.Raw(_encode(transformed)))


def check_key_is_kept(stream: str, keys: Sequence[str], stream_maps: Mapping[str, Any]) -> None:
    """See to it that a table's keys can be compared with those of the source.

    Raises:
        LoadError: there are none, or `stream_maps` alter them.
    """
    if not keys:
        message = (
            f"Stream '{stream}' has no key, so KEYS can't tell which of its rows have gone. Set "
            f"`table-key-properties` in the extractor's `metadata`, or its `detect_deletes` to "
            f"false."
        )
        raise LoadError(message)
    altered = {
        name
        for pattern, definition in stream_maps.items()
        if isinstance(definition, Mapping)
        and fnmatch(stream, str(definition.get("__source__", pattern)))
        for name in definition
    }
    if not altered.isdisjoint((*keys, "__key_properties__")):
        message = (
            f"Stream '{stream}': `stream_maps` alter its key, so KEYS can't tell which rows of its "
            f"table have gone. Leave the key as it is, or set the extractor's `detect_deletes` to "
            f"false."
        )
        raise LoadError(message)
