"""Columns of a staging model: their names, each once, and what is said of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from target_bigquery_arrow.column_types import Kind

from stack.new_staging import descriptions, moments, naming
from stack.new_staging.naming import Names
from stack.new_staging.reading import Found
from stack.new_staging.values import Value

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
    made = descriptions.of_column(wished, kind, one)
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
        description=descriptions.from_catalog(item.schema.get("description")) or made,
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
        if is_plain and moments.sounds_like_a_time(columns[place].name, item.value.kind):
            yield ".".join(item.origin)
