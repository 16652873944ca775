"""What a property holds, as its JSON Schema says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from target_bigquery_arrow.column_types import JSONSchema, branches

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
