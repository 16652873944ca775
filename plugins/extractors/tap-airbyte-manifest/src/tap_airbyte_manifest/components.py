"""Components that a manifest may use beside the CDK's own.

A manifest names them as custom components: `type: CustomRetriever`, and
`class_name: tap_airbyte_manifest.components.ChangedObjects`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import Any, override

from airbyte_cdk.sources.declarative.datetime.datetime_parser import DatetimeParser
from airbyte_cdk.sources.declarative.extractors import RecordSelector
from airbyte_cdk.sources.declarative.interpolation.interpolated_string import InterpolatedString
from airbyte_cdk.sources.declarative.retrievers.retriever import Retriever
from airbyte_cdk.sources.streams.concurrent.cursor import ConcurrentCursor
from airbyte_cdk.sources.types import Config, Record, StreamSlice
from isodate import parse_duration  # type: ignore[import-untyped]

from tap_airbyte_manifest.runtime import notes

OBJECT_ID = "object_id"
DELETED_AT = "_sdc_deleted_at"
_times = DatetimeParser()


@dataclass
class ChangedObjects(Retriever):
    """Reads a list at first, and later, one by one, the objects that a feed of changes names.

    The feed only tells which objects have changed. Each of them is then asked for once, however
    often it is named. What is known of an object is what it is after the run's start, so that is
    what each record has in the cursor field, and where the next run begins, less the cursor's
    `lookback_window`. All streams of a run share this moment, and so answers that are cached.

    Attributes:
        name: of the stream.
        primary_key: the property that identifies an object.
        config: the user's settings.
        cursor: the stream's.
        incremental_sync: the manifest's DatetimeBasedCursor, which has no `step`.
        list_retriever: reads all objects; None if there is nothing to read at first.
        changes_retriever: reads the feed between `stream_interval.start_time` and `end_time`.
        object_retriever: reads one object, `stream_partition.object_id`.
        changed_id: the object's ID in a `record` of the feed; empty where it names none of ours.
        retention_period: how long the feed goes back, as an ISO 8601 duration. After a longer time
            without a run, the list is read.
        missing_is_deleted: whether an object has been deleted if the answer to its request is one
            that the manifest's `error_handler` ignores, such as 404.
    """

    name: str
    primary_key: Any
    config: Config
    cursor: ConcurrentCursor
    incremental_sync: Any
    list_retriever: Retriever | None
    changes_retriever: Retriever
    object_retriever: Retriever
    changed_id: str
    retention_period: str
    parameters: InitVar[Mapping[str, Any]]
    missing_is_deleted: bool = False

    def __post_init__(self, parameters: Mapping[str, Any]) -> None:
        """Prepare what is read of the manifest."""
        self._changed_id = InterpolatedString.create(self.changed_id, parameters=parameters)
        self._retention = parse_duration(self.retention_period)
        self._format = self.incremental_sync.datetime_format
        self._since = self.incremental_sync.partition_field_start or "start_time"
        self._until = self.incremental_sync.partition_field_end or "end_time"
        # The stream's transformations are for its records. Of the feed's, only IDs are read.
        selector = getattr(self.changes_retriever, "record_selector", None)
        if isinstance(selector, RecordSelector):
            selector.transformations = []

    @override
    def read_records(
        self, records_schema: Mapping[str, Any], stream_slice: StreamSlice | None = None
    ) -> Iterable[Record]:
        if stream_slice is None:
            return
        since = _times.parse(stream_slice[self._since], self._format)
        until = _times.format(notes.started, self._format)
        window = StreamSlice(
            partition={}, cursor_slice={**stream_slice.cursor_slice, self._until: until}
        )
        if self._is_known(since):
            records = self._changed(records_schema, window)
        else:
            records = self._all(records_schema, window)
        for record in records:
            yield self._as_of(until, record, stream_slice)
        # Where nothing has changed, that is known up to now too.
        self.cursor.observe(self._as_of(until, {}, stream_slice))

    def _is_known(self, since: datetime) -> bool:
        """Return whether the feed still tells of all changes since then."""
        if since >= notes.started - self._retention:
            return True
        if since != self.cursor._start:
            days = f"{self._retention.total_seconds() / 86_400:.3g}"
            notes.tell_once(
                f"Changes were last read up to {since:%Y-%m-%d %H:%M}, and the API tells of those "
                f"of the last {days} days only: everything is read in full."
            )
        return False

    def _all(self, schema: Mapping[str, Any], window: StreamSlice) -> Iterator[Any]:
        # A feed that can't be read would otherwise show at the second run only.
        recent = {**window.cursor_slice, self._since: window[self._until]}
        feed = self.changes_retriever.read_records(
            schema, StreamSlice(partition={}, cursor_slice=recent)
        )
        next(iter(feed), None)
        notes.read_in_full.add(self.name)
        if self.list_retriever:
            yield from _data(self.list_retriever.read_records(schema, window))

    def _changed(self, schema: Mapping[str, Any], window: StreamSlice) -> Iterator[Any]:
        changes = _data(self.changes_retriever.read_records(schema, window))
        found = (
            self._changed_id.eval(self.config, record=change, valid_types=(str,))
            for change in changes
        )
        for object_id in dict.fromkeys(found):
            if not object_id:
                continue
            one = StreamSlice(partition={OBJECT_ID: object_id}, cursor_slice=window.cursor_slice)
            notes.take_ignored()
            # All of its parts, or none.
            records = list(_data(self.object_retriever.read_records(schema, one)))
            yield from records
            if self.missing_is_deleted and notes.take_ignored() and not records:
                yield {self._key: object_id, DELETED_AT: notes.started.isoformat()}

    @property
    def _key(self) -> str:
        key = self.primary_key
        return key if isinstance(key, str) else str(key[0])

    def _as_of(self, until: str, data: Mapping[str, Any], stream_slice: StreamSlice) -> Record:
        data = {**data, self.incremental_sync.cursor_field: until}
        return Record(data=data, stream_name=self.name, associated_slice=stream_slice)


@dataclass
class ChangedParts(Retriever):
    """Reads records that are parts of objects of several kinds, each as ChangedObjects does.

    Attributes:
        list_retrievers: read all objects, by kind.
        object_retrievers: read one object, by kind.
        changed_ids: the object's ID in a `record` of the feed, by kind.
        missing_are_deleted: whether objects of a kind are records that may be deleted, by kind.

    The others are those of ChangedObjects.
    """

    name: str
    primary_key: Any
    config: Config
    cursor: ConcurrentCursor
    incremental_sync: Any
    list_retrievers: list[Retriever | None]
    changes_retriever: Retriever
    object_retrievers: list[Retriever]
    changed_ids: list[str]
    retention_period: str
    parameters: InitVar[Mapping[str, Any]]
    missing_are_deleted: list[bool] | None = None

    def __post_init__(self, parameters: Mapping[str, Any]) -> None:
        """Prepare what reads each kind."""
        deleted = self.missing_are_deleted or [False] * len(self.changed_ids)
        self._kinds = [
            ChangedObjects(
                name=self.name,
                primary_key=self.primary_key,
                config=self.config,
                cursor=self.cursor,
                incremental_sync=self.incremental_sync,
                list_retriever=whole,
                changes_retriever=self.changes_retriever,
                object_retriever=one,
                changed_id=changed_id,
                retention_period=self.retention_period,
                missing_is_deleted=is_deleted,
                parameters=parameters,
            )
            for whole, one, changed_id, is_deleted in zip(
                self.list_retrievers,
                self.object_retrievers,
                self.changed_ids,
                deleted,
                strict=True,
            )
        ]

    @override
    def read_records(
        self, records_schema: Mapping[str, Any], stream_slice: StreamSlice | None = None
    ) -> Iterable[Record]:
        for kind in self._kinds:
            yield from kind.read_records(records_schema, stream_slice)


def _data(records: Iterable[Any]) -> Iterator[Any]:
    """Yield the data of records; what else a retriever yields are the CDK's messages."""
    for record in records:
        if isinstance(record, Record):
            yield record.data
        elif isinstance(record, Mapping):
            yield record
