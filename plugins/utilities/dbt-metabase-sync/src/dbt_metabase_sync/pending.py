"""What Metabase has not been told yet: decided before dbt-metabase is imported, which takes a second.

A file beside dbt's own output says what it was told.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(os.environ.get("MELTANO_PROJECT_ROOT", "."))
TARGET = Path(os.environ.get("DBT_TARGET_PATH", "transform/target"))
RUN_RESULTS = TARGET / "run_results.json"
TOLD = TARGET / "metabase_sync.json"
ALL = "*"
"""In place of names: every model."""


@dataclass
class Told:
    """What a Metabase was told, as a file says it.

    Attributes:
        metabase: its address and the name of the database there.
        digest: of all that it was last told of.
        pending: models that it should have been told of when it failed.
    """

    metabase: tuple[str, str]
    digest: str = ""
    pending: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, metabase: tuple[str, str]) -> Self:
        """Return what this Metabase was told: nothing, if it was another, or the file isn't ours."""
        try:
            found = json.loads(TOLD.read_text())
            told = cls(metabase, str(found["digest"]), [*map(str, found["pending"])])
            return told if tuple(found["metabase"]) == metabase else cls(metabase)
        except (OSError, ValueError, KeyError, TypeError):
            return cls(metabase)

    def write(self) -> None:
        """Write it in place of what the file says."""
        TARGET.mkdir(parents=True, exist_ok=True)
        draft = TOLD.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(TOLD)


def digest(paths: Iterable[Path]) -> str:
    """Return another text if one of some files has changed, appeared or gone."""
    found = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes() if path.exists() else b""
        found.update(f"{path}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


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
    now = digest([RUN_RESULTS, *catalogs_without_staging(ROOT)])
    is_full = "--full" in sys.argv[1:]
    if told.digest == now and not told.pending and not is_full:
        print(f"Metabase at {url} knows all that was built")  # noqa: T201
        return 0
    from dbt_metabase_sync import sync

    models = sorted({*built_models(), *told.pending})
    if is_full or ALL in models:
        models = [ALL]
    code, found_all = sync.main(models)
    told.pending = models if code else []
    if code == 0 and found_all:
        told.digest = now
    told.write()
    return code
