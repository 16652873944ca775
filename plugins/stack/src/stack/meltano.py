"""Meltano's command line, in the environment that this command was invoked in."""

import os
import subprocess
from pathlib import Path

from stack.errors import StackError


def root() -> Path:
    """Return the project's folder."""
    return Path(os.environ.get("MELTANO_PROJECT_ROOT") or Path.cwd())


def environment() -> str:
    """Return the active Meltano environment."""
    return os.environ.get("MELTANO_ENVIRONMENT") or "local"


def python() -> Path:
    """Return the Python that Meltano runs on: `python` in meltano.yml."""
    return root() / ".venv" / "bin" / "python"


def command(*arguments: str) -> list[str]:
    """Return the command line of a Meltano command in the active environment."""
    return [str(python().with_name("meltano")), f"--environment={environment()}", *arguments]


def run(*arguments: str, **variables: str) -> None:
    """Run a Meltano command, showing what it says.

    Raises:
        StackError: it failed; its own message has been shown.
    """
    done = subprocess.run(  # noqa: S603
        command(*arguments),
        cwd=root(),
        env={**os.environ, **variables},
        # `meltano invoke` would make log lines of log lines.
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        message = f"`meltano {' '.join(arguments)}` failed: see above."
        raise StackError(message)


def output(*arguments: str, **variables: str) -> str:
    """Return a Meltano command's standard output.

    Raises:
        StackError: it failed, with the last lines that it printed.
    """
    done = subprocess.run(  # noqa: S603
        command("--log-level=warning", *arguments),
        cwd=root(),
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        message = f"`meltano {' '.join(arguments)}` failed:\n{last}"
        raise StackError(message)
    return done.stdout
