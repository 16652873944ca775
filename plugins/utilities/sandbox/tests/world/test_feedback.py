"""The second database: what an extractor may meet in it, and a day that changes all of it."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sandbox import postgres
from sandbox.feedback.database import DATABASE, TABLES, load, tick
from sandbox.product.database import running_clock

from .support import CommandLine

Tables = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def connection(sandbox: CommandLine) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose transaction is never committed."""
    connection = psycopg.connect(postgres.dsn(sandbox.port("POSTGRES"), DATABASE))
    yield connection
    connection.rollback()
    connection.close()


@pytest.fixture
def product(sandbox: CommandLine) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres.dsn(sandbox.port("POSTGRES"))) as connection:
        yield connection


def everything(connection: psycopg.Connection[Any]) -> Tables:
    return {
        table: sorted(connection.execute(f"select * from {table}").fetchall(), key=repr)
        for table in TABLES
    }


def test_the_same_world_has_the_same_wishes(
    connection: psycopg.Connection[Any], product: psycopg.Connection[Any]
) -> None:
    clock = running_clock(product)
    people = [row[0] for row in product.execute("select id from users order by id")]
    there = everything(connection)

    connection.execute("create schema again; set search_path to again")
    load(connection, clock.today, clock.seed, people)

    assert all(there.values())
    assert everything(connection) == there


def test_a_day_adds_changes_and_deletes(
    connection: psycopg.Connection[Any], product: psycopg.Connection[Any]
) -> None:
    clock = running_clock(product)
    people = [row[0] for row in product.execute("select id from users order by id")]
    before = everything(connection)

    changes = tick(connection, clock.today, clock.seed, people)

    after = everything(connection)
    ideas = {row[0]: row for row in before["ideas"]}
    left = {row[0]: row for row in after["ideas"]}
    assert changes.inserted == len(left.keys() - ideas.keys()) > 0
    assert changes.deleted == len(ideas.keys() - left.keys()) > 0
    assert changes.updated == sum(left[id_] != ideas[id_] for id_ in left.keys() & ideas) > 0
    for table in ("votes", "comments"):
        assert set(before[table]) - set(after[table]), f"nothing has gone from {table}"
        assert set(after[table]) - set(before[table]), f"nothing has come to {table}"
