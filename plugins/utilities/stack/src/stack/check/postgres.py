"""Can a Postgres database be reached, and what is selected be read? Each fault has its own mend."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from stack import postgres
from stack.check.context import Context
from stack.check.result import Result, failed, passed
from stack.check.selection import Selection
from stack.check.variables import where
from stack.postgres import TAP, Connection, RefusedError
from stack.project import Plugin, Source

REQUIRED = ("host", "user", "password", "database")
SCHEMAS = """
select
    wanted.name,
    pg_namespace.oid is not null as is_there,
    coalesce(has_schema_privilege(pg_namespace.oid, 'usage'), false) as is_usable
from unnest(%s::text[]) as wanted (name)
left join pg_catalog.pg_namespace on pg_namespace.nspname = wanted.name
"""
UNREADABLE = """
select
    pg_namespace.nspname || '-' || pg_class.relname as stream,
    format('%%I.%%I', pg_namespace.nspname, pg_class.relname) as relation,
    array_agg(pg_attribute.attname::text order by pg_attribute.attnum) as columns,
    not has_any_column_privilege(pg_class.oid, 'select') as is_whole
from pg_catalog.pg_class
inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
inner join pg_catalog.pg_attribute on pg_attribute.attrelid = pg_class.oid
where
    pg_namespace.nspname || '-' || pg_class.relname = any(%s)
    and pg_attribute.attnum > 0
    and not pg_attribute.attisdropped
    and not has_column_privilege(pg_class.oid, pg_attribute.attnum, 'select')
group by pg_class.oid, pg_namespace.nspname, pg_class.relname
order by stream
"""


def is_postgres(plugin: Plugin) -> bool:
    """Return whether an extractor is our tap for Postgres."""
    return plugin.executable.endswith(f"/{TAP}")


def missing(source: Source) -> Iterator[Result]:
    """Yield the settings that lack a value."""
    extractor = source.extractor
    config = {name: value for name, value in extractor.config().items() if value != ""}
    required = set(REQUIRED)
    if "url" in config:
        required.clear()
    elif config.get("auth_method", "password") != "password" or "ssl_client_certificate" in config:
        required.remove("password")
    mend = f"Set it under `config` of {extractor.name} in extract/{source.file.name}; or set `url`."
    for name in REQUIRED:
        if name in required and not config.get(name):
            yield failed("settings", f"`{name}` has no value", mend)


@contextmanager
def connected(context: Context, source: Source) -> Iterator[tuple[Connection, str]]:
    """Yield a connection, and where it leads.

    Raises:
        RefusedError: there is none; secrets are masked, and settings named where they stand.
    """
    extractor = source.extractor
    try:
        with postgres.connected(
            extractor.executable, extractor.config(), context.inherited, "stack check"
        ) as found:
            yield found
    except RefusedError as error:
        raise RefusedError(context.masked(error.problem), _placed(extractor, error.fix)) from None
    except psycopg.Error as error:
        problem = context.masked(" ".join(str(error).split()))
        raise RefusedError(problem, "Run it again; the server's log may say more.") from None


def schemas(source: Source, connection: Connection) -> Iterator[Result]:
    """Yield which schemas aren't there, or may not be used."""
    extractor = source.extractor
    user = connection.info.user
    wanted = extractor.config().get("filter_schemas") or []
    for schema in connection.execute(SCHEMAS, [wanted]).fetchall():
        if not schema["is_there"]:
            mend = f"Correct `filter_schemas` of {extractor.name} in extract/{source.file.name}."
            yield failed("schemas", f"there is no schema '{schema['name']}'", mend)
        elif not schema["is_usable"]:
            mend = f"As its owner: grant usage on schema {schema['name']} to {user}"
            yield failed("schemas", f"{user} may not use the schema '{schema['name']}'", mend)


def privileges(source: Source, selection: Selection, connection: Connection) -> Iterator[Result]:
    """Yield which selected tables and columns may not be read."""
    user = connection.info.user
    streams = {stream.name: stream for stream in selection.selected}
    rows = connection.execute(UNREADABLE, [list(streams)]).fetchall()
    wrong = False
    for row in rows:
        selected = set(selection.properties(streams[row["stream"]]))
        columns = [name for name in row["columns"] if name in selected]
        if not columns:
            continue
        wrong = True
        stream, relation = row["stream"], row["relation"]
        if row["is_whole"]:
            detail, granted, left_out = f"{user} may not read {relation}", "", f"!{stream}.*"
        else:
            names = ", ".join(columns)
            detail = f"{user} may not read {names} of {relation}"
            granted, left_out = f" ({names})", f"!{stream}.{columns[0]}"
        mend = (
            f"As its owner: grant select{granted} on {relation} to {user}; or leave it out: "
            f"{_left_out(source, left_out)}."
        )
        yield failed("privileges", detail, mend)
    if not wrong:
        yield passed("privileges", f"{user} may read all of them")


def _left_out(source: Source, pattern: str) -> str:
    """Return how to leave something out: without a line that takes something in, all is."""
    if source.extractor.extras.get("select"):
        return f"add `'{pattern}'` to `select`"
    return f"`select: ['*.*', '{pattern}']`"


def _placed(extractor: Plugin, fix: str) -> str:
    """Return a fix with each setting of the tap named by the variable that holds it."""

    def place(named: re.Match[str]) -> str:
        return where(extractor, named[1]) if named[1] in extractor.settings else named[0]

    return re.sub(r"`(\w+)`", place, fix)
