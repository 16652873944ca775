"""What people see of a run, from the records that Meltano logs."""

import io
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from meltano.core.project_settings_service import ProjectSettingsService
from run_output import RunOutput, handler

LOADER = "loaders.target-bigquery"
TAP = "extractors.tap-shop"
DBT = "transformers.dbt-shop"


class Terminal(io.StringIO):
    """A screen that is a terminal."""

    def isatty(self) -> bool:
        return True


class Run:
    """A run that logs as Meltano does: dictionaries, with the line of a plugin as `event`."""

    def __init__(self, log: Path, screen: io.StringIO | None = None) -> None:
        self.screen = screen or io.StringIO()
        self.log = log
        self.output = RunOutput(self.screen, log)

    def say(self, name: str, line: str, level: int = logging.INFO, **others: Any) -> None:
        event = {"event": line, "level": logging.getLevelName(level).lower()} | others
        record = logging.LogRecord(name, level, __file__, 1, event, (), None)
        record._logger, record._name = logging.getLogger(name), name  # as structlog does
        self.output.emit(record)

    def plugin(self, name: str, *lines: str, level: int = logging.INFO) -> None:
        for line in lines:
            self.say(f"meltano.plugin.stderr.{name}", line, level)

    def end_step(self, seconds: float, error: str | None = None) -> None:
        level = logging.ERROR if error else logging.INFO
        outcome = {"success": error is None, "err": error, "duration_seconds": seconds}
        self.say("meltano.cli.run", "Block run completed", level, **outcome)

    def end(self, status: str = "success") -> None:
        self.say("meltano.cli.run", "Run completed", duration_seconds=125.4, status=status)

    @property
    def lines(self) -> list[str]:
        """What is on the screen, in words."""
        return [" ".join(line.split()) for line in self.screen.getvalue().splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run.log")


def load(run: Run) -> None:
    run.plugin(TAP, "users: 4,000 rows read")
    run.plugin(
        LOADER,
        "local.shop.users: 4000 rows received, 4000 loaded, 4000 merged, 0 deleted",
        "local.shop.orders: 1000 rows received, 1000 loaded, 900 merged, 7 deleted, 3 MiB billed",
    )


def test_a_good_run_is_a_line_a_step(run: Run) -> None:
    run.say("meltano.core.project", "Environment 'local' is active")
    run.end_step(0.4)  # a step that has said nothing
    load(run)
    run.end_step(12.4)
    run.plugin(
        DBT,
        "\x1b[0m15:15:10  Bytes billed: 20.0 MiB by 69 nodes",
        "\x1b[0m15:15:11  Done. PASS=74 WARN=0 ERROR=0 SKIP=0 NO-OP=0 TOTAL=74",
    )
    run.end_step(41)
    run.plugin("utilities.dbt-metabase", "Metabase knows 17 tables.")
    run.end_step(3)
    run.end()
    assert run.lines == [
        "tap-shop → target-bigquery 2 tables: 5,000 rows, 7 deleted 12 s",
        "dbt-shop 74 passed, 20.0 MiB billed 41 s",
        "dbt-metabase Metabase knows 17 tables. 3 s",
        f"Done after 2 min 5 s. All output is in {run.log}",
    ]


def test_all_that_was_logged_is_in_a_file(run: Run) -> None:
    run.say("meltano.core.project", "Environment 'local' is active")
    load(run)
    run.output.close()
    logged = run.log.read_text()
    for text in ("Environment 'local' is active", "4,000 rows read", "7 deleted"):
        assert text in logged


def test_warnings_are_shown_with_whose_they_are(run: Run) -> None:
    run.say("meltano.core.plugin.singer.tap", "No state was found", logging.WARNING)
    run.plugin(LOADER, "Schema drift in table users", level=logging.WARNING)
    load(run)
    run.end_step(3)
    run.plugin(
        DBT,
        "\x1b[0m15:15:10  1 of 2 WARN 1 loads_are_usual [\x1b[33mWARN 1\x1b[0m in 0.97s]",
        "\x1b[0m15:15:11  WARN loads_are_usual, 1 rows:",
        "\x1b[0m15:15:11      stream=users, rows_changed=0",
        "\x1b[0m15:15:11  Done. PASS=1 WARN=1 ERROR=0 SKIP=0 NO-OP=0 TOTAL=2",
    )
    run.end_step(5)
    assert run.lines == [
        "! No state was found",
        "! target-bigquery: Schema drift in table users",
        "tap-shop → target-bigquery 2 tables: 5,000 rows, 7 deleted 3 s",
        "! dbt-shop: WARN loads_are_usual, 1 rows:",
        "! dbt-shop: stream=users, rows_changed=0",
        "dbt-shop 1 passed, 1 warned 5 s",
    ]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("orders: no rights", logging.CRITICAL),
        ("2026-11-28 15:33:57,220 ERROR orders: no rights", logging.INFO),
        ("CRITICAL orders: no rights", logging.INFO),
    ],
)
def test_a_failure_is_shown_with_its_errors(run: Run, line: str, level: int) -> None:
    run.plugin(LOADER, "things to come")
    run.plugin(TAP, "users: 4,000 rows read")
    run.plugin(TAP, line, level=level)
    run.end_step(61, error="Extractor failed")
    run.end("failure")
    assert run.lines == [
        "! tap-shop: orders: no rights",
        "tap-shop → target-bigquery has failed after 1 min 1 s: Extractor failed",
        f"Failed after 2 min 5 s. All output is in {run.log}",
    ]


def test_a_failure_that_names_no_error_is_shown_with_all_that_the_step_has_said(run: Run) -> None:
    run.plugin(DBT, "Found 55 models", "Completed with 1 error", "Failure in test unique_id")
    run.end_step(61, error="`dbt build` failed")
    assert run.lines == [
        "Found 55 models",
        "Completed with 1 error",
        "Failure in test unique_id",
        "dbt-shop has failed after 1 min 1 s: `dbt build` failed",
    ]


def test_nothing_that_a_plugin_says_moves_the_cursor(run: Run) -> None:
    run.plugin(TAP, "\x1b[2J\x1b]0;title\x07\rnews", level=logging.WARNING)
    assert run.screen.getvalue() == "! tap-shop: ]0;titlenews\n"


def test_a_terminal_shows_what_is_going_on_in_a_line_that_goes_again(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.log", Terminal())
    run.plugin(TAP, "users: 4,000 rows read")
    assert run.screen.getvalue() == "\r\x1b[2K  tap-shop  users: 4,000 rows read"
    load(run)
    run.end_step(3)
    assert "\r\x1b[2K  tap-shop → target-bigquery   " in run.screen.getvalue()


@pytest.mark.parametrize(
    ("arguments", "level", "is_short"),
    [
        (["run", "shop-daily"], None, True),
        (["--environment=prod", "run", "shop-daily"], None, True),
        (["--log-level=debug", "run", "shop-daily"], "debug", False),
        (["run", "--dry-run", "shop-daily"], None, False),
        (["invoke", "stack", "run", "shop-daily"], None, False),
        (["install"], "warning", False),
    ],
)
def test_only_a_run_at_the_usual_level_is_made_shorter(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    level: str | None,
    is_short: bool,
) -> None:
    monkeypatch.setattr(sys, "argv", ["meltano", *arguments])
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(tmp_path))
    override = {"cli.log_level": level} if level else {}
    monkeypatch.setattr(ProjectSettingsService, "config_override", override)
    monkeypatch.delenv("MELTANO_CLI_LOG_LEVEL", raising=False)
    before = logging.getLogger().level
    try:
        made = handler()
        assert logging.getLogger().level == getattr(logging, (level or "info").upper())
    finally:
        logging.getLogger().setLevel(before)
    assert isinstance(made, RunOutput) == is_short
    logs = list(tmp_path.rglob("*.log"))
    assert [path.stat().st_mode & 0o777 for path in logs] == [0o600] * is_short
    made.close()


def test_what_is_handed_on_names_tests_and_streams_and_holds_no_row(run: Run) -> None:
    run.plugin(
        DBT,
        "Failure in test integrity_dim_users (models/marts/core/dim_users.yml)",
        "  Got 1 result, configured to fail if != 0",
        "FAIL integrity_dim_users, 1 rows:",
        "    column_name=email, value=ada@acme.com",
        "WARN loads_are_usual, 1 rows:",
        "    source_id=shop, stream=orders, rows_changed=1",
        "Done. PASS=1 WARN=1 ERROR=1 SKIP=0 NO-OP=0 TOTAL=3",
    )
    run.end_step(3, "`dbt-shop build` failed with exit code: 1")
    (step,) = run.output._summaries
    assert (step["name"], step["is_ok"], step["has_tested"]) == ("dbt-shop", False, True)
    assert [(node["type"], node["name"]) for node in step["nodes"]] == [
        ("test", "integrity_dim_users")
    ]
    assert step["unusual"] == ["source_id=shop, stream=orders, rows_changed=1"]
    assert "ada@acme.com" not in str(step)
    assert "Got 1 result" in str(step["lines"])
