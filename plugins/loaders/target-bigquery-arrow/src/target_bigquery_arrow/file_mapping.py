"""How a tap's Parquet files go into a stream's table."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from target_bigquery_arrow.batches import BatchFile
from target_bigquery_arrow.buffer import sequence
from target_bigquery_arrow.column_types import ColumnType, Kind
from target_bigquery_arrow.decoder import null_key, report_unknown
from target_bigquery_arrow.drift import Reconciliation, SchemaDrift
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import (
    BATCHED_AT,
    EXTRACTED_AT,
    METADATA,
    RECEIVED_AT,
    SEQUENCE,
    TABLE_VERSION,
    Column,
)
from target_bigquery_arrow.staging import (
    REFUSED_NAME,
    StagingTable,
    absent,
    converted,
    staged_type,
)

NOW = "current_timestamp()"
# Metadata that a file may hold.
SENT = tuple(Column(name, name, METADATA[name]) for name in (EXTRACTED_AT, SEQUENCE, TABLE_VERSION))


class FileMapping:
    """Find the columns of a stream in its files: the counterpart of `RecordDecoder`."""

    def __init__(
        self, plan: Reconciliation, drift: SchemaDrift, left_out: Iterable[str] = ()
    ) -> None:
        """Prepare to read; `left_out` are properties that are known to have no column."""
        self._layout = plan.layout
        self._casts = plan.casts
        self._drift = drift
        self._left_out = set(left_out)
        self._columns = {column.name: column for column in (*plan.layout.read_columns, *SENT)}

    def is_loadable(self, file: BatchFile) -> bool:
        """Return whether a load job takes the file as it is.

        Raises:
            LoadError: a column holds what its property can't.
        """
        for column in self._present(file, self._columns.values()):
            arrow = file.types[column.property]
            if staged_type(arrow) is None:
                if pa.types.is_nested(arrow) and column.type.kind is not Kind.JSON:
                    raise self._misfit(column, arrow)
                self._report_unknown(file)
                return False
        # Of every column: BigQuery checks a file's names before it leaves columns out. Source:
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#ColumnNameCharacterMap
        if any(map(REFUSED_NAME.search, file.types)):
            self._report_unknown(file)
            return False
        return True

    def rows(self, name: str, file: BatchFile, version: int | None) -> StagingTable:
        """Return a staging table for rows; equal but for its name where it can be shared.

        Raises:
            LoadError: a column holds what its property can't, a key is null, or `schema_drift`
                forbids a column that is not in the SCHEMA.
        """
        self._report_unknown(file)
        self._check_keys(file)
        present = self._present(file, self._columns.values())
        made = {EXTRACTED_AT: NOW, RECEIVED_AT: NOW, BATCHED_AT: NOW}
        made |= {column.name: self._expression(column, file) for column in present}
        if SEQUENCE not in made:
            # Files that say nothing of their order are merged one after another, as they came.
            made[SEQUENCE] = str(sequence.take(1).start)
        if version is not None:
            made[TABLE_VERSION] = str(version)
        return StagingTable(
            name,
            columns=_staged(file, present),
            expressions={
                column: made.get(column, absent(wanted))
                for column, wanted in self._layout.types.items()
            },
            in_order=False,
        )

    def keys(self, name: str, file: BatchFile) -> StagingTable:
        """Return a staging table for keys alone.

        Raises:
            LoadError: a key is missing or null, or of another type.
        """
        self._check_keys(file)
        keys = self._keys
        for key in keys:
            if staged_type(file.types[key.property]) is None or REFUSED_NAME.search(key.property):
                raise self._misfit(key, file.types[key.property])
        return StagingTable(
            name,
            columns=_staged(file, keys),
            expressions={key.name: self._expression(key, file) for key in keys},
        )

    def no_keys(self) -> Mapping[str, str]:
        """Return what the keys of a source that holds none are made from."""
        return {key.name: absent(self._casts.get(key.name, key.type)) for key in self._keys}

    @property
    def _keys(self) -> list[Column]:
        return [self._columns[name] for name in self._layout.keys]

    def _present(self, file: BatchFile, columns: Iterable[Column]) -> list[Column]:
        """Return the columns that the file has; one of nulls alone says as much as none."""
        return [
            column
            for column in columns
            if not pa.types.is_null(file.types.get(column.property, pa.null()))
        ]

    def _expression(self, column: Column, file: BatchFile) -> str:
        arrow = file.types[column.property]
        staged = staged_type(arrow)
        if staged is None or not (sql := converted(f"`{column.property}`", staged, column.type)):
            raise self._misfit(column, arrow)
        if column.type.repeated and file.has_null_elements(column.property):
            raise self._null_element(column)
        existing = self._casts.get(column.name)
        return f"cast({sql} as {existing})" if existing else sql

    def _check_keys(self, file: BatchFile) -> None:
        present = self._present(file, self._keys)
        for key in self._keys:
            nulls = file.null_count(key.property) if key in present else file.rows
            if nulls:
                raise null_key(self._layout, key, nulls, file.rows)

    def _report_unknown(self, file: BatchFile) -> None:
        known = {column.property for column in self._columns.values()} | self._left_out
        if unknown := file.types.keys() - known:
            report_unknown(self._layout, unknown - METADATA.keys(), self._drift)
            self._left_out |= unknown

    def _misfit(self, column: Column, arrow: pa.DataType) -> LoadError:
        return LoadError(
            f"Stream '{self._layout.stream}', property '{column.property}': its files hold "
            f"{arrow}, which can't become {column.type}. Declare the property's true type in the "
            f"extractor's `schema`."
        )

    def _null_element(self, column: Column) -> LoadError:
        return LoadError(
            f"Stream '{self._layout.stream}', property '{column.property}': a null inside an array "
            f"does not fit {column.type}. Correct the value at the source, or declare the property "
            f"as an `array` without `items` in the extractor's `schema`: it is JSON then."
        )


def _staged(file: BatchFile, columns: Iterable[Column]) -> dict[str, ColumnType]:
    staged = {column.property: staged_type(file.types[column.property]) for column in columns}
    return {name: column for name, column in staged.items() if column}
