"""A node is built when what it is made of has changed, and not otherwise."""

from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from dbt_changed import decision
from dbt_changed.decision import Node, Now

MORNING = datetime(2026, 11, 28, 4, tzinfo=UTC)
USERS, CHARGES, LOADS = (
    "source.acme.product.users",
    "source.acme.stripe.charges",
    "source.acme.ops.loads",
)
PARENTS = {
    "model.acme.stg_users": [USERS],
    "model.acme.stg_charges": [CHARGES],
    "model.acme.fct_mrr": ["model.acme.stg_charges"],
    "model.acme.dim_users": ["model.acme.stg_users", "model.acme.fct_mrr"],
    "model.acme.fct_days": ["model.acme.stg_users"],
    "model.acme.per_day": ["model.acme.fct_days"],
    "model.acme.stg_loads": [LOADS],
    "test.acme.key_of_users": ["model.acme.stg_users"],
}
DAILY = "model.acme.fct_days"


@dataclass
class World:
    """A warehouse and a project, of which tests change a little."""

    graph: dict[str, Node] = field(default_factory=dict)
    code: str = "code 1"
    at: datetime = MORNING
    versions: dict[str, str | None] = field(
        default_factory=lambda: dict.fromkeys((USERS, CHARGES, LOADS), "1-1")
    )
    dropped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for source in (USERS, CHARGES, LOADS):
            self.graph[source] = Node(
                source, "source", "", f"acme.{source}", triggers=source != LOADS
            )
        for node_id, parents in PARENTS.items():
            self.graph[node_id] = Node(
                node_id,
                node_id.partition(".")[0],
                "",
                node_id if node_id.startswith("model") else None,
                dict.fromkeys(parents),
                is_daily=node_id == DAILY,
            )

    def now(self) -> Now:
        return Now(self.code, self.at, dict(self.versions), PARENTS.keys() - self.dropped)

    def to_build(self, *sources: str) -> dict[str, str]:
        """What has to be built, by short names, and why."""
        scope = decision.scope_of(self.graph, sources)
        found = decision.out_of_date(self.graph, scope, self.now())
        return {node_id.removeprefix("model.acme."): why for node_id, why in found.items()}

    def build(self, *sources: str, failing: Collection[str] = (), **statuses: str) -> set[str]:
        """Build it; return what was built."""
        scope = decision.scope_of(self.graph, sources)
        now = self.now()
        self.at += timedelta(minutes=1)
        attempted = decision.out_of_date(self.graph, scope, now)
        ended = {node_id: "error" if node_id in failing else "success" for node_id in attempted} | {
            f"test.acme.{name}": status for name, status in statuses.items()
        }
        decision.built(self.graph, ended, attempted, now)
        self.dropped -= attempted.keys()
        return {node_id.removeprefix("model.acme.") for node_id in attempted}


@pytest.fixture
def world() -> World:
    """All has just been built."""
    world = World()
    assert world.build() == {node_id.removeprefix("model.acme.") for node_id in PARENTS}
    return world


def test_nothing_has_changed(world: World) -> None:
    assert world.to_build() == {}


def test_a_raw_table_that_has_changed_is_followed_to_its_end(world: World) -> None:
    world.versions[CHARGES] = "2"
    assert world.to_build() == dict.fromkeys(("stg_charges", "fct_mrr", "dim_users"), "data")
    world.build()
    assert world.to_build() == {}


def test_a_raw_table_that_appears_or_goes_has_changed(world: World) -> None:
    world.versions[CHARGES] = None
    assert "stg_charges" in world.build()
    world.versions[CHARGES] = "1"
    assert "stg_charges" in world.build()


def test_a_job_builds_what_its_source_feeds_and_leaves_the_rest_out_of_date(world: World) -> None:
    world.versions |= {USERS: "2", CHARGES: "2"}
    # dim_users reads fct_mrr as it is: it is built again after stripe's job has built that.
    assert world.build("product") == {"stg_users", "dim_users", "fct_days", "per_day"}
    assert world.build("product") == set()
    assert world.build("stripe") == {"stg_charges", "fct_mrr", "dim_users"}
    assert world.to_build() == {}


def test_rows_that_arrive_during_a_build_are_not_taken_for_built(world: World) -> None:
    world.versions[CHARGES] = "2"
    scope = decision.scope_of(world.graph, ())
    before = world.now()
    attempted = decision.out_of_date(world.graph, scope, before)
    world.versions[CHARGES] = "3"
    decision.built(world.graph, dict.fromkeys(attempted, "success"), attempted, before)
    assert world.to_build() == dict.fromkeys(("stg_charges", "fct_mrr", "dim_users"), "data")


def test_code_that_has_changed_is_a_reason_for_everything(world: World) -> None:
    world.code = "code 2"
    assert world.to_build() == {node_id.removeprefix("model.acme."): "code" for node_id in PARENTS}
    assert not decision.is_current(world.graph, world.code)


def test_what_one_job_has_built_with_new_code_the_others_have_not(world: World) -> None:
    world.code = "code 2"
    world.build("stripe")
    assert world.to_build("stripe") == {}
    assert world.to_build("product") == {
        "stg_users": "code",
        "dim_users": "data",
        "fct_days": "code",
        "per_day": "code",
        "test.acme.key_of_users": "code",
    }


def test_a_new_day_is_a_reason_for_what_asks_for_it_and_depends_on_it(world: World) -> None:
    world.at += timedelta(days=1)
    assert world.to_build() == {"fct_days": "date", "per_day": "data"}
    world.build()
    assert world.to_build() == {}


def test_what_failed_and_what_was_skipped_for_it_is_built_again(world: World) -> None:
    world.versions[CHARGES] = "2"
    scope = decision.scope_of(world.graph, ())
    now = world.now()
    attempted = decision.out_of_date(world.graph, scope, now)
    ended = {"model.acme.stg_charges": "success", "model.acme.fct_mrr": "error"}
    decision.built(world.graph, ended, attempted, now)
    assert world.to_build() == {"fct_mrr": "failed", "dim_users": "failed"}
    world.build()
    assert world.to_build() == {}


def test_a_test_that_failed_runs_again_alone_until_it_passes(world: World) -> None:
    world.build(key_of_users="fail")
    assert world.to_build() == {"test.acme.key_of_users": "failed"}
    world.build(key_of_users="warn")
    assert world.to_build() == {}


def test_a_model_that_somebody_has_dropped_is_built_again(world: World) -> None:
    world.dropped = {"model.acme.fct_mrr"}
    assert world.to_build() == {"fct_mrr": "missing", "dim_users": "data"}
    assert world.to_build("product") == {}


def test_rows_of_a_source_that_triggers_nothing_are_no_reason_but_its_tables_are(
    world: World,
) -> None:
    world.versions[LOADS] = "1-2"
    assert world.to_build() == {}
    for version in (None, "2-3"):  # dropped, and made again
        world.versions[LOADS] = version
        assert world.to_build() == {"stg_loads": "data"}
        world.build()
        assert world.to_build() == {}


def test_a_node_without_a_record_is_new(world: World) -> None:
    graph = deepcopy(world.graph)
    graph["model.acme.new"] = Node("model.acme.new", "model", "", "model.acme.new", {USERS: None})
    found = decision.out_of_date(graph, decision.scope_of(graph, ()), world.now())
    assert found == {"model.acme.new": "code"}
