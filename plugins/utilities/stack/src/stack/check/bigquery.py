"""BigQuery: does it answer, and may we write what the next run writes?

A dry run proves little: who may query need not be allowed to make a table. So a table is made in
each dataset, empty and about to expire, and dropped at once. Whether datasets can be made that
aren't there yet is found in the same way, by one of another name. And a row is inserted into a
temporary table: a project without billing, BigQuery's sandbox, takes tables and load jobs, but no
DML, and deletes its tables after 60 days (https://docs.cloud.google.com/bigquery/docs/sandbox).
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.table import STAGING_PREFIX

from stack.check import dbt, report
from stack.check.report import Context, Result, failed, noted, passed, skipped
from stack.project import Plugin, Source
from stack.warehouse import ERRORS, connect, explain

# The client's own retries are off (None, which its annotations leave out): they go on for minutes.
ONCE: Any = None
QUICK = {"retry": ONCE, "timeout": 8}
EXPIRES = timedelta(hours=1)
INSERT = """
create temp table stack_check (empty string);
insert into stack_check (empty) values (null);
drop table stack_check;
"""
INSERT_SECONDS = 30
# https://docs.cloud.google.com/bigquery/docs/error-messages
NO_BILLING = "billingNotEnabled"
BILLING = "https://console.cloud.google.com/billing/linkedaccount?project="
# The loader's and dbt's own, which are meant to go.
PASSING = re.compile(rf"{re.escape(STAGING_PREFIX)}.*|stack_check_.*|.*__dbt_tmp.*")
TABLES = 1000
"""How many tables of a dataset are looked at for one that expires: a page of the list."""


def check(context: Context) -> Iterator[Result]:
    """Yield what BigQuery says to each dataset that is written, or read."""
    loader = context.project.loader
    loaders = {one.loader.name: one.loader for one in context.sources} | {loader.name: loader}
    settings = list(report.settings(context, [loader, *loaders.values()]))
    yield from settings
    yield from _limit(context, [*loaders.values(), context.dbt])
    yield from _collisions(context)
    if any(result.ok is False for result in settings):
        yield skipped("connection", "not asked: settings are missing")
        return
    # Where there is no metadata server, Google's library looks for one longer than we have.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    probe = Probe(context, loader)
    connection = probe.connection()
    yield connection
    if connection.ok is False:
        return
    # A source without a `load_schema` is named among the project's files.
    sources = [source for source in context.sources if source.extractor.extras.get("load_schema")]
    written = [source.dataset for source in sources]
    with contextlib.suppress(LoadError):  # its name is wrong, which is said of dbt
        written.append(dbt.dataset(context))
    written = list(dict.fromkeys(written))
    # In `dev`, dbt reads what production has loaded.
    read = [name for name in map(load_schema, sources) if name not in written]
    with ThreadPoolExecutor(4) as pool:
        insert = pool.submit(probe.insert)
        yield from filter(None, pool.map(probe.write, written))
        yield insert.result()
        yield from pool.map(probe.read, read)
    # A dataset is made only once, to see whether it may be.
    if probe.missing:
        yield probe.make()


def load_schema(source: Source) -> str:
    """Return a source's raw dataset in production, which is also what dbt reads in `dev`."""
    return str(source.extractor.extras.get("load_schema"))


def _limit(context: Context, plugins: Sequence[Plugin]) -> Iterator[Result]:
    """Yield whether a query that would bill too much fails unrun."""
    if context.environment != "prod":
        return
    limits = {plugin.name: plugin.config().get("maximum_bytes_billed") for plugin in plugins}
    without = [name for name, limit in limits.items() if not limit]
    for name in without:
        fix = (
            f"Set `maximum_bytes_billed` of {name} under `prod` in meltano.yml: bytes that one "
            f"query may bill."
        )
        yield failed("limit", f"{name}: a query may bill any number of bytes", fix)
    if not without:
        sizes = sorted({f"{int(limit) / 2**30:g} GiB" for limit in limits.values() if limit})
        yield passed("limit", f"a query may bill {' or '.join(sizes)}")


def _collisions(context: Context) -> Iterator[Result]:
    """Yield whether a developer's own dataset is one of production's."""
    every = context.project.sources.values()
    production = {load_schema(source): source.name for source in every} | {dbt.PRODUCTION: "dbt"}
    for source in context.sources:
        owner = production.get(source.dataset)
        if owner and source.dataset != load_schema(source):
            detail = f"{source.name} would be loaded into {source.dataset}, production's of {owner}"
            yield failed(source.dataset, detail, "Choose another `DEVELOPER` in .env.")


class Probe:
    """BigQuery, asked once and with little patience."""

    def __init__(self, context: Context, loader: Plugin) -> None:
        """Take the loader's settings; nothing is sent yet."""
        self._context = context
        self._loader = loader
        config = loader.config()
        self.location = str(config.get("location") or "US")
        self.address = config.get("api_endpoint") or "https://bigquery.googleapis.com"
        self.project = config["project"]
        self.missing: list[str] = []

    def connection(self) -> Result:
        """Return whether BigQuery runs our jobs."""
        try:
            self._client = connect(self._loader)
            # What a job needs: credentials, the project, the right to run one. Costs nothing.
            dry_run = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
            self._client.query("select 1", dry_run, job_retry=ONCE, **QUICK)
        except ERRORS as error:
            return self._refusal(error, "connection", f"project {self.project}")
        return passed("connection", f"{self.address} runs jobs in project {self.project}")

    def insert(self) -> Result:
        """Return whether BigQuery runs DML for us: INSERT, UPDATE, MERGE."""
        try:
            self._client.query_and_wait(
                INSERT,
                api_timeout=INSERT_SECONDS,
                wait_timeout=INSERT_SECONDS,
                retry=ONCE,
                job_retry=ONCE,
            )
        except TimeoutError:
            return skipped("INSERT", f"no answer in {INSERT_SECONDS} s")
        except ERRORS as error:
            if not _lacks_billing(error):
                return self._refusal(error, "INSERT", "an INSERT into a temporary table")
            detail = (
                f"project {self.project} has no billing account (BigQuery's sandbox): INSERT, "
                f"UPDATE and MERGE are refused, and tables are deleted after 60 days"
            )
            return failed("INSERT", detail, f"Link a billing account: {BILLING}{self.project}")
        return passed("INSERT", "INSERT, UPDATE and MERGE are run")

    def write(self, name: str) -> Result | None:
        """Return whether a dataset is where it should be and takes tables.

        None where there is none yet: `make` tells of those.
        """
        dataset = self._find(name)
        if not isinstance(dataset, bigquery.Dataset):
            return dataset
        if elsewhere := self._elsewhere(dataset):
            return elsewhere
        scratch = bigquery.Table(
            f"{self.project}.{name}.stack_check_{token_hex(6)}",
            schema=[bigquery.SchemaField("empty", "STRING")],
        )
        scratch.expires = datetime.now(UTC) + EXPIRES
        try:
            self._client.create_table(scratch, **QUICK)
            self._client.delete_table(scratch, **QUICK)
        except ERRORS as error:
            return self._refusal(error, name, f"takes no table: a table in {name}")
        return self._expiring(dataset) or passed(name, f"takes tables, in {dataset.location}")

    def read(self, name: str) -> Result:
        """Return whether production's raw data can be read."""
        dataset = self._find(name)
        if isinstance(dataset, Result):
            return dataset
        if dataset is None:
            return passed(name, "is missing so far; dbt takes its tables as empty")
        try:
            next(iter(self._client.list_tables(dataset, 1, **QUICK)), None)
        except ERRORS as error:
            fix = f"Grant this account BigQuery Data Viewer on {name}."
            return self._refusal(error, name, f"can't be read: dataset {name}", fix)
        return self._elsewhere(dataset) or passed(name, f"can be read, in {dataset.location}")

    def make(self) -> Result:
        """Return whether the missing datasets can be made, by making another."""
        scratch = bigquery.Dataset(f"{self.project}.stack_check_{token_hex(6)}")
        scratch.location = self.location
        scratch.default_table_expiration_ms = int(EXPIRES.total_seconds() * 1000)
        names = ", ".join(sorted(self.missing))
        try:
            self._client.create_dataset(scratch, **QUICK)
            self._client.delete_dataset(scratch, **QUICK)
        except ERRORS as error:
            fix = (
                f"Grant this account BigQuery User on {self.project}; or let its owner make them, "
                f"in {self.location}."
            )
            is_forbidden = isinstance(error, exceptions.Forbidden)
            what = f"{names}: can't be made: a new dataset"
            return self._refusal(error, "new datasets", what, fix if is_forbidden else None)
        detail = f"{names}: the first run can make them, in {self.location}"
        return passed("new datasets", detail)

    def _find(self, name: str) -> bigquery.Dataset | Result | None:
        """Return a dataset; None where there is none yet, or what forbids to look."""
        try:
            return self._client.get_dataset(f"{self.project}.{name}", **QUICK)
        except exceptions.NotFound:
            self.missing.append(name)
            return None
        except ERRORS as error:
            return self._refusal(error, name, f"dataset {name}")

    def _elsewhere(self, dataset: bigquery.Dataset) -> Result | None:
        if dataset.location.lower() == self.location.lower():
            return None
        detail = f"is in {dataset.location}, and the settings say {self.location}"
        fix = (
            f"Correct {self._loader.where('location')}: raw datasets and dbt's are in "
            f"one place, and a dataset can't be moved."
        )
        return failed(dataset.dataset_id, detail, fix)

    def _expiring(self, dataset: bigquery.Dataset) -> Result | None:
        """Return what is deleted by itself: what a sandbox leaves behind once it has billing."""
        name = dataset.dataset_id
        say = failed if self._context.environment == "prod" else noted
        kept = dataset.default_table_expiration_ms, dataset.default_partition_expiration_ms
        if limit := min((limit for limit in kept if limit), default=None):
            days = timedelta(milliseconds=limit).total_seconds() / timedelta(days=1).total_seconds()
            fix = (
                f"Unless that is meant: bq update --default_table_expiration 0 "
                f"--default_partition_expiration 0 {self.project}:{name}"
            )
            return say(name, f"what is loaded into it is deleted after {days:g} days", fix)
        tables: list[Any] = []
        with contextlib.suppress(*ERRORS):  # `list` isn't what the next run needs
            tables = list(self._client.list_tables(dataset, TABLES, **QUICK))
        going = [one for one in tables if one.expires and not PASSING.fullmatch(one.table_id)]
        if not going:
            return None
        first = min(going, key=lambda one: one.expires)
        detail = (
            f"BigQuery will delete {len(going)} of its tables, {first.table_id} first, "
            f"on {first.expires:%Y-%m-%d}"
        )
        fix = f"Each that is to stay: bq update --expiration 0 {self.project}:{name}.<table>"
        return say(name, detail, fix)

    def _refusal(self, error: Exception, name: str, what: str, fix: str | None = None) -> Result:
        """Return what an error means, without secrets, and its fix unless one is given."""
        problem, usual = explain(error, what, self._loader)
        return failed(name, self._context.masked(problem), fix or usual)


def _lacks_billing(error: Exception) -> bool:
    """Return whether BigQuery refuses DML since the project has no billing account."""
    reasons = {one.get("reason") for one in getattr(error, "errors", []) if isinstance(one, dict)}
    return NO_BILLING in reasons or "Billing has not been enabled" in str(error)
