"""A REST API becomes a source from an example URL: what is proposed, the real tap can read."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from stack.new_source import rest, source_file
from stack.new_source.source_file import Draft
from stack.terminal import StackError

from .paged_api import COUNT, DOCUMENTS, TOKEN, Api, running_api

ROOT = Path(__file__).resolve().parents[5]
TAP = ROOT / ".meltano/extractors/tap-rest-api-msdk/venv/bin/tap-rest-api-msdk"
BEARER = {"Authorization": TOKEN}


@pytest.fixture(scope="module", name="api")
def api_of_the_module() -> Iterator[Api]:
    with running_api() as api:
        yield api


def options(**changed: Any) -> rest.Options:
    nothing: dict[str, Any] = {"headers": {}, "path": {}, "key": {}, "replication_key": {}}
    return rest.Options(**{**nothing, **changed})


def draft(*urls: str, **changed: Any) -> Draft:
    return rest.draft("wiki", urls, options(**changed), {})


def config(draft: Draft) -> dict[str, Any]:
    """The settings in the file that would be written, their variables filled in."""
    written = yaml.safe_load(source_file.text(draft, "0 6 * * *"))
    text = json.dumps(written["plugins"]["extractors"][0]["config"])
    for variable in draft.variables:
        text = text.replace(f"${{{variable.name}}}", variable.value or "")
    found: dict[str, Any] = json.loads(text)
    return found


def messages(draft: Draft, folder: Path) -> list[dict[str, Any]]:
    """What the tap says under the proposed settings."""
    file = folder / "config.json"
    file.write_text(json.dumps(config(draft)))
    done = subprocess.run([TAP, "--config", file], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def records(draft: Draft, folder: Path) -> list[dict[str, Any]]:
    return [m["record"] for m in messages(draft, folder) if m["type"] == "RECORD"]


@pytest.mark.parametrize(
    ("way", "style"),
    [
        ("cursor?limit=10", "jsonpath_paginator"),
        ("next_url?limit=10", "jsonpath_paginator"),
        ("last_id?limit=10", "jsonpath_paginator"),
        ("pages", "page_number_paginator"),
        ("offset?limit=10", "simple_offset_paginator"),
        ("link?per_page=10", "page_number_paginator"),
        ("next_page_header", "simple_header_paginator"),
        ("bare", "page_number_paginator"),
        ("everything", "single_page_paginator"),
        # All of it is on the example's page: another, of one record less, shows how it goes on.
        ("short?limit=50", "jsonpath_paginator"),
    ],
)
def test_however_an_api_pages_the_tap_reads_each_document_once(
    api: Api, tmp_path: Path, way: str, style: str
) -> None:
    found = draft(api.url(f"/v1/{way}"))
    assert config(found)["pagination_request_style"] == style
    assert [row["id"] for row in records(found, tmp_path)] == [row["id"] for row in DOCUMENTS]


def test_columns_have_the_types_that_were_seen(api: Api, tmp_path: Path) -> None:
    found = draft(api.url("/v1/pages"))
    assert config(found)["streams"][0]["schema"]["properties"] == {
        "id": {"type": ["string", "null"]},
        "title": {"type": ["string", "null"]},
        "author_name": {"type": ["string", "null"]},
        "author_team_id": {"type": ["integer", "null"]},
        "tags": {"type": ["string", "null"], "contentMediaType": "application/json"},
        "score": {"type": ["number", "null"]},
        "is_public": {"type": ["boolean", "null"]},
        "published_on": {"type": ["string", "null"], "format": "date"},
        "updated_at": {"type": ["string", "null"], "format": "date-time"},
        "created": {"type": ["integer", "null"]},
        "email_address": {"type": ["string", "null"]},
        "retired": {},
    }
    row = records(found, tmp_path)[1]
    assert {**row, "tags": json.loads(row["tags"])} == {
        "id": "doc_1",
        "title": "Title 1",
        "author_name": "Ä",
        "author_team_id": 1,
        "tags": ["a", {"n": 1}],
        "score": 1,
        "is_public": False,
        "published_on": "2025-01-02",
        "updated_at": "2025-03-02T10:00:00Z",
        "created": 1_740_000_001,
        "email_address": "u1@example.com",
        "retired": None,
    }
    assert set(found.personal["pages"]) == {"author_name", "email_address"}


def test_a_date_in_the_example_url_is_where_each_run_begins(api: Api, tmp_path: Path) -> None:
    found = draft(api.url("/v1/cursor?limit=2&updated_since=2025-03-20"))
    stream = config(found)["streams"][0]
    assert (stream["replication_key"], stream["params"]) == ("updated_at", {"limit": 2})
    said = messages(found, tmp_path)
    rows = [message["record"]["id"] for message in said if message["type"] == "RECORD"]
    assert rows == [row["id"] for row in DOCUMENTS[19:]]
    (bookmark,) = said[-1]["value"]["bookmarks"].values()
    assert bookmark["replication_key_value"] == DOCUMENTS[-1]["updated_at"]


def test_several_urls_are_several_streams_with_one_secret(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [
        api.url("/secured/cursor?limit=10&api_key=s3cret-key"),
        api.url("/secured/short?limit=9"),
    ]
    found = draft(*urls[:1], headers=BEARER)
    text = source_file.text(found, "0 6 * * *")
    assert {variable.name: variable.value for variable in found.variables} == {
        "WIKI_API_URL": api.url(""),
        "WIKI_TOKEN": "tok-1234",
        "WIKI_API_KEY": "s3cret-key",
    }
    assert "Bearer ${WIKI_TOKEN}" in text
    assert not re.search("tok-1234|s3cret-key", text + capsys.readouterr().out)
    assert len(records(found, tmp_path)) == COUNT

    with pytest.raises(StackError, match="Make a source of each"):
        draft(*urls, headers=BEARER)
    streams = config(draft(api.url("/v1/cursor"), urls[0], headers=BEARER))["streams"]
    assert [stream["name"] for stream in streams] == ["v1_cursor", "secured_cursor"]


def test_a_header_may_name_a_variable_that_is_there_already(api: Api) -> None:
    urls = [api.url("/secured/pages")]
    named = options(headers={"Authorization": "Bearer ${MINE}"})
    found = rest.draft("wiki", urls, named, {"MINE": "tok-1234"})
    assert "Bearer ${MINE}" in source_file.text(found, "0 6 * * *")
    with pytest.raises(StackError, match="MINE isn't set"):
        rest.draft("wiki", urls, named, {})


@pytest.mark.parametrize(
    ("path", "changed", "said"),
    [
        ("/v1/no_list", {}, r'no list of objects.*"status": "ok".*--records \'\$\.data\''),
        ("/v1/pages", {"path": {None: "$.nothing"}}, r"no objects at \$\.nothing"),
        ("/v1/pages", {"path": {None: "$["}}, r"isn't a JSONPath"),
        ("/v1/no_key", {}, "--key no_key=a,b.*day, team, hours"),
        ("/v1/pages", {"key": {None: "is_public"}}, "can't be the key"),
        ("/v1/pages", {"key": {None: "nr"}}, "no 'nr' to be a key.*id, title"),
        ("/v1/pages", {"replication_key": {None: "changed"}}, "no 'changed' to replicate by"),
        ("/secured/pages", {}, "401.*who are you.*--header"),
        ("/fault/500", {}, "500"),
        ("/fault/html", {}, "text/html, not JSON.*Log in"),
        ("/v1/link_cursor", {}, "Link header with token.*--one-page"),
        ("/v1/endless?limit=10", {}, "page 1,000,000 has records too"),
    ],
)
def test_what_cannot_be_a_stream_is_an_error_with_the_fix(
    api: Api, path: str, changed: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(StackError) as error:
        draft(api.url(path), **changed)
    assert re.search(said, error.value.message, re.DOTALL), error.value.message


def test_an_api_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(StackError, match=r"127\.0\.0\.1:9 can't be reached: .*refused"):
        draft("http://127.0.0.1:9/v1/pages")


def test_what_the_user_says_goes_before_the_proposal(api: Api) -> None:
    said: dict[str, Any] = {"key": {"no_key": "day,team"}, "path": {None: "$"}, "one_page": True}
    found = draft(api.url("/v1/no_key"), **said)
    assert config(found)["pagination_request_style"] == "single_page_paginator"
    (stream,) = config(found)["streams"]
    assert (stream["records_path"], stream["primary_keys"]) == ("$[*]", ["day", "team"])
