"""From properties to columns: their shapes, their names, each once, and their descriptions."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal

from target_bigquery_arrow.column_types import JSONSchema, Kind, branches, column_type

from source_files.new_staging import naming, values
from source_files.new_staging.naming import Names, snake_case
from source_files.new_staging.values import JsonPath, Value


class Shape(Enum):
    """What a property holds."""

    SCALAR = auto()
    """A text, a number, a boolean, a time; or now one, now another."""
    SCALARS = auto()
    OBJECT = auto()
    OBJECTS = auto()
    UNKNOWN = auto()
    """Anything: an object without properties, a list of lists, one of several of these."""


SHAPES = dict.fromkeys(["string", "integer", "number", "boolean"], Shape.SCALAR)
LISTS = {Shape.SCALAR: Shape.SCALARS, Shape.OBJECT: Shape.OBJECTS}


def shape_of(schema: object) -> tuple[Shape, Mapping[str, Any]]:
    """Return what a property with this schema holds, and the properties of its objects."""
    found = [_shape(branch) for branch in branches(schema)]
    shapes = {shape for shape, _ in found}
    if shapes == {Shape.SCALAR}:
        return Shape.SCALAR, {}
    if shapes == {Shape.OBJECT}:
        return Shape.OBJECT, {name: rule for _, inner in found for name, rule in inner.items()}
    return found[0] if len(found) == 1 else (Shape.UNKNOWN, {})


def _shape(branch: JSONSchema) -> tuple[Shape, Mapping[str, Any]]:
    kind, properties = branch.get("type"), branch.get("properties")
    if kind == "array":
        shape, properties = shape_of(branch.get("items"))
        return LISTS.get(shape, Shape.UNKNOWN), properties
    if kind == "object" and properties:
        return Shape.OBJECT, properties
    return SHAPES.get(str(kind), Shape.UNKNOWN), {}


Form = Literal["scalar", "list", "JSON"]
"""What a property is; the last two become a text."""


@dataclass(frozen=True)
class Property:
    """A property that becomes a column."""

    names: tuple[str, ...]
    """The names that its column may have, the best one first."""
    value: Value
    origin: tuple[str, ...]
    """Its name in the source, after that of the object that it lies in."""
    schema: JSONSchema = field(default_factory=dict)
    form: Form = "scalar"
    is_key_part: bool = False


@dataclass(frozen=True)
class Nested:
    """A list of objects, which becomes a model."""

    origin: tuple[str, ...]
    place: JsonPath
    properties: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name in snake case."""
        return snake_case("_".join(self.origin)) or "items"

    def count(self) -> Property:
        """Return how many items it has."""
        name = f"{naming.singular(self.name)}_count"
        return Property((name,), self.place.count(), (*self.origin, "count"))

    def as_json(self) -> Property:
        """Return the list as JSON's own text."""
        return named(self.origin, self.place.text(), {}, "JSON")


def read(
    origin: tuple[str, ...], place: JsonPath, schema: Any, *, flatten: bool = True
) -> Iterator[Property | Nested]:
    """Yield the columns and the lists that a property inside JSON comes to.

    An object becomes columns, or a text unless `flatten`.
    """
    shape, properties = shape_of(schema)
    match shape:
        case Shape.SCALAR:
            yield named(origin, place.scalar(column_type(schema).kind), schema)
        case Shape.SCALARS:
            yield named(origin, place.joined(), schema, "list")
        case Shape.OBJECT if flatten:
            for prop, inner in properties.items():
                yield from read((*origin, prop), place.child(prop), inner, flatten=False)
        case Shape.OBJECTS:
            yield Nested(origin, place, properties)
        case _:
            yield named(origin, place.text(), schema, "JSON")


def named(origin: tuple[str, ...], value: Value, schema: Any, form: Form = "scalar") -> Property:
    """Return a property with the names that its column may have."""
    name = snake_case("_".join(origin)) or "column"
    rule = schema if isinstance(schema, Mapping) else {}
    if form == "scalar":
        value = values.moment(name, value, rule)
    names: tuple[str, ...] = (name,)
    if value.kind is Kind.BOOL:
        names = (naming.boolean_name(name.lstrip("_")),)
    change = re.fullmatch("(?:date_)?(created|updated|modified|deleted)", name)
    if value.kind is Kind.TIMESTAMP and change:
        names = (f"{change[1]}_at", name)
    return Property(names, value, origin, rule, form)


GROUPS = {
    Kind.STRING: "text",
    Kind.BOOL: "booleans",
    Kind.DATE: "dates",
    Kind.TIME: "times of day",
    Kind.TIMESTAMP: "timestamps",
    Kind.BYTES: "bytes",
}
"""What a column is listed under; numbers are of several types."""
GROUP_ORDER = ("ids", "text", "numbers", *list(GROUPS.values())[1:])
KEY_KINDS = (Kind.STRING, Kind.INT64, Kind.NUMERIC, Kind.BIGNUMERIC)
SEMANTIC_TYPES = {
    Kind.STRING: {
        "name": "type/Name",
        "email": "type/Email",
        "url": "type/URL",
        "website": "type/URL",
        "city": "type/City",
        "country": "type/Country",
        "postal_code": "type/ZipCode",
    },
    Kind.TIMESTAMP: {"created_at": "type/CreationTimestamp", "updated_at": "type/UpdatedTimestamp"},
}


@dataclass(frozen=True)
class Reference:
    """The column of another model that a column refers to."""

    model: str
    column: str
    certain: bool
    """Whether the referred row must be there; else a row that is missing is a warning."""


@dataclass(frozen=True)
class Column:
    """A column of a staging model."""

    name: str
    value: Value
    group: str
    description: str
    is_key: bool = False
    reference: Reference | None = None
    kept_as_json: bool = False

    @property
    def data_type(self) -> str:
        """Its type as a properties file says it."""
        return self.value.kind.lower()

    @property
    def semantic_type(self) -> str | None:
        """What Metabase is told that it is."""
        if self.is_key:
            return "type/PK"
        return SEMANTIC_TYPES.get(self.value.kind, {}).get(self.name)


def resolve(
    found: Sequence[Property], one: str, *, key: Property | None = None, fixed: Sequence[str] = ()
) -> list[Column]:
    """Return the column of each property: every name once.

    What the source calls so already goes first, so that a new column never renames an old one.
    """
    taken = Names(fixed)
    columns: dict[int, Column] = {}

    def precedence(place: int) -> tuple[bool, bool]:
        item = found[place]
        return item is not key, item.names[0] != "_".join(item.origin)

    for place in sorted(range(len(found)), key=precedence):
        item = found[place]
        names = list(item.names)
        for name in item.names:
            if name in naming.RESERVED or name in fixed:
                names.insert(0, f"{one}_{name}")
        name = taken.take([name for name in names if name not in naming.RESERVED])
        columns[place] = column_of(item, name, one, is_key=item is key)
    return [columns[place] for place in range(len(found))]


def column_of(item: Property, name: str, one: str, *, is_key: bool) -> Column:
    """Return a property's column under a name."""
    kind = item.value.kind
    best = item.names[0]
    sounds_like_id = best == "id" or best.endswith(("_id", "uuid"))
    is_id = is_key or item.is_key_part or (kind in KEY_KINDS and sounds_like_id)
    made = naming.of_column(best, kind, one)
    if item.form != "scalar":
        made = f"{made[:-1]}, {'as JSON' if item.form == 'JSON' else 'separated by commas'}."
    if is_key and not name.endswith("id"):
        made = f"Identifies the {naming.words(one)}."
    return Column(
        name=name,
        value=item.value,
        group="ids" if is_id else GROUPS.get(kind, "numbers"),
        description=naming.from_catalog(item.schema.get("description")) or made,
        is_key=is_key,
        kept_as_json=item.form == "JSON",
    )


def in_order(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return columns by kind, the key first, else as the source has them."""
    return tuple(sorted(columns, key=lambda one: (GROUP_ORDER.index(one.group), not one.is_key)))


def untyped_times(found: Sequence[Property], columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the properties that may be times, by their names, and are texts."""
    return tuple(
        ".".join(item.origin)
        for item, column in zip(found, columns, strict=True)
        if item.form == "scalar"
        and item.value.kind is Kind.STRING
        and values.TEXT_NAME.search(column.name)
    )
