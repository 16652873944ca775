"""`meltano invoke dagster …`: Dagster's own command line, with its home prepared."""

import os
import shutil
import sys
from pathlib import Path

from stack import meltano

CONFIGURATION = Path("orchestrate/dagster.yaml")


def main() -> None:
    """Put `orchestrate/dagster.yaml` where Dagster looks for it, and become `dagster`."""
    root = meltano.root().resolve()
    home = Path(os.environ.get("DAGSTER_HOME") or root / ".meltano" / "dagster")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(root / CONFIGURATION, home / "dagster.yaml")
    os.environ |= {
        # Dagster warns of parts that it uses itself.
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS") or "ignore",
        "DAGSTER_HOME": str(home),
        "MELTANO_PROJECT_ROOT": str(root),
        "MELTANO_ENVIRONMENT": meltano.environment(),
    }
    # Each has a program of its own: `dagster-daemon`, `dagster-webserver`.
    program, arguments = "dagster", sys.argv[1:]
    if arguments[:1] in (["daemon"], ["webserver"]):
        program, arguments = f"dagster-{arguments[0]}", arguments[1:]
    path = str(Path(sys.executable).with_name(program))
    os.execv(path, [path, *arguments])  # noqa: S606
