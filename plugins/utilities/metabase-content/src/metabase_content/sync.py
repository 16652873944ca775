"""What differs between the files and Metabase, and who has changed it; then the push.

What was pushed is kept in Metabase itself, so that another machine knows it too: for each entity
its number, and a hash of what the file said and of what Metabase then had. So a push knows what
people have changed in the page since, and what is no longer in the files. Metabase gives
collections and dashboards `entity_id`s of its own by its API; here they are found by their numbers.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from metabase_content import shapes
from metabase_content.api import Metabase, Refused
from metabase_content.files import Content, Entity, Problem, kind, short
from metabase_content.references import (
    ToIds,
    ToNames,
    Warehouse,
    check_columns,
    check_names,
    entities_in,
    like,
)
from metabase_content.schema import ContentError, NeedsError, clicks_in, nodes_in

Json = dict[str, Any]

RECORD = "What is kept as code"
RECORD_DESCRIPTION = (
    "Which collections, questions and dashboards come from the project's repository. You may "
    "change them: a push leaves your change alone and shows it, and `meltano invoke metabase:pull` "
    "takes it into the repository. This dashboard holds what was pushed last; please leave it."
)
FORMAT = 1


class Pushed(NamedTuple):
    """What was last pushed of an entity."""

    model: str
    number: int
    file: str
    """Hash of what was sent."""
    page: str
    """Hash of what Metabase had afterwards."""


@dataclass
class Change:
    """What a push does with an entity, or would do."""

    action: str
    """create, update, same, adopt, edited, conflict, unknown, gone, archive, restore or kept."""
    entity_id: str
    model: str
    kind: str
    name: str
    detail: str = ""
    entity: Entity | None = None
    """The file; None if there is none any more."""


WRITES = frozenset({"create", "update", "archive", "restore"})
OF_PEOPLE = frozenset({"edited", "conflict", "unknown", "gone"})


@dataclass
class Report:
    """What came of a plan or a push."""

    changes: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Sync:
    """Compares a folder with a Metabase, and pushes."""

    def __init__(self, metabase: Metabase, content: Content, warehouse: Warehouse) -> None:
        """`warehouse` is what Metabase knows of its databases."""
        self.metabase = metabase
        self.content = content
        self.warehouse = warehouse
        self.report = Report(problems=list(content.problems))
        self.record: Json | None = None
        self.pushed: dict[str, Pushed] = {}
        self.pages: dict[str, Json] = {}
        self.ids: dict[str, Any] = {}
        self.hidden: dict[str, str] = {}
        """Why Metabase refuses to show an entity."""

    # --- What there is

    def look(self) -> None:
        """Find the entities in Metabase: by what was pushed, else by `entity_id`, else by name."""
        self.read_record()
        for entity_id, known in self.pushed.items():
            try:
                row = self.metabase.get(known.model, known.number)
            except Refused as error:
                self.hidden[entity_id] = str(error)
                continue
            if row is not None:
                self.pages[entity_id] = row
                self.ids[entity_id] = known.number
        collections: list[Json] | None = None
        for entity in self.in_order():
            if entity.entity_id in self.pushed:
                continue
            try:
                row = self.metabase.get_by_entity_id(entity.model, entity.entity_id)
            except Refused as error:
                self.hidden[entity.entity_id] = str(error)
                continue
            if row is None and entity.model == "Collection":
                collections = collections or self.metabase.collections()
                row = self.named_collection(entity, collections)
            elif row is None and entity.model == "Dashboard":
                row = self.named_dashboard(entity)
            if row is not None and not row.get("archived"):
                self.pages[entity.entity_id] = row
                self.ids[entity.entity_id] = row["id"]

    def read_record(self) -> None:
        """Read what was pushed last."""
        for model, row in self.metabase.items("root"):
            if model == "Dashboard" and row["name"] == RECORD:
                self.record = self.metabase.get(model, row["id"])
        text = (self.record or {}).get("caveats") or "{}"
        try:
            kept = json.loads(text)
            if kept.get("format", FORMAT) == FORMAT:
                self.pushed = {key: Pushed(*value) for key, value in kept.get("pushed", {}).items()}
        except (ValueError, TypeError, AttributeError):
            self.pushed = {}  # Then everything is compared as if it had never been pushed.

    def named_collection(self, entity: Entity, collections: Sequence[Json]) -> Json | None:
        """Return the collection with this name in the same place."""
        parent = entity.document.get("parent_id")
        place = self.ids.get(parent) if parent else None
        if parent and place is None:
            return None
        for row in collections:
            location = [part for part in (row.get("location") or "/").split("/") if part]
            above = int(location[-1]) if location else None
            if row["name"] == entity.name and above == place and not self.taken("Collection", row):
                return self.metabase.get("Collection", row["id"])
        return None

    def named_dashboard(self, entity: Entity) -> Json | None:
        """Return the dashboard with this name in the same collection."""
        home = entity.document.get("collection_id")
        place = self.ids.get(home) if home else "root"
        if place is None:
            return None
        for model, row in self.metabase.items(place):
            if (
                model == "Dashboard"
                and row["name"] == entity.name
                and not self.taken("Dashboard", row)
            ):
                return self.metabase.get("Dashboard", row["id"])
        return None

    def taken(self, model: str, row: Json) -> bool:
        """Tell whether what Metabase has is another entity of the files."""
        return any(
            number == row["id"] and self.model_of(entity_id) == model
            for entity_id, number in self.ids.items()
        )

    def in_order(self) -> list[Entity]:
        """Return the entities so that each comes after those that it needs.

        Cards that need one another are problems.
        """
        needs = {
            entity.entity_id: [item for item in self.needed(entity) if item in self.content.by_id]
            for entity in self.content.entities
        }
        while True:
            try:
                order = list(TopologicalSorter(needs).static_order())
                break
            except CycleError as error:
                for entity_id in error.args[1][1:]:
                    entity = self.content.by_id[entity_id]
                    names = " → ".join(self.content.by_id[item].name for item in error.args[1])
                    problem = ContentError(f"Questions are made of one another: {names}")
                    self.report.problems.append(entity.problem(problem))
                    self.content.refuse(entity_id, entity.path)
                    needs.pop(entity_id, None)
                    self.content.entities.remove(entity)
                self.content.__dict__.pop("by_id", None)
                needs = {k: [i for i in v if i in needs] for k, v in needs.items()}
        return [self.content.by_id[entity_id] for entity_id in order]

    @staticmethod
    def needed(entity: Entity) -> Iterator[str]:
        """Yield the `entity_id`s that must be in Metabase before an entity is.

        Dashboards link to one another, and have questions of their own: they are made empty first.
        """
        document = entity.document
        yield from (document[key] for key in ("parent_id", "collection_id") if document.get(key))
        if entity.model != "Dashboard":
            query = document.get("dataset_query") or document.get("definition")
            yield from (item for _, item in entities_in(query) if isinstance(item, str))
        else:
            yield from cards_of(document)

    def to_ids(self, ids: Mapping[str, Any]) -> ToIds:
        """Return what gives Metabase's numbers to names."""
        return ToIds(self.warehouse, ids, self.model_of)

    def names(self) -> ToNames:
        """Return what gives names to Metabase's numbers."""
        entities = {}
        for entity_id, row in self.pages.items():
            entities[self.model_of(entity_id), row["id"]] = entity_id
        return ToNames(self.warehouse, entities)

    def model_of(self, entity_id: str) -> str:
        """Return the model of an entity in the files, or of one that was pushed."""
        entity = self.content.by_id.get(entity_id)
        return entity.model if entity else self.pushed[entity_id].model

    # --- What differs

    def compare(self, overwrite: Sequence[str] | None = None, archive: bool = False) -> None:
        """Say of each entity what a push does with it.

        Args:
            overwrite: Names or `entity_id`s of what may be overwritten though people have changed
                it; everything, if empty; nothing, if None.
            archive: Whether to archive what is no longer in the files.
        """
        order = self.in_order()
        placeholders: dict[str, Any] = {entity.entity_id: entity.entity_id for entity in order}
        to = self.to_ids({**placeholders, **self.ids})
        broken = self.find_problems(order, to)
        names = self.names()
        gone: dict[str, Change] = {}
        for entity in order:
            if entity.entity_id in broken:
                continue
            change = self.compare_one(entity, to, names, overwrite)
            needed = [gone[item] for item in self.needed(entity) if item in gone]
            if needed and change.action in WRITES:
                change.action = "gone"
                change.detail = f"{needed[0].kind} “{needed[0].name}” is {needed[0].detail}"
            if change.action == "gone" and (
                entity.model == "Collection" or entity.entity_id not in self.ids
            ):
                gone[entity.entity_id] = change
            self.report.changes.append(change)
        readable = {problem.path for problem in self.content.problems}
        for entity_id, known in self.pushed.items():
            if entity_id in self.content.by_id or entity_id in self.content.refused:
                continue
            row = self.pages.get(entity_id)
            if row is None or row.get("archived") or readable:
                # A file that can't be read is not a file that was removed.
                continue
            self.report.changes.append(
                Change(
                    "archive" if archive else "kept",
                    entity_id,
                    known.model,
                    kind(known.model, row),
                    row["name"],
                    "no longer in the files",
                )
            )

    def find_problems(self, order: Sequence[Entity], to: ToIds) -> set[str]:
        """Find what refers to nothing, and what needs such a thing; nothing of it is pushed."""
        broken: set[str] = set()
        for entity in order:
            try:
                if reason := self.hidden.get(entity.entity_id):
                    raise ContentError(reason)
                self.check_needs(entity, broken)
                shapes.body(entity.model, entity.entity_id, entity.document, to)
                if entity.model == "Dashboard":
                    shapes.contents(entity.document, {}, to)
                self.check_columns(entity)
            except ContentError as error:
                broken.add(entity.entity_id)
                self.report.problems.append(entity.problem(error))
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                broken.add(entity.entity_id)
                problem = ContentError(f"This is not the format's ({error!r}): run validate-schema")
                self.report.problems.append(entity.problem(problem))
        while found := [
            (entity, item)
            for entity in order
            if entity.entity_id not in broken
            for item in dashboards_of(entity.document)
            if item in broken and item not in self.ids
        ]:
            for entity, item in found:
                if entity.entity_id not in broken:
                    broken.add(entity.entity_id)
                    self.report.problems.append(entity.problem(self.needs(entity, item)))
        return broken

    def check_columns(self, entity: Entity) -> None:
        """Refuse a column of a table that its question doesn't read.

        Raises:
            ContentError: there is one.
        """
        for query in ("dataset_query", "definition"):
            if asked := entity.document.get(query):
                self.check_query(asked, (query,))
        for number, item in enumerate(entity.document.get("dashcards") or []):
            for position, mapping in enumerate(item.get("parameter_mappings") or []):
                key = ("dashcards", number, "parameter_mappings", position, "target")
                if asked := self.query_of(mapping.get("card_id", item.get("card_id"))):
                    check_columns(mapping["target"], key, asked, self.query_of)
        filters = {one["id"] for one in entity.document.get("parameters") or []}
        for place, click in clicks_in(entity.document):
            self.check_click(click or {}, place, filters)

    def check_click(self, click: Json, key: tuple[str | int, ...], filters: set[str]) -> None:
        """Refuse a value that a click takes from no filter, or to none.

        Raises:
            ContentError: there is one.
        """
        target = self.content.by_id.get(click.get("targetId", ""))
        for name, mapping in (click.get("parameterMapping") or {}).items():
            place = (*key, "parameterMapping", name)
            source, goal = mapping["source"], mapping["target"]
            if source["type"] == "parameter" and source.get("id") not in filters:
                message = f"The dashboard has no filter {source.get('id')}"
                raise ContentError(message, (*place, "source"))
            asked = self.query_of(click.get("targetId"))
            if asked and (dimension := goal.get("dimension")):
                within = (*place, "target", "dimension")
                check_columns(dimension, within, asked, self.query_of)
            if target and target.model == "Dashboard":
                known = [one["id"] for one in target.document.get("parameters") or []]
                if name not in known:
                    message = f"The dashboard “{target.name}” has no filter {name}"
                    raise ContentError(f"{message}{like(name, known)}", place)

    def check_query(self, query: Json, key: tuple[str | int, ...]) -> None:
        """Refuse a column of a table that a query, or what it joins, doesn't read.

        Raises:
            ContentError: there is one.
        """
        check_names(query, key)
        for number, stage in enumerate(query["stages"]):
            place = (*key, "stages", number)
            own = {name: value for name, value in stage.items() if name != "joins"}
            check_columns(own, place, query, self.query_of)
            for position, join in enumerate(stage.get("joins") or []):
                within = (*place, "joins", position)
                self.check_query(join, within)
                check_columns(join["conditions"], (*within, "conditions"), query, self.query_of)

    def query_of(self, card: str | None) -> Json | None:
        """Return the query of a question in the files."""
        entity = self.content.by_id.get(card or "")
        return entity.document.get("dataset_query") if entity else None

    def check_needs(self, entity: Entity, broken: Collection[str]) -> None:
        """Refuse what needs something that can't be pushed.

        Raises:
            ContentError: it does.
        """
        for item in self.needed(entity):
            if item in broken or item in self.content.refused:
                raise self.needs(entity, item)

    def needs(self, entity: Entity, culprit: str) -> NeedsError:
        """Return the error of an entity that needs another, which can't be pushed."""
        other = self.content.by_id.get(culprit)
        file = short(other.path if other else self.content.refused[culprit])
        return NeedsError(f"“{entity.name}” needs what can't be pushed: {file}")

    def compare_one(
        self, entity: Entity, to: ToIds, names: ToNames, overwrite: Sequence[str] | None
    ) -> Change:
        """Say what a push does with an entity."""
        row = self.pages.get(entity.entity_id)
        known = self.pushed.get(entity.entity_id)

        def change(action: str, detail: str = "") -> Change:
            about = (entity.entity_id, entity.model, entity.kind, entity.name)
            return Change(action, *about, detail, entity)

        asked = overwrite is not None and (
            not overwrite or entity.name in overwrite or entity.entity_id in overwrite
        )
        if row is None:
            if entity.archived:
                return change("same")
            if known is None or asked:
                return change("create")
            return change("gone", "deleted in Metabase")
        if row.get("archived"):
            if entity.archived:
                return change("same")
            return change("restore") if asked else change("gone", "archived in Metabase")
        if entity.archived:
            return change("archive", "its file says so")
        document = shapes.portable(entity.model, row, names)
        theirs = shapes.canonical(entity.model, document)
        ours = shapes.canonical(entity.model, entity.document)
        keys = ", ".join(key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key))
        page_is_as_pushed = known is not None and shapes.digest(theirs) == known.page
        file_is_as_pushed = known is not None and self.fingerprint(entity, to) == known.file
        if page_is_as_pushed:
            return change("same") if file_is_as_pushed else change("update", keys)
        if not keys:
            return change("adopt")
        if asked or self.is_empty_shell(entity, row, known):
            return change("update", keys)
        if known is None:
            return change("unknown", keys)
        return change("edited" if file_is_as_pushed else "conflict", keys)

    @staticmethod
    def is_empty_shell(entity: Entity, row: Json, known: Pushed | None) -> bool:
        """Tell whether a push was killed after it had made a dashboard."""
        return known is None and entity.model == "Dashboard" and not row.get("dashcards")

    def fingerprint(self, entity: Entity, to: ToIds) -> str:
        """Return the hash of what would be sent."""
        sent = shapes.body(entity.model, entity.entity_id, entity.document, to)
        if entity.model == "Dashboard":
            sent |= shapes.contents(entity.document, {}, to)
        return shapes.digest(sent)

    # --- The push

    def push(self) -> None:
        """Write what the comparison has found, and remember it."""
        failed: set[str] = set()
        changes = self.report.changes
        first = [change for change in changes if change.model == "Collection"]
        new = [c for c in changes if c.model == "Dashboard" and c.action == "create"]
        last = sorted((c for c in changes if c.action == "archive"), key=archiving_order)
        rest = [change for change in changes if change not in first]
        try:
            for change in first:
                if change not in last:
                    self.attempt(change, failed)
            for change in new:
                if change.entity:
                    self.make_shell(change.entity, failed)
            for change in rest:
                if change not in last:
                    self.attempt(change, failed)
            for change in last:
                self.attempt(change, failed)
        finally:
            try:
                self.write_record()
            except Refused as error:
                said = f"What was pushed can't be kept in “{RECORD}”: {error}"
                self.report.problems.append(Problem(self.content.root, said))

    def attempt(self, change: Change, failed: set[str]) -> None:
        """Write one change; what Metabase refuses is a problem of its file."""
        entity = change.entity
        if change.entity_id in failed:
            change.action = "failed"
            return
        try:
            if change.action == "archive":
                self.archive(change.entity_id)
            elif entity is None:
                return
            elif change.action in WRITES:
                self.check_needs(entity, failed)
                self.write(entity, change.action)
            elif change.action == "adopt":
                self.remember(entity, self.pages[entity.entity_id])
        except (Refused, ContentError) as error:
            change.action = "failed"
            if entity is None:
                said = f"{change.kind} “{change.name}” can't be archived: {error}"
                self.report.problems.append(Problem(self.content.root, said))
                return
            self.note_failure(entity, error, failed)
            if entity.model == "Dashboard" and entity.entity_id not in self.pushed:
                self.remove_shell(entity, failed)

    def make_shell(self, entity: Entity, failed: set[str]) -> None:
        """Make a dashboard without cards, so that there is a number to refer to."""
        try:
            self.check_needs(entity, failed)
            to = self.to_ids(self.ids)
            sent = shapes.body(entity.model, entity.entity_id, entity.document, to)
            keys = ("name", "description", "collection_id", "collection_position")
            row = self.metabase.create("Dashboard", {key: sent[key] for key in keys})
            self.ids[entity.entity_id] = row["id"]
            self.pages[entity.entity_id] = row
        except (Refused, ContentError) as error:
            self.note_failure(entity, error, failed)

    def remove_shell(self, entity: Entity, failed: set[str]) -> None:
        """Remove a dashboard that this push has made and can't fill; its questions go with it."""
        self.pages.pop(entity.entity_id, None)
        self.metabase.delete("Dashboard", self.ids.pop(entity.entity_id))
        for other in self.content.entities:
            if other.document.get("dashboard_id") == entity.entity_id:
                failed.add(other.entity_id)
                self.report.problems.append(other.problem(self.needs(other, entity.entity_id)))
                for known in (self.pages, self.ids, self.pushed):
                    known.pop(other.entity_id, None)

    def note_failure(self, entity: Entity, error: Exception, failed: set[str]) -> None:
        """Make a problem of its file of what Metabase, or a reference, has refused."""
        failed.add(entity.entity_id)
        problem = error if isinstance(error, ContentError) else ContentError(str(error))
        self.report.problems.append(entity.problem(problem))

    def write(self, entity: Entity, action: str) -> None:
        """Create or change one entity."""
        model = entity.model
        to = self.to_ids(self.ids)
        sent = shapes.body(model, entity.entity_id, entity.document, to)
        if action == "restore":
            sent = {**sent, "archived": False}
        if model == "Dashboard":
            sent |= shapes.contents(entity.document, self.pages.get(entity.entity_id, {}), to)
        if action == "create" and model != "Dashboard":
            given = {"entity_id": entity.entity_id} if model == "Card" else {}
            self.ids[entity.entity_id] = self.metabase.create(model, {**sent, **given})["id"]
        else:
            self.metabase.update(model, self.ids[entity.entity_id], sent)
        row = self.metabase.get(model, self.ids[entity.entity_id])
        if row is None:
            raise ContentError(f"Metabase has lost the {entity.kind} “{entity.name}”")
        self.remember(entity, row)

    def remember(self, entity: Entity, row: Json) -> None:
        """Keep what was pushed, and what Metabase has made of it."""
        self.pages[entity.entity_id] = row
        document = shapes.portable(entity.model, row, self.names())
        self.pushed[entity.entity_id] = Pushed(
            entity.model,
            row["id"],
            self.fingerprint(entity, self.to_ids(self.ids)),
            shapes.digest(shapes.canonical(entity.model, document)),
        )

    def archive(self, entity_id: str) -> None:
        """Archive what is no longer in the files."""
        model, number = self.model_of(entity_id), self.ids[entity_id]
        self.metabase.update(model, number, {"archived": True})
        self.pushed.pop(entity_id, None)

    def write_record(self) -> None:
        """Keep what was pushed, in Metabase."""
        kept = {"format": FORMAT, "pushed": {key: list(it) for key, it in self.pushed.items()}}
        text = json.dumps(kept, separators=(",", ":"))
        if self.record is None and self.pushed:
            sent = {"name": RECORD, "description": RECORD_DESCRIPTION}
            self.record = self.metabase.create("Dashboard", sent)
        if self.record is not None and self.record.get("caveats") != text:
            self.metabase.update("Dashboard", self.record["id"], {"caveats": text})
            self.record["caveats"] = text


def archiving_order(change: Change) -> int:
    """Return the place of what is archived: what is in a collection comes before it."""
    return ["Dashboard", "Card", "Segment", "Collection"].index(change.model)


def cards_of(document: Json) -> Iterator[str]:
    """Yield the cards on a dashboard."""
    for item in document.get("dashcards") or []:
        shown = [item, *(item.get("series") or [])]
        yield from (one["card_id"] for one in shown if one.get("card_id"))
        yield from linked(item.get("visualization_settings"), "question")
    for parameter in document.get("parameters") or []:
        if card := (parameter.get("values_source_config") or {}).get("card_id"):
            yield card


def dashboards_of(document: Json) -> Iterator[str]:
    """Yield the dashboard that a question is saved in, and those that a click leads to."""
    if home := document.get("dashboard_id"):
        yield home
    for item in document.get("dashcards") or []:
        yield from linked(item.get("visualization_settings"), "dashboard")


def linked(settings: Any, kind: str) -> Iterator[str]:
    """Yield the questions, or the dashboards, that a click leads to."""
    for _, node in nodes_in(settings):
        match node:
            case {"linkType": found, "targetId": str() as target} if found == kind:
                yield target
            case {"entity": {"model": found, "id": str() as target}} if found == kind:
                yield target
