"""BigQuery, as the loader uses it: datasets, tables, load jobs and DML.

Every call is retried on what may pass (429, 5xx, a lost connection), and every job has an
id of its own, so that a retry finds the job that ran instead of running it twice.
"""

import datetime
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import requests.exceptions
from google.api_core import exceptions, retry
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import bigquery
from google.cloud.bigquery.job import LoadJob, QueryJob
from google.cloud.exceptions import GoogleCloudError
from google.oauth2 import service_account

from target_bigquery_arrow.column_types import ColumnType, Kind
from target_bigquery_arrow.errors import LoadError, RunError
from target_bigquery_arrow.layout import BATCHED_AT, Layout

logger = logging.getLogger(__name__)

# The client's own retries are off (None, which its annotations leave out): ours know the job.
ONCE: Any = None
# How long one request may take before it counts as lost; a job may take longer.
REQUEST_SECONDS = 120
# Between tries: from the first wait, doubling, up to the longest.
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30

TRANSIENT_ERRORS = (
    exceptions.TooManyRequests,
    exceptions.ServerError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    TransportError,
    TimeoutError,
)
# Reasons that come with other status codes and pass all the same. Source:
# https://cloud.google.com/bigquery/docs/error-messages
TRANSIENT_REASONS = {
    "backendError",
    "internalError",
    "jobBackendError",
    "jobInternalError",
    "jobRateLimitExceeded",
    "rateLimitExceeded",
    "tableUnavailable",
}
# The client doesn't know this one, and calls it an error of the server (500).
TOO_MANY_BYTES = "bytesBilledLimitExceeded"
# The legacy names under which the API reports GoogleSQL's types.
KINDS = {kind.value: kind for kind in Kind} | {
    "INTEGER": Kind.INT64,
    "FLOAT": Kind.FLOAT64,
    "BOOLEAN": Kind.BOOL,
}
MAXIMUM_CLUSTERING_COLUMNS = 4
CLUSTERABLE = {
    Kind.BIGNUMERIC,
    Kind.BOOL,
    Kind.DATE,
    Kind.INT64,
    Kind.NUMERIC,
    Kind.STRING,
    Kind.TIMESTAMP,
}


def _is_transient(error: BaseException) -> bool:
    reasons = _reasons(error)
    if TOO_MANY_BYTES in reasons:
        return False
    return isinstance(error, TRANSIENT_ERRORS) or not reasons.isdisjoint(TRANSIENT_REASONS)


def _reasons(error: BaseException) -> set[str]:
    """Return BigQuery's words for what went wrong."""
    if not isinstance(error, GoogleCloudError):
        return set()
    return {str(detail.get("reason")) for detail in error.errors}


class Warehouse:
    """One BigQuery dataset.

    Args:
        project: the project that owns the dataset and pays for the jobs.
        dataset: the dataset that the tables go to; made when it isn't there.
        location: the dataset's location, e.g. `EU`.
        api_endpoint: another address of the API, e.g. a local emulator's.
        anonymous: send no credentials, for an emulator.
        credentials_path: a service account's key file; application default credentials without.
        maximum_bytes_billed: what a query may bill; one that would bill more fails unrun.
        retry_seconds: how long to go on when BigQuery fails or can't be reached.
    """

    def __init__(
        self,
        *,
        project: str,
        dataset: str,
        location: str,
        api_endpoint: str | None = None,
        anonymous: bool = False,
        credentials_path: str | None = None,
        maximum_bytes_billed: int | None = None,
        retry_seconds: float = 300,
    ) -> None:
        """Prepare a client. Nothing is sent yet."""
        self.dataset = f"{project}.{dataset}"
        self.location = location
        self.address = api_endpoint or "https://bigquery.googleapis.com"
        self._query_options = bigquery.QueryJobConfig()
        if maximum_bytes_billed:
            self._query_options.maximum_bytes_billed = maximum_bytes_billed
        self._retry_seconds = retry_seconds
        self._retrying = True
        try:
            self._client = bigquery.Client(
                project=project,
                location=location,
                credentials=_credentials(anonymous=anonymous, path=credentials_path),
                client_options=ClientOptions(api_endpoint=api_endpoint) if api_endpoint else None,
            )
        except DefaultCredentialsError as error:
            raise _refused_credentials(error) from error

    @property
    def namespace(self) -> str:
        """Return what tells this dataset from every other, for locks."""
        return f"{self.address}/{self.dataset}"

    def stop_retrying(self) -> None:
        """Let calls fail at their next error: the process is ending."""
        self._retrying = False

    def ensure_dataset(self) -> None:
        """Make the dataset if it isn't there.

        Raises:
            LoadError: it is there, in another location.
        """
        what = f"dataset {self.dataset}"
        try:
            found = self._call(
                what,
                lambda: self._client.get_dataset(self.dataset, retry=ONCE, timeout=REQUEST_SECONDS),
                passing=exceptions.NotFound,
            )
        except exceptions.NotFound:
            wanted = bigquery.Dataset(self.dataset)
            wanted.location = self.location
            found = self._call(
                what,
                lambda: self._client.create_dataset(
                    wanted, exists_ok=True, retry=ONCE, timeout=REQUEST_SECONDS
                ),
            )
        if found.location.lower() != self.location.lower():
            message = (
                f"Dataset {self.dataset} is in location {found.location}, not {self.location}. "
                f"Correct the loader's `location`, or choose another `dataset`."
            )
            raise LoadError(message)

    def table_types(self, table: str) -> Mapping[str, ColumnType | None] | None:
        """Return a table's columns by name, or None where there is no such table."""
        try:
            found = self._call(
                f"table {self.dataset}.{table}",
                lambda: self._client.get_table(
                    f"{self.dataset}.{table}", retry=ONCE, timeout=REQUEST_SECONDS
                ),
                passing=exceptions.NotFound,
            )
        except exceptions.NotFound:
            return None
        return {field.name: _column_type(field) for field in found.schema}

    def create_table(self, layout: Layout, *, partitioned: bool) -> None:
        """Make a stream's table: clustered by key, partitioned by month of ingestion if asked."""
        table = bigquery.Table(
            f"{self.dataset}.{layout.table}",
            schema=[_field(name, column) for name, column in layout.types.items()],
        )
        clustering = [key for key in layout.keys if layout.types[key].kind in CLUSTERABLE]
        table.clustering_fields = clustering[:MAXIMUM_CLUSTERING_COLUMNS] or None
        if partitioned:
            table.time_partitioning = bigquery.TimePartitioning("MONTH", field=BATCHED_AT)
        self._call(
            f"table {self.dataset}.{layout.table}",
            lambda: self._client.create_table(
                table, exists_ok=True, retry=ONCE, timeout=REQUEST_SECONDS
            ),
        )

    def load_parquet(
        self, path: Path, table: str, columns: Mapping[str, ColumnType], job: str
    ) -> int:
        """Append a Parquet file to a staging table and return the rows that arrived.

        Columns of the file that aren't named are left out.
        """
        options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
        options.enable_list_inference = True
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=[_field(name, column) for name, column in columns.items()],
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            ignore_unknown_values=True,
            parquet_options=options,
        )

        def submit(job_id: str) -> LoadJob:
            with path.open("rb") as file:
                return self._client.load_table_from_file(
                    file,
                    f"{self.dataset}.{table}",
                    job_id=job_id,
                    job_config=config,
                    num_retries=0,
                    timeout=REQUEST_SECONDS,
                )

        finished = self._run(f"load of {path} into {self.dataset}.{table}", job, submit)
        return int(finished.output_rows or 0)

    def execute(self, sql: str, job: str) -> int:
        """Run one statement and return the rows that it changed."""
        return int(self._query(sql, job).num_dml_affected_rows or 0)

    def fetch_row(self, sql: str, job: str) -> tuple[int, ...]:
        """Run a query for numbers and return its only row."""
        finished = self._query(sql, job)
        (row,) = self._call(
            sql.partition("\n")[0],
            lambda: list(finished.result(retry=ONCE, timeout=REQUEST_SECONDS)),
        )
        return tuple(row.values())

    def _query(self, sql: str, job: str) -> QueryJob:
        def submit(job_id: str) -> QueryJob:
            return self._client.query(
                sql,
                job_config=self._query_options,
                job_id=job_id,
                retry=ONCE,
                job_retry=ONCE,
                timeout=REQUEST_SECONDS,
            )

        return self._run(sql.partition("\n")[0], job, submit)

    def row_count(self, table: str) -> int:
        """Return the number of rows in a table that is not being streamed into."""
        found = self._call(
            f"table {self.dataset}.{table}",
            lambda: self._client.get_table(
                f"{self.dataset}.{table}", retry=ONCE, timeout=REQUEST_SECONDS
            ),
        )
        return int(found.num_rows or 0)

    def tables(self, prefix: str) -> list[tuple[str, float]]:
        """Return the tables whose names begin with a prefix, and their ages in hours."""
        found = self._call(
            f"dataset {self.dataset}",
            lambda: list(
                self._client.list_tables(self.dataset, retry=ONCE, timeout=REQUEST_SECONDS)
            ),
        )
        now = datetime.datetime.now(datetime.UTC)
        return [
            (table.table_id, (now - table.created).total_seconds() / 3600)
            for table in found
            if table.table_id.startswith(prefix)
        ]

    def drop_table(self, table: str) -> None:
        """Drop a table; it is no error if there is none."""
        self._call(
            f"table {self.dataset}.{table}",
            lambda: self._client.delete_table(
                f"{self.dataset}.{table}",
                not_found_ok=True,
                retry=ONCE,
                timeout=REQUEST_SECONDS,
            ),
        )

    def _run[Job: LoadJob | QueryJob](
        self, what: str, job: str, submit: Callable[[str], Job]
    ) -> Job:
        """Submit a job and wait for its end, retrying what may pass.

        A lost answer leads back to the same job by its id. Only a job that has failed is
        followed by another, and a failed job has changed nothing.
        """
        attempt = 0

        def once() -> Job:
            nonlocal attempt
            job_id = f"{job}_{attempt}"
            try:
                running = submit(job_id)
            except exceptions.Conflict:
                found = self._client.get_job(job_id, location=self.location, retry=ONCE)
                running = cast("Job", found)
            try:
                running.result(retry=ONCE)
            except GoogleCloudError:
                if running.error_result:
                    attempt += 1
                raise
            return running

        return self._call(what, once)

    def _call[Result](
        self,
        what: str,
        call: Callable[[], Result],
        passing: type[Exception] | tuple[()] = (),
    ) -> Result:
        """Call BigQuery with retries.

        Raises:
            LoadError: it failed for good, or for longer than `retry_seconds`.
        """
        policy = retry.Retry(
            predicate=lambda error: self._retrying and _is_transient(error),
            initial=FIRST_WAIT_SECONDS,
            maximum=LONGEST_WAIT_SECONDS,
            timeout=self._retry_seconds,
            on_error=lambda error: logger.info("BigQuery, %s: %s; trying again", what, error),
        )
        try:
            return policy(call)()
        except passing:
            raise
        except exceptions.RetryError as error:
            raise self._unreachable(what, error.cause or error) from error
        except TRANSIENT_ERRORS as error:
            if TOO_MANY_BYTES in _reasons(error):
                raise _too_many_bytes(what, error) from error
            raise self._unreachable(what, error) from error
        except GoogleAuthError as error:
            raise _refused_credentials(error) from error
        except GoogleCloudError as error:
            message = f"BigQuery, {what}: {_reason(error)}"
            raise LoadError(message) from error
        except requests.exceptions.RequestException as error:
            message = (
                f"BigQuery at {self.address} can't be asked ({_reason(error)}). Check "
                f"`api_endpoint`: it should read like http://127.0.0.1:9050, or be left out."
            )
            raise RunError(message) from error

    def _unreachable(self, what: str, error: BaseException) -> LoadError:
        # It has had its time: whatever else waits for it need not wait as long again.
        self.stop_retrying()
        host = urlsplit(self.address).netloc
        return RunError(
            f"BigQuery at {host} did not answer within {self._retry_seconds:g} s ({what}: "
            f"{_reason(error)}). Rows not yet committed are read again by the next run. Locally, "
            f"`meltano invoke sandbox up` starts it; otherwise check `api_endpoint` and the "
            f"network."
        )


def _too_many_bytes(what: str, error: BaseException) -> LoadError:
    reason = _reason(error).partition(";")[0].rstrip(".")
    return LoadError(
        f"BigQuery, {what}: {reason}. The query has not run and costs nothing. If it has to read "
        f"so much, raise the loader's `maximum_bytes_billed`."
    )


def _refused_credentials(error: GoogleAuthError) -> LoadError:
    return RunError(
        f"BigQuery: no usable credentials ({_reason(error)}). Run `gcloud auth "
        f"application-default login`, or set `credentials_path` to a service account's key."
    )


def _reason(error: BaseException) -> str:
    """Return what lies at the root of an error, in one line."""
    if isinstance(error, requests.exceptions.RequestException | TransportError):
        while error.__context__:
            error = error.__context__
    return str(error).strip().partition("\n")[0]


def _credentials(
    *, anonymous: bool, path: str | None
) -> AnonymousCredentials | service_account.Credentials | None:
    if anonymous:
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    if path is None:
        return None
    try:
        credentials: service_account.Credentials = (
            service_account.Credentials.from_service_account_file(path)  # type: ignore[no-untyped-call]
        )
    except (OSError, ValueError) as error:
        message = (
            f"`credentials_path`: {path} is not a service account's key file "
            f"({type(error).__name__}). Download a key, or leave the setting out to use "
            f"application default credentials."
        )
        raise LoadError(message) from error
    return credentials


def _field(name: str, column: ColumnType) -> bigquery.SchemaField:
    mode = "REPEATED" if column.repeated else "NULLABLE"
    return bigquery.SchemaField(name, column.kind.value, mode=mode)


def _column_type(field: bigquery.SchemaField) -> ColumnType | None:
    kind = KINDS.get(field.field_type)
    return ColumnType(kind, repeated=field.mode == "REPEATED") if kind else None
