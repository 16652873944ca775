"""Meltano's command line, in the environment that this command was invoked in."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Self

from stack.terminal import StackError, last_line

# Not to be imported: it runs on Meltano's own Python.
BRIDGE = Path(__file__).with_name("bridge.py")


def root() -> Path:
    """Return the project's folder."""
    return Path(os.environ.get("MELTANO_PROJECT_ROOT") or Path.cwd())


def environment() -> str:
    """Return the active Meltano environment."""
    return os.environ.get("MELTANO_ENVIRONMENT") or "local"


def sandbox_or(fix: str) -> str:
    """Return what to do about a server that doesn't answer: in `local`, it is the sandbox's."""
    return "Start the sandbox: `meltano invoke sandbox up`." if environment() == "local" else fix


def python() -> Path:
    """Return the Python that Meltano runs on: `python` in meltano.yml."""
    return root() / ".venv" / "bin" / "python"


def command(*arguments: str) -> list[str]:
    """Return the command line of a Meltano command in the active environment."""
    return [str(python().with_name("meltano")), f"--environment={environment()}", *arguments]


def _call(
    *arguments: str, variables: Mapping[str, str], **how: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command(*arguments), cwd=root(), env={**os.environ, **variables}, text=True, **how
    )


def run(*arguments: str, **variables: str) -> None:
    """Run a Meltano command, showing what it says."""
    # `meltano invoke` would make log lines of log lines.
    done = _call(*arguments, variables=variables, stderr=subprocess.STDOUT)
    if done.returncode:
        raise StackError(f"`meltano {' '.join(arguments)}` failed: see above.")


def output(*arguments: str, **variables: str) -> str:
    """Return a Meltano command's standard output."""
    done = _call("--log-level=warning", *arguments, variables=variables, capture_output=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise StackError(f"`meltano {' '.join(arguments)}` failed:\n{last}")
    return done.stdout


class Session:
    """Our bridge on Meltano's own Python, started once for several requests.

    Meltano takes more than a second of CPU time to start.
    """

    def __init__(self, project: Path | None = None) -> None:
        """Start it, in another folder than this project's if one is given."""
        folder = project or root()
        self._lock = Lock()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `__exit__` closes it
        self._process = subprocess.Popen(  # noqa: S603
            # -P: not with the folder of the script in front, where another `meltano` lies.
            [python(), "-P", BRIDGE],
            cwd=folder,
            env={**os.environ, "MELTANO_PROJECT_ROOT": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        with self._process, self._log:
            self._process.kill()

    def ask(self, request: Mapping[str, Any], *, failing: str) -> dict[str, Any]:
        """Return the answer to a request."""
        line = json.dumps({"environment": environment(), **request})
        answer = ""
        if self._process.stdin and self._process.stdout:
            with self._lock, contextlib.suppress(BrokenPipeError):
                print(line, file=self._process.stdin, flush=True)
                answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._log.seek(0)
            raise StackError(f"{failing}: {last_line(self._log.read())}")
        found: dict[str, Any] = json.loads(answer)
        return found


def ask(request: Mapping[str, Any], *, failing: str, project: Path | None = None) -> dict[str, Any]:
    """Return the answer to one request: see `Session`."""
    with Session(project) as session:
        return session.ask(request, failing=failing)
