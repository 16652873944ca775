"""The tap passes the Singer SDK's standard tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

from .pipeline import Pipeline

SUITE = Path(__file__).with_name("singer_sdk_suite.py")


def test_the_singer_sdks_standard_tests_pass(pipeline: Pipeline) -> None:
    pipeline.sql(
        """
        create table items (
            id bigint primary key,
            name text not null,
            is_open boolean,
            price numeric(10, 2),
            weight double precision,
            due date,
            made_at timestamptz,
            body jsonb,
            tags text[]
        )
        """,
        """
        insert into items values
            (1, 'a', true, 1.50, 0.5, '2026-01-01', '2026-01-01T00:00:00Z', '{"n": 1}', '{x,y}'),
            (2, 'b', null, null, null, null, null, null, null)
        """,
        "create view open_items as select id, name from items where is_open",
    )
    # In a process of its own: the SDK asks for the streams when it defines the tests, and keeps
    # the connections of every tap that it makes.
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", SUITE],
        env=os.environ | {"TAP_CONFIG": json.dumps(pipeline.config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
