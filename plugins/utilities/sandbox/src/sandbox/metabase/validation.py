"""Schemas of request bodies, with Metabase's messages for values that don't fit."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.metabase import errors
from sandbox.metabase.semantics import RELATION_TYPES, SEMANTIC_TYPES


@dataclass(frozen=True)
class Rule:
    """A rule for a value.

    `complaints` returns one sentence for each way in which a value does not fit.
    """

    expected: str
    complaints: Callable[[Any], list[str]]
    nullable: bool = True


def _is_blank(value: object) -> bool:
    return not isinstance(value, str) or not value.strip()


def _blank_complaints(value: object) -> list[str]:
    if not isinstance(value, str):
        return ["should be a string", "non-blank string"]
    return (["should be at least 1 character"] if not value else []) + (
        ["non-blank string"] if _is_blank(value) else []
    )


def non_blank(nullable: bool = True) -> Rule:
    """A string that isn't empty."""
    return Rule("value must be a non-blank string.", _blank_complaints, nullable)


def text() -> Rule:
    """Any string."""
    return Rule("string", lambda v: [] if isinstance(v, str) else ["should be a string"])


def positive_int(nullable: bool = True) -> Rule:
    """An id."""

    def complaints(value: object) -> list[str]:
        # A bool is an int in Python, but not in JSON.
        fits = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return [] if fits else ["should be a positive int"]

    return Rule("value must be an integer greater than zero.", complaints, nullable)


def boolean() -> Rule:
    """True or false."""
    return Rule("boolean", lambda v: [] if isinstance(v, bool) else ["should be a boolean"])


def integer(at_least: int | None = None, nullable: bool = True) -> Rule:
    """An integer; of new rows, an id may be negative."""
    expected = "integer" if at_least is None else f"integer greater than or equal to {at_least}"

    def complaints(value: object) -> list[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            return [f"should be an {expected}"]
        return [f"should be an {expected}"] if at_least is not None and value < at_least else []

    return Rule(f"value must be an {expected}.", complaints, nullable)


def sequence(expected: str, fits: Callable[[Any], bool]) -> Rule:
    """A list of which each item fits."""

    def complaints(value: object) -> list[str]:
        if not isinstance(value, list):
            return ["invalid type"]
        return [] if all(map(fits, value)) else [expected]

    return Rule(f"sequence of {expected}", complaints)


def collection_reference() -> Rule:
    """An id, or the `entity_id` of a collection."""
    number = positive_int()

    def complaints(value: object) -> list[str]:
        return [] if isinstance(value, str) and len(value) == 21 else number.complaints(value)

    return Rule("value must be an integer greater than zero, or NanoID", complaints)


def mapping() -> Rule:
    """A JSON object."""
    return Rule("Value must be a map.", lambda v: [] if isinstance(v, dict) else ["invalid type"])


def one_of(*values: str) -> Rule:
    """One of these strings."""
    choices = (
        ", ".join(json.dumps(value) for value in values[:-1]) + f" or {json.dumps(values[-1])}"
    )
    return Rule(
        f"enum of {', '.join(values)}",
        lambda v: [] if v in values else [f"should be either {choices}"],
    )


def semantic_type() -> Rule:
    """A descendant of `Semantic/*` or `Relation/*`."""
    expected = "value must be a valid field semantic or relation type (keyword or string)."
    return Rule(
        expected,
        lambda v: [] if isinstance(v, str) and v in SEMANTIC_TYPES | RELATION_TYPES else [expected],
    )


def validated(
    body: object, rules: Mapping[str, Rule], dropped: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the body, after a check of each value against its rule.

    Args:
        body: What was sent.
        rules: What each key must be.
        dropped: Keys that clients are known to send, and that Metabase is known to drop.

    Raises:
        ApiError: 400 with Metabase's envelope; 501 for a key that the fake does not know, which
            Metabase might use or ignore.
    """
    if not isinstance(body, dict):
        raise errors.invalid({"_error": "invalid type"}, {"_error": ["invalid type"]})
    body = {key: value for key, value in body.items() if key not in dropped}
    if unknown := sorted(body.keys() - rules.keys()):
        raise errors.not_implemented(f"the body keys {', '.join(unknown)}")

    specific: dict[str, list[str]] = {}
    for key, rule in rules.items():
        if key not in body and not rule.nullable:
            specific[key] = ["missing required key, received: nil"]
        elif body.get(key) is not None or not rule.nullable:
            received = json.dumps(body[key], ensure_ascii=False)
            found = rule.complaints(body[key])
            specific[key] = [f"{complaint}, received: {received}" for complaint in found]
    specific = {key: complaints for key, complaints in specific.items() if complaints}
    if specific:
        raise errors.invalid({key: _expectation(rules[key]) for key in specific}, specific)
    return body


def _expectation(rule: Rule) -> str:
    return f"nullable {rule.expected}" if rule.nullable else rule.expected
