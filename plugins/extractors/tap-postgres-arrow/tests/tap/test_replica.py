"""A read replica will do, and the primary is left in peace."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_servers.emulator import Emulator
from local_servers.postgres_server import PostgresServer, running_server

from .pipeline import Pipeline


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[PostgresServer]:
    with running_server(tmp_path / "primary", wal_level="replica") as server:
        yield server


@pytest.fixture
def replica(primary: PostgresServer, tmp_path: Path) -> Iterator[PostgresServer]:
    replica = PostgresServer(tmp_path / "replica")
    replica.make_directory()
    primary.run(
        *("pg_basebackup", "--pgdata", str(replica.directory), "--username", "postgres"),
        *("--write-recovery-conf", "--checkpoint", "fast"),
    )
    try:
        replica.start()
        yield replica
    finally:
        replica.stop()


def test_a_replica_is_read_as_its_primary_would_be(
    primary: PostgresServer, replica: PostgresServer, emulator: Emulator, tmp_path: Path
) -> None:
    with primary.connect("postgres") as connection:
        connection.execute("create table t (id int primary key, name text)")
        connection.execute("insert into t select g, 'old' from generate_series(1, 10) g")

        def catch_up() -> None:
            (position,) = connection.execute("select pg_current_wal_lsn()").fetchone() or ()
            replayed = f"(select pg_last_wal_replay_lsn() >= '{position}' as so) as replayed"
            while pipeline.source(replayed) != [{"so": True}]:
                time.sleep(0.02)

        with Pipeline(replica, emulator, "postgres", tmp_path) as pipeline:
            catch_up()
            pipeline.run()
            with primary.connect("postgres") as other, other.transaction():
                other.execute("update t set name = 'late' where id = 1")
                connection.execute("update t set name = 'new' where id = 2")
                connection.execute("delete from t where id = 3")
                catch_up()
                messages = pipeline.run()
            assert "ACTIVATE_VERSION" not in {message["type"] for message in messages}
            catch_up()
            pipeline.run()
            loaded = sorted(pipeline.loaded("t"), key=lambda row: row["id"])
            assert loaded == pipeline.source("t order by id")
            assert {row["name"] for row in loaded} == {"old", "new", "late"}
            assert [row["id"] for row in pipeline.loaded("t", deleted=True)] == [3]
