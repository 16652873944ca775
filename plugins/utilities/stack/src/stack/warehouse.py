"""BigQuery, as the loader's settings say it: what it holds of the sources, and what it refuses.

A dataset takes two small queries: its columns by name, then the two columns of each table that
tell its rows, the deleted ones and the newest. (16 bytes a row at the most; BigQuery bills 10 MB a
table at the least.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPIError,
    NotFound,
    RetryError,
    ServerError,
    TooManyRequests,
)
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import bigquery
from google.cloud.bigquery import DEFAULT_RETRY
from requests.exceptions import RequestException
from run_ledger.ops import key_of
from target_bigquery_arrow.column_types import ColumnType, Kind
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import DELETED_AT, EXTRACTED_AT, METADATA
from target_bigquery_arrow.names import developer_name
from target_bigquery_arrow.table import STAGING_PREFIX

from stack import meltano
from stack.project import Plugin, Project
from stack.terminal import StackError


def connect(loader: Plugin) -> bigquery.Client:
    """Return a client with the loader's project, location, credentials and limit of bytes.

    Raises:
        google.auth.exceptions.DefaultCredentialsError: there are no credentials.
    """
    config = loader.config()
    credentials = AnonymousCredentials() if config.get("anonymous") else key_of(config)  # type: ignore[no-untyped-call]
    query_options = bigquery.QueryJobConfig()
    if limit := config.get("maximum_bytes_billed"):
        query_options.maximum_bytes_billed = limit
    return bigquery.Client(
        project=config["project"],
        location=config.get("location"),
        credentials=credentials,
        default_query_job_config=query_options,
        client_options=ClientOptions(api_endpoint=config.get("api_endpoint")),
    )


def explain(error: BaseException, what: str, loader: Plugin) -> tuple[str, str]:
    """Return what an error of BigQuery, of credentials or of the network means, and its fix."""
    error = getattr(error, "cause", None) or error
    if isinstance(error, UNREACHABLE):
        while error.__context__:
            error = error.__context__
        address = loader.config().get("api_endpoint") or "https://bigquery.googleapis.com"
        fix = meltano.sandbox_or("Check the network, and `api_endpoint`.")
        return f"{address} did not answer: {error}", fix
    said = str(getattr(error, "message", None) or error).strip().partition("\n")[0]
    match error:
        case GoogleAuthError():
            fix = (
                "Run `gcloud auth application-default login`; on a machine without you, name a "
                "service account's key file in GOOGLE_APPLICATION_CREDENTIALS."
            )
            return f"no usable credentials: {said}", fix
        case Forbidden():
            roles = "BigQuery Job User on the project, and BigQuery Data Editor on the dataset"
            fix = f"Grant this account {roles}; or correct {loader.where('project')}."
            return f"{what}: {said}", fix
        case ServerError() | TooManyRequests():
            return f"{what}: {said}", "Try again in a minute."
        case OSError() | ValueError():
            fix = "Name a service account's key file in `credentials_path`, or leave it out."
            return f"the credentials can't be read: {said}", fix
    is_elsewhere = "location" in said.lower() and not isinstance(error, NotFound)
    setting = loader.where("location" if is_elsewhere else "project")
    return f"{what}: {said}", f"Correct {setting}."


REQUEST_SECONDS = 20
ANSWER_SECONDS = 60
RETRY: Retry = DEFAULT_RETRY.with_timeout(5)
PARALLEL_QUERIES = 8
UNREACHABLE = (RequestException, TransportError, RetryError, TimeoutError)
ERRORS = (GoogleAPIError, GoogleAuthError, *UNREACHABLE, OSError, ValueError)
"""What comes of asking BigQuery, of its credentials and of the network."""

COLUMNS = """
select table_name, column_name, data_type
from `{dataset}`.INFORMATION_SCHEMA.COLUMNS
order by table_name, ordinal_position
"""
LOADS = Path(__file__).with_name("loads.sql").read_text()
RUNS = """
select *
from `{ledger}.runs`
order by ended_at desc
limit @limit
"""
ROWS = f"""
select
    '{{name}}' as name,
    countif(`{DELETED_AT}` is null) as live,
    countif(`{DELETED_AT}` is not null) as deleted,
    max(`{EXTRACTED_AT}`) as newest,
    countif(`{EXTRACTED_AT}` >= timestamp '{{since}}') as read_since
from `{{dataset}}.{{name}}`
"""
EPOCH = datetime.fromtimestamp(0, UTC)


class UnreachableError(StackError):
    """BigQuery doesn't answer, or refuses."""


@dataclass(frozen=True)
class RawTable:
    """A table in a raw dataset, with its columns' types: None for one that no loader writes."""

    columns: Mapping[str, ColumnType | None]
    live: int | None = None
    """How many rows there are, without those that are marked as deleted."""
    deleted: int | None = None
    newest: datetime | None = None
    """When the newest row was extracted."""
    read_since: int | None = None
    """How many rows were extracted since the moment that was asked for."""

    @property
    def is_loaded(self) -> bool:
        """Whether it has the columns that the loader gives to each of its tables."""
        return METADATA.keys() <= self.columns.keys()


@dataclass(frozen=True)
class Orphan:
    """A raw dataset that no source's file names."""

    dataset: str
    tables: int
    removal: str
    """The command that removes it."""


class Warehouse:
    """BigQuery, as the loader that all sources' loaders inherit from says it.

    Raises:
        UnreachableError: each of its functions, where BigQuery doesn't answer or refuses; also at
            once, where a variable isn't set or there are no credentials.
    """

    def __init__(self, loader: Plugin) -> None:
        """Prepare a client. Nothing is sent yet."""
        self._loader = loader
        project = loader.settings["project"]
        if not project.value:
            missing = f": {project.variable} isn't set" if project.variable else ""
            raise UnreachableError(f"The loader has no `project`{missing}.")
        self.project = str(project.value)
        self._client = self._asking(lambda: connect(loader))

    def tables(self, dataset: str, *, rows: bool = True) -> dict[str, RawTable]:
        """Return the tables of a dataset by name, the loader's staging tables left out."""
        columns: dict[str, dict[str, ColumnType | None]] = {}
        try:
            for row in self._query(COLUMNS.format(dataset=f"{self.project}.{dataset}")):
                table = columns.setdefault(row["table_name"], {})
                table[row["column_name"]] = _column_type(row["data_type"])
        except NotFound:
            return {}
        tables = {
            name: RawTable(types)
            for name, types in columns.items()
            if not name.startswith(STAGING_PREFIX)
        }
        loaded = [name for name, table in tables.items() if table.is_loaded]
        if rows and loaded:
            for row in self._rows(dataset, loaded):
                name = row.pop("name")
                tables[name] = RawTable(tables[name].columns, **row)
        return tables

    def counts(self, dataset: str, table: str, since: datetime) -> RawTable | None:
        """Count a table's rows, and those read since a moment; None where there is no table."""
        try:
            (row,) = self._rows(dataset, [table], since)
        except NotFound:
            return None
        del row["name"]
        return RawTable({}, **row)

    def _rows(
        self, dataset: str, tables: Iterable[str], since: datetime = EPOCH
    ) -> list[dict[str, Any]]:
        whole = f"{self.project}.{dataset}"
        queries = [ROWS.format(dataset=whole, name=n, since=since.isoformat()) for n in tables]
        return self._query("union all".join(queries))

    def all_tables(
        self, datasets: Iterable[str], *, rows: bool = True
    ) -> dict[str, dict[str, RawTable]]:
        """Return the tables of several datasets, asked for at once."""
        names = list(dict.fromkeys(datasets))
        with ThreadPoolExecutor(PARALLEL_QUERIES) as pool:
            found = pool.map(lambda name: self.tables(name, rows=rows), names)
            return dict(zip(names, found, strict=True))

    def orphans(self, project: Project) -> list[Orphan]:
        """Return the raw datasets of this environment that no source's file names."""
        config = self._loader.config()
        named = {source.dataset for source in project.sources.values()}
        datasets = self._asking(
            lambda: list(self._client.list_datasets(retry=RETRY, timeout=REQUEST_SECONDS))
        )
        names = [dataset.dataset_id for dataset in datasets]
        candidates = unclaimed(names, named, config.get("developer"))
        api = f" --api={config['api_endpoint']}" if config.get("api_endpoint") else ""
        return [
            Orphan(dataset, loaded, f"bq{api} rm -r -d {self.project}:{dataset}")
            for dataset, tables in self.all_tables(candidates, rows=False).items()
            if (loaded := sum(table.is_loaded for table in tables.values()))
        ]

    def loads(self, ledger: str, dataset: str | None, limit: int) -> list[dict[str, Any]]:
        """Return the last runs of the loader, the newest first: into a dataset, or into all."""
        into = bigquery.ScalarQueryParameter("dataset", "STRING", dataset)
        return self._recorded(LOADS, ledger, limit, into)

    def runs(self, ledger: str, limit: int) -> list[dict[str, Any]]:
        """Return the last runs of Meltano, the newest first: rows of `ops.runs`."""
        return self._recorded(RUNS, ledger, limit)

    def _recorded(
        self, sql: str, ledger: str, limit: int, *parameters: bigquery.ScalarQueryParameter
    ) -> list[dict[str, Any]]:
        """Return rows of the ledger; `ledger` is the loader's `ledger_dataset` here."""
        most = bigquery.ScalarQueryParameter("limit", "INT64", limit)
        try:
            return self._query(sql.format(ledger=f"{self.project}.{ledger}"), [most, *parameters])
        except NotFound:
            return []

    def _query(
        self, sql: str, parameters: Sequence[bigquery.ScalarQueryParameter] = ()
    ) -> list[dict[str, Any]]:
        options = bigquery.QueryJobConfig(query_parameters=parameters)
        return self._asking(
            lambda: [
                dict(row)
                for row in self._client.query(
                    sql, options, retry=RETRY, job_retry=None, timeout=REQUEST_SECONDS
                ).result(retry=RETRY, timeout=ANSWER_SECONDS)
            ]
        )

    def _asking[T](self, ask: Callable[[], T]) -> T:
        """Say in a line why BigQuery doesn't answer.

        Raises:
            NotFound: there is no such dataset or table.
        """
        try:
            return ask()
        except ERRORS as error:
            if isinstance(error, NotFound) and "Project" not in error.message:
                raise
            problem, fix = explain(error, f"project {self.project}", self._loader)
            raise UnreachableError(f"BigQuery: {problem}. {fix}") from error


def unclaimed(
    datasets: Iterable[str], named: Iterable[str], developer: str | None = None
) -> list[str]:
    """Return the datasets that may be of a source whose file has gone.

    A developer's own loads are called `<developer>_<dataset>`, beside production's. Each developer
    has a dataset `dbt_<developer>` too, by which they are known. A developer's command names that
    developer's datasets only, production's those of no developer.

    Args:
        datasets: all that there are.
        named: those that sources load into here.
        developer: the loader's `developer`, in an environment where loads are a developer's own.
    """
    there, claimed = set(datasets), set(named)
    own = None
    if developer is not None:
        try:
            own = developer_name(developer)
        except LoadError as error:
            raise StackError(str(error)) from error
    developers = {own, *(name.removeprefix("dbt_") for name in there if name.startswith("dbt_"))}

    def owner(dataset: str) -> str | None:
        fitting = [name for name in developers if name and dataset.startswith(f"{name}_")]
        return max(fitting, key=len, default=None)

    return sorted(
        dataset
        for dataset in there - claimed
        if owner(dataset) == own
        and (own or not any(dataset.endswith(f"_{name}") for name in claimed))
    )


def _column_type(name: str) -> ColumnType | None:
    """Read a type as INFORMATION_SCHEMA writes it."""
    repeated = name.startswith("ARRAY<")
    kind = name.removeprefix("ARRAY<").removesuffix(">") if repeated else name
    return ColumnType(Kind(kind), repeated) if kind in Kind else None
