"""A job in `prod` runs what `main` holds, or what someone has said is meant."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from run_ledger.ops import Ops
from stack import guard, meltano
from stack.cli import main
from stack.terminal import StackError
from target_bigquery_arrow.names import dataset_name

AUTHOR = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *AUTHOR, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project on `main`, clean, in production."""
    root = tmp_path / "project"
    (root / "extract").mkdir(parents=True)
    (root / "meltano.yml").write_text("project_id: test\n")
    (root / ".gitignore").write_text(".env\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=first")
    (root / ".env").write_text("SECRET=1\n")
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(root))
    monkeypatch.setenv("MELTANO_ENVIRONMENT", "prod")
    monkeypatch.delenv(guard.CONFIRMED, raising=False)
    # What `confirm` sets is gone after the test.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return root


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What Meltano was asked to run."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(meltano, "run", lambda *arguments: asked.append(arguments))
    return asked


def stack(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def edit(root: Path) -> None:
    (root / "meltano.yml").write_text("project_id: other\n")


def add(root: Path) -> None:
    for number in range(7):
        (root / "extract" / f"new {number}.meltano.yml").write_text("")
    git(root, "add", "extract/new 0.meltano.yml")


def rename(root: Path) -> None:
    git(root, "mv", "meltano.yml", "renamed.yml")


def branch(root: Path) -> None:
    git(root, "switch", "--quiet", "--create=feature")


def older(root: Path) -> None:
    git(root, "commit", "--quiet", "--allow-empty", "--message=second")
    git(root, "switch", "--quiet", "--detach", "HEAD~1")


def broken(root: Path) -> None:
    (root / ".git" / "HEAD").write_text("nonsense")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edit, "1 file is not committed: meltano.yml"),
        (add, "7 files are not committed: extract/new 0.meltano.yml, "),
        (rename, "2 files are not committed: meltano.yml, renamed.yml"),
        (branch, "branch 'feature' is checked out, not 'main'"),
        (older, " is checked out, which is not the newest of 'main'"),
        (broken, "git can't tell its state: "),
    ],
)
def test_what_main_does_not_hold_is_not_run_in_production_and_may_be_by_word(
    checkout: Path, change: Callable[[Path], None], said: str, jobs: list[tuple[str, ...]]
) -> None:
    change(checkout)
    for arguments in (["guard"], ["run", "product-daily"]):
        result = stack(*arguments)
        assert result.exit_code == 1
        assert said in result.output
        assert "meltano --environment=prod invoke stack run product-daily --yes" in result.output
    assert not jobs
    assert stack("run", "product-daily", "--full-refresh", "--yes").exit_code == 0
    assert jobs == [("run", "product-daily", "--full-refresh")]
    # The job that was asked for is let through.
    assert stack("guard").exit_code == 0
    # Another state of the checkout is not what was confirmed.
    (checkout / "later.sql").write_text("select 1")
    assert (stack("guard").exit_code == 1) == (change is not broken)


def clean(root: Path) -> None:
    assert (root / ".env").exists()


def at_the_tip(root: Path) -> None:
    git(root, "switch", "--quiet", "--detach", "main")


def in_ci(root: Path) -> None:
    """As a runner checks out: the commit and where `main` was, without branches."""
    git(root, "update-ref", "refs/remotes/origin/main", "main")
    at_the_tip(root)
    git(root, "branch", "--quiet", "--delete", "main")


@pytest.mark.parametrize("change", [clean, at_the_tip, in_ci])
def test_main_as_it_was_committed_runs(
    checkout: Path, change: Callable[[Path], None], jobs: list[tuple[str, ...]]
) -> None:
    change(checkout)
    assert (stack("guard").exit_code, stack("guard").output) == (0, "")
    assert stack("run", "product-daily", "close-daily").exit_code == 0
    assert jobs == [("run", "product-daily", "close-daily")]


def test_an_image_without_git_is_taken_as_it_is(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = checkout.parent / "image"
    image.mkdir()
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(image))
    result = stack("guard")
    assert result.exit_code == 0
    assert result.output == f"{image} is not a git checkout: production runs what is in it.\n"


def test_a_checkout_that_git_is_not_there_to_look_at_is_asked_about(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    result = stack("guard")
    assert result.exit_code == 1
    assert "git can't tell its state: [Errno 2] No such file or directory: 'git'" in result.output


@pytest.mark.parametrize("environment", ["local", "dev"])
def test_elsewhere_any_checkout_runs(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    edit(checkout)
    monkeypatch.setenv("MELTANO_ENVIRONMENT", environment)
    monkeypatch.setenv("DEVELOPER", "lawrence")
    assert (stack("guard").exit_code, stack("guard").output) == (0, "")
    guard.confirm(yes=False)
    assert guard.CONFIRMED not in os.environ


@pytest.mark.parametrize(("answer", "runs"), [("y", True), ("n", False)])
def test_on_a_terminal_it_asks(checkout: Path, answer: str, runs: bool) -> None:
    edit(checkout)
    master, terminal = pty.openpty()
    os.write(master, f"{answer}\n".encode())
    code = "from stack import guard; guard.confirm(False); print('It runs.')"
    subprocess.run([sys.executable, "-c", code], stdin=terminal, stdout=terminal, timeout=20)
    said = os.read(master, 4096).decode()
    assert "1 file is not committed: meltano.yml" in said
    assert "Run it in production all the same? [y/N]" in said
    assert ("It runs." in said) == runs


def test_nobody_to_ask_is_a_no(checkout: Path) -> None:
    edit(checkout)
    with pytest.raises(StackError, match="stack run product-daily --yes"):
        guard.confirm(yes=False)


@pytest.mark.parametrize(
    ("developer", "said"),
    [
        ("product", "product_users.meltano.yml: production's dataset of this source begins"),
        ("", "DEVELOPER in .env: `developer` is ''"),
    ],
)
def test_a_developers_datasets_are_told_from_productions_by_name(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, developer: str, said: str
) -> None:
    (checkout / "extract" / "product_users.meltano.yml").write_text("")
    monkeypatch.setenv("MELTANO_ENVIRONMENT", "dev")
    monkeypatch.setenv("DEVELOPER", developer)
    result = stack("guard")
    assert result.exit_code == 1
    assert said in result.output


def test_a_guard_takes_the_locks_of_what_is_loaded_up_to_the_next_guard() -> None:
    product = [{"command": "stack:guard"}, {"dataset": "product"}, {"command": "dbt-product:build"}]
    close = [{"command": "stack:guard"}, {"dataset": "close"}, {"dataset": "intercom"}]
    run = {"blocks": [*product, *close]}
    assert list(guard.to_be_loaded(run, 0)) == ["product"]
    assert list(guard.to_be_loaded(run, 3)) == ["close", "intercom"]
    assert list(guard.to_be_loaded({}, 0)) == []


def test_a_guard_calls_a_dataset_as_the_loader_does() -> None:
    """Else the guard would hold a lock that no loader asks for."""
    assert Ops({}).name("2nd-shop") == dataset_name("2nd-shop") == "_2nd_shop"
    assert Ops({"developer": "ada_"}).name("2nd-shop") == dataset_name("2nd-shop", "ada_")


def test_a_guard_starts_without_singers_sdk() -> None:
    """Which takes longer to import than all that a guard does; each job starts one."""
    imports = "import sys, stack.guard; sys.exit('singer_sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", imports]).returncode == 0
