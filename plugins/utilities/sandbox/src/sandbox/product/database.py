"""Creates, loads and writes the product database through psycopg."""

from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import class_row

from sandbox.errors import SandboxError
from sandbox.product.tables import TABLES, Rows
from sandbox.product.world import generate

# Kept apart from `public`, so that extractors of the product's data don't see it.
CLOCK = """
create schema sandbox;
create table sandbox.clock (
    seed integer not null,
    scale double precision not null,
    today date not null,
    ticks integer not null
);
"""


@dataclass(frozen=True)
class Clock:
    """The world's seed, its current day, and the number of ticks."""

    seed: int
    scale: float
    today: date
    ticks: int


def read_clock(connection: Connection[Any]) -> Clock | None:
    """Return the clock, locked until the transaction ends; None if there is no world yet."""
    loaded = connection.execute("select to_regclass('sandbox.clock') is not null").fetchone()
    if loaded is None or not loaded[0]:
        return None
    with connection.cursor(row_factory=class_row(Clock)) as cursor:
        return cursor.execute("select * from sandbox.clock for update").fetchone()


def running_clock(connection: Connection[Any]) -> Clock:
    """Return the world's clock, locked until the transaction ends.

    Raises:
        SandboxError: There is no world yet.
    """
    clock = read_clock(connection)
    if clock is None:
        raise SandboxError("Postgres holds no world yet. Run `sandbox up` first.")
    return clock


def load_world(connection: Connection[Any], today: date, scale: float, seed: int) -> None:
    """Create the tables and fill them, in the connection's transaction."""
    connection.execute(files("sandbox.product").joinpath("schema.sql").read_bytes())
    insert(connection, generate(today, scale, seed))
    connection.execute(CLOCK)
    connection.execute("insert into sandbox.clock values (%s, %s, %s, 0)", (seed, scale, today))
    connection.execute("analyze")


def insert(connection: Connection[Any], rows: Rows) -> None:
    """Copy the rows into their tables."""
    for table in TABLES:
        statement = sql.SQL("copy {} ({}) from stdin").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.columns))
        )
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows.of(table):
                copy.write_row(row)
