"""A REST API becomes a manifest from an example URL, and the tap reads all of the API by it."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from source_files.new_source import rest
from stack.terminal import StackError

from .paged_api import COUNT, DOCUMENTS, TOKEN, Api, running_api

ROOT = Path(__file__).resolve().parents[5]
TAP = ROOT / ".meltano/extractors/tap-airbyte-manifest/venv/bin/tap-airbyte-manifest"
BEARER = {"Authorization": TOKEN}


@pytest.fixture(scope="module", name="api")
def api_of_the_module() -> Iterator[Api]:
    with running_api() as api:
        yield api


def propose(*urls: str, known: Mapping[str, str] | None = None, **said: Any) -> "Proposal":
    return Proposal(*rest.propose(urls, rest.Options(**said), known or {}))


class Proposal:
    """A manifest, and the values of its settings."""

    def __init__(self, text: str, settings: Mapping[str, str]) -> None:
        self.text = text
        self.settings = settings
        self.streams = yaml.safe_load(text)["streams"]

    def messages(self, folder: Path) -> list[dict[str, Any]]:
        """What the tap says."""
        file = folder / "config.json"
        file.write_text(json.dumps({"manifest": self.text, "config": self.settings}))
        done = subprocess.run([TAP, "--config", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    def records(self, folder: Path) -> list[dict[str, Any]]:
        said = self.messages(folder)
        return [message["record"] for message in said if message["type"] == "RECORD"]


WAYS = {
    "cursor?limit=10": "CursorPagination",
    "next_url?limit=10": "CursorPagination",
    "last_id?limit=10": "CursorPagination",
    "link?per_page=10": "CursorPagination",
    "link_cursor": "CursorPagination",
    "pages": "PageIncrement",
    "bare": "PageIncrement",
    "strict?limit=50": "PageIncrement",
    "offset?limit=10": "OffsetIncrement",
    "everything": None,
    # All of it is on the example's page: another, of one record less, shows how it goes on.
    "short?limit=50": "CursorPagination",
}


@pytest.fixture(scope="module")
def each_way(
    api: Api, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Any, list[str]]]:
    """Each stream's strategy and the ids that were read, of a source that pages in every way."""
    found = propose(*(api.url(f"/v1/{way}") for way in WAYS))
    said = found.messages(tmp_path_factory.mktemp("ways"))
    records = [message for message in said if message["type"] == "RECORD"]
    paginators = {one["name"]: one["retriever"].get("paginator") for one in found.streams}
    return {
        name: (
            paginator and paginator["pagination_strategy"]["type"],
            [one["record"]["id"] for one in records if one["stream"] == name],
        )
        for name, paginator in paginators.items()
    }


@pytest.mark.parametrize("way", WAYS)
def test_however_an_api_pages_the_tap_reads_each_document_once(
    each_way: dict[str, tuple[Any, list[str]]], way: str
) -> None:
    ids = [row["id"] for row in DOCUMENTS]
    assert each_way[way.partition("?")[0]] == (WAYS[way], ids)


def test_pages_of_which_one_beyond_the_last_is_an_error_end_before_it(
    api: Api, tmp_path: Path
) -> None:
    found = propose(api.url("/v1/strict"))
    assert len(found.records(tmp_path)) == COUNT


def test_columns_have_the_types_that_were_seen(api: Api, tmp_path: Path) -> None:
    found = propose(api.url("/v1/pages"))
    text = {"type": ["string", "null"]}
    assert found.streams[0]["schema_loader"]["schema"]["properties"] == {
        "id": text,
        "title": text,
        "author": {
            "type": ["object", "null"],
            "properties": {
                "name": text,
                "team": {
                    "type": ["object", "null"],
                    "properties": {"id": {"type": ["integer", "null"]}},
                },
            },
        },
        "tags": {"type": ["array", "null"], "items": {}},
        "score": {"type": ["number", "null"]},
        "is_public": {"type": ["boolean", "null"]},
        "published_on": text | {"format": "date"},
        "updated_at": text | {"format": "date-time"},
        "created": {"type": ["integer", "null"]},
        "email-address": text,
        "retired": {},
    }
    assert found.records(tmp_path) == DOCUMENTS


@pytest.mark.parametrize(
    ("since", "bookmark"),
    [
        ("2025-03-20T10:00:00Z", "2025-03-23T10:00:00Z"),
        ("2025-03-20", "2025-03-23"),
        ("1742464800", "1742724000"),
    ],
)
def test_a_date_in_the_example_url_is_where_each_run_begins(
    api: Api, tmp_path: Path, since: str, bookmark: str
) -> None:
    found = propose(api.url(f"/v1/cursor?limit=2&updated_since={since}"))
    parameters = found.streams[0]["retriever"]["requester"]["request_parameters"]
    assert parameters == {"limit": "2"}
    said = found.messages(tmp_path)
    rows = [message["record"]["id"] for message in said if message["type"] == "RECORD"]
    assert rows == [row["id"] for row in DOCUMENTS[19:]]
    state = said[-1]["value"]["bookmarks"]["cursor"]["airbyte_state"]
    assert state == {"updated_at": bookmark}


def test_several_urls_are_several_streams_with_one_secret(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [api.url("/secured/pages?api_key=s3cret-key"), api.url("/secured/short?limit=9")]
    found = propose(*urls, headers=BEARER)
    assert found.settings == {"token": "tok-1234", "api_key": "s3cret-key"}
    assert not re.search("tok-1234|s3cret-key", found.text + capsys.readouterr().out)
    assert len(found.records(tmp_path)) == 2 * COUNT
    of_one_name = propose(api.url("/v1/cursor"), api.url("/secured/cursor"), headers=BEARER)
    assert [one["name"] for one in of_one_name.streams] == ["v1_cursor", "secured_cursor"]


def test_a_header_may_name_a_variable_that_is_there_already(api: Api) -> None:
    url, headers = api.url("/secured/pages"), {"Authorization": "Bearer ${MINE}"}
    found = propose(url, headers=headers, known={"MINE": "tok-1234"})
    assert found.settings == {"token": "${MINE}"}
    with pytest.raises(StackError, match="MINE isn't set"):
        propose(url, headers=headers)


@pytest.mark.parametrize(
    ("path", "said", "message"),
    [
        (
            "/v1/no_list",
            {},
            r"no list of objects.*--records data.*status, config\.a, config\.names",
        ),
        ("/v1/pages", {"records": "nothing"}, "no list of objects at nothing"),
        ("/v1/no_key", {}, "looks like a key of 'no_key'.*--key a,b.*day, team, hours"),
        ("/v1/pages", {"key": "is_public"}, "'is_public' isn't a key"),
        ("/v1/pages", {"key": "nr"}, "'nr' isn't a key.*id, title"),
        (
            "/v1/cursor?updated_since=2025-01-01",
            {"replication_key": "title"},
            "'title' isn't a date or time",
        ),
        ("/v1/last", {}, r"`paging\.has_more` is empty here.*shorter page.*--one-page"),
        ("/secured/pages", {}, "401.*who are you.*--header"),
        ("/fault/500", {}, "500"),
        ("/fault/html", {}, "text/html, not JSON.*Log in"),
    ],
)
def test_what_cannot_be_a_stream_is_an_error_with_the_fix(
    api: Api, path: str, said: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(StackError) as error:
        propose(api.url(path), **said)
    assert re.search(message, error.value.message), error.value.message


def test_an_api_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(StackError, match=r"127\.0\.0\.1:9 can't be reached: .*refused"):
        propose("http://127.0.0.1:9/v1/pages")


def test_two_apis_and_a_password_in_a_url_are_refused() -> None:
    with pytest.raises(StackError, match="Make a source of each"):
        propose("https://a.example.com/v1/x", "https://b.example.com/v1/y")
    with pytest.raises(StackError, match="holds a user or a password"):
        propose("https://user:secret@a.example.com/v1/x")


def test_what_the_user_says_goes_before_the_guess(api: Api, tmp_path: Path) -> None:
    found = propose(api.url("/v1/bare"), key="title,created", records="$[*]", one_page=True)
    assert found.streams[0]["primary_key"] == ["title", "created"]
    assert len(found.records(tmp_path)) == 10
