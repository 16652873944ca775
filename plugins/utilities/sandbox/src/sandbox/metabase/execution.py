"""Runs queries on the warehouse, and answers as `POST /api/dataset` does."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import sqlglot

from sandbox.metabase import errors, mbql, native, parameters
from sandbox.metabase.compile import MAX_BARE_ROWS, Column, Compiled, Compiler
from sandbox.metabase.discovery import Warehouse, WarehouseError
from sandbox.metabase.parameters import Given
from sandbox.metabase.store import State, now

logger = logging.getLogger(__name__)

MAX_ROWS = 10_000
"""How many rows Metabase shows at most."""


@dataclass(frozen=True)
class Prepared:
    """A query that is ready to run: no state is needed any more."""

    query: mbql.Query
    sql: str
    columns: tuple[Column, ...]
    """Those of MBQL. SQL's are known once it has run."""


@dataclass(frozen=True)
class Result:
    """Rows with their columns; or `error`, why there are none."""

    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    sql: str = ""
    error: str | None = None


def prepare(
    state: State, warehouse: Warehouse, query: mbql.Query, given: Sequence[Given] = ()
) -> Prepared:
    """Compile a query with the values of its parameters.

    Raises:
        QueryError: It names what isn't there.
        ApiError: 501 for what the fake doesn't know.
    """

    def inner_native(inner: mbql.Query) -> Compiled:
        sql = native.filled_in(inner, given, compiler)
        parsed = sqlglot.parse_one(sql.rstrip().removesuffix(";"), dialect="bigquery")
        if not isinstance(parsed, sqlglot.exp.Select):
            raise errors.not_implemented("a question on SQL that is no single SELECT")
        return Compiled(parsed, native.columns(warehouse.columns(sql)))

    compiler = Compiler(state, inner_native)
    if mbql.is_native(query) and len(query["stages"]) == 1:
        return Prepared(query, native.filled_in(query, given, compiler), ())
    changed = parameters.applied(query, given)
    compiled = compiler.compile(changed)
    last = changed["stages"][-1]
    if not (last.get("aggregation") or last.get("breakout") or last.get("limit")):
        compiled = Compiled(compiled.select.limit(MAX_BARE_ROWS), compiled.columns)
    return Prepared(query, compiled.sql, compiled.columns)


def run(prepared: Prepared, warehouse: Warehouse) -> Result:
    """Run a query. What goes wrong is in the result, as Metabase puts it there."""
    try:
        schema, rows = warehouse.query(prepared.sql, MAX_ROWS)
    except WarehouseError as error:
        logger.warning("query failed: %s\n%s", error, prepared.sql)
        return Result(sql=prepared.sql, error=str(error))
    columns = prepared.columns or native.columns(schema)
    return Result(columns, tuple(tuple(map(_plain, row)) for row in rows), prepared.sql)


def _plain(value: Any) -> Any:
    """The value as JSON has it, in Metabase's formats. Dates start at midnight UTC."""
    match value:
        case datetime():
            utc = value.astimezone(UTC) if value.tzinfo else value
            digits = "milliseconds" if utc.microsecond else "seconds"
            return f"{utc.replace(tzinfo=None).isoformat(timespec=digits)}Z"
        case date():
            return f"{value.isoformat()}T00:00:00Z"
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.hex()
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def answer(query: mbql.Query, result: Result, started: float) -> dict[str, Any]:
    """What the API says of a result, whether it has rows or an error."""
    common = {
        "average_execution_time": None,
        "cached": None,
        "context": "question",
        "database_id": query["database"],
        "json_query": query,
        "row_count": len(result.rows),
        "running_time": round((time.monotonic() - started) * 1000),
        "started_at": now(),
        "via": [],
    }
    columns = [column(one) for one in result.columns]
    data = {
        "cols": columns,
        "insights": None,
        "native_form": {"query": result.sql, "params": None},
        "requested_timezone": "UTC",
        "results_metadata": {"columns": [metadata(one) for one in result.columns]},
        "results_timezone": "UTC",
        "rows": [list(row) for row in result.rows],
    }
    if result.error is not None:
        return common | {
            "status": "failed",
            "class": "class clojure.lang.ExceptionInfo",
            "error": result.error,
            "error_type": "invalid-query",
            "data": {"rows": [], "cols": []},
        }
    return common | {"status": "completed", "data": data}


def column(one: Column) -> dict[str, Any]:
    """A column of a result."""
    return metadata(one) | {
        "active": True,
        "source": one.source,
        **({"unit": one.unit} if one.unit else {}),
    }


def metadata(one: Column) -> dict[str, Any]:
    """A column as a card keeps it in `result_metadata`."""
    reference = (
        ["field", one.field_id, {"temporal-unit": one.unit} if one.unit else None]
        if one.field_id
        else ["field", one.name, {"base-type": one.base_type}]
    )
    return {
        "base_type": one.base_type,
        "description": one.description,
        "display_name": one.display_name,
        "effective_type": one.base_type,
        "field_ref": reference,
        "fingerprint": None,
        "fk_target_field_id": one.fk_target_field_id,
        "name": one.name,
        "semantic_type": one.semantic_type,
        "settings": one.settings,
        "visibility_type": "normal",
        **({"id": one.field_id} if one.field_id else {}),
    }


def parameter_values(sent: Sequence[Mapping[str, Any]]) -> list[Given]:
    """Parameters as a request body has them.

    Raises:
        ApiError: 400 for one without a type.
    """
    if not all(isinstance(one, dict) and isinstance(one.get("type"), str) for one in sent):
        complaint = "parameter must be a map with :id and :type keys"
        raise errors.invalid({"parameters": complaint}, {"parameters": [complaint]})
    return [
        Given(str(one.get("id", "")), one["type"], one.get("value"), one.get("target"))
        for one in sent
    ]
