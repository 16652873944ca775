"""What the tests do with the stack: run its commands, and look at both of its ends."""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from psycopg.rows import dict_row
from sandbox import world
from sandbox.saas import faults

ROOT = Path(__file__).resolve().parents[5]
TABLES = {
    "organisations": ("id",),
    "users": ("id",),
    "incidents": ("id",),
    "incident_participants": ("incident_id", "user_id"),
    "actions": ("id",),
    "timeline_items": ("id",),
    "announcement_rules": ("id",),
    "workflows": ("id",),
}
EXTRACT_LOAD = (
    *("tap-close", "target-bigquery"),
    *("tap-intercom", "target-bigquery"),
    *("tap-stripe", "target-bigquery"),
)
"""What `meltano run` is told to load every tool."""
DBT_COMMENT = re.compile(r"/\* (\{.*?\}) \*/")
"""What dbt writes before a statement: https://docs.getdbt.com/reference/project-configs/query-comment"""
Row = dict[str, Any]
Keyed = dict[tuple[Any, ...], Row]


@dataclass
class Stack:
    """The project, with the environment variables that make its world a private one."""

    root: Path
    environment: dict[str, str]

    def start(self, *arguments: str, **changed: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.root / ".venv/bin/meltano", *arguments],
            cwd=self.root,
            env={**self.environment, **changed},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def meltano(self, *arguments: str, fails: bool = False, **changed: str) -> str:
        """Run a command and return what it printed; `changed` are variables for it alone."""
        process = self.start(*arguments, **changed)
        output, _ = process.communicate(timeout=300)
        assert (process.returncode != 0) == fails, output[-6000:]
        return output

    def sandbox(self, *arguments: str) -> str:
        """Run the sandbox's command without Meltano, which takes a second to start."""
        return subprocess.run(
            [self.root / ".venv/bin/sandbox", *arguments],
            cwd=self.root,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def pass_day(self) -> None:
        """Let a day pass in the product and the tools, as `sandbox tick` does."""
        with psycopg.connect(self.status["postgres"]["dsn"]) as connection:
            world.tick(connection)

    def switch_fault(self, tool: str, kind: str | None, times: int | None = None) -> None:
        """Let a tool's API fail, for so many requests or for good; None: it is well again."""
        faults.switch(self.status["saas"]["url"], tool, kind, times)

    def faults_left(self) -> dict[str, int | None]:
        """Return how many requests of each tool will still fail; None: all."""
        answer = requests.get(f"{self.status['saas']['url']}/faults", timeout=5).json()
        return {tool: fault["remaining"] for tool, fault in answer.items()}

    def extract_load(self, **options: Any) -> str:
        return self.meltano("run", "tap-product", "target-bigquery", **options)

    def load(self, dataset: str, messages: Iterable[Row]) -> None:
        """Load the messages of a tap into a dataset."""
        subprocess.run(
            [self.root / ".venv/bin/meltano", "invoke", "target-bigquery"],
            cwd=self.root,
            env={**self.environment, "TARGET_BIGQUERY_DATASET": dataset},
            input="\n".join(map(json.dumps, messages)),
            text=True,
            check=True,
            capture_output=True,
        )

    def load_and_build(self) -> None:
        """Bring what the product and every tool hold to the marts, whatever tests have changed."""
        self.meltano("run", "tap-product", "target-bigquery", *EXTRACT_LOAD)
        self.meltano("invoke", "dbt-bigquery", "run")

    @cached_property
    def status(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads(self.sandbox("status", "--json"))
        return found

    def postgres(self, **changed: Any) -> psycopg.Connection[Row]:
        return psycopg.connect(self.status["postgres"]["dsn"], row_factory=dict_row, **changed)

    @cached_property
    def warehouse(self) -> bigquery.Client:
        return bigquery.Client(
            project=self.status["bigquery"]["project"],
            location=self.status["bigquery"]["location"],
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.status["bigquery"]["endpoint"]},
        )

    def query(self, sql: str) -> list[Row]:
        """Ask the warehouse."""
        return [dict(row) for row in self.warehouse.query(sql).result()]

    def manifest(self, dataset: str = "dbt") -> dict[str, Any]:
        """Return what dbt knew of the project when it last built into a dataset."""
        variables = self.environment if dataset == "dbt" else self.elsewhere(dataset)
        found: dict[str, Any] = json.loads(
            (Path(variables["DBT_TARGET_PATH"]) / "manifest.json").read_text()
        )
        return found

    def models(self, dataset: str = "dbt") -> dict[str, dict[str, Any]]:
        """Return the models that are tables or views, from the manifest, by their unique id."""
        return {
            key: node
            for key, node in self.manifest(dataset)["nodes"].items()
            if node["resource_type"] == "model" and node["config"]["materialized"] != "ephemeral"
        }

    def column_types(self, dataset: str, tables: Iterable[str]) -> dict[tuple[str, str], str]:
        """Return the mode and type of each column of some tables, by table and column."""
        return {
            (table, field.name): f"{field.mode} {field.field_type}"
            for table in tables
            for field in self.warehouse.get_table(f"{dataset}.{table}").schema
        }

    def tables(self, dataset: str = "dbt") -> dict[str, dict[str, str]]:
        """Return the types that YAML files declare: of raw tables' and models' columns.

        Without the columns that a raw table lacks, such as those that an older tap filled.
        """
        found = self.manifest(dataset)
        project = self.status["bigquery"]["project"]
        raw = [(one["source_name"], one["name"], one) for one in found["sources"].values()]
        models = [(dataset, one["alias"], one) for one in self.models(dataset).values()]
        present: dict[tuple[str, str], set[str]] = defaultdict(set)
        for folder in {folder for folder, _, _ in raw}:
            for row in self.query(
                f"select table_name, column_name from {folder}.INFORMATION_SCHEMA.COLUMNS"
            ):
                present[folder, row["table_name"]].add(row["column_name"])
        return {
            f"{project}.{folder}.{name}": {
                column: rule["data_type"]
                for column, rule in node["columns"].items()
                if column in present.get((folder, name), node["columns"])
            }
            for folder, name, node in [*raw, *models]
        }

    def statements_of_dbt(self, dataset: str = "dbt") -> dict[str, str]:
        """Return what dbt has sent to the warehouse about a dataset, and what each was sent for.

        Models, tests, unit tests, hooks and whatever macros ask; dbt-bigquery's own questions about
        INFORMATION_SCHEMA aside.
        """
        found = {}
        for job in self.warehouse.list_jobs():
            comment = DBT_COMMENT.match(getattr(job, "query", ""))
            if comment and f"`{dataset}`" in job.query:
                sent_for = json.loads(comment[1])
                name = sent_for.get("node_id") or sent_for["connection_name"]
                if not name.endswith(".information_schema"):
                    found[job.query[comment.end() :].strip()] = name
        return found

    def elsewhere(self, dataset: str) -> dict[str, str]:
        """The variables by which dbt builds into another dataset, and keeps its files apart."""
        return {
            "DBT_BIGQUERY_DATASET": dataset,
            "DBT_TARGET_PATH": f"{self.environment['DBT_TARGET_PATH']}_{dataset}",
        }

    def organisations(self, dataset: str = "dbt") -> list[Row]:
        return self.query(f"select * from {dataset}.dim_organisations order by id")

    def metabase(self, path: str) -> Any:
        metabase = self.status["metabase"]
        response = requests.get(
            f"{metabase['url']}/api/{path}", headers={"X-API-KEY": metabase["api_key"]}, timeout=15
        )
        response.raise_for_status()
        return response.json()

    def metabase_tables(self) -> dict[str, dict[str, Any]]:
        """Return what Metabase knows of each table."""
        (database,) = self.metabase("database")["data"]
        metadata = self.metabase(f"database/{database['id']}/metadata?include_hidden=true")
        return {table["name"]: table for table in metadata["tables"]}

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """Return what the tools' APIs were asked, from some line of their log on."""
        lines = Path(self.status["saas"]["request_log"]).read_text().splitlines()
        return [json.loads(line) for line in lines[since:]]

    def bookmarks(self, blocks: str = "tap-product-to-target-bigquery") -> dict[str, Any]:
        """Return where the next run of an extraction begins, by stream."""
        path = self.environment["MELTANO_DATABASE_URI"].removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            (state,) = connection.execute(
                "select completed_state from state where state_id = ?",
                [f"local:{blocks}"],
            ).fetchone()
        bookmarks = json.loads(state)["singer_state"]["bookmarks"]
        return {stream: bookmark for stream, bookmark in bookmarks.items() if bookmark}

    def positions(self) -> dict[str, Any]:
        """Return to where the product's tables have been read."""
        return {
            stream: bookmark["replication_key_value"]
            for stream, bookmark in self.bookmarks().items()
        }

    def source_rows(self, table: str) -> Keyed:
        with self.postgres() as connection:
            rows = connection.execute(f"select * from {table}").fetchall()
        return by_key(table, rows)

    def raw_rows(self, table: str, *, deleted: bool = False) -> Keyed:
        """Return the rows of a raw table, without the loader's own columns."""
        kept = "is not null" if deleted else "is null"
        rows = self.query(f"select * from product.{table} where _sdc_deleted_at {kept}")
        own = [{k: v for k, v in row.items() if not k.startswith("_sdc_")} for row in rows]
        found = by_key(table, own)
        assert len(found) == len(rows), f"{table} has a key twice"
        return found

    def raw_tables(self) -> list[str]:
        rows = self.query("select table_name from product.INFORMATION_SCHEMA.TABLES")
        return [row["table_name"] for row in rows]

    def differences(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the keys, by table, whose rows are not the same in Postgres and BigQuery."""
        found = {}
        for table in TABLES:
            source, raw = self.source_rows(table), self.raw_rows(table)
            keys = [key for key in source.keys() | raw.keys() if source.get(key) != raw.get(key)]
            if keys:
                found[table] = keys
        return found


def searched_since(request: Row) -> str:
    """Return the time from which on a search of Close looks."""
    _, condition = json.loads(request["body"])["query"]["queries"]
    value: str = condition["condition"]["on_or_after"]["value"]
    return value


def wait_for(run: subprocess.Popen[str], command: str) -> int:
    """Return the id of the process in which a run has started a command, once there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in psutil.Process(run.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                if any(part.endswith(command) for part in process.cmdline()):
                    return process.pid
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.05)
    raise AssertionError(f"{command} was not started")


def by_key(table: str, rows: list[Row]) -> Keyed:
    plain = [{name: comparable(value) for name, value in row.items()} for row in rows]
    return {tuple(row[key] for key in TABLES[table]): row for row in plain}


def comparable(value: Any) -> Any:
    """Give a value of either end the same Python type."""
    match value:
        case UUID():
            return str(value)
        case Decimal():
            return value.normalize()
        case _:
            return value


def copy_of_the_project(folder: Path) -> Path:
    """Copy the project into an empty folder, to write files there; its plugins are shared."""
    shutil.copytree(
        ROOT,
        folder,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".*", "__pycache__", "target", "logs", "node_modules"),
    )
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / ".env").touch(mode=0o600)
    (folder / ".env").write_text((ROOT / ".env").read_text())
    (folder / ".meltano").mkdir(mode=0o700)
    for kind in ("extractors", "loaders", "transformers", "utilities"):
        (folder / ".meltano" / kind).symlink_to(ROOT / ".meltano" / kind)
    return folder
