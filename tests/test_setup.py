"""What `make setup` leaves behind, a fresh clone or an older one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of which uv and Meltano do nothing."""
    for name in (".env.example", ".python-version", "orchestrate/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("bin/uv", ".venv/bin/python", ".venv/bin/meltano"):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("is_older", [False, True])
def test_what_holds_passwords_is_closed_to_others(clone: Path, is_older: bool) -> None:
    env, meltano = clone / ".env", clone / ".meltano"
    if is_older:
        env.write_text("SECRET=1\nDBT_DATASET=dbt_ann\n")
        env.chmod(0o644)
        meltano.mkdir(mode=0o755)
    subprocess.run(
        [clone / "orchestrate/setup.sh"],
        env=os.environ | {"PATH": f"{clone / 'bin'}:{os.environ['PATH']}"},
        check=True,
        umask=0o022,
    )
    assert (mode(env), mode(meltano)) == (0o600, 0o700)
    if is_older:
        assert env.read_text() == "SECRET=1\nDEVELOPER=ann\n"
