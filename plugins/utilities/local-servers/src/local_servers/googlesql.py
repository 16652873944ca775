"""BigQuery's verdict on a statement without BigQuery: Google's own analyser, and its evaluator.

BigQuery's SQL is GoogleSQL, whose analyser is open source: https://github.com/google/googlesql.
The package `zetasql` carries it as WebAssembly, with the protocol buffers that it is asked with; of
the package nothing else is used. What the analyser doesn't know is what only BigQuery checks when a
job starts or runs: quotas, `options (…)`, limits of partitions, permissions.
"""

import ctypes
import fcntl
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, cast

from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig, WasmtimeError
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import builtin_function_pb2, simple_table_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as language

FEATURES: Mapping[str, Sequence[str]] = {
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types
    "data types": (
        *("NUMERIC_TYPE", "BIGNUMERIC_TYPE", "DECIMAL_ALIAS", "PARAMETERIZED_TYPES"),
        *("CIVIL_TIME", "INTERVAL_TYPE", "JSON_TYPE", "GEOGRAPHY"),
    ),
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax
    "queries": (
        *("ANALYTIC_FUNCTIONS", "QUALIFY", "WITH_ON_SUBQUERY", "WITH_RECURSIVE"),
        *("SELECT_STAR_EXCEPT_REPLACE", "NULLS_FIRST_LAST_IN_ORDER_BY", "PIVOT", "UNPIVOT"),
        *("GROUP_BY_ALL", "GROUP_BY_ROLLUP", "GROUPING_SETS", "GROUPING_BUILTIN"),
        *("ALLOW_DASHES_IN_TABLE_NAME", "IS_DISTINCT", "LIKE_ANY_SOME_ALL"),
    ),
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-reference and
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate-function-calls
    "calls of functions": (
        *("SAFE_FUNCTION_CALL", "NAMED_ARGUMENTS", "FORMAT_IN_CAST"),
        *("ORDER_BY_IN_AGGREGATE", "LIMIT_IN_AGGREGATE", "HAVING_IN_AGGREGATE"),
        *("NULL_HANDLING_MODIFIER_IN_AGGREGATE", "NULL_HANDLING_MODIFIER_IN_ANALYTIC"),
    ),
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions
    "JSON functions": (
        *("JSON_ARRAY_FUNCTIONS", "JSON_VALUE_EXTRACTION_FUNCTIONS"),
        *("JSON_LAX_VALUE_EXTRACTION_FUNCTIONS", "JSON_QUERY_LAX", "JSON_KEYS_FUNCTION"),
        *("JSON_CONSTRUCTOR_FUNCTIONS", "JSON_MUTATOR_FUNCTIONS"),
    ),
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all
    "other functions": (
        *("ADDITIONAL_STRING_FUNCTIONS", "CONCAT_MIXED_TYPES", "ALLOW_REGEXP_EXTRACT_OPTIONALS"),
        *("DATE_ARITHMETICS", "DATE_TIME_CONSTRUCTORS", "EXTENDED_DATE_TIME_SIGNATURES"),
        *("WEEK_WITH_WEEKDAY", "TIME_BUCKET_FUNCTIONS"),
        *("ROUND_WITH_ROUNDING_MODE", "TYPEOF_FUNCTION"),
    ),
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax
    "DML": ("DML_UPDATE_WITH_JOIN", "OMIT_INSERT_COLUMN_LIST"),
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language
    "DDL": (
        *("CREATE_TABLE_PARTITION_BY", "CREATE_TABLE_CLUSTER_BY", "CREATE_TABLE_NOT_NULL"),
        *("CREATE_TABLE_AS_SELECT_COLUMN_LIST", "CREATE_TABLE_FIELD_ANNOTATIONS"),
        *("CREATE_TABLE_LIKE", "CREATE_TABLE_COPY", "COLUMN_DEFAULT_VALUE"),
        *("CREATE_VIEW_WITH_COLUMN_LIST", "CREATE_VIEWS_WITH_COLUMN_OPTIONS"),
        *("UNENFORCED_PRIMARY_KEYS", "FOREIGN_KEYS"),
        *("ALTER_COLUMN_SET_DATA_TYPE", "ALTER_TABLE_RENAME_COLUMN"),
    ),
    # Restrictions: the minimum and the sum of arrays are not BigQuery's.
    "restrictions": ("DISABLE_ARRAY_MIN_AND_MAX", "DISABLE_ARRAY_SUM_AND_AVG"),
}
"""What BigQuery documents and GoogleSQL knows as a feature; whatever is not here is rejected.

Off, among others: columns of a SELECT list in that same list, comparisons and groups of arrays,
JSON and structs, 32-bit and unsigned types, nanoseconds, what is in preview.
"""

RESERVED_WORDS = ("QUALIFY",)
"""Reserved in BigQuery, where GoogleSQL leaves the choice:
https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords"""

NO_FUNCTIONS = (
    *("ISERROR", "IFERROR", "NULLIFERROR", "ARRAY_FILTER", "ARRAY_TRANSFORM", "ARRAY_INCLUDES"),
    *("REGEXP_EXTRACT_GROUPS", "ELEMENTWISE_", "L1_NORM", "L2_NORM", "MANHATTAN_DISTANCE", "ZSTD_"),
)
"""How functions begin that GoogleSQL has under no feature, and BigQuery hasn't:
https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all"""

STATEMENTS = (
    *("QUERY", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"),
    *("CREATE_SCHEMA", "ALTER_SCHEMA", "CREATE_TABLE", "CREATE_TABLE_AS_SELECT", "ALTER_TABLE"),
    *("CREATE_VIEW", "ALTER_VIEW", "DROP", "BEGIN", "COMMIT", "ROLLBACK"),
)

LANGUAGE = options_pb2.LanguageOptionsProto(
    # BigQuery's types and messages, and not those of Google's own databases.
    product_mode=language.PRODUCT_EXTERNAL,
    name_resolution_mode=language.NAME_RESOLUTION_DEFAULT,
    enabled_language_features=[f"FEATURE_{name}" for names in FEATURES.values() for name in names],
    supported_statement_kinds=[f"RESOLVED_{name}_STMT" for name in STATEMENTS],
    reserved_keywords=RESERVED_WORDS,
)
EXCLUDED = [
    name
    for name in builtin_function_pb2.FunctionSignatureId.keys()  # noqa: SIM118 - not a mapping
    if name.removeprefix("FN_").startswith(NO_FUNCTIONS)
]
OPTIONS = options_pb2.AnalyzerOptionsProto(
    language_options=LANGUAGE,
    error_message_mode=language.ERROR_MESSAGE_ONE_LINE,
    default_timezone="UTC",
)

COMPILED = Path(sys.prefix) / "share" / "googlesql"
"""Where the analyser stays compiled: in the Python environment, for all that use it."""

# A string or a comment, or else a quoted name: strings may span lines, and hold quoted names.
_TOKENS = re.compile(
    r"""(?s)'''(?:\\.|[^\\])*?'''|\"{3}(?:\\.|[^\\])*?\"{3}|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"
    |--[^\n]*|\#[^\n]*|/\*.*?\*/|`(?P<name>[^`]+)`""",
    re.VERBOSE,
)


BLOCK = re.compile(
    r"\s*begin\s(?P<statements>.*)\bexception\s+when\s+error\s+then\s.*\bend\s*", re.I | re.S
)
"""The analyser knows no scripts. Of a block, it gets the statements, not what handles an error."""


class Rejected(Exception):  # noqa: N818 - an answer, and not a fault of ours
    """BigQuery would not take a statement."""


class GoogleSQL:
    """Google's analyser and evaluator, in this process."""

    def __init__(self) -> None:
        """Start it. The first start in a Python environment compiles it: half a minute of CPU."""
        config = Config()
        config.shared_memory = True
        engine = Engine(config)
        self._store = Store(engine)
        wasi = WasiConfig()
        with as_file(files("tzdata") / "zoneinfo") as zones:
            wasi.preopen_dir(str(zones), "/usr/share/zoneinfo")
        self._store.set_wasi(wasi)
        linker = Linker(engine)
        linker.define_wasi()
        instance = linker.instantiate(self._store, _compiled(engine))
        self._exports = cast("Any", instance.exports(self._store))
        self._exports["_initialize"](self._store)
        # It is shared memory, which never moves.
        self._memory = ctypes.addressof(self._exports["memory"].data_ptr().contents)
        self._types: dict[str, Any] = {}
        self._functions = self.catalog({})

    def catalog(self, tables: Mapping[str, Mapping[str, str]]) -> "Catalog":
        """Return what statements may use: these tables, and BigQuery's functions.

        Args:
            tables: the types of a table's columns, by `[[project.]dataset.]table` and their names;
                one without a dataset is in the job's default dataset.

        Raises:
            Rejected: BigQuery has no such type.
        """
        kinds = {kind for columns in tables.values() for kind in columns.values()}
        self._learn(sorted(kinds - self._types.keys()))
        root = simple_catalog_pb2.SimpleCatalogProto(
            builtin_function_options=options_pb2.ZetaSQLBuiltinFunctionOptionsProto(
                language_options=LANGUAGE, exclude_function_ids=EXCLUDED
            )
        )
        for name, columns in tables.items():
            table = simple_table_pb2.SimpleTableProto(
                full_name=name,
                column=[
                    simple_table_pb2.SimpleColumnProto(name=column, type=self._types[kind])
                    for column, kind in columns.items()
                ],
            )
            *folders, table.name = name.split(".")
            for path in (folders, folders[1:]) if len(folders) > 1 else (folders,):
                _folder(root, path).table.append(table)
        request = service.RegisterCatalogRequest(simple_catalog=root)
        response = self.call("RegisterCatalog", request, service.RegisterResponse)
        return Catalog(self, int(response.registered_id))

    def _learn(self, types: Sequence[str]) -> None:
        """Find out what types are, from their names in GoogleSQL."""
        if types:
            query = f"select {', '.join(f'cast(null as {kind})' for kind in types)}"
            found = self._functions.next_statement(query).resolved_statement
            columns = found.resolved_query_stmt_node.output_column_list
            self._types |= {
                kind: output.column.type for kind, output in zip(types, columns, strict=True)
            }

    def call(self, method: str, request: Any, response: Any) -> Any:
        """Ask the service that the WebAssembly is; it takes and gives protocol buffers.

        Raises:
            Rejected: it says no.
        """
        data = request.SerializeToString()
        sent = self._run("wasm_malloc", max(len(data), 1))
        size = self._run("wasm_malloc", 4)
        ctypes.memmove(self._memory + sent, data, len(data))
        try:
            answer = self._run(f"ZetaSqlLocalService_{method}", sent, len(data), size)
            if not answer:
                length = self._run("wasm_get_last_error_size")
                message = self._read(self._run("wasm_get_last_error"), length)
                raise Rejected(message.decode().partition("Message: ")[2])
            length = int.from_bytes(self._read(size, 4), "little")
            found = response.FromString(self._read(answer, length))
            self._run("wasm_free", answer)
            return found
        finally:
            self._run("wasm_free", sent)
            self._run("wasm_free", size)

    def _run(self, function: str, *arguments: int) -> int:
        return int(self._exports[function](self._store, *arguments) or 0)

    def _read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(self._memory + address, size)


@dataclass(frozen=True)
class Catalog:
    """Tables and functions, and what statements come to that use them."""

    googlesql: GoogleSQL
    registered_id: int

    def rejection(self, sql: str) -> str | None:
        """Return why BigQuery wouldn't take a statement, or one of several; None if it would."""
        block = BLOCK.fullmatch(sql)
        text = _with_paths(block["statements"] if block else sql)
        position = 0
        try:
            while text.encode()[position:].strip():
                position = self.next_statement(text, position).resume_byte_position
        except Rejected as error:
            return str(error)
        return None

    def evaluate(
        self, query: str, tables: Mapping[str, Sequence[Mapping[str, str]]] | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows of a query, in no order, as JSON writes them: a NUMERIC is a text, say.

        Args:
            query: a query, as dbt compiles it, say.
            tables: the rows of the tables that it reads, by the tables' names as the query writes
                them, without quotes. A row maps each column to an expression of its value; all rows
                of a table have the same columns.

        Raises:
            Rejected: BigQuery wouldn't take it, or it fails on these rows.
        """
        text = _with_paths(query)
        given = []
        for name, rows in (tables or {}).items():
            path = r"\.".join(f"`?{re.escape(part)}`?" for part in name.split("."))
            text = re.sub(rf"(?<![\w`.-]){path}(?![\w`.-])", f"`{name}`", text)
            selects = (
                "select " + ", ".join(f"{value} as `{column}`" for column, value in row.items())
                for row in rows
            )
            given.append(f"`{name}` as ({' union all '.join(selects)})")
        with_ = f"with {', '.join(given)} " if given else ""
        request = service.EvaluateQueryRequest(
            sql=f"{with_}select to_json_string(evaluated) from (\n{text}\n) as evaluated",
            options=OPTIONS,
            registered_catalog_id=self.registered_id,
        )
        response = self.googlesql.call("EvaluateQuery", request, service.EvaluateQueryResponse)
        return [json.loads(row.cell[0].string_value) for row in response.content.table_data.row]

    def next_statement(self, text: str, position: int = 0) -> Any:
        """Analyse the statement that begins at a byte of a text.

        Raises:
            Rejected: BigQuery wouldn't take it.
        """
        request = service.AnalyzeRequest(options=OPTIONS, registered_catalog_id=self.registered_id)
        request.parse_resume_location.input = text
        request.parse_resume_location.byte_position = position
        return self.googlesql.call("Analyze", request, service.AnalyzeResponse)


def _compiled(engine: Engine) -> Module:
    """Return the analyser, compiled for this machine once for all processes."""
    COMPILED.mkdir(parents=True, exist_ok=True)
    file = COMPILED / f"zetasql-{version('zetasql')}-wasmtime-{version('wasmtime')}"
    with (COMPILED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return Module.deserialize_file(engine, str(file))
        except WasmtimeError:  # not there, or of another machine
            new = file.with_suffix(".new")
            new.write_bytes(Module.from_file(engine, str(get_wasm_path())).serialize())
            new.replace(file)
        return Module.deserialize_file(engine, str(file))


def _with_paths(sql: str) -> str:
    """Write `a.b` as `a`.`b`: in BigQuery, quotes around a path are quotes around its parts."""

    def split(token: re.Match[str]) -> str:
        name = token["name"]
        return ".".join(f"`{part}`" for part in name.split(".")) if name else token[0]

    return _TOKENS.sub(split, sql)


def _folder(catalog: Any, path: Iterable[str]) -> Any:
    for name in path:
        found = [inner for inner in catalog.catalog if inner.name == name]
        catalog = found[0] if found else catalog.catalog.add(name=name)
    return catalog


if __name__ == "__main__":
    GoogleSQL()  # set-up compiles it, so that no test has to
