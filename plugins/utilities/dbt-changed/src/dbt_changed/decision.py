"""Which nodes have to be built: a function of what they were last built from and what is there now.

A node is out of date if anything that it is made of is another than when it was last built. That is
kept for each node, so that a job that builds only a part of the graph leaves the rest out of date.
"""

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

GOOD = ("success", "pass", "warn")
"""How a node ends that need not be built again: https://docs.getdbt.com/reference/artifacts/run-results-json"""
SOURCE, TEST = "source", "test"


@dataclass
class Node:
    """A raw table, model, seed, snapshot or test, and how it was last built.

    Attributes:
        id: as dbt identifies it.
        kind: `source`, `model`, `test`, …
        selector: selects this node alone in dbt.
        relation: its table or view, `project.dataset.table`; None for a test.
        inputs: what it reads, ephemeral models left out, each with the version that it was last
            built from; None if it wasn't.
        is_daily: whether its own code or that of an ephemeral model in it asks for the date.
        triggers: whether new rows are a reason to build what reads it, or only that it has
            appeared or gone; only of a source.
        runs_always: whether it runs with each build; only of a test.
        fingerprint: of the code that it was last built by; of a source, the code that names it.
        status: how the last build ended, as dbt says it.
        version: when it was last built, in ISO 8601 and UTC.
    """

    id: str
    kind: str
    selector: str
    relation: str | None = None
    inputs: dict[str, str | None] = field(default_factory=dict)
    is_daily: bool = False
    triggers: bool = True
    runs_always: bool = False
    fingerprint: str | None = None
    status: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Now:
    """What is there.

    Attributes:
        fingerprint: of the code.
        at: the moment, UTC.
        versions: of each raw table, when it was made and when it last changed: `made-changed`;
            None if it is missing.
        present: the relations of the target's dataset.
    """

    fingerprint: str
    at: datetime.datetime
    versions: Mapping[str, str | None]
    present: Collection[str]


type Graph = Mapping[str, Node]


def is_current(graph: Graph, fingerprint: str) -> bool:
    """Return whether a graph is that of the code with this fingerprint."""
    sources = [node for node in graph.values() if node.kind == SOURCE]
    return bool(sources) and all(node.fingerprint == fingerprint for node in sources)


def scope_of(graph: Graph, sources: Collection[str]) -> set[str]:
    """Return the nodes that read one of these sources, directly or not; without any, all."""
    known: dict[str, bool] = {}

    def is_fed(node_id: str) -> bool:
        if node_id not in known:
            node = graph.get(node_id)
            if node is None:
                known[node_id] = False
            elif node.kind == SOURCE:
                known[node_id] = node_id.split(".")[2] in sources
            else:
                known[node_id] = any(is_fed(input_id) for input_id in node.inputs)
        return known[node_id]

    built = [node for node in graph.values() if node.kind != SOURCE]
    return {node.id for node in built if not sources or is_fed(node.id)}


def raw_tables(graph: Graph, scope: Collection[str]) -> dict[str, str]:
    """Return the relation of each source that nodes of a scope read."""
    found = {input_id for node_id in scope for input_id in graph[node_id].inputs}
    return {
        node_id: node.relation
        for node_id, node in graph.items()
        if node_id in found and node.kind == SOURCE and node.relation
    }


def out_of_date(graph: Graph, scope: Collection[str], now: Now) -> dict[str, str]:
    """Return the nodes of a scope that have to be built, each with the reason.

    Tests follow their models, which dbt sees to. They are here if they failed or are new, or read a
    raw table that has changed.
    """
    today = now.at.date().isoformat()
    known: dict[str, str | None] = {}

    def reason(node_id: str) -> str | None:
        if node_id not in known:
            known[node_id] = reason_of(graph[node_id]) if node_id in scope else None
        return known[node_id]

    def reason_of(node: Node) -> str | None:
        if node.fingerprint != now.fingerprint:
            return "code"
        if node.status not in GOOD:
            return "failed"
        if node.relation and node.relation not in now.present:
            return "missing"
        if node.is_daily and node.kind != TEST and (node.version or "")[:10] != today:
            return "date"
        if any(is_other(node, input_id, seen) for input_id, seen in node.inputs.items()):
            return "data"
        return None

    def is_other(node: Node, input_id: str, seen: str | None) -> bool:
        above = graph.get(input_id)
        if above is None:
            return False
        if above.kind == SOURCE:
            there = now.versions.get(input_id)
            return there != seen if above.triggers else _made(there) != _made(seen)
        if node.kind == TEST:
            return False
        return reason(input_id) is not None or above.version != seen

    return {node_id: why for node_id in graph if (why := reason(node_id))}


def _made(version: str | None) -> str | None:
    return version and version.partition("-")[0]


def built(graph: Graph, statuses: Mapping[str, str], attempted: Collection[str], now: Now) -> None:
    """Note in a graph what a build has done.

    Args:
        graph: what is to be recorded.
        statuses: how each node of the build ended.
        attempted: what should have been built. What isn't among `statuses` was skipped.
        now: what was there when that was decided: what arrived meanwhile counts as not seen.
    """
    ended = {**dict.fromkeys(attempted, "skipped"), **statuses}
    for node_id, status in ended.items():
        if node := graph.get(node_id):
            node.fingerprint, node.status = now.fingerprint, status
            if status in GOOD:
                node.version = now.at.isoformat()
    for node_id, status in ended.items():
        if status in GOOD and (node := graph.get(node_id)):
            node.inputs = {input_id: _version(graph, input_id, now) for input_id in node.inputs}


def _version(graph: Graph, node_id: str, now: Now) -> str | None:
    node = graph.get(node_id)
    if node is None or node.kind == SOURCE:
        return now.versions.get(node_id)
    return node.version
