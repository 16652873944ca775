"""Manifests of every kind: what is read equals what the API has, whatever interrupts it."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import pytest

from . import manifests
from .api import Api, moment
from .singer import Tap, Target

MakeTap = Callable[..., Tap]
COLUMNS_OF_CSV = ("id", "name", "amount")


def expected(api: Api, kind: str) -> list[dict[str, Any]]:
    if kind in ("CSV", "asynchronous job"):
        return [{name: row[name] for name in COLUMNS_OF_CSV} for row in api.rows]
    return api.rows


@pytest.mark.parametrize("kind", manifests.ALL)
def test_rows_are_those_of_the_api(api: Api, tap: MakeTap, kind: str) -> None:
    run, target = tap(manifests.ALL[kind]).sync(), Target()
    target.load(run.messages)
    assert run.error is None
    assert target.rows() == expected(api, kind)


@pytest.mark.parametrize("kind", manifests.FULL)
def test_a_full_read_shows_what_was_deleted(api: Api, tap: MakeTap, kind: str) -> None:
    source, target = tap(manifests.FULL[kind]), Target()
    target.load(source.sync().messages)
    api.change()
    del api.items[3]
    target.load(source.sync(target.state).messages)
    assert target.rows() == expected(api, kind)


@pytest.mark.parametrize("kind", manifests.INCREMENTAL)
def test_the_second_run_reads_what_has_changed(api: Api, tap: MakeTap, kind: str) -> None:
    source, target = tap(manifests.INCREMENTAL[kind]), Target()
    first = source.sync()
    target.load(first.messages)
    api.change()
    api.requests.clear()
    second = source.sync(target.state)
    target.load(second.messages)
    assert target.rows() == api.rows
    # The last row of each partition may come again.
    if kind != "state delegation":
        assert {7, 61} <= {row["id"] for row in second.records()} <= {7, 58, 59, 60, 61}
    assert not first.activated
    assert not second.activated
    asked = [each.query["since"] for each in api.requests if "since" in each.query]
    if kind not in ("client side", "state delegation"):
        if kind == "children of parents that have changed":
            asked = [query for query in asked if query != moment(7)]  # the child's own
        assert min(asked) >= api.items[58]["updated_at"]


@pytest.mark.parametrize("kind", manifests.ALL)
def test_a_run_that_breaks_off_at_any_message_is_resumed(api: Api, tap: MakeTap, kind: str) -> None:
    source = tap(manifests.ALL[kind])
    messages = source.sync().messages
    api.change()
    # From the same state the same is read.
    for end in sorted({len(messages) - 1, *random.Random(1).sample(range(len(messages)), 3)}):
        target = Target()
        target.load(messages[:end])
        token = target.state.get("bookmarks", {}).get("airbyte_config")
        if kind == "OAuth" and not token:
            continue  # It is spent before any record: see test_oauth.py.
        target.load(source.sync(target.state).messages)
        assert target.rows() == expected(api, kind)


# Starts the tap as a process of its own, which writes to a file, and kills it when told. The tap's
# modules are imported once.
STARTER = """
import json, os, signal, sys
from tap_airbyte_manifest.__main__ import main
for line in sys.stdin:
    output, *sys.argv[1:] = json.loads(line)
    if process := os.fork():
        sys.stdin.readline()
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        print(flush=True)
    else:
        os.dup2(os.open(output, os.O_WRONLY), 1)
        os._exit(main() or 0)
"""


def test_kill_minus_nine_at_random_moments(api: Api, tap: MakeTap, tmp_path: Path) -> None:
    dice = random.Random(20)
    # A job's state is asked for every five seconds.
    kinds = [kind for kind in manifests.ALL if kind not in ("OAuth", "asynchronous job")]
    written = tmp_path / "written"
    os.mkfifo(written)
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True
    ) as starter:
        assert starter.stdin
        assert starter.stdout
        for kind in (kinds * 2)[:20]:
            source, target = tap(manifests.ALL[kind]), Target()
            print(json.dumps([str(written), *source.arguments()]), file=starter.stdin, flush=True)
            with written.open("rb") as output:
                lines = [output.readline() for _ in range(dice.randrange(1, 60))]
                print(file=starter.stdin, flush=True)
                starter.stdout.readline()
            target.load(json.loads(line) for line in lines if line.endswith(b"\n"))
            target.load(source.sync(target.state).messages)
            assert target.rows() == expected(api, kind)


def test_streams_and_schemas_that_the_api_tells(api: Api, tap: MakeTap) -> None:
    source, target = tap(manifests.dynamic()), Target()
    catalog = source.catalog()
    found = {entry["tap_stream_id"]: entry["schema"]["properties"] for entry in catalog["streams"]}
    assert found.keys() == {"groups", "red", "green", "blue"}
    assert found["red"]["id"] == {"type": ["null", "integer"]}
    assert found["red"]["updated_at"]["format"] == "date-time"
    target.load(source.sync(catalog=catalog).messages)
    assert target.rows("blue") == [row for row in api.rows if row["group"] == "blue"]
