"""What the steps do: run a command of Meltano, and tell Dagster what came of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.tags import AUTOMATION_CONDITION_TAG
from dagster_dbt import DagsterDbtTranslator
from dagster_dbt.asset_utils import get_asset_check_key_for_test, get_subset_selection_for_context
from google.api_core.exceptions import GoogleAPIError
from google.cloud import bigquery
from pydantic import Field
from stack import meltano
from stack.warehouse import connect

from dagster_project.project import DBT, METABASE, RawSource, Snapshot, target

LAST_LINES = 30
LEDGER = dg.AssetKey(["ops", "loads"])
"""What the loader writes of its loads, and models read: new where a load has changed a table."""
TERMINATION_SECONDS = 60
RUN = "DBT_ENV_CUSTOM_ENV_DAGSTER_STEP"
"""dbt writes what such variables hold into its results: whose they are."""
LOADS = """
select
    *,
    last_value(
        if(
            rows_inserted + rows_updated + rows_deleted + array_length(schema_changes) > 0,
            load_id,
            null
        ) ignore nulls
    ) over (partition by `table` order by ended_at) as changed_by
from `{ledger}.loads`
where dataset = @dataset and `table` is not null
qualify ended_at >= @since
order by ended_at
"""


class Load(dg.Config):
    """How the tables of a source are loaded."""

    tasks: list[str] = Field(
        default=[], description="What `meltano run` is told; by default, the source's extractor."
    )
    resync: bool = Field(
        default=False, description="Read the selected tables again from their beginning."
    )
    backfill_from: str = Field(
        default="", description="Read the selected tables again since a day, e.g. 2026-01-31."
    )


def run_meltano(*arguments: str, **variables: str) -> None:
    """Run a command of Meltano; what it prints is in the log of the step.

    Raises:
        dagster.Failure: it has failed, with its last lines.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    process = subprocess.Popen(  # noqa: S603
        meltano.command(*arguments),
        cwd=meltano.root(),
        env={**os.environ, **variables, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        assert process.stdout  # noqa: S101
        for line in process.stdout:
            sys.stdout.write(line)
            last.append(line.rstrip())
        code = process.wait()
    finally:
        stop(process)
    if code:
        said = "\n".join(last)
        raise dg.Failure(f"`meltano {' '.join(arguments)}` has failed:\n{said}")


def stop(process: subprocess.Popen[str]) -> None:
    """End a command with all that it has started, where a run is cancelled or takes too long."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(TERMINATION_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def load(
    context: dg.AssetExecutionContext, config: Load, source: RawSource, snapshot: Snapshot
) -> Iterator[dg.MaterializeResult[Any]]:
    """Load a source, or read some of its tables again, and yield what was loaded.

    Raises:
        dagster.Failure: a stream has failed. What others have loaded is yielded all the same.
    """
    since = datetime.now(UTC)
    failure = None
    try:
        if config.resync or config.backfill_from:
            start = ["--from", config.backfill_from] if config.backfill_from else []
            command = "backfill" if config.backfill_from else "resync"
            for key in context.selected_asset_keys:
                stream = source.streams.get(key.path[-1], key.path[-1])
                run_meltano("invoke", "stack", command, source.name, stream, *start)
        else:
            tasks = config.tasks or source.tasks
            run_meltano("run", "stack:guard", *(word for task in tasks for word in task.split()))
    except dg.Failure as error:
        failure = error
    changed = set()
    for key, metadata, version in loaded(context, source, snapshot, since):
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key, metadata=metadata, data_version=version)
        else:  # a source loads all of its tables, even where only some were asked for
            tags = {DATA_VERSION_TAG: version.value}
            context.log_event(dg.AssetMaterialization(key, metadata=metadata, tags=tags))
        if version.value == metadata.get("load"):
            changed.add(version.value)
    for load_id in changed:
        tags = {DATA_VERSION_TAG: load_id}
        context.log_event(dg.AssetMaterialization(LEDGER, tags=tags))
    if failure:
        raise failure


def loaded(
    context: dg.AssetExecutionContext, source: RawSource, snapshot: Snapshot, since: datetime
) -> Iterator[tuple[dg.AssetKey, dict[str, Any], dg.DataVersion]]:
    """Yield what the ledger says of each table that was loaded since a moment.

    The version of a table's data is the load that has changed it last: a load that brings nothing
    new leaves it, and no model is built for it.
    """
    client = connect(snapshot.warehouse)
    options = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ScalarQueryParameter("dataset", "STRING", source.dataset),
            bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
        ]
    )
    try:
        rows = client.query_and_wait(LOADS.format(ledger=snapshot.ledger), job_config=options)
    except GoogleAPIError as error:  # it was loaded all the same
        context.log.warning(f"What was loaded isn't known: {error}")
        for table in source.tables:
            yield dg.AssetKey([source.name, table]), {}, dg.DataVersion(since.isoformat())
        return
    last = {row["table"]: row for row in rows if row["error"] is None}
    counts = count(client, source.dataset, last)
    for row in last.values():
        metadata = {
            "rows received": row["rows_received"],
            "rows inserted": row["rows_inserted"],
            "rows updated": row["rows_updated"],
            "rows deleted": row["rows_deleted"],
            "bytes billed": row["bytes_billed"],
            "seconds": (row["ended_at"] - row["started_at"]).total_seconds(),
            "bookmark": dg.MetadataValue.json(row["bookmark"]),
            "schema changes": dg.MetadataValue.json(row["schema_changes"]),
            "load": row["load_id"],
        }
        if row["table"] in counts:
            metadata |= counts[row["table"]]
        key = dg.AssetKey([source.name, row["table"]])
        yield key, metadata, dg.DataVersion(row["changed_by"] or "nothing")


def count(
    client: bigquery.Client, dataset: str, tables: Iterable[str]
) -> dict[str, dict[str, int]]:
    """Return the rows and bytes of tables, those of deleted rows included. Bills nothing.

    A plain `count(*)` is answered from metadata: https://cloud.google.com/bigquery/pricing
    """
    counts = [
        f"select '{table}' as name, count(*) as n from `{dataset}.{table}`" for table in tables
    ]
    try:
        rows = client.query_and_wait("\nunion all\n".join(counts)) if counts else ()
        return {
            row["name"]: {
                "dagster/row_count": row["n"],
                "bytes": client.get_table(f"{dataset}.{row['name']}").num_bytes or 0,
            }
            for row in rows
        }
    except GoogleAPIError:
        return {}


def build(
    context: dg.AssetExecutionContext,
    manifest: Mapping[str, Any],
    translator: DagsterDbtTranslator,
) -> Iterator[Any]:
    """Build the models for which something was loaded, or those that somebody has chosen.

    Tried again, the step builds only what has failed and what was skipped for it: `build-changed`
    knows, and `dbt retry` does.

    Raises:
        dagster.Failure: dbt has failed. What was built is yielded all the same.
    """
    step = f"{context.run_id}/{context.op_execution_context.op_handle}"
    is_automatic = AUTOMATION_CONDITION_TAG in context.run.tags
    variables = {RUN: step}
    failure = None
    try:
        if is_automatic:
            run_meltano("run", "stack:guard", f"{DBT}:build-changed", **variables)
        elif context.retry_number and results(step):
            run_meltano("invoke", DBT, "retry", **variables)
        else:
            only, indirect = get_subset_selection_for_context(
                context,
                manifest,
                select=None,
                exclude=None,
                selector=None,
                dagster_dbt_translator=translator,
                current_dbt_indirect_selection_env=None,
            )
            variables |= {"DBT_INDIRECT_SELECTION": indirect} if indirect else {}
            without = ["--exclude-resource-type", "unit_test"]
            run_meltano("run", "stack:guard")
            run_meltano("invoke", DBT, "build", *without, *only, **variables)
    except dg.Failure as error:
        failure = error
    done = {result["unique_id"]: result for result in results(step)}
    specs = (
        ()
        if failure or not is_automatic
        else map(context.assets_def.get_asset_spec, context.selected_asset_keys)
    )
    others = {spec.metadata["dagster_dbt/unique_id"]: spec.key for spec in specs}
    # Dagster wants each after what it reads, and those that are as they were, too: else it would
    # take what depends on them for not to be done.
    for node_id in TopologicalSorter(manifest["parent_map"]).static_order():
        if node_id in done:
            yield from events(context, done[node_id], manifest, translator)
        elif node_id in others:
            name = others[node_id].to_python_identifier()
            yield dg.Output(None, name, metadata={"status": "unchanged"})
    if failure:
        raise failure


def results(step: str) -> list[dict[str, Any]]:
    """Return what dbt has done in a step; nothing if its results are another's."""
    try:
        found = json.loads((target() / "run_results.json").read_text())
    except (OSError, ValueError):
        return []
    name = RUN.removeprefix("DBT_ENV_CUSTOM_ENV_")
    done: list[dict[str, Any]] = found["results"]
    return done if found["metadata"]["env"].get(name) == step else []


def events(
    context: dg.AssetExecutionContext,
    result: Mapping[str, Any],
    manifest: Mapping[str, Any],
    translator: DagsterDbtTranslator,
) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
    """Yield what a node of a dbt build is to Dagster; log it if it wasn't asked for."""
    node = manifest["nodes"].get(result["unique_id"])
    if node is None or result["status"] == "skipped":
        return
    response = result["adapter_response"]
    metadata: dict[str, Any] = {
        "status": result["status"],
        "seconds": result["execution_time"],
        "bytes billed": response.get("bytes_billed") or 0,
    }
    if node["resource_type"] == "test":
        check = get_asset_check_key_for_test(manifest, translator, result["unique_id"], None)
        if check and check in context.selected_asset_check_keys:
            warn, error = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
            yield dg.AssetCheckResult(
                passed=result["status"] == "pass",
                asset_key=check.asset_key,
                check_name=check.name,
                severity=warn if result["status"] == "warn" else error,
                metadata={**metadata, "rows that break it": result["failures"] or 0},
                description=result["message"],
            )
    elif result["status"] == "success":
        key = translator.get_asset_key(node)
        if (rows := response.get("rows_affected")) is not None:
            metadata["dagster/row_count"] = rows
        if key in context.selected_asset_keys:
            yield dg.Output(None, key.to_python_identifier(), metadata=metadata)
        else:
            context.log_event(dg.AssetMaterialization(key, metadata=metadata))


def sync(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
    """Tell Metabase of the last build.

    Raises:
        dagster.Failure: it can't be told.
    """
    run_meltano("run", f"{METABASE}:sync")
    for key in context.selected_asset_keys:
        yield dg.MaterializeResult(asset_key=key)


def job_as_it_is(name: str, op: str) -> dg.JobDefinition:
    """Return a job that runs one of Meltano's as it is."""

    @dg.op(name=f"run_{op}", description=f"`meltano run {name}`")
    def run_job() -> None:
        run_meltano("run", name)

    @dg.job(name=op, description=f"`meltano run {name}`", executor_def=dg.in_process_executor)
    def job() -> None:
        run_job()

    return job
