"""Metabase's REST API, as far as content needs it."""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import requests

Json = dict[str, Any]
PATHS = {
    "Collection": "/api/collection",
    "Segment": "/api/segment",
    "Card": "/api/card",
    "Dashboard": "/api/dashboard",
}
OLDEST = 57
"""v0.57 was the first to store queries as MBQL 5, as its API changelog says:
https://www.metabase.com/docs/latest/developers-guide/api-changelog
"""
ITEMS = {"card": "Card", "dataset": "Card", "metric": "Card", "dashboard": "Dashboard"}


class ApiError(Exception):
    """Metabase can't be reached, or refuses everything; the message says how to fix it."""


class Refused(Exception):  # noqa: N818 (what Metabase has done)
    """Metabase refuses one request, as its message says."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Metabase answers {status}: {message}")
        self.status = status


class Metabase:
    """Sends requests, and counts those that write."""

    def __init__(self, url: str, key: str, timeout: float = 60) -> None:
        """`timeout` is in seconds, for each request."""
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.writes = 0
        self.session = requests.Session()
        # Looking for a proxy and for .netrc at every request would take most of the time.
        self.settings = self.session.merge_environment_settings(self.url, {}, None, None, None)
        self.session.trust_env = False
        self.session.headers["X-API-KEY"] = key

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send a request and return the answer.

        Raises:
            ApiError: no connection, an unknown key.
            Refused: Metabase answers with an error, such as 403.
        """
        url = f"{self.url}{path}"
        try:
            answer = self.session.request(
                method,
                url,
                params=query,
                json=body,
                timeout=self.timeout,
                # Another host would get the key.
                allow_redirects=False,
                **self.settings,
            )
        except requests.RequestException as error:
            raise ApiError(
                f"Metabase at {self.url} can't be reached ({type(error).__name__})"
            ) from error
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise ApiError(f"Metabase at {self.url} doesn't know the API key")
        if answer.status_code == HTTPStatus.FORBIDDEN:
            raise Refused(
                answer.status_code,
                f"the API key has no right to {method} {path}. "
                "Use a key of the group Administrators",
            )
        if answer.is_redirect:
            raise ApiError(f"{self.url} leads to {answer.headers['Location']}: use that address")
        if not answer.ok:
            raise Refused(answer.status_code, reason(answer))
        if method != "GET":
            self.writes += 1
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise self.not_metabase() from None

    def not_metabase(self) -> ApiError:
        """Return the error of an address where something else answers."""
        return ApiError(f"{self.url} answers, and not as Metabase does")

    def check_version(self) -> None:
        """Refuse a Metabase that stores queries in another form than the files.

        Raises:
            ApiError: it is too old.
        """
        try:
            properties = self.request("GET", "/api/session/properties")
        except Refused:
            return
        if not isinstance(properties, dict):
            raise self.not_metabase()
        tag = str((properties.get("version") or {}).get("tag") or "")
        # Paid editions are called v1.57 and so on.
        match = re.match(r"v[01]\.(\d+)", tag)
        if match and int(match[1]) < OLDEST:
            raise ApiError(
                f"Metabase at {self.url} is {tag}; content needs v0.{OLDEST} or newer, which takes "
                "queries as the files have them. Upgrade it, or remove the files"
            )

    def metadata(self) -> Iterator[Json]:
        """Yield each database with its tables and columns."""
        databases = self.request("GET", "/api/database")
        if not isinstance(databases, dict) or "data" not in databases:
            raise self.not_metabase()
        for database in databases["data"]:
            path = f"/api/database/{database['id']}/metadata"
            yield self.request("GET", path, include_hidden="true")

    def sync_schema(self, database: int) -> None:
        """Let Metabase look for new tables and columns."""
        self.request("POST", f"/api/database/{database}/sync_schema")

    def get(self, model: str, number: int) -> Json | None:
        """Return an entity; None if it was deleted."""
        try:
            found: Json = self.request("GET", f"{PATHS[model]}/{number}")
        except Refused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found

    def get_by_entity_id(self, model: str, entity_id: str) -> Json | None:
        """Return an entity by the ID that Metabase gives, or that a question was pushed with."""
        if model == "Segment":
            rows = self.request("GET", PATHS[model])
            return next((row for row in rows if row.get("entity_id") == entity_id), None)
        try:
            found: Json = self.request("GET", f"{PATHS[model]}/{entity_id}")
        except Refused as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
                raise
            return None  # 400 where Metabase takes numbers only
        return found

    def create(self, model: str, body: Mapping[str, Any]) -> Json:
        """Create an entity."""
        created: Json = self.request("POST", PATHS[model], dict(body))
        return created

    def delete(self, model: str, number: int) -> None:
        """Delete an entity for good: only what this push has made."""
        self.request("DELETE", f"{PATHS[model]}/{number}")

    def update(self, model: str, number: int, body: Mapping[str, Any]) -> None:
        """Change an entity."""
        if model == "Segment":
            body = {**body, "revision_message": "Pushed from its file"}
        self.request("PUT", f"{PATHS[model]}/{number}", dict(body))

    def collections(self) -> list[Json]:
        """List all collections but other people's own."""
        rows = self.request("GET", "/api/collection", **{"exclude-other-user-collections": "true"})
        return [
            row for row in rows if isinstance(row["id"], int) and not row.get("personal_owner_id")
        ]

    def items(self, collection: int | str) -> Iterator[tuple[str, Json]]:
        """Yield the model and the row of each question and dashboard in a collection."""
        rows = self.request("GET", f"/api/collection/{collection}/items", models=list(ITEMS))
        for row in rows["data"]:
            if row["model"] in ITEMS and not row.get("archived"):
                yield ITEMS[row["model"]], row


def reason(answer: requests.Response) -> str:
    """Return what Metabase says of an error, on one line."""
    text = answer.text
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        errors = body.get("errors")
        if isinstance(errors, dict) and errors:
            text = "; ".join(f"{key}: {value}" for key, value in errors.items())
        else:
            text = str(body.get("message") or body.get("cause") or text)
    if "<html" in text.lower():
        text = answer.reason or "a page"  # of a proxy
    return " ".join(text.split())[:300]
