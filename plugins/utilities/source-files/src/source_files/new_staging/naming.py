"""Names and descriptions for people: snake case, singular or plural, no word of SQL, none twice."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import inflection
from target_bigquery_arrow.column_types import Kind

MAXIMUM_LENGTH = 250

# Letters that have no accent to take off.
LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"đ": "d", "Đ": "D", "ð": "d", "þ": "th"}
)

# https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
RESERVED = frozenset(Path(__file__).with_name("reserved_words.txt").read_text().split())
# Words that BigQuery takes for a column, and sqlfluff in backticks only.
KEYWORDS = frozenset(Path(__file__).with_name("keywords.txt").read_text().split())
# Of these, those that sqlfluff can't read without.
UNREADABLE = frozenset(
    "aggregate clone corresponding extend include overlaps pivot primary unpivot".split()  # noqa: SIM905
)


def snake_case(name: str) -> str:
    """Return a name in snake case: `userID` → `user_id`, `Größe (cm)` → `grosse_cm`.

    A name without a Latin letter or a digit becomes empty.
    """
    plain = inflection.transliterate(name.translate(LETTERS))
    # Or `userIDs` would be `user_i_ds`.
    plain = re.sub(r"([A-Z]{2,})s(?![a-z])", lambda found: f"_{found[1].lower()}s_", plain)
    snake = inflection.underscore(re.sub(r"[^A-Za-z0-9]+", "_", plain))
    snake = re.sub(r"_+", "_", snake).strip("_")[:MAXIMUM_LENGTH].rstrip("_")
    return f"_{snake}" if snake[:1].isdigit() else snake


def singular(name: str) -> str:
    """Return the singular of a name: `order_lines` → `order_line`."""
    *first, last = name.split("_")
    return "_".join([*first, inflection.singularize(last)])


def plural(name: str) -> str:
    """Return the plural of a name, which may be one already."""
    *first, last = name.split("_")
    return "_".join([*first, inflection.pluralize(inflection.singularize(last))])


def boolean_name(name: str) -> str:
    """Return the name of a column that says whether: `active` → `is_active`."""
    if re.match("(is|has)_.", name):
        return name
    for verb, instead in (
        ("includes", "has"),
        ("contains", "has"),
        ("with", "has"),
        ("can", "is_able_to"),
        ("should", "is_to"),
        ("was", "is"),
        ("are", "is"),
    ):
        if re.match(f"{verb}_.", name):
            return f"{instead}_{name.removeprefix(f'{verb}_')}"
    *_, last = name.split("_")
    several = (
        len(last) > 3
        and inflection.singularize(last) != last
        and inflection.pluralize(last) == last
    )
    return f"has_{name}" if several else f"is_{name}"


def words(name: str) -> str:
    """Return a snake-case name as words."""
    return name.strip("_").replace("_", " ")


def sentence(name: str) -> str:
    """Return a snake-case name as words that begin a sentence."""
    said = words(name)
    return f"{said[:1].upper()}{said[1:]}"


class Names:
    """The names in one scope: columns of a model, or models of a source."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def take(self, candidates: Sequence[str]) -> str:
        """Return the first candidate that is free, or the last one with a number."""
        last = candidates[-1]
        numbered = (f"{last}_{number}" for number in range(2, len(self._taken) + 3))
        name = next(name for name in (*candidates, *numbered) if name not in self._taken)
        self._taken.add(name)
        return name


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
    """Return a description of a column made from its name."""
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
    return f"{sentence(name)} of the {thing}."
