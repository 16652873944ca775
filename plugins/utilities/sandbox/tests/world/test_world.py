"""The world on its first day."""

import json
import subprocess
import sys
from datetime import date
from hashlib import sha256

import pytest
from sandbox.product.calendar import end_of
from sandbox.product.tables import TABLES
from sandbox.product.world import generate

from . import invariants

TODAY = date(2026, 1, 1)


def test_the_same_seed_gives_the_same_world_in_another_process() -> None:
    program = (
        "from datetime import date; from hashlib import sha256;"
        "from sandbox.product.world import generate;"
        "print(sha256(repr(generate(date(2026, 1, 1), 0.05, seed=1)).encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    digest = sha256(repr(generate(TODAY, 0.05, seed=1)).encode()).hexdigest()

    assert other.stdout.strip() == digest


def test_another_seed_gives_another_world() -> None:
    assert generate(TODAY, 0.01, seed=1) != generate(TODAY, 0.01, seed=2)


@pytest.mark.parametrize("scale", [0.001, 0.01, pytest.param(0.2, marks=pytest.mark.thorough)])
def test_every_table_has_consistent_rows_at_every_scale(scale: float) -> None:
    rows = generate(TODAY, scale, seed=1)

    assert all(rows.of(table) for table in TABLES)
    invariants.check(rows, end_of(TODAY))


@pytest.mark.thorough
def test_scale_1_is_the_size_that_the_readme_promises() -> None:
    rows = generate(TODAY, 1, seed=1)

    assert len(rows.organisations) == 200
    assert len(rows.users) == 4_000
    assert len(rows.incidents) == 10_000
    assert len(rows.timeline_items) == 60_000
    statuses = {row.status for row in rows.incidents}
    assert statuses >= {"investigating", "fixing", "monitoring", "closed", "declined"}
    assert {row.severity for row in rows.incidents} >= {"minor", "major", "critical"}
    assert any(row.archived_at for row in rows.organisations)
    assert any(row.setup_completed_at is None for row in rows.organisations)
    assert any(not row.name.isascii() for row in rows.users)
    assert any(row.tags for row in rows.organisations)
    assert any(not row.tags for row in rows.organisations)
    assert any(json.loads(row.custom_fields or "{}").get("cause") for row in rows.incidents)
