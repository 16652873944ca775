"""What sends a tap's requests to the sandbox is there in `local`, and nowhere else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .stack import ROOT

VARIABLES = ("CLOSE_API_KEY", "CLOSE_START_DATE")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose plugins nobody else uses."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "meltano.yml", root)
    for folder in ("extract", "load", "transform", "orchestrate", "plugins"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("target"))
    (root / ".venv").symlink_to(ROOT / ".venv")
    return root


def installed(project: Path, tap: str, environment: str) -> set[str]:
    """What is installed beside a tap once it has run in an environment."""
    subprocess.run(
        [ROOT / ".venv/bin/meltano", f"--environment={environment}", "invoke", tap, "--help"],
        cwd=project,
        env=os.environ | dict.fromkeys(VARIABLES, "none") | {"SANDBOX_SAAS_PORT": "1"},
        check=True,
        capture_output=True,
    )
    packages = project / ".meltano" / "extractors" / tap / "venv" / "lib/python3.13/site-packages"
    return {path.name for path in packages.iterdir()}


def test_nothing_reroutes_requests_outside_local(project: Path) -> None:
    assert "sandbox_redirect.pth" in installed(project, "tap-closeio", "local")
    beside = installed(project, "tap-closeio", "prod")
    assert "tap_closeio" in beside
    assert not [name for name in beside if "redirect" in name]


@pytest.mark.parametrize("environment", [".", "dev", "prod"])
def test_nothing_is_installed_beside_taps_outside_local(environment: str) -> None:
    requirements = ROOT / "plugins" / "environments" / environment / "requirements.txt"
    lines = requirements.read_text().splitlines()
    assert lines
    assert all(line.startswith("#") for line in lines)
