"""The lock: who holds it, for how long, and how it changes hands.

A lock is a table without columns. Its description says who holds it and until when, by the server's
clock. It is changed only by `tables.patch` with the etag that was read (compare and swap), so that
of two that try at once one fails. It is never deleted.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from bigquery_lock import processes
from bigquery_lock.connection import Connection, LockError, Table
from bigquery_lock.processes import Process

LEASE_SECONDS = 120.0
RENEWALS_A_LEASE = 4
FIRST_POLL_SECONDS = 1.0
LONGEST_POLL_SECONDS = 5.0
GRACE_SECONDS = 15.0
"""How long a lock outlives the work under it, if the process in whose name it was taken goes on:
Meltano stores a state after its loader has ended."""
FREE = ""


class Held(LockError):  # noqa: N818 - not an error of anybody's
    """Somebody else holds the lock."""


class Lost(LockError):  # noqa: N818
    """The lock was held, and isn't any more: it couldn't be renewed in time."""


@dataclass(frozen=True)
class Holder:
    """What the description of a held lock says.

    Attributes:
        id: of the `Lock` that wrote it.
        purpose: what it is held for, in words.
        host: the machine's name, for people.
        machine: the machine, its start and its pid namespace: pids mean something there only.
        owner: the process in whose name it is held; those that it starts may use the lock.
        worker: the process that renews it; None between two that `owner` starts.
        since: when it was taken, seconds since 1970.
        until: when it expires unless it is renewed, seconds since 1970.
        renewals: how often it was.
    """

    id: str
    purpose: str
    host: str
    machine: str
    owner: Process
    worker: Process | None
    since: float
    until: float
    renewals: int = 0

    @classmethod
    def read(cls, description: str) -> Self | None:
        """Return who holds a lock; None where it is free, or the description isn't one of ours."""
        try:
            found: Mapping[str, Any] = json.loads(description)
            owner = Process(**found["owner"])
            worker = Process(**found["worker"]) if found["worker"] else None
            return cls(**{**found, "owner": owner, "worker": worker})
        except (ValueError, TypeError, KeyError):
            return None

    def written(self) -> str:
        """Return it as a description."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        """Return it in words: `the load of product on etl-1 (process 4711, since 04:00 UTC)`."""
        since = datetime.fromtimestamp(self.since, UTC)
        return f"{self.purpose} on {self.host} (process {self.owner.pid}, since {since:%H:%M} UTC)"


class Lock:
    """A lock that one process at a time holds, whatever machine it runs on.

    While it is held a thread renews it. It is free again when it is released, when its processes
    have ended (seen from the same machine), or when it has not been renewed for `lease_seconds`
    (seen from another).

    Args:
        connection: BigQuery.
        name: the table, `project.dataset.table`; made if it is missing, with its dataset.
        purpose: what it is held for, in words, for those who wait: `the load of product`.
        wait_seconds: how long to wait for another holder before `Held` is raised.
        on_wait: told once of each holder that is waited for, in a sentence.
        owner: the pid of the process in whose name it is held; this one by default. Processes that
            it starts may take the lock over, one at a time: a job's step from the one before.
        lease_seconds: how long it stays held without being renewed.

    Attributes:
        name: the table.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        *,
        purpose: str,
        wait_seconds: float = 0,
        on_wait: Callable[[str], None] | None = None,
        owner: int | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """Prepare it. Nothing is sent yet."""
        self.name = name
        project, dataset, table = name.rsplit(".", 2)
        self._connection = connection
        self._table = project, dataset, table
        self._purpose = purpose
        self._wait_seconds = wait_seconds
        self._on_wait = on_wait
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._holder: Holder | None = None
        self._etag = ""
        self._is_lost = False
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Take it."""
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Release it."""
        self.release()

    def acquire(self) -> None:
        """Take the lock, and renew it from now on.

        Raises:
            Held: another process holds it, and has for `wait_seconds`.
            LockError: BigQuery refuses, or doesn't answer.
        """
        self._take()
        self._ended.clear()
        self._renewing = threading.Thread(target=self._renew, name=self.name, daemon=True)
        self._renewing.start()

    def leave(self) -> None:
        """Take the lock for `owner`, and leave it to a process that it starts.

        Nobody renews it meanwhile: it is held for `lease_seconds`, or until `owner` ends.

        Raises:
            Held: as `acquire`.
        """
        self._take(is_left=True)
        self._holder = None

    def release(self) -> None:
        """Let the lock go; where its owner is another process, a few seconds later.

        It is let go by its expiry where BigQuery doesn't answer: nothing fails for that.
        """
        self._ended.set()
        if self._renewing:
            self._renewing.join()
        holder, self._holder = self._holder, None
        if holder is None or self._is_lost:
            return
        description = FREE
        if holder.owner != holder.worker and holder.owner.is_alive():
            until = self._connection.earliest_now() + GRACE_SECONDS
            description = replace(holder, worker=None, until=until).written()
        try:
            self._connection.patch(*self._table, description, self._etag)
        except LockError:
            return

    def check(self) -> None:
        """Make sure that the lock is still held.

        Raises:
            Lost: it couldn't be renewed in time; another process may hold it.
        """
        holder = self._holder
        expired = holder and self._connection.latest_now() >= holder.until
        if holder is None or self._is_lost or expired:
            message = (
                f"The lock {self.name} was lost: it could not be renewed for "
                f"{self._lease_seconds:g} s, and another run may have begun."
            )
            raise Lost(message)

    def _take(self, *, is_left: bool = False) -> None:
        """Take the lock.

        Raises:
            Held: another process holds it, and has for `wait_seconds`.
        """
        deadline = time.monotonic() + self._wait_seconds
        poll = FIRST_POLL_SECONDS
        told: str | None = None
        while (other := self._try(is_left)) is not None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                message = f"{self.name} is held by {other}."
                raise Held(message)
            if self._on_wait and told != other.id:
                told = other.id
                self._on_wait(f"Waiting for {other}.")
            time.sleep(min(poll, remaining))
            poll = min(2 * poll, LONGEST_POLL_SECONDS)

    def _try(self, is_left: bool) -> Holder | None:
        """Take the lock if it is free; else return who holds it."""
        mine = secrets.token_hex(8)
        while True:
            table = self._connection.get(*self._table)
            other = Holder.read(table.description) if table else None
            if other and other.id == mine:  # the answer to our own change was lost
                assert table  # noqa: S101
                self._note(other, table)
                return None
            if other and not self._may_take(other):
                return other
            wanted = self._wanted(mine, is_left)
            changed = (
                self._connection.patch(*self._table, wanted.written(), table.etag)
                if table
                else self._connection.insert(*self._table, wanted.written())
            )
            if changed:
                self._note(wanted, changed)
                return None

    def _wanted(self, identifier: str, is_left: bool) -> Holder:
        now = self._connection.earliest_now()
        this = Process.current()
        return Holder(
            id=identifier,
            purpose=self._purpose,
            host=processes.host(),
            machine=processes.machine(),
            owner=(self._owner and Process.find(self._owner)) or this,
            worker=None if is_left else this,
            since=now,
            until=now + self._lease_seconds,
        )

    def _may_take(self, other: Holder) -> bool:
        """Return whether a lock may be taken from another holder."""
        if self._connection.earliest_now() >= other.until:
            return True
        if other.machine != processes.machine():
            return False
        if other.worker and other.worker.is_alive():
            return False
        return not other.owner.is_alive() or other.owner.is_ancestor()

    def _note(self, holder: Holder, table: Table) -> None:
        self._holder, self._etag = holder, table.etag
        self._is_lost = False

    def _renew(self) -> None:
        """Renew the lock until it is released, or lost."""
        while not self._ended.wait(self._lease_seconds / RENEWALS_A_LEASE):
            holder = self._holder
            if holder is None:
                return
            until = self._connection.earliest_now() + self._lease_seconds
            renewed = replace(holder, until=until, renewals=holder.renewals + 1)
            try:
                changed = self._connection.patch(*self._table, renewed.written(), self._etag)
                if changed is None:  # another's change, or an answer of ours that was lost
                    changed = self._connection.get(*self._table)
                    found = changed and Holder.read(changed.description)
                    if not found or found.id != holder.id:
                        self._is_lost = True
                        return
                    renewed = found
            except LockError:
                continue  # `check` knows when it is too late
            if changed:
                self._note(renewed, changed)
