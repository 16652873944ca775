"""What Meltano would pass over in silence, `make lint` names: the hook check-meltano."""

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from ..stack import ROOT


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    """Run the hook as pre-commit does."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (hook,) = (one for one in config["repos"][0]["hooks"] if one["id"] == "check-meltano")
    command = [*shlex.split(hook["entry"]), *files]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_project_has_what_meltano_knows() -> None:
    done = check(*ROOT.glob("*/*.meltano.yml"), *ROOT.glob("extract/examples/*.yml"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("plugin: {extractors: []}", "'plugin' was unexpected"),
        ("plugins: {extractors: [{name: tap-a, selct: [a]}]}", "plugins.extractors[0]"),
        ("jobs: {name: a}", "$.jobs"),
        ("plugins:", "$.plugins"),
        ("jobs: [{name: a, task: []}]", "'task'"),
        ("schedules: [{name: a, job: b, interval: daily}]", "$.schedules[0]"),
    ],
)
def test_what_meltano_does_not_know_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "notes.meltano.yml"
    file.write_text(text)
    done = check(file)
    assert done.returncode == 1
    assert named in done.stdout
