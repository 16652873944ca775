"""JSON Schema as taps write it, reduced to the few forms that types are read from.

References within the schema are followed, `allOf` is merged, and what has no `type` gets the one
that its other keywords tell. What can't be told says nothing: its column is JSON.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any
from urllib.parse import unquote

JSONSchema = Mapping[str, Any]

# Levels of objects inside each other that are looked into; deeper ones are JSON.
DEEPEST = 50
# Schemas that are looked at for one stream; references can make a short schema endless.
MOST_STEPS = 100_000
TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}


def resolved(schema: JSONSchema, depth: int = 0) -> dict[str, Any]:
    """Return a stream's schema without references, `allOf` and properties of no type.

    Args:
        schema: as the tap sent it.
        depth: levels of objects whose own properties are wanted too, for flattening.
    """
    return _Resolver(schema, min(depth, DEEPEST)).resolve(schema, level=0)


class _Resolver:
    def __init__(self, root: JSONSchema, depth: int) -> None:
        self._root = root
        self._depth = depth
        self._steps = 0

    def resolve(
        self, schema: object, *, level: int, following: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """Resolve a schema; one that refers to itself says nothing where it does."""
        self._steps += 1
        if not isinstance(schema, Mapping) or self._steps > MOST_STEPS:
            return {}
        rules = dict(schema)
        reference = rules.pop("$ref", None)
        parts = rules.pop("allOf", None)
        if reference is not None:
            if not isinstance(reference, str) or reference in following:
                return {}
            target = self._target(reference)
            rules = _merged(
                self.resolve(target, level=level, following=following | {reference}), rules
            )
        if isinstance(parts, list):
            resolved_parts = (
                self.resolve(part, level=level, following=following) for part in parts
            )
            rules = reduce(_merged, resolved_parts, rules)
        for union in ("anyOf", "oneOf"):
            if isinstance(alternatives := rules.get(union), list):
                rules[union] = [
                    self.resolve(alternative, level=level, following=following)
                    for alternative in alternatives
                ]
        if isinstance(properties := rules.get("properties"), Mapping) and level <= self._depth:
            rules["properties"] = {
                name: self.resolve(rule, level=level + 1, following=following)
                for name, rule in properties.items()
            }
        if "items" in rules and level <= self._depth + 1:
            rules["items"] = self.resolve(rules["items"], level=level + 1, following=following)
        return _typed(rules)

    def _target(self, reference: str) -> object:
        """Return what a reference points to; nothing where that is elsewhere or missing."""
        document, _, pointer = reference.partition("#")
        found: object = self._root
        if document or (pointer and not pointer.startswith("/")):
            return {}
        for step in pointer.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                return {}
        return found


def _typed(rules: dict[str, Any]) -> dict[str, Any]:
    if "type" in rules or any(union in rules for union in ("anyOf", "oneOf")):
        return rules
    if isinstance(values := rules.get("enum"), list) and values:
        return rules | {"type": _types_of(values)}
    if "const" in rules:
        return rules | {"type": _types_of([rules["const"]])}
    if isinstance(rules.get("properties"), Mapping):
        return rules | {"type": ["null", "object"]}
    if isinstance(rules.get("items"), Mapping):
        return rules | {"type": ["null", "array"]}
    return rules


def _types_of(values: Iterable[Any]) -> list[str]:
    return sorted({TYPES[type(value)] for value in values})


def _merged(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema for what fits both."""
    both = {**one, **other}
    if "type" in one and "type" in other:
        both["type"] = _common_types(one["type"], other["type"])
        if not both["type"]:
            del both["type"]
    if isinstance(one.get("properties"), Mapping) and isinstance(other.get("properties"), Mapping):
        both["properties"] = dict(one["properties"])
        for name, rule in other["properties"].items():
            known = both["properties"].get(name)
            alike = isinstance(known, Mapping) and isinstance(rule, Mapping)
            both["properties"][name] = {"allOf": [known, rule]} if alike else rule
    return both


def _common_types(one: Any, other: Any) -> list[str]:
    ours, theirs = (types if isinstance(types, list) else [types] for types in (one, other))
    common = [name for name in ours if name in theirs]
    if "integer" in (*ours, *theirs) and {"integer", "number"} <= {*ours, *theirs}:
        common += [] if "integer" in common else ["integer"]
    return common
