"""The project's own dashboards, pushed to fakes and pulled from them as people do it."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from metabase_content import cli, shapes
from metabase_content.api import Metabase

from .support import API_KEY, FakeMetabase, FakeWarehouse, running, table

ROOT = Path(__file__).resolve().parents[5]
DONE = re.compile(r": (\d+) written, (\d+) as they are")
Run = Callable[..., str]


def tables() -> Iterator[Any]:
    """Those of dbt's tables that the content names, as dbt's YAML has them."""
    named = "".join(path.read_text() for path in (ROOT / cli.FOLDER).rglob("*.yaml"))
    for path in (ROOT / "transform/models").rglob("*.yml"):
        for model in (yaml.safe_load(path.read_text()) or {}).get("models") or []:
            columns = model.get("columns") or []
            if f" {model['name']}," in named:
                types = {one["name"]: one["data_type"].upper() for one in columns}
                yield table(model["name"], **types)


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Callable[[], FakeMetabase]]:
    """Starts fakes that know dbt's tables and have no content."""
    warehouse = FakeWarehouse(list(tables()))
    with ExitStack() as stack:

        def start() -> FakeMetabase:
            file = tmp_path / f"metabase{len(list(tmp_path.iterdir()))}.json"
            fake = stack.enter_context(running(file, warehouse))
            fake.sync()
            return fake

        yield start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / cli.FOLDER, tmp_path / "files"))


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a fake, and returns what it printed."""

    def command(fake: FakeMetabase, *arguments: str, key: str = API_KEY, code: int = 0) -> str:
        monkeypatch.setenv("METABASE_SERVER", fake.url)
        monkeypatch.setenv("METABASE_KEY", key)
        assert cli.main(["--folder", str(folder), *arguments]) == code
        printed = capsys.readouterr()
        return printed.out + printed.err

    return command


def content(fake: FakeMetabase, folder: Path) -> dict[str, Any]:
    """What a Metabase has of the files, without its numbers."""
    sync = cli.compared(Metabase(fake.url, API_KEY), folder)
    names = sync.names()
    return {
        entity_id: shapes.canonical(model, shapes.portable(model, row, names))
        for entity_id, row in sync.pages.items()
        for model in [sync.model_of(entity_id)]
    }


def test_pushed_edited_pulled_and_pushed_elsewhere(
    fakes: Callable[[], FakeMetabase], folder: Path, run: Run
) -> None:
    metabase = fakes()
    files = len(list(folder.rglob("*.yaml")))
    assert DONE.search(run(metabase, "push"))[1] == str(files)
    assert DONE.search(run(metabase, "push")).groups() == ("0", str(files))

    # People rename a question and change a dashboard.
    cards = {row["name"]: row for row in metabase.api.get("/api/card").json()}
    renamed = {"name": "Customers", "display": "row"}
    metabase.api.put(f"/api/card/{cards['Organisations']['id']}", json=renamed).raise_for_status()
    listed = metabase.api.get("/api/dashboard").json()
    row = next(one for one in listed if one["name"] == "Support")
    shown = metabase.api.get(f"/api/dashboard/{row['id']}").json()
    kept = ("id", "card_id", "row", "col", "size_x", "size_y", "dashboard_tab_id", "series")
    kept += ("parameter_mappings", "visualization_settings")
    dashcards = [{key: one[key] for key in kept} for one in shown["dashcards"][1:]]
    body = {"dashcards": dashcards, "tabs": []}
    metabase.api.put(f"/api/dashboard/{row['id']}", json=body).raise_for_status()

    planned = run(metabase, "plan")
    assert "! question “Organisations”: changed in Metabase: name, display;" in planned
    assert "! dashboard “Support”: changed in Metabase: dashcards;" in planned
    before = {path: path.read_text() for path in folder.rglob("*.yaml")}
    assert DONE.search(run(metabase, "push"))[1] == "0"
    run(metabase, "pull")
    after = {path: path.read_text() for path in folder.rglob("*.yaml")}
    assert {path.stem for path in after if after[path] != before.get(path)} == {
        "organisations",
        "support",
    }

    elsewhere = fakes()
    run(elsewhere, "push")
    assert content(elsewhere, folder) == content(metabase, folder)
    assert run(metabase, "pull").startswith("The files are as Metabase")


def test_a_key_without_rights_writes_nothing(fakes: Callable[[], FakeMetabase], run: Run) -> None:
    metabase = fakes()
    key = metabase.as_non_admin().headers["X-API-KEY"]
    said = run(metabase, "push", key=key, code=1)
    summary, cause = said.splitlines()
    assert "start_here.yaml: Metabase answers 403: the API key has no right to" in cause
    assert cause.endswith("Use a key of the group Administrators")
    assert ": 0 written, 0 as they are, " in summary
    assert run(metabase, "push", key="mb_unknown", code=1).endswith("doesn't know the API key\n")
    assert metabase.api.get("/api/card").json() == []
