"""Where dbt builds, and what counts as its code, without dbt."""

from pathlib import Path

import pytest
from dbt_changed.errors import BuildError
from dbt_changed.project import Target, fingerprint, read_target

PROFILES = """
shop:
  target: "{{ env_var('SHOP_TARGET', 'local') }}"
  outputs:
    local: {type: bigquery, project: acme, dataset: "{{ env_var('SHOP_DATASET') }}"}
    prod: {project: acme, dataset: dbt, limit: "{{ env_var('X', '1') | as_number }}"}
"""
TARGET = Target("prod", {"project": "acme", "dataset": "dbt"})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text("profile: shop\n")
    (tmp_path / "profiles.yml").write_text(PROFILES)
    (tmp_path / "models/orders.sql").write_text("select 1 as id")
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"{package} 1")
    return tmp_path


def test_a_target_is_read_as_dbt_reads_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATASET", "dbt_lawrence")
    found = read_target(project, project, None)
    assert (found.name, found.project, found.dataset) == ("local", "acme", "dbt_lawrence")
    assert read_target(project, project, "prod").dataset == "dbt"


def test_each_target_dataset_has_its_own_record_and_a_developers_is_the_developers() -> None:
    assert TARGET.record == "acme.ops.built_dbt"
    developers = Target("dev", {"project": "acme", "dataset": "dbt_lawrence"})
    assert developers.record == "acme.lawrence_ops.built_dbt_lawrence"
    assert developers.lock == "acme.lawrence_ops.lock_dbt_lawrence"


def test_a_missing_variable_or_target_is_named(project: Path) -> None:
    with pytest.raises(BuildError, match="SHOP_DATASET isn't set"):
        read_target(project, project, None)
    with pytest.raises(BuildError, match=r"profiles\.yml has no 'staging'"):
        read_target(project, project, "staging")


@pytest.mark.parametrize(
    "path",
    ["models/orders.sql", "models/new.yml", "dbt_project.yml", "macros/a/b.sql", "seeds/x.csv"],
)
def test_a_changed_or_new_file_is_other_code(project: Path, path: str) -> None:
    before = fingerprint(project, TARGET, [])
    assert fingerprint(project, TARGET, []) == before
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text("select 2 as id")
    assert fingerprint(project, TARGET, []) != before


@pytest.mark.parametrize(
    "path",
    [
        "target/manifest.json",
        "elsewhere/manifest.json",
        "logs/dbt.log",
        ".user.yml",
        "models/README.md",
        "dbt.meltano.yml",
    ],
)
def test_what_dbt_writes_and_what_people_read_is_no_code(
    project: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("DBT_TARGET_PATH", str(project / "elsewhere"))
    before = fingerprint(project, TARGET, [])
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text("text")
    assert fingerprint(project, TARGET, []) == before


def test_variables_versions_and_the_target_are_code(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {fingerprint(project, TARGET, given) for given in ([], ["--vars", "{a: 1}"])}
    found.add(fingerprint(project, Target("dev", TARGET.settings), []))
    (project / "models/docs.md").write_text("{% docs orders %}Sales{% enddocs %}")
    found.add(fingerprint(project, TARGET, []))
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"{package} 2")
    found.add(fingerprint(project, TARGET, []))
    monkeypatch.setenv("DBT_ENV_SECRET_TOKEN", "x")
    found.add(fingerprint(project, TARGET, []))
    assert len(found) == 6


def test_who_runs_a_build_is_no_code(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(project, TARGET, [])
    monkeypatch.setenv("DBT_ENV_CUSTOM_ENV_DAGSTER_STEP", "run/dbt")
    assert fingerprint(project, TARGET, []) == before
