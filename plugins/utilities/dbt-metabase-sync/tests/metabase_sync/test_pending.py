"""Metabase is told what it does not know yet, and nothing twice."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dbt_metabase_sync import pending, sync

METABASE = "https://metabase.example.com"


@dataclass
class Project:
    """A folder with dbt's output, and a Metabase that may fail."""

    target: Path
    told: list[Sequence[str]] = field(default_factory=list)
    fails: bool = False
    builds: int = 0

    def build(self, **descriptions: str) -> None:
        """Build models, by name, with what dbt says of them."""
        self.builds += 1
        nodes = {
            f"model.shop.{name}": {
                "unique_id": f"model.shop.{name}",
                "resource_type": "model",
                "description": text,
                "depends_on": {"nodes": []},
            }
            for name, text in descriptions.items()
        }
        results = [{"unique_id": unique_id, "status": "success"} for unique_id in nodes]
        manifest = self.target / "manifest.json"
        known = json.loads(manifest.read_text())["nodes"] if manifest.exists() else {}
        manifest.write_text(json.dumps({"nodes": known | nodes}))
        run = {"metadata": self.builds, "args": {"which": "build"}, "results": results}
        (self.target / "run_results.json").write_text(json.dumps(run))

    def sync(self, *arguments: str) -> list[Sequence[str]]:
        """Run the command; return what Metabase was told."""
        sys.argv[1:] = arguments
        before = len(self.told)
        assert pending.main() == int(self.fails)
        return self.told[before:]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path)

    def tell(models: Sequence[str]) -> tuple[int, bool]:
        project.told.append(models)
        return int(project.fails), True

    monkeypatch.setattr(sync, "main", tell)
    monkeypatch.setattr(sys, "argv", ["dbt-metabase-sync"])
    monkeypatch.setenv("DBT_METABASE_URL", METABASE)
    monkeypatch.setenv("DBT_METABASE_DATABASE", "All (dbt)")
    monkeypatch.setattr(pending, "ROOT", tmp_path)
    for name in ("RUN_RESULTS", "MANIFEST", "TOLD"):
        monkeypatch.setattr(pending, name, tmp_path / getattr(pending, name).name)
    monkeypatch.setattr(pending, "TARGET", tmp_path)
    return project


def test_what_was_built_is_told_once(project: Project) -> None:
    project.build(users="People", orders="Sales")
    assert project.sync() == [["orders", "users"]]
    assert project.sync() == []


def test_a_model_that_has_only_other_rows_is_no_news(project: Project) -> None:
    project.build(users="People", orders="Sales")
    project.sync()
    project.build(users="People")
    assert project.sync() == []
    project.build(users="Those who sign in", orders="Sales")
    assert project.sync() == [["users"]]


def test_what_failed_is_told_later_with_what_was_built_since(project: Project) -> None:
    project.build(users="People")
    project.fails = True
    assert project.sync() == [["users"]]
    project.build(orders="Sales")
    assert project.sync() == [["orders", "users"]]
    project.fails = False
    assert project.sync() == [["orders", "users"]]
    assert project.sync() == []


def test_another_metabase_knows_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.build(users="People")
    project.sync()
    monkeypatch.setenv("DBT_METABASE_URL", "https://other.example.com")
    assert project.sync() == [["users"]]


def test_full_tells_everything(project: Project) -> None:
    project.build(users="People")
    project.sync()
    assert project.sync("--full") == [[pending.ALL]]


def test_where_dbt_was_not_started_there_is_nothing_to_tell(project: Project) -> None:
    assert project.sync() == []


def test_the_raw_tables_of_a_source_without_staging_are_told_once(project: Project) -> None:
    catalog = project.target / ".meltano/run/tap-shop/tap.properties.json"
    catalog.parent.mkdir(parents=True)
    catalog.write_text("{}")
    assert project.sync() == [[]]
    assert project.sync() == []
