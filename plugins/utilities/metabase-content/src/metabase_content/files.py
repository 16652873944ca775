"""The folder of content: YAML files in Metabase's representation format.

The format is specified in the npm package @metabase/representations. `validate-schema` there checks
each file in full; here a file is checked as far as a push depends on it.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
FOLDERS = ("collections/main", "databases")
NANO_ID = re.compile(r"[A-Za-z0-9_-]{21}")
CREATOR = "internal@metabase.com"
"""The format wants a creator. Metabase takes the one who pushes."""

MODELS = ("Collection", "Segment", "Card", "Dashboard")
COMMON = {
    "name": str,
    "entity_id": str,
    "serdes/meta": list,
    "description": (str, type(None)),
    "archived": bool,
    "archived_directly": (bool, type(None)),
    "creator_id": str,
    "created_at": object,
}
SHARING = dict.fromkeys(
    ("enable_embedding", "embedding_params", "embedding_type", "public_uuid", "made_public_by_id"),
    object,
)
IN_COLLECTION = {
    "collection_id": (str, type(None)),
    "collection_position": (int, type(None)),
    **SHARING,
}
KEYS: Mapping[str, Mapping[str, Any]] = {
    "Collection": {
        **COMMON,
        "parent_id": (str, type(None)),
        "authority_level": (str, type(None)),
        **dict.fromkeys(
            ("slug", "type", "namespace", "archive_operation_id", "is_remote_synced", "is_sample"),
            object,
        ),
        "personal_owner_id": type(None),
    },
    "Segment": {**COMMON, "table_id": list, "definition": dict},
    "Card": {
        **COMMON,
        **IN_COLLECTION,
        "display": str,
        "type": str,
        "dataset_query": dict,
        "visualization_settings": dict,
        "parameters": list,
        "dashboard_id": (str, type(None)),
        **dict.fromkeys(
            (
                *("database_id", "collection_preview", "parameter_mappings", "result_metadata"),
                *("metabase_version", "card_schema", "query_type"),
            ),
            object,
        ),
        "document_id": type(None),
    },
    "Dashboard": {
        **COMMON,
        **IN_COLLECTION,
        "parameters": list,
        "tabs": list,
        "dashcards": list,
        "width": str,
        "auto_apply_filters": bool,
        **dict.fromkeys(
            (
                *("position", "show_in_getting_started", "caveats", "points_of_interest"),
                "initially_published_at",
            ),
            object,
        ),
    },
}
"""What the format has, and the types of what is pushed."""
REQUIRED: Mapping[str, Sequence[str]] = {
    "Collection": ["name", "entity_id"],
    "Segment": ["name", "entity_id", "creator_id", "definition"],
    "Card": [
        *("name", "entity_id", "creator_id", "display", "dataset_query"),
        "visualization_settings",
    ],
    "Dashboard": ["name", "entity_id", "creator_id"],
}
DASHCARD = {"entity_id": str, "row": int, "col": int, "size_x": int, "size_y": int}
COLUMNS = 24


@dataclass(frozen=True)
class Problem:
    """Something that can't be pushed, and where it is written."""

    path: Path
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"{short(self.path)}:{self.line}" if self.line else short(self.path)
        return f"{place}: {self.message}"


class ContentError(Exception):
    """What is wrong in a file; `key` is where: names of keys and positions in lists."""

    def __init__(self, message: str, key: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.key = tuple(key)


@dataclass
class Entity:
    """A collection, segment, card or dashboard, as its file has it."""

    path: Path
    document: Document
    model: str

    @property
    def entity_id(self) -> str:
        """The ID that other files refer to it by."""
        return str(self.document["entity_id"])

    @property
    def name(self) -> str:
        """What Metabase calls it."""
        return str(self.document["name"])

    @property
    def kind(self) -> str:
        """What people call it: question, model, metric, dashboard and so on."""
        return kind(self.model, self.document)

    @property
    def archived(self) -> bool:
        """Whether the file says that Metabase should archive it."""
        return bool(self.document.get("archived"))

    def problem(self, error: ContentError) -> Problem:
        """Say where in the file an error is."""
        return Problem(self.path, str(error), line_of(self.path, error.key))


@dataclass
class Content:
    """All files of a folder, in the order of their paths."""

    root: Path
    entities: list[Entity] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @cached_property
    def by_id(self) -> dict[str, Entity]:
        """Entities by their `entity_id`."""
        return {entity.entity_id: entity for entity in self.entities}


def short(path: Path) -> str:
    """Return a path as people in the project's folder write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def kind(model: str, document: Mapping[str, Any]) -> str:
    """Return what people call an entity."""
    return str(document.get("type") or "question") if model == "Card" else model.lower()


def read(root: Path) -> Content:
    """Read and check all files of a folder; what is wrong is among the problems."""
    content = Content(root)
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.yaml")):
            try:
                document = load(path)
                model = model_of(document)
                if model is not None:
                    check(model, document)
                    content.entities.append(Entity(path, document, model))
            except yaml.MarkedYAMLError as error:
                mark = error.problem_mark
                message = f"This is no YAML: {error.problem}"
                content.problems.append(Problem(path, message, mark.line + 1 if mark else None))
            except ContentError as error:
                content.problems.append(Problem(path, str(error), line_of(path, error.key)))
    refuse_duplicates(content)
    refuse_cycles(content)
    return content


def load(path: Path) -> Document:
    """Read one file."""
    document = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    if not isinstance(document, dict):
        raise ContentError("The file holds no entity: write its keys, as in `name: …`")
    return document


def model_of(document: Document) -> str | None:
    """Return what a file holds; None for metadata of the database, which dbt describes."""
    meta = document.get("serdes/meta")
    model = meta[-1].get("model") if isinstance(meta, list) and meta else None
    if model in ("Database", "Table", "Field", "FieldValues"):
        return None
    if model not in MODELS:
        known = ", ".join(MODELS)
        raise ContentError(
            f"`model` in `serdes/meta` is {model!r}; what can be pushed is {known}",
            ("serdes/meta",),
        )
    return str(model)


def check(model: str, document: Document) -> None:
    """Check one entity by itself."""
    for key in REQUIRED[model]:
        if key not in document:
            raise ContentError(f"`{key}` is missing")
    for key, value in document.items():
        if key not in KEYS[model]:
            raise ContentError(f"A {model.lower()} has no key `{key}`", (key,))
        expected = KEYS[model][key]
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is int):
            raise ContentError(f"`{key}` can't be {value!r}", (key,))
    for key in ("entity_id", "collection_id", "parent_id", "dashboard_id"):
        if (value := document.get(key)) is not None and not NANO_ID.fullmatch(value):
            raise ContentError(f"`{key}` is no entity ID: 21 of A-Z a-z 0-9 _ -", (key,))
    if not document["name"].strip():
        raise ContentError("`name` is empty", ("name",))
    for position, dashcard in enumerate(document.get("dashcards", [])):
        check_dashcard(dashcard, ("dashcards", position))


def check_dashcard(dashcard: Any, key: tuple[str | int, ...]) -> None:
    """Check where a card is on its dashboard."""
    if not isinstance(dashcard, dict):
        raise ContentError("A dashcard is a mapping", key)
    for name, kind_of in DASHCARD.items():
        if not isinstance(dashcard.get(name), kind_of):
            raise ContentError(f"`{name}` of a dashcard is missing or no {kind_of.__name__}", key)
    if dashcard["col"] + dashcard["size_x"] > COLUMNS:
        raise ContentError(
            f"`col` + `size_x` is {dashcard['col'] + dashcard['size_x']}; a dashboard has "
            f"{COLUMNS} columns",
            key,
        )


def refuse_duplicates(content: Content) -> None:
    """Keep the first of several files with one `entity_id`."""
    first: dict[str, Entity] = {}
    for entity in list(content.entities):
        other = first.setdefault(entity.entity_id, entity)
        if other is not entity:
            message = f"`entity_id` {entity.entity_id} is also that of {short(other.path)}"
            content.entities.remove(entity)
            content.problems.append(entity.problem(ContentError(message, ("entity_id",))))


def refuse_cycles(content: Content) -> None:
    """Refuse collections that are, in the end, in themselves."""
    parents = {
        entity.entity_id: entity.document.get("parent_id")
        for entity in content.entities
        if entity.model == "Collection"
    }
    for entity in [entity for entity in content.entities if entity.entity_id in parents]:
        path = [entity.entity_id]
        while (parent := parents.get(path[-1])) is not None and parent not in path:
            path.append(parent)
        if parent == entity.entity_id:
            names = " → ".join(content.by_id[item].name for item in [*path, path[0]])
            error = ContentError(f"The collection is in itself: {names}", ("parent_id",))
            content.problems.append(entity.problem(error))
    broken = {problem.path for problem in content.problems}
    content.entities = [entity for entity in content.entities if entity.path not in broken]
    content.__dict__.pop("by_id", None)


def line_of(path: Path, key: Sequence[str | int]) -> int | None:
    """Return the line of a key, or of the last part of it that is there."""
    try:
        node = yaml.compose(path.read_text(), Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    line = None
    for part in key:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


class Dumper(yaml.CSafeDumper):
    """Writes as the format's examples do."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write what is equal twice: an anchor means nothing to a reader."""
        return True


def dump(document: Document) -> str:
    """Return a file's text. Lists and mappings without others in them take one line."""
    return yaml.dump(
        document,
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=110,
    )


def slug(name: str) -> str:
    """Return a name as file names have it: lower case, with `_` for all but letters and digits."""
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_") or "untitled"


def free_path(folder: Path, name: str, taken: Collection[Path]) -> Path:
    """Return a path for a new file that no other entity has."""
    path = folder / f"{slug(name)}.yaml"
    number = 2
    while path in taken or path.exists():
        path = folder / f"{slug(name)}_{number}.yaml"
        number += 1
    return path
