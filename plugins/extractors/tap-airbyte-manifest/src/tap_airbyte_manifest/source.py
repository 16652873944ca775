"""The CDK's source for a manifest, run in this process."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, NamedTuple, override

from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteStateBlob,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStream,
    AirbyteStreamState,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    StreamDescriptor,
    SyncMode,
)
from airbyte_cdk.sources.declarative import concurrent_declarative_source
from airbyte_cdk.sources.declarative.concurrent_declarative_source import (
    ConcurrentDeclarativeSource,
)
from airbyte_cdk.sources.declarative.incremental.concurrent_partition_cursor import (
    ConcurrentPerPartitionCursor,
)
from airbyte_cdk.sources.streams.concurrent.abstract_stream import AbstractStream
from airbyte_cdk.sources.streams.concurrent.cursor import ConcurrentCursor
from airbyte_cdk.utils.constants import ENV_REQUEST_CACHE_PATH
from jsonschema.exceptions import ValidationError

from tap_airbyte_manifest import runtime
from tap_airbyte_manifest.catalog import Selection
from tap_airbyte_manifest.manifest import component_schema, invalid

logger = logging.getLogger("tap-airbyte-manifest")
runtime.install()
concurrent_declarative_source.get_declarative_component_schema = component_schema

CACHE_PREFIX = "tap-airbyte-manifest-"
# Where the CDK's streams, slicers and routers keep what their partitions come from.
HOLDERS_OF_CURSORS = (
    "cursor",
    "parent_stream_configs",
    "partition_routers",
    "stream",
    "stream_slicer",
    "stream_slicers",
    "underlying_partition_router",
    "_partition_router",
    "_stream_partition_generator",
    "_stream_slicer",
)


class Window(NamedTuple):
    """What part of a stream is read. None is no limit."""

    start: Any = None
    end: Any = None

    def covers(self, other: "Window") -> bool:
        """Return whether nothing of another window lies outside this one."""
        try:
            return (
                self.start is None or (other.start is not None and self.start <= other.start)
            ) and (self.end is None or other.end is None or self.end >= other.end)
        except TypeError:
            return False


class ManifestSource(ConcurrentDeclarativeSource):
    """A source that builds its streams once, and each of them whatever is wrong with others.

    Attributes:
        broken: why a stream can't be read, by stream.
    """

    _built: list[AbstractStream] | None = None

    @override
    def streams(self, config: Mapping[str, Any]) -> list[AbstractStream]:
        if self._built is None:
            self.broken: dict[str, str] = {}
            self._prepare_for_stream_build()
            configs = self._stream_configs(self._source_config) + self.dynamic_streams
            try:
                self._built = self._create_streams(configs, configs)
            except Exception as error:  # the CDK has no kind of its own for these
                logger.debug("The streams are built one by one: %s", error)
                self._built = [
                    stream for each in configs for stream in self._built_alone(each, configs)
                ]
        return self._built

    def _built_alone(
        self, definition: dict[str, Any], all_definitions: list[dict[str, Any]]
    ) -> list[AbstractStream]:
        name = str(definition.get("name"))
        try:
            return self._create_streams([definition], all_definitions)
        except Exception as error:  # as above
            self.broken[name] = f"the manifest's definition can't be run: {error}"
        if self._connector_state_manager.get_stream_state(name, None):
            self._connector_state_manager.update_state_for_stream(name, None, {})
            try:
                self._create_streams([definition], all_definitions)
            except Exception as error:  # as above
                logger.debug("Stream '%s' can't be built without its state either: %s", name, error)
            else:
                self.broken[name] += (
                    ". That is because of its state, which an earlier form of the manifest has "
                    "left: remove its bookmark from the state, and it is read from its start"
                )
        return []

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the settings as the manifest has migrated and changed them."""
        return self._config

    def read_streams(self, names: list[str]) -> Iterator[AirbyteMessage]:
        """Read streams; yields the CDK's messages."""
        return self.read(logger, {}, configured_catalog(Selection(name, {}) for name in names))

    def described(self) -> Iterator[tuple[AirbyteStream, bool]]:
        """Yield each stream, and whether it is a StateDelegatingStream.

        One whose schema can't be asked for has none: reading it tells why.
        """
        streams = self.streams({})
        delegating = {
            stream.get("name")
            for stream in self.resolved_manifest.get("streams", [])
            if stream.get("type") == "StateDelegatingStream"
        }
        for name, reason in self.broken.items():
            logger.warning("Stream '%s': %s.", name, reason)
            yield (
                AirbyteStream(
                    name=name, json_schema={}, supported_sync_modes=[SyncMode.full_refresh]
                ),
                False,
            )
        for stream in streams:
            try:
                description = (
                    stream.described()
                    if isinstance(stream, runtime.NamedStream)
                    else stream.as_airbyte_stream()
                )
            except Exception as error:  # whatever the manifest's loader raises
                logger.warning("Stream '%s' has no schema: %s", stream.name, error)
                description = stream.as_airbyte_stream()
            yield description, stream.name in delegating


def open_source(
    manifest: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    selected: Iterable[Selection] | None = None,
    states: Mapping[str, Mapping[str, Any]] | None = None,
) -> ManifestSource:
    """Return the source.

    Args:
        manifest: checked.
        config: as its `spec` wants it.
        selected: the streams to read; None if none will be.
        states: each stream's Airbyte state.

    Raises:
        TapError: the manifest isn't valid.
    """
    try:
        return _source(manifest, config, selected, states)
    except ValidationError as error:
        cause = error.__cause__ if isinstance(error.__cause__, ValidationError) else error
        raise invalid(cause) from None


def _source(
    manifest: Mapping[str, Any],
    config: Mapping[str, Any],
    selected: Iterable[Selection] | None,
    states: Mapping[str, Mapping[str, Any]] | None,
) -> ManifestSource:
    return ManifestSource(
        catalog=configured_catalog(selected) if selected is not None else None,
        config=config,
        state=[
            AirbyteStateMessage(
                type=AirbyteStateType.STREAM,
                stream=AirbyteStreamState(
                    stream_descriptor=StreamDescriptor(name=name),
                    stream_state=AirbyteStateBlob(state),
                ),
            )
            for name, state in (states or {}).items()
        ],
        source_config=dict(manifest),
        custom_components_trusted=True,
    )


def configured_catalog(selected: Iterable[Selection]) -> ConfiguredAirbyteCatalog:
    """Return the CDK's catalog of the streams to read."""
    return ConfiguredAirbyteCatalog(
        streams=[
            ConfiguredAirbyteStream(
                # Some requesters ask for the properties of this schema.
                stream=AirbyteStream(
                    name=stream.name,
                    json_schema=stream.schema,
                    supported_sync_modes=[SyncMode.full_refresh, SyncMode.incremental],
                ),
                sync_mode=SyncMode.incremental if stream.incremental else SyncMode.full_refresh,
                destination_sync_mode=DestinationSyncMode.append,
                cursor_field=[stream.cursor] if stream.cursor else None,
            )
            for stream in selected
        ]
    )


def window(stream: AbstractStream) -> Window:
    """Return from where to where a stream's rows are read; None where there is no limit.

    Its own cursor tells, and those of the streams whose children it reads. Moments are in ISO 8601.
    """
    starts, ends = [], []
    for cursor in _cursors(stream):
        if cursor._start is not None:
            starts.append(_jsonable(cursor._start))
        ends.append(_jsonable(cursor._end_provider()))
    return Window(max(_alike(starts), default=None), min(_alike(ends), default=None))


def _alike(values: list[Any]) -> list[Any]:
    """Return values that can be compared: moments, or else numbers."""
    return [value for value in values if isinstance(value, str)] or values


def _cursors(stream: AbstractStream) -> Iterator[ConcurrentCursor]:
    """Yield the cursors that a stream's rows depend on."""
    found: list[Any] = [stream]
    while found:
        node = found.pop()
        if isinstance(node, ConcurrentCursor):
            yield node
        elif isinstance(node, ConcurrentPerPartitionCursor):
            yield node._cursor_factory.create({}, None)
        for name in HOLDERS_OF_CURSORS:
            inner = getattr(node, name, None)
            found += inner if isinstance(inner, list) else [inner] * (inner is not None)


def _jsonable(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


class ControlMessages:
    """Standard output for the CDK, which prints to it: only a changed config is heard."""

    def __init__(self) -> None:
        """Hear nothing at first: a config that is migrated is so in every run."""
        self.listener: Callable[[Mapping[str, Any]], None] = lambda _: None

    def write(self, text: str) -> int:
        """Take what is printed."""
        for line in text.splitlines():
            if '"CONNECTOR_CONFIG"' in line:
                self.listener(json.loads(line)["control"]["connectorConfig"]["config"])
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


@contextmanager
def control_messages() -> Iterator[ControlMessages]:
    """Keep standard output for Singer's messages while the CDK works."""
    kept, control = sys.stdout, ControlMessages()
    sys.stdout = control
    try:
        yield control
    finally:
        sys.stdout = kept


@contextmanager
def request_cache() -> Iterator[None]:
    """Give the CDK a private folder for the answers that parents and children share.

    A run that was killed leaves its own behind, which the next one removes.
    """
    for left in Path(gettempdir()).glob(f"{CACHE_PREFIX}*"):
        with suppress(OSError, ValueError):
            if not _is_alive(int(left.name.removeprefix(CACHE_PREFIX).partition("-")[0])):
                shutil.rmtree(left)
    with TemporaryDirectory(
        prefix=f"{CACHE_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True
    ) as folder:
        os.environ[ENV_REQUEST_CACHE_PATH] = folder
        yield


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
