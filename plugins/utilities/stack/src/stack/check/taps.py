"""Taps, called directly: what streams there are, and whether one can be read.

Meltano would take a second and more to start each.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stack.check.report import Context
from stack.manifests import TAP as MANIFEST_TAP
from stack.meltano import sandbox_or
from stack.project import Source

SECONDS = 30
"""How long a source has to answer, for its catalog and its check or a record together."""
# A record; or, where there are none, a bookmark that has moved.
DATA = re.compile(r'"type": ?"(RECORD|BATCH)"|"type": ?"STATE".*"bookmarks": ?\{[^}]')
# What starts a line of a log: the time, the level, the logger.
LOG_PREFIX = re.compile(
    r"^[\d:\-T., Z]*\s*\|?\s*(CRITICAL|ERROR|WARNING|INFO|DEBUG)[\s|:]+(tap[\w.-]*\s*[|:]\s*)?"
)
NOISE = re.compile(r"^[\W_]*$|^\s|^Traceback|^The above exception|^During handling|.*METRIC:")
LONGEST_REASON = 300
KEY_REFUSED = re.compile(r"\b401\b|unauthori[sz]ed|invalid.{0,20}(key|token)|authenticat", re.I)
FORBIDDEN = re.compile(r"\b403\b|forbidden|permission|not allowed|scope", re.I)
UNREACHABLE = re.compile(
    r"connection|max retries|getaddrinfo|name or service|resolve|timed? ?out|unreachable", re.I
)
NO_CATALOG = "its discovery printed no catalog"
UNREACHED = "Check the network, the firewall, and the address in the settings."
MISSING = re.compile(r"missing required keys: \[(?P<keys>[^\]]*)\]|'(?P<key>\w+)' is a required")
# How our tap for manifests names a setting that the `spec` rejects, or lacks.
MANIFEST_SETTING = re.compile(r"`(config\.[\w.]+)`")

RUNNING: set["subprocess.Popen[str]"] = set()
"""The taps that run, which have sessions of their own: no Ctrl-C reaches them."""


class TapError(Exception):
    """The tap did not do what it was asked: the reason, without secrets, and how to fix it."""

    def __init__(self, reason: str, fix: str, output: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.output = output
        """What it printed before."""


class Tap:
    """A source's tap, with its settings in a file that only we can read."""

    def __init__(self, context: Context, source: Source, folder: Path) -> None:
        self._context = context
        self._source = source
        self._folder = folder
        self._seconds: float = SECONDS
        # One start for both: our tap for manifests takes more than a second of CPU time for it.
        self._checks = ["--check"] if source.extractor.program == MANIFEST_TAP else []
        self._refusal: TapError | None = None
        self._config = self._write("config", source.extractor.config())

    def discover(self) -> dict[str, Any]:
        """Return the tap's catalog.

        Raises:
            TapError: it has none to give.
        """
        try:
            output = self._call("its catalog", "--discover", *self._checks)
        except TapError as error:
            # A manifest's catalog is printed before its check.
            if not self._checks or not error.output:
                raise
            output, self._refusal = error.output, error
        try:
            catalog = json.loads(output)
        except (ValueError, RecursionError):
            catalog = None
        if not isinstance(catalog, dict) or not isinstance(catalog.get("streams"), list):
            if self._refusal:
                raise self._refusal
            raise TapError(NO_CATALOG, f"Look at what it says: {self._command()}.")
        return catalog

    def read(self, catalog: Mapping[str, Any], stream: str) -> None:
        """Read a stream's first record, or find that it has none.

        Raises:
            TapError: it can't be read.
        """
        file = self._write(re.sub(r"\W", "_", stream), only(catalog, stream))
        self._call(f"a record of {stream}", "--catalog", str(file))

    def check(self) -> None:
        """See what the check of a manifest has said, which runs after discovery.

        Raises:
            TapError: it failed.
        """
        if self._refusal:
            raise self._refusal

    def _write(self, name: str, content: Any) -> Path:
        path = self._folder / f"{name}.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(content, file)
        return path

    def _call(self, what: str, *arguments: str) -> str:
        """Run the tap until it ends, sends data, or has had its time; return what it printed."""
        output, has_data = "", False
        is_late = threading.Event()
        with (
            self._context.processes,
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(  # noqa: S603
                [self._source.extractor.executable, "--config", str(self._config), *arguments],
                cwd=self._context.root,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            ) as process,
        ):
            RUNNING.add(process)

            def end_late() -> None:
                is_late.set()
                _end(process)

            began = time.monotonic()
            timer = threading.Timer(self._seconds, end_late)
            timer.start()
            try:
                for line in process.stdout or ():
                    output += line
                    if has_data := bool(DATA.search(line)):
                        break
                else:
                    process.wait()
            finally:
                timer.cancel()
                self._seconds -= time.monotonic() - began
                _end(process)
                RUNNING.discard(process)
            code = process.wait()
            log.seek(0)
            said = log.read()
        if is_late.is_set() and not has_data:
            message = f"did not answer within {SECONDS} s when asked for {what}"
            fix = f"{sandbox_or(UNREACHED)} If it is only slow: {self._command()}."
            raise TapError(message, fix, output)
        if code and not has_data:
            reason = self._context.masked(last_words(said) or f"exit code {code}")
            raise TapError(reason, self._fix(reason), output)
        return output

    def _environment(self) -> dict[str, str]:
        """Return the variables that Meltano would give it; files that it makes go with ours."""
        own = {"MELTANO_ENVIRONMENT": self._context.environment, "TMPDIR": str(self._folder)}
        if select := self._source.extractor.extras.get("select"):
            own["MELTANO_EXTRACT__SELECT"] = json.dumps(select)
        return {**self._context.inherited, **own}

    def _fix(self, reason: str) -> str:
        extractor = self._source.extractor
        file = self._source.file.relative_to(self._context.root)
        secrets = [name for name, setting in extractor.settings.items() if setting.sensitive]
        keys = " or ".join(dict.fromkeys(map(extractor.where, secrets))) or "its key"
        if named := MANIFEST_SETTING.search(reason):
            return f"Correct {extractor.where(named[1])} ({file})."
        if missing := MISSING.search(reason):
            names = (missing["keys"] or missing["key"]).replace("'", "")
            return f"Set `{names}` under `config` of {extractor.name} in {file}."
        if KEY_REFUSED.search(reason):
            return f"The key is wrong, or was revoked: correct {keys}."
        if FORBIDDEN.search(reason):
            return f"Let the key read this ({keys}), or leave the stream out with `select`."
        if UNREACHABLE.search(reason):
            return sandbox_or(UNREACHED)
        return f"Look at what it says: {self._command()}."

    def _command(self) -> str:
        environment, name = self._context.environment, self._source.extractor.name
        return f"`meltano --environment={environment} invoke {name} --discover`"


def end() -> None:
    """End all taps, and give those who wait for them a moment to remove their files."""
    for process in (running := list(RUNNING)):
        _end(process)
    deadline = time.monotonic() + 1
    while running and RUNNING and time.monotonic() < deadline:
        time.sleep(0.02)


def _end(process: subprocess.Popen[str]) -> None:
    """End a tap and what it has started, at once: it has nothing to clean up."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def last_words(log: str) -> str:
    """Return the line of a log that says why a program ended."""
    lines = [line.strip("│ ") for line in log.splitlines() if not NOISE.match(line)]
    words = LOG_PREFIX.sub("", lines[-1]) if lines else ""
    return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]}…"


def only(catalog: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """Return a catalog in which one stream is selected, and all of it."""
    streams = []
    for entry in catalog["streams"]:
        selected = {"selected": entry.get("tap_stream_id") == stream}
        metadata = [
            {**item, "metadata": item["metadata"] | selected}
            for item in entry.get("metadata") or [{"breadcrumb": [], "metadata": {}}]
        ]
        streams.append({**entry, **selected, "metadata": metadata})
    return {**catalog, "streams": streams}
