"""A source from a Postgres URL: what there is to read, by whom, and whether encrypted."""

import ipaddress
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo, sql
from stack.postgres import TAP, Connection, RefusedError, connected
from stack.project import REFERENCE, Plugin, Project, variable_name
from stack.streams.catalog import table_of
from stack.terminal import StackError, ask, echo, last_line
from target_bigquery_arrow.column_types import column_type
from target_bigquery_arrow.names import valid_name

from source_files.new_source import source_file
from source_files.new_source.settings import ask_tap, refuse_unknown
from source_files.new_source.source_file import (
    Draft,
    Select,
    Variable,
    WithComment,
    expanded,
    loose_pattern,
    stream_pattern,
)

DATABASE = {"database": "dbname"}
NUMBERS = {"port", "ssh_port"}
LOOK_SECONDS = 10
"""How long finding out whether a column is unique may take, for each table."""
NO_KEY_TYPES = {"FLOAT64", "JSON"}
"""Types that can't be a key in BigQuery."""

IF_IT_CAN = "Encrypted if the server can. `require` insists on it."
CHECKED = "Encrypted, and the server's certificate is checked."
SSL_COMMENTS = {
    "disable": "Not encrypted. `require` insists on it.",
    "require": (
        "Encrypted. `verify-full` also checks who answers; it needs `ssl_certificate_authority`."
    ),
    "verify-ca": CHECKED,
    "verify-full": CHECKED,
}
RELATIONS = Path(__file__).with_name("relations.sql").read_text()


@dataclass(frozen=True)
class Table:
    """A table or view, as the database and as the tap know it."""

    stream: str
    schema: str
    relation: str
    may_read: bool
    may_enter: bool
    size: str
    """Rows and bytes, roughly."""
    key: tuple[str, ...]
    columns: Mapping[str, Any]
    """JSON Schemas by name; none where the tap doesn't see the table."""


@dataclass(frozen=True)
class Way:
    """How a database is reached."""

    config: dict[str, Any]
    """The tap's settings."""
    written: dict[str, Any]
    """How they are written into the file, where that is something else."""
    variables: list[Variable]
    """The variables that `written` refers to and that aren't set yet."""

    def keep(self, source: str, setting: str, value: str, *words: str) -> None:
        """Keep a value in a variable; one that is a variable already is referred to."""
        variable = Variable(variable_name(source, *(words or ("postgres", setting))), value)
        self.config[setting] = value
        self.written[setting] = f"${{{variable.name}}}"
        self.variables.append(variable)


def draft(
    name: str,
    url: str,
    project: Project,
    schemas: Sequence[str],
    given: Mapping[str, str] | None = None,
) -> Draft:
    """Look at a database and propose a source.

    Args:
        name: the source's.
        url: where the database is; or `${VARIABLE}`, which holds that.
        project: the tap's settings and place.
        schemas: the schemas to read; all but Postgres' own where there are none.
        given: other settings of the tap; a value may be `${VARIABLE}` too.
    """
    tap = project.plugins[TAP]
    known = source_file.known(project)
    way = _way(name, url, given or {}, tap, known)
    parameters = _parameters(way.config["url"])
    with _connected(name, way, parameters, tap, known) as (connection, at):
        info = connection.info
        echo(f"Connected to {at}, as {info.user}.")
        catalog = _discover(tap, way.config, known, schemas)
        rows = connection.execute(RELATIONS).fetchall()
        tables = [
            _table(row, catalog.get(row["stream"], {}))
            for row in rows
            if not schemas or row["schema"] in schemas
        ]
        if not any(table.may_read for table in tables):
            raise StackError(
                f"There is no table that {info.user} may read in {info.dbname}"
                + (f", schema {', '.join(schemas)}" if schemas else "")
                + f'. Grant it: `grant usage on schema public to "{info.user}"; '
                f'grant select on all tables in schema public to "{info.user}"`.'
            )
        found = Draft(name, "a Postgres database", "Postgres", {"inherit_from": TAP})
        _fill_select(found, tables, connection)
        _fill_in(name, way, parameters, info)
    found.variables = way.variables
    found.config = way.config | way.written
    if "ssl_mode" in found.config:
        mode = str(found.config["ssl_mode"])
        found.config["ssl_mode"] = WithComment(mode, SSL_COMMENTS.get(mode, IF_IT_CAN))
    found.config["filter_schemas"] = sorted({table.schema for table in tables if table.may_enter})
    return found


def _way(
    name: str, url: str, given: Mapping[str, str], tap: Plugin, known: Mapping[str, str]
) -> Way:
    """Return the settings as the tap gets them and as the file has them."""
    # Meltano declares only some of them; those that are secret are among these.
    declared = tap.settings
    if given:
        about = json.loads(ask_tap(tap.installed, "--about", "--format=json").stdout)
        refuse_unknown(given, list(about["settings"]["properties"]), TAP)
    way = Way({}, {}, [])
    for setting, value in {"url": url, **given}.items():
        if REFERENCE.fullmatch(value):
            way.config[setting] = expanded(value, known)
            way.written[setting] = value
        elif setting == "url":
            way.keep(name, setting, value, "database", "url")
        elif setting in declared and declared[setting].sensitive:
            # A file of variables has one line for each: the tap takes such a key.
            is_key = value.lstrip().startswith("-----BEGIN ")
            way.keep(name, setting, value.strip().replace("\n", "\\n") if is_key else value)
        else:
            way.config[setting] = value
    return way


def _fill_in(
    name: str, way: Way, parameters: Mapping[str, str], info: psycopg.ConnectionInfo
) -> None:
    """Keep what this machine knows of the place, and the URL doesn't say."""
    place = {
        "host": info.host,
        "port": str(info.port),
        "user": info.user,
        "password": info.password,
        "database": info.dbname,
    }
    if "service" in parameters or "auth_method" in way.config:
        del place["password"]
    for setting, value in place.items():
        is_said = setting in way.config or DATABASE.get(setting, setting) in parameters
        is_default = setting == "port" and value == "5432"
        if value and not is_said and not is_default and "service" not in parameters:
            way.keep(name, setting, value)


def _parameters(url: str) -> dict[str, str]:
    """Return what a URL says; nothing if it can't be understood, which the tap will say."""
    try:
        found = {k: str(v) for k, v in conninfo.conninfo_to_dict(url).items() if v is not None}
    except psycopg.ProgrammingError:
        return {}
    if not {"dbname", "service"} & found.keys() and not os.environ.get("PGDATABASE"):
        message = "The Postgres URL names no database: `postgresql://user@host:5432/database`."
        raise StackError(message)
    return found


@contextmanager
def _connected(
    name: str,
    way: Way,
    parameters: Mapping[str, str],
    tap: Plugin,
    known: Mapping[str, str],
) -> Iterator[tuple[Connection, str]]:
    """Yield a connection, encrypted where nothing says otherwise, and where it leads."""
    says_mode = "sslmode" in parameters or "ssl_mode" in way.config
    if not says_mode:
        way.config["ssl_mode"] = "require"
    for _ in range(3):
        try:
            with connected(tap.installed, way.config, {**known}, "stack new-source") as found:
                yield found
                return
        except RefusedError as error:
            if "no password supplied" in error.problem and sys.stdin.isatty():
                way.keep(name, "password", ask("Password", hidden=True))
            elif "does not support SSL" not in error.problem or says_mode:
                hint = " PGPASSWORD keeps a password out of the shell's history."
                said = f"{error}{hint if 'password' in error.problem else ''}"
                raise StackError(said) from None
            elif _is_loopback(parameters.get("host", "")):
                way.config["ssl_mode"] = "disable"
            else:
                raise StackError(
                    f"Postgres on {parameters.get('host')} doesn't speak SSL: data would come "
                    "unencrypted. Turn SSL on there (`ssl = on`), or, where the way there is safe, "
                    "add `?sslmode=disable` to the URL."
                ) from None


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _discover(
    tap: Plugin,
    config: Mapping[str, Any],
    variables: Mapping[str, str],
    schemas: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Return the tap's catalog, by stream."""
    settings = {k: int(v) if k in NUMBERS else v for k, v in config.items()}
    settings["filter_schemas"] = list(schemas)
    done = ask_tap(tap.installed, "--discover", config=settings, env=dict(variables))
    if done.returncode:
        raise StackError(f"{TAP} can't read the database: {last_line(done.stderr)}")
    return {entry["tap_stream_id"]: entry for entry in json.loads(done.stdout)["streams"]}


def _table(row: Mapping[str, Any], entry: Mapping[str, Any]) -> Table:
    """Return a table by what the database and the tap's catalog say of it."""
    columns = entry.get("schema", {}).get("properties", {})
    return Table(**row, key=tuple(entry.get("key_properties") or ()), columns=columns)


def _fill_select(found: Draft, tables: Sequence[Table], connection: Connection) -> None:
    """Say which tables and columns are read, which aren't, and why."""
    user = connection.info.user
    taken: dict[str, str] = {}
    left: list[Select] = []
    keyless: list[Select] = []
    for table in tables:
        pattern = f"{stream_pattern(table.stream)}.*"
        if reason := _unfit(table, user, taken):
            left.append(Select(pattern, reason, is_selected=False))
            continue
        taken[table_of(table.stream, {})] = table.stream
        key = table.key
        if not key and (key := _find_key(connection, table)):
            found.metadata[loose_pattern(table.stream)] = {"table-key-properties": list(key)}
        said = f"key: {', '.join(key)}" if key else "no key"
        select = found.select if key else keyless
        select.append(Select(pattern, f"{table.size}; {said}"))
        select.extend(
            Select(f"!{stream_pattern(table.stream)}.{loose_pattern(column)}", reason)
            for column, reason in _left_out(table, key)
        )
        if proposed := source_file.stream_maps(table.stream, table.columns, key):
            found.personal[table.stream] = proposed
    if keyless:
        keyless[0].above = (
            "No key: each run reads all of it, adds it anew, and marks the rows of the run before "
            "as deleted. If some columns tell rows apart, name them under `metadata`, as in "
            "`<stream>: {table-key-properties: [a, b]}`."
        )
        names = [line.pattern.removesuffix(".*") for line in keyless if line.pattern[0] != "!"]
        found.notes.append(
            f"No key: {', '.join(names)}. Each run reads all of it, and it has no staging models "
            f"until `metadata` names one."
        )
    found.select += [*keyless, *left]
    if not any(line.is_selected for line in found.select):
        message = f"No table can be read: {', '.join(f'{x.pattern}: {x.comment}' for x in left)}."
        raise StackError(message)
    for line in left:
        found.notes.append(f"Left out: {line.pattern.removesuffix('.*')}, {line.comment}.")
    if found.metadata:
        found.notes.append(
            f"No key is declared for {', '.join(found.metadata)}. Columns that tell the rows apart "
            "today are taken for one: see `metadata`."
        )


def _unfit(table: Table, user: str, taken: Mapping[str, str]) -> str | None:
    """Return why a table isn't read; `taken` are the raw tables of others, with their streams."""
    if not table.may_enter:
        return f'not readable: grant usage on schema "{table.schema}" to "{user}"'
    if not table.may_read:
        name = f'"{table.schema}"."{table.relation}"'
        return f'not readable: grant select on {name} to "{user}"'
    if not table.columns:
        return "has no columns"
    for column in table.key:
        if not _can_be_key(table, column):
            return f"{column}, in its key, can't be one in BigQuery"
    raw = table_of(table.stream, {})
    return f"would share the raw table {raw} with {taken[raw]}" if raw in taken else None


def _left_out(table: Table, key: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the columns that aren't read, and why."""
    taken: dict[str, str] = {valid_name(column).lower(): column for column in key}
    for column, schema in table.columns.items():
        if column in key:
            continue
        name = valid_name(column).lower()
        if source_file.is_secret(column) and source_file.may_be_text(schema):
            yield column, "looks like a secret"
        elif name in taken:
            yield column, f"would share the raw column {name} with {taken[name]}"
        else:
            taken[name] = column


def _can_be_key(table: Table, column: str) -> bool:
    found = column_type(table.columns[column])
    return found.kind not in NO_KEY_TYPES and not found.repeated


def _find_key(connection: Connection, table: Table) -> tuple[str, ...]:
    """Return columns that tell all rows apart though the database doesn't promise it.

    Only those that are named like a key are looked at: `id`; or all the `<table>_id` of a table
    that does nothing but join others, where a row that came twice would say nothing new.
    """
    usable = [c for c in table.columns if _can_be_key(table, c) and not source_file.is_secret(c)]
    single = [(c,) for c in usable if c.lower() in ("id", "uuid", "guid")]
    pair = tuple(c for c in usable if c.lower().endswith("_id") or c.endswith("Id"))
    joins = len(pair) > 1 and len(pair) == len(table.columns)
    for columns in [*single, *([pair] if joins else [])]:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        query = sql.SQL(
            "select count(*) as row_count, count(distinct ({})) as distinct_count, count(*) "
            "filter (where ({}) is not null) as whole_count from {}"
        ).format(names, names, sql.Identifier(table.schema, table.relation))
        try:
            with connection.transaction():
                connection.execute(f"set local statement_timeout = '{LOOK_SECONDS}s'")
                row = connection.execute(query).fetchone()
        except psycopg.Error:
            continue
        if row and row["row_count"] == row["distinct_count"] == row["whole_count"] > 0:
            return columns
    return ()
