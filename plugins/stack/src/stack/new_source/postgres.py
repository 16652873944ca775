"""A source from a Postgres URL: what there is to read, by whom, and whether encrypted."""

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import conninfo, sql
from psycopg.rows import dict_row

from stack import scratch
from stack.errors import StackError
from stack.new_source import personal
from stack.new_source.dotenv_file import Variable
from stack.new_source.source_file import Draft, Remarked, Select, variable_name
from stack.project import Project
from stack.terminal import echo

TAP = "tap-postgres-arrow"
CONNECT_SECONDS = 10
LOOK_SECONDS = 10
"""How long finding out whether a column is unique may take, for each table."""
SSL_FILES = {
    "sslrootcert": "ssl_certificate_authority",
    "sslcert": "ssl_client_certificate",
    "sslkey": "ssl_client_private_key",
}
TAKEN = {"host", "port", "user", "password", "dbname", "sslmode", *SSL_FILES}
"""The parameters of a URL that the tap has settings for."""
NO_KEY_TYPES = {"FLOAT64", "JSON"}
"""Types that can't be a key in BigQuery."""

RELATIONS = """
select
    pg_namespace.nspname || '-' || pg_class.relname as stream,
    pg_namespace.nspname as schema,
    pg_class.relname as relation,
    pg_class.relkind in ('v', 'm') as is_view,
    has_schema_privilege(pg_namespace.oid, 'usage') as may_enter,
    has_table_privilege(pg_class.oid, 'select') as may_read,
    parts.row_count,
    parts.byte_count
from pg_class
inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
cross join lateral (
    select
        sum(part.reltuples) filter (where part.reltuples >= 0)::bigint as row_count,
        sum(pg_total_relation_size(part.oid))::bigint as byte_count
    from pg_class as part
    where
        part.oid = pg_class.oid
        or part.oid in (select relid from pg_partition_tree(pg_class.oid) where isleaf)
) as parts
where
    pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
    and pg_class.relpersistence <> 't'
    and not pg_class.relispartition
    and pg_namespace.nspname <> 'information_schema'
    and pg_namespace.nspname !~ '^pg_'
    and not exists (
        select from pg_depend
        where
            pg_depend.classid = 'pg_class'::regclass
            and pg_depend.objid = pg_class.oid
            and pg_depend.deptype = 'e'
    )
order by 1
"""


@dataclass(frozen=True)
class Table:
    """A table or view, as the database and as the tap know it."""

    stream: str
    schema: str
    relation: str
    is_view: bool
    may_read: bool
    may_enter: bool
    row_count: int | None
    byte_count: int
    key: tuple[str, ...]
    columns: Mapping[str, Any]
    """JSON Schemas by name; none where the tap doesn't see the table."""

    @property
    def sql(self) -> sql.Identifier:
        """Its name for SQL."""
        return sql.Identifier(self.schema, self.relation)

    @property
    def size(self) -> str:
        """Rows and bytes, roughly."""
        if self.is_view:
            return "a view"
        rows = "" if self.row_count is None else f"~{self.row_count:,} rows, "
        return rows + _bytes(self.byte_count)


def draft(name: str, url: str, project: Project, schemas: Sequence[str]) -> Draft:
    """Look at a database and propose a source.

    Args:
        name: the source's.
        url: where the database is.
        project: the tap's settings and place.
        schemas: the schemas to read; all but Postgres' own where there are none.

    Raises:
        StackError: it can't be reached or read, or holds nothing to read.
    """
    parameters = _parameters(url)
    connection, ssl_mode = _connect(parameters)
    with connection:
        info = connection.info
        place = {
            "host": info.host,
            "port": str(info.port),
            "user": info.user,
            "password": info.password,
            "database": info.dbname,
        }
        echo(f"Connected to {info.dbname} on {info.host}, port {info.port}, as {info.user}.")
        files = {SSL_FILES[k]: v for k, v in parameters.items() if k in SSL_FILES}
        catalog = _discover(project, {**place, "ssl_mode": ssl_mode, **files}, schemas)
        tables = [
            table
            for table in _tables(connection, catalog)
            if not schemas or table.schema in schemas
        ]
        if not any(table.may_read for table in tables):
            message = (
                f"There is no table that {info.user} may read in {info.dbname}"
                + (f", schema {', '.join(schemas)}" if schemas else "")
                + f'. Grant it: `grant usage on schema public to "{info.user}"; '
                f'grant select on all tables in schema public to "{info.user}"`.'
            )
            raise StackError(message)
        found = Draft(
            name,
            origin="a Postgres database",
            label="Postgres",
            definition={"inherit_from": TAP},
        )
        _fill_select(found, tables, connection)
    found.variables = [
        Variable(variable_name(name, "postgres", setting), value or None)
        for setting, value in place.items()
    ]
    found.config = {
        setting: f"${{{variable.name}}}"
        for setting, variable in zip(place, found.variables, strict=True)
    }
    for setting, path in files.items():
        variable = Variable(variable_name(name, "postgres", setting), path)
        found.variables.append(variable)
        found.config[setting] = f"${{{variable.name}}}"
    found.config["ssl_mode"] = Remarked(ssl_mode, _ssl_comment(ssl_mode))
    found.config["filter_schemas"] = sorted({table.schema for table in tables if table.may_enter})
    left = sorted(parameters.keys() - TAKEN)
    if left:
        found.notes.append(f"The tap has no setting for {', '.join(left)} of the URL: left out.")
    return found


def _parameters(url: str) -> dict[str, str]:
    try:
        found = {k: str(v) for k, v in conninfo.conninfo_to_dict(url).items() if v is not None}
    except psycopg.ProgrammingError:
        found = {}
    # What isn't written as it should be may be a part of the password: it isn't repeated.
    ports = found.get("port", "5432").split(",")
    if not found or "@" in found.get("host", "") or not all(map(str.isdigit, ports)):
        message = (
            "The Postgres URL can't be understood. It goes "
            "`postgresql://user@host:5432/database`; in user and password, `@`, `/`, `:` and `%` "
            "are written %40, %2F, %3A and %25. PGPASSWORD may hold the password instead."
        )
        raise StackError(message)
    if not found.get("dbname") and not os.environ.get("PGDATABASE"):
        message = "The Postgres URL names no database: `postgresql://user@host:5432/database`."
        raise StackError(message)
    return found


def _connect(parameters: Mapping[str, str]) -> tuple[psycopg.Connection[Any], str]:
    """Return a connection and the `ssl_mode` that it was made with.

    Raises:
        StackError: there is no way in.
    """
    mode = parameters.get("sslmode")
    try:
        return _open({**parameters, "sslmode": mode or "require"}), mode or "require"
    except psycopg.OperationalError as error:
        if "does not support SSL" not in str(error):
            raise StackError(_why(error, parameters)) from None
    if not mode and _is_loopback(parameters.get("host", "")):
        try:
            return _open({**parameters, "sslmode": "disable"}), "disable"
        except psycopg.OperationalError as error:
            raise StackError(_why(error, parameters)) from None
    message = (
        f"Postgres on {parameters.get('host')} doesn't speak SSL: data would come unencrypted. "
        "Turn SSL on there (`ssl = on`), or, where the way there is safe, add `?sslmode=disable` "
        "to the URL."
    )
    raise StackError(message)


def _open(parameters: Mapping[str, str]) -> psycopg.Connection[Any]:
    def connect(**more: str) -> psycopg.Connection[Any]:
        merged = {"connect_timeout": str(CONNECT_SECONDS), **parameters, **more}
        written = conninfo.make_conninfo("", **merged, application_name="stack new-source")
        return psycopg.connect(written, autocommit=True, row_factory=dict_row)

    try:
        return connect()
    except psycopg.OperationalError as error:
        if "no password supplied" not in str(error) or not sys.stdin.isatty():
            raise
    return connect(password=click.prompt("Password", hide_input=True, err=True))


def _why(error: psycopg.OperationalError, parameters: Mapping[str, str]) -> str:
    said = str(error).strip().splitlines()[-1].removeprefix("FATAL:").strip()
    host = parameters.get("host") or os.environ.get("PGHOST") or "localhost"
    where = f"{host}, port {parameters.get('port') or 5432}"
    match said:
        case _ if "password" in said:
            mend = (
                "Check user and password: in the URL (with %40 for @), or in PGPASSWORD, which "
                "keeps it out of the shell's history."
            )
        case _ if "does not exist" in said and "database" in said:
            mend = "Check the database's name, the last part of the URL."
        case _ if "pg_hba.conf" in said:
            mend = "Allow this user, database and address in the server's pg_hba.conf or firewall."
        case _ if "certificate" in said or "SSL" in said:
            mend = "Check `sslmode` and `sslrootcert` in the URL."
        case _:
            mend = (
                "Is it running, are host and port right, and can this machine reach it (VPN, "
                "firewall)?"
            )
    return f"Can't connect to Postgres on {where}: {said}. {mend}"


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ssl_comment(mode: str) -> str:
    if mode in ("verify-ca", "verify-full"):
        return "Encrypted, and the server's certificate is checked."
    if mode == "require":
        return (
            "Encrypted. `verify-full` also checks who answers; it needs "
            "`ssl_certificate_authority`."
        )
    if mode == "disable":
        return "Not encrypted. `require` insists on it."
    return "Encrypted if the server can. `require` insists on it."


def _discover(
    project: Project, config: Mapping[str, Any], schemas: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the tap's catalog, by stream."""
    executable = project.plugins[TAP].executable
    if not Path(executable).exists():
        message = f"{TAP} isn't installed. Run `make setup`."
        raise StackError(message)
    # Only the owner can open the folder: the password is in it.
    with scratch.folder("new-source") as folder, (folder / "config.json").open("w") as file:
        settings = {name: value for name, value in config.items() if value}
        json.dump({**settings, "port": int(config["port"]), "filter_schemas": list(schemas)}, file)
        file.flush()
        done = subprocess.run(  # noqa: S603
            [executable, "--config", file.name, "--discover"], capture_output=True, text=True
        )
    if done.returncode:
        message = (
            f"{TAP} can't read the database: {' '.join(done.stderr.strip().splitlines()[-1:])}"
        )
        raise StackError(message)
    return {entry["tap_stream_id"]: entry for entry in json.loads(done.stdout)["streams"]}


def _tables(
    connection: psycopg.Connection[Any], catalog: Mapping[str, Mapping[str, Any]]
) -> Iterator[Table]:
    for row in connection.execute(RELATIONS):
        entry = catalog.get(row["stream"], {})
        yield Table(
            **row,
            key=tuple(entry.get("key_properties") or ()),
            columns=entry.get("schema", {}).get("properties", {}),
        )


def _fill_select(
    found: Draft, tables: Sequence[Table], connection: psycopg.Connection[Any]
) -> None:
    """Say which tables and columns are read, which aren't, and why."""
    user = connection.info.user
    taken: dict[str, str] = {}
    left: list[Select] = []
    keyless: list[Select] = []
    for table in tables:
        pattern = f"{stream_pattern(table.stream)}.*"
        if reason := _unreadable(table, user) or _unfit(table):
            left.append(Select(pattern, reason, is_selected=False))
            continue
        if other := taken.get(raw_table(table.stream)):
            reason = f"would share the raw table {raw_table(table.stream)} with {other}"
            left.append(Select(pattern, reason, is_selected=False))
            continue
        taken[raw_table(table.stream)] = table.stream
        key = table.key
        if not key and (key := _find_key(connection, table)):
            found.metadata[metadata_pattern(table.stream)] = {"table-key-properties": list(key)}
        said = f"key: {', '.join(key)}" if key else "no key"
        (found.select if key else keyless).append(Select(pattern, f"{table.size}; {said}"))
        (found.select if key else keyless).extend(
            Select(f"!{stream_pattern(table.stream)}.{property_pattern(column)}", reason)
            for column, reason in _left_out(table, key)
        )
        proposed = personal.stream_maps(table.stream, table.columns, key)
        if proposed:
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


def _unreadable(table: Table, user: str) -> str | None:
    if not table.may_enter:
        return f'not readable: grant usage on schema "{table.schema}" to "{user}"'
    if not table.may_read:
        name = f'"{table.schema}"."{table.relation}"'
        return f'not readable: grant select on {name} to "{user}"'
    return None if table.columns else "has no columns"


def _left_out(table: Table, key: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the columns that aren't read, and why."""
    from target_bigquery_arrow.names import valid_name

    taken: dict[str, str] = {valid_name(column).lower(): column for column in key}
    for column, schema in table.columns.items():
        if column in key:
            continue
        name = valid_name(column).lower()
        if personal.is_secret(column) and personal.may_be_text(schema):
            yield column, "looks like a secret"
        elif name in taken:
            yield column, f"would share the raw column {name} with {taken[name]}"
        else:
            taken[name] = column


def _unfit(table: Table) -> str | None:
    unfit = [column for column in table.key if not _can_be_key(table, column)]
    return f"{unfit[0]}, in its key, can't be one in BigQuery" if unfit else None


def _can_be_key(table: Table, column: str) -> bool:
    from target_bigquery_arrow.column_types import column_type

    found = column_type(table.columns[column])
    return found.kind not in NO_KEY_TYPES and not found.repeated


def _find_key(connection: psycopg.Connection[Any], table: Table) -> tuple[str, ...]:
    """Return columns that tell all rows apart though the database doesn't promise it.

    Only those that are named like a key are looked at: `id`; or all the `<table>_id` of a table
    that does nothing but join others, where a row that came twice would say nothing new.
    """
    usable = [c for c in table.columns if _can_be_key(table, c) and not personal.is_secret(c)]
    single = [(c,) for c in usable if c.lower() in ("id", "uuid", "guid")]
    pair = tuple(c for c in usable if c.lower().endswith("_id") or c.endswith("Id"))
    joins = len(pair) > 1 and len(pair) == len(table.columns)
    for columns in [*single, *([pair] if joins else [])]:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        query = sql.SQL(
            "select count(*) as row_count, count(distinct ({})) as distinct_count, count(*) "
            "filter (where ({}) is not null) as whole_count from {}"
        ).format(names, names, table.sql)
        try:
            with connection.transaction():
                connection.execute(f"set local statement_timeout = '{LOOK_SECONDS}s'")
                row = connection.execute(query).fetchone()
        except psycopg.Error:
            continue
        if row and row["row_count"] == row["distinct_count"] == row["whole_count"] > 0:
            return columns
    return ()


def raw_table(stream: str) -> str:
    """Return the table that the loader makes of a stream."""
    from target_bigquery_arrow.names import table_name

    return table_name(stream, ["public-"])


def stream_pattern(stream: str) -> str:
    """Return a pattern of Meltano's `select` that fits one stream."""
    return "".join({".": r"\."}.get(c, f"[{c}]" if c in "*?[" else c) for c in stream)


def property_pattern(column: str) -> str:
    """Return a pattern for one column; what can't be written as it is fits any character."""
    return "".join("?" if c in ".*?[" else c for c in column)


def metadata_pattern(stream: str) -> str:
    """Return a key of Meltano's `metadata` that fits one stream."""
    return "".join("?" if c in ".*?[" else c for c in stream)


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
