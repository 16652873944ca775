"""A day passes."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.string import TextLoader
from sandbox import postgres
from sandbox.product.calendar import end_of
from sandbox.product.tables import TABLES, Rows
from sandbox.product.tick import tick

from . import invariants
from .support import CommandLine

LOSE_ROWS = {"actions", "workflows", "announcement_rules", "incident_participants"}


@pytest.fixture
def connection(sandbox: CommandLine) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose transaction is never committed."""
    connection = psycopg.connect(postgres.dsn(sandbox.port("POSTGRES")))
    connection.adapters.register_loader("jsonb", TextLoader)
    yield connection
    connection.rollback()
    connection.close()


def everything(connection: psycopg.Connection[Any]) -> Rows:
    rows = Rows()
    for table in TABLES:
        found = connection.execute(f"select {', '.join(table.columns)} from {table.name}")
        setattr(rows, table.name, sorted((table.row(values) for values in found), key=repr))
    return rows


def test_the_same_tick_of_the_same_world_makes_the_same_changes(
    connection: psycopg.Connection[Any],
) -> None:
    tick(connection)
    once = everything(connection)
    connection.rollback()

    tick(connection)

    assert everything(connection) == once


def test_every_day_changes_every_table_as_an_extractor_can_see(
    connection: psycopg.Connection[Any],
) -> None:
    for _ in range(7):
        before = everything(connection)
        clock, changes = tick(connection)
        after = everything(connection)

        invariants.check(after, end_of(clock.today))
        for table in TABLES:
            old = {tuple(getattr(row, name) for name in table.key): row for row in before.of(table)}
            new = {tuple(getattr(row, name) for name in table.key): row for row in after.of(table)}
            latest = max(row.updated_at for row in old.values())
            changed = [row for key, row in new.items() if old.get(key) != row]
            assert all(row.updated_at >= latest for row in changed)
            assert changes[table.name].inserted == len(new.keys() - old.keys())
            assert changes[table.name].updated == len(changed) - len(new.keys() - old.keys())
            assert changes[table.name].updated > 0
            assert changes[table.name].deleted == len(old.keys() - new.keys())
            assert (changes[table.name].deleted > 0) == (table.name in LOSE_ROWS)


def test_the_command_commits_the_day_and_shows_what_changed(sandbox: CommandLine) -> None:
    with psycopg.connect(postgres.dsn(sandbox.port("POSTGRES")), autocommit=True) as connection:
        before = everything(connection)
        result = sandbox("tick")
        after = everything(connection)

    assert result.returncode == 0, result.stderr
    added = len(after.incidents) - len(before.incidents)
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("incidents "))
    assert added > 0
    assert line.split()[1] == str(added)
