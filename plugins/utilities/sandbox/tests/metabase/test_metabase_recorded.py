"""The fake's answers beside those recorded from Metabase, in dbt-metabase's own sources.

The recordings are not part of this project: they come from dbt-metabase's source distribution,
downloaded from the package index once and kept in pytest's cache.
"""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sandbox.metabase.provision import ADMIN_EMAIL, ADMIN_PASSWORD

from .support import FakeMetabase

RELEASE = "dbt-metabase==1.7.5"
ARCHIVE = "dbt_metabase-1.7.5.tar.gz"
SHA256 = "558ff77538745113737445e7631a55bc30a04c649e0a231ed7780b6d2a4e174e"

# Null here and not in the recordings, for two reasons.
NOT_ANALYSED = {"fingerprint", "last_analyzed", "estimated_row_count"}
NOT_TOLD_BY_BIGQUERY = {
    "database_is_generated",
    "database_is_nullable",
    "database_is_pk",
    "dbms_version",
}
# What was never run, seen or set; and the older form of a query, which newer versions leave out.
NEVER_RUN = {
    *("average_query_time", "last_query_start", "legacy_query", "query_average_duration"),
    "source_card_id",
}
NULL_HERE = NOT_ANALYSED | NOT_TOLD_BY_BIGQUERY | NEVER_RUN


@pytest.fixture(scope="session")
def archive(pytestconfig: pytest.Config) -> Path:
    """dbt-metabase's source distribution, as published."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("dbt-metabase")
    path = folder / ARCHIVE
    if not path.exists():
        options = ["--no-deps", "--no-binary", "dbt-metabase", "--dest", str(folder), RELEASE]
        downloaded = subprocess.run(
            [*pip(), "download", *options], capture_output=True, text=True, check=False
        )
        assert downloaded.returncode == 0, (
            f"{RELEASE} can't be downloaded from the package index, and these tests need the "
            f"recordings in it:\n{downloaded.stderr}"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == SHA256, f"{path} is not {RELEASE} as published: remove it, and run again"
    return path


def pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv", "tool", "run", "pip"]
    uv = shutil.which("uv")
    assert uv, "these tests need pip or uv to download dbt-metabase's recordings"
    return [uv, "tool", "run", "pip"]


@pytest.fixture(params=["mbql4", "mbql5"])
def recorded(request: pytest.FixtureRequest, archive: Path) -> Mapping[str, Any]:
    """Metabase's answers by path, of one of the two versions that were recorded."""
    folder = f"{ARCHIVE.removesuffix('.tar.gz')}/tests/fixtures/{request.param}"
    with tarfile.open(archive) as files:
        return {
            member.name.removeprefix(folder).removesuffix(".json"): json.load(content)
            for member in files
            if member.name.startswith(f"{folder}/api/") and (content := files.extractfile(member))
        }


def assert_same_shape(ours: Iterable[Any], theirs: Iterable[Any]) -> None:
    """Each of our objects has all keys of theirs, with values of types that they have there."""
    types: dict[str, set[type]] = {}
    for row in theirs:
        for key, value in row.items():
            types.setdefault(key, set()).add(type(value))
    rows = list(ours)
    assert types
    assert rows
    for row in rows:
        assert types.keys() <= row.keys()
        for key, seen in types.items():
            allowed = seen | {type(None)} if key in NULL_HERE else seen
            # A key that was never filled in the recordings says nothing about its type.
            if allowed != {type(None)}:
                assert type(row[key]) in allowed, f"{key} is {row[key]!r}, not of {seen}"


@pytest.fixture(scope="module")
def metabase(shared_metabase: FakeMetabase) -> FakeMetabase:
    """One that holds what the recordings hold: a foreign key, and a user who has logged in."""
    metabase = shared_metabase
    fields = metabase.fields()
    metabase.put_field(
        "stg_product__timeline_items.organisation_id",
        semantic_type="type/FK",
        fk_target_field_id=fields["dim_organisations.id"]["id"],
        description="Whose it is.",
    )
    metabase.put_field("dim_organisations.id", semantic_type="type/PK")
    credentials = {"username": ADMIN_EMAIL, "password": ADMIN_PASSWORD}
    metabase.api.post("/api/session", json=credentials).raise_for_status()
    return metabase


def test_databases(metabase: FakeMetabase, recorded: Mapping[str, Any]) -> None:
    answer = metabase.api.get("/api/database").json()
    assert answer["total"] == len(answer["data"])
    assert_same_shape(answer["data"], recorded["/api/database"])


def test_tables_with_their_databases(metabase: FakeMetabase, recorded: Mapping[str, Any]) -> None:
    ours, theirs = metabase.api.get("/api/table").json(), recorded["/api/table"]
    assert_same_shape(ours, theirs)
    assert_same_shape((table["db"] for table in ours), (table["db"] for table in theirs))


def test_metadata_down_to_the_targets_of_foreign_keys(
    metabase: FakeMetabase, recorded: Mapping[str, Any]
) -> None:
    ours, theirs = metabase.metadata(), recorded["/api/database/2/metadata"]
    assert_same_shape([ours], [theirs])
    assert_same_shape(ours["tables"], theirs["tables"])
    our_fields, their_fields = (
        [field for table in metadata["tables"] for field in table["fields"]]
        for metadata in (ours, theirs)
    )
    assert_same_shape(our_fields, their_fields)
    assert_same_shape(
        (field["target"] for field in our_fields if field["target"]),
        (field["target"] for field in their_fields if field["target"]),
    )


def test_users(metabase: FakeMetabase, recorded: Mapping[str, Any]) -> None:
    assert_same_shape([metabase.api.get("/api/user/1").json()], [recorded["/api/user/1"]])


@pytest.fixture(scope="module")
def content(metabase: FakeMetabase) -> dict[str, Any]:
    """A question on a table and one on SQL, both on a dashboard, and a collection."""
    table = metabase.tables()["dim_organisations"]["id"]
    stages = (
        {"lib/type": "mbql.stage/mbql", "source-table": table},
        {"lib/type": "mbql.stage/native", "native": "select count(*) from dbt.dim_organisations"},
    )
    metabase.warehouse.answer = ([("count", "type/Integer")], [(2,)])
    cards = []
    for stage in stages:
        body = {
            "name": "Organisations",
            "description": "All of them.",
            "display": "table",
            "visualization_settings": {},
            "dataset_query": {"lib/type": "mbql/query", "database": 1, "stages": [stage]},
        }
        cards.append(metabase.api.post("/api/card", json=body).json()["id"])
        metabase.api.post(f"/api/card/{cards[-1]}/query", json={}).raise_for_status()
    row = metabase.api.post("/api/dashboard", json={"name": "D", "description": "All."}).json()
    places = [
        {"id": -n, "card_id": card, "row": n, "col": 0, "size_x": 12, "size_y": 9}
        for n, card in enumerate(cards, start=1)
    ]
    path = f"/api/dashboard/{row['id']}"
    metabase.api.put(path, json={"dashcards": places}).raise_for_status()
    metabase.api.post("/api/collection", json={"name": "Somewhere"}).raise_for_status()
    return {"cards": cards, "dashboard": row["id"]}


@pytest.mark.usefixtures("content")
def test_collections(metabase: FakeMetabase, recorded: Mapping[str, Any]) -> None:
    """The recordings hold the root, a personal collection and one that somebody made."""
    ours, theirs = (
        {(item["is_personal"], item["id"] == "root"): item for item in items}
        for items in (metabase.api.get("/api/collection").json(), recorded["/api/collection"])
    )
    assert ours.keys() == theirs.keys() == {(False, True), (True, False), (False, False)}
    for kind, their in theirs.items():
        assert_same_shape([ours[kind]], [their])


@pytest.mark.usefixtures("content")
def test_items_of_a_collection(metabase: FakeMetabase, recorded: Mapping[str, Any]) -> None:
    path = "/api/collection/root/items"
    ours = metabase.api.get(path, params={"models": ["card", "dashboard"]}).json()["data"]
    theirs = recorded[path]
    for model in ("card", "dashboard"):
        assert_same_shape(*([item for item in s if item["model"] == model] for s in (ours, theirs)))


def test_cards(
    metabase: FakeMetabase, content: dict[str, Any], recorded: Mapping[str, Any]
) -> None:
    ours = [metabase.api.get(f"/api/card/{card}").json() for card in content["cards"]]
    theirs = [answer for path, answer in recorded.items() if path.startswith("/api/card/")]
    assert_same_shape(ours, theirs)
    for kind in ("query", "native"):
        our, their = (
            next(card["dataset_query"] for card in cards if card["query_type"] == kind)
            for cards in (ours, theirs)
        )
        # In the older recording, queries are classic ones.
        if "stages" in their:
            assert_same_shape(our["stages"], [{k: their["stages"][0][k] for k in our["stages"][0]}])


def test_a_dashboard_with_its_cards(
    metabase: FakeMetabase, content: dict[str, Any], recorded: Mapping[str, Any]
) -> None:
    ours = metabase.api.get(f"/api/dashboard/{content['dashboard']}").json()
    theirs = recorded["/api/dashboard/2"]
    # The older of the two versions has one key more.
    assert_same_shape([ours], [{k: v for k, v in theirs.items() if k != "param_values"}])
    assert_same_shape(ours["dashcards"], theirs["dashcards"])
    assert_same_shape(*([one["card"] for one in row["dashcards"]] for row in (ours, theirs)))
