"""Updates the tables and fields in the state to those in the warehouse.

Values that people set (names, descriptions, types, keys) are never changed here.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.metabase.discovery import Column, DiscoveredTable, Warehouse
from sandbox.metabase.semantics import humanise
from sandbox.metabase.store import Field, State, Store, Table, next_id, now, update

logger = logging.getLogger(__name__)


class Syncer:
    """Runs syncs in the background: one at a time, and none is lost."""

    def __init__(self, store: Store, connect: Callable[[Mapping[str, Any]], Warehouse]) -> None:
        self._store = store
        self._connect = connect
        self._lock = threading.Lock()

    def check(self, details: Mapping[str, Any]) -> None:
        """Check that a sync with these connection details can succeed.

        Raises:
            WarehouseError: The warehouse can't be reached, or has none of the included datasets.
        """
        self._connect(details).check()

    def start(self, database_id: int) -> None:
        """Return as soon as the warehouse has answered; the sync continues in the background.

        Raises:
            WarehouseError: The warehouse can't be reached, or has none of the included datasets.
        """
        with self._store.read() as state:
            details = dict(state.databases[database_id].details)
        warehouse = self._connect(details)
        warehouse.check()
        threading.Thread(
            target=self._run, args=(database_id, warehouse), name="sync", daemon=True
        ).start()

    def _run(self, database_id: int, warehouse: Warehouse) -> None:
        try:
            with self._lock:
                discovered = warehouse.tables()
                with self._store.write() as state:
                    changes = apply(state, database_id, discovered)
            logger.info("sync found %d tables; %d changes", len(discovered), changes)
        except Exception:
            # The request was answered before: only the log can report this.
            logger.exception("sync failed; the tables and fields are as they were before")


def apply(state: State, database_id: int, discovered: list[DiscoveredTable]) -> int:
    """Create, reactivate and deactivate tables and fields; return the number of changed rows."""
    known = {(table.schema, table.name): table for table in state.tables_of(database_id)}
    changes = 0
    for found in discovered:
        table = known.pop((found.schema, found.name), None)
        if table is None:
            table = Table(
                id=next_id(state.tables),
                db_id=database_id,
                schema=found.schema,
                name=found.name,
                display_name=humanise(found.name),
            )
            state.tables[table.id] = table
            changes += 1
        changes += update(table, active=True, deactivated_at=None)
        if table.visibility_type is None:  # Metabase does not look into hidden tables.
            changes += _apply_columns(state, table, found.columns)
            changes += update(table, initial_sync_status="complete")
    for table in known.values():
        if table.active:
            changes += update(table, active=False, deactivated_at=now())
    return changes + update(state.databases[database_id], initial_sync_status="complete")


def _apply_columns(state: State, table: Table, columns: tuple[Column, ...]) -> int:
    known = {(*(field.nfc_path or ()), field.name): field for field in state.fields_of(table.id)}
    ids = {path: field.id for path, field in known.items()}
    changes = 0
    for column in sorted(columns, key=lambda column: (len(column.path), column.position)):
        *parents, name = column.path
        field = known.pop(column.path, None)
        if field is None:
            field = Field(
                id=next_id(state.fields),
                table_id=table.id,
                name=name,
                display_name=humanise(name),
                database_type=column.database_type,
                base_type=column.base_type,
                database_position=column.position,
                position=column.position,
                parent_id=ids[tuple(parents)] if parents else None,
                nfc_path=parents or None,
                visibility_type="details-only"
                if column.base_type == "type/Dictionary"
                else "normal",
            )
            state.fields[field.id] = field
            ids[column.path] = field.id
            changes += 1
        changes += update(
            field,
            active=True,
            database_type=column.database_type,
            base_type=column.base_type,
            database_position=column.position,
            position=field.custom_position if table.field_order == "custom" else column.position,
            database_partitioned=column.partitioned,
        )
    return changes + sum(_retire(state, field) for field in known.values())


def _retire(state: State, retired: Field) -> int:
    if not retired.active:
        return 0
    for field in state.fields.values():
        if field.fk_target_field_id == retired.id:
            update(field, fk_target_field_id=None)
    return update(retired, active=False)
