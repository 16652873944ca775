"""Staging models: one for each raw table, and one for each list of objects in it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from target_bigquery_arrow.column_types import ColumnType, Kind, column_type

from stack.new_staging import naming, values
from stack.new_staging.catalog import Table
from stack.new_staging.columns import (
    Column,
    Found,
    Nested,
    Reference,
    as_json,
    count_of,
    in_order,
    key_column,
    read,
    resolve,
    untyped_times,
)
from stack.new_staging.naming import Names, snake_case
from stack.new_staging.values import Expression, JsonPath, RawColumn, Value, ValueSource, as_text
from stack.terminal import StackError


@dataclass(frozen=True)
class Unnesting:
    """How the rows of a child model come out of their parent's.

    Attributes:
        parent: the name of the parent's model.
        parent_key: its key, as the child's column is called.
        parent_value: the same in SQL.
        items: the list in SQL.
        item: what an item of it is called in SQL.
    """

    parent: str
    parent_key: str
    parent_value: Expression
    items: Expression
    item: str


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
        description: what it holds, in words.
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
    untyped_times: tuple[str, ...] = ()

    @property
    def key(self) -> Column:
        """The column that identifies a row."""
        return next(column for column in self.columns if column.is_key)


def alias_of(table: Table) -> str:
    """Return what a raw table is called in SQL."""
    return free_name("source", "raw", taken=(column.name for column in table.layout.columns))


def free_name(*names: str, taken: Iterable[str]) -> str:
    """Return the first name that isn't taken by a column, whose names have no case in SQL."""
    columns = {name.lower() for name in taken}
    numbered = (f"{names[-1]}_{number}" for number in range(2, len(columns) + 3))
    return next(name for name in (*names, *numbered) if name not in columns)


def build(source: str, tables: Sequence[Table]) -> list[Model]:
    """Return the models of a source's tables, each followed by its children.

    `linked` adds what they say of each other.

    Raises:
        StackError: tables have no key.
    """
    check_keys(source, tables)
    names = Names()
    # The tables first: where a child would be called as another table is, it gets a number.
    of_tables = [names.take([model_name(source, table.name)]) for table in tables]
    models: list[Model] = []
    for table, name in zip(tables, of_tables, strict=True):
        model, nested = _model(source, table, name)
        models.append(model)
        for one in nested:
            listed = f"{snake_case(table.name)}_{snake_case('_'.join(one.origin)) or 'items'}"
            models.append(child_of(model, names.take([model_name(source, listed)]), one))
    return models


def check_keys(source: str, tables: Sequence[Table]) -> None:
    """Make sure that every row of a model can be told from the others.

    Raises:
        StackError: tables have no key.
    """
    keyless = [table for table in tables if not table.layout.keys]
    if not keyless:
        return
    example = keyless[0]
    message = (
        f"No key is known of {', '.join(f"'{table.stream}'" for table in keyless)}, so rows can't "
        f"be told apart, and nothing has been written. Say in extract/{source}.meltano.yml what "
        f"identifies a row, under the extractor:\n"
        f"    metadata:\n"
        f"      {example.stream}: {{table-key-properties: "
        f"[{example.layout.columns[0].property}]}}"
    )
    raise StackError(message)


def model_name(source: str, thing: str) -> str:
    """Return the name of a table's model, if no other wants it too."""
    return f"stg_{source}__{snake_case(thing) or 'table'}"


def _model(source: str, table: Table, name: str) -> tuple[Model, list[Nested]]:
    """Return a table's model, and the lists in it that are models too."""
    alias = alias_of(table)
    one = naming.singular(snake_case(table.name) or "row")
    read_here = list(_properties(table, "" if alias == "source" else f"{alias}."))
    found = [item if isinstance(item, Found) else count_of(item) for item in read_here]
    keys = [item for item in found if item.is_key_part]
    key = keys[0] if len(keys) == 1 else _surrogate(keys, found, one)
    if len(keys) > 1:
        found.insert(0, key)
    columns = resolve(found, one, key=key)
    several = naming.words(naming.plural(snake_case(table.name) or "rows"))
    made = f"{several[:1].upper()}{several[1:]} of {naming.words(source)}, one row each."
    model = Model(
        name=name,
        source=source,
        table=table,
        one=one,
        alias=alias,
        columns=in_order(columns),
        description=naming.from_catalog(table.description) or made,
        untyped_times=tuple(untyped_times(found, columns)),
    )
    return model, [item for item in read_here if isinstance(item, Nested)]


def _properties(table: Table, prefix: str) -> Iterator[Found | Nested]:
    """Yield what the properties of a raw table come to."""
    for column in table.layout.columns:
        is_key = column.name in table.layout.keys
        # What the tap or the loader adds for itself.
        if column.name.startswith("_sdc_") and not is_key:
            continue
        reference = f"{prefix}{values.identifier(column.name)}"
        is_json = column.type == ColumnType(Kind.JSON)
        place: ValueSource = JsonPath(reference) if is_json else RawColumn(reference, column.type)
        schema = table.properties[column.property]
        for item in read((column.property,), place, schema, column.type, flatten=True):
            if isinstance(item, Found) and is_key:
                # As it is: a key that is a number of seconds stays a number.
                item.value, item.is_key_part = place.scalar(column.type.kind), True
            yield item


def _surrogate(keys: Sequence[Found], found: Sequence[Found], one: str) -> Found:
    """Return one key made of several; `id` unless the source has one."""
    expression = values.surrogate_key([as_text(key.value) for key in keys])
    taken = any(item.candidates[0] == "id" for item in found)
    name = f"{one}_key" if taken else "id"
    made_of = " and ".join(key.candidates[0] for key in keys)
    schema = {"description": f"Identifies the {naming.words(one)}: made of {made_of}."}
    return Found((name,), Value(expression, Kind.STRING), ("",), schema)


def child_of(parent: Model, name: str, nested: Nested) -> Model:
    """Return the model of a list in a table.

    Args:
        parent: the table's model.
        name: what the child is to be called.
        nested: the list.
    """
    table = parent.table
    item = free_name("item", "list_item", taken=(column.name for column in table.layout.columns))
    listed = snake_case("_".join(nested.origin)) or "items"
    one = naming.singular(listed)
    parent_key = f"{parent.one}_id"
    parent_value = _parent_value(table, parent.alias)
    found = list(_child_items(nested, item))
    columns = _child_columns(parent, one, parent_key, parent_value, found)
    several = naming.words(naming.plural(one))
    return Model(
        name=name,
        source=parent.source,
        table=table,
        one=one,
        alias=parent.alias,
        columns=in_order(columns),
        description=(
            f"{several[:1].upper()}{several[1:]} of each {naming.words(parent.one)}, one row each: "
            f"the items of `{'.'.join(nested.origin)}`."
        ),
        unnesting=Unnesting(
            parent=parent.name,
            parent_key=parent_key,
            parent_value=parent_value.expression,
            items=_qualified(nested.place, parent.alias).items(),
            item=item,
        ),
        untyped_times=tuple(untyped_times(found, columns)),
    )


def _child_items(nested: Nested, item: str) -> list[Found]:
    """Return what an item holds. Lists in it are not models once more, but texts."""
    found = [
        one
        for prop, schema in nested.properties.items()
        for one in read((prop,), JsonPath(item, (prop,)), schema, column_type(schema), flatten=True)
    ]
    return [one if isinstance(one, Found) else as_json(one.origin, one.place, {}) for one in found]


def _child_columns(
    parent: Model, one: str, parent_key: str, parent_value: Value, found: list[Found]
) -> dict[int, Column]:
    """Return an item's columns by their place, after those that every child has."""
    thing, owner = naming.words(one), naming.words(parent.one)
    parts = [as_text(replace(parent_value, expression=parent_key)), "cast(position as string)"]
    key = Found(
        ("id",),
        Value(values.surrogate_key(parts), Kind.STRING),
        ("",),
        {"description": f"Identifies the {thing}: made of {parent_key} and position."},
    )
    own = [
        key_column(key, one),
        Column(
            parent_key,
            replace(parent_value, expression=parent_key),
            "ids",
            f"The {owner} that the {thing} belongs to.",
        ),
        Column(
            "position",
            Value("position", Kind.INT64),
            "numbers",
            f"Place of the {thing} in its {owner}, from 1 on.",
        ),
    ]
    fixed = [column.name for column in own]
    columns = resolve(found, one, fixed=fixed)
    # Before the others of their kind.
    return columns | {place - len(own): column for place, column in enumerate(own)}


def _parent_value(table: Table, alias: str) -> Value:
    """Return the parent's key, made of several columns as there."""
    keys = [
        Value(f"{alias}.{values.identifier(column.name)}", column.type.kind)
        for column in table.layout.columns
        if column.name in table.layout.keys
    ]
    if len(keys) == 1:
        return keys[0]
    return Value(values.surrogate_key([as_text(key) for key in keys]), Kind.STRING)


def _qualified(place: JsonPath, alias: str) -> JsonPath:
    column = place.column.removeprefix(f"{alias}.")
    return replace(place, column=f"{alias}.{column}")


def linked(models: Sequence[Model]) -> list[Model]:
    """Return models whose columns say which rows of each other they identify."""
    return [_linked(model, models) for model in models]


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
            if parent := parents.get(model.unnesting.parent):
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
