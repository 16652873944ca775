"""A Postgres with one table, and a BigQuery emulator: on free ports, thrown away afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from local_servers.emulator import Emulator, running_emulator
from local_servers.loopback import HOST
from local_servers.postgres_server import PostgresServer, running_server
from measurement import BenchError

# What the jsonb of each row has at least.
CONTENT_BYTES = 187
NAME = "timeline_items"
# Postgres' superuser, and the database that is always there.
USER = DATABASE = "postgres"
# Checkpoints would disturb what is measured.
POSTGRES_SETTINGS = {"max_wal_size": "16GB", "checkpoint_timeout": "1h"}

# Row `n` is the same whenever it is made, so that deleted rows can be brought back.
SCHEMA = f"""
create type kind as enum ('comment', 'image', 'severity_change', 'status_change');

create table {NAME} (
    id uuid not null,
    organisation_id uuid not null,
    incident_id uuid not null,
    user_id uuid,
    kind kind not null,
    pinned boolean not null,
    content jsonb not null,
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create function ids(first bigint, last bigint) returns setof uuid language sql stable as $$
    select md5('item ' || n)::uuid from generate_series(first, last) as n
$$;

create function items(first bigint, last bigint, padding int)
returns setof {NAME} language sql stable as $$
    select
        md5('item ' || n)::uuid,
        md5('organisation ' || n / 50000)::uuid,
        md5('incident ' || n / 40)::uuid,
        case when n % 5 > 0 then md5('user ' || n % 20000)::uuid end,
        (enum_range(null::kind))[n % 4 + 1],
        n % 97 = 0,
        jsonb_build_object(
            'text', 'We looked at ' || md5(n::text) || ' and found ' || md5((n / 2)::text),
            'channel', 'C' || upper(substr(md5((n / 40)::text), 1, 10)),
            'reactions', jsonb_build_array(jsonb_build_object('emoji', '👀', 'count', n % 9)),
            'padding', repeat(md5(n::text), padding / 32) || repeat('.', padding % 32)
        ),
        '2025-01-01T00:00:00Z'::timestamptz + n * interval '7 seconds',
        '2025-01-01T00:00:01Z'::timestamptz + n * interval '7.001 seconds',
        '2025-01-01T00:00:02Z'::timestamptz + n * interval '7.002 seconds'
    from generate_series(first, last) as n
$$;
"""
# The same in Postgres' and in BigQuery's SQL.
SUMMARY = f"""
select
    count(*),
    count(distinct id),
    count(user_id),
    count(case when pinned then 1 end),
    min(occurred_at),
    max(updated_at)
from {{dataset}}.{NAME}
"""


@dataclass(frozen=True)
class Table:
    """How large the source's table is."""

    rows: int
    padding: int = 13
    """Bytes by which the jsonb of a row is larger than it must be."""

    @property
    def content_bytes(self) -> int:
        """The size of a row's jsonb, as text."""
        return CONTENT_BYTES + self.padding

    def __str__(self) -> str:
        rows = f"{self.rows / 1e6:g}M" if self.rows >= 1e6 else f"{self.rows / 1e3:g}k"
        return rows if self.padding == Table.padding else f"{rows} wide"


@dataclass(frozen=True)
class World:
    """The source and the warehouse, which are not measured themselves."""

    table: Table
    postgres: PostgresServer
    bigquery: Emulator

    @property
    def dsn(self) -> str:
        """Where Postgres is, with a password that it doesn't ask for and some clients insist on.

        Its server has no TLS, which not every client finds out by itself.
        """
        address = f"{USER}:{USER}@{HOST}:{self.postgres.port}"
        return f"postgresql://{address}/{DATABASE}?sslmode=disable"

    def change(self, rows: int) -> datetime:
        """Change that many rows, spread over the table, and return their `updated_at`."""
        step = self.table.rows // rows
        changed_at: datetime
        (changed_at,) = self._execute(
            f"with changed as (update {NAME} set pinned = not pinned, updated_at = now() "
            "where id in (select md5('item ' || n * %s)::uuid from generate_series(1, %s) as n) "
            "returning updated_at) select max(updated_at) from changed",
            [step, rows],
        )
        return changed_at

    def delete(self, rows: int) -> None:
        """Delete the first rows."""
        self._execute(f"delete from {NAME} where id in (select ids(1, %s))", [rows])

    def restore(self, rows: int) -> None:
        """Bring the first rows back."""
        self._execute(
            f"insert into {NAME} select * from items(1, %s, %s)", [rows, self.table.padding]
        )

    def vacuum(self) -> None:
        """Tidy up now, lest Postgres does it while something is measured."""
        self._execute(f"vacuum analyze {NAME}")

    def check(self, dataset: str, deleted: int) -> None:
        """See that the warehouse holds what Postgres holds, and that many rows marked as deleted.

        Raises:
            BenchError: It doesn't.
        """
        expected = (*self._execute(SUMMARY.format(dataset="public")), deleted)
        summary = f"{SUMMARY.format(dataset=dataset)} where _sdc_deleted_at is null"
        marked = f"select count(*) from {dataset}.{NAME} where _sdc_deleted_at is not null"
        found = (*self._query(summary), *self._query(marked))
        if found != expected:
            raise BenchError(
                f"the warehouse is wrong: {NAME} has {expected} in Postgres and {found} in "
                "BigQuery (rows, distinct ids, users, pinned, first, last; marked as deleted)"
            )

    def rows_since(self, dataset: str, start: datetime) -> int:
        """Count the rows that were extracted after `start`."""
        rows: int
        (rows,) = self._query(
            f"select count(*) from {dataset}.{NAME} "
            f"where _sdc_extracted_at >= timestamp '{start.isoformat()}'"
        )
        return rows

    def drop(self, dataset: str) -> None:
        """Remove a dataset with all that it holds."""
        with self.bigquery.client() as client:
            client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)

    def fill(self) -> None:
        """Make the table."""
        self._execute(SCHEMA)
        self.restore(self.table.rows)
        # Last: it takes a third of the time.
        self._execute(f"alter table {NAME} add primary key (id)")
        self.vacuum()

    def _execute(self, sql: str, parameters: list[Any] | None = None) -> tuple[Any, ...]:
        with self.postgres.connect(DATABASE) as connection:
            cursor = connection.execute(sql.encode(), parameters)
            return (cursor.fetchone() or ()) if cursor.description else ()

    def _query(self, sql: str) -> tuple[Any, ...]:
        with self.bigquery.client() as client:
            try:
                [row] = client.query_and_wait(sql)
            except GoogleAPIError as error:
                raise BenchError(f"the warehouse can't be read: {error}") from None
            values: tuple[Any, ...] = row.values()
            return values


@contextmanager
def running_world(table: Table, directory: Path) -> Iterator[World]:
    """Start both servers, make the table, and stop them in the end."""
    directory.mkdir()
    with (
        running_server(directory / "postgres", **POSTGRES_SETTINGS) as server,
        running_emulator(directory) as emulator,
    ):
        world = World(table, server, emulator)
        world.fill()
        yield world
