"""A read replica will do, and the primary is left in peace."""

import time
from pathlib import Path

from local_servers.emulator import Emulator
from local_servers.postgres_server import PostgresServer

from .memory import Memory
from .pipeline import Pipeline


def test_a_replica_is_read_as_its_primary_would_be(
    primary: PostgresServer, standby: PostgresServer, emulator: Emulator, tmp_path: Path
) -> None:
    with primary.connect("postgres") as connection:
        connection.execute("create table t (id int primary key, name text)")
        connection.execute("insert into t select g, 'old' from generate_series(1, 10) g")

        def catch_up() -> None:
            (position,) = connection.execute("select pg_current_wal_lsn()").fetchone() or ()
            replayed = f"(select pg_last_wal_replay_lsn() >= '{position}' as so) as replayed"
            while pipeline.source(replayed) != [{"so": True}]:
                time.sleep(0.02)

        with Pipeline(standby, emulator, "postgres", tmp_path, memory=Memory()) as pipeline:
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
