"""Who takes part: each reads the one table of a `World`, and says what that cost."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
from local_servers.emulator import PROJECT
from local_servers.postgres_programs import BINARIES
from measurement import BenchError, Command, Cost, measure
from world import DATABASE, NAME, USER, World

ROOT = Path(__file__).parents[4]
ENVIRONMENTS = ROOT / ".cache/bench"
PEERS = Path(__file__).parent / "peers"
PROGRAMS = Path(sys.executable).parent

INITIAL = "initial load"
CHANGED = "1% changed"
UNCHANGED = "nothing changed"
DELETED = "10% deleted"
STEPS = (INITIAL, CHANGED, UNCHANGED, DELETED)


@dataclass(frozen=True)
class Workspace:
    """Where a contestant finds its programs, and where it may leave things behind."""

    environment: Path
    scratch: Path

    @property
    def log(self) -> Path:
        """What its commands print."""
        return self.scratch / "log"


@dataclass(frozen=True)
class Step:
    """One measured run."""

    name: str
    rows: int
    """Rows that crossed over."""
    cost: Cost


@dataclass(frozen=True)
class Contestant:
    """A way to read Postgres."""

    name: str
    into: str
    run: Callable[[World, Workspace], Iterator[Step]]
    requirements: tuple[str, ...] = ()
    """What is installed into an environment of its own."""
    slow: bool = False
    """Reads small tables; what a large one costs is extrapolated from them."""

    @property
    def environment(self) -> Path:
        """Its own environment."""
        return ENVIRONMENTS / self.name

    def install(self) -> None:
        """Install what it needs, for this Python.

        Raises:
            BenchError: It can't be had here.
        """
        if not self.requirements:
            return
        uv = (sys.executable, "-m", "uv", "--quiet")
        _output(*uv, "venv", "--allow-existing", "--python", sys.executable, self.environment)
        # Compiled, or else the first run would pay for that.
        install = (*uv, "pip", "install", "--compile-bytecode", "--python", self.environment)
        _output(*install, *self.requirements)


def _output(*command: str | Path) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        failed = " ".join(map(str, command))
        raise BenchError(f"`{failed}` failed: {result.stderr.strip()}")
    return result.stdout


def copy_to_nowhere(world: World, workspace: Workspace) -> Iterator[Step]:
    """Let psql throw away what the server sends."""
    copy = f"copy (select * from {NAME}) to '/dev/null' (format binary)"
    command = (BINARIES / "psql", world.dsn, "--quiet", "--command", f"\\{copy}")
    yield Step(INITIAL, world.table.rows, measure(command, workspace.log))


def adbc_to_parquet(world: World, workspace: Workspace) -> Iterator[Step]:
    """Read through ADBC by hand."""
    file = workspace.scratch / f"{NAME}.parquet"
    script = PEERS / "adbc_to_parquet.py"
    cost = measure((workspace.environment / "bin/python", script, world.dsn, file), workspace.log)
    yield Step(INITIAL, _rows_in(workspace.scratch), cost)


def meltano_run(world: World, workspace: Workspace) -> Iterator[Step]:
    """Run the project's own path, from a first load to a run that finds rows deleted."""
    tenth, hundredth = world.table.rows // 10, world.table.rows // 100
    project = Project(world, workspace)
    yield project.extract_load(INITIAL)
    world.change(hundredth)
    yield project.extract_load(CHANGED)
    yield project.extract_load(UNCHANGED)
    world.delete(tenth)
    try:
        yield project.extract_load(DELETED, deleted=tenth)
    finally:
        world.restore(tenth)
        world.vacuum()
        world.drop(project.dataset)


def dlt_to_parquet(world: World, workspace: Workspace) -> Iterator[Step]:
    """Read through dlt and connectorx; then what has changed, by `updated_at`."""
    command = (workspace.environment / "bin/python", PEERS / "dlt_to_parquet.py", world.dsn)
    environment = os.environ | {"RUNTIME__DLTHUB_TELEMETRY": "false"}

    def step(name: str, *arguments: str) -> Step:
        folder = Path(tempfile.mkdtemp(dir=workspace.scratch))
        cost = measure((*command, folder, *arguments), workspace.log, environment=environment)
        return Step(name, _rows_in(folder / "files/product" / NAME), cost)

    yield step(INITIAL)
    changed_at = world.change(world.table.rows // 100)
    yield step(CHANGED, changed_at.isoformat())


def sling_to_csv(world: World, workspace: Workspace) -> Iterator[Step]:
    """Read through sling. For Parquet it would have to download DuckDB's command line."""
    file = workspace.scratch / f"{NAME}.csv"
    [program] = workspace.environment.glob("lib/*/site-packages/sling_*/bin/sling-*")
    command = (program, "run", "--src-conn", "SOURCE", "--src-stream", f"public.{NAME}")
    environment = os.environ | {
        "SOURCE": world.dsn,
        "HOME": str(workspace.scratch),
        "SLING_DISABLE_TELEMETRY": "true",
    }
    cost = measure(
        (*command, "--tgt-object", file.as_uri()), workspace.log, environment=environment
    )
    with file.open("rb") as lines:
        yield Step(INITIAL, sum(1 for _ in lines) - 1, cost)


def tap_postgres_to_bigquery(world: World, workspace: Workspace) -> Iterator[Step]:
    """Read a row at a time, straight into our loader."""
    dataset = "by_tap_postgres"
    source = {
        "sqlalchemy_url": world.dsn,
        "filter_schemas": ["public"],
    }
    warehouse = {
        "project": PROJECT,
        "dataset": dataset,
        "api_endpoint": world.bigquery.endpoint,
        "anonymous": True,
    }
    tap: Command = (
        workspace.environment / "bin/tap-postgres",
        "--config",
        _json(workspace, "tap", source),
    )
    target = (PROGRAMS / "target-bigquery-arrow", "--config", _json(workspace, "target", warehouse))
    catalog = json.loads(_output(*tap, "--discover"))
    for stream in catalog["streams"]:
        [about_all] = [entry for entry in stream["metadata"] if not entry["breadcrumb"]]
        about_all["metadata"]["selected"] = True
    tap = (*tap, "--catalog", _json(workspace, "catalog", catalog))
    pipe = f"set -o pipefail; {_shell(tap)} | {_shell(target)}"
    start = datetime.now(UTC)
    try:
        cost = measure(("bash", "-c", pipe), workspace.log)
        world.check(dataset, deleted=0)
        yield Step(INITIAL, world.rows_since(dataset, start), cost)
    finally:
        world.drop(dataset)


def _json(workspace: Workspace, name: str, content: object) -> Path:
    file = workspace.scratch / f"{name}.json"
    file.write_text(json.dumps(content))
    return file


def _shell(command: Command) -> str:
    return shlex.join(map(str, command))


class Project:
    """This project, pointed at a world, with a state and a catalog that are not the project's."""

    dataset = "by_meltano"

    def __init__(self, world: World, workspace: Workspace) -> None:
        self.world = world
        self.log = workspace.log
        home = workspace.scratch / "meltano"
        home.mkdir()
        for plugins in ("extractors", "loaders"):
            (home / plugins).symlink_to(ROOT / ".meltano" / plugins)
        self.environment = os.environ | {
            "MELTANO_PROJECT_ROOT": str(ROOT),
            "MELTANO_ENVIRONMENT": "local",
            "MELTANO_SYS_DIR_ROOT": str(home),
            "MELTANO_DATABASE_URI": f"sqlite:///{home}/meltano.db",
            "SANDBOX_POSTGRES_PORT": str(world.postgres.port),
            "SANDBOX_BIGQUERY_PORT": str(world.bigquery.port),
            "TAP_PRODUCT_USER": USER,
            "TAP_PRODUCT_DATABASE": DATABASE,
            "TARGET_BIGQUERY_DATASET": self.dataset,
            "NO_COLOR": "1",
        }
        # A project's database is there before its first load.
        self._meltano("state", "list")

    def extract_load(self, step: str, deleted: int = 0) -> Step:
        """Run, and see that the warehouse is right afterwards."""
        start = datetime.now(UTC)
        cost = self._meltano("run", "tap-product", "target-bigquery")
        self.world.check(self.dataset, deleted)
        return Step(step, self.world.rows_since(self.dataset, start), cost)

    def _meltano(self, *arguments: str) -> Cost:
        command: Command = (PROGRAMS / "meltano", *arguments)
        return measure(command, self.log, environment=self.environment)


def _rows_in(folder: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


LIMIT = Contestant("COPY", "nowhere", copy_to_nowhere)
BY_HAND = Contestant(
    "ADBC",
    "Parquet",
    adbc_to_parquet,
    ("adbc-driver-postgresql==1.13.0", "pyarrow==26.0.1"),
)
OURS = Contestant("meltano run", "BigQuery", meltano_run)
DLT = Contestant(
    "dlt",
    "Parquet",
    dlt_to_parquet,
    (
        "connectorx==0.4.6",
        "dlt[filesystem,parquet,sql-database]==1.31.0",
        "psycopg[binary]==3.3.9",
        "pyarrow==26.0.1",
        "sqlalchemy==2.1.9",
    ),
)
SLING = Contestant("sling", "CSV", sling_to_csv, ("sling-linux-amd64==1.4.11",))
TAP_POSTGRES = Contestant(
    "tap-postgres",
    "BigQuery",
    tap_postgres_to_bigquery,
    ("meltanolabs-tap-postgres==0.10.0", "singer-sdk[msgspec]==0.54.9"),
    slow=True,
)
CONTESTANTS = (LIMIT, BY_HAND, OURS, DLT, SLING, TAP_POSTGRES)
