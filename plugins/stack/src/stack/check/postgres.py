"""Can a Postgres database be reached, and what is selected be read? Each fault has its own mend."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from stack.check.context import Context
from stack.check.result import Result, failed, passed
from stack.check.selection import Selection
from stack.check.variables import where
from stack.project import Plugin, Source

TAP = "tap-postgres-arrow"
SECONDS = 6
# What a setting of the tap is called by libpq.
PARAMETERS = {
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
    "database": "dbname",
    "ssl_mode": "sslmode",
    "ssl_certificate_authority": "sslrootcert",
    "ssl_client_certificate": "sslcert",
    "ssl_client_private_key": "sslkey",
}
REQUIRED = ("host", "user", "password", "database")
# What libpq or the server says, which setting it is about, and what is wrong.
REFUSALS = (
    (
        r"translate host name|name or service not known|nodename nor",
        "host",
        "there is no such host",
    ),
    (r"password authentication failed|no password supplied", "password", "the password is wrong"),
    (r'role ".*" does not exist', "user", "there is no such user"),
    (r'database ".*" does not exist', "database", "there is no such database"),
    (r"permission denied for database", "user", "the user may not connect to the database"),
    (r"does not support SSL", "ssl_mode", "the server has no encryption, and the setting wants it"),
    (r"certificate", "ssl_certificate_authority", "the server's certificate is not trusted"),
    (r"pg_hba.conf", "pg_hba", "the server lets nobody in like this, by its pg_hba.conf"),
    (r"connection refused", "port", "nothing listens there"),
    (r"timeout expired|timed out", "host", "no answer: a firewall, or another host"),
)
MENDS = {
    "ssl_mode": "Write `ssl_mode: disable` for a server in your own network, `require` else.",
    "pg_hba": (
        "Write `ssl_mode: require` if it wants encryption; else correct `user` or `database`, or "
        "let its administrator add this machine."
    ),
    "ssl_certificate_authority": "Name the authority's file in `ssl_certificate_authority`.",
}
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


def connect(context: Context, source: Source) -> Iterator[Result]:
    """Yield whether the database lets us in, and whether its schemas are there."""
    extractor = source.extractor
    config = extractor.config()
    file = source.file.relative_to(context.root)
    missing = [name for name in REQUIRED if not config.get(name)]
    if missing:
        mend = f"Set it under `config` of {extractor.name} in {file}."
        yield from (failed("settings", f"`{name}` has no value", mend) for name in missing)
        return
    at = f"{config['host']}:{config.get('port', 5432)}, database {config['database']}"
    try:
        with _connected(extractor) as connection:
            version = connection.info.server_version // 10000
            yield passed("connection", f"Postgres {version} at {at}")
            schemas = config.get("filter_schemas") or []
            for schema in connection.execute(SCHEMAS, [schemas]).fetchall():
                if not schema["is_there"]:
                    mend = f"Correct `filter_schemas` of {extractor.name} in {file}."
                    yield failed("schemas", f"there is no schema '{schema['name']}'", mend)
                elif not schema["is_usable"]:
                    mend = (
                        f"As its owner: grant usage on schema {schema['name']} to {config['user']}"
                    )
                    detail = f"{config['user']} may not use the schema '{schema['name']}'"
                    yield failed("schemas", detail, mend)
    except psycopg.Error as error:
        said = " ".join(context.masked(str(error)).split())
        yield failed("connection", *_refusal(context, extractor, at, said))


def privileges(source: Source, selection: Selection) -> Iterator[Result]:
    """Yield which selected tables and columns may not be read."""
    user = source.extractor.config()["user"]
    streams = {stream.name: stream for stream in selection.selected}
    with _connected(source.extractor) as connection:
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


def _connected(extractor: Plugin) -> psycopg.Connection[dict[str, Any]]:
    config = extractor.config()
    parameters = {libpq: str(config[name]) for name, libpq in PARAMETERS.items() if name in config}
    # Behind a pooler, a statement that is prepared belongs to somebody else's session.
    return psycopg.connect(
        "",
        **parameters,  # type: ignore[arg-type]
        connect_timeout=SECONDS,
        application_name="stack check",
        options="",
        autocommit=True,
        prepare_threshold=None,
        row_factory=dict_row,
    )


def _left_out(source: Source, pattern: str) -> str:
    """Return how to leave something out: without a line that takes something in, all is."""
    if source.extractor.extras.get("select"):
        return f"add `'{pattern}'` to `select`"
    return f"`select: ['*.*', '{pattern}']`"


def _refusal(context: Context, extractor: Plugin, at: str, said: str) -> tuple[str, str]:
    for pattern, setting, meaning in REFUSALS:
        if re.search(pattern, said, re.IGNORECASE):
            is_down = context.environment == "local" and setting == "port"
            mend = MENDS.get(setting, f"Correct {where(extractor, setting)}.")
            if is_down:
                mend = "Start the sandbox: `meltano invoke sandbox up`."
            return f"{meaning} ({at}): {said}", mend
    return f"{at}: {said}", _all_settings(extractor, ("host", "port", "user", "database"))


def _all_settings(extractor: Plugin, names: Sequence[str]) -> str:
    return f"Check {', '.join(where(extractor, name) for name in names)}."
