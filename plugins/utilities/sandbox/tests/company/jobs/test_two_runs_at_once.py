"""Two runs that load one source at once: one waits for the other, and the tables are right."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..stack import Stack, copy_of_the_project, wait_for

JOB = ("run", "stack:guard", "tap-product", "target-bigquery")
LOADER = "target-bigquery-arrow"


def as_people_run_it(
    stack: Stack, root: Path, job: Sequence[str] = JOB, **changed: str
) -> subprocess.Popen[str]:
    """Start the job with what `meltano run` prints, and hands on, by default."""
    usual = {"MELTANO_CLI_LOG_CONFIG": str(root / "orchestrate" / "logging.yaml")}
    return Stack(root, stack.environment).start(*job, **usual, **changed)


def test_of_two_machines_with_one_state_one_waits_for_the_other(
    stack: Stack, tmp_path: Path
) -> None:
    clone = copy_of_the_project(tmp_path / "clone")
    state = {"MELTANO_STATE_BACKEND_URI": f"file://{tmp_path}/state"}
    own = {"MELTANO_DATABASE_URI": f"sqlite:///{tmp_path}/meltano.db"}
    stack.pass_day()
    runs = [
        as_people_run_it(stack, stack.root, **state),
        as_people_run_it(stack, stack.root, **state),
        as_people_run_it(stack, clone, **state, **own),
    ]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    assert any("Waiting for the load of product on " in output for output in outputs), outputs
    assert stack.differences() == {}
    recorded = stack.query("select status, sources from ops.runs order by ended_at desc limit 3")
    assert recorded == [{"status": "success", "sources": ["product"]}] * 3


def test_two_resyncs_and_a_job_wait_for_each_other(stack: Stack) -> None:
    stack.pass_day()
    stack.query("update product.users set name = 'damaged' where true")
    resync = ("invoke", "stack", "resync", "product", "users")
    runs = [as_people_run_it(stack, stack.root, job) for job in (resync, resync, JOB)]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    assert any("Waiting for the load of product on " in output for output in outputs), outputs
    assert stack.differences() == {}


def test_a_run_that_was_killed_holds_up_nobody_and_is_recorded(stack: Stack) -> None:
    stack.pass_day()
    run = as_people_run_it(stack, stack.root)
    wait_for(run, LOADER)
    run.kill()
    run.wait()
    following = as_people_run_it(stack, stack.root)
    output, _ = following.communicate(timeout=300)
    assert following.returncode == 0, output
    assert "The run of local:tap-product-to-target-bigquery that began at" in output
    assert "was killed: recorded as failed." in output
    assert stack.differences() == {}
    newest = stack.query("select status from ops.runs order by started_at desc limit 2")
    assert [row["status"] for row in newest] == ["success", "killed"]
