"""What is in the files gets into Metabase, and what people do there is theirs."""

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from metabase_content import cli
from metabase_content.api import ApiError, Metabase
from metabase_content.files import dump, read
from metabase_content.sync import RECORD

from .fake import FakeMetabase

Json = dict[str, Any]
ORGANISATIONS = ["All (dbt)", "dbt", "dim_organisations"]
OPPORTUNITIES = ["All (dbt)", "dbt", "fct_opportunities"]
TOTAL = "11111111-1111-4111-8111-111111111111"


def eid(name: str) -> str:
    return name.replace(" ", "_").ljust(21, "_")[:21]


def meta(name: str, model: str) -> list[Json]:
    return [{"id": eid(name), "label": name, "model": model}]


def collection(name: str, parent: str | None = None) -> Json:
    more = {"parent_id": eid(parent)} if parent else {}
    made: Json = {"name": name, "entity_id": eid(name), **more}
    return {**made, "serdes/meta": meta(name, "Collection")}


def field(*column: str, **options: Any) -> list[Any]:
    return ["field", options, list(column)]


def query(table: list[str], **stage: Any) -> Json:
    first = {"lib/type": "mbql.stage/mbql", "source-table": table, **stage}
    return {"lib/type": "mbql/query", "database": "All (dbt)", "stages": [first]}


def question(name: str, asked: Json, **more: Any) -> Json:
    return {
        "name": name,
        "entity_id": eid(name),
        "creator_id": "internal@metabase.com",
        "collection_id": eid("Company"),
        "display": "bar",
        "dataset_query": asked,
        "visualization_settings": {},
        **more,
        "serdes/meta": meta(name, "Card"),
    }


PIPELINE = question(
    "Pipeline",
    query(
        OPPORTUNITIES,
        filters=[["=", {}, field(*OPPORTUNITIES, "status"), "open"]],
        aggregation=[["sum", {"lib/uuid": TOTAL}, field(*OPPORTUNITIES, "value")]],
        breakout=[
            field(*ORGANISATIONS, "plan", **{"source-field": [*OPPORTUNITIES, "organisation_id"]})
        ],
        **{"order-by": [["desc", {}, ["aggregation", {}, TOTAL]]]},
    ),
)
COUNT = question("Organisations", query(ORGANISATIONS, aggregation=[["count", {}]]))


def dashcard(name: str, row: int, **more: Any) -> Json:
    place = {"entity_id": eid(f"on {name}"), "row": row, "col": 0, "size_x": 12, "size_y": 6}
    card = {"card_id": eid(name)} if name else {}
    ids = [{"id": eid("Overview"), "model": "Dashboard"}]
    return {**place, **card, **more, "serdes/meta": ids}


OVERVIEW: Json = {
    "name": "Overview",
    "entity_id": eid("Overview"),
    "creator_id": "internal@metabase.com",
    "collection_id": eid("Company"),
    "parameters": [{"id": "plan", "name": "Plan", "slug": "plan", "type": "string/="}],
    "dashcards": [
        dashcard(
            "Organisations",
            0,
            parameter_mappings=[
                {
                    "parameter_id": "plan",
                    "target": ["dimension", ["field", [*ORGANISATIONS, "plan"], None]],
                }
            ],
            visualization_settings={
                "click_behavior": {
                    "type": "link",
                    "linkType": "question",
                    "targetId": eid("Pipeline"),
                }
            },
        ),
        dashcard("Pipeline", 6),
        dashcard(
            "",
            12,
            visualization_settings={"virtual_card": {"display": "text"}, "text": "Read *this*"},
        ),
    ],
    "serdes/meta": meta("Overview", "Dashboard"),
}


def settings(shown: Json) -> Json:
    return dashcard("Organisations", 0, visualization_settings=shown)


PLANN = '["ref",["field",["All (dbt)","dbt","dim_organisations","plann"],null]]'


class Project:
    """A folder of content, and what a push of it prints."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, *documents: Json) -> None:
        for document in documents:
            path = self.root / "collections/main" / f"{document['name'].lower()}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dump(document))

    def path(self, name: str) -> Path:
        return self.root / "collections/main" / f"{name}.yaml"

    def text(self) -> dict[str, Json]:
        paths = sorted(self.root.rglob("*.yaml"))
        return {str(p.relative_to(self.root)): yaml.safe_load(p.read_text()) for p in paths}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "metabase")
    made.write(collection("Company"), PIPELINE, COUNT, OVERVIEW)
    return made


@pytest.fixture
def metabase() -> FakeMetabase:
    return FakeMetabase()


def push(metabase: FakeMetabase, project: Project, **options: Any) -> int:
    """Return how much was written, without the record of what was pushed."""
    before = metabase.writes
    cli.push(metabase, project.root, **options)
    return metabase.writes - before


def pull(metabase: FakeMetabase, project: Project, names: Sequence[str] = ()) -> None:
    assert cli.pull(metabase, project.root, names) == 0


def test_names_become_numbers(metabase: FakeMetabase, project: Project) -> None:
    assert cli.push(metabase, project.root) == 0
    card = metabase.named("card", "Pipeline")
    stage = card["dataset_query"]["stages"][0]
    fields = {
        f"{table['name']}.{column['name']}": column["id"]
        for table in metabase.tables()
        for column in table["fields"]
    }
    assert card["entity_id"] == eid("Pipeline")
    assert stage["filters"][0][2][2] == fields["fct_opportunities.status"]
    _, options, plan = stage["breakout"][0]
    assert plan == fields["dim_organisations.plan"]
    assert options["source-field"] == fields["fct_opportunities.organisation_id"]
    assert stage["order-by"][0][2][2] == stage["aggregation"][0][1]["lib/uuid"]
    first, second, _ = metabase.named("dashboard", "Overview")["dashcards"]
    assert second["card_id"] == card["id"]
    assert first["visualization_settings"]["click_behavior"]["targetId"] == card["id"]
    assert first["parameter_mappings"][0]["target"][1][1] == fields["dim_organisations.plan"]


def test_a_second_push_writes_nothing(metabase: FakeMetabase, project: Project) -> None:
    assert push(metabase, project) > 0
    assert push(metabase, project) == 0


def test_a_plan_writes_nothing(metabase: FakeMetabase, project: Project) -> None:
    assert push(metabase, project, dry=True) == 0


def test_only_what_differs_is_written(metabase: FakeMetabase, project: Project) -> None:
    push(metabase, project)
    project.write({**COUNT, "description": "All of them"})
    # The question, and the record of what was pushed.
    assert push(metabase, project) == 2
    assert metabase.named("card", "Organisations")["description"] == "All of them"


def test_a_card_on_a_dashboard_keeps_its_number(metabase: FakeMetabase, project: Project) -> None:
    """Subscriptions refer to it."""
    push(metabase, project)
    before = {d["card_id"]: d["id"] for d in metabase.named("dashboard", "Overview")["dashcards"]}
    first, second, third = OVERVIEW["dashcards"]
    project.write({**OVERVIEW, "dashcards": [{**second, "row": 20}, first, third]})
    push(metabase, project)
    after = {d["card_id"]: d["id"] for d in metabase.named("dashboard", "Overview")["dashcards"]}
    assert after == before


def test_what_people_change_is_shown_and_stays(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    push(metabase, project)
    metabase.named("dashboard", "Overview")["description"] = "Ours"
    assert push(metabase, project) == 0
    said = capsys.readouterr().out
    assert "! dashboard “Overview”: changed in Metabase: description" in said
    # The same if the file has changed too.
    project.write({**OVERVIEW, "width": "full"})
    assert push(metabase, project) == 0
    assert "changed here and in Metabase" in capsys.readouterr().out
    push(metabase, project, overwrite=["Overview"])
    row = metabase.named("dashboard", "Overview")
    assert (row["description"], row["width"]) == (None, "full")


def test_people_may_use_what_can_t_be_pushed(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    push(metabase, project)
    stage = metabase.named("card", "Organisations")["dataset_query"]["stages"][0]
    stage["aggregation"] = [["measure", {"lib/uuid": TOTAL}, 7]]
    assert push(metabase, project) == 0
    assert "question “Organisations”: changed in Metabase: dataset_query" in capsys.readouterr().out


def test_what_people_change_is_pulled(metabase: FakeMetabase, project: Project) -> None:
    push(metabase, project)
    before = project.text()
    row = metabase.named("dashboard", "Overview")
    row["dashcards"][1]["size_x"] = 24
    pull(metabase, project)
    after = project.text()
    shown = after["collections/main/overview.yaml"].pop("dashcards")
    before["collections/main/overview.yaml"].pop("dashcards")
    assert after == before
    assert [(d["entity_id"], d["size_x"]) for d in shown][:2] == [
        (eid("on Organisations"), 12),
        (eid("on Pipeline"), 24),
    ]
    # Only the record is written: the files are as the page is.
    assert push(metabase, project) == 1
    assert row["dashcards"][1]["size_x"] == 24


def test_a_dashboard_made_in_the_page_becomes_files_that_can_be_pushed_elsewhere(
    metabase: FakeMetabase, project: Project
) -> None:
    push(metabase, project)
    home = metabase.named("collection", "Company")["id"]
    new = metabase.make("dashboard", {"name": "By hand", "collection_id": home})
    # A question that was saved in the dashboard.
    asked = metabase.named("card", "Pipeline")["dataset_query"]
    own = {"name": "Own", "type": "question", "display": "table", "dataset_query": asked}
    own |= {"collection_id": home, "dashboard_id": new["id"], "visualization_settings": {}}
    card = metabase.make("card", own)
    place = {"id": -1, "row": 0, "col": 0, "size_x": 24, "size_y": 6, "dashboard_tab_id": None}
    shown = {**place, "card_id": card["id"], "visualization_settings": {}, "series": []}
    metabase.alter("dashboard", new, {"dashcards": [{**shown, "parameter_mappings": []}]})
    pull(metabase, project)
    assert {
        "collections/main/company/by_hand.yaml",
        "collections/main/company/by_hand/own.yaml",
    } < set(project.text())
    assert read(project.root).problems == []
    assert push(metabase, project) == 1
    elsewhere = FakeMetabase(first_id=7000)
    assert cli.push(elsewhere, project.root) == 0
    assert elsewhere.shape() == metabase.shape()
    pull(elsewhere, project)
    assert push(elsewhere, project) == 0


@pytest.mark.parametrize(
    "name", ["a/b", "../../x", ".hidden", "🚀", "ü" * 254, "Q1: #1 - 'x'", "no"]
)
def test_things_in_the_page_may_have_any_name(
    metabase: FakeMetabase, project: Project, name: str
) -> None:
    push(metabase, project)
    home = metabase.make("collection", {"name": name, "parent_id": None})
    for _ in range(2):
        metabase.make("dashboard", {"name": name, "collection_id": home["id"]})
    pull(metabase, project, [name])
    assert read(project.root).problems == []
    assert push(metabase, project) == 1
    elsewhere = FakeMetabase(first_id=7000)
    assert cli.push(elsewhere, project.root) == 0
    assert elsewhere.shape() == metabase.shape()


def test_a_segment_is_pulled_with_the_question_that_uses_it(
    metabase: FakeMetabase, project: Project
) -> None:
    push(metabase, project)
    asked = metabase.named("card", "Pipeline")["dataset_query"]
    stage = {key: asked["stages"][0][key] for key in ("lib/type", "source-table", "filters")}
    definition = {**asked, "stages": [stage]}
    is_open = metabase.make("segment", {"name": "Open", "definition": definition})
    used = {**stage, "filters": [["segment", {}, is_open["id"]]]}
    home = metabase.named("collection", "Company")["id"]
    new = {"name": "Open deals", "collection_id": home, "type": "question", "display": "table"}
    new |= {"dataset_query": {**asked, "stages": [used]}, "visualization_settings": {}}
    metabase.make("card", {**new, "entity_id": None})
    pull(metabase, project)
    elsewhere = FakeMetabase(first_id=7000)
    assert cli.push(elsewhere, project.root) == 0
    number = elsewhere.named("segment", "Open")["id"]
    stage = elsewhere.named("card", "Open deals")["dataset_query"]["stages"][0]
    assert stage["filters"][0][2] == number


@pytest.mark.parametrize("address", [None, "https://bi-1.acme.test/dashboard/{}-sketch?tab=1"])
def test_something_elsewhere_is_pulled_by_its_name_or_address(
    metabase: FakeMetabase, project: Project, address: str | None
) -> None:
    push(metabase, project)
    place = metabase.make("collection", {"name": "Sandbox", "parent_id": None})
    row = metabase.make("dashboard", {"name": "Sketch", "collection_id": place["id"]})
    pull(metabase, project, [address.format(row["id"]) if address else "Sketch"])
    assert "collections/main/sandbox/sketch.yaml" in project.text()
    assert cli.push(metabase, project.root) == 0


def test_what_left_the_files_is_archived_only_when_asked(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    push(metabase, project)
    project.path("overview").unlink()
    assert push(metabase, project) == 0
    assert "! dashboard “Overview”: no longer in the files" in capsys.readouterr().out
    push(metabase, project, archive=True)
    assert metabase.named("dashboard", "Overview")["archived"]
    assert not metabase.named("card", "Pipeline")["archived"]
    assert push(metabase, project) == 0


def test_what_people_have_archived_stays_so(metabase: FakeMetabase, project: Project) -> None:
    push(metabase, project)
    metabase.named("card", "Pipeline")["archived"] = True
    assert push(metabase, project) == 0
    push(metabase, project, overwrite=["Pipeline"])
    assert not metabase.named("card", "Pipeline")["archived"]


@pytest.mark.parametrize("writes", range(7))
def test_a_push_that_was_killed_is_made_up_for(
    metabase: FakeMetabase, project: Project, writes: int
) -> None:
    metabase.fails_after = writes
    with pytest.raises(KeyboardInterrupt):
        cli.push(metabase, project.root)
    metabase.fails_after = None
    assert cli.push(metabase, project.root) == 0
    whole = FakeMetabase()
    cli.push(whole, project.root)
    assert metabase.shape() == whole.shape()
    assert push(metabase, project) == 0


def test_a_dashboard_of_the_same_name_is_not_overwritten(
    metabase: FakeMetabase, project: Project
) -> None:
    home = metabase.make("collection", {"name": "Company", "parent_id": None})
    place = {"id": -1, "row": 0, "col": 0, "size_x": 24, "size_y": 6, "dashboard_tab_id": None}
    text = {"virtual_card": {"display": "text"}, "text": "Theirs"}
    shown = {**place, "card_id": None, "visualization_settings": text, "parameter_mappings": []}
    row = metabase.make("dashboard", {"name": "Overview", "collection_id": home["id"]})
    metabase.alter("dashboard", row, {"dashcards": [{**shown, "series": []}]})
    push(metabase, project)
    assert [d["visualization_settings"] for d in row["dashcards"]] == [text]
    assert len(metabase.rows["dashboard"]) == 2  # this one and the record


def test_a_segment_is_pushed_before_the_question_that_uses_it(
    metabase: FakeMetabase, project: Project
) -> None:
    is_open = ["=", {}, field(*OPPORTUNITIES, "status"), "open"]
    segment = {
        "name": "Open",
        "entity_id": eid("Open"),
        "creator_id": "internal@metabase.com",
        "table_id": OPPORTUNITIES,
        "definition": query(OPPORTUNITIES, filters=[is_open]),
        "serdes/meta": meta("Open", "Segment"),
    }
    path = project.root / "databases/all_dbt/schemas/dbt/tables/fct_opportunities/segments"
    path.mkdir(parents=True)
    (path / "open.yaml").write_text(dump(segment))
    asked = query(OPPORTUNITIES, filters=[["segment", {}, eid("Open")]])
    project.write(question("Open deals", asked))
    assert cli.push(metabase, project.root) == 0
    row = metabase.named("segment", "Open")
    stage = metabase.named("card", "Open deals")["dataset_query"]["stages"][0]
    assert stage["filters"][0][2] == row["id"]
    assert row["table_id"] == row["definition"]["stages"][0]["source-table"]
    assert push(metabase, project) == 0


# --- What can't be pushed is named, and the rest is pushed


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.removeprefix("  ✗ ") for line in capsys.readouterr().err.splitlines()]


def test_a_column_that_is_missing(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [["sum", {}, field(*OPPORTUNITIES, "vaule")]]
    project.write({**PIPELINE, "dataset_query": query(OPPORTUNITIES, aggregation=bad)})
    assert cli.push(metabase, project.root) == 1
    first, second = errors(capsys)
    path = project.path("pipeline")
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "vaule" in text)
    assert first.startswith(f"{path}:")
    assert first.endswith("dbt.fct_opportunities has no column vaule. Is it value?")
    assert int(first.split(":")[1]) == line
    assert second.startswith(f"{project.path('overview')}: “Overview” needs what can't be pushed")
    # Nothing of these two, and all of the rest.
    assert {row["name"] for row in metabase.rows["card"].values()} == {"Organisations"}


def test_a_table_that_is_missing(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write({**COUNT, "dataset_query": query(["All (dbt)", "dbt", "dim_organisation"])})
    assert cli.push(metabase, project.root) == 1
    assert "has no table dbt.dim_organisation. Is it dim_organisations?" in errors(capsys)[0]


def test_a_database_that_is_missing(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {**query(ORGANISATIONS), "database": "Warehouse"}
    project.write({**COUNT, "dataset_query": asked})
    assert cli.push(metabase, project.root) == 1
    assert "Metabase has no database 'Warehouse'; it has All (dbt)" in errors(capsys)[0]


def test_collections_in_a_cycle(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(collection("One", "Two"), collection("Two", "One"))
    assert cli.push(metabase, project.root) == 1
    said = errors(capsys)
    assert any("one.yaml:3: The collection is in itself: One → Two → One" in s for s in said)
    assert "Overview" in {row["name"] for row in metabase.rows["dashboard"].values()}


def test_questions_in_a_cycle(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(name: str) -> Json:
        stage = {"lib/type": "mbql.stage/mbql", "source-card": eid(name)}
        return {"lib/type": "mbql/query", "database": "All (dbt)", "stages": [stage]}

    project.write(question("A", of("B")), question("B", of("A")))
    assert cli.push(metabase, project.root) == 1
    assert any("Questions are made of one another" in said for said in errors(capsys))
    assert "Overview" in {row["name"] for row in metabase.rows["dashboard"].values()}


def test_two_files_with_one_id(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write({**COUNT, "name": "Zz"})
    assert cli.push(metabase, project.root) == 1
    (said,) = errors(capsys)
    assert said == (
        f"{project.path('zz')}:2: `entity_id` {eid('Organisations')} is also that of "
        f"{project.path('organisations')}"
    )


def test_a_question_that_was_pushed_is_not_archived_because_it_is_in_a_cycle(
    metabase: FakeMetabase, project: Project
) -> None:
    cli.push(metabase, project.root)
    stage = {"lib/type": "mbql.stage/mbql", "source-card": eid("Organisations")}
    project.write({**COUNT, "dataset_query": {**COUNT["dataset_query"], "stages": [stage]}})
    assert cli.push(metabase, project.root, archive=True) == 1
    assert not metabase.named("card", "Organisations")["archived"]


def test_a_column_of_a_table_that_the_question_does_not_read(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = field(*ORGANISATIONS, "plan")
    project.write({**PIPELINE, "dataset_query": query(OPPORTUNITIES, breakout=[plan])})
    joined = {
        "alias": "Organisations",
        "stages": [{"lib/type": "mbql.stage/mbql", "source-table": ORGANISATIONS}],
        "conditions": [
            [
                "=",
                {},
                field(*OPPORTUNITIES, "organisation_id"),
                field(*ORGANISATIONS, "id", **{"join-alias": "Organisations"}),
            ]
        ],
    }
    asked = query(OPPORTUNITIES, joins=[joined], breakout=[plan])
    project.write({**question("With a join", asked), "collection_id": None})
    assert cli.push(metabase, project.root) == 1
    assert errors(capsys)[0].endswith(
        "The question has no column dbt.dim_organisations.plan; it reads dbt.fct_opportunities"
    )
    assert "With a join" in {row["name"] for row in metabase.rows["card"].values()}


@pytest.mark.parametrize(
    ("column", "parameter", "message"),
    [
        ("status", "plan", "The question has no column dbt.fct_opportunities.status"),
        ("plan", "paln", "The dashboard has no filter paln"),
    ],
)
def test_a_filter_that_no_card_can_take(
    metabase: FakeMetabase,
    project: Project,
    capsys: pytest.CaptureFixture[str],
    column: str,
    parameter: str,
    message: str,
) -> None:
    table = OPPORTUNITIES if column == "status" else ORGANISATIONS
    filtered = ["dimension", ["field", [*table, column], None]]
    mapping = {"parameter_id": parameter, "target": filtered}
    shown = dashcard("Organisations", 0, parameter_mappings=[mapping])
    project.write({**OVERVIEW, "dashcards": [shown]})
    assert cli.push(metabase, project.root) == 1
    (said,) = errors(capsys)
    assert said.startswith(f"{project.path('overview')}:")
    assert message in said


def click(**behavior: Any) -> Json:
    """The dashboard, with what a click on its first card does."""
    clicked = {"click_behavior": {"type": "link", "linkType": "question", **behavior}}
    shown = dashcard("Organisations", 0, visualization_settings=clicked)
    return {**OVERVIEW, "dashcards": [shown]}


def taken_along(source: Json, *column: str) -> Json:
    dimension = ["dimension", ["field", list(column), None]]
    goal = {"type": "dimension", "id": "a", "dimension": dimension}
    mapping = {"a": {"id": "a", "source": source, "target": goal}}
    return click(targetId=eid("Pipeline"), parameterMapping=mapping)


@pytest.mark.parametrize(
    ("dashboard", "message"),
    [
        (click(targetId=eid("Nope")), f"No file has the card {eid('Nope')}"),
        (click(targetId=None), "click_behavior.targetId` can't be None"),
        (click(), "`targetId` of `dashcards.visualization_settings.click_behavior` is missing"),
        (click(linkType="qestion", targetId=eid("Pipeline")), "can't be 'qestion': it is one of"),
        (
            taken_along({"type": "column", "id": "plan"}, *OPPORTUNITIES, "stattus"),
            "dbt.fct_opportunities has no column stattus. Is it status?",
        ),
        (
            taken_along({"type": "column", "id": "plan"}, *ORGANISATIONS, "plan"),
            "The question has no column dbt.dim_organisations.plan; it reads dbt.fct_opportunities",
        ),
        (
            taken_along({"type": "parameter", "id": "paln"}, *OPPORTUNITIES, "status"),
            "The dashboard has no filter paln",
        ),
        (
            click(
                linkType="dashboard",
                targetId=eid("Overview"),
                parameterMapping={
                    "paln": {"source": {"type": "column"}, "target": {"type": "parameter"}}
                },
            ),
            "The dashboard “Overview” has no filter paln. Is it plan?",
        ),
    ],
)
def test_a_click_that_leads_nowhere(
    metabase: FakeMetabase,
    project: Project,
    capsys: pytest.CaptureFixture[str],
    dashboard: Json,
    message: str,
) -> None:
    project.write(dashboard)
    assert cli.push(metabase, project.root) == 1
    (said,) = errors(capsys)
    assert said.startswith(f"{project.path('overview')}:")
    assert message in said
    assert not metabase.rows["dashboard"].keys() - {metabase.named("dashboard", RECORD)["id"]}


def joined(**join: Any) -> Json:
    key = field(*OPPORTUNITIES, "organisation_id")
    stage = {"lib/type": "mbql.stage/mbql", "source-table": ORGANISATIONS}
    same = ["=", {}, key, field(*ORGANISATIONS, "id", **{"join-alias": "O"})]
    return {"alias": "O", "stages": [stage], "conditions": [same], **join}


def in_sql(**tag: Any) -> Json:
    made = {"name": "x", "id": "1", "display-name": "X", "type": "text", **tag}
    stage = {"lib/type": "mbql.stage/native", "native": "select {{x}}", "template-tags": [made]}
    return {"lib/type": "mbql/query", "database": "All (dbt)", "stages": [stage]}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            query(
                OPPORTUNITIES,
                joins=[joined(stages=query(["All (dbt)", "dbt", "dim_orgs"])["stages"])],
            ),
            "Metabase has no table dbt.dim_orgs. Is it dim_organisations?",
        ),
        (
            query(
                OPPORTUNITIES,
                joins=[joined()],
                breakout=[field(*ORGANISATIONS, "plan", **{"join-alias": "Oo"})],
            ),
            "The query has no join Oo",
        ),
        (
            query(OPPORTUNITIES, breakout=[["expression", {}, "Value"]]),
            "The stage has no expression Value",
        ),
        (
            query(OPPORTUNITIES, **{"order-by": [["asc", {}, ["aggregation", {}, TOTAL]]]}),
            f"The stage has no aggregation {TOTAL}",
        ),
        (query(OPPORTUNITIES, aggregation=[["measure", {}, eid("M")]]), "Measures can't be pushed"),
        (in_sql(type="snippet"), "template-tags.type` can't be 'snippet'"),
        (
            in_sql(type="dimension", dimension=field(*ORGANISATIONS, "plann")),
            "dbt.dim_organisations has no column plann. Is it plan?",
        ),
    ],
)
def test_a_question_that_names_what_it_does_not_have(
    metabase: FakeMetabase,
    project: Project,
    capsys: pytest.CaptureFixture[str],
    asked: Json,
    message: str,
) -> None:
    project.write(question("New", asked))
    assert cli.push(metabase, project.root) == 1
    (said,) = errors(capsys)
    assert said.startswith(f"{project.path('new')}:")
    assert message in said
    assert "New" not in {row["name"] for row in metabase.rows["card"].values()}


def test_a_filter_of_a_question_in_sql(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write({**COUNT, "dataset_query": in_sql()})
    for tag, code in ("y", 1), ("x", 0):
        mapping = {"parameter_id": "plan", "target": ["variable", ["template-tag", tag]]}
        shown = dashcard("Organisations", 0, parameter_mappings=[mapping])
        project.write({**OVERVIEW, "dashcards": [shown]})
        assert cli.push(metabase, project.root) == code
    (said,) = errors(capsys)
    assert said.endswith("The question has no template tag y")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"parameters": OVERVIEW["parameters"] * 2}, "`id` plan is there twice in `parameters`"),
        ({"dashcards": [dashcard("Organisations", 0, size_x=0)]}, "`dashcards.size_x` can't be 0"),
        (
            {"dashcards": [dashcard("Organisations", 0, dashboard_tab_id=[eid("tab")])]},
            "it is [dashboard, tab]",
        ),
        (
            {"dashcards": [settings({"column_settings": {'["ref",["field"': {}}})]},
            "is no JSON",
        ),
        (
            {"dashcards": [settings({"column_settings": {PLANN: {}}})]},
            "dbt.dim_organisations has no column plann. Is it plan?",
        ),
    ],
)
def test_a_dashboard_that_contradicts_itself(
    metabase: FakeMetabase,
    project: Project,
    capsys: pytest.CaptureFixture[str],
    more: Json,
    message: str,
) -> None:
    project.write({**OVERVIEW, **more})
    assert cli.push(metabase, project.root) == 1
    (said,) = errors(capsys)
    assert said.startswith(f"{project.path('overview')}:")
    assert message in said


def test_a_segment_of_no_table_or_of_two(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"name": "Won", "entity_id": eid("Won"), "creator_id": "internal@metabase.com"}
    won = query(OPPORTUNITIES, filters=[["=", {}, field(*OPPORTUNITIES, "status"), "won"]])
    of_card = {**won, "stages": [{"lib/type": "mbql.stage/mbql", "source-card": eid("Pipeline")}]}
    for definition, table in (won, ORGANISATIONS), (of_card, OPPORTUNITIES):
        more = {"table_id": table, "definition": definition, "serdes/meta": meta("Won", "Segment")}
        project.write({**made, **more})
        assert cli.push(metabase, project.root) == 1
        (said,) = errors(capsys)
        assert said.startswith(f"{project.path('won')}:")
        assert said.endswith("A segment is of one table: `source-table` is `table_id`")


def test_an_id_of_another_kind(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write({**COUNT, "collection_id": eid("Pipeline")})
    assert cli.push(metabase, project.root) == 1
    assert errors(capsys)[0].endswith(f"{eid('Pipeline')} is a card, no collection")


def test_a_question_in_a_collection_that_people_have_archived(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    push(metabase, project)
    metabase.named("collection", "Company")["archived"] = True
    project.write(question("New", COUNT["dataset_query"]))
    assert push(metabase, project) == 0
    said = capsys.readouterr().out
    assert "question “New”: collection “Company” is archived in Metabase; left so" in said


def test_a_folder_or_a_name_that_is_missing(
    metabase: FakeMetabase,
    project: Project,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push(metabase, project)
    monkeypatch.setenv("METABASE_SERVER", metabase.url)
    monkeypatch.setattr(cli, "Metabase", lambda *_: metabase)
    capsys.readouterr()
    assert cli.main(["--folder", f"{project.root}s", "push", "--archive"]) == 1
    assert "metabases is no folder" in capsys.readouterr().err
    assert cli.main(["--folder", str(project.root), "push", "--overwrite", "Overveiw"]) == 1
    assert "“Overveiw”" in capsys.readouterr().err
    assert not metabase.named("dashboard", "Overview")["archived"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("display: bar", "dispaly: bar", "has no key `dispaly`. Is it `display`?"),
        ("display: bar", "display: 3", "`display` can't be 3: it is one of action, area, bar"),
        ("display: bar", "display: bar\ncolour: red", "A card has no key `colour`"),
        ("display: bar", "display: [bar", "This is no YAML"),
        ("model: Card", "model: Crad", "`model` in `serdes/meta` is 'Crad'"),
        (
            "display: bar",
            "display: bar\ndisplay: line",
            ":6: This is no YAML: the key `display` is",
        ),
        ("display: bar", "\tdisplay: bar", "This is no YAML"),
        ("display: bar", "display: barr", ":5: `display` can't be 'barr'"),
        ("name: Organisations", "name: 2024", ":1: `name` can't be 2024: it is text"),
        ("name: Organisations", "name: &a [*a]", ":1: `name` can't be [[...]]"),
        ("name: Organisations", "name: R\udce9sum\udce9", ":1: This is no text in UTF-8"),
        ("name: Organisations", "name: \x07", "This is no YAML"),
        ("name: Organisations", "[name]: Organisations", ":1: This is no YAML: found unhashable"),
        (f"entity_id: {eid('Organisations')}", "entity_id: short", ":2: `entity_id` can't be"),
        (f"entity_id: {eid('Organisations')}", "description: ''", "`entity_id` is missing"),
        ("lib/type: mbql.stage/mbql", "lib/type: mbql.stage", "`dataset_query.stages.lib/type`"),
        ("source-table: [All (dbt), dbt, ", "source-table: [dbt, ", "[database, schema, table]"),
        ("source-table", "source-tabel", "write `source-table` or `source-card`"),
        ("- - count", "- - sum", "`sum` has too few arguments"),
        ("visualization_settings: {}", "visualization_settings: []", "it is a mapping"),
        ("- {id: Organ", "- Card\n- {id: Organ", "An item of `serdes/meta` can't be 'Card'"),
    ],
)
def test_a_file_that_is_no_card(
    metabase: FakeMetabase,
    project: Project,
    capsys: pytest.CaptureFixture[str],
    before: str,
    after: str,
    message: str,
) -> None:
    cli.push(metabase, project.root)
    capsys.readouterr()
    path = project.path("organisations")
    whole = path.read_bytes()
    change(path, before, after)
    assert cli.push(metabase, project.root, archive=True) == 1
    assert errors(capsys)[0].startswith(str(path))
    path.write_bytes(whole)
    assert push(metabase, project) == 0  # nothing was archived for a file that can't be read
    change(path, before, after)
    cli.push(metabase, project.root)
    assert message in errors(capsys)[0]


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_bytes(text.replace(before, after).encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "- name: x\n", "text", "a: 1\n---\nb: 2\n"])
def test_a_file_without_an_entity(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    project.path("odd").write_text(text)
    assert cli.push(metabase, project.root) == 1
    (said,) = errors(capsys)
    assert said.startswith(f"{project.path('odd')}:")
    assert metabase.named("dashboard", "Overview")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("collections/main/odd.yml", "Only files *.yaml are read: call it odd.yaml"),
        ("odd.yaml", "Files are read from collections/main and databases: move it there"),
    ],
)
def test_a_file_with_the_wrong_name_or_place(
    metabase: FakeMetabase,
    project: Project,
    capsys: pytest.CaptureFixture[str],
    path: str,
    message: str,
) -> None:
    (project.root / path).write_text(project.path("organisations").read_text())
    assert cli.push(metabase, project.root) == 1
    assert message in errors(capsys)[0]


def test_values_are_text_unless_yaml_says_otherwise(
    metabase: FakeMetabase, project: Project
) -> None:
    """`no` is Norway, a date is no time at midnight, and 12:30 is no number of seconds."""
    path = project.path("organisations")
    text = path.read_text()
    path.write_bytes(
        b"\xef\xbb\xbf"
        + text.replace("name: Organisations", "name: no").encode()
        + b"description: 2024-01-01\ncreated_at: 2024-13-45\n"
    )
    assert cli.push(metabase, project.root) == 0
    assert metabase.named("card", "no")["description"] == "2024-01-01"


def test_metabase_refuses_one_entity(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dashboard that shows it isn't there either, not even empty."""
    metabase.dislikes = {"Organisations"}
    assert cli.push(metabase, project.root) == 1
    first, second = errors(capsys)
    assert first.startswith(f"{project.path('organisations')}: Metabase answers 400")
    assert second.startswith(f"{project.path('overview')}: “Overview” needs what can't be pushed")
    assert {row["name"] for row in metabase.rows["card"].values()} == {"Pipeline"}
    assert "Overview" not in {row["name"] for row in metabase.rows["dashboard"].values()}
    metabase.dislikes = set()
    assert cli.push(metabase, project.root) == 0
    assert push(metabase, project) == 0


def test_a_dashboard_that_cant_be_pushed_takes_its_own_questions_with_it(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write({**question("Own", COUNT["dataset_query"]), "dashboard_id": eid("Overview")})
    metabase.dislikes = {"Organisations"}
    assert cli.push(metabase, project.root) == 1
    assert any(said.startswith(f"{project.path('own')}: “Own” needs") for said in errors(capsys))
    metabase.dislikes = set()
    assert cli.push(metabase, project.root) == 0
    assert push(metabase, project) == 0


def test_a_key_without_rights(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    metabase.read_only = True
    assert cli.push(metabase, project.root) == 1
    [only] = errors(capsys)
    assert only.startswith(f"{project.path('company')}: Metabase answers 403: the API key has no")
    assert metabase.writes == 0


@pytest.mark.parametrize("route", ["PUT", "GET"])
def test_a_key_without_the_right_to_one_question(
    metabase: FakeMetabase, project: Project, capsys: pytest.CaptureFixture[str], route: str
) -> None:
    cli.push(metabase, project.root)
    metabase.forbidden = {f"{route} /api/card/{metabase.named('card', 'Organisations')['id']}"}
    for document in (COUNT, PIPELINE):
        project.write({**document, "description": "New"})
    capsys.readouterr()
    assert cli.push(metabase, project.root, archive=True) == 1
    assert errors(capsys)[0].startswith(f"{project.path('organisations')}: Metabase answers 403")
    assert metabase.named("card", "Pipeline")["description"] == "New"
    assert not metabase.named("card", "Organisations")["archived"]


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (
            302,
            {"Location": "https://login.test/"},
            "leads to https://login.test/: use that address",
        ),
        (200, {}, "answers, and not as Metabase does"),
        (401, {}, "doesn't know the API key"),
    ],
)
def test_an_address_that_is_not_metabases(
    project: Project, status: int, headers: dict[str, str], message: str
) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "7"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"<html/>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ApiError, match=message):
            cli.push(Metabase(f"http://127.0.0.1:{server.server_port}", "key"), project.root)
        server.shutdown()


@pytest.mark.parametrize(("tag", "fits"), [("v0.56.1", False), ("v1.56", False), ("v0.57.0", True)])
def test_an_old_metabase_is_refused(project: Project, tag: str, fits: bool) -> None:
    metabase = FakeMetabase(tag)
    if fits:
        assert cli.push(metabase, project.root) == 0
        return
    with pytest.raises(ApiError, match=f"is {tag}; content needs v0.57 or newer"):
        cli.push(metabase, project.root)
    assert metabase.writes == 0
