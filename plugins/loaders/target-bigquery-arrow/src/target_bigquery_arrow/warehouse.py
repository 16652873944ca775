"""BigQuery, as the loader uses it: datasets, tables, load jobs and DML.

Every call is retried on what may pass (429, 5xx, a lost connection), and every job has an
id of its own, so that a retry finds the job that ran instead of running it twice.
"""

import concurrent.futures
import datetime
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import bigquery_lock
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
from target_bigquery_arrow.layout import Layout
from target_bigquery_arrow.partitioning import Partitioning, RangePartitioning, TimePartitioning
from target_bigquery_arrow.staging import STAGING_DAYS

logger = logging.getLogger(__name__)

# The client's own retries are off (None, which its annotations leave out): ours know the job.
ONCE: Any = None
# How long one request may take before it counts as lost; a job may take longer.
REQUEST_SECONDS = 120
# How each job of this loader is called, whatever its run.
JOB_PREFIX = "target_bigquery_arrow_"
# A job of which nothing has changed for so long is given up.
PATIENCE_SECONDS: float = 600
# The most that the API takes; its own default is 50.
TABLES_A_PAGE = 1000
SECONDS_AN_HOUR = 3600
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
# A label of each table says what key its rows have.
KEY_LABEL = "target_bigquery_arrow_key"
CLUSTERABLE = {
    Kind.BIGNUMERIC,
    Kind.BOOL,
    Kind.DATE,
    Kind.INT64,
    Kind.NUMERIC,
    Kind.STRING,
    Kind.TIMESTAMP,
}


@dataclass(frozen=True)
class TableInfo:
    """What BigQuery says of a table.

    Attributes:
        types: its columns by name; None for a type that this loader never writes.
        partitioning: how it is partitioned; None where it isn't, or by no column.
        size: its logical bytes.
        schema: its columns as BigQuery describes them.
        clustering: the columns that it is clustered by.
        key_label: what this loader noted of the key that its rows have.
    """

    types: Mapping[str, ColumnType | None]
    partitioning: Partitioning | None
    size: int
    schema: Sequence[bigquery.SchemaField]
    clustering: Sequence[str]
    key_label: str | None

    def has_key(self, layout: Layout) -> bool:
        """Return whether the table's rows have a layout's key.

        Older releases noted nothing: then it is what the table is clustered by.
        """
        if self.key_label:
            return self.key_label == layout.key_label
        return list(self.clustering) == _clustering(layout)

    def schema_with(self, types: Mapping[str, ColumnType]) -> list[bigquery.SchemaField]:
        """Return the columns as BigQuery describes them, some of another type."""
        return [
            _field(column.name, types[column.name]) if column.name in types else column
            for column in self.schema
        ]


@dataclass(frozen=True)
class Changes:
    """The rows that a statement has changed.

    Attributes:
        total: all of them.
        inserted: those that are new.
    """

    total: int
    inserted: int


@dataclass
class Bill:
    """What the queries of one table may cost, and what they did.

    Attributes:
        size: the logical bytes of the table and of what is staged for it.
        billed: the bytes that its queries have billed so far.
    """

    size: int = 0
    billed: int = 0


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
        dataset: the dataset that the tables go to; made if it is missing.
        location: the dataset's location, e.g. `EU`.
        api_endpoint: another address of the API, e.g. a local emulator's.
        anonymous: send no credentials, for an emulator.
        credentials_path: a service account's key file; application default credentials without.
        maximum_bytes_billed: what a query may bill, if its table isn't larger than half of that;
            one that would bill more fails unrun.
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
        self._maximum_bytes_billed = maximum_bytes_billed
        self._retry_seconds = retry_seconds
        self._retrying = True
        self._left_running: list[LoadJob | QueryJob] = []
        self._api_endpoint, self._anonymous = api_endpoint, anonymous
        self._credentials = _credentials(anonymous=anonymous, path=credentials_path)
        try:
            self._client = bigquery.Client(
                project=project,
                location=location,
                credentials=self._credentials,
                client_options=ClientOptions(api_endpoint=api_endpoint) if api_endpoint else None,
            )
        except DefaultCredentialsError as error:
            raise _refused_credentials(error) from error

    @property
    def namespace(self) -> str:
        """Return an identifier of this dataset, for locks."""
        return f"{self.address}/{self.dataset}"

    def connection(self) -> bigquery_lock.Connection:
        """Return a connection for locks, with the same credentials."""
        return bigquery_lock.connect(
            api_endpoint=self._api_endpoint,
            anonymous=self._anonymous,
            credentials=self._credentials,
            location=self.location,
            retry_seconds=self._retry_seconds,
        )

    def stop_retrying(self) -> None:
        """Let calls fail at their next error: the process is ending."""
        self._retrying = False

    def open(self) -> Mapping[str, float]:
        """Make the dataset if it does not exist; return its tables and their ages in hours.

        Raises:
            LoadError: the dataset is in another location.
        """
        with ThreadPoolExecutor(2) as pool:
            tables, jobs = pool.submit(self._tables), pool.submit(self._jobs_under_way)
            self._ensure_dataset()
            self._left_running = jobs.result()
            return tables.result()

    def wait_for_others(self, table: str) -> None:
        """Wait for what a run that was killed has left running on a table.

        BigQuery goes on with a statement when the process that sent it is gone, and runs an INSERT
        beside a MERGE: the rows would be there twice.

        Raises:
            LoadError: a job makes no progress.
        """
        target = f"{self.dataset}.{table}"
        for job in self._left_running:
            if not _writes(job, target):
                continue
            logger.warning("Table %s: waiting for job %s of a run that ended", target, job.job_id)
            self._call(f"job {job.job_id}", partial(self._finish, job))

    def _jobs_under_way(self) -> list[LoadJob | QueryJob]:
        """Return the jobs of this loader, of whatever run, that have not ended."""
        try:
            return [
                job
                for state in ("pending", "running")
                for job in self._call(
                    "the list of jobs under way",
                    partial(self._jobs, state),
                    passing=exceptions.Forbidden,
                )
                if str(job.job_id).startswith(JOB_PREFIX)
            ]
        except exceptions.Forbidden:
            logger.warning(
                "BigQuery lets this account see no list of jobs, so that nothing waits for what a "
                "run that was killed may have left running. Grant it `roles/bigquery.user`."
            )
            return []

    def _jobs(self, state: str) -> list[LoadJob | QueryJob]:
        return list(self._client.list_jobs(state_filter=state, retry=ONCE, timeout=REQUEST_SECONDS))

    def _ensure_dataset(self) -> None:
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

    def _tables(self) -> Mapping[str, float]:
        try:
            found = self._call(
                f"dataset {self.dataset}",
                lambda: list(
                    self._client.list_tables(
                        self.dataset,
                        page_size=TABLES_A_PAGE,
                        retry=ONCE,
                        timeout=REQUEST_SECONDS,
                    )
                ),
                passing=exceptions.NotFound,
            )
        except exceptions.NotFound:
            return {}
        now = datetime.datetime.now(datetime.UTC)
        return {
            table.table_id: (now - table.created).total_seconds() / SECONDS_AN_HOUR
            for table in found
        }

    def table_info(self, table: str) -> TableInfo | None:
        """Return what a table is like, or None where there is no such table."""
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
        return TableInfo(
            types={column.name: _column_type(column) for column in found.schema},
            partitioning=_partitioning(found),
            size=int(found.num_bytes or 0),
            schema=found.schema,
            clustering=found.clustering_fields or (),
            key_label=found.labels.get(KEY_LABEL),
        )

    def create_table(
        self,
        layout: Layout,
        partitioning: Partitioning | None,
        *,
        name: str | None = None,
        schema: Sequence[bigquery.SchemaField] | None = None,
    ) -> None:
        """Make a stream's table: clustered by its key, partitioned if asked.

        Args:
            layout: the stream's columns and key.
            partitioning: how to partition the table.
            name: another name for it than the layout's.
            schema: its columns, where they are not the layout's.
        """
        name = name or layout.table
        table = bigquery.Table(f"{self.dataset}.{name}", schema=schema or _fields(layout.types))
        table.clustering_fields = _clustering(layout) or None
        table.labels = {KEY_LABEL: layout.key_label}
        match partitioning:
            case TimePartitioning(column, unit):
                table.time_partitioning = bigquery.TimePartitioning(unit, field=column)
            case RangePartitioning(column, start, end, interval):
                table.range_partitioning = bigquery.RangePartitioning(
                    bigquery.PartitionRange(start=start, end=end, interval=interval), field=column
                )
        self._create(table)

    def note_key(self, layout: Layout) -> None:
        """Note that a table's rows have a layout's key."""
        table = bigquery.Table(f"{self.dataset}.{layout.table}")
        table.labels = {KEY_LABEL: layout.key_label}
        self._call(
            f"table {self.dataset}.{layout.table}",
            lambda: self._client.update_table(
                table, ["labels"], retry=ONCE, timeout=REQUEST_SECONDS
            ),
        )

    def create_staging_table(self, name: str, columns: Mapping[str, ColumnType]) -> None:
        """Make a staging table, which expires if it is not dropped."""
        table = bigquery.Table(f"{self.dataset}.{name}", schema=_fields(columns))
        lifetime = datetime.timedelta(days=STAGING_DAYS)
        table.expires = datetime.datetime.now(datetime.UTC) + lifetime
        self._create(table)

    def _create(self, table: bigquery.Table) -> None:
        self._call(
            f"table {self.dataset}.{table.table_id}",
            lambda: self._client.create_table(
                table, exists_ok=True, retry=ONCE, timeout=REQUEST_SECONDS
            ),
        )

    def load_parquet(
        self, path: Path, table: str, columns: Mapping[str, ColumnType], job: str
    ) -> tuple[int, int]:
        """Append a Parquet file to a staging table; return the rows and bytes that arrived.

        Columns of the file that are not named are left out.
        """
        options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
        options.enable_list_inference = True
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=_fields(columns),
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
        return int(finished.output_rows or 0), int(finished.output_bytes or 0)

    def execute(
        self, sql: str, what: str, job: str, bill: Bill, *, names_in_full: bool = False
    ) -> Changes:
        """Run one statement and return the rows that it changed.

        Args:
            sql: the statement.
            what: what it is for, in words, for errors.
            job: the job's identifier, less the number of the attempt.
            bill: what it may cost.
            names_in_full: whether its tables are named with their project and dataset; else those
                without are in this dataset.
        """
        finished = self._query(sql, what, job, bill, names_in_full=names_in_full)
        total = int(finished.num_dml_affected_rows or 0)
        return Changes(total, finished.dml_stats.inserted_row_count if finished.dml_stats else 0)

    def append_rows(
        self,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        schema: Sequence[bigquery.SchemaField],
        *,
        partitioned_by: str,
        job: str,
    ) -> None:
        """Append rows to a table by one load job; the dataset, table and columns are made."""
        self._ensure_dataset()
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
            schema=schema,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            schema_update_options=[bigquery.SchemaUpdateOption.ALLOW_FIELD_ADDITION],
            time_partitioning=bigquery.TimePartitioning(field=partitioned_by),
        )

        def submit(job_id: str) -> LoadJob:
            return self._client.load_table_from_json(
                [dict(row) for row in rows],
                f"{self.dataset}.{table}",
                job_id=job_id,
                job_config=config,
                num_retries=0,
                timeout=REQUEST_SECONDS,
            )

        self._run(f"load into {self.dataset}.{table}", job, submit)

    def fetch_rows(self, sql: str, what: str, job: str, bill: Bill) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        finished = self._query(sql, what, job, bill)
        return self._call(
            what,
            lambda: [row.values() for row in finished.result(retry=ONCE, timeout=REQUEST_SECONDS)],
        )

    def _query(
        self, sql: str, what: str, job: str, bill: Bill, *, names_in_full: bool = False
    ) -> QueryJob:
        options = bigquery.QueryJobConfig()
        if not names_in_full:
            options.default_dataset = self.dataset
        if self._maximum_bytes_billed:
            # A statement reads its table and writes it again, at most: that is never a slip.
            options.maximum_bytes_billed = max(self._maximum_bytes_billed, 2 * bill.size)

        def submit(job_id: str) -> QueryJob:
            return self._client.query(
                sql,
                job_config=options,
                job_id=job_id,
                retry=ONCE,
                job_retry=ONCE,
                timeout=REQUEST_SECONDS,
            )

        finished = self._run(what, job, submit)
        bill.billed += int(finished.total_bytes_billed or 0)
        return finished

    def row_count(self, table: str) -> int:
        """Return the number of rows in a table that is not being streamed into."""
        found = self._call(
            f"table {self.dataset}.{table}",
            lambda: self._client.get_table(
                f"{self.dataset}.{table}", retry=ONCE, timeout=REQUEST_SECONDS
            ),
        )
        return int(found.num_rows or 0)

    def drop_table(self, table: str) -> None:
        """Drop a table if it exists."""
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
                self._finish(running)
            except GoogleCloudError:
                if running.error_result:
                    attempt += 1
                raise
            return running

        return self._call(what, once)

    def _finish(self, job: LoadJob | QueryJob) -> None:
        """Wait for the end of a job, as long as it makes progress.

        Raises:
            LoadError: nothing of it has changed for `PATIENCE_SECONDS`.
            GoogleCloudError: the job has failed.
        """
        before = None
        while True:
            try:
                job.result(retry=ONCE, timeout=PATIENCE_SECONDS)
            except concurrent.futures.TimeoutError:
                job.reload(retry=ONCE, timeout=REQUEST_SECONDS)
            else:
                return
            now = _progress(job)
            if now == before:
                self.stop_retrying()
                raise LoadError(
                    f"BigQuery, job {job.job_id}: it is {job.state} and has made no progress for "
                    f"{PATIENCE_SECONDS:g} s. Cancel it in BigQuery's job history (locally, "
                    f"`meltano invoke sandbox down` and `up` end it), then run again."
                )
            before = now

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
        # The time is used up: other calls that wait for it do not wait as long again.
        self.stop_retrying()
        host = urlsplit(self.address).netloc
        return RunError(
            f"BigQuery at {host} did not answer within {self._retry_seconds:g} s ({what}: "
            f"{_reason(error)}). Rows not yet committed are read again by the next run. Locally, "
            f"`meltano invoke sandbox up` starts it; otherwise check `api_endpoint` and the "
            f"network."
        )


def _writes(job: LoadJob | QueryJob, target: str) -> bool:
    """Return whether a job of this loader changes a table, or its staging tables."""
    if isinstance(job, QueryJob):
        return f"`{target}`" in job.query
    return False  # load jobs only fill staging tables of their own run


def _progress(job: LoadJob | QueryJob) -> object:
    """Return what changes while BigQuery works at a job."""
    statistics = job._properties.get("statistics", {})
    return job.state, statistics


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
    """Return the root cause of an error, in one line."""
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


def _fields(columns: Mapping[str, ColumnType]) -> list[bigquery.SchemaField]:
    return [_field(name, column) for name, column in columns.items()]


def _clustering(layout: Layout) -> list[str]:
    clusterable = [key for key in layout.keys if layout.types[key].kind in CLUSTERABLE]
    return clusterable[:MAXIMUM_CLUSTERING_COLUMNS]


def _partitioning(table: bigquery.Table) -> Partitioning | None:
    if (time := table.time_partitioning) and time.field:
        return TimePartitioning(time.field, time.type_)
    if ranges := table.range_partitioning:
        bounds = ranges.range_
        return RangePartitioning(ranges.field, bounds.start, bounds.end, bounds.interval)
    return None


def _field(name: str, column: ColumnType) -> bigquery.SchemaField:
    mode = "REPEATED" if column.repeated else "NULLABLE"
    return bigquery.SchemaField(name, column.kind.value, mode=mode)


def _column_type(field: bigquery.SchemaField) -> ColumnType | None:
    kind = KINDS.get(field.field_type)
    return ColumnType(kind, repeated=field.mode == "REPEATED") if kind else None
