"""Written again: what git has is renewed if asked to, what somebody edited is never lost."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from source_files.new_staging import catalog, command
from stack.project import Plugin, Source

TEXT = {"type": ["string", "null"]}
AUTHOR = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
MODEL = "stg_shop__pages.sql"


def plugin(name: str) -> Plugin:
    """A plugin of which little is known."""
    return Plugin("extractors", name, None, "shop", "Shop", None, "", {"load_schema": "shop"})


@dataclass
class Shop:
    """A source in a project of its own, whose tap says what the test wants."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    streams: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        file = self.root / "extract/shop.meltano.yml"
        loader = plugin("target-shop")
        source = Source("shop", file, plugin("tap-shop"), loader, "shop", "", None, None)

        class Project:
            root = self.root

            def source(self, _: str) -> Source:
                return source

        self.monkeypatch.setattr(command, "Project", Project)
        self.monkeypatch.setattr(catalog, "discover", lambda _: self.catalog())

    def catalog(self) -> Mapping[str, Any]:
        entries = [
            {
                "tap_stream_id": name,
                "key_properties": ["id"] if "id" in properties else [],
                "schema": {"type": "object", "properties": dict(properties), "selected": True},
            }
            for name, properties in self.streams.items()
        ]
        found: Mapping[str, Any] = json.loads(json.dumps({"streams": entries}))
        return found

    def run(self, *arguments: str, fails: bool = False) -> str:
        result = CliRunner().invoke(command.new_staging, ["shop", *arguments])
        assert (result.exit_code == 1) == fails, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.output

    @property
    def folder(self) -> Path:
        return self.root / "transform/models/staging/shop"

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.folder.iterdir())}

    def commit(self) -> None:
        for words in (["init"], ["add", "."], [*AUTHOR, "commit", "--message=staging"]):
            subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path, monkeypatch, {"pages": {"id": TEXT, "title": TEXT}})
    assert "wrote" in shop.run()
    shop.commit()
    return shop


def test_an_unchanged_catalog_leaves_nothing_to_do(shop: Shop) -> None:
    before = shop.texts()
    assert "Nothing to do" in shop.run()
    assert "Nothing to do" in shop.run("--write")
    assert shop.texts() == before


def test_a_changed_catalog_is_shown_and_written_only_if_asked_to(shop: Shop) -> None:
    before = shop.texts()
    shop.streams["pages"]["author"] = TEXT
    output = shop.run()
    assert "+        author" in output
    assert "add --write" in output
    assert shop.texts() == before
    assert "renewed" in shop.run("--write")
    assert "        author\n" in shop.texts()[MODEL]
    assert "Nothing to do" in shop.run()


def test_an_edited_file_is_left_and_the_difference_is_shown(shop: Shop) -> None:
    shop.edit(MODEL, "        title", "        upper(title) as title")
    shop.edit("stg_shop.yml", "Title of the page.", "What people see.")
    before = shop.texts()
    for _ in range(2):
        output = shop.run("--write")
        assert "-        upper(title) as title" in output
        assert f"{MODEL} was edited, or the catalog has changed: it is left as it is" in output
        assert f"--overwrite {MODEL}" in output
        assert shop.texts() == before
    shop.streams["pages"]["author"] = TEXT
    output = shop.run("--write")
    assert "+        author" in output
    assert "data_type: string" in output
    assert shop.texts() == {**before, "src_shop.yml": shop.texts()["src_shop.yml"]}
    assert "author" in shop.texts()["src_shop.yml"]


def test_what_was_renewed_is_a_change_that_git_shows(shop: Shop) -> None:
    shop.edit(MODEL, "        title", "        upper(title) as title")
    shop.commit()
    assert "upper(title)" in shop.texts()[MODEL]
    assert "renewed" in shop.run("--write")
    diff = subprocess.run(["git", "diff"], cwd=shop.root, capture_output=True, text=True).stdout
    assert "-        upper(title) as title" in diff


def test_an_edited_file_is_overwritten_only_by_name(shop: Shop) -> None:
    before = shop.texts()
    shop.edit(MODEL, "        title", "        upper(title) as title")
    shop.edit("README.md", "# Shop", "# Our shop")
    assert "+        title" in shop.run("--overwrite", MODEL)
    assert shop.texts()[MODEL] == before[MODEL]
    assert "# Our shop" in shop.texts()["README.md"]
    assert "is not one of the files" in shop.run("--overwrite", "nothing.sql", fails=True)


def test_a_new_stream_is_added_without_being_asked_and_without_touching_what_was_edited(
    shop: Shop,
) -> None:
    shop.edit("stg_shop.yml", "Title of the page.", "What people see.  # not a comment")
    tests = "\nunit_tests:\n  - name: of_mine\n    model: stg_shop__pages\n"
    path = shop.folder / "stg_shop.yml"
    path.write_text(path.read_text() + tests)
    before = shop.texts()
    shop.streams["authors"] = {"id": TEXT, "name": TEXT}
    output = shop.run()
    after = shop.texts()
    assert "added to" in output
    assert after[MODEL] == before[MODEL]
    assert "source('shop', 'authors')" in after["stg_shop__authors.sql"]
    staging = yaml.safe_load(after["stg_shop.yml"])
    assert [model["name"] for model in staging["models"]] == [
        "stg_shop__pages",
        "stg_shop__authors",
    ]
    assert after["stg_shop.yml"].endswith(tests)
    assert "What people see.  # not a comment" in after["stg_shop.yml"]
    (source,) = yaml.safe_load(after["src_shop.yml"])["sources"]
    assert [table["name"] for table in source["tables"]] == ["pages", "authors"]
    assert "stg_shop__authors" in after["README.md"]
    shop.run()
    assert shop.texts() == after


def test_streams_can_be_written_one_after_the_other(shop: Shop) -> None:
    shop.streams |= {"authors": {"id": TEXT}, "log": {"line": TEXT}}
    assert "'log'" in shop.run("authors", "log", fails=True)
    assert "stg_shop__authors.sql" not in shop.texts()
    shop.run("authors")
    together = shop.texts()
    for path in shop.folder.iterdir():
        path.unlink()
    shop.run("pages", "authors")
    assert shop.texts() == together


def test_what_has_left_the_catalog_is_named_and_never_deleted(shop: Shop) -> None:
    shop.streams["authors"] = {"id": TEXT}
    shop.run()
    shop.commit()
    del shop.streams["pages"]
    before = shop.texts()
    assert f"{MODEL}: its stream is no longer loaded" in shop.run()
    assert shop.texts() == before
    shop.run("--write")
    assert shop.texts()[MODEL] == before[MODEL]
    assert "pages" not in shop.texts()["src_shop.yml"]


def test_a_model_that_somebody_removed_stays_so_until_its_stream_is_named(shop: Shop) -> None:
    shop.streams["authors"] = {"id": TEXT}
    shop.run()
    shop.commit()
    (shop.folder / MODEL).unlink()
    shop.run("--write")
    assert MODEL not in shop.texts()
    assert "stg_shop__pages" not in shop.texts()["stg_shop.yml"]
    shop.run("pages")
    assert MODEL in shop.texts()


def test_files_of_somebody_s_own_are_never_touched(shop: Shop) -> None:
    (shop.root / ".git").rename(shop.root / "git")
    shop.edit(MODEL, "        title", "        upper(title) as title")
    shop.edit("README.md", "# Shop", "# Our shop")
    before = shop.texts()
    shop.streams["pages"]["author"] = TEXT
    shop.run("--write")
    after = shop.texts()
    assert {name: after[name] for name in before} == before


def test_an_error_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path, monkeypatch, {"pages": {"id": TEXT}, "log": {"line": TEXT}})
    assert "No key is known of 'log'" in shop.run("pages", "log", fails=True)
    assert not shop.folder.exists()
    assert "No models of log: no key is known" in shop.run()
    assert MODEL in shop.texts()
    shop.edit("stg_shop.yml", "models:", "models: [")
    before = shop.texts()
    shop.streams["authors"] = {"id": TEXT}
    assert "stg_shop.yml is not YAML" in shop.run("authors", fails=True)
    assert shop.texts() == before
