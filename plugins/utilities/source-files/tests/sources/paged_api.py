"""A small API on this machine that has the same documents behind every way of paging."""

# ruff: noqa: ARG001 - each way of paging takes the same arguments

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

COUNT = 23
TOKEN = "Bearer tok-1234"

Query = dict[str, str]
Page = tuple[Any, dict[str, str]]


def document(number: int) -> dict[str, Any]:
    return {
        "id": f"doc_{number}",
        "title": f"Title {number}",
        "author": {"name": "Ä", "team": {"id": number % 3}} if number % 4 else None,
        "tags": ["a", {"n": number}],
        "score": number if number % 2 else number + 0.5,
        "is_public": number % 2 == 0,
        "published_on": "2025-01-02",
        "updated_at": f"2025-03-{number + 1:02}T10:00:00Z",
        "created": 1_740_000_000 + number,
        "email-address": f"u{number}@example.com",
        "retired": None,
    }


DOCUMENTS = [document(number) for number in range(COUNT)]


@dataclass
class Api:
    """The server; `asked` are the paths and queries that it was asked for."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def number(query: Query, name: str, default: int) -> int:
    return int(query.get(name, default))


def size(query: Query) -> int:
    given = query.get("limit") or query.get("per_page") or 10
    return min(int(given), 15)


def cut(start: int, query: Query) -> list[dict[str, Any]]:
    return DOCUMENTS[start : start + size(query)]


def cursor(query: Query, url: str) -> Page:
    since = query.get("updated_since", "")
    if since.isdigit():
        since = datetime.fromtimestamp(int(since), UTC).isoformat().replace("+00:00", "Z")
    rows = [row for row in DOCUMENTS if row["updated_at"] >= since]
    start = number(query, "cursor", 0)
    end = start + size(query)
    following = str(end) if end < len(rows) else None
    return {"data": rows[start:end], "meta": {"next_cursor": following, "count": len(rows)}}, {}


def next_url(query: Query, url: str) -> Page:
    start = number(query, "from", 0)
    end = start + size(query)
    following = f"{url}?{urlencode({'limit': size(query), 'from': end})}" if end < COUNT else None
    return {"links": {"next": following}, "results": cut(start, query)}, {}


def last_id(query: Query, url: str) -> Page:
    ids = [row["id"] for row in DOCUMENTS]
    after = query.get("starting_after")
    start = ids.index(after) + 1 if after else 0
    return {
        "object": "list",
        "has_more": start + size(query) < COUNT,
        "data": cut(start, query),
    }, {}


def pages(query: Query, url: str) -> Page:
    page = number(query, "page", 1)
    total = -(-COUNT // size(query))
    return {"page": page, "total_pages": total, "items": cut((page - 1) * size(query), query)}, {}


def offset(query: Query, url: str) -> Page:
    start = number(query, "offset", 0)
    return {"total": COUNT, "offset": start, "limit": size(query), "rows": cut(start, query)}, {}


def link(query: Query, url: str) -> Page:
    page = number(query, "page", 1)
    following = urlencode({"page": page + 1, "per_page": size(query)})
    more = page * size(query) < COUNT
    headers = {"Link": f'<{url}?{following}>; rel="next"'} if more else {}
    return cut((page - 1) * size(query), query), headers


def link_cursor(query: Query, url: str) -> Page:
    start = number(query, "token", 7) - 7
    headers = {"Link": f'<{url}?token={start + 17}>; rel="next"'} if start + 10 < COUNT else {}
    return DOCUMENTS[start : start + 10], headers


def bare(query: Query, url: str) -> Page:
    """Numbered pages, of which nothing in the answer tells."""
    return cut((number(query, "page", 1) - 1) * size(query), query), {}


def strict(query: Query, url: str) -> Page:
    """Numbered pages, of which one beyond the last is an error."""
    long = number(query, "limit", 10)
    start = (number(query, "page", 1) - 1) * long
    if start >= COUNT:
        raise LookupError
    return DOCUMENTS[start : start + long], {}


def everything(query: Query, url: str) -> Page:
    return {"meta": {"version": 3}, "documents": DOCUMENTS}, {}


def short(query: Query, url: str) -> Page:
    """A cursor, though so far all fits on the example's page."""
    start = number(query, "cursor", 0)
    end = start + number(query, "limit", 50)
    return {"data": DOCUMENTS[start:end], "next": str(end) if end < COUNT else None}, {}


def last(query: Query, url: str) -> Page:
    """A page that is the last one, however long a page may be."""
    return {"data": DOCUMENTS, "paging": {"has_more": False}}, {}


def no_list(query: Query, url: str) -> Page:
    return {"status": "ok", "config": {"a": 1, "names": ["x"]}}, {}


def no_key(query: Query, url: str) -> Page:
    return [{"day": "2025-01-01", "team": team, "hours": 8} for team in "ab"], {}


WAYS: dict[str, Callable[[Query, str], Page]] = {
    way.__name__: way
    for way in (
        *(cursor, next_url, last_id, pages, offset, link, link_cursor, bare),
        *(strict, everything, short, last, no_list, no_key),
    )
}


@contextmanager
def running_api() -> Iterator[Api]:
    """Run it: /v1/<way> pages in its way, /secured/<way> wants a token, /fault/… fails."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append(self.path)
            parts = urlsplit(self.path)
            _, root, way = parts.path.split("/")
            if root == "fault":
                self.answer(500 if way == "500" else 200, b"<html>Log in</html>", "text/html", {})
            elif root == "secured" and self.headers["Authorization"] != TOKEN:
                self.answer(401, b'{"error": "who are you?"}', "application/json", {})
            else:
                try:
                    body, headers = WAYS[way](dict(parse_qsl(parts.query)), api.url(parts.path))
                except LookupError:
                    self.answer(404, b"{}", "application/json", {})
                else:
                    self.answer(200, json.dumps(body).encode(), "application/json", headers)

        def answer(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            lengths = {"Content-Type": kind, "Content-Length": str(len(body))}
            for name, value in (headers | lengths).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield api
        server.shutdown()
