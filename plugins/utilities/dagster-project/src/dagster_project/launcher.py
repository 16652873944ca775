"""A run launcher that notices when the process of a run is gone.

Dagster's monitoring of runs asks the launcher how a run's process is. `DefaultRunLauncher` can't
tell, so a run that was killed together with Dagster would count as started for ever.
https://docs.dagster.io/deployment/execution/run-monitoring
"""

from typing import override

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class LocalRunLauncher(DefaultRunLauncher):
    """Start runs on this machine, as Dagster does by default, and tell whether they are alive."""

    @property
    @override
    def supports_check_run_worker_health(self) -> bool:
        return True

    @override
    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that has started the run, and knows its process."""
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:  # not started by this launcher, or ended meanwhile
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "No code server has started it.")
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id))
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.FAILED, "Its process is gone, with Dagster's.")
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "Its process is gone.")
