"""The dataset `ops`: locks, the rows of runs, and what is known of incidents. Free calls only.

Not by google-cloud-bigquery, which takes longer to import than all that is done here.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any

import bigquery_lock
import requests
from target_bigquery_arrow.names import dataset_name

from stack import meltano
from stack.terminal import StackError

REQUEST_SECONDS = 60
JOB_SECONDS = 60
ATTEMPTS = 20
WAIT = "STACK_WAIT_SECONDS"
WAIT_SECONDS = 900.0
LEASE_SECONDS = 300.0
"""How long a lock is held between the guard and the loader: a tap may discover in between."""


class OpsError(Exception):
    """The warehouse refuses, or doesn't answer."""


class MissingError(OpsError):
    """There is no such dataset."""


@dataclass(frozen=True)
class Ops:
    """The dataset, as the loader's settings say it.

    Attributes:
        settings: of the loader: `project`, `location`, `ledger_dataset`, `developer` and so on.
    """

    settings: Mapping[str, Any]

    @cached_property
    def connection(self) -> bigquery_lock.Connection:
        """Return a connection to BigQuery.

        Raises:
            LockError: there are no credentials.
        """
        return bigquery_lock.connect(
            api_endpoint=self.settings.get("api_endpoint"),
            anonymous=bool(self.settings.get("anonymous")),
            credentials=key_of(self.settings),
            location=self.settings.get("location"),
            retry_seconds=30,
        )

    def name(self, dataset: str) -> str:
        """Return what the loader calls a dataset in this environment: in `dev`, a developer's."""
        return dataset_name(dataset, self.settings.get("developer"))

    def lock(
        self, dataset: str, *, owner: int, on_wait: Callable[[str], None]
    ) -> bigquery_lock.Lock | None:
        """Return the lock of a raw dataset, for `owner`; None where loaders take none.

        Args:
            dataset: its name in this environment.
            owner: the process in whose name it is to be held.
            on_wait: told whom it waits for.
        """
        if not (ops := self.settings.get("lock_dataset")):
            return None
        return bigquery_lock.Lock(
            self.connection,
            f"{self.settings['project']}.{self.name(ops)}.lock_{dataset}",
            purpose=f"the load of {dataset}",
            wait_seconds=float(os.environ.get(WAIT) or WAIT_SECONDS),
            on_wait=on_wait,
            owner=owner,
            lease_seconds=LEASE_SECONDS,
        )

    def leave_lock(self, dataset: str, *, owner: int, on_wait: Callable[[str], None]) -> None:
        """Take the lock of a raw dataset for `owner`, whose loader takes it over.

        Raises:
            StackError: another run has held it for too long; or BigQuery refuses, or doesn't
                answer.
        """
        try:
            if lock := self.lock(dataset, owner=owner, on_wait=on_wait):
                lock.leave()
        except bigquery_lock.Held as error:
            message = (
                f"{error} Nothing was run. Run again once it has ended, or set {WAIT} to wait "
                f"longer than {os.environ.get(WAIT) or WAIT_SECONDS} s."
            )
            raise StackError(message) from error
        except bigquery_lock.LockError as error:
            message = f"{error} {meltano.sandbox_or('Check the network and the credentials.')}"
            raise StackError(message) from error

    def append(
        self,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        schema: Sequence[Mapping[str, Any]],
    ) -> None:
        """Append rows to a table by a load job; the dataset, table and new columns are made.

        Args:
            table: its name.
            rows: by column.
            schema: the columns as BigQuery's API describes them; `ended_at` partitions the table.

        Raises:
            OpsError: BigQuery refuses, or doesn't answer.
        """
        try:
            self._load(table, rows, schema)
        except MissingError:
            project = self.settings["project"]
            reference = {"projectId": project, "datasetId": self.dataset}
            dataset = {"datasetReference": reference, "location": self.settings.get("location")}
            self._request("POST", f"/bigquery/v2/projects/{project}/datasets", json=dataset)
            self._load(table, rows, schema)

    def _load(
        self, table: str, rows: Sequence[Mapping[str, Any]], schema: Sequence[Mapping[str, Any]]
    ) -> None:
        project = self.settings["project"]
        reference = {"projectId": project, "datasetId": self.dataset, "tableId": table}
        job = {
            "jobReference": {
                "projectId": project,
                "jobId": f"stack_{table}_{uuid.uuid4().hex}",
                "location": self.settings.get("location"),
            },
            "configuration": {
                "load": {
                    "sourceFormat": "NEWLINE_DELIMITED_JSON",
                    "destinationTable": reference,
                    "schema": {"fields": list(schema)},
                    "writeDisposition": "WRITE_APPEND",
                    "schemaUpdateOptions": ["ALLOW_FIELD_ADDITION"],
                    "timePartitioning": {"type": "DAY", "field": "ended_at"},
                }
            },
        }
        lines = "\n".join(json.dumps(row) for row in rows)
        # Source: https://cloud.google.com/bigquery/docs/reference/api-uploads#multipart
        body, kind = _related(json.dumps(job).encode(), lines.encode())
        path = f"/upload/bigquery/v2/projects/{project}/jobs?uploadType=multipart"
        found = self._request("POST", path, data=body, headers={"Content-Type": kind})
        path = f"/bigquery/v2/projects/{project}/jobs/{job['jobReference']['jobId']}"
        where = {"location": self.settings.get("location")}
        deadline = time.monotonic() + JOB_SECONDS
        while found["status"]["state"] != "DONE":
            if time.monotonic() > deadline:
                message = f"BigQuery: the load into {self.dataset}.{table} takes too long."
                raise OpsError(message)
            time.sleep(0.1)
            found = self._request("GET", path, params=where)
        if error := found["status"].get("errorResult"):
            message = f"BigQuery, {self.dataset}.{table}: {error.get('message')}"
            raise (MissingError if error.get("reason") == "notFound" else OpsError)(message)

    @property
    def dataset(self) -> str:
        """Return the name of the ledger's dataset."""
        return self.name(str(self.settings["ledger_dataset"]))

    def change_document[Result](
        self, table: str, change: Callable[[dict[str, Any]], tuple[dict[str, Any], Result]]
    ) -> Result:
        """Change a small document, kept in a table's description, so that no change is lost.

        Args:
            table: its name.
            change: is given the document, and returns the new one and a result; it may be called
                again with another document.

        Raises:
            LockError: BigQuery refuses, or doesn't answer.
        """
        name = (str(self.settings["project"]), self.dataset, table)
        for _ in range(ATTEMPTS):
            found = self.connection.get(*name)
            try:
                before = json.loads(found.description) if found else {}
            except ValueError:
                before = None
            before = before if isinstance(before, dict) else {}
            after, result = change(before)
            if after == before:
                return result
            text = json.dumps(after)
            if (
                self.connection.patch(*name, text, etag=found.etag)
                if found
                else self.connection.insert(*name, text)
            ):
                return result
        message = f"BigQuery: {'.'.join(name)} is changed by others all the time."
        raise bigquery_lock.LockError(message)

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        url = f"{self.connection.address.rstrip('/')}{path}"
        try:
            response = self.connection.session.request(
                method, url, timeout=REQUEST_SECONDS, **options
            )
            answer: dict[str, Any] = response.json()
        except (requests.RequestException, ValueError) as error:
            why = bigquery_lock.root_of(error)
            message = f"BigQuery at {self.connection.address} did not answer: {why}"
            raise OpsError(message) from error
        if not response.ok:
            message = f"BigQuery, {self.dataset}: {answer.get('error', {}).get('message')}"
            is_missing = response.status_code == HTTPStatus.NOT_FOUND
            raise (MissingError if is_missing else OpsError)(message)
        return answer


def key_of(settings: Mapping[str, Any]) -> Any:
    """Return the credentials of the key file that a loader's settings name; None without one."""
    if not (path := settings.get("credentials_path")):
        return None
    from google.oauth2 import service_account

    return service_account.Credentials.from_service_account_file(path)  # type: ignore[no-untyped-call]


def _related(metadata: bytes, media: bytes) -> tuple[bytes, str]:
    """Return the body of a multipart/related request, and its content type."""
    boundary = uuid.uuid4().hex
    between = f"\r\n--{boundary}".encode()
    head = b"\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
    data = b"\r\nContent-Type: application/octet-stream\r\n\r\n"
    body = between[2:] + head + metadata + between + data + media + between + b"--\r\n"
    return body, f"multipart/related; boundary={boundary}"
