"""The tables of the warehouse, from BigQuery's INFORMATION_SCHEMA, as Metabase's driver reads them.

Source: Metabase's `modules/drivers/bigquery-cloud-sdk/src/metabase/driver/bigquery_cloud_sdk.clj`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from google.api_core.exceptions import GoogleAPIError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from requests.exceptions import RequestException

ENGINE = "bigquery-cloud-sdk"
_CHECK_TIMEOUT = 5.0  # seconds
_QUERY_TIMEOUT = 60.0  # seconds

_DATABASE_TYPES = {
    "ARRAY": "ARRAY",
    "BIGNUMERIC": "BIGNUMERIC",
    "BOOL": "BOOLEAN",
    "BYTES": "BYTES",
    "FLOAT64": "FLOAT",
    "INT64": "INTEGER",
    "NUMERIC": "NUMERIC",
    "STRING": "STRING",
    "STRUCT": "RECORD",
}
_BASE_TYPES = {
    "ARRAY": "type/Array",
    "BIGNUMERIC": "type/Decimal",
    "BOOLEAN": "type/Boolean",
    "DATE": "type/Date",
    "DATETIME": "type/DateTime",
    "FLOAT": "type/Float",
    "INTEGER": "type/Integer",
    "JSON": "type/JSON",
    "NUMERIC": "type/Decimal",
    "RECORD": "type/Dictionary",
    "STRING": "type/Text",
    "TIME": "type/Time",
    "TIMESTAMP": "type/DateTimeWithLocalTZ",
}


class WarehouseError(Exception):
    """The warehouse can't be reached, or has none of the requested datasets."""


@dataclass(frozen=True)
class Column:
    """A column, or a leaf of a STRUCT column (then `path` has several names).

    `position` is the position of the top-level column, from 0.
    """

    path: tuple[str, ...]
    database_type: str
    base_type: str
    position: int
    partitioned: bool = False


@dataclass(frozen=True)
class DiscoveredTable:
    """A table or view, and its columns."""

    schema: str
    name: str
    columns: tuple[Column, ...]


type Schema = list[tuple[str, str]]
"""Names and base types of a result's columns."""


class Warehouse(Protocol):
    """The methods of a warehouse that a sync calls."""

    def check(self) -> None:
        """Raise WarehouseError if a sync could not succeed."""

    def tables(self) -> list[DiscoveredTable]:
        """All tables and views of the included datasets."""

    def query(self, sql: str, limit: int) -> tuple[Schema, list[tuple[Any, ...]]]:
        """Run SQL, and return its columns and at most so many rows; raise WarehouseError."""

    def columns(self, sql: str) -> Schema:
        """Return the columns of SQL without its rows; raise WarehouseError."""


def metabase_types(data_type: str) -> tuple[str, str]:
    """Metabase's database type and base type of an INFORMATION_SCHEMA `data_type`.

    `NUMERIC(12, 2)` → `("NUMERIC", "type/Decimal")`. Types that are unknown to Metabase have the
    base type `type/*`.
    """
    name = re.split(r"[<(]", data_type, maxsplit=1)[0].strip()
    database_type = _DATABASE_TYPES.get(name, name)
    return database_type, _BASE_TYPES.get(database_type, "type/*")


class BigQueryWarehouse:
    """A BigQuery without authentication, such as an emulator on loopback."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        self._project: str = details["project-id"]
        self._endpoint: str = details["host"]
        self._patterns = [p.strip() for p in details["dataset-filters-patterns"].split(",")]
        self._client = bigquery.Client(
            project=self._project,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self._endpoint},
        )

    def check(self) -> None:
        """List the datasets, which fails fast."""
        if not self._datasets():
            raise WarehouseError("Looks like we cannot find any matching datasets.")

    def tables(self) -> list[DiscoveredTable]:
        """Read INFORMATION_SCHEMA."""
        return [table for dataset in self._datasets() for table in self._tables_of(dataset)]

    def query(self, sql: str, limit: int) -> tuple[Schema, list[tuple[Any, ...]]]:
        """Run SQL as a job, with the project that the tables are in."""
        try:
            result = self._client.query(sql).result(timeout=_QUERY_TIMEOUT, max_results=limit)
            rows = [tuple(row.values()) for row in result]
        except (GoogleAPIError, RequestException) as error:
            raise WarehouseError(_message(error)) from error
        return [(column.name, _base_type(column)) for column in result.schema], rows

    def columns(self, sql: str) -> Schema:
        """Run SQL and throw its rows away: not every emulator knows a dry run's schema."""
        return self.query(sql, limit=0)[0]

    def _datasets(self) -> list[str]:
        try:
            listed = self._client.list_datasets(retry=None, timeout=_CHECK_TIMEOUT)  # type: ignore[arg-type]
            names = [dataset.dataset_id for dataset in listed]
        except (GoogleAPIError, RequestException) as error:
            raise WarehouseError(
                f"BigQuery at {self._endpoint} can't be reached ({type(error).__name__}). "
                "Start it with `meltano invoke sandbox up`."
            ) from error
        return [name for name in names if any(fnmatchcase(name, p) for p in self._patterns)]

    def _tables_of(self, dataset: str) -> Iterator[DiscoveredTable]:
        information_schema = f"`{self._project}`.`{dataset}`.INFORMATION_SCHEMA"
        tables = self._rows(f"select table_name from {information_schema}.TABLES")
        columns: dict[str, list[Column]] = {row["table_name"]: [] for row in tables}
        for row in self._rows(
            "select c.table_name, p.field_path, p.data_type, c.ordinal_position,"
            " c.is_partitioning_column"
            f" from {information_schema}.COLUMNS as c"
            f" inner join {information_schema}.COLUMN_FIELD_PATHS as p"
            " on p.table_name = c.table_name and p.column_name = c.column_name"
            " order by c.table_name, c.ordinal_position, p.field_path"
        ):
            database_type, base_type = metabase_types(row["data_type"])
            columns.setdefault(row["table_name"], []).append(
                Column(
                    path=tuple(row["field_path"].split(".")),
                    database_type=database_type,
                    base_type=base_type,
                    position=row["ordinal_position"] - 1,
                    partitioned=row["is_partitioning_column"] == "YES",
                )
            )
        for name, found in columns.items():
            yield DiscoveredTable(dataset, name, tuple(_addressable(found)))

    def _rows(self, sql: str) -> Iterator[Mapping[str, Any]]:
        yield from self._client.query(sql).result(timeout=_QUERY_TIMEOUT)


def _base_type(column: bigquery.SchemaField) -> str:
    if column.mode == "REPEATED":
        return "type/Array"
    return _BASE_TYPES.get(column.field_type, "type/*")


def _message(error: GoogleAPIError | RequestException) -> str:
    """The reason that BigQuery says, without the address of the request."""
    return str(getattr(error, "message", None) or error).splitlines()[0]


def _addressable(columns: list[Column]) -> Iterator[Column]:
    """Leave out the columns inside an ARRAY of STRUCTs, as Metabase does."""
    records = {column.path for column in columns if column.base_type == "type/Dictionary"}
    return (
        column
        for column in columns
        if all(column.path[:depth] in records for depth in range(1, len(column.path)))
    )
