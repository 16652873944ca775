"""What `meltano run` shows: a line a step, warnings, and failures in full; a file has the rest."""

import contextlib
import logging
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, override

import click
from meltano.core.logging.formatters import console_log_formatter
from meltano.core.project_settings_service import ProjectSettingsService

from run_output.hand_over import HandOver, name_run

COMMANDS = ("run", "invoke", "schedule", "el", "elt", "install", "add", "config")
LOGS = Path(".meltano/logs/runs")
PLUGIN = re.compile(r"meltano\.plugin\.std(?:err|out)\.(?P<kind>[a-z]+)\.(?P<name>.+)")
"""The loggers of plugins' output, as Meltano 4.4 names them."""
KINDS = ("extractors", "mappers", "loaders")
"""The kinds of plugins that are a step together, in the order in which rows pass them."""
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
CLOCK = re.compile(r"^\d\d:\d\d:\d\d  ")
LEVEL = re.compile(r"(?:\d{4}-\d\d-\d\d[ T]\S+ )?(?P<level>WARNING|ERROR|CRITICAL):? +(?P<text>.+)")
"""A line of a plugin whose levels Meltano doesn't read, as Python's logging writes it."""
ACTIVE = re.compile(r"Environment '.+' is active")
"""What Meltano says once it knows the settings of all plugins, before it starts any."""
LOADED = re.compile(
    r"\S+: (?P<received>\d+) rows received, \d+ loaded, \d+ \w+, (?P<deleted>\d+) deleted"
)
"""What our loader says of each table at its end."""
DONE = re.compile(r"Done\. PASS=(\d+) WARN=(\d+) ERROR=(\d+) SKIP=(\d+)")
BILLED = re.compile(r"Bytes billed: (?P<bytes>\S+ \S+)")
BROKEN = ("WARN ", "FAIL ")
"""How lines begin in which the dbt project shows the rows that break a test; rows are indented."""
NODE = re.compile(r"(?P<problem>[A-Z][\w ]*) in (?P<type>\w+) (?P<name>\S+) \((?P<path>[^)]+)\)")
"""What dbt says of a test or model that failed, or that warns."""
VOLUME_TEST = "loads_are_usual"
"""The test whose rows name streams, and no row of a source."""
FAILURE_LINES = 200
LAST_LINES = 10
"""How many lines of a failure are handed on."""
PATIENCE_SECONDS = 0.1


def handler() -> logging.Handler:
    """Return the handler of `logging.yaml`, and set the level of all logging.

    Only `meltano run` at the usual level is made shorter. `--log-level`, `--dry-run` and other
    commands have Meltano's own lines.
    """
    level = str(_log_level()).upper()
    logging.getLogger().setLevel(logging.CRITICAL + 1 if level == "DISABLED" else level)
    command = next((word for word in sys.argv[1:] if word in COMMANDS), None)
    if command == "run" and level == "INFO" and "--dry-run" not in sys.argv:
        name_run()
        return RunOutput(sys.stderr, _log_file(datetime.now(UTC)))
    console = logging.StreamHandler(sys.stderr)
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    console.setFormatter(console_log_formatter(colors=colors))
    return console


def _log_level() -> object:
    given = ProjectSettingsService.config_override.get("cli.log_level")
    return given or os.environ.get("MELTANO_CLI_LOG_LEVEL") or "info"


def _log_file(now: datetime) -> Path:
    root = Path(os.environ.get("MELTANO_PROJECT_ROOT", "."))
    folder = root / LOGS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
    path.touch(mode=0o600)
    return path


@dataclass
class Step:
    """A part of a run: an extractor with its loader, or a command of a plugin."""

    plugins: dict[str, str] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=FAILURE_LINES))
    calm_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    """The last ones that show no row."""
    tables: int = 0
    received: int = 0
    deleted: int = 0
    done: Sequence[int] | None = None
    billed: str | None = None
    nodes: list[dict[str, str]] = field(default_factory=list)
    """The tests and models that failed or warned, as dbt names them."""
    errors: list[str] = field(default_factory=list)
    unusual: list[str] = field(default_factory=list)
    """The rows of the test of volume: names of streams and counts."""
    is_showing_volume: bool = False
    is_showing_rows: bool = False
    has_shown_errors: bool = False

    @property
    def name(self) -> str:
        """Return its plugins: `tap-close → target-bigquery`."""
        kinds = {name: KINDS.index(kind) for name, kind in self.plugins.items() if kind in KINDS}
        return " → ".join(sorted(self.plugins, key=lambda name: kinds.get(name, -1)))

    def hear(self, kind: str, plugin: str, line: str) -> None:
        """Take note of a line of one of its plugins."""
        self.plugins[plugin] = kind
        if line:
            self.lines.append(line)
        if found := NODE.match(line):
            self.nodes.append(found.groupdict())
        if found := LOADED.match(line):
            self.tables += 1
            self.received += int(found["received"])
            self.deleted += int(found["deleted"])
        elif found := DONE.search(line):
            self.done = [int(count) for count in found.groups()]
        elif found := BILLED.search(line):
            self.billed = found["bytes"]

    def summary(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return what became of it, for `stack run-ended`. Rows that break tests are left out."""
        is_ok = bool(event.get("success"))
        return {
            "name": self.name,
            "plugins": list(self.plugins),
            "is_ok": is_ok,
            "seconds": event.get("duration_seconds", 0),
            "outcome": self.outcome,
            "tables": self.tables,
            "received": self.received,
            "deleted": self.deleted,
            "has_tested": self.done is not None,
            "nodes": self.nodes,
            "unusual": self.unusual,
            "lines": [] if is_ok else [*(self.errors or self.calm_lines)][-LAST_LINES:],
        }

    @property
    def outcome(self) -> str:
        """Return what it did, in words."""
        if self.tables:
            tables = "1 table" if self.tables == 1 else f"{self.tables} tables"
            return f"{tables}: {self.received:,} rows, {self.deleted:,} deleted"
        if self.done:
            counts = zip(self.done, ("passed", "warned", "failed", "skipped"), strict=True)
            said = [f"{count} {word}" for count, word in counts if count or word == "passed"]
            return ", ".join([*said, f"{self.billed} billed"] if self.billed else said)
        return self.lines[-1] if self.lines else ""


class RunOutput(logging.Handler):
    """Show a run on a screen; write all of it to a file.

    Args:
        screen: where to; what is going on is shown in a line that changes, if it is a terminal.
        log: the file.
    """

    def __init__(self, screen: TextIO, log: Path) -> None:
        """Open the file."""
        super().__init__()
        self._screen = screen
        self._log = log
        self._file = logging.FileHandler(log, encoding="utf-8", errors="backslashreplace")
        self._file.setFormatter(console_log_formatter(colors=False))
        self._is_terminal = screen.isatty()
        self._has_colors = self._is_terminal and "NO_COLOR" not in os.environ
        self._step = Step()
        self._summaries: list[dict[str, Any]] = []
        self._hand_over: HandOver | None = None
        self._shown_at = 0.0

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.emit(record)
            event = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
            line = plain(str(event.get("event", "")))
            if plugin := PLUGIN.fullmatch(record.name):
                self._hear(record.levelno, plugin["kind"], plugin["name"], line)
            elif event.get("event") == "Block run completed":
                self._end_step(event)
                self._hand_over_step()
            elif event.get("event") == "Run completed":
                self._end_run(event)
            elif ACTIVE.fullmatch(line):
                self._begin_hand_over()
            elif record.levelno >= logging.WARNING:
                text = self._file.format(record) if record.exc_info else f"! {line}"
                self._print(text, fg="red" if record.levelno >= logging.ERROR else "yellow")
        except Exception:
            self.handleError(record)

    @override
    def close(self) -> None:
        self._file.close()
        super().close()

    def _hear(self, level: int, kind: str, plugin: str, line: str) -> None:
        if level < logging.WARNING and (found := LEVEL.fullmatch(line)):
            level, line = getattr(logging, found["level"]), found["text"]
        step = self._step
        step.hear(kind, plugin, line)
        step.is_showing_rows = line.startswith(BROKEN) or (
            step.is_showing_rows and line.startswith("    ")
        )
        if line.startswith(BROKEN):
            step.is_showing_volume = VOLUME_TEST in line
        elif step.is_showing_volume and step.is_showing_rows:
            step.unusual.append(" ".join(line.split()))
        if line and not step.is_showing_rows:
            step.calm_lines.append(line)
            if level >= logging.ERROR:
                step.errors.append(line)
        if level >= logging.WARNING or step.is_showing_rows:
            step.has_shown_errors |= level >= logging.ERROR
            color = "red" if level >= logging.ERROR else "yellow"
            self._print(f"! {plugin}: {line}", fg=color)
        elif self._is_terminal and time.monotonic() - self._shown_at > PATIENCE_SECONDS:
            self._shown_at = time.monotonic()
            self._show(f"  {step.name}  {line}")

    def _end_step(self, event: Mapping[str, Any]) -> None:
        step, self._step = self._step, Step()
        self._summaries.append(step.summary(event))
        seconds = duration(event.get("duration_seconds", 0))
        if event.get("success"):
            if step.plugins:  # a step that says nothing is shown by nothing
                self._print(f"  {step.name:<36}  {shortened(step.outcome, 64):<64}  {seconds:>7}")
            return
        for line in () if step.has_shown_errors else step.lines:
            self._print(f"    {line}")
        failed = step.name or "A step"
        self._print(f"  {failed} has failed after {seconds}: {event.get('err')}", fg="red")

    def _end_run(self, event: Mapping[str, Any]) -> None:
        is_good = event.get("status") == "success"
        said = "Done" if is_good else "Failed"
        seconds = duration(event.get("duration_seconds", 0))
        color = "green" if is_good else "red"
        self._print(f"  {said} after {seconds}. All output is in {self._log}", fg=color)
        if self._hand_over:
            for line in self._hand_over.end(self._outcome(is_good)).splitlines():
                self._print(f"  {plain(line)}")
            self._hand_over = None

    def _outcome(self, is_good: bool) -> dict[str, Any]:
        return {
            "ended_at": datetime.now(UTC).isoformat(),
            "status": "success" if is_good else "failure",
            "steps": [step for step in self._summaries if step["plugins"] or not step["is_ok"]],
        }

    def _begin_hand_over(self) -> None:
        """Tell the commands that the run starts what they need; they can do without."""
        with contextlib.suppress(Exception):
            self._hand_over = self._hand_over or HandOver(sys.argv, self._log)

    def _hand_over_step(self) -> None:
        if self._hand_over:
            self._hand_over.next_block()

    def _print(self, text: str, **looks: Any) -> None:
        self._clear()
        click.echo(click.style(text, **looks) if self._has_colors else text, file=self._screen)

    def _show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._clear()
        self._screen.write(text[:width])
        self._screen.flush()

    def _clear(self) -> None:
        if self._is_terminal:
            self._screen.write("\r\x1b[2K")


def plain(text: str) -> str:
    """Return a line without colours, control characters and dbt's clock."""
    text = CONTROLS.sub("", ESCAPES.sub("", text))
    return CLOCK.sub("", text).rstrip()


def shortened(text: str, longest: int) -> str:
    """Return a text with its end left out where it is too long."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def duration(seconds: float) -> str:
    """Return seconds in words: `12 s`, `2 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
