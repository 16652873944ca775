"""A process that takes a lock: `python contender.py <endpoint> <lock> <task> [file] [seconds]`.

The tasks: `hold` it until killed; `try` it once; `compete` for it until killed, and see by a lock
of the operating system, which ends with its process, that nobody else holds it.
"""

import fcntl
import os
import random
import sys
import time
from pathlib import Path

import bigquery_lock
import requests
from bigquery_lock import connection as connection_module
from bigquery_lock import lock as lock_module


class LossySession(requests.Session):
    """Loses every fourth answer on average, after the server has done what was asked."""

    def request(self, *arguments, **options):  # type: ignore[no-untyped-def]
        response = super().request(*arguments, **options)
        if random.random() < 0.25:
            raise requests.ConnectionError("lost")
        return response


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(endpoint: str, name: str, task: str, file: str = "") -> None:
    connection = bigquery_lock.connect(api_endpoint=endpoint, anonymous=True)
    if task == "try":
        try:
            bigquery_lock.Lock(connection, name, purpose="a try").acquire()
        except bigquery_lock.Held as error:
            say(str(error))
            sys.exit(1)
        say("taken")
        os._exit(0)
    if task == "hold":
        bigquery_lock.Lock(connection, name, purpose="the load of product").acquire()
        say("taken")
        time.sleep(600)
    connection.session = LossySession()
    # As often as the server answers, so that many try at once.
    lock_module.FIRST_POLL_SECONDS = lock_module.LONGEST_POLL_SECONDS = 0.01
    connection_module.FIRST_WAIT_SECONDS = 0.01
    while True:
        with bigquery_lock.Lock(connection, name, purpose="a race", wait_seconds=60) as lock:
            lock.check()
            with Path(file).open("r+") as proof:
                try:
                    fcntl.flock(proof, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say("two hold it")
                    os._exit(3)
                time.sleep(random.random() / 50)
                say("held")


if __name__ == "__main__":
    main(*sys.argv[1:])
