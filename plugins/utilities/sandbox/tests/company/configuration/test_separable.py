"""The sample company can go: what is left has its tests still, and they pass."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ..stack import ROOT, copy_of_the_project

COMPANY = Path(__file__).parents[1].relative_to(ROOT)
MODEL = """
models:
- name: fct_parcels
  description: The parcels that we have sent, one row each.
  columns:
  - name: id
    description: The parcel's number, as on its label.
    data_type: int64
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone without the sample company, and with one model of somebody else's."""
    root = copy_of_the_project(tmp_path / "clone")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.split("\0"):
        if name.startswith(".") and (ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    shutil.rmtree(root / COMPANY)
    models = root / "transform" / "models"
    for file in (file for file in models.rglob("*") if file.is_file() and "ops" not in file.parts):
        file.unlink()
    (models / "marts" / "core" / "fct_parcels.sql").write_text("select 4711 as id\n")
    (models / "marts" / "core" / "fct_parcels.yml").write_text(MODEL)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def test_the_rest_passes_its_tests_without_the_sample_company(clone: Path) -> None:
    suites = would_run(clone, "test", "test-all")
    for suite in ("loaders", "others", "extractors", "sandbox"):
        assert f"suite-{suite}" in suites
    packages = {file.parent.name for file in clone.glob("plugins/utilities/*/pyproject.toml")}
    others = would_run(clone, "suite-others")
    for package in packages - {"sandbox"}:
        assert f"plugins/utilities/{package}/" in others
    for suite in ("walk", "jobs", "jobs-of-one", "jobs-changed", "configuration"):
        assert f"suite-{suite}" not in suites
    # The packages know no model; these tests hold for whatever models there are.
    done = subprocess.run(
        [ROOT / ".venv/bin/pytest", "-q", "tests"], cwd=clone, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def would_run(clone: Path, *targets: str) -> str:
    """Return the commands of make's targets."""
    return subprocess.run(
        ["make", "--dry-run", *targets], cwd=clone, capture_output=True, text=True, check=True
    ).stdout
