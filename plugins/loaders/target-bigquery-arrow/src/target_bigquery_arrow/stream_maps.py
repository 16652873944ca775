"""What the SDK's `stream_maps` and our flattening make of a stream's records and of its key."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatch
from typing import Any

import msgspec
from singer_sdk.helpers._flattening import FlatteningOptions
from singer_sdk.mapper import PluginMapper, RemoveRecordTransform, SameRecordTransform, StreamMap

from target_bigquery_arrow.decoder import DECODE_ERRORS, unreadable
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.flattening import Flattening
from target_bigquery_arrow.json_schema import resolved
from target_bigquery_arrow.logs import shown
from target_bigquery_arrow.messages import Record, Schema, too_deep

# Decimals, so that stream maps leave a number's digits as they are.
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class RecordMap:
    """The way of a stream's records to one of its tables.

    Attributes:
        stream: the name of the stream that they become.
        schema: what the records are afterwards.
        keys: the names of the key's properties.
        leaves_alone: whether records pass as they are.
    """

    def __init__(self, stream_map: StreamMap, options: FlatteningOptions) -> None:
        """Look at the schema.

        Raises:
            LoadError: flattening gives two properties one name.
        """
        self.stream = stream_map.stream_alias
        self.schema: Mapping[str, Any] = stream_map.transformed_schema
        self.keys: Sequence[str] = stream_map.transformed_key_properties or ()
        self._stream_map = stream_map
        self._flattening: Flattening | None = None
        if options.enabled:
            self._flattening = Flattening.of(self.stream, self.schema, options)
            self.schema = {**self.schema, "properties": self._flattening.properties}
        self.leaves_alone = type(stream_map) is SameRecordTransform and not options.enabled

    def mapped(self, record: Record) -> Record | None:
        """Return a record as `stream_maps` and flattening want it; None where they filter it out.

        Raises:
            LoadError: it can't be read, or an expression fails on it.
        """
        try:
            values = _decode(record.record)
        except DECODE_ERRORS as error:
            raise unreadable(record.stream, error) from error
        except RecursionError as error:
            raise too_deep(record.stream, "RECORD") from error
        try:
            transformed = self._stream_map.transform(values)
        except Exception as error:  # an expression of the user's may raise anything
            message = (
                f"Stream '{record.stream}': `stream_maps` failed on a record "
                f"({type(error).__name__}: {shown(error, 200)}). Correct its expression, or what "
                f"it has to allow for: nulls, say."
            )
            raise LoadError(message) from error
        if transformed is None:
            return None
        if self._flattening:
            transformed = self._flattening.record(transformed)
        return msgspec.structs.replace(record, record=msgspec.Raw(_encode(transformed)))


def record_maps(
    mapper: PluginMapper, schema: Schema, options: FlatteningOptions
) -> list[RecordMap]:
    """Return the ways that a stream's records go: none where `stream_maps` remove it.

    Raises:
        LoadError: its schema is none, or flattening gives two properties one name.
        singer_sdk.exceptions.StreamMapConfigError: `stream_maps` are wrong.
    """
    try:
        plain = resolved(schema.decoded, options.max_level if options.enabled else 0)
        mapper.register_raw_stream_schema(schema.stream, plain, schema.key_properties or [])
        return [
            RecordMap(stream_map, options)
            for stream_map in mapper.stream_maps[schema.stream]
            if not isinstance(stream_map, RemoveRecordTransform)
        ]
    except RecursionError as error:
        raise too_deep(schema.stream, "SCHEMA") from error


def without_flattening(options: FlatteningOptions) -> FlatteningOptions:
    """Return the options for the SDK's own flattening: none."""
    return replace(options, enabled=False)


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
