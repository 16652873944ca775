"""What a failed run leaves behind: a clear error, no state, and data that a rerun mends."""

import os
import re
import signal
import subprocess
import time

import psutil

from ..stack import TABLES, Stack, wait_for


def test_a_killed_loader_is_made_up_for_by_the_next_run(stack: Stack) -> None:
    positions = stack.positions()
    for seconds in (0.0, 0.7, 1.5):
        stack.pass_day()
        run = stack.start("run", "tap-product", "target-bigquery")
        loader = wait_for_loader(run)
        time.sleep(seconds)
        os.kill(loader, signal.SIGKILL)
        output, _ = run.communicate(timeout=120)
        assert run.returncode == 1, output
        assert stack.positions() == positions
    stack.extract_load()
    assert stack.differences() == {}
    assert set(stack.raw_tables()) == set(TABLES), "a killed run's staging tables are still there"


def test_a_run_that_is_under_way_is_left_alone(stack: Stack) -> None:
    job = ("run", "stack:guard", "tap-product", "target-bigquery")
    stack.pass_day()
    run = stack.start(*job)
    loader = psutil.Process(wait_for_loader(run))
    # It has stopped, and Meltano with it: no heartbeat, and not dead.
    for process in (psutil.Process(run.pid), loader):
        process.suspend()
    try:
        time.sleep(3)
        output = stack.meltano(*job, fails=True)
    finally:
        for process in (loader, psutil.Process(run.pid)):
            process.resume()
    assert "pipeline is already running" in output
    assert "recorded as failed" not in output
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert stack.differences() == {}


def test_a_warehouse_that_goes_away_is_a_clear_error_and_the_next_run_mends_it(
    stack: Stack,
) -> None:
    positions = stack.positions()
    stack.pass_day()
    run = stack.start("run", "tap-product", "target-bigquery")
    wait_for_loader(run)
    stack.sandbox("down", "bigquery")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    assert re.search(r"BigQuery at 127\.0\.0\.1:\d+ did not answer.*sandbox up", output)
    assert "Traceback" not in output
    assert stack.positions() == positions

    stack.sandbox("up")
    stack.extract_load()
    assert stack.differences() == {}


def test_postgres_down_is_a_clear_error_and_no_state(stack: Stack) -> None:
    positions = stack.positions()
    stack.sandbox("down", "postgres")
    output = stack.extract_load(fails=True)
    stack.sandbox("up", "postgres")
    assert re.search(r"Can't connect to Postgres: .*Connection refused.*sandbox up", output)
    assert "Traceback" not in output
    assert stack.positions() == positions


def test_a_wrong_password_is_a_clear_error(stack: Stack) -> None:
    output = stack.extract_load(fails=True, TAP_PRODUCT_PASSWORD="not-the-password")
    assert 'password authentication failed for user "sandbox"' in output
    assert "not-the-password" not in output


def test_a_missing_variable_is_named(stack: Stack) -> None:
    output = stack.meltano(
        "--environment=prod", "run", "tap-product", "target-bigquery", fails=True
    )
    assert re.search(r"'PRODUCT_POSTGRES_\w+' referenced but not set", output)


def test_metabase_down_leaves_the_data_and_says_that_only_the_sync_is_missing(
    stack: Stack,
) -> None:
    stack.sandbox("down", "metabase")
    output = stack.meltano("invoke", "dbt-metabase:sync", "--full", fails=True)
    stack.sandbox("up", "metabase")
    assert "can't be reached" in output
    assert "The data is loaded and transformed; only Metabase has not been told" in output


def test_a_table_that_was_emptied_by_mistake_is_not_emptied_in_bigquery(stack: Stack) -> None:
    positions = stack.positions()
    with stack.postgres() as connection:
        connection.execute("delete from workflows")
    output = stack.extract_load(fails=True)
    assert re.search(r"workflows: (\d+) of its \1 live rows are no longer in the source", output)
    assert "max_delete_fraction: 1" in output
    assert stack.raw_rows("workflows")
    assert stack.positions()["public-workflows"] == positions["public-workflows"]

    stack.extract_load(TAP_PRODUCT_MAX_DELETE_FRACTION="1")
    assert stack.differences() == {}


def wait_for_loader(run: subprocess.Popen[str]) -> int:
    """Return the process id of the run's loader, as soon as there is one."""
    return wait_for(run, "bin/target-bigquery-arrow")
