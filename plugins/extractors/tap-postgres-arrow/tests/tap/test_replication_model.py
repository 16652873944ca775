"""Whatever happens between runs, and during them: after a run that ends well, live rows are
Postgres' rows."""

import itertools
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from local_servers.emulator import Emulator
from local_servers.postgres_server import PostgresServer

from .pipeline import Pipeline

TABLES = ("things", "parted")
# Each transaction has keys of its own, so that none waits for another.
KEYS_OF_A_TRANSACTION = 10
KEYS = st.integers(0, KEYS_OF_A_TRANSACTION - 1)


def writes(table: str, key: int, value: int) -> dict[str, str]:
    return {
        "insert": f"insert into {table} (id, value) values ({key}, {value}) on conflict do nothing",
        "update": f"update {table} set value = {value} where id = {key}",
        "delete": f"delete from {table} where id = {key}",
        "replace": f"delete from {table} where id = {key}; "
        f"insert into {table} (id, value) values ({key}, {value})",
    }


def machine(new_pipeline: Callable[[], Pipeline]) -> type[RuleBasedStateMachine]:
    class Replication(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.numbers = itertools.count(1)
            self.open: dict[int, psycopg.Connection[Any]] = {}
            self.is_whole = True

        @initialize()
        def begin(self) -> None:
            self.pipeline = new_pipeline()
            self.pipeline.settings["max_delete_fraction"] = 1
            self.pipeline.sql(
                "create table things (id int primary key, value int)",
                "create table parted (id int primary key, value int) partition by range (id)",
                "create table parted_0 partition of parted for values from (0) to (15)",
                "create table parted_1 partition of parted for values from (15) to (99)",
            )

        @rule(
            table=st.sampled_from(TABLES),
            key=KEYS,
            kind=st.sampled_from(["insert", "insert", "update", "delete", "replace"]),
            slot=st.sampled_from([0, 0, 1, 2]),
        )
        def write(self, table: str, key: int, kind: str, slot: int) -> None:
            """Write at once (slot 0), or in a transaction that stays open."""
            sql = writes(table, key + slot * KEYS_OF_A_TRANSACTION, next(self.numbers))[kind]
            if slot and slot not in self.open:
                self.open[slot] = self.pipeline.connect()
                self.open[slot].execute("begin")
            connection = self.open[slot] if slot else self.pipeline.postgres
            if table == "things" or self.is_whole or key + slot * KEYS_OF_A_TRANSACTION < 15:
                connection.execute(sql)

        @precondition(lambda self: self.open)
        @rule(data=st.data(), end=st.sampled_from(["commit", "commit", "rollback"]))
        def end(self, data: st.DataObject, end: str) -> None:
            slot = data.draw(st.sampled_from(sorted(self.open)))
            with self.open.pop(slot) as connection:
                connection.execute(end)

        @rule(
            change=st.sampled_from(
                [
                    "alter table {0} add column if not exists extra int default 1",
                    "alter table {0} drop column if exists extra",
                    "alter table {0} alter column value type bigint",
                    "truncate {0}",
                    "vacuum full {0}",
                    "update {0} set value = value + 1",
                ]
            ),
            table=st.sampled_from(TABLES),
        )
        def change(self, change: str, table: str) -> None:
            self.end_all()
            self.pipeline.sql(change.format(table))
            if table == "parted" and not self.is_whole:
                self.pipeline.sql(change.format("parted_1"))

        @rule()
        def take_a_partition_away_or_bring_it_back(self) -> None:
            """It comes back with what it held, whose transactions are long over."""
            self.end_all()
            bounds = "" if self.is_whole else " for values from (15) to (99)"
            verb = "detach" if self.is_whole else "attach"
            self.pipeline.sql(f"alter table parted {verb} partition parted_1{bounds}")
            self.is_whole = not self.is_whole

        def end_all(self) -> None:
            """End the transactions that would block what locks a whole table."""
            while self.open:
                _, connection = self.open.popitem()
                connection.execute("commit")
                connection.close()

        @rule()
        def freeze(self) -> None:
            self.pipeline.sql("vacuum freeze")

        @rule(data=st.data())
        def break_off(self, data: st.DataObject) -> None:
            """A run of which the loader hears only the beginning, or whose state gets lost."""
            messages = self.pipeline.extract()
            heard = data.draw(st.integers(0, len(messages)))
            kept = self.pipeline.state
            self.pipeline.load("".join(json.dumps(m) + "\n" for m in messages[:heard]))
            if data.draw(st.booleans()):
                self.pipeline.state = kept

        @rule()
        def run(self) -> None:
            self.pipeline.run()
            for table in TABLES:
                source = self.pipeline.source(f"{table} order by id")
                columns = self.pipeline.source(f"(select) x left join {table} on false")[0].keys()
                loaded = self.pipeline.loaded(table)
                found = [{name: row[name] for name in columns} for row in loaded]
                assert sorted(found, key=lambda row: row["id"]) == source, table

        def teardown(self) -> None:
            for connection in self.open.values():
                connection.close()

    return Replication


@pytest.mark.thorough
def test_after_a_run_live_rows_are_postgres_rows(
    server: PostgresServer, emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def new_pipeline() -> Pipeline:
        name = f"test_{uuid.uuid4().hex}"
        with server.connect("postgres") as connection:
            connection.execute(f"create database {name} strategy file_copy")
        pipeline = Pipeline(server, emulator, name, tmp_path).__enter__()
        request.addfinalizer(lambda: pipeline.__exit__())
        return pipeline

    run_state_machine_as_test(
        machine(new_pipeline),
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
