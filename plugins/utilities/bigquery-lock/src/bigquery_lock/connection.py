"""BigQuery's REST API, as far as a lock needs it: three free calls, and the server's clock.

Not by google-cloud-bigquery, which takes half a second of CPU to import: a job takes locks several
times, and a run that finds nothing new takes two or three.
"""

import email.utils
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import requests

ADDRESS = "https://bigquery.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/bigquery"
REQUEST_SECONDS = 30
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 8.0
# Source: https://cloud.google.com/bigquery/docs/error-messages
TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
TRANSIENT_REASONS = {"backendError", "internalError", "rateLimitExceeded"}
# How much older the time of an answer's `Date` may be than the answer: it has whole seconds, and
# servers renew it once a second.
DATE_SECONDS = 2.0
# It goes on while a machine sleeps, which Python's monotonic clock doesn't on Linux.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LockError(Exception):
    """The lock can't be taken: BigQuery refuses, or doesn't answer."""


class NotFound(LockError):  # noqa: N818 - as google-api-core calls it
    """There is no such table, dataset or project."""


class PassingError(Exception):
    """A request has failed that may succeed later."""


@dataclass(frozen=True)
class Table:
    """What a lock needs of a table.

    Attributes:
        description: its description; empty where it has none.
        etag: of this version of it.
    """

    description: str
    etag: str


@dataclass
class Connection:
    """BigQuery's REST API for one process; threads may share it.

    Attributes:
        session: sends the requests, with credentials.
        address: of the API.
        location: where a dataset is made that is missing.
        retry_seconds: how long to go on when BigQuery fails or can't be reached.
    """

    session: requests.Session
    address: str = ADDRESS
    location: str | None = None
    retry_seconds: float = 60
    _earliest: float = 0.0
    _latest: float = 0.0
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def get(self, project: str, dataset: str, table: str) -> Table | None:
        """Return a table; None where there is none, or no dataset."""
        return self._send("GET", _path(project, dataset, table), unless=HTTPStatus.NOT_FOUND)

    def insert(self, project: str, dataset: str, table: str, description: str) -> Table | None:
        """Make a table, and its dataset; None where there is such a table already."""
        reference = {"projectId": project, "datasetId": dataset, "tableId": table}
        body = {"tableReference": reference, "description": description}
        path = _path(project, dataset)
        try:
            return self._send("POST", path, body, unless=HTTPStatus.CONFLICT)
        except NotFound:
            self.insert_dataset(project, dataset)
            return self._send("POST", path, body, unless=HTTPStatus.CONFLICT)

    def insert_dataset(self, project: str, dataset: str) -> None:
        """Make a dataset, unless there is one."""
        body: dict[str, Any] = {"datasetReference": {"projectId": project, "datasetId": dataset}}
        if self.location:
            body["location"] = self.location
        self._send("POST", _path(project), body, unless=HTTPStatus.CONFLICT)

    def patch(
        self,
        project: str,
        dataset: str,
        table: str,
        description: str,
        *,
        etag: str,
        is_patient: bool = True,
    ) -> Table | None:
        """Replace a table's description; None where it isn't any more as it was read."""
        # Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables/patch, and
        # `Client.update_table` of google-cloud-bigquery for If-Match.
        body = {"description": description}
        try:
            return self._send(
                "PATCH",
                _path(project, dataset, table),
                body,
                etag=etag,
                unless=HTTPStatus.PRECONDITION_FAILED,
                retry_seconds=self.retry_seconds if is_patient else 0,
            )
        except NotFound:  # somebody has dropped it
            return None

    def earliest_now(self) -> float:
        """Return what the server's clock shows at least: seconds since 1970.

        Machines' own clocks differ by minutes. What they know of the server's is true.
        """
        return time.clock_gettime(CLOCK) + self._earliest

    def latest_now(self) -> float:
        """Return what the server's clock shows at most."""
        return time.clock_gettime(CLOCK) + self._latest

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        etag: str | None = None,
        unless: HTTPStatus,
        retry_seconds: float | None = None,
    ) -> Table | None:
        """Send a request, again where its failure may pass.

        Args:
            method: of HTTP.
            path: under the API's address.
            body: of the request.
            etag: which version may be changed.
            unless: the status of an answer for which None is returned.
            retry_seconds: how long to go on; as the connection says by default.

        Raises:
            LockError: BigQuery refuses it, or hasn't answered within `retry_seconds`.
        """
        if retry_seconds is None:
            retry_seconds = self.retry_seconds
        deadline = time.monotonic() + retry_seconds
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                response = self._answer(method, path, body, etag)
                if response.status_code == unless:
                    return None
                return _table(response, path)
            except PassingError as error:
                if time.monotonic() + wait > deadline:
                    message = (
                        f"BigQuery at {urlsplit(self.address).netloc} did not answer within "
                        f"{retry_seconds:g} s ({error})."
                    )
                    raise LockError(message) from error
            time.sleep(wait * random.uniform(0.5, 1))
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None, etag: str | None
    ) -> requests.Response:
        """Send a request once.

        Raises:
            PassingError: there is no answer.
            LockError: there can't be one.
        """
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            with self._sending:
                sent = time.clock_gettime(CLOCK)
                response = self.session.request(
                    method,
                    f"{self.address.rstrip('/')}/bigquery/v2{path}",
                    params={"prettyPrint": "false"},
                    json=body,
                    headers={"If-Match": etag} if etag else None,
                    timeout=REQUEST_SECONDS,
                )
                self._note_time(sent, response.headers.get("Date"))
        except (requests.ConnectionError, requests.Timeout, TransportError) as error:
            raise PassingError(root_of(error)) from error
        except GoogleAuthError as error:
            message = f"BigQuery: no usable credentials ({root_of(error)})."
            raise LockError(message) from error
        except requests.RequestException as error:
            message = f"BigQuery at {self.address} can't be asked ({root_of(error)})."
            raise LockError(message) from error
        return response

    def _note_time(self, sent: float, date: str | None) -> None:
        """Note what the server's clock shows; without a clock of its own, this machine's counts."""
        shown = time.time() if date is None else email.utils.parsedate_to_datetime(date).timestamp()
        self._earliest = shown - time.clock_gettime(CLOCK)
        self._latest = shown + DATE_SECONDS - sent


def connect(
    *,
    api_endpoint: str | None = None,
    anonymous: bool = False,
    credentials: Any = None,
    location: str | None = None,
    retry_seconds: float = 60,
) -> Connection:
    """Return a connection to BigQuery. Nothing is sent yet.

    Args:
        api_endpoint: another address of the API, e.g. a local emulator's.
        anonymous: send no credentials, for an emulator.
        credentials: google-auth's; application default credentials without.
        location: where a dataset is made that is missing, e.g. `EU`.
        retry_seconds: how long to go on when BigQuery fails or can't be reached.

    Raises:
        LockError: there are no credentials.
    """
    session = requests.Session()
    if not anonymous:
        import google.auth
        from google.auth.credentials import with_scopes_if_required
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession

        try:
            credentials = with_scopes_if_required(  # type: ignore[no-untyped-call]
                credentials or google.auth.default([SCOPE])[0], [SCOPE]
            )
        except GoogleAuthError as error:
            message = f"BigQuery: no usable credentials ({root_of(error)})."
            raise LockError(message) from error
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    return Connection(session, api_endpoint or ADDRESS, location, retry_seconds)


def _path(project: str, dataset: str | None = None, table: str | None = None) -> str:
    """Return the path of a table, of a dataset's tables, or of a project's datasets."""
    path = f"/projects/{quote(project, safe='')}/datasets"
    if dataset:
        path += f"/{quote(dataset, safe='')}/tables"
    return f"{path}/{quote(table, safe='')}" if table else path


def _table(response: requests.Response, path: str) -> Table:
    """Return the table of an answer.

    Raises:
        NotFound: it isn't there, or the dataset or project isn't.
        PassingError: the same request may succeed later.
        LockError: it won't.
    """
    try:
        answer = response.json()
        error = answer.get("error") or {}
        reasons = {detail.get("reason") for detail in error.get("errors") or ()}
        said = f"{error.get('message') or response.reason}"
    except (ValueError, AttributeError):  # no JSON, or no object: not BigQuery
        answer, reasons, said = {}, set(), response.reason
    if response.ok and answer:
        return Table(answer.get("description") or "", str(answer.get("etag")))
    message = f"BigQuery, {path.removeprefix('/')}: {response.status_code} {said}"
    if response.status_code in TRANSIENT_STATUS or reasons & TRANSIENT_REASONS:
        raise PassingError(message)
    raise (NotFound if response.status_code == HTTPStatus.NOT_FOUND else LockError)(message)


def root_of(error: BaseException) -> str:
    """Return the root cause of an error, in one line."""
    while error.__context__:
        error = error.__context__
    return str(error).strip().partition("\n")[0] or type(error).__name__
