"""Definitions: an asset a raw table, dbt model and table in Metabase, in one lineage.

    raw tables of a source  ->  dbt models  ->  tables and dashboards of Metabase
    (one step a source)         (one step)      (one step)

All of them follow from the project's files: nothing here names a source or a model. Each step runs
the command of Meltano that people and cron run too, so guards, locks and the ledger hold for all.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, override

import dagster as dg
from dagster._core.definitions.definitions_load_context import StateBackedDefinitionsLoader
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from stack import meltano

from dagster_project import steps
from dagster_project.project import DBT, METABASE, RawSource, Snapshot, manifest

FOLLOWS = "the build and Metabase follow by themselves."
RETRIES = int(os.environ.get("DAGSTER_RETRIES", "2"))
RETRY_SECONDS = float(os.environ.get("DAGSTER_RETRY_SECONDS", "60"))
PARALLEL_SOURCES = int(os.environ.get("DAGSTER_PARALLEL_SOURCES", "4"))
CHECK_SECONDS = int(os.environ.get("DAGSTER_CHECK_SECONDS", "30"))
RETRY = dg.RetryPolicy(
    max_retries=RETRIES,
    delay=RETRY_SECONDS,
    backoff=dg.Backoff.EXPONENTIAL,
    jitter=dg.Jitter.PLUS_MINUS,
)
FORK = {"forkserver": {"preload_modules": ["dagster_dbt", "google.cloud.bigquery"]}}
PARALLEL = dg.multiprocess_executor.configured(
    {"max_concurrent": PARALLEL_SOURCES, "start_method": FORK}, name="parallel"
)


class Loader(StateBackedDefinitionsLoader[str]):
    """Ask Meltano and dbt where Dagster loads its code; runs are handed what was found then."""

    @property
    @override
    def defs_key(self) -> str:
        return "meltano"

    @override
    def fetch_state(self) -> str:
        return Snapshot.take().dumps()

    @override
    def defs_from_state(self, state: str) -> dg.Definitions:
        return definitions(Snapshot.loads(state), manifest())


class Translator(DagsterDbtTranslator):
    """Say of each dbt model what the project says of it."""

    def __init__(self, condition: dg.AutomationCondition[Any]) -> None:
        """Keep when a model is to be built."""
        super().__init__()
        self._condition = condition

    @override
    def get_automation_condition(
        self, dbt_resource_props: Mapping[str, Any]
    ) -> dg.AutomationCondition[Any]:
        return self._condition

    @override
    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """Return the folder: a source, or `core`."""
        return op_name(str(dbt_resource_props["fqn"][-2]))


def definitions(snapshot: Snapshot, manifest: Mapping[str, Any]) -> dg.Definitions:
    """Return all definitions.

    Args:
        snapshot: the project.
        manifest: dbt's.
    """
    loads = {source.name: load(source, snapshot, manifest) for source in snapshot.sources}
    condition = when_loaded([next(iter(found.keys)) for found in loads.values()])
    translator = Translator(condition)
    built = build(manifest, translator)
    downstream: list[dg.AssetsDefinition] = [built]
    if snapshot.metabase and (tables := list(in_metabase(snapshot, manifest, built, condition))):
        downstream.append(sync(tables))
    jobs = list(jobs_of(snapshot, loads))
    return dg.Definitions(
        assets=[*loads.values(), *downstream, *dashboards(manifest, built)],
        jobs=[*jobs, everything(loads)],
        schedules=schedules(snapshot, {job.name for job in jobs}),
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "build_what_was_loaded",
                target=dg.AssetSelection.assets(*downstream),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=CHECK_SECONDS,
                description="Builds what depends on new rows, once all sources have ended.",
            )
        ],
        # A process a step costs seconds, and the build and Metabase follow each other anyway.
        executor=dg.in_process_executor,
    )


def load(source: RawSource, snapshot: Snapshot, manifest: Mapping[str, Any]) -> dg.AssetsDefinition:
    """Return the raw tables of a source, which one step loads."""
    declared = {
        table["name"]: table
        for table in manifest["sources"].values()
        if table["source_name"] == source.name
    }
    # Nothing is known of a source that has never answered but that it is there.
    tables = source.tables or ["unknown"]
    specs = [
        dg.AssetSpec(
            [source.name, table],
            description=declared.get(table, {}).get("description") or source.label,
            group_name=op_name(source.name),
            kinds={"bigquery", "singer"},
            skippable=True,
            metadata={"dataset": source.dataset, "stream": source.streams.get(table, table)},
            freshness_policy=freshness(declared.get(table, {})),
        )
        for table in tables
    ]

    @dg.multi_asset(
        name=op_name(source.name),
        description=f"{source.label}: `meltano run stack:guard {' '.join(source.tasks)}`",
        specs=specs,
        can_subset=True,
        retry_policy=RETRY,
        pool=source.name,
    )
    def load_source(
        context: dg.AssetExecutionContext, config: steps.Load
    ) -> Iterator[dg.MaterializeResult[Any]]:
        yield from steps.load(context, config, source, snapshot)

    return load_source


def freshness(table: Mapping[str, Any]) -> dg.FreshnessPolicy | None:
    """Return the promise that dbt's `freshness` makes of a source's table, if any."""
    promise = table.get("freshness") or {}
    windows = [
        timedelta(**{f"{limit['period']}s": limit["count"]})
        for name in ("warn_after", "error_after")
        if (limit := promise.get(name)) and limit.get("count")
    ]
    match windows:
        case [warn, fail] if warn < fail:
            return dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)
        case [*_, fail]:
            return dg.FreshnessPolicy.time_window(fail_window=fail)
    return None


def when_loaded(tables: Sequence[dg.AssetKey]) -> dg.AutomationCondition[Any]:
    """Return when a model is built: something that it reads has changed, and no source is loading.

    So sources that are loaded together are followed by one build.

    Args:
        tables: a raw table of each source: a source loads all of its tables in one step.
    """
    condition = dg.AutomationCondition
    changed = condition.any_deps_match(
        (condition.data_version_changed() & ~condition.executed_with_root_target())
        | condition.will_be_requested()
    ).since_last_handled()
    ready: dg.AutomationCondition[Any] = changed & ~condition.in_progress()
    for key in tables:
        ready &= ~condition.asset_matches(key, condition.in_progress())
    return ready


def build(manifest: Mapping[str, Any], translator: Translator) -> dg.AssetsDefinition:
    """Return the dbt models, with their tests as checks, which one step builds."""

    @dbt_assets(
        manifest=manifest,
        name="dbt",
        dagster_dbt_translator=translator,
        retry_policy=RETRY,
        pool="dbt",
    )
    def build_models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from steps.build(context, manifest, translator)

    return build_models


def in_metabase(
    snapshot: Snapshot,
    manifest: Mapping[str, Any],
    built: dg.AssetsDefinition,
    condition: dg.AutomationCondition[Any],
) -> Iterator[dg.AssetSpec]:
    """Yield the tables that Metabase shows: dbt's, and raw tables of sources without models."""
    read = {table["source_name"] for table in manifest["sources"].values()}
    shown = [(key.path, key) for key in sorted(built.keys)]
    shown += [
        ([source.dataset, table], dg.AssetKey([source.name, table]))
        for source in snapshot.sources
        if source.name not in read
        for table in source.tables
    ]
    for path, key in shown:
        yield dg.AssetSpec(
            ["metabase", *path],
            deps=[key],
            description="As Metabase shows it.",
            group_name="metabase",
            kinds={"metabase"},
            skippable=True,
            automation_condition=condition,
        )


def sync(tables: Sequence[dg.AssetSpec]) -> dg.AssetsDefinition:
    """Return the tables in Metabase, which one step tells of."""

    @dg.multi_asset(
        name="metabase", specs=tables, can_subset=True, retry_policy=RETRY, pool="metabase"
    )
    def sync_metabase(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any]]:
        yield from steps.sync(context)

    return sync_metabase


def dashboards(manifest: Mapping[str, Any], built: dg.AssetsDefinition) -> Iterator[dg.AssetSpec]:
    """Yield dbt's exposures: what people look at."""
    keys = {spec.metadata["dagster_dbt/unique_id"]: spec.key for spec in built.specs}
    for exposure in manifest["exposures"].values():
        yield dg.AssetSpec(
            ["exposures", exposure["name"]],
            deps=[keys[node] for node in exposure["depends_on"]["nodes"] if node in keys],
            description=exposure["description"] or exposure.get("label"),
            group_name="exposures",
            kinds={exposure["type"]},
            metadata={"url": dg.MetadataValue.url(exposure["url"])} if exposure["url"] else {},
        )


def jobs_of(
    snapshot: Snapshot, loads: Mapping[str, dg.AssetsDefinition]
) -> Iterator[dg.JobDefinition | Any]:
    """Yield a job for each of Meltano's.

    One that loads sources and then runs dbt and Metabase loads them here; the rest follows by
    itself. A job of any other kind runs as it is.
    """
    extractors = {name: source for source in snapshot.sources for name in source.extractors}
    follows = ("stack:guard", f"{DBT}:", f"{METABASE}:")
    transformers = tuple(f"dbt-{source.name}:" for source in snapshot.sources)
    for name, tasks in snapshot.jobs.items():
        loading = [task for task in tasks if task.split()[0] in extractors]
        others = [task for task in tasks if task not in loading]
        if not loading or not all(task.startswith((*follows, *transformers)) for task in others):
            yield steps.job_as_it_is(name, op_name(name))
            continue
        by_source: dict[str, list[str]] = {}
        for task in loading:
            by_source.setdefault(extractors[task.split()[0]].name, []).append(task)
        yield dg.define_asset_job(
            op_name(name),
            selection=dg.AssetSelection.assets(*(loads[source] for source in by_source)),
            description=f"Loads what `meltano run {name}` loads; {FOLLOWS}",
            config={
                "ops": {
                    op_name(source): {"config": {"tasks": tasks}}
                    for source, tasks in by_source.items()
                }
            },
            executor_def=PARALLEL if len(by_source) > 1 else None,
        )


def everything(loads: Mapping[str, dg.AssetsDefinition]) -> Any:
    """Return the job that loads all sources beside each other."""
    return dg.define_asset_job(
        "every_source",
        selection=dg.AssetSelection.assets(*loads.values()),
        description=f"Loads all sources beside each other; {FOLLOWS}",
        executor_def=PARALLEL,
    )


def schedules(snapshot: Snapshot, jobs: set[str]) -> list[dg.ScheduleDefinition]:
    """Return Meltano's schedules. They run in `prod`; elsewhere they can be turned on."""
    status = (
        dg.DefaultScheduleStatus.RUNNING
        if meltano.environment() == "prod"
        else dg.DefaultScheduleStatus.STOPPED
    )
    return [
        dg.ScheduleDefinition(
            name=op_name(f"{name}_schedule"),
            job_name=op_name(job),
            cron_schedule=interval,
            default_status=status,
        )
        for name, (job, interval) in snapshot.schedules.items()
        if op_name(job) in jobs and interval != "@once"
    ]


def op_name(name: str) -> str:
    """Return a name as Dagster allows it."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


@dg.definitions
def project() -> dg.Definitions:
    """Return the definitions of this project, where Dagster asks for them."""
    return Loader().build_defs()
