"""Each example is one file that brings a source in when it is copied into `extract/`."""

import hashlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import yaml
from local_servers.loopback import free_port
from psycopg.rows import dict_row
from sandbox.feedback import database as feedback
from sandbox.product.database import read_clock
from sandbox.saas.day import Day
from sandbox.saas.documents import Body, Documents
from sandbox.saas.world import TOOLS, Product, chance

from ..stack import ROOT, Row, Stack, comparable, copy_of_the_project, wait_for

EXAMPLES = ROOT / "extract/examples"
SOURCES = ("feedback", "github", "surveys", "uptime")
STREAMS = {
    "github": {"issues": "issue", "repositories": "repository"},
    "surveys": {"responses": "response", "surveys": "survey"},
    "uptime": {"outages": "outage", "checks": "check"},
}
"""The tables that an API is loaded into, and what it calls the objects in them."""
IN_FULL = ("run", "tap-github-full", "target-github")
CHANGING = {"github": "issues", "surveys": "responses", "uptime": "outages"}
EXTRACT_LOAD = [name for source in SOURCES for name in (f"tap-{source}", f"target-{source}")]
Table = dict[tuple[Any, ...], Row]
OPS = {
    *("stg_ops__loads", "stg_ops__dbt_nodes", "stg_ops__runs", "stg_ops__metabase_syncs"),
    *("dim_sources", "fct_runs", "fct_loads", "fct_dbt_nodes"),
}
"""What every job may build: the state of the loads."""


@pytest.fixture(scope="module")
def project(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project beside this one, on the same Postgres, APIs and BigQuery, with its own Metabase."""
    # A test before has installed it from a copy of the project that may be gone.
    shutil.rmtree(ROOT / ".meltano/extractors/tap-github", ignore_errors=True)
    folder = tmp_path_factory.mktemp("examples")
    port = free_port()
    environment = stack.environment | {
        "SANDBOX_DIRECTORY": str(folder / "metabase"),
        "SANDBOX_METABASE_PORT": str(port),
        "MELTANO_DATABASE_URI": f"sqlite:///{folder}/meltano.db",
        "DBT_TARGET_PATH": str(folder / "dbt"),
        "DBT_LOG_PATH": str(folder / "dbt"),
    }
    project = Stack(copy_of_the_project(folder / "project"), environment)
    metabase = {**stack.status["metabase"], "url": f"http://127.0.0.1:{port}"}
    project.__dict__["status"] = stack.status | {"metabase": metabase}
    try:
        project.sandbox("up", "metabase")
        yield project
    finally:
        project.sandbox("reset")


def copy_example(source: str, project: Stack) -> None:
    """Copy a source's file, and its manifest if it has one beside it."""
    for path in EXAMPLES.glob(f"{source}.*"):
        shutil.copy(path, project.root / "extract")


@pytest.fixture(scope="module")
def first_job(project: Stack) -> str:
    """The whole job of one example, the only one that has been copied by then."""
    copy_example("surveys", project)
    return project.meltano("run", "surveys-daily")


@pytest.fixture(scope="module")
def loaded(project: Stack, first_job: str) -> Stack:
    """All examples, each loaded once."""
    assert first_job
    for source in SOURCES:
        copy_example(source, project)
    others = [name for name in EXTRACT_LOAD if not name.endswith("-surveys")]
    project.meltano("run", *others)
    return project


@dataclass
class DayLater:
    """What happened at the APIs on a day after which everything was loaded again."""

    changed: dict[str, list[Any]]
    """The ids of what was added or changed, by API."""
    requests: list[dict[str, Any]]
    """What the APIs were asked then."""


@pytest.fixture(scope="module")
def day_later(loaded: Stack) -> DayLater:
    """Let a day pass, and load all examples again."""
    before = {tool: changing(loaded, tool) for tool in STREAMS}
    a_day_passes(loaded)
    asked = len(loaded.requests())
    loaded.meltano("run", *EXTRACT_LOAD)
    return DayLater(
        changed={
            tool: [body["id"] for body in changing(loaded, tool) if body not in before[tool]]
            for tool in STREAMS
        },
        requests=loaded.requests(asked),
    )


def changing(stack: Stack, tool: str) -> list[Body]:
    """Return the objects of the stream that is read incrementally."""
    return documents(stack, tool).of(STREAMS[tool][CHANGING[tool]])


def a_day_passes(stack: Stack) -> None:
    """Let a day pass where the examples read, and nowhere else: other tests know the product."""
    with psycopg.connect(stack.status["postgres"]["dsn"]) as connection:
        clock = read_clock(connection)
        assert clock
        product = Product.read(connection)
        for tool in STREAMS:
            day = Day(
                date=clock.today,
                rng=chance(clock, f"{tool}/again", clock.today),
                accounts={},
                users={id_: [user] for id_, user in product.users.items()},
                now=datetime.now(UTC),
            )
            objects = Documents.load(connection, tool)
            TOOLS[tool].pass_day(objects, day)
            objects.save(connection)
        with psycopg.connect(stack.status["postgres"]["feedback_dsn"]) as other:
            # The world may have had this day already.
            tomorrow = clock.today + timedelta(days=1)
            feedback.tick(other, tomorrow, clock.seed, list(product.users))


def documents(stack: Stack, tool: str) -> Documents:
    with psycopg.connect(stack.status["postgres"]["dsn"]) as connection:
        return Documents.load(connection, tool)


def source_tables(stack: Stack, source: str) -> dict[str, list[Row]]:
    """Return what the source holds, by the table that it is loaded into."""
    if source != "feedback":
        objects = documents(stack, source)
        return {table: objects.of(kind) for table, kind in STREAMS[source].items()}
    with psycopg.connect(
        stack.status["postgres"]["feedback_dsn"], row_factory=dict_row
    ) as connection:
        return {
            table: connection.execute(f"select * from {table}").fetchall()
            for table in feedback.TABLES
        }


def raw_table(stack: Stack, source: str, table: str) -> list[Row]:
    rows = stack.query(f"select * from {source}.{table} where _sdc_deleted_at is null")
    return [{k: v for k, v in row.items() if not k.startswith("_sdc_")} for row in rows]


def same(column: str, raw: Any, source: Any) -> bool:
    """Whether a raw value is what the source holds."""
    if isinstance(raw, datetime) and isinstance(source, str):
        return raw == datetime.fromisoformat(source)
    if isinstance(raw, str) and isinstance(source, list):
        return bool(json.loads(raw) == source)
    if column == "reactions":
        # tap-github gives two of them other names.
        return bool(raw["plus_one"] == source["+1"])
    return bool(comparable(raw) == comparable(source))


def check_equal(stack: Stack, source: str) -> None:
    for table, rows in source_tables(stack, source).items():
        keys = keys_of(rows)
        expected = {tuple(str(row[key]) for key in keys): row for row in rows}
        found = {
            tuple(str(row[key]) for key in keys): row for row in raw_table(stack, source, table)
        }
        assert expected
        assert found.keys() == expected.keys(), table
        compared = found[next(iter(found))].keys() & expected[next(iter(expected))].keys()
        assert len(compared) >= min(len(rows[0]), 3)
        different = [
            (key, column, found[key][column], row[column])
            for key, row in expected.items()
            for column in compared & row.keys() - {"type"}
            if not same(column, found[key][column], row[column])
        ]
        assert different == [], table


def keys_of(rows: list[Row]) -> tuple[str, ...]:
    if "id" in rows[0]:
        return ("id",)
    return tuple(name for name in ("version", "idea_id", "voter_id") if name in rows[0])


def test_there_is_an_example_of_each_kind_of_source() -> None:
    taps = {
        path.name.partition(".")[0]: yaml.safe_load(path.read_text())["plugins"]["extractors"][0]
        for path in EXAMPLES.glob("*.meltano.yml")
    }

    assert set(taps) == set(SOURCES)
    assert {tap.get("inherit_from") for tap in taps.values()} == {
        "tap-postgres-arrow",
        "tap-airbyte-manifest",
        None,  # from PyPI
    }
    assert all(tap["load_schema"] == tap["namespace"] == source for source, tap in taps.items())


def test_one_file_is_all_that_a_whole_job_needs(project: Stack, first_job: str) -> None:
    check_equal(project, "surveys")
    built = set(re.findall(r"OK created sql \w+ model dbt\.(\w+)", first_job))
    assert built <= OPS, "dbt has built what there is no staging for"
    assert "2 raw tables of Surveys" in first_job
    (database,) = project.metabase("database")["data"]
    metadata = project.metabase(f"database/{database['id']}/metadata")
    tables = {(table["schema"], table["name"]) for table in metadata["tables"]}
    assert {("surveys", "responses"), ("surveys", "surveys")} <= tables


@pytest.mark.parametrize("source", SOURCES)
def test_every_row_of_the_source_arrives(loaded: Stack, source: str) -> None:
    check_equal(loaded, source)


@pytest.mark.parametrize("source", CHANGING)
def test_a_day_later_only_what_has_changed_is_asked_for(
    loaded: Stack, day_later: DayLater, source: str
) -> None:
    check_equal(loaded, source)
    table = CHANGING[source]
    asked = [
        dict(request["query"])
        for request in day_later.requests
        if request["tool"] == source and request["path"].endswith(f"/{table}")
    ]
    assert len(asked) == (6 if source == "uptime" else 1), "more than a page, of each check"
    assert all({"since", "updated_since", "updated_after"} & query.keys() for query in asked)
    ids = sorted(row["id"] for row in last_load(loaded, source, table))
    assert set(day_later.changed[source]) <= set(ids)
    # Together with those of the second in which the last load ended, which are asked for again.
    assert len(ids) < len(raw_table(loaded, source, table)) / 10


def test_a_day_later_the_database_is_equal_again_and_knows_what_was_deleted(
    loaded: Stack, day_later: DayLater
) -> None:
    assert day_later.requests
    check_equal(loaded, "feedback")
    for table in ("ideas", "comments"):
        (row,) = loaded.query(
            f"select count(*) as n from feedback.{table} where _sdc_deleted_at is not null"
        )
        assert row["n"] > 0
    assert "body" not in raw_table(loaded, "feedback", "comments")[0]


@pytest.fixture(scope="module")
def gone(loaded: Stack, day_later: DayLater) -> set[int]:
    """Issues that GitHub doesn't have any more, and that no answer to "what has changed" tells."""
    assert day_later.requests
    ids = {body["id"] for body in documents(loaded, "github").of("issue")[:3]}
    with psycopg.connect(loaded.status["postgres"]["dsn"]) as connection:
        issues = Documents.load(connection, "github")
        for id_ in ids:
            issues.delete("issue", str(id_))
        issues.save(connection)
    return ids


@pytest.fixture
def newest_is_bad(loaded: Stack) -> Iterator[None]:
    """Let the tap break down at the last issue that it reads."""
    issues = documents(loaded, "github")
    good = max(issues.of("issue"), key=lambda body: (body["updated_at"], body["id"]))
    at = issues.changed_at("issue", str(good["id"]))
    for body in ({**good, "body": 5}, good):
        issues.put("issue", body, at)
        with psycopg.connect(loaded.status["postgres"]["dsn"]) as connection:
            issues.save(connection)
        if body is not good:
            yield


def marked(stack: Stack) -> set[int]:
    rows = stack.query("select id from github.issues where _sdc_deleted_at is not null")
    return {row["id"] for row in rows}


@pytest.mark.usefixtures("newest_is_bad")
def test_a_tap_that_breaks_down_proves_no_delete(loaded: Stack, gone: set[int]) -> None:
    output = loaded.meltano(*IN_FULL, fails=True)
    assert output.count("counts as deleted: nothing has said that the extractor read to the") == 1
    assert re.search(r"issues: [1-9]\d* rows received, [1-9]\d* loaded", output)
    assert gone
    assert marked(loaded) == set()


def test_a_tap_that_is_killed_proves_no_delete(loaded: Stack, gone: set[int]) -> None:
    asked = len(loaded.requests())
    loaded.sandbox("fault", "github", "slow")
    run = loaded.start(*IN_FULL)
    tap = wait_for(run, "bin/singer-completed")
    while sum(request["path"].endswith("/issues") for request in loaded.requests(asked)) < 1:
        assert run.poll() is None
        time.sleep(0.1)
    os.kill(tap, signal.SIGKILL)
    loaded.sandbox("fault", "github", "off")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert output.count("counts as deleted: nothing has said that the extractor read to the") == 1
    assert gone
    assert marked(loaded) == set()


def test_deletes_have_their_limit(loaded: Stack, gone: set[int]) -> None:
    output = loaded.meltano(*IN_FULL, fails=True, TARGET_GITHUB_MAX_DELETE_FRACTION="0.001")
    assert f"{len(gone)} of its" in output
    assert "more than `max_delete_fraction` (0.001) allows" in output
    assert "counts as deleted" not in output
    assert marked(loaded) == set()


def test_what_a_tap_no_longer_finds_is_marked_once_it_has_read_everything(
    loaded: Stack, gone: set[int]
) -> None:
    loaded.meltano(*IN_FULL)
    assert marked(loaded) == gone
    check_equal(loaded, "github")


def test_personal_data_is_hashed_once_the_example_s_comment_is_taken_away(
    loaded: Stack, day_later: DayLater
) -> None:
    assert day_later.requests
    file = loaded.root / "extract/surveys.meltano.yml"
    commented = file.read_text()
    file.write_text(re.sub(r"(?m)^( +)# (?=stream_maps:|  )", r"\1", commented))
    loaded.meltano(
        *("run", "--state-id-suffix", "hashed", "tap-surveys", "target-surveys"),
        TARGET_SURVEYS_DATASET="surveys_hashed",
    )
    file.write_text(commented)

    rows = loaded.query("select * from surveys_hashed.responses")
    emails = {
        body["id"]: hashlib.md5(body["respondent"]["email"].encode()).hexdigest()
        for body in documents(loaded, "surveys").of("response")
    }
    assert {row["id"]: row["respondent_email"] for row in rows} == emails
    assert "respondent" not in rows[0]


def test_a_source_is_gone_with_its_file(loaded: Stack, day_later: DayLater) -> None:
    assert day_later.requests
    ours = {f"{source}-daily" for source in ("product", "close", "intercom", "stripe")}
    ours |= {"close-weekly", "intercom-weekly"}
    left = {f"{source}-daily" for source in SOURCES} | {"github-weekly"}
    assert jobs(loaded) == ours | left
    for source in SOURCES:
        for path in (loaded.root / "extract").glob(f"{source}.*"):
            path.unlink()
        left -= {f"{source}-daily", f"{source}-weekly"}
        assert jobs(loaded) == ours | left
    loaded.meltano("run", "tap-product", "target-bigquery", "--dry-run")


def last_load(stack: Stack, source: str, table: str) -> list[Row]:
    return stack.query(
        f"select id from {source}.{table} "
        f"where _sdc_batched_at >= (select max(_sdc_batched_at) from {source}.{table})"
    )


def jobs(stack: Stack) -> set[str]:
    listed = stack.meltano("--log-level=error", "schedule", "list", "--format=json")
    return {schedule["name"] for schedule in json.loads(listed)["schedules"]["job"]}
