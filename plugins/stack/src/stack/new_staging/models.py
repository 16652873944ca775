"""Staging models: one for each raw table, and one for each list of objects in it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from target_bigquery_arrow.column_types import ColumnType, JSONSchema, Kind, column_type

from stack.errors import StackError
from stack.new_staging import descriptions, moments, naming, sql
from stack.new_staging.catalog import Table
from stack.new_staging.naming import Names, snake_case
from stack.new_staging.shapes import Object, ObjectList, Scalar, ScalarList, shape_of
from stack.new_staging.sql import Expression
from stack.new_staging.values import Inside, Place, Raw, Value, as_text

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


@dataclass(frozen=True)
class Unnesting:
    """How the rows of a child model come out of their parent's."""

    parent_key: str
    """The parent's key, as the child's column is called."""
    parent_value: Expression
    items: Expression
    item: str
    """What an item is called in SQL."""


@dataclass(frozen=True)
class Model:
    """A staging model.

    Attributes:
        name: `stg_<source>__<stream>`.
        source: the source that it is made of.
        table: the raw table that it is made of.
        one: what a row is, such as `order_line`.
        alias: what the raw table is called in SQL: `source` unless a column is called so.
        columns: in the order of the file.
        unnesting: of a child: how its rows come about.
        untyped_times: columns that may be times, and are texts.
    """

    name: str
    source: str
    table: Table
    one: str
    alias: str
    columns: tuple[Column, ...]
    description: str
    unnesting: Unnesting | None = None
    parent: str | None = None
    untyped_times: tuple[str, ...] = ()

    @property
    def key(self) -> Column:
        """The column that identifies a row."""
        return next(column for column in self.columns if column.is_key)


@dataclass
class Found:
    """A property on its way to a column."""

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


def build(source: str, tables: Sequence[Table]) -> list[Model]:
    """Return the models of a source's tables, each followed by its children; see `linked`.

    Raises:
        StackError: tables have no key.
    """
    check_keys(source, tables)
    names = Names()
    of_tables = [_model_name(names, source, table.name) for table in tables]
    models: list[Model] = []
    for table, name in zip(tables, of_tables, strict=True):
        models += _models(source, table, name, names)
    return models


def linked(models: Sequence[Model]) -> list[Model]:
    """Return models whose columns say which rows of each other they identify."""
    return [_linked(model, models) for model in models]


def check_keys(source: str, tables: Sequence[Table]) -> None:
    """See to it that every row of a model can be told from the others.

    Raises:
        StackError: tables have no key.
    """
    keyless = [table for table in tables if not table.layout.keys]
    if not keyless:
        return
    example = keyless[0]
    columns = [column.property for column in example.layout.columns][:2]
    message = (
        f"No key is known of {', '.join(f"'{table.stream}'" for table in keyless)}, so rows can't "
        f"be told apart, and nothing has been written. Say in extract/{source}.meltano.yml what "
        f"identifies a row, under the extractor:\n"
        f"    metadata:\n"
        f"      {example.stream}: {{table-key-properties: [{columns[0]}]}}\n"
        f"Or name the streams to write models for, without these."
    )
    raise StackError(message)


def model_name(source: str, thing: str) -> str:
    """Return the name of the model of a table, if no other wants it too."""
    return f"stg_{source}__{snake_case(thing) or 'table'}"


def _model_name(names: Names, source: str, thing: str) -> str:
    return names.take([model_name(source, thing)])


def _models(source: str, table: Table, name: str, names: Names) -> Iterator[Model]:
    """Yield a table's model and its children."""
    columns = {column.property: column for column in table.layout.columns}
    alias = _free("source", "raw", columns=columns)
    prefix = "" if alias == "source" else f"{alias}."
    one = naming.singular(snake_case(table.name) or "row")
    found: list[Found] = []
    nested: list[Nested] = []
    for prop, column in columns.items():
        is_key = column.name in table.layout.keys
        # What the tap or the loader adds for itself.
        if column.name.startswith("_sdc_") and not is_key:
            continue
        reference = f"{prefix}{sql.identifier(column.name)}"
        schema = table.properties[prop]
        place: Place = (
            Inside(reference)
            if column.type == ColumnType(Kind.JSON)
            else Raw(reference, column.type)
        )
        for item in _read((prop,), place, schema, column.type, flatten=True):
            if isinstance(item, Nested):
                nested.append(item)
            if isinstance(item, Found) and is_key:
                item.value, item.is_key_part = place.scalar(column.type.kind), True
            found.append(item if isinstance(item, Found) else _count_of(item))
    keys = [item for item in found if item.is_key_part]
    key = keys[0] if len(keys) == 1 else _surrogate(keys, found, one)
    if len(keys) > 1:
        found.insert(0, key)
    resolved = _resolve(found, one, key)
    yield Model(
        name=name,
        source=source,
        table=table,
        one=one,
        alias=alias,
        columns=_in_order(resolved),
        description=_describe_table(table, source),
        untyped_times=tuple(_untyped_times(found, resolved)),
    )
    for child in nested:
        yield _child(source, table, name, names, child)


def _read(
    origin: tuple[str, ...], place: Place, schema: Any, kind: ColumnType, *, flatten: bool
) -> Iterator[Found | Nested]:
    """Yield the columns and the lists that a property comes to."""
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
                yield from _read((*origin, prop), below, inner, column_type(inner), flatten=False)
        case ObjectList(properties):
            yield Nested(origin, place, properties)
        case _:
            yield _found(name, place.text(), origin, rule, is_json=True)


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


def _count_of(nested: Nested) -> Found:
    name = naming.singular(snake_case("_".join(nested.origin)) or "item")
    return Found((f"{name}_count",), nested.place.count(), (*nested.origin, "count"))


def _surrogate(keys: Sequence[Found], found: Sequence[Found], one: str) -> Found:
    """Return one key made of several; `id` unless the source has one."""
    expression = sql.surrogate_key([as_text(key.value) for key in keys])
    taken = any(item.candidates[0] == "id" for item in found)
    name = f"{one}_key" if taken else "id"
    made_of = " and ".join(key.candidates[0] for key in keys)
    schema = {"description": f"Identifies the {naming.words(one)}: made of {made_of}."}
    return Found((name,), Value(expression, Kind.STRING), ("",), schema)


def _resolve(
    found: Sequence[Found], one: str, key: Found, fixed: Sequence[str] = ()
) -> dict[int, Column]:
    """Return the column of each property, by its place among them: every name once.

    What the source calls so already goes first, so that a new column never renames an old one.
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


def _in_order(columns: Mapping[int, Column]) -> tuple[Column, ...]:
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


def _untyped_times(found: Sequence[Found], columns: Mapping[int, Column]) -> Iterator[str]:
    for place, item in enumerate(found):
        is_plain = not item.is_list and not item.is_json
        if is_plain and moments.sounds_like_a_time(columns[place].name, item.value.kind):
            yield ".".join(item.origin)


def _describe_table(table: Table, source: str) -> str:
    said = descriptions.from_catalog(table.description)
    what = naming.words(naming.plural(snake_case(table.name) or "rows"))
    return said or f"{what[:1].upper()}{what[1:]} of {naming.words(source)}, one row each."


def _child(
    source: str,
    table: Table,
    parent: str,
    names: Names,
    nested: Nested,
) -> Model:
    """Return the model of a list of objects: a row for each item."""
    stream = snake_case(table.name) or "table"
    listed = snake_case("_".join(nested.origin)) or "items"
    raw_columns = {column.name: column for column in table.layout.columns}
    alias = _free("source", "raw", columns=raw_columns)
    item_name = _free("item", "list_item", columns=raw_columns)
    one, parent_one = naming.singular(listed), naming.singular(stream)
    parent_key = f"{parent_one}_id"
    qualified = [
        Value(f"{alias}.{sql.identifier(column.name)}", column.type.kind)
        for column in table.layout.columns
        if column.name in table.layout.keys
    ]
    found = [
        item
        for prop, schema in nested.properties.items()
        for item in _read(
            (prop,), Inside(item_name, (prop,)), schema, column_type(schema), flatten=True
        )
    ]
    texts = [
        item
        if isinstance(item, Found)
        else _found(
            snake_case("_".join(item.origin)) or "column",
            item.place.text(),
            item.origin,
            {},
            is_json=True,
        )
        for item in found
    ]
    parent_value = (
        qualified[0]
        if len(qualified) == 1
        else Value(sql.surrogate_key([as_text(value) for value in qualified]), Kind.STRING)
    )
    key_parts = [as_text(replace(parent_value, expression=parent_key)), "cast(position as string)"]
    key = Found(
        ("id",),
        Value(sql.surrogate_key(key_parts), Kind.STRING),
        ("",),
        {"description": f"Identifies the {naming.words(one)}: made of {parent_key} and position."},
    )
    fixed = ("id", parent_key, "position")
    columns = {place + 3: column for place, column in _resolve(texts, one, key, fixed).items()}
    columns[0] = _column(key, "id", one, is_key=True)
    columns[1] = Column(
        parent_key,
        replace(parent_value, expression=parent_key),
        "ids",
        f"The {naming.words(parent_one)} that the {naming.words(one)} belongs to.",
    )
    columns[2] = Column(
        "position",
        Value("position", Kind.INT64),
        "numbers",
        f"Place of the {naming.words(one)} in its {naming.words(parent_one)}, from 1 on.",
    )
    return Model(
        name=_model_name(names, source, f"{stream}_{listed}"),
        source=source,
        table=table,
        one=one,
        alias=alias,
        columns=_in_order(columns),
        description=_describe_child(one, parent_one, nested),
        unnesting=Unnesting(
            parent_key,
            parent_value.expression,
            Inside(_qualified_name(nested.place.column, alias), nested.place.keys).items(),
            item_name,
        ),
        parent=parent,
        untyped_times=tuple(
            _untyped_times(texts, {place - 3: column for place, column in columns.items()})
        ),
    )


def _describe_child(one: str, parent_one: str, nested: Nested) -> str:
    several = naming.words(naming.plural(one))
    return (
        f"{several[:1].upper()}{several[1:]} of each {naming.words(parent_one)}, one row each: the "
        f"items of `{'.'.join(nested.origin)}`."
    )


def _qualified_name(name: str, alias: str) -> str:
    return name if name.startswith(f"{alias}.") else f"{alias}.{name}"


def _free(*names: str, columns: Mapping[str, Any]) -> str:
    """Return the first name that no column of the raw table has."""
    taken = {name.lower() for name in columns}
    numbered = (f"{names[-1]}_{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (*names, *numbered) if name not in taken)


def _linked(model: Model, models: Sequence[Model]) -> Model:
    parents = {other.name: other for other in models}
    targets = {
        f"{other.one}_id": other
        for other in reversed(models)
        if not other.unnesting and len(other.table.layout.keys) == 1
    }
    columns = []
    for column in model.columns:
        if model.unnesting and column.name == model.unnesting.parent_key:
            if parent := parents.get(model.parent or ""):
                reference = Reference(parent.name, parent.key.name, certain=True)
                column = replace(column, reference=reference)
            columns.append(column)
        else:
            columns.append(_with_reference(column, model, targets.get(column.name)))
    return replace(model, columns=tuple(columns))


def _with_reference(column: Column, model: Model, target: Model | None) -> Column:
    """Return a column that refers to a model named as it is, if their types can be made one."""
    if target is None or target.name == model.name or column.group != "ids" or column.is_key:
        return column
    if column.value.kind is not target.key.value.kind:
        if target.key.value.kind is not Kind.STRING:
            return column
        column = replace(column, value=Value(as_text(column.value), Kind.STRING))
    return replace(column, reference=Reference(target.name, target.key.name, certain=False))
