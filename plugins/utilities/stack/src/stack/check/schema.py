"""Are the keys in the files such as Meltano knows? By the JSON Schema that comes with Meltano."""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]
from jsonschema.validators import validator_for  # type: ignore[import-untyped]

from stack.check.documents import Document, Fault

# Meltano knows it, and its schema does not.
LEFT_OUT = ("state_id_suffix",)
KINDS = {"array": "a list", "object": "a mapping", "string": "a text"}


def check(documents: list[Document], meltano_schema: Path) -> Iterator[Fault]:
    """Yield what Meltano doesn't know, or wants otherwise."""
    schema = json.loads(meltano_schema.read_text())
    # A file that is included holds a part of the whole.
    schema.pop("required", None)
    validator = validator_for(schema)(schema)
    names = {*_properties(schema), *LEFT_OUT}
    for document in documents:
        if document.data is None:
            continue
        for error in validator.iter_errors(document.data):
            yield from _faults(document, error, names)


def _faults(document: Document, error: ValidationError, names: set[str]) -> Iterator[Fault]:
    path = list(error.absolute_path)
    where = f"`{path[-1]}`" if path and isinstance(path[-1], str) else "it"
    match error.validator:
        case "additionalProperties" | "unevaluatedProperties":
            here = set(error.schema.get("properties", ())) or names
            for key in error.instance:
                if key not in here and key not in names:
                    yield _unknown(document, [*path, key], sorted(here))
        case "type":
            kinds = error.validator_value
            kind = KINDS.get(kinds, kinds) if isinstance(kinds, str) else " or ".join(kinds)
            what = f"{where} is {_kind(error.instance)}, where Meltano wants {kind}"
            yield document.fault(path, what, f"Make it {kind}.", fatal=True)
        case "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            what = f"`{missing[0]}` is missing here"
            yield document.fault(path, what, f"Add `{missing[0]}:`.", fatal=True)


def _unknown(document: Document, path: list[str | int], names: list[str]) -> Fault:
    key = str(path[-1])
    near = get_close_matches(key, names, 1)
    what = f"Meltano knows no `{key}` here, and passes it over"
    mend = f"Write `{near[0]}`." if near else f"Remove it, or write one of: {', '.join(names)}."
    return document.fault(path, what, mend)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return f"'{value}'"


def _properties(schema: Any) -> Iterator[str]:
    """Yield every key that a schema names anywhere."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
        for inner in schema.values():
            yield from _properties(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _properties(inner)
