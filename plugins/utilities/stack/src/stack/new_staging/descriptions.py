"""What a column holds, in words: the catalog's, or some made from its name."""

import re

from target_bigquery_arrow.column_types import Kind

from stack.new_staging.naming import plural, words

_PARTICIPLES = """
begun bought done given gone held known left lost made met paid put read run said seen sent set sold
spent taken told won written
"""
PARTICIPLES = frozenset(_PARTICIPLES.split())
HAPPENED = frozenset(("arrived", "ended", "expired", "failed", "happened", "occurred", "started"))


def from_catalog(description: object) -> str | None:
    """Return a catalog's description as dbt takes it, if it has at least two words."""
    text = " ".join(str(description or "").split())
    # dbt would take them for its own.
    for brackets in ("{{", "{%", "{#"):
        while brackets in text:
            text = text.replace(brackets, f"{brackets[0]} {brackets[1]}")
    return text if " " in text else None


def of_column(name: str, kind: Kind, one: str) -> str:
    """Return a description of a column made from its name.

    Args:
        name: the column's name in staging.
        kind: its type.
        one: what a row is, such as `order_line`.
    """
    thing = words(one)
    said = words(name)
    if name == "id":
        return f"Identifies the {thing}."
    if name.endswith("_id"):
        return f"Identifies the {words(name.removesuffix('_id'))}."
    if kind is Kind.BOOL:
        verb, _, rest = said.partition(" ")
        return f"Whether the {thing} {verb} {rest}."
    if name.endswith("_count"):
        return f"Number of {words(plural(name.removesuffix('_count')))}."
    if kind in (Kind.TIMESTAMP, Kind.DATE) and (found := re.fullmatch("(.+)_(at|on)", name)):
        what = words(found[1])
        last = what.split()[-1]
        if last in HAPPENED or (last.endswith("s") and not last.endswith("ss")):
            return f"When the {thing} {what}."
        if last.endswith("ed") or last in PARTICIPLES:
            return f"When the {thing} was {what}."
        return f"When the {thing} is {what}."
    return f"{said[:1].upper()}{said[1:]} of the {thing}."
