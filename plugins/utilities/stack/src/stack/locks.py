"""The locks of raw datasets: a job, and a stream that is read again, take them before they load."""

import os
from collections.abc import Callable

import bigquery_lock
from run_ledger.ops import Ops

from stack import meltano
from stack.terminal import StackError

WAIT = "STACK_WAIT_SECONDS"
WAIT_SECONDS = 900.0
LEASE_SECONDS = 300.0
"""How long a lock is held between the guard and the loader: a tap may discover in between."""


def leave(ops: Ops, dataset: str, *, owner: int, on_wait: Callable[[str], None]) -> None:
    """Take the lock of a raw dataset for `owner`, whose loader takes it over.

    Nothing is taken where loaders take no lock.

    Args:
        ops: where locks are.
        dataset: its name in this environment.
        owner: the process in whose name it is to be held.
        on_wait: told whom it waits for.

    Raises:
        StackError: another run has held it for too long; or BigQuery refuses, or doesn't answer.
    """
    if not (locks := ops.settings.get("lock_dataset")):
        return
    seconds = os.environ.get(WAIT) or WAIT_SECONDS
    try:
        bigquery_lock.Lock(
            ops.connection,
            f"{ops.settings['project']}.{ops.name(locks)}.lock_{dataset}",
            purpose=f"the load of {dataset}",
            wait_seconds=float(seconds),
            on_wait=on_wait,
            owner=owner,
            lease_seconds=LEASE_SECONDS,
        ).leave()
    except bigquery_lock.Held as error:
        message = (
            f"{error} Nothing was run. Run again once it has ended, or set {WAIT} to wait longer "
            f"than {seconds} s."
        )
        raise StackError(message) from error
    except bigquery_lock.LockError as error:
        message = f"{error} {meltano.sandbox_or('Check the network and the credentials.')}"
        raise StackError(message) from error
