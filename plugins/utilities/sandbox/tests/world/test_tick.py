"""A day passes."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg.types.string import TextLoader
from sandbox import postgres
from sandbox.product.calendar import end_of
from sandbox.product.database import load_world
from sandbox.product.tables import TABLES, Rows
from sandbox.product.tick import tick

from . import invariants
from .support import CommandLine

DAYS = 15
"""More than a world has from its first day until the real today."""


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
    after = everything(connection)
    for _ in range(DAYS):
        before = after
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


@pytest.mark.parametrize("scale", [0.02, pytest.param(0.2, marks=pytest.mark.thorough)])
def test_every_table_loses_a_few_rows_every_day(
    connection: psycopg.Connection[Any], scale: float
) -> None:
    connection.execute("drop schema sandbox cascade; create schema other; set search_path to other")
    load_world(connection, date(2026, 1, 1), scale, seed=1)
    for _ in range(DAYS):
        _, changes = tick(connection)

        for name, change in changes.items():
            ((rows,),) = connection.execute(f"select count(*) from {name}").fetchall()
            assert 1 <= change.deleted <= max(1, 0.1 * rows), name


def test_the_number_of_a_deleted_incident_is_not_given_again(
    connection: psycopg.Connection[Any],
) -> None:
    incidents: dict[tuple[Any, ...], Any] = {}
    for _ in range(DAYS):
        for row in everything(connection).incidents:
            assert incidents.setdefault((row.organisation_id, row.reference), row.id) == row.id
        tick(connection)


def test_the_command_commits_the_day_and_shows_what_changed(sandbox: CommandLine) -> None:
    with psycopg.connect(postgres.dsn(sandbox.port("POSTGRES")), autocommit=True) as connection:
        before = everything(connection)
        result = sandbox("tick")
        after = everything(connection)

    assert result.returncode == 0, result.stderr
    printed = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line}
    for table in TABLES:
        inserted, _, deleted = map(int, printed[table.name])
        assert inserted > 0
        assert deleted > 0
        assert len(after.of(table)) - len(before.of(table)) == inserted - deleted
