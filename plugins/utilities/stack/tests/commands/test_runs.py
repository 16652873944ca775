"""What `stack runs` says of the loader's ledger."""

from datetime import UTC, datetime
from typing import Any

import click
from stack.runs import lines, run_lines


def run(**others: Any) -> dict[str, Any]:
    return {
        "dataset": "lawrence_close",
        "started_at": datetime(2026, 1, 31, 4, 30, tzinfo=UTC),
        "ended_at": datetime(2026, 1, 31, 4, 31, 5, tzinfo=UTC),
        "streams": 12,
        "received": 112_243,
        "inserted": 1_000,
        "updated": 7,
        "deleted": 3,
        "failures": [],
    } | others


def test_a_run_is_a_line() -> None:
    heading, line = map(click.unstyle, lines([run()], {"lawrence_close": "close"}))
    assert heading.split()[-2:] == ["seconds", "status"]
    assert line == (
        "  2026-01-31 04:31  close       12   112,243  1,000        7        3       65  ok"
    )


def test_a_failure_is_named_below_and_nothing_in_it_moves_the_cursor() -> None:
    failures = [{"stream": "leads", "error": "key 'id'\x1b[2J is null"}]
    shown = [click.unstyle(line) for line in lines([run(failures=failures), run()], {})]
    assert shown[1].endswith("1 failed")
    assert shown[2].endswith("ok")
    assert shown[3:] == ["", "2026-01-31 04:31 lawrence_close", "  leads: key 'id'\\x1b[2J is null"]


def test_the_runs_of_all_are_a_line_each_and_say_why_they_failed() -> None:
    good = {
        "arguments": "close-daily",
        "started_at": datetime(2026, 1, 31, 4, 30, tzinfo=UTC),
        "ended_at": datetime(2026, 1, 31, 4, 31, 5, tzinfo=UTC),
        "tables": 12,
        "rows_received": 4_326,
        "rows_deleted": 3,
        "status": "success",
        "failed_step": None,
        "error": None,
        "log_file": ".meltano/logs/runs/x.log",
        "host": "etl-1",
    }
    bad = good | {"status": "failure", "failed_step": "dbt-close", "error": "one\ntwo"}
    shown = [click.unstyle(line) for line in run_lines([good, bad])]
    assert shown[1].split() == [
        *("2026-01-31", "04:31", "close-daily", "12", "4,326", "3", "65", "success")
    ]
    assert shown[3:] == [
        "",
        "2026-01-31 04:31 dbt-close",
        "  one",
        "  two",
        "  All output: .meltano/logs/runs/x.log on etl-1",
    ]
