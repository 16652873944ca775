"""Flattening: the properties of an object as columns of their own.

The SDK's settings and names, but not its code: that takes the first branch of an `anyOf` for the
whole, drops a value that is no object where an object was expected, and makes text of what isn't
flattened. Here that is JSON, as without flattening.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from singer_sdk.helpers._flattening import FlatteningOptions, flatten_key

from target_bigquery_arrow.column_types import branches
from target_bigquery_arrow.errors import LoadError


@dataclass
class Flattening:
    """How the records of one stream are flattened.

    Attributes:
        properties: the schemas of the columns.
        objects: the properties that are flattened, with how theirs are.
    """

    stream: str
    options: FlatteningOptions
    parents: tuple[str, ...] = ()
    properties: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, Self] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stream: str,
        schema: Mapping[str, Any],
        options: FlatteningOptions,
        parents: tuple[str, ...] = (),
    ) -> Self:
        """Look at a schema that has been resolved.

        Raises:
            LoadError: two properties would get one name.
        """
        found = cls(stream, options, parents)
        for name, rule in schema.get("properties", {}).items():
            inner = _properties(rule) if len(parents) < options.max_level else None
            if inner is None:
                found._add({found._key(name): rule})
                continue
            below = cls.of(stream, {"properties": inner}, options, (*parents, name))
            found.objects[name] = below
            found._add(below.properties)
        return found

    def record(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Flatten a record. What isn't as the schema has it stays under its own name.

        Raises:
            LoadError: two values would get one name.
        """
        flat: dict[str, Any] = {}
        for name, value in values.items():
            below = self.objects.get(name)
            if below and value is None:
                continue
            added = (
                below.record(value)
                if below and isinstance(value, Mapping)
                else {self._key(name): value}
            )
            self._check(flat, added)
            flat |= added
        return flat

    def _key(self, name: str) -> str:
        return flatten_key(
            name,
            list(self.parents),
            self.options.separator,
            max_key_length=self.options.max_key_length,
        )

    def _add(self, properties: Mapping[str, Any]) -> None:
        self._check(self.properties, properties)
        self.properties |= properties

    def _check(self, known: Mapping[str, Any], added: Mapping[str, Any]) -> None:
        if shared := known.keys() & added.keys():
            message = (
                f"Stream '{self.stream}': flattening gives two properties the name "
                f"'{min(shared)}'. Set another `flattening_separator`, or deselect one of them."
            )
            raise LoadError(message)


def _properties(rule: object) -> dict[str, Any] | None:
    """Return the properties of what is an object or null; None of what may be anything else."""
    found: dict[str, Any] = {}
    for branch in branches(rule):
        properties = branch.get("properties")
        if branch.get("type") != "object" or not isinstance(properties, Mapping) or not properties:
            return None
        for name, inner in properties.items():
            found[name] = {"anyOf": [found[name], inner]} if name in found else inner
    return found or None
