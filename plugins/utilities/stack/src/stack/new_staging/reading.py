"""What a property comes to: one column, several, or a list that is a model of its own."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from target_bigquery_arrow.column_types import ColumnType, JSONSchema, Kind, column_type

from stack.new_staging import moments, naming
from stack.new_staging.naming import snake_case
from stack.new_staging.shapes import Object, ObjectList, Scalar, ScalarList, shape_of
from stack.new_staging.values import Inside, Place, Raw, Value


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
    place: Inside
    properties: Mapping[str, Any]


def read(
    origin: tuple[str, ...], place: Place, schema: Any, kind: ColumnType, *, flatten: bool
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
    if isinstance(place, Raw):
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


def as_json(origin: tuple[str, ...], place: Inside, schema: JSONSchema) -> Found:
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
        value = moments.moment(name, value, schema)
    return Found(_candidates(name, value.kind), value, origin, schema, is_list, is_json)


def _candidates(name: str, kind: Kind) -> tuple[str, ...]:
    """Return the names that a column may have, the best one first."""
    if kind is Kind.BOOL:
        return (naming.boolean_name(name.lstrip("_")),)
    change = re.fullmatch("(?:date_)?(created|updated|modified|deleted)", name)
    if kind is Kind.TIMESTAMP and change:
        return (f"{change[1]}_at", name)
    return (name,)
