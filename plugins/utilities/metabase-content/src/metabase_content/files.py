"""The folder of content: YAML files in Metabase's representation format.

The format is specified in the npm package @metabase/representations. `validate-schema` there checks
each file in full; here a file is checked as far as a push depends on it.
"""

import re
import unicodedata
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from metabase_content.schema import ContentError, NeedsError, check_entity, model_of

Document = dict[str, Any]
FOLDERS = ("collections/main", "databases")
LONGEST_NAME = 100
"""File systems have names of up to 255 bytes; Metabase, of 254 characters."""
CREATOR = "internal@metabase.com"
"""The format wants a creator. Metabase takes the one who pushes."""


@dataclass(frozen=True)
class Problem:
    """Something that can't be pushed, and where it is written."""

    path: Path
    message: str
    line: int | None = None
    follows: bool = False
    """Whether it is only that another file can't be pushed."""

    def __str__(self) -> str:
        place = f"{short(self.path)}:{self.line}" if self.line else short(self.path)
        return f"{place}: {self.message}"


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
        follows = isinstance(error, NeedsError)
        return Problem(self.path, str(error), line_of(self.path, error.key), follows)


@dataclass
class Content:
    """All files of a folder, in the order of their paths."""

    root: Path
    entities: list[Entity] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    refused: dict[str, Path] = field(default_factory=dict)
    """Files with problems, by their `entity_id`."""

    def refuse(self, entity_id: Any, path: Path) -> None:
        """Remember the file of an entity that can't be pushed."""
        if isinstance(entity_id, str):
            self.refused.setdefault(entity_id, path)

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
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".yaml", ".yml")):
        document: Document = {}
        try:
            if not is_read(path.relative_to(root)):
                continue
            document = load(path)
            model = model_of(document)
            if model is not None:
                check_entity(model, document)
                content.entities.append(Entity(path, document, model))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            message = f"This is no YAML: {error.problem}"
            content.problems.append(Problem(path, message, mark.line + 1 if mark else None))
        except yaml.reader.ReaderError as error:
            content.problems.append(Problem(path, f"This is no YAML: {error.reason}"))
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            content.problems.append(Problem(path, "This is no text in UTF-8", line))
        except OSError as error:
            content.problems.append(Problem(path, str(error.strerror)))
        except RecursionError:
            content.problems.append(Problem(path, "An anchor holds itself"))
        except ContentError as error:
            content.problems.append(Problem(path, str(error), line_of(path, error.key) or 1))
            content.refuse(document.get("entity_id"), path)
    refuse_duplicates(content)
    refuse_cycles(content)
    return content


def is_read(path: Path) -> bool:
    """Tell whether a file in the folder is one of those that are pushed.

    Raises:
        ContentError: it looks as if it should be, and has the wrong name or place.
    """
    if any(path.is_relative_to(folder) for folder in FOLDERS):
        if path.suffix != ".yaml":
            raise ContentError(f"Only files *.yaml are read: call it {path.stem}.yaml")
        return True
    if path.parent in (Path(), Path("collections")) and path.name != "settings.yaml":
        raise ContentError(f"Files are read from {' and '.join(FOLDERS)}: move it there")
    return False


class Loader(yaml.CSafeLoader):
    """Reads YAML 1.2's core schema, as the format's tools do: dates, `on` and 12:30 are text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that is there twice; YAML does, and PyYAML takes the last."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # PyYAML refuses it.
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                problem = f"the key `{key.value}` is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,99}", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)
Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(node.value))


def load(path: Path) -> Document:
    """Read one file."""
    document = yaml.load(path.read_bytes().decode("utf-8-sig"), Loader=Loader)  # noqa: S506 (a safe one)
    if not isinstance(document, dict):
        raise ContentError("The file holds no entity: write its keys, as in `name: …`")
    return document


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
            content.refuse(entity.entity_id, entity.path)
    broken = {problem.path for problem in content.problems}
    content.entities = [entity for entity in content.entities if entity.path not in broken]
    content.__dict__.pop("by_id", None)


def line_of(path: Path, key: Sequence[str | int]) -> int | None:
    """Return the line of a key, or of the last part of it that is there."""
    try:
        node = yaml.compose(path.read_bytes().decode("utf-8-sig"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
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
    return re.sub(r"[^a-z0-9]+", "_", text)[:LONGEST_NAME].strip("_") or "untitled"


def free_path(folder: Path, name: str, taken: Collection[Path]) -> Path:
    """Return a path for a new file that no other entity has."""
    path = folder / f"{slug(name)}.yaml"
    number = 2
    while path in taken or path.exists():
        path = folder / f"{slug(name)}_{number}.yaml"
        number += 1
    return path
