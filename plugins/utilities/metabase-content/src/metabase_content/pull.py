"""Bring what people have made and changed in Metabase into files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metabase_content import shapes
from metabase_content.files import Document, Entity, dump, free_path, slug
from metabase_content.references import ToNames, entities_in
from metabase_content.sync import OF_PEOPLE, Json, Sync

ADDRESS = re.compile(r".*/(dashboard|question|model|metric|collection)/(\d+)\b[^/]*")
OF_ADDRESS = {"dashboard": "Dashboard", "collection": "Collection"}


class NotFoundError(Exception):
    """Nothing in Metabase has the name that was asked for."""


@dataclass
class Pull:
    """What is written: for each entity of Metabase, its model and number."""

    sync: Sync
    rows: dict[tuple[str, int], Json] = field(default_factory=dict)
    wanted: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take what is in the files already."""
        for entity_id, row in self.sync.pages.items():
            self.rows[self.sync.model_of(entity_id), row["id"]] = row

    def changed(self) -> None:
        """Want what people have changed, and what they have made in collections of the files."""
        for change in self.sync.report.changes:
            if change.action in OF_PEOPLE - {"gone"}:
                self.want(change.model, self.sync.ids[change.entity_id])
        ours = {
            number
            for entity_id, number in self.sync.ids.items()
            if self.sync.model_of(entity_id) == "Collection"
        }
        for row in self.sync.metabase.collections():
            above = [int(part) for part in (row.get("location") or "/").split("/") if part]
            if ours & set(above) and row["id"] not in ours:
                self.want("Collection", row["id"])
                ours.add(row["id"])
        for number in sorted(ours):
            for model, row in self.sync.metabase.items(number):
                if (model, row["id"]) not in self.rows:
                    self.want(model, row["id"])

    def named(self, names: Sequence[str]) -> None:
        """Want what has these names, numbers in addresses, or `entity_id`s.

        Raises:
            NotFoundError: Metabase has nothing of that name.
        """
        for name in names:
            found = list(self.find(name))
            if not found:
                raise NotFoundError(f"Metabase has no collection, question or dashboard “{name}”")
            for model, number in found:
                self.want(model, number)

    def find(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield what has a name."""
        if match := ADDRESS.fullmatch(name):
            yield OF_ADDRESS.get(match[1], "Card"), int(match[2])
            return
        for (model, number), row in self.rows.items():
            if name in (row["name"], row.get("entity_id")):
                yield model, number
        places: list[Any] = ["root", *(row["id"] for row in self.sync.metabase.collections())]
        for place in places:
            for model, row in self.sync.metabase.items(place):
                known = (model, row["id"]) in self.rows
                if not known and name in (row["name"], row.get("entity_id")):
                    yield model, row["id"]

    def want(self, model: str, number: int) -> None:
        """Want an entity, with what it is made of and the collections that it is in."""
        row = self.rows.get((model, number)) or self.sync.metabase.get(model, number)
        if row is None or row.get("archived") or row.get("personal_owner_id"):
            return
        self.rows[model, number] = row
        if (model, number) not in self.wanted:
            self.wanted.append((model, number))
        home = row.get("parent_id") if model == "Collection" else row.get("collection_id")
        needed = [("Collection", home)] if isinstance(home, int) else []
        if model == "Card":
            needed += [
                what for what in entities_in(row["dataset_query"]) if isinstance(what[1], int)
            ]
            needed += [("Dashboard", row["dashboard_id"])] if row.get("dashboard_id") else []
        for item in row.get("dashcards") or []:
            cards = [item.get("card_id"), *(one["id"] for one in item.get("series") or [])]
            needed += [("Card", card) for card in cards if card]
        for what in needed:
            if what not in self.rows:
                self.want(*what)

    def write(self) -> list[Path]:
        """Write the files; return those that have changed."""
        entities = {}
        by_number = {}
        for entity_id, row in self.sync.pages.items():
            by_number[self.sync.model_of(entity_id), row["id"]] = entity_id
        for key, row in self.rows.items():
            entities[key] = by_number.get(key) or row.get("entity_id") or made_id(*key)
        names = ToNames(self.sync.warehouse, entities)
        order = ["Collection", "Dashboard", "Card", "Segment"]
        paths: dict[str, Path] = {
            entity.entity_id: entity.path for entity in self.sync.content.entities
        }
        written = []
        for model, number in sorted(self.wanted, key=lambda what: order.index(what[0])):
            document = shapes.portable(model, self.rows[model, number], names)
            entity = self.sync.content.by_id.get(document["entity_id"])
            if entity is not None:
                document = merged(entity, document)
            path = paths.get(document["entity_id"]) or self.place(model, document, paths)
            paths[document["entity_id"]] = path
            text = dump(document)
            if not path.exists() or path.read_bytes() != text.encode():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text.encode())
                written.append(path)
        return written

    def place(self, model: str, document: Document, paths: dict[str, Path]) -> Path:
        """Return the path of a new file, as the format's specification has them."""
        if model == "Segment":
            database, schema, table = document["table_id"]
            folder = self.sync.content.root / "databases" / slug(database) / "schemas"
            folder = folder / slug(schema) / "tables" / slug(table) / "segments"
            return free_path(folder, document["name"], paths.values())
        home = document.get("parent_id" if model == "Collection" else "collection_id")
        home = document.get("dashboard_id") or home
        main = self.sync.content.root / "collections" / "main"
        folder = paths[home].with_suffix("") if home in paths else main
        return free_path(folder, document["name"], paths.values())


def merged(entity: Entity, document: Document) -> Document:
    """Return what Metabase has, with the file's own text and IDs wherever they mean the same."""
    theirs = shapes.canonical(entity.model, document)
    ours = shapes.canonical(entity.model, entity.document)
    kept = keep_ids(entity.document, document)
    result: Document = {}
    for key, value in entity.document.items():
        if key not in shapes.DEFAULTS[entity.model] or theirs.get(key) == ours.get(key):
            result[key] = value
        elif key in kept:
            result[key] = kept[key]
    for key, value in kept.items():
        if key not in entity.document and theirs.get(key) != ours.get(key):
            result[key] = value
    result["serdes/meta"] = result.pop("serdes/meta")
    return result


def keep_ids(before: Document, after: Document) -> Document:
    """Give tabs and cards on a dashboard the IDs that the file had for them."""
    tabs = {tab["name"]: tab["entity_id"] for tab in before.get("tabs") or []}
    new = {tab["entity_id"]: tabs.get(tab["name"]) for tab in after.get("tabs") or []}
    rest = list(before.get("dashcards") or [])
    shown = []
    for item in after.get("dashcards") or []:
        same = next((one for one in rest if shapes.is_same(as_row(one), as_row(item))), None)
        if same:
            rest.remove(same)
            item = {**item, "entity_id": same["entity_id"], "serdes/meta": same["serdes/meta"]}
        if tab := item.get("dashboard_tab_id"):
            item = {**item, "dashboard_tab_id": [tab[0], new.get(tab[1]) or tab[1]]}
        shown.append(item)
    result = dict(after)
    if shown:
        result["dashcards"] = shown
    if "tabs" in after:
        result["tabs"] = [
            {**tab, "entity_id": new[tab["entity_id"]] or tab["entity_id"]} for tab in after["tabs"]
        ]
    return result


def made_id(model: str, number: int) -> str:
    """Return an `entity_id` for what has none in Metabase: it was made before there were any."""
    return f"{model}-{number}".ljust(21, "_")


def as_row(item: Json) -> Json:
    """Return a card on a dashboard with the keys that files may leave out."""
    return {
        "card_id": item.get("card_id"),
        "visualization_settings": item.get("visualization_settings") or {},
    }
