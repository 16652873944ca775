"""BigQuery: does it answer, and may we write what the next run writes?

A dry run proves little: who may query need not be allowed to make a table. So a table is made in
each dataset, empty and about to expire, and dropped at once. Datasets that aren't there yet are
proven in the same way, by one under another name.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import requests.exceptions
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import bigquery
from google.cloud.exceptions import GoogleCloudError

from stack.check import variables
from stack.check.context import Context
from stack.check.dbt import dataset as dbt_dataset
from stack.check.result import Result, failed, passed, skipped
from stack.project import Plugin
from stack.warehouse import connect

SECONDS = 8
# The client's own retries are off (None, which its annotations leave out): they go on for minutes.
ONCE: Any = None
EXPIRES = timedelta(hours=1)
UNREACHABLE = (
    requests.exceptions.RequestException,
    TransportError,
    exceptions.RetryError,
    TimeoutError,
)
ROLES = "BigQuery Job User on the project, and BigQuery Data Editor on the dataset"


def check(context: Context) -> Iterator[Result]:
    """Yield what BigQuery says to each dataset that is written."""
    loaders = {source.loader.name: source.loader for source in context.sources}
    loader = next(iter(loaders.values()), context.project.loader)
    settings = list(variables.check(context, [*loaders.values()] or [loader]))
    yield from settings
    yield from _limit(context, loader)
    if any(result.ok is False for result in settings):
        yield skipped("connection", "not asked: settings are missing")
        return
    # Where there is no metadata server, Google's library looks for one longer than we have.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    warehouse = Warehouse(context, loader)
    connection = list(warehouse.connection())
    yield from connection
    if any(result.ok is False for result in connection):
        return
    datasets = list(dict.fromkeys(source.dataset for source in context.sources))
    built = dbt_dataset(context)
    with ThreadPoolExecutor(4) as pool:
        # A dataset is made only once, to see whether it may be.
        found = dict(
            zip([*datasets, built], pool.map(warehouse.find, [*datasets, built]), strict=True)
        )
        if missing := [name for name, one in found.items() if one is None]:
            yield from warehouse.make(missing)
        there = [one for one in found.values() if isinstance(one, bigquery.Dataset)]
        yield from pool.map(warehouse.write, there)
    yield from (one for one in found.values() if isinstance(one, Result))


def _limit(context: Context, loader: Plugin) -> Iterator[Result]:
    """Yield whether a query that would bill too much fails unrun."""
    if context.environment != "prod":
        return
    for plugin in (loader, context.dbt):
        limit = plugin.config().get("maximum_bytes_billed")
        if not limit:
            mend = (
                f"Set `maximum_bytes_billed` of {plugin.name} under `prod` in meltano.yml: bytes "
                f"that one query may bill."
            )
            yield failed("limit", f"{plugin.name}: a query may bill any number of bytes", mend)
        else:
            yield passed("limit", f"{plugin.name}: {int(limit) / 2**30:g} GiB a query")


class Warehouse:
    """BigQuery, asked once and with little patience."""

    def __init__(self, context: Context, loader: Plugin) -> None:
        """Take the loader's settings; nothing is sent yet."""
        self._context = context
        self._loader = loader
        config = loader.config()
        self.location = str(config.get("location") or "US")
        self.address = config.get("api_endpoint") or "https://bigquery.googleapis.com"
        self.project = config["project"]

    def connection(self) -> Iterator[Result]:
        """Yield whether BigQuery runs our jobs."""
        try:
            self._client = connect(self._loader)
            # What a job needs: credentials, the project, the right to run one. Costs nothing.
            self._client.query(
                "select 1",
                job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False),
                retry=ONCE,
                job_retry=ONCE,
                timeout=SECONDS,
            )
        except (GoogleAuthError, GoogleCloudError, OSError, ValueError, *UNREACHABLE) as error:
            yield failed("connection", *self._fault(error, f"project {self.project}"))
        else:
            yield passed("connection", f"{self.address} runs jobs in project {self.project}")

    def find(self, name: str) -> bigquery.Dataset | Result | None:
        """Return a dataset; None where there is none yet, or what forbids to look."""
        try:
            return self._client.get_dataset(f"{self.project}.{name}", retry=ONCE, timeout=SECONDS)
        except exceptions.NotFound:
            return None
        except (GoogleAuthError, GoogleCloudError, *UNREACHABLE) as error:
            return failed(name, *self._fault(error, f"dataset {name}"))

    def make(self, missing: list[str]) -> Iterator[Result]:
        """Yield whether datasets can be made, by making one and dropping it."""
        scratch = bigquery.Dataset(f"{self.project}.stack_check_{token_hex(6)}")
        scratch.location = self.location
        scratch.default_table_expiration_ms = int(EXPIRES.total_seconds() * 1000)
        try:
            self._client.create_dataset(scratch, retry=ONCE, timeout=SECONDS)
            self._client.delete_dataset(scratch, retry=ONCE, timeout=SECONDS)
        except (GoogleAuthError, GoogleCloudError, *UNREACHABLE) as error:
            detail, mend = self._fault(error, "a new dataset")
            if isinstance(error, exceptions.Forbidden):
                mend = (
                    f"Grant BigQuery User on {self.project} to this account; or let its owner make "
                    f"the datasets, in {self.location}: {', '.join(missing)}."
                )
            yield from (
                failed(name, f"isn't there, and can't be made: {detail}", mend) for name in missing
            )
        else:
            for name in missing:
                yield passed(
                    name, f"isn't there yet; the first run can make it, in {self.location}"
                )

    def write(self, dataset: bigquery.Dataset) -> Result:
        """Return whether a dataset is where it should be and takes tables."""
        name = dataset.dataset_id
        if dataset.location.lower() != self.location.lower():
            detail = f"is in {dataset.location}, and the settings say {self.location}"
            mend = (
                f"Correct {variables.where(self._loader, 'location')}: raw datasets and dbt's "
                f"are in one place, and a dataset can't be moved."
            )
            return failed(name, detail, mend)
        scratch = bigquery.Table(
            f"{self.project}.{name}.stack_check_{token_hex(6)}",
            schema=[bigquery.SchemaField("empty", "STRING")],
        )
        scratch.expires = datetime.now(UTC) + EXPIRES
        try:
            self._client.create_table(scratch, retry=ONCE, timeout=SECONDS)
            self._client.delete_table(scratch, retry=ONCE, timeout=SECONDS)
        except (GoogleAuthError, GoogleCloudError, *UNREACHABLE) as error:
            detail, mend = self._fault(error, f"a table in {name}")
            return failed(name, f"takes no table: {detail}", mend)
        return passed(name, f"takes tables, in {dataset.location}")

    def _fault(self, error: Exception, what: str) -> tuple[str, str]:
        """Return what an error means, and its mend."""
        said = self._context.masked(_reason(error))
        if isinstance(error, UNREACHABLE):
            mend = "Check the network, and `api_endpoint`."
            if self._context.environment == "local":
                mend = "Start the sandbox: `meltano invoke sandbox up`."
            return f"{self.address} did not answer: {said}", mend
        if isinstance(error, GoogleAuthError):
            mend = (
                "Run `gcloud auth application-default login`; on a machine without you, name a "
                "service account's key file in GOOGLE_APPLICATION_CREDENTIALS."
            )
            return f"no usable credentials: {said}", mend
        if isinstance(error, exceptions.Forbidden):
            return f"{what}: {said}", f"Grant this account {ROLES}."
        if isinstance(error, exceptions.NotFound):
            return f"{what}: {said}", f"Correct {variables.where(self._loader, 'project')}."
        if isinstance(error, (OSError, ValueError)):
            mend = "Name a service account's key file in `credentials_path`, or leave it out."
            return f"the credentials can't be read: {said}", mend
        if re.search("location", said, re.IGNORECASE):
            return f"{what}: {said}", f"Correct {variables.where(self._loader, 'location')}."
        return f"{what}: {said}", f"Correct {variables.where(self._loader, 'project')}."


def _reason(error: BaseException) -> str:
    """Return what lies at the root of an error, in one line."""
    if isinstance(error, requests.exceptions.RequestException | TransportError):
        while error.__context__:
            error = error.__context__
    said = getattr(error, "message", None) or str(error)
    return str(said).strip().partition("\n")[0]
