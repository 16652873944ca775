"""Bringing in a source takes one command and one file, be it a database or an API."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ..stack import Stack, copy_of_the_project
from . import unseen
from .unseen import Database

KEY = "key-4711"
PAGES = [
    {
        "id": f"p{number}",
        "title": f"Page {number}",
        "author": {"id": number % 3, "email": f"u{number}@example.com"},
        "labels": ["a", "b"],
        "views": number * 1000,
        "updated_at": f"2025-04-{number + 1:02}T08:00:00Z",
        "archived_at": None,
    }
    for number in range(25)
]
PAGE_COLUMNS = ("id", "title", "author", "labels", "views")
MANIFEST = """
version: 6.0.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [pages]}
streams:
- type: DeclarativeStream
  name: pages
  primary_key: [id]
  retriever:
    type: SimpleRetriever
    requester:
      type: HttpRequester
      url: '{{ config["url"] }}/api/pages'
      authenticator:
        type: ApiKeyAuthenticator
        api_token: '{{ config["key"] }}'
        inject_into: {type: RequestOption, inject_into: header, field_name: X-Api-Key}
    record_selector:
      type: RecordSelector
      extractor: {type: DpathExtractor, field_path: [pages]}
    paginator:
      type: DefaultPaginator
      page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: cursor}
      pagination_strategy:
        type: CursorPagination
        cursor_value: '{{ response["next_cursor"] }}'
        stop_condition: '{{ not response["next_cursor"] }}'
  incremental_sync:
    type: DatetimeBasedCursor
    cursor_field: updated_at
    datetime_format: '%Y-%m-%dT%H:%M:%SZ'
    start_datetime:
      type: MinMaxDatetime
      datetime: '{{ config["since"] }}'
      datetime_format: '%Y-%m-%d'
    start_time_option:
      type: RequestOption
      inject_into: request_parameter
      field_name: updated_since
  schema_loader:
    type: InlineSchemaLoader
    schema:
      type: object
      properties:
        id: {type: string}
        title: {type: string}
        author: {type: object, properties: {id: {type: integer}, email: {type: string}}}
        updated_at: {type: string, format: date-time}
spec:
  type: Spec
  connection_specification:
    type: object
    required: [url, key, since]
    properties:
      url: {type: string}
      key: {type: string, airbyte_secret: true}
      since: {type: string, format: date, default: '2025-01-01'}
"""


@contextmanager
def wiki() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An API with a key, a cursor and a filter by date: its address, and what it was asked."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: value for name, (value,) in parse_qs(urlsplit(self.path).query).items()}
            asked.append(query)
            rows = [page for page in PAGES if page["updated_at"] >= query.get("updated_since", "")]
            start, size = int(query.get("cursor", 0)), int(query.get("limit", 20))
            end = start + size if start + size < len(rows) else None
            body = json.dumps({"pages": rows[start : start + size], "next_cursor": end}).encode()
            self.send_response(200 if self.headers["X-Api-Key"] == KEY else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@dataclass
class NewSources:
    """A project that three sources were added to, and the log of their first jobs."""

    stack: Stack
    database: Database
    before: dict[str, bytes]
    after: dict[str, bytes]
    log: str
    asked: list[dict[str, str]]


@pytest.fixture(scope="module", name="sources")
def new_sources(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewSources]:
    folder = tmp_path_factory.mktemp("new-source")
    private = {
        "MELTANO_DATABASE_URI": f"sqlite:///{folder}/meltano.db",
        "DBT_TARGET_PATH": str(folder / "dbt"),
    }
    project = Stack(copy_of_the_project(folder / "project"), stack.environment | private)
    before = files(project.root)
    with unseen.running_database(folder) as database, wiki() as (address, asked):
        new_source = ("invoke", "stack", "new-source")
        project.meltano(*new_source, "shop", database.url)
        url = f"{address}/api/pages?limit=10&updated_since=2025-01-01"
        project.meltano(*new_source, "wiki", url, "--header", f"X-Api-Key: {KEY}")
        (folder / "notes.yaml").write_text(MANIFEST)
        settings = ("--set", f"url={address}", "--set", f"key={KEY}")
        project.meltano(*new_source, "notes", str(folder / "notes.yaml"), *settings)
        after = files(project.root)
        log = project.meltano("run", "shop-daily", "wiki-daily", "tap-notes", "target-notes")
        yield NewSources(project, database, before, after, log, asked)
    for dataset in ("shop", "wiki", "notes"):
        project.query(f"drop schema {dataset} cascade")


def files(root: Path) -> dict[str, bytes]:
    """The project's files, but for those that git ignores and what is shared."""
    found = (path for path in root.rglob("*") if path.is_file())
    own = {str(path.relative_to(root)): path for path in found}
    ignored = (".meltano", ".venv", "transform/target", "transform/logs")
    return {
        name: path.read_bytes()
        for name, path in own.items()
        if not name.startswith(ignored) and "__pycache__" not in name
    }


def test_one_file_a_source_is_added_and_its_values_to_env(sources: NewSources) -> None:
    changed = {name for name, text in sources.after.items() if sources.before.get(name) != text}
    names = ("shop.meltano.yml", "wiki.meltano.yml", "notes.meltano.yml", "notes.manifest.yaml")
    assert changed == {*(f"extract/{name}" for name in names), ".env"}
    assert sources.before.keys() <= sources.after.keys()
    assert sources.after[".env"].startswith(sources.before[".env"])


def test_no_secret_is_in_the_files_or_in_the_log(sources: NewSources) -> None:
    text = sources.log + "".join(
        text.decode() for name, text in sources.after.items() if name.startswith("extract/")
    )
    assert KEY not in text
    assert unseen.PASSWORD not in text


def test_all_that_was_selected_of_the_database_is_in_bigquery(sources: NewSources) -> None:
    raw = sources.stack.query("select table_name from shop.INFORMATION_SCHEMA.TABLES")
    assert {row["table_name"] for row in raw} == {*unseen.KEYS, "log_lines"}
    for table, key in unseen.KEYS.items():
        rows = sources.stack.query(f"select * from shop.`{table}` where _sdc_deleted_at is null")
        own = [
            {k: unseen.plain(v) for k, v in row.items() if not k.startswith("_sdc_")}
            for row in rows
        ]
        found = {tuple(row[column] for column in key): row for row in own}
        assert len(found) == len(rows), table
        assert found == sources.database.rows(table), table


def test_a_table_without_a_key_has_each_row_as_often_as_the_database(sources: NewSources) -> None:
    rows = sources.stack.query(
        "select line, count(*) as count from shop.log_lines where _sdc_deleted_at is null "
        "group by line"
    )
    assert rows == [{"line": "the same line", "count": 5}]


@pytest.mark.parametrize("dataset", ["wiki", "notes"])
def test_all_pages_of_the_api_are_in_bigquery(sources: NewSources, dataset: str) -> None:
    rows = sources.stack.query(f"select * from {dataset}.pages order by updated_at")
    assert [
        {**{name: row[name] for name in PAGE_COLUMNS}, "updated_at": row["updated_at"].isoformat()}
        for row in rows
    ] == [
        {
            **{name: page[name] for name in PAGE_COLUMNS},
            "updated_at": page["updated_at"].replace("Z", "+00:00"),
        }
        for page in PAGES
    ]


def test_a_stream_of_a_manifest_is_read_again_from_a_date_or_the_beginning(
    sources: NewSources,
) -> None:
    for command, count, since in (
        (("backfill", "notes", "pages", "--from", "2025-04-21"), 5, "2025-04-21"),
        (("resync", "notes", "pages"), len(PAGES), "2025-01-01"),
    ):
        before = len(sources.asked)
        said = sources.stack.meltano("invoke", "stack", *command)
        assert f"{count} rows were read. The table has {len(PAGES)} " in said
        assert {query["updated_since"][:10] for query in sources.asked[before:]} == {since}
    said = sources.stack.meltano("invoke", "stack", "streams", "notes")
    assert re.search(r"pages +incremental by updated_at +2025-04-25 08:00:00 +25 ", said)
    before = len(sources.asked)
    sources.stack.meltano("run", "tap-notes", "target-notes")
    assert [query["updated_since"] for query in sources.asked[before:]] == [PAGES[-1]["updated_at"]]


def test_check_and_new_staging_know_a_source_with_a_manifest(sources: NewSources) -> None:
    check = ("invoke", "stack", "check", "notes", "--json")
    checked = sources.stack.meltano("--log-level=error", *check)
    rows = [row for row in json.loads(checked) if row["group"] == "notes"]
    assert {row["name"]: row["ok"] for row in rows} == dict.fromkeys(
        ("settings", "streams", "keys", "reading"), True
    )
    sources.stack.meltano("invoke", "stack", "new-staging", "notes")
    model = sources.stack.root / "transform/models/staging/notes/stg_notes__pages.sql"
    assert "author" in model.read_text()
    shutil.rmtree(model.parent)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("shop", {}, "extract/shop.meltano.yml is there already"),
        ("other", {"reader:": "reader:wrong"}, "password authentication failed"),
    ],
)
def test_what_fails_leaves_everything_as_it_was(
    sources: NewSources, name: str, change: dict[str, str], said: str
) -> None:
    url = sources.database.url
    for old, new in change.items():
        url = url.replace(old, new)
    output = sources.stack.meltano("invoke", "stack", "new-source", name, url, fails=True)
    assert said in output
    assert files(sources.stack.root) == sources.after


def test_the_other_sources_do_not_miss_what_is_removed(sources: NewSources) -> None:
    (sources.stack.root / "extract/wiki.meltano.yml").unlink()
    jobs = sources.stack.meltano("job", "list")
    assert "shop-daily" in jobs
    assert "wiki-daily" not in jobs
