"""`stack check`: what works is called so, and what doesn't is found, with its fix."""

import json
import re
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from ..stack import ROOT, Stack, copy_of_the_project

CPU_SECONDS = 15
"""Of all processes of a check; it takes 6. Seconds on the clock would depend on the machine."""
Row = dict[str, Any]
CONFIG = {
    "host": "127.0.0.1",
    "port": "${SANDBOX_POSTGRES_PORT}",
    "user": "sandbox",
    "password": "sandbox",
    "database": "product",
    "ssl_mode": "disable",
    "filter_schemas": ["checked"],
}
VARIABLES = {
    "NOTES_PASSWORD": "",
    "NOTES_USER": "your-user",
    "NOTES_PORT": "secret-instead-of-a-port",
    "NOTES_WRONG": "secret-wrong-password",
    "REVOKED_KEY": "secret-revoked-key",
    "REVOKED_TOKEN": "secret-revoked-token",
}
DATE = "2025-01-01T00:00:00Z"
UPTIME = "extract/examples/uptime.manifest.yaml"


def source(
    name: str,
    config: dict[str, Any] | None = None,
    parent: str = "tap-postgres-arrow",
    **changed: Any,
) -> dict[str, Any]:
    """A source's file; one of Postgres reads the schema `checked`, as far as it may."""
    own = config or {}
    extractor = {
        "name": f"tap-{name}",
        "namespace": name,
        "inherit_from": parent,
        "config": CONFIG | own if parent == "tap-postgres-arrow" else own,
        "load_schema": name,
    }
    return {
        "plugins": {"extractors": [without_nothing(extractor | changed)]},
        "jobs": [{"name": f"{name}-daily", "tasks": [f"tap-{name} target-bigquery"]}],
    }


def without_nothing(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


def manifest_source(
    name: str, manifest: str = UPTIME, select: list[str] | None = None, **config: str
) -> dict[str, Any]:
    """A source's file that names a manifest."""
    url = "http://127.0.0.1:${SANDBOX_SAAS_PORT}/uptime"
    settings = {"url": url, "api_key": "sandbox", "start_date": DATE, **config}
    own = {"manifest": manifest, "config": settings}
    return source(name, own, "tap-airbyte-manifest", select=select)


LOST = source("lost")
LOST["jobs"][0]["tasks"].append("tap-lost target-bigqery")
RARE = source("rare")
RARE["schedules"] = [{"name": "rare-daily", "job": "rare-daily", "interval": "0 25 * * *"}]
IDLE = source("idle")
IDLE["jobs"] = []
LOOSE = source("loose", {}, inherit_from=None, pip_url="tap-loose>=1", executable="tap-loose")

FILES = {
    "typo.meltano.yml": {"plugin": {"extractors": []}},
    "idle.meltano.yml": IDLE,
    "homeless.meltano.yml": source("homeless", load_schema=None),
    "here.meltano.yml": source("here", load_schema="elsewhere"),
    "twin.meltano.yml": source("twin", load_schema="close"),
    "dbt_sales.meltano.yml": source("dbt_sales"),
    "lost.meltano.yml": LOST,
    "rare.meltano.yml": RARE,
    "unread.yml": source("unread"),
    "loose.meltano.yml": LOOSE,
    "unset.meltano.yml": source("unset", {"host": "${NOTES_HOST}"}),
    "empty.meltano.yml": source("empty", {"password": "${NOTES_PASSWORD}"}),
    "example.meltano.yml": source("example", {"user": "${NOTES_USER}"}),
    "text.meltano.yml": source("text", {"port": "${NOTES_PORT}"}),
    "port.meltano.yml": source("port", {"port": 1}),
    "host.meltano.yml": source("host", {"host": "no-such-host.invalid"}),
    "password.meltano.yml": source("password", {"password": "${NOTES_WRONG}"}),
    "database.meltano.yml": source("database", {"database": "nowhere"}),
    "encryption.meltano.yml": source("encryption", {"ssl_mode": "require"}),
    "schemas.meltano.yml": source("schemas", {"filter_schemas": ["checked", "nothing"]}),
    "rights.meltano.yml": source("rights"),
    "nothing.meltano.yml": source("nothing", select=["!checked-secret.*"]),
    "vain.meltano.yml": source("vain", select=["checked-open.*", "checked-secrets.*"]),
    "cursor.meltano.yml": source(
        "cursor",
        select=["checked-open.*"],
        metadata={"checked-open": {"replication-key": "updated"}},
    ),
    "revoked.meltano.yml": source(
        "revoked", {"config": {"api_key": "${REVOKED_KEY}", "start_date": DATE}}, "tap-close"
    ),
    "absent.meltano.yml": manifest_source("absent", manifest="extract/absent.manifest.yaml"),
    "rejected.meltano.yml": manifest_source("rejected", start_date="yesterday"),
    "denied.meltano.yml": manifest_source("denied", api_key="${REVOKED_KEY}"),
    "strange.meltano.yml": manifest_source("strange", select=["checks.*", "outage.*"]),
    "late.meltano.yml": source(
        "late",
        {"config": {"access_token": "${REVOKED_TOKEN}", "region": "US", "start_date": DATE}},
        "tap-intercom",
    ),
}


@dataclass
class Fault:
    """How the report names what is wrong: the line, and a part of its fix."""

    group: str
    says: str
    fix: str
    is_note: bool = False


FAULTS = {
    "a file without an extractor": Fault(
        "Project", "extract/typo.meltano.yml:1 has no extractor", "`load_schema: typo`"
    ),
    "a source that no job runs": Fault(
        "Project",
        "no job runs 'tap-idle' into a loader",
        "with the task `tap-idle target-bigquery`",
    ),
    "a source without a dataset": Fault(
        "Project", "'tap-homeless' has no `load_schema`", "Add `load_schema: homeless`"
    ),
    "a dataset that isn't the file's name": Fault(
        "Project",
        "`load_schema` is 'elsewhere', and the file's name says 'here'",
        "rename the file",
    ),
    "a dataset of two sources": Fault(
        "Project", "the dataset 'close' is that of extract/close.meltano.yml too", "of its own"
    ),
    "a dataset that dbt builds into": Fault(
        "Project", "the name 'dbt_sales' is taken", "Rename the file"
    ),
    "a job that names no plugin": Fault(
        "Project", "there is no plugin 'target-bigqery'", "did you mean `target-bigquery`?"
    ),
    "an interval that cron doesn't take": Fault(
        "Project", "'0 25 * * *' is not a cron expression", "'0 6 * * *' is daily at 6:00"
    ),
    "a file that Meltano doesn't read": Fault(
        "Project", "extract/unread.yml isn't read", "Rename it to extract/unread.meltano.yml"
    ),
    "a version that isn't pinned": Fault(
        "Project", "tap-loose `pip_url` doesn't pin tap-loose>=1", "`tap-loose==1.2.3`"
    ),
    "a plugin that isn't installed": Fault(
        "Project", "tap-loose isn't installed", "meltano --environment=local install"
    ),
    "another version than the lock's": Fault(
        "Project", "not as plugins/locks/tap-airbyte-manifest.txt says", "Install it again"
    ),
    "a lock that is gone": Fault(
        "Project", "stack its lock plugins/locks/stack.txt is missing", "`make lock`"
    ),
    "a variable that isn't set": Fault(
        "unset", "NOTES_HOST isn't set; `host` of tap-unset", "Put `NOTES_HOST=…` into .env"
    ),
    "a variable that is empty": Fault(
        "empty", "NOTES_PASSWORD is empty", "Put `NOTES_PASSWORD=…` into .env"
    ),
    "a variable that is an example still": Fault(
        "example", "NOTES_USER is still an example", "Put `NOTES_USER=…` into .env"
    ),
    "a port that is no number": Fault(
        "text", "NOTES_PORT isn't what the setting takes; `port`", "Correct `NOTES_PORT`"
    ),
    "a port where nothing listens": Fault(
        "port", "nothing listens there (127.0.0.1:1, database product)", "invoke sandbox up"
    ),
    "a host that there isn't": Fault("host", "there is no such host", "`host` of tap-host"),
    "a wrong password": Fault("password", "the password is wrong", "Correct `NOTES_WRONG` in .env"),
    "a database that isn't open to the user": Fault(
        "database", "by its pg_hba.conf (127.0.0.1:", "`database` of tap-database"
    ),
    "encryption that the server hasn't": Fault(
        "encryption", "the server has no encryption", "`ssl_mode: disable`"
    ),
    "a schema that there isn't": Fault(
        "schemas", "there is no schema 'nothing'", "Correct `filter_schemas`"
    ),
    "a table that may not be read": Fault(
        "rights", "sandbox may not read checked.secret", "grant select on checked.secret to sandbox"
    ),
    "a column that may not be read": Fault(
        "rights",
        "sandbox may not read digest of checked.open",
        "`select: ['*.*', '!checked-open.digest']`",
    ),
    "a table without a key": Fault(
        "rights", "checked-keyless has no key: each run adds", "a primary key", is_note=True
    ),
    "a `select` that only leaves out": Fault(
        "nothing", "none is selected: every line of `select` leaves something out", "Put `'*.*'`"
    ),
    "a stream that there isn't": Fault(
        "vain",
        "`checked-secrets.*` is nothing that the source has",
        "did you mean `checked-secret`",
    ),
    "a replication key that there isn't": Fault(
        "cursor", "its replication key `updated` isn't among its columns", "mean `updated_at`?"
    ),
    "a manifest that there isn't": Fault(
        "Project", "there is no manifest extract/absent.manifest.yaml", "Correct `manifest`"
    ),
    "a setting that a manifest's spec rejects": Fault(
        "rejected",
        "`config.start_date` is not as the manifest's `spec` asks for it",
        "Correct `config.start_date` of tap-rejected (extract/rejected.meltano.yml)",
    ),
    "a key that a manifest's check finds refused": Fault(
        "denied", "the manifest's own check: ", "correct `REVOKED_KEY` in .env"
    ),
    "a stream that a manifest lacks": Fault(
        "strange", "`outage.*` is nothing that the source has", "did you mean `outages`"
    ),
    "a key that a manifest's source refuses": Fault(
        "revoked", "the API key is not valid", "correct `REVOKED_KEY` in .env"
    ),
    "a token that a manifest's source refuses": Fault(
        "late", "Access Token Invalid", "correct `REVOKED_TOKEN` in .env"
    ),
    "a dataset in another place": Fault(
        "BigQuery", "password is in EU, and the settings say US", "`location` of target-bigquery"
    ),
    "a Metabase key that may change nothing": Fault(
        "Metabase", "the key isn't an administrator's", "in the group Administrators"
    ),
    "a Metabase database that there isn't": Fault(
        "Metabase", "there is no 'All'", "correct `database` of dbt-metabase: 'All (dbt)'?"
    ),
}


@dataclass
class Report:
    """What a check printed."""

    code: int
    text: str
    rows: list[Row]

    @property
    def wrong(self) -> list[Row]:
        return [row for row in self.rows if row["ok"] is False]


def check(root: Path, environment: dict[str, str], *sources: str) -> Report:
    """Check a project as one does whose Meltano can't start."""
    done = subprocess.run(
        [ROOT / ".venv/bin/stack", "check", "--json", *sources],
        cwd=root,
        env={**environment, "MELTANO_PROJECT_ROOT": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Report(done.returncode, done.stdout + done.stderr, json.loads(done.stdout))


@pytest.fixture(scope="module")
def restricted(stack: Stack) -> Iterator[None]:
    """A schema in which not all may be read, nor is as it should be."""
    with stack.postgres(autocommit=True) as connection:
        for statement in (
            "create schema checked",
            "create table checked.open (id int primary key, updated_at timestamptz, digest text)",
            "create table checked.secret (id int primary key)",
            "create table checked.keyless (name text)",
            "revoke select on checked.open, checked.secret from sandbox",
            "grant select (id, updated_at) on checked.open to sandbox",
        ):
            connection.execute(statement)
        yield
        connection.execute("drop schema checked cascade")


@pytest.fixture(scope="module")
def elsewhere(stack: Stack) -> Iterator[None]:
    """A dataset in another location than the settings name."""
    datasets = f"{stack.status['bigquery']['endpoint']}/bigquery/v2/projects/local/datasets"
    body = {"datasetReference": {"projectId": "local", "datasetId": "password"}, "location": "EU"}
    requests.post(datasets, json=body, timeout=15).raise_for_status()
    yield
    requests.delete(f"{datasets}/password", timeout=15).raise_for_status()


@pytest.fixture(scope="module")
def users_key(stack: Stack) -> str:
    """A key for Metabase that is in no group of administrators."""
    metabase = stack.status["metabase"]
    answer = requests.post(
        f"{metabase['url']}/api/api-key",
        headers={"X-API-KEY": stack.environment["METABASE_API_KEY"]},
        json={"name": "of no administrator", "group_id": 1},
        timeout=15,
    )
    answer.raise_for_status()
    key: str = answer.json()["unmasked_key"]
    return key


@pytest.fixture(scope="module")
def faulty(
    stack: Stack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Report:
    """The report on a project in which much is wrong at once."""
    for prepared in ("restricted", "elsewhere"):
        request.getfixturevalue(prepared)
    root = copy_of_the_project(tmp_path_factory.mktemp("faulty"))
    for name, content in FILES.items():
        (root / "extract" / name).write_text(yaml.safe_dump(content, sort_keys=False))
    lock = root / "plugins/locks/tap-airbyte-manifest.txt"
    lock.write_text(re.sub(r"^requests==\S+", "requests==1.0.0", lock.read_text(), flags=re.M))
    (root / "plugins/locks/stack.txt").unlink()
    changed = {
        "DBT_METABASE_API_KEY": request.getfixturevalue("users_key"),
        "DBT_METABASE_DATABASE": "All",
        "TAP_PRODUCT_PASSWORD": "sandbox",
    }
    report = check(root, {**stack.environment, **VARIABLES, **changed})
    # Meltano makes a folder for whatever it is asked about; the copy shares it with the project.
    (ROOT / ".meltano/extractors/tap-loose").rmdir()
    return report


def cpu_seconds() -> float:
    """What the processes that this one has waited for have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_project_that_works_is_found_to_in_little_time_and_left_as_it_was(
    stack: Stack,
) -> None:
    datasets = "select schema_name from INFORMATION_SCHEMA.SCHEMATA order by schema_name"
    before = stack.query(datasets)
    began = cpu_seconds()
    text = stack.meltano("invoke", "stack", "check", TAP_PRODUCT_PASSWORD="sandbox")
    assert cpu_seconds() - began < CPU_SECONDS
    assert "✗" not in text
    for group in ("Project", "product", "close", "intercom", "stripe", "BigQuery", "Metabase"):
        assert f"\n{group}\n  ✓ " in text
    assert stack.query(datasets) == before


def test_one_source_is_checked_with_what_it_needs(stack: Stack) -> None:
    report = check(ROOT, stack.environment, "close")
    assert report.code == 0
    assert [row["group"] for row in report.rows if row["name"] == "streams"] == ["close"]
    assert report.rows[0].keys() == {"group", "name", "ok", "detail", "fix"}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_it_finds(fault: Fault, faulty: Report) -> None:
    assert faulty.code == 1
    found = [
        row
        for row in faulty.rows
        if row["group"] == fault.group and fault.says in f"{row['name']} {row['detail']}"
    ]
    assert len(found) == 1, faulty.text
    assert found[0]["ok"] is fault.is_note
    assert fault.fix in found[0]["fix"]


def test_it_finds_nothing_else(faulty: Report) -> None:
    """Whatever else it says is a consequence of what was planted."""
    said = [*(fault.says for fault in FAULTS.values()), "the file's name says 'twin'"]
    others = [
        row
        for row in faulty.wrong
        if not any(one in f"{row['name']} {row['detail']}" for one in said)
    ]
    assert others == []


def test_it_shows_no_secret(faulty: Report, secrets: frozenset[str]) -> None:
    assert not [secret for secret in secrets if secret in faulty.text]
    assert "secret-" not in faulty.text.replace("checked-secret", "")


def test_yaml_that_cannot_be_read_is_named_with_its_line(stack: Stack, tmp_path: Path) -> None:
    root = copy_of_the_project(tmp_path)
    (root / "extract/broken.meltano.yml").write_text("plugins:\n  extractors:\n\t- name: tap\n")
    report = check(root, stack.environment)
    assert report.code == 1
    assert [(row["name"], row["fix"]) for row in report.rows] == [
        ("extract/broken.meltano.yml:3", "Indent with spaces: YAML takes no tabs there.")
    ]


def test_in_production_the_state_must_outlive_the_machine_and_credentials_be_there(
    stack: Stack, tmp_path: Path
) -> None:
    environment = stack.environment | {
        "MELTANO_ENVIRONMENT": "prod",
        "BIGQUERY_PROJECT": "somebodys",
        "BIGQUERY_LOCATION": "EU",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"),
        "METABASE_URL": stack.status["metabase"]["url"],
    }
    # Nothing is asked of the vendor.
    del environment["TAP_STRIPE_CONFIG_API_KEY"]
    report = check(ROOT, environment, "stripe")
    assert {(row["group"], row["name"]) for row in report.wrong} == {
        ("Project", "state"),
        ("stripe", "STRIPE_SECRET_KEY"),
        ("BigQuery", "connection"),
    }
    fixes = {row["name"]: row["fix"] for row in report.wrong}
    assert "MELTANO_STATE_BACKEND_URI=gs://" in fixes["state"]
    assert "gcloud auth application-default login" in fixes["connection"]
