"""What the warehouse says for nothing: tables.get, tables.list, tabledata.list; and load jobs.

By plain requests, because importing BigQuery's client costs more than all of them. A query would
bill 10 MB at least. https://cloud.google.com/bigquery/pricing#free
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter, Retry

from dbt_changed.decision import Node
from dbt_changed.errors import BuildError
from dbt_changed.project import Target

if TYPE_CHECKING:
    from google.cloud.bigquery import Client

BIGQUERY = "https://bigquery.googleapis.com"
SCOPES = (
    "https://www.googleapis.com/auth/bigquery",
    "https://www.googleapis.com/auth/cloud-platform",
)
TIMEOUT_SECONDS = 60
PARALLEL = 8
RETRY = Retry(
    total=3, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
)
COLUMNS = {
    "id": ("STRING", "The raw table, model or test, as dbt identifies it"),
    "kind": ("STRING", "What it is"),
    "selector": ("STRING", "What selects it in dbt"),
    "relation": ("STRING", "Its table or view"),
    "inputs": ("STRING", "What it reads, each with the version that it was last built from"),
    "is_daily": ("BOOLEAN", "Whether it asks for the date"),
    "triggers": ("BOOLEAN", "Whether its new rows are a reason to build what reads it"),
    "runs_always": ("BOOLEAN", "Whether it runs with each build"),
    "fingerprint": ("STRING", "The code that it was last built by"),
    "status": ("STRING", "How the last build ended"),
    "version": ("STRING", "When it was last built"),
}
"""The record's columns, those of `Node`."""


class Warehouse:
    """BigQuery, as the target's profile reaches it.

    Raises:
        BuildError: there are no credentials, or the profile's method is not known here.
    """

    def __init__(self, target: Target) -> None:
        """Get ready; nothing is sent."""
        self.target = target
        self.endpoint = str(target.settings.get("api_endpoint") or BIGQUERY).rstrip("/")
        self.credentials = _credentials(target)
        self._session = _session(self.credentials, target.settings)

    def modified(self, relations: Mapping[str, str]) -> dict[str, str | None]:
        """Return when each of some tables last changed, rows or columns; None for a missing one."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            found = pool.map(self._modified, relations.values())
            return dict(zip(relations, found, strict=True))

    def _modified(self, relation: str) -> str | None:
        table = self._get(_path(relation), fields="creationTime,lastModifiedTime")
        # A table that was made again is another one, whatever its clock says.
        return f"{table['creationTime']}-{table['lastModifiedTime']}" if table else None

    def relations(self) -> set[str]:
        """Return the tables and views of the target's dataset."""
        dataset = f"{self.target.project}.{self.target.dataset}"
        path = f"projects/{self.target.project}/datasets/{self.target.dataset}/tables"
        pages = self._pages(path, maxResults=1000)
        return {
            f"{dataset}.{table['tableReference']['tableId']}"
            for page in pages
            for table in page.get("tables", ())
        }

    def record(self) -> dict[str, Node]:
        """Return what was built, and from what; nothing, if the record isn't as it should be."""
        table = self._get(_path(self.target.record), fields="schema") or {}
        fields = table.get("schema", {}).get("fields", ())
        if [field["name"] for field in fields] != [*COLUMNS]:
            return {}
        nodes = {}
        for page in self._pages(f"{_path(self.target.record)}/data", maxResults=5000):
            for row in page.get("rows", ()):
                values = dict(zip(COLUMNS, (cell["v"] for cell in row["f"]), strict=True))
                for name, (kind, _) in COLUMNS.items():
                    if kind == "BOOLEAN":
                        values[name] = values[name] == "true"
                try:
                    inputs = dict(json.loads(values["inputs"]))
                except (TypeError, ValueError):
                    return {}
                nodes[values["id"]] = Node(**values | {"inputs": inputs})
        return nodes

    def replace_record(self, nodes: Sequence[Node]) -> None:
        """Write the record in one load job, which replaces all rows at once.

        Raises:
            GoogleAPICallError: BigQuery doesn't take it.
        """
        from google.api_core.exceptions import NotFound
        from google.cloud.bigquery import LoadJobConfig, SchemaField, WriteDisposition

        rows = [
            dataclasses.asdict(node) | {"inputs": json.dumps(node.inputs, sort_keys=True)}
            for node in nodes
        ]
        config = LoadJobConfig(
            schema=[SchemaField(n, kind, description=text) for n, (kind, text) in COLUMNS.items()],
            write_disposition=WriteDisposition.WRITE_TRUNCATE,
        )
        try:
            self.client.load_table_from_json(rows, self.target.record, job_config=config).result()
        except NotFound:
            self.client.create_dataset(self.target.record.rpartition(".")[0], exists_ok=True)
            self.client.load_table_from_json(rows, self.target.record, job_config=config).result()

    @cached_property
    def client(self) -> "Client":
        """BigQuery's own client, for when dbt is imported anyway."""
        from google.cloud import bigquery
        from google.oauth2.credentials import Credentials

        token = Credentials(token=self.target.settings.get("token"))  # type: ignore[no-untyped-call]
        return bigquery.Client(
            project=self.target.project,
            location=self.target.settings.get("location"),
            credentials=self.credentials or token,
            client_options={"api_endpoint": self.endpoint},
        )

    def _pages(self, path: str, **parameters: Any) -> Iterator[Mapping[str, Any]]:
        while page := self._get(path, **parameters):
            yield page
            # tables.list calls it one way, tabledata.list the other.
            token = page.get("nextPageToken") or page.get("pageToken")
            if not token:
                return
            parameters["pageToken"] = token

    def _get(self, path: str, **parameters: Any) -> Mapping[str, Any] | None:
        """Return what is at a path; None if nothing is.

        Raises:
            BuildError: BigQuery doesn't answer, or refuses to.
        """
        url = f"{self.endpoint}/bigquery/v2/{path}"
        try:
            response = self._session.get(url, params=parameters, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            message = f"BigQuery at {self.endpoint} did not answer ({type(error).__name__})"
            raise BuildError(message) from error
        except Exception as error:
            # Of google.auth, which isn't imported for a token.
            if not type(error).__module__.startswith("google.auth"):
                raise
            raise _no_credentials(error) from error
        if response.status_code == requests.codes.not_found:
            return None
        if not response.ok:
            message = f"BigQuery answered {response.status_code} to {path}: {_said(response)}"
            raise BuildError(message)
        found: Mapping[str, Any] = response.json()
        return found


def _path(relation: str) -> str:
    project, dataset, table = relation.split(".")
    return f"projects/{project}/datasets/{dataset}/tables/{table}"


def _said(response: requests.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(response.reason)


def _credentials(target: Target) -> Any:
    """Return the credentials of a profile; None if there are none to look for, but a token.

    https://docs.getdbt.com/docs/core/connect-data-platform/bigquery-setup

    Raises:
        BuildError: they aren't there, or the method is another.
    """
    settings, method = target.settings, target.settings.get("method")
    if method == "oauth-secrets" and not settings.get("refresh_token"):
        return None
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        match method:
            case "oauth":
                credentials, _ = google.auth.default(scopes=SCOPES)
                return credentials
            case "service-account":
                from google.oauth2 import service_account

                keys = service_account.Credentials
                return keys.from_service_account_file(settings["keyfile"], scopes=SCOPES)  # type: ignore[no-untyped-call]
    except (OSError, KeyError, ValueError, GoogleAuthError) as error:
        raise _no_credentials(error) from error
    message = f"profiles.yml: `method: {method}` isn't oauth, service-account or a token"
    raise BuildError(message)


def _no_credentials(error: Exception) -> BuildError:
    return BuildError(
        f"BigQuery: no usable credentials: {error}. Run `gcloud auth application-default login`, "
        f"or set GOOGLE_APPLICATION_CREDENTIALS"
    )


def _session(credentials: Any, settings: Mapping[str, Any]) -> requests.Session:
    if credentials is None:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {settings.get('token')}"
    else:
        from google.auth.transport.requests import AuthorizedSession

        if project := settings.get("quota_project"):
            credentials = credentials.with_quota_project(project)
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    adapter = HTTPAdapter(max_retries=RETRY, pool_maxsize=PARALLEL)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
