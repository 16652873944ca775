"""The CDK's source for a manifest, run in this process."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, override

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
from airbyte_cdk.sources.declarative.concurrent_declarative_source import (
    ConcurrentDeclarativeSource,
)
from airbyte_cdk.sources.streams.concurrent.abstract_stream import AbstractStream

logger = logging.getLogger("tap-airbyte-manifest")


class ManifestSource(ConcurrentDeclarativeSource):
    """A source that builds its streams once."""

    _built: list[AbstractStream] | None = None

    @override
    def streams(self, config: Mapping[str, Any]) -> list[AbstractStream]:
        if self._built is None:
            self._built = super().streams(config)
        return self._built


def open_source(
    manifest: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    selected: Mapping[str, SyncMode] | None = None,
    states: Mapping[str, Mapping[str, Any]] | None = None,
) -> ManifestSource:
    """Return the source.

    Args:
        manifest: checked.
        config: as its `spec` wants it.
        selected: the streams to read, and how; None to read nothing.
        states: each stream's Airbyte state.
    """
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


def configured_catalog(selected: Mapping[str, SyncMode]) -> ConfiguredAirbyteCatalog:
    """Return the CDK's catalog of the streams to read."""
    return ConfiguredAirbyteCatalog(
        streams=[
            ConfiguredAirbyteStream(
                stream=AirbyteStream(name=name, json_schema={}, supported_sync_modes=[mode]),
                sync_mode=mode,
                destination_sync_mode=DestinationSyncMode.append,
            )
            for name, mode in selected.items()
        ]
    )


def read(source: ManifestSource, selected: Mapping[str, SyncMode]) -> Iterator[AirbyteMessage]:
    """Read streams; yields the CDK's messages."""
    return source.read(logger, {}, configured_catalog(selected))
