"""The dataset `ops`: rows of runs, and what is known of incidents. Free calls only.

Not by google-cloud-bigquery, which takes longer to import than all that is done here.
"""

import json
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
from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

REQUEST_SECONDS = 60
JOB_SECONDS = 60
ATTEMPTS = 20


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
            LockError: so, when it is asked to make the dataset.
        """
        try:
            self._load(table, rows, schema)
        except MissingError:
            self.connection.insert_dataset(str(self.settings["project"]), self.dataset)
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
        parts = {
            "application/json; charset=UTF-8": json.dumps(job),
            "application/octet-stream": lines,
        }
        body, form = encode_multipart_formdata(
            [RequestField("", part, headers={"Content-Type": kind}) for kind, part in parts.items()]
        )
        kind = form.replace("multipart/form-data", "multipart/related")
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
