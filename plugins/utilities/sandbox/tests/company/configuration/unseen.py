"""A database that nobody has prepared for: 15 tables with odd names, types, keys and rights.

What `new-source` and `new-staging` make of it is tested in test_new_source.py and
test_new_staging.py.
"""

import datetime
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import psycopg
from local_servers.postgres_server import running_server
from psycopg import sql
from psycopg.rows import dict_row

READER = "reader"
PASSWORD = "p@ss/w:rd $HOME 'x' #1\\"
KEYS = {
    "accounts": ("id",),
    "order": ("id",),
    "Order_Items": ("Order", "Line_No"),
    "camelCase": ("userId",),
    "account_roles": ("account_id", "role_id"),
    "odd_types": ("id",),
    "sessions": ("id",),
    "Sales_Ops_Deals": ("id",),
    "Sales_Ops_regions": ("code",),
    "audit_events": ("id", "occurred_at"),
    "audit_nothing_yet": ("id",),
    "audit_v1_0_import": ("id",),
    "active_accounts": ("id",),
    "totals": ("id",),
}
"""The raw tables that come of it and their keys there. `log lines` has none, `vault` isn't read."""

QUERIES = {
    "accounts": "select * from public.accounts",
    "order": 'select * from public."order"',
    "Order_Items": 'select * from public."Order Items"',
    "camelCase": 'select * from public."camelCase"',
    "account_roles": "select * from public.account_roles",
    "odd_types": """
        select
            id, took::text, address::text, network::text, mac::text, raw,
            span::text, words::text, flags::text, starts, starts_tz::text, spot::text, numbers,
            small, large, exact, to_jsonb(pair) as pair, document, cash::numeric
        from public.odd_types
    """,
    "sessions": "select *, ip_address::text as ip_address from public.sessions",
    "Sales_Ops_Deals": 'select * from "Sales Ops"."Deals"',
    "Sales_Ops_regions": 'select * from "Sales Ops".regions',
    "audit_events": "select * from audit.events",
    "audit_nothing_yet": "select * from audit.nothing_yet",
    "audit_v1_0_import": 'select * from audit."v1.0 import"',
    "active_accounts": "select * from public.active_accounts",
    "totals": "select * from public.totals",
}
"""What each raw table holds, asked of Postgres; odd types as the tap writes them."""

SECRETS = ("password_digest", "apiToken", "token")
"""Columns that `new-source` leaves out."""

SCHEMA = """
create schema "Sales Ops";
create schema audit;

create type public.plan as enum ('free', 'team', 'Enterprise!');
create domain public.percentage as numeric(5, 2) check (value between 0 and 100);
create type public.point_of_sale as (till int, cashier text);

create table public.accounts (
    id bigint generated always as identity primary key,
    name text not null,
    email text,
    password_digest text not null default 'scrypt$…',
    plan public.plan not null default 'free',
    balance numeric(12, 2),
    discount public.percentage,
    settings jsonb,
    tags text[],
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamp
);
comment on column public.accounts.plan is 'What they pay for.';

create table public."order" (
    id uuid primary key,
    account_id bigint references public.accounts (id),
    "group" text,
    "select" int,
    "from" date,
    "table" boolean
);

create table public."Order Items" (
    "Order" uuid not null,
    "Line No" smallint not null,
    "Unit Price" numeric(10, 3),
    "2nd choice" text,
    "Übergröße" text,
    primary key ("Order", "Line No")
);

create table public."camelCase" (
    "userId" int primary key,
    "firstName" text,
    "apiToken" text,
    "createdAt" timestamp
);

create table public.account_roles (account_id bigint, role_id int, granted_on date);

create table public."log lines" (at timestamptz, line text);

create table public.odd_types (
    id int primary key,
    took interval,
    address inet,
    network cidr,
    mac macaddr,
    raw bytea,
    span int4range,
    words tsvector,
    flags bit(4),
    starts time,
    starts_tz timetz,
    spot point,
    numbers int[],
    small real,
    large double precision,
    exact numeric,
    pair public.point_of_sale,
    document json,
    cash money
);

create table public.sessions (
    id uuid primary key,
    account_id bigint,
    token text not null,
    ip_address inet,
    token_count int
);

create table "Sales Ops"."Deals" (
    id int primary key,
    "Deal Name" text,
    amount numeric(14, 2),
    "closes on" date,
    "isWon" boolean
);

create table "Sales Ops".regions (code char(2) primary key, area double precision, shape polygon);

create table audit.events (
    id bigint not null,
    occurred_at timestamptz not null,
    kind text,
    payload jsonb,
    primary key (id, occurred_at)
) partition by range (occurred_at);
create table audit.events_2025 partition of audit.events
    for values from ('2025-01-01') to ('2026-01-01');
create table audit.events_2026 partition of audit.events
    for values from ('2026-01-01') to ('2027-01-01');

create table audit.nothing_yet (id int primary key, comment text);

create table audit."v1.0 import" (id int, "a.b" text, "what?" text);

create table public.vault (id int primary key, content text);

create view public.active_accounts as select id, name from public.accounts where is_active;
create materialized view public.totals as
    select account_id as id, count(*) as roles from public.account_roles group by account_id;
"""

ROWS = """
insert into public.accounts (
    name, email, plan, balance, discount, settings, tags, is_active, updated_at
)
select
    'Account ' || n,
    'a' || n || '@example.com',
    (array['free', 'team', 'Enterprise!'])[1 + n % 3]::public.plan,
    n * 1.25,
    n % 100,
    case
        when n % 4 > 0
            then jsonb_build_object('seats', n, 'owner', jsonb_build_object('name', 'ä'))
    end,
    case when n % 5 > 0 then array['x', 'y ' || n] else '{}' end,
    n % 7 > 0,
    case when n % 2 > 0 then timestamp '2025-03-30 02:30:00' + n * interval '1 minute' end
from generate_series(1, 60) as n;
insert into public."order"
select gen_random_uuid(), n, 'group ' || n, n, date '2025-01-01' + n, n % 2 = 0
from generate_series(1, 50) as n;
insert into public."Order Items"
select id, line, line * 0.125, 'second "' || line || '"', E'größer\\nals'
from public."order", generate_series(1, 3) as line;
insert into public."camelCase"
select n, 'First ' || n, 'tok_' || n, timestamp '2024-02-29 12:00:00' + n * interval '1 day'
from generate_series(1, 20) as n;
insert into public.account_roles
select n, role, '2025-06-01' from generate_series(1, 20) as n, generate_series(1, 2) as role;
insert into public."log lines" select now(), 'the same line' from generate_series(1, 5);
insert into public.odd_types values
(
    1, '1 day 02:03:04', '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', '\\x00ff', '[1,5)',
    'fat cat', '1010', '23:59:59.5', '10:00+02', '(1,2)', '{1,2,3}', 0.5, 1e300,
    12345678901234567890.123456789, '(7,"Ann, B.")', '{"a": [1, 2, {"b": null}]}', '1234.56'
),
(
    2, null, null, null, null, null, null, null, null, null, null, null, '{}', null, null, null,
    null, null, null
);
insert into public.sessions
select gen_random_uuid(), n, 'secret ' || n, ('10.0.0.' || n)::inet, n
from generate_series(1, 9) as n;
insert into "Sales Ops"."Deals"
select n, 'Deal ' || n, n * 1000.01, '2025-12-31', n % 2 = 0 from generate_series(1, 12) as n;
insert into "Sales Ops".regions
values ('DE', 357022, '((0,0),(1,1),(1,0))'), ('AT', null, null);
insert into audit.events
select
    n,
    timestamptz '2025-12-20 00:00:00+00' + n * interval '1 day',
    'kind ' || n % 3,
    jsonb_build_object('n', n)
from generate_series(1, 30) as n;
insert into audit."v1.0 import" select n, 'a' || n, null from generate_series(1, 4) as n;
insert into public.vault values (1, 'nobody reads this');
refresh materialized view public.totals;
"""

RIGHTS = """
grant usage on schema public, "Sales Ops", audit to {reader};
grant select on all tables in schema public, "Sales Ops", audit to {reader};
revoke select on public.vault from {reader};
"""


@contextmanager
def running_database(folder: Path) -> Iterator["Database"]:
    """Run a server that has such a database, and asks for the reader's password."""
    with running_server(folder / "postgres") as server:
        rules = server.directory / "pg_hba.conf"
        rules.write_text(f"host all {READER} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        with server.connect("postgres") as connection:
            connection.execute("create database shop")
            connection.execute("select pg_reload_conf()")
        with server.connect("shop", row_factory=dict_row) as connection:
            build(connection)
            yield Database(server.port, connection)


@dataclass
class Database:
    """The database, to a superuser."""

    port: int
    connection: psycopg.Connection[Any]

    @property
    def url(self) -> str:
        """The reader's URL, with the password in it."""
        return f"postgresql://{READER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/shop"

    def rows(self, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Return what a raw table has to hold, by its key."""
        self.connection.execute("set intervalstyle to 'iso_8601'; set timezone to 'UTC'")
        rows = [
            {column_name(k): plain(v) for k, v in row.items() if k not in SECRETS}
            for row in self.connection.execute(QUERIES[table].encode())
        ]
        return {tuple(row[key] for key in KEYS[table]): row for row in rows}


def build(connection: psycopg.Connection[Any]) -> None:
    """Make the database's content, and a user that may read most of it; as superuser."""
    reader = sql.Identifier(READER)
    create = sql.SQL("create role {} login password {}").format(reader, sql.Literal(PASSWORD))
    connection.execute(create)
    for script in (SCHEMA, ROWS):
        connection.execute(script.encode())
    connection.execute(sql.SQL(RIGHTS).format(reader=reader))


def column_name(name: str) -> str:
    """Return what a column is called in BigQuery."""
    valid = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{valid}" if valid[0].isdigit() else valid


def plain(value: Any) -> Any:
    """Give a value of either end the same Python type."""
    match value:
        case UUID():
            return str(value)
        case Decimal():
            return value.normalize()
        case datetime.datetime(tzinfo=None):
            return value.replace(tzinfo=datetime.UTC)
        case _:
            return value
