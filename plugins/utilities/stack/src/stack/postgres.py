"""A Postgres database, reached as our tap reaches it.

What the tap's settings mean (a URL, a tunnel, a token, a list of servers) only the tap knows: it
is asked for libpq's connection string, in its own environment.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from stack.terminal import last_line

TAP = "tap-postgres-arrow"
MODULE = "tap_postgres_arrow.connection"
SECONDS = 6
"""How long a server has to answer."""

Connection = psycopg.Connection[dict[str, Any]]


class RefusedError(Exception):
    """A database that can't be connected to.

    Attributes:
        problem: what is wrong, and where.
        fix: what to do; the tap's settings stand in backticks.
    """

    def __init__(self, problem: str, fix: str) -> None:
        """Take both."""
        super().__init__(f"Can't connect to Postgres: {problem}. {fix}")
        self.problem = problem
        self.fix = fix


@contextmanager
def connected(
    executable: str, config: Mapping[str, Any], variables: Mapping[str, str], name: str
) -> Iterator[tuple[Connection, str]]:
    """Yield a connection that commits each statement, and where it leads.

    Args:
        executable: the tap's.
        config: the tap's settings.
        variables: what the tap sees of its environment.
        name: who we are, for the database's administrators.

    Raises:
        RefusedError: the database can't be reached, refuses the login, or ends the connection.
    """
    # Its settings go through a pipe: there are passwords in them.
    with subprocess.Popen(  # noqa: S603
        [Path(executable).with_name("python"), "-m", MODULE],
        env={**variables, "PGCONNECT_TIMEOUT": str(SECONDS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as lender:
        # Both ends are there: they were asked for.
        assert lender.stdin and lender.stdout and lender.stderr  # noqa: S101
        lender.stdin.write(f"{json.dumps(config)}\n")
        lender.stdin.flush()
        answer = lender.stdout.readline()
        if not answer:
            problem = f"{TAP} has broken off: {last_line(lender.stderr.read())}"
            raise RefusedError(problem, "Install it again: `make setup`.")
        found = json.loads(answer)
        if "problem" in found:
            raise RefusedError(found["problem"], found["fix"])
        try:
            with psycopg.connect(
                found["conninfo"],
                application_name=name,
                autocommit=True,
                # Behind a pooler, the next statement may run in another session.
                prepare_threshold=None,
                row_factory=dict_row,
            ) as connection:
                yield connection, found["at"]
        except psycopg.Error as error:
            problem = " ".join(str(error).split())
            fix = "Run it again; the server's log may say more."
            raise RefusedError(problem, fix) from None
