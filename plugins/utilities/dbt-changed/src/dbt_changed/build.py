"""`dbt-<source>:build`: decide what has to be built, then let dbt build it, or don't start dbt."""

import argparse
import datetime
import gc
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_changed import decision
from dbt_changed.decision import SOURCE, TEST, Node, Now
from dbt_changed.errors import BuildError
from dbt_changed.project import fingerprint, read_target
from dbt_changed.warehouse import Warehouse

if TYPE_CHECKING:
    from bigquery_lock import Lock
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

REASONS = {
    "all": "as asked",
    "code": "because of code",
    "failed": "that failed or were skipped",
    "missing": "that are missing",
    "date": "for the date",
    "data": "for new data",
}
"""What is said of the reasons."""
NOTHING = "Nothing to build: no rows, code or date have changed"
KINDS = ("model", "seed", "snapshot", "test")
MAKE_MISSING = ("make_missing_models", "--args")
UNIT_TESTS = ("--exclude-resource-type", "unit_test")
WAIT_SECONDS = 1800
"""How long to wait for another build into the same dataset."""
TODAY = "today"
"""The macro that says which day it is."""
TRIGGERS = "triggers_build"
"""In a source's meta: false where new rows alone are no reason to build."""
RUNS_ALWAYS = "every_build"
"""The tag of a test that runs with each build."""
MARK = "manifest_code.txt"
"""Beside dbt's manifest: of which code it is, and when it was written."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        sources: whose descendants; none for everything.
        full: whether all of it is built, changed or not.
        unit_tests: whether dbt's unit tests run, too.
        common: what each dbt command is given.
        build: what `dbt build` is given besides.
    """

    sources: Sequence[str]
    full: bool
    unit_tests: bool
    common: Sequence[str]
    build: Sequence[str]


def main() -> int:
    """Build; return dbt's exit code, 0 if there is nothing to build."""
    try:
        return run(*read_arguments(sys.argv[1:]))
    except BuildError as error:
        print(f"{error}.", file=sys.stderr)  # noqa: T201
        return 1


def read_arguments(arguments: Sequence[str]) -> tuple[Request, str | None]:
    """Return what the command line asks for, and the target that it names.

    Raises:
        BuildError: it selects nodes.
    """
    parser = argparse.ArgumentParser(
        prog="dbt-changed",
        description="Build the dbt models whose data, code or date has changed, and test them. "
        "Other options are dbt build's.",
        allow_abbrev=False,
    )
    parser.add_argument("--source", action="append", default=[], help="only what this source feeds")
    parser.add_argument("--full", action="store_true", help="build all of it, changed or not")
    parser.add_argument("--unit-tests", action="store_true", help="run unit tests, too")
    parser.add_argument("--vars", help="as for dbt")
    parser.add_argument("--target", "-t", help="as for dbt")
    given, build = parser.parse_known_args(arguments)
    for option in build:
        if option.partition("=")[0] in (
            "-s",
            "--select",
            "-m",
            "--models",
            "--exclude",
            "--selector",
        ):
            message = (
                f"{option}: this command selects. Use `meltano invoke dbt-bigquery build {option}`"
            )
            raise BuildError(message)
    common = ["--vars", given.vars] if given.vars else []
    common += ["--target", given.target] if given.target else []
    # For dbt, a refresh of all rows is one of what is built: so build it.
    full = given.full or "--full-refresh" in build or "-f" in build
    return Request(given.source, full, given.unit_tests, common, build), given.target


def run(request: Request, target_name: str | None) -> int:
    """Decide without dbt if that can be, then with it.

    Raises:
        BuildError: nothing can be decided.
    """
    project = project_folder()
    profiles = Path(os.environ.get("DBT_PROFILES_DIR", project))
    target = read_target(project, profiles, target_name)
    code = fingerprint(project, target, request.common)
    warehouse = Warehouse(target)
    record = warehouse.record()
    if not request.full and decision.is_current(record, code):
        scope = decision.scope_of(record, request.sources)
        if not decision.out_of_date(record, scope, look(warehouse, record, scope, code)):
            echo(nothing(record, request))
            return 0
    return build_alone(request, warehouse, code)


def project_folder() -> Path:
    """Return the folder of dbt_project.yml."""
    return Path(os.environ.get("DBT_PROJECT_DIR", "."))


def build_alone(request: Request, warehouse: Warehouse, code: str) -> int:
    """Build under the lock of the dataset: what another build has just built isn't built again.

    Raises:
        BuildError: another build holds the lock for too long.
    """
    from bigquery_lock import Lock, LockError, connect

    connection = connect(
        api_endpoint=warehouse.endpoint,
        anonymous=warehouse.credentials is None,
        credentials=warehouse.credentials,
        location=warehouse.target.settings.get("location"),
    )
    lock = Lock(
        connection,
        warehouse.target.lock,
        purpose=f"the build of {warehouse.target.dataset}",
        wait_seconds=WAIT_SECONDS,
        on_wait=echo,
    )
    try:
        with lock:
            return build(request, warehouse, code, lock)
    except LockError as error:
        message = f"{str(error).removesuffix('.')}: nothing was built. Run it again later"
        raise BuildError(message) from error


def look(warehouse: Warehouse, graph: decision.Graph, scope: Iterable[str], code: str) -> Now:
    """Return what is there, in the warehouse and the code."""
    at = datetime.datetime.now(datetime.UTC)
    versions = warehouse.modified(decision.raw_tables(graph, [*scope]))
    return Now(code, at, versions, warehouse.relations())


def build(request: Request, warehouse: Warehouse, code: str, lock: "Lock") -> int:
    """Let dbt build what has to be built, and record it.

    Returns:
        dbt's exit code.
    """
    # What dbt makes of the project lives until the end: no use in looking for garbage in it.
    gc.disable()
    record = warehouse.record()
    manifest: Manifest | None = None
    graph = record
    if not decision.is_current(record, code):
        # The manifest is written at the end of the build.
        parsed = dbt(["--quiet", "--no-write-json", "parse", *request.common])
        if not parsed.success:
            return _exit_code(parsed)
        manifest = parsed.result
        graph = graph_of(manifest, record, code)
    scope = decision.scope_of(graph, request.sources)
    now = look(warehouse, graph, scope, code)
    if request.full:
        reasons = dict.fromkeys(scope, "all")
    else:
        reasons = decision.out_of_date(graph, scope, now)
    if not reasons:
        echo(nothing(graph, request))
        if not decision.is_current(record, code):
            record_build(warehouse, graph, lock)
        return 0
    say_what_is_built(graph, reasons)
    built = [alias_of(graph[node_id]) for node_id in reasons if graph[node_id].relation]
    missing = [
        node
        for node in graph.values()
        if node.kind == "model" and node.relation not in now.present and node.id not in reasons
    ]
    if missing:
        made = dbt(
            ["run-operation", *MAKE_MISSING, str({"built_anyway": built}), *request.common],
            manifest,
        )
        if not made.success:
            return _exit_code(made)
    selected = [graph[node_id].selector for node_id in reasons]
    selected += [node.selector for node in graph.values() if node.runs_always]
    kinds = () if request.unit_tests else UNIT_TESTS
    arguments = ["build", "--select", *selected, *kinds, *request.common, *request.build]
    result = build_and_write(arguments, manifest, code)
    statuses = {
        one.node.unique_id: str(one.status) for one in getattr(result.result, "results", ())
    }
    decision.built(graph, statuses, [*reasons], now)
    record_build(warehouse, graph, lock)
    return _exit_code(result)


def nothing(graph: decision.Graph, request: Request) -> str:
    """Return why there is nothing to build."""
    known = {node.id.split(".")[2] for node in graph.values() if node.kind == SOURCE}
    if unknown := [source for source in request.sources if source not in known]:
        return f"Nothing to build: dbt has no source {' and no source '.join(unknown)}"
    return NOTHING


def dbt(arguments: list[str], manifest: "Manifest | None" = None) -> "dbtRunnerResult":
    """Run a command of dbt's in this process: importing dbt takes longer than most commands.

    Args:
        arguments: of dbt's command line.
        manifest: what `parse` has returned, so that nothing is parsed twice.
    """
    from dbt.cli.main import dbtRunner

    # Each command leaves its log file open.
    warnings.simplefilter("ignore", ResourceWarning)
    return dbtRunner(manifest=manifest).invoke(arguments)


def build_and_write(
    arguments: list[str], manifest: "Manifest | None", code: str
) -> "dbtRunnerResult":
    """Run `dbt build`; write its results, and the manifest unless that of this code is there.

    To write the manifest takes as long as to build a few models.
    """
    target = Path(os.environ.get("DBT_TARGET_PATH") or project_folder() / "target")
    mark = target / MARK
    before = _marked(target, code)
    is_elsewhere = any(argument.startswith("--target-path") for argument in arguments)
    if mark.is_file() and mark.read_text() == before and not is_elsewhere:
        result = dbt(["--no-write-json", *arguments], manifest)
        if hasattr(result.result, "write"):
            result.result.write(str(target / "run_results.json"))
        return result
    result = dbt(arguments, manifest)
    if (after := _marked(target, code)) != before:
        mark.write_text(after)
    return result


def _marked(target: Path, code: str) -> str:
    path = target / "manifest.json"
    return f"{code} {path.stat().st_mtime_ns if path.exists() else 'missing'}"


def _exit_code(result: "dbtRunnerResult") -> int:
    """Return as dbt's command line does: https://docs.getdbt.com/reference/exit-codes."""
    if result.success:
        return 0
    return 2 if result.exception else 1


def graph_of(manifest: "Manifest", record: decision.Graph, code: str) -> dict[str, Node]:
    """Return the nodes of the code, each with how it was last built."""
    daily = _macros_that_ask_for(manifest, TODAY)
    models = [node for node in manifest.nodes.values() if node.resource_type == "model"]
    inner = {node.unique_id for node in models if node.config.materialized == "ephemeral"}
    views = {node.unique_id for node in models if node.config.materialized == "view"}

    @cache
    def inputs_of(node_id: str) -> tuple[str, ...]:
        """Return what a node reads, its ephemeral models replaced by what they read."""
        found: dict[str, None] = {}
        for input_id in manifest.nodes[node_id].depends_on.nodes:
            found |= dict.fromkeys(inputs_of(input_id) if input_id in inner else (input_id,))
        return (*found,)

    @cache
    def asks_for_the_date(node_id: str) -> bool:
        """Return whether a node's own code does, or that of an ephemeral model or view in it."""
        node = manifest.nodes[node_id]
        return not daily.isdisjoint(node.depends_on.macros) or any(
            asks_for_the_date(input_id)
            for input_id in node.depends_on.nodes
            if input_id in inner or input_id in views
        )

    graph = {
        source.unique_id: Node(
            source.unique_id,
            SOURCE,
            f"source:{source.source_name}.{source.name}",
            _relation(source),
            triggers=source.config.meta.get(TRIGGERS, True) is not False,
            fingerprint=code,
        )
        for source in manifest.sources.values()
    }
    for node in manifest.nodes.values():
        if node.resource_type not in KINDS or node.unique_id in inner:
            continue
        known = record.get(node.unique_id, Node(node.unique_id, str(node.resource_type), ""))
        graph[node.unique_id] = Node(
            node.unique_id,
            str(node.resource_type),
            f"fqn:{'.'.join(node.fqn)}",
            None if node.resource_type == TEST else _relation(node),
            {input_id: known.inputs.get(input_id) for input_id in inputs_of(node.unique_id)},
            is_daily=asks_for_the_date(node.unique_id),
            runs_always=RUNS_ALWAYS in node.tags,
            fingerprint=known.fingerprint,
            status=known.status,
            version=known.version,
        )
    return graph


def _macros_that_ask_for(manifest: "Manifest", name: str) -> set[str]:
    """Return the ids of the project's macro with a name, and of all that call it."""
    package = manifest.metadata.project_name
    found = {f"macro.{package}.{name}"}
    while True:
        more = {
            macro.unique_id
            for macro in manifest.macros.values()
            if not found.isdisjoint(macro.depends_on.macros)
        }
        if more <= found:
            return found
        found |= more


def _relation(node: Any) -> str:
    return f"{node.database}.{node.schema}.{getattr(node, 'identifier', None) or node.alias}"


def alias_of(node: Node) -> str:
    """Return the name of a node's table or view in its dataset."""
    return (node.relation or "").rpartition(".")[2]


def record_build(warehouse: Warehouse, graph: decision.Graph, lock: "Lock") -> None:
    """Record what was built. If that fails, the build is as good as before."""
    from bigquery_lock import Lost
    from google.api_core.exceptions import GoogleAPIError

    try:
        lock.check()
        warehouse.replace_record([*graph.values()])
    except (GoogleAPIError, Lost) as error:
        echo(
            f"This build isn't recorded in {warehouse.target.record}, so the next one repeats it: "
            f"{error}"
        )


def say_what_is_built(graph: decision.Graph, reasons: Mapping[str, str]) -> None:
    """Say how many models are built, and why; without any, how many tests run again."""
    models = [why for node_id, why in reasons.items() if graph[node_id].kind != TEST]
    counts = Counter(models or reasons.values())
    counted = ", ".join(f"{count} {REASONS[why]}" for why, count in counts.items())
    echo(f"{'Models to build' if models else 'Tests to run'}: {counted}")


def echo(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
