"""From properties to columns: their shapes, their names, each once, and their descriptions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from target_bigquery_arrow.column_types import ColumnType, JSONSchema, Kind, branches, column_type

from stack.new_staging import naming, values
from stack.new_staging.naming import Names, snake_case
from stack.new_staging.values import JsonPath, RawColumn, Value, ValueSource

SCALARS = frozenset({"string", "integer", "number", "boolean"})


@dataclass(frozen=True)
class Scalar:
    """A text, a number, a boolean, a time; or now one, now another."""


@dataclass(frozen=True)
class ScalarList:
    """A list of scalars."""


@dataclass(frozen=True)
class Object:
    """An object whose properties are known."""

    properties: Mapping[str, Any]


@dataclass(frozen=True)
class ObjectList:
    """A list of objects whose properties are known."""

    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Unknown:
    """Anything: an object without properties, a list of lists, one of several of these."""


type Shape = Scalar | ScalarList | Object | ObjectList | Unknown


def shape_of(schema: object) -> Shape:
    """Return what a property with this schema holds."""
    found = [_shape(branch) for branch in branches(schema)]
    if found and all(isinstance(shape, Scalar) for shape in found):
        return Scalar()
    objects = [shape.properties for shape in found if isinstance(shape, Object)]
    if found and len(objects) == len(found):
        return Object({name: rule for properties in objects for name, rule in properties.items()})
    return found[0] if len(found) == 1 else Unknown()


def _shape(branch: JSONSchema) -> Shape:
    match branch.get("type"):
        case "array":
            return _list_shape(branch.get("items"))
        case "object" if branch.get("properties"):
            return Object(branch["properties"])
        case str(name) if name in SCALARS:
            return Scalar()
        case _:
            return Unknown()


def _list_shape(items: object) -> Shape:
    if not isinstance(items, Mapping):
        return Unknown()
    match shape_of(items):
        case Scalar():
            return ScalarList()
        case Object(properties):
            return ObjectList(properties)
        case _:
            return Unknown()


@dataclass
class Found:
    """A property on its way to a column.

    Attributes:
        candidates: the names that it may have, the best one first.
        value: its value.
        origin: its name in the source, after that of the object that it lies in.
        schema: its JSON Schema.
        is_list: whether it is a list, made one text.
        is_json: whether it is something else, made a text of JSON.
        is_key_part: whether it belongs to the table's key.
    """

    candidates: tuple[str, ...]
    value: Value
    origin: tuple[str, ...]
    schema: JSONSchema = field(default_factory=dict)
    is_list: bool = False
    is_json: bool = False
    is_key_part: bool = False


@dataclass
class Nested:
    """A list of objects, which becomes a model."""

    origin: tuple[str, ...]
    place: JsonPath
    properties: Mapping[str, Any]


def read(
    origin: tuple[str, ...], place: ValueSource, schema: Any, kind: ColumnType, *, flatten: bool
) -> Iterator[Found | Nested]:
    """Yield the columns and the lists that a property comes to.

    Args:
        origin: the property's name, after that of the object that it lies in.
        place: where its value is.
        schema: its JSON Schema.
        kind: the type that the loader gives to such a schema.
        flatten: whether an object becomes columns; else it is a text.
    """
    name = snake_case("_".join(origin)) or "column"
    rule = schema if isinstance(schema, Mapping) else {}
    if isinstance(place, RawColumn):
        value = place.joined() if kind.repeated else place.scalar(kind.kind)
        yield _found(name, value, origin, rule, is_list=kind.repeated)
        return
    match shape_of(schema):
        case Scalar():
            yield _found(name, place.scalar(kind.kind), origin, rule)
        case ScalarList():
            yield _found(name, place.joined(), origin, rule, is_list=True)
        case Object(properties) if flatten:
            for prop, inner in properties.items():
                below = place.child(prop)
                yield from read((*origin, prop), below, inner, column_type(inner), flatten=False)
        case ObjectList(properties):
            yield Nested(origin, place, properties)
        case _:
            yield as_json(origin, place, rule)


def as_json(origin: tuple[str, ...], place: JsonPath, schema: JSONSchema) -> Found:
    """Return whatever there is as JSON's own text."""
    name = snake_case("_".join(origin)) or "column"
    return _found(name, place.text(), origin, schema, is_json=True)


def count_of(nested: Nested) -> Found:
    """Return how many items a list has."""
    name = naming.singular(snake_case("_".join(nested.origin)) or "item")
    return Found((f"{name}_count",), nested.place.count(), (*nested.origin, "count"))


def _found(
    name: str,
    value: Value,
    origin: tuple[str, ...],
    schema: JSONSchema,
    *,
    is_list: bool = False,
    is_json: bool = False,
) -> Found:
    if not is_list and not is_json:
        value = values.moment(name, value, schema)
    return Found(_candidates(name, value.kind), value, origin, schema, is_list, is_json)


def _candidates(name: str, kind: Kind) -> tuple[str, ...]:
    """Return the names that a column may have, the best one first."""
    if kind is Kind.BOOL:
        return (naming.boolean_name(name.lstrip("_")),)
    change = re.fullmatch("(?:date_)?(created|updated|modified|deleted)", name)
    if kind is Kind.TIMESTAMP and change:
        return (f"{change[1]}_at", name)
    return (name,)


GROUPS = {
    Kind.STRING: "text",
    Kind.BYTES: "bytes",
    Kind.BOOL: "booleans",
    Kind.DATE: "dates",
    Kind.TIME: "times of day",
    Kind.TIMESTAMP: "timestamps",
}
GROUP_ORDER = (
    "ids",
    "text",
    "numbers",
    "booleans",
    "dates",
    "times of day",
    "timestamps",
    "bytes",
)
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
    found: Sequence[Found], one: str, *, key: Found | None = None, fixed: Sequence[str] = ()
) -> dict[int, Column]:
    """Return the column of each property, by its place among them: every name once.

    What the source calls so already goes first, so that a new column never renames an old one.

    Args:
        found: the properties.
        one: what a row is, such as `order_line`.
        key: which of them identifies a row.
        fixed: names that are taken.
    """
    names = Names(fixed)
    order = sorted(
        range(len(found)),
        key=lambda place: (
            found[place] is not key,
            found[place].candidates[0] != "_".join(found[place].origin),
        ),
    )
    columns: dict[int, Column] = {}
    for place in order:
        item = found[place]
        candidates = list(item.candidates)
        for name in item.candidates:
            if name in naming.RESERVED or name in fixed:
                candidates.insert(0, f"{one}_{name}")
        candidates = [name for name in candidates if name not in naming.RESERVED]
        columns[place] = _column(item, names.take(candidates), one, is_key=item is key)
    return columns


def key_column(key: Found, one: str) -> Column:
    """Return a key's column, under the name that it wishes for."""
    return _column(key, key.candidates[0], one, is_key=True)


def _column(item: Found, name: str, one: str, *, is_key: bool) -> Column:
    kind = item.value.kind
    wished = item.candidates[0]
    sounds_like_id = wished == "id" or wished.endswith(("_id", "uuid"))
    is_id = is_key or item.is_key_part or (kind in KEY_KINDS and sounds_like_id)
    made = naming.of_column(wished, kind, one)
    if item.is_list:
        made = f"{made[:-1]}, separated by commas."
    if item.is_json:
        made = f"{made[:-1]}, as JSON."
    if is_key and not name.endswith("id"):
        made = f"Identifies the {naming.words(one)}."
    return Column(
        name=name,
        value=item.value,
        group="ids" if is_id else GROUPS.get(kind, "numbers"),
        description=naming.from_catalog(item.schema.get("description")) or made,
        is_key=is_key,
        kept_as_json=item.is_json,
    )


def in_order(columns: Mapping[int, Column]) -> tuple[Column, ...]:
    """Return columns by kind, the key first, else as the source has them."""
    return tuple(
        columns[place]
        for place in sorted(
            columns,
            key=lambda place: (
                GROUP_ORDER.index(columns[place].group),
                not columns[place].is_key,
                place,
            ),
        )
    )


def untyped_times(found: Sequence[Found], columns: Mapping[int, Column]) -> Iterator[str]:
    """Yield the properties that may be times, by their names, and are texts."""
    for place, item in enumerate(found):
        is_plain = not item.is_list and not item.is_json
        if is_plain and values.sounds_like_a_time(columns[place].name, item.value.kind):
            yield ".".join(item.origin)
