"""A small API on loopback, which pages, filters and packs its items in many ways."""

import csv
import gzip
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Item = dict[str, Any]
PAGE = 20
GROUPS = ("red", "green", "blue")


def moment(day: int) -> str:
    return (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass
class Answer:
    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Api:
    """The API's items, and what it was asked.

    Attributes:
        items: by id.
        faults: answers instead of the usual ones, by path.
        requests: what came.
        refresh_token: the one that is good now; it changes with each use.
    """

    def __init__(self) -> None:
        self.items: dict[int, Item] = {
            number: {
                "id": number,
                "name": f"Item {number}",
                "group": GROUPS[number % 3],
                "amount": number * 1.5,
                "updated_at": moment(number),
                "tags": [f"tag {number}"],
            }
            for number in range(1, 61)
        }
        self.faults: dict[str, Callable[[Request], Answer]] = {}
        self.requests: list[Request] = []
        self.refresh_token = "first-refresh-token"
        self.url = ""
        self._lock = threading.Lock()

    def change(self) -> None:
        """Change one item and add one."""
        self.items[7] |= {"name": "Changed", "updated_at": moment(90)}
        self.items[61] = self.items[7] | {"id": 61, "name": "New", "updated_at": moment(91)}

    @property
    def rows(self) -> list[Item]:
        return list(self.items.values())

    def asked(self, path: str) -> list[dict[str, str]]:
        return [request.query for request in self.requests if request.path == path]

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
        if fault := self.faults.get(request.path):
            return fault(request)
        name, *rest = request.path.strip("/").split("/")
        return getattr(self, f"serve_{name}", self._missing)(request, *rest)

    @staticmethod
    def _missing(_: Request, *__: str) -> Answer:
        return Answer({"error": "no such path"}, 404)

    def _between(self, request: Request) -> list[Item]:
        since, until = request.query.get("since", ""), request.query.get("until", "9")
        return sorted(
            (row for row in self.rows if since <= row["updated_at"] <= until),
            key=lambda row: (row["updated_at"], row["id"]),
        )

    def serve_offset(self, request: Request) -> Answer:
        start = int(request.query.get("offset", 0))
        return Answer({"data": self._between(request)[start : start + PAGE]})

    def serve_page(self, request: Request) -> Answer:
        start = (int(request.query.get("page", 1)) - 1) * PAGE
        return Answer(self._between(request)[start : start + PAGE])

    def serve_cursor(self, request: Request) -> Answer:
        start = int(request.query.get("after", 0))
        following = start + PAGE if start + PAGE < len(self.rows) else None
        return Answer({"data": self.rows[start : start + PAGE], "next": following})

    def serve_link(self, request: Request) -> Answer:
        start = int(request.query.get("at", 0))
        more = start + PAGE < len(self.rows)
        link = f'<{self.url}/link?at={start + PAGE}>; rel="next"'
        return Answer(self.rows[start : start + PAGE], headers={"Link": link} if more else {})

    def serve_body(self, request: Request) -> Answer:
        start = json.loads(request.body or b"{}").get("skip", 0)
        return Answer({"found": {"items": self.rows[start : start + PAGE]}})

    def serve_item(self, request: Request, number: str) -> Answer:
        rows = [row for row in self._between(request) if row["id"] == int(number)]
        return Answer({"data": rows})

    def serve_groups(self, _: Request, group: str = "", *__: str) -> Answer:
        if group:
            return Answer({"data": [row for row in self.rows if row["group"] in group.split(",")]})
        return Answer({"data": [{"code": code} for code in GROUPS]})

    def serve_in(self, request: Request) -> Answer:
        rows = [row for row in self._between(request) if row["group"] in request.query["group"]]
        return Answer({"data": rows})

    def serve_tables(self, _: Request, table: str = "", what: str = "") -> Answer:
        if what == "columns":
            kinds = {"id": "whole", "name": "text", "amount": "decimal", "updated_at": "moment"}
            return Answer({"columns": [{"name": n, "kind": k} for n, k in kinds.items()]})
        if table:
            return self.serve_groups(_, table)
        return Answer({"data": [{"code": code} for code in GROUPS]})

    def serve_changes(self, request: Request) -> Answer:
        return Answer({"data": self._between(request)})

    def serve_lines(self, _: Request) -> Answer:
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in self.rows)
        return Answer(lines, content_type="application/x-ndjson")

    def serve_csv(self, _: Request) -> Answer:
        return Answer(self._csv(), content_type="text/csv")

    def serve_packed(self, _: Request) -> Answer:
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in self.rows)
        return Answer(gzip.compress(lines), content_type="application/gzip")

    def _csv(self) -> bytes:
        file = io.StringIO()
        writer = csv.DictWriter(file, ["id", "name", "amount"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        return file.getvalue().encode()

    def serve_jobs(self, request: Request, job: str = "", what: str = "") -> Answer:
        if request.method == "POST":
            return Answer({"id": "job-1"})
        if what == "file":
            return Answer(self._csv(), content_type="text/csv")
        asked = len(self.asked(f"/jobs/{job}"))
        status = "done" if asked > 1 else "running"
        return Answer({"status": status, "url": f"{self.url}/jobs/{job}/file"})

    def serve_token(self, request: Request) -> Answer:
        if request.form.get("refresh_token") != self.refresh_token:
            return Answer({"error": "invalid_grant"}, 400)
        self.refresh_token = f"refresh-token-{len(self.asked('/token'))}-of-a-secret"
        token = {"access_token": f"access-for-{self.refresh_token}", "expires_in": 1}
        return Answer(token | {"refresh_token": self.refresh_token})

    def serve_guarded(self, request: Request) -> Answer:
        if request.headers.get("Authorization") != f"Bearer access-for-{self.refresh_token}":
            return Answer({"message": "expired"}, 401)
        return Answer({"data": self.rows})


@contextmanager
def served(api: Api) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else each answer waits until the client has acknowledged its head.
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            answer = api.answer(
                Request(
                    self.command,
                    url.path,
                    dict(parse_qsl(url.query)),
                    dict(self.headers),
                    self.rfile.read(length),
                )
            )
            self.send_response(answer.status)
            headers = {"Content-Type": answer.content_type, "Content-Length": len(answer.raw)}
            for name, value in (headers | answer.headers).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(answer.raw)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield api
        finally:
            server.shutdown()
