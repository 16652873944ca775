"""What passes by itself is waited out, and no row is lost or doubled by trying again."""

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from target_bigquery_arrow.errors import LoadError

from .driver import Loader, Message, files, parquet, record, schema, state
from .flaky_proxy import Fault, FlakyProxy, Request, flaky_proxy

ID = {"id": {"type": "integer"}}
# The same rows by MERGE and, having no key, by INSERT.
PIPE = [
    schema("things", ID),
    schema("log", ID, keys=()),
    *(record(stream, {"id": number}) for number in range(100) for stream in ("things", "log")),
    state({"done": True}),
]
STATEMENT = re.compile(rb'"jobId": "(\w+)".*"query":')


def in_files(directory: Path) -> list[Message]:
    """The same, in four files each, which share a staging table."""
    pipe = [message for message in PIPE if message["type"] != "RECORD"]
    for stream, part in itertools.product(("things", "log"), range(4)):
        ids = list(range(part * 25, part * 25 + 25))
        path = parquet(directory, {"id": ids, "_sdc_sequence": [1] * 25})
        pipe.insert(-1, files("BATCH", stream, path))
    return pipe


@pytest.fixture
def proxy(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    # Tests don't wait for as long as people do.
    monkeypatch.setattr("target_bigquery_arrow.warehouse.FIRST_WAIT_SECONDS", 0.01)
    with flaky_proxy(loader.emulator.port) as proxy:
        loader.settings |= {"api_endpoint": proxy.endpoint, "retry_seconds": 30}
        yield proxy


def assert_loaded_once(loader: Loader) -> None:
    for table in ("things", "log"):
        assert sorted(row["id"] for row in loader.rows(table)) == list(range(100))


@pytest.mark.parametrize("path", ["RECORD", "BATCH"])
def test_any_request_may_fail(loader: Loader, proxy: FlakyProxy, tmp_path: Path, path: str) -> None:
    chance = random.Random(3)
    proxy.fault = lambda _: chance.choice([*Fault, *[Fault.NONE] * 8])
    assert loader.load(*(PIPE if path == "RECORD" else in_files(tmp_path))) == [{"done": True}]
    assert set(proxy.faults) == set(Fault)
    assert_loaded_once(loader)


@pytest.mark.parametrize(
    "statements", [("fill", "insert"), ("type", "merge", "sequence", "insert")]
)
def test_a_job_whose_answer_is_lost_is_found_again_by_its_id(
    loader: Loader, proxy: FlakyProxy, statements: tuple[str, ...]
) -> None:
    """Each statement runs, and the first two uploads; that they did, nobody hears."""
    if "merge" in statements:
        loader.load(*PIPE[:2])  # the tables are there already
    uploads, lost = itertools.count(), set[bytes]()

    def lose_first_answers(request: Request) -> Fault:
        if request.method == "PUT" and next(uploads) < 2:
            return Fault.ANSWER_LOST
        statement = STATEMENT.search(request.body)
        if statement is None or statement[1] in lost:
            return Fault.NONE
        lost.add(statement[1])
        return Fault.ANSWER_LOST

    proxy.fault = lose_first_answers
    assert loader.load(*PIPE) == [{"done": True}]
    steps = {job.split(b"_")[-2].decode() for job in lost}
    assert steps == set(statements)
    assert proxy.faults.count(Fault.ANSWER_LOST) == 2 + len(statements)
    assert_loaded_once(loader)


def test_what_does_not_pass_is_an_error_in_the_end(loader: Loader, proxy: FlakyProxy) -> None:
    loader.settings["retry_seconds"] = 0.5
    proxy.fault = lambda _: Fault.UNAVAILABLE
    with pytest.raises(LoadError, match=r"did not answer within 0\.5 s .*503"):
        loader.load(*PIPE)


def test_every_query_says_what_it_may_bill(loader: Loader, proxy: FlakyProxy) -> None:
    loader.settings |= {"maximum_bytes_billed": 20 * 2**30}
    billed: list[int | None] = []

    def note(request: Request) -> Fault:
        if STATEMENT.search(request.body):
            query = json.loads(request.body)["configuration"]["query"]
            billed.append(int(query["maximumBytesBilled"]))
        return Fault.NONE

    proxy.fault = note
    loader.load(*PIPE)
    loader.load(*PIPE)
    assert len(billed) > 4
    assert set(billed) == {20 * 2**30}


def test_a_query_that_would_bill_more_fails_at_once_and_says_what_to_raise(
    loader: Loader, proxy: FlakyProxy
) -> None:
    """The client calls it an error of the server, which would be tried again for minutes."""
    loader.settings |= {"maximum_bytes_billed": 1}
    refused = 0

    def refuse(request: Request) -> bytes | None:
        nonlocal refused
        if not STATEMENT.search(request.body):
            return None
        refused += 1
        error = {
            "reason": "bytesBilledLimitExceeded",
            "message": "Query exceeded limit for bytes billed: 1. 10485760 or higher required.",
        }
        status = {"state": "DONE", "errorResult": error, "errors": [error]}
        return json.dumps(json.loads(request.body) | {"status": status}).encode()

    proxy.answer = refuse
    with pytest.raises(LoadError) as raised:
        loader.load(*PIPE)
    message = str(raised.value)
    assert "bytes billed: 1. 10485760 or higher required. The query has not run" in message
    assert "raise the loader's `maximum_bytes_billed`" in message
    assert 1 <= refused <= 2, "once for each of the two streams"
