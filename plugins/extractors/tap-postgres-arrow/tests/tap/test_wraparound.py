"""Transaction ids have 32 bits in rows and go round; nothing is lost over it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_servers.emulator import Emulator
from local_servers.postgres_server import PostgresServer, running_server
from tap_postgres_arrow.replication import XMIN_RANGE, written_between

from .memory import Memory
from .pipeline import Pipeline

# Where a segment of the transactions' log begins, so that Postgres makes it again.
SEGMENT = 2**20
# In one step, the counter can't go further than Postgres tells past from future.
STEP = 2**31 - 100 * SEGMENT


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PostgresServer]:
    with running_server(tmp_path / "postgres") as server:
        with server.connect("postgres") as connection:
            connection.execute("alter database template0 with allow_connections true")
        yield server


def move_forward(server: PostgresServer, transaction: int) -> None:
    """Have the next transaction bear this 64-bit id."""
    server.run("vacuumdb", "--all", "--freeze", "--username", "postgres")
    server.stop()
    epoch, xid = divmod(transaction, XMIN_RANGE)
    server.run(
        *("pg_resetwal", "--pgdata", str(server.directory)),
        *("--epoch", str(epoch), "--next-transaction-id", str(xid)),
    )
    server.start()


def test_the_counter_goes_past_32_bits(
    own_server: PostgresServer, emulator: Emulator, tmp_path: Path
) -> None:
    with own_server.connect("postgres") as connection:
        connection.execute("create database wrapped")

    def run(*statements: str) -> set[str]:
        """Run; return the kinds of messages that passed."""
        with Pipeline(own_server, emulator, "wrapped", tmp_path, state, memory=memory) as pipeline:
            pipeline.sql(*statements)
            messages = pipeline.run()
            state.update(pipeline.state)
            source = pipeline.source("t order by id")
            assert sorted(pipeline.loaded("t"), key=lambda row: row["id"]) == source
            return {message["type"] for message in messages}

    state: dict = {}
    memory = Memory()
    run("create table t (id int primary key, value text)", "insert into t values (1, 'first')")
    for transaction in (STEP, 2 * STEP, XMIN_RANGE - SEGMENT):
        move_forward(own_server, transaction)
    messages = run(
        "insert into t values (2, 'before')", "update t set value = 'changed' where id = 1"
    )
    assert "ACTIVATE_VERSION" not in messages, "it was read in full"
    before = state["bookmarks"]["public-t"]["replication_key_value"]
    with own_server.connect("wrapped") as connection:
        connection.execute("insert into t values (3, 'shortly before')")
    move_forward(own_server, XMIN_RANGE + SEGMENT)
    messages = run("insert into t values (4, 'after')", "update t set value = 'again' where id = 2")
    assert "ACTIVATE_VERSION" not in messages, "it was read in full"
    after = state["bookmarks"]["public-t"]["replication_key_value"]
    assert before < XMIN_RANGE < after
    run("delete from t where id = 1", "insert into t values (5, 'well after')")


def test_the_condition_goes_round_with_the_ids() -> None:
    assert written_between(5, 5) == "false"
    assert written_between(5, 9) == "(xmin::text::bigint >= 5 and xmin::text::bigint < 9)"
    assert written_between(XMIN_RANGE - 2, XMIN_RANGE + 7) == (
        f"(xmin::text::bigint >= {XMIN_RANGE - 2} or xmin::text::bigint < 7)"
    )
