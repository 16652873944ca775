"""What Metabase has not been told yet: found out without dbt-metabase, which is slow to import.

A file beside dbt's own output says what it was told. Metabase is told what dbt says of a model, not
its rows: a model that was built again from other rows is no news.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(os.environ.get("MELTANO_PROJECT_ROOT", "."))
TARGET = Path(os.environ.get("DBT_TARGET_PATH", "transform/target"))
RUN_RESULTS = TARGET / "run_results.json"
MANIFEST = TARGET / "manifest.json"
TOLD = TARGET / "metabase_sync.json"
ALL = "*"
"""In place of names: every model."""


@dataclass
class Told:
    """What a Metabase was told, as a file says it.

    Attributes:
        metabase: its address and the name of the database there.
        models: what dbt said of each model that it knows, as a digest.
        raw: of the catalogs of sources without staging, a digest.
        build: of the last build that was looked at, a digest.
        pending: models that it should have been told of when that failed.
    """

    metabase: tuple[str, str]
    models: dict[str, str] = field(default_factory=dict)
    raw: str = ""
    build: str = ""
    pending: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, metabase: tuple[str, str]) -> Self:
        """Return what this Metabase was told; nothing, if the file is of another."""
        try:
            found = json.loads(TOLD.read_text())
            told = cls(**found | {"metabase": metabase})
            return told if tuple(found["metabase"]) == metabase else cls(metabase)
        except (OSError, ValueError, KeyError, TypeError):
            return cls(metabase)

    def write(self) -> None:
        """Write it in place of what the file says."""
        TARGET.mkdir(parents=True, exist_ok=True)
        draft = TOLD.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(TOLD)


def digest(*parts: bytes) -> str:
    """Return another text for other parts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{len(part)} ".encode() + part)
    return found.hexdigest()


def content(*paths: Path) -> str:
    """Return a digest of files, empty without any; a missing one is as an empty one."""
    return (
        ""
        if not paths
        else digest(*(path.read_bytes() if path.exists() else b"" for path in sorted(paths)))
    )


def built_models() -> list[str]:
    """Return the models of the last dbt build here; all, if dbt was last run in another way.

    After a build of some models, the tables of others may not exist yet, and dbt-metabase would
    wait for them.
    """
    if not RUN_RESULTS.exists():
        return []
    last: dict[str, Any] = json.loads(RUN_RESULTS.read_text())
    if last["args"]["which"] not in ("build", "run"):
        return [ALL]
    built = [r["unique_id"].split(".") for r in last["results"] if r["status"] == "success"]
    return sorted(name for kind, _, name, *_ in built if kind == "model")


def descriptions() -> dict[str, str]:
    """Return a digest of what dbt says of each model: columns, types, descriptions, keys, tests.

    A foreign key is a test of the model, or a part of its columns' meta.
    """
    if not MANIFEST.exists():
        return {}
    nodes: dict[str, dict[str, Any]] = json.loads(MANIFEST.read_text())["nodes"]
    said: dict[str, list[Any]] = {}
    for node in nodes.values():
        if node["resource_type"] == "model":
            keys = ("name", "alias", "database", "schema", "description", "columns", "config")
            said.setdefault(node["unique_id"], []).append([node.get(key) for key in keys])
        elif node["resource_type"] == "test":
            facts = [node.get("test_metadata"), node.get("column_name"), node.get("attached_node")]
            for unique_id in node["depends_on"]["nodes"]:
                said.setdefault(unique_id, []).append(facts)
    return {
        unique_id.split(".")[2]: digest(json.dumps(facts, sort_keys=True).encode())
        for unique_id, facts in said.items()
    }


def catalogs_without_staging(root: Path) -> list[Path]:
    """Return the catalogs of sources that were extracted here and have no folder in staging."""
    staging = root / "transform" / "models" / "staging"
    return [
        catalog
        for catalog in (root / ".meltano" / "run").glob("*/tap.properties.json")
        if not (staging / catalog.parent.name.removeprefix("tap-")).exists()
    ]


def main() -> int:
    """Tell Metabase what it has not been told, with `--full` everything; return the exit code."""
    url = os.environ.get("DBT_METABASE_URL")
    if not url:
        print("No Metabase in this environment: set its `url` in meltano.yml.")  # noqa: T201
        return 0
    told = Told.read((url, os.environ.get("DBT_METABASE_DATABASE", "")))
    raw, build = content(*catalogs_without_staging(ROOT)), content(RUN_RESULTS)
    models = [ALL] if "--full" in sys.argv[1:] else told.pending
    said: dict[str, str] = {}
    if models or told.build != build:
        said = descriptions()
        models = [*models, *(name for name in built_models() if _is_new(name, said, told))]
    if not models and told.raw == raw:
        told.build = build
        told.write()
        print(f"Metabase at {url} knows all that was built")  # noqa: T201
        return 0
    from dbt_metabase_sync import sync

    models = [ALL] if ALL in models else sorted({*models})
    code, found_all = sync.main(models)
    told.pending = models if code else []
    if code == 0:
        told.models |= {name: said.get(name, "") for name in (said if ALL in models else models)}
        told.build, told.raw = build, raw if found_all else ""
    told.write()
    return code


def _is_new(name: str, said: Mapping[str, str], told: Told) -> bool:
    return name == ALL or said.get(name) != told.models.get(name)
