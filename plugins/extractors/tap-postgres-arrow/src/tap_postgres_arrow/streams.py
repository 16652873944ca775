"""A stream: what the catalog asks of a relation, and how a run answers."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NoReturn, override

from singer_sdk import Stream, Tap
from singer_sdk.singerlib import Catalog, MetadataMapping

from tap_postgres_arrow.column_types import Field, field_of
from tap_postgres_arrow.database import StreamRef
from tap_postgres_arrow.discovery import XMIN, Column, Relation
from tap_postgres_arrow.emit import METADATA_SCHEMA
from tap_postgres_arrow.errors import TapError


class PostgresStream(Stream):
    """A table or view, as the catalog selects it."""

    def __init__(
        self,
        tap: Tap,
        relation: Relation,
        metadata: Mapping[str, Any],
        sync: Callable[["PostgresStream"], None],
    ) -> None:
        """Describe a relation; replicate it by xmin where it can be.

        Args:
            tap: gives the settings, the catalog and the state.
            relation: what is read.
            metadata: what the catalog says of the stream as a whole.
            sync: returns when the stream has been read.
        """
        super().__init__(tap, schema=relation.json_schema, name=relation.stream)
        self.relation = relation
        self.stream_ref = StreamRef(relation.stream, relation.sql)
        self.primary_keys = relation.key
        self._root_metadata = metadata
        self._sync = sync
        if relation.has_xmin and relation.key:
            self.replication_key = XMIN

    @property
    @override
    def metadata(self) -> MetadataMapping:
        if self._metadata is None and self._tap_input_catalog is None:
            found = super().metadata
            found.root.schema_name = self.relation.schema
            columns = [column.name for column in self.relation.columns]
            found.root.valid_replication_keys = [
                *([XMIN] if self.relation.has_xmin and self.relation.key else []),
                *columns,
            ]
        return super().metadata

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        super().apply_catalog(catalog)
        entry = catalog.get_stream(self.name)
        if entry and (declared := entry.metadata.root.table_key_properties):
            # What the user says in `metadata` goes before what discovery found.
            self.primary_keys = tuple(declared)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Return the columns that are selected, and those of the key.

        Raises:
            TapError: there are none, or the key has one that the relation hasn't.
        """
        names = {column.name for column in self.relation.columns}
        if missing := [key for key in self.primary_keys if key not in names]:
            message = (
                f"Stream '{self.name}': its key column '{missing[0]}' isn't in "
                f"{self.relation.sql}. Correct `table-key-properties` in the extractor's "
                f"`metadata`."
            )
            raise TapError(message)
        chosen = tuple(
            column
            for column in self.relation.columns
            if self.mask["properties", column.name] or column.name in self.primary_keys
        )
        if not chosen:
            message = (
                f"Stream '{self.name}': none of its columns is selected. Select some, or "
                f"{self.stream_ref.left_out}."
            )
            raise TapError(message)
        return chosen

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """Return how the selected columns travel."""
        return tuple(
            field_of(column.name, column.source, column.type, self._declared(column))
            for column in self.columns
        )

    @property
    def key_fields(self) -> tuple[Field, ...]:
        """Return how the key travels."""
        by_name = {field.name: field for field in self.fields}
        return tuple(by_name[key] for key in self.primary_keys)

    def _declared(self, column: Column) -> Mapping[str, Any]:
        properties = self.effective_schema.get("properties", {})
        declared: Mapping[str, Any] = properties.get(column.name, column.schema)
        return declared

    def message_schema(self, *, batches: bool) -> dict[str, Any]:
        """Return the schema of the SCHEMA message: the columns that are selected."""
        properties = {column.name: self._declared(column) for column in self.columns}
        return {
            "type": "object",
            "properties": properties | (dict(METADATA_SCHEMA) if batches else {}),
        }

    @property
    def detects_deletes(self) -> bool:
        """Whether to look for rows that were deleted at the source; that needs a key."""
        own = self._root_metadata.get("detect-deletes")
        wanted = self.config["detect_deletes"] if own is None else own
        return bool(wanted and self.primary_keys)

    @property
    def replication_key_overlap(self) -> str | None:
        """Return how far before the last run's greatest value to read, as the user says it."""
        overlap = self._root_metadata.get("replication-key-overlap")
        return None if overlap is None else str(overlap)

    def select(self, fields: Sequence[Field], condition: str | None = None) -> str:
        """Return the query for some of its columns."""
        wanted = ", ".join(field.expression for field in fields)
        limited = f" limit {self.ABORT_AT_RECORD_COUNT}" if self.ABORT_AT_RECORD_COUNT else ""
        return (
            f"select {wanted} from {self.relation.source}"
            f"{f' where {condition}' if condition else ''}{limited}"
        )

    def count(self, fields: Sequence[Field]) -> str:
        """Return the query that reads some of its columns as `select` does, and returns one row."""
        values = (
            f"count(pg_catalog.convert_to(({field.expression})::text, 'UTF8'))" for field in fields
        )
        return f"select {', '.join(values) or 'count(*)'} from {self.relation.source}"

    @override  # type: ignore[misc]
    def sync(self, context: Any = None) -> None:
        # Final in the SDK, which handles one dictionary a row.
        self._sync(self)

    @override
    def finalize_state_progress_markers(self, state: dict[str, Any] | None = None) -> None:
        """Do nothing: each stream's state went out when it was complete."""

    @override
    def get_records(self, context: Any) -> NoReturn:
        """Never called: see `sync`."""
        raise NotImplementedError
