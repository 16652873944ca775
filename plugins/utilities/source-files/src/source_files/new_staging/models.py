"""Staging models: one for each raw table, and one for each list of objects in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from stack.terminal import StackError
from target_bigquery_arrow.column_types import ColumnType, Kind

from source_files.new_staging import naming, values
from source_files.new_staging.catalog import Table
from source_files.new_staging.columns import (
    Column,
    Nested,
    Property,
    Reference,
    column_of,
    in_order,
    named,
    read,
    resolve,
    untyped_times,
)
from source_files.new_staging.naming import Names, snake_case
from source_files.new_staging.values import JsonPath, Value, as_text


@dataclass(frozen=True)
class Unnesting:
    """How the rows of a child model come out of their parent's."""

    parent: str
    """The name of the parent's model."""
    parent_key: str
    """Its key, as the child's column is called."""
    parent_value: str
    """The same in SQL."""
    items: str
    """The list in SQL."""
    item: str
    """What an item of it is called in SQL."""


@dataclass(frozen=True)
class Model:
    """A staging model of a raw table."""

    name: str
    """`stg_<source>__<stream>`."""
    source: str
    table: Table
    one: str
    """What a row is, such as `order_line`."""
    alias: str
    """What the raw table is called in SQL: `source` unless a column is called so."""
    columns: tuple[Column, ...]
    description: str
    unnesting: Unnesting | None = None
    untyped_times: tuple[str, ...] = ()
    """Columns that may be times, and are texts."""

    @property
    def key(self) -> Column:
        """The column that identifies a row."""
        return next(column for column in self.columns if column.is_key)

    @property
    def kept_as_json(self) -> list[str]:
        """The columns that hold JSON as it came."""
        return [column.name for column in self.columns if column.kept_as_json]


def free_name(table: Table, *names: str) -> str:
    """Return the first name that no column of a table has: these have no case in SQL."""
    return Names(column.name.lower() for column in table.layout.columns).take(names)


def build(source: str, tables: Sequence[Table]) -> list[Model]:
    """Return the models of a source's tables, each followed by its children.

    `linked` adds what they say of each other.
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
            listed = f"{snake_case(table.name)}_{one.name}"
            models.append(child_of(model, names.take([model_name(source, listed)]), one))
    return models


def check_keys(source: str, tables: Sequence[Table]) -> None:
    """Make sure that every row of a model can be identified."""
    keyless = [table for table in tables if not table.layout.keys]
    if not keyless:
        return
    example = keyless[0]
    raise StackError(
        f"No key is known of {', '.join(f"'{table.stream}'" for table in keyless)}, so rows can't "
        f"be told apart, and nothing has been written. Say in extract/{source}.meltano.yml what "
        f"identifies a row, under the extractor:\n"
        f"    metadata:\n"
        f"      {example.stream}: {{table-key-properties: "
        f"[{example.layout.columns[0].property}]}}"
    )


def model_name(source: str, thing: str) -> str:
    """Return the name of a table's model, if no other wants it too."""
    return f"stg_{source}__{snake_case(thing) or 'table'}"


def _model(source: str, table: Table, name: str) -> tuple[Model, list[Nested]]:
    """Return a table's model, and the lists in it that are models too."""
    alias = free_name(table, "source", "raw")
    one = naming.singular(snake_case(table.name) or "row")
    read_here = list(_properties(table, "" if alias == "source" else f"{alias}."))
    found = [item.count() if isinstance(item, Nested) else item for item in read_here]
    keys = [item for item in found if item.is_key_part]
    key = keys[0] if len(keys) == 1 else _surrogate(keys, found, one)
    if len(keys) > 1:
        found.insert(0, key)
    columns = resolve(found, one, key=key)
    several = naming.sentence(naming.plural(snake_case(table.name) or "rows"))
    made = f"{several} of {naming.words(source)}, one row each."
    model = Model(
        name=name,
        source=source,
        table=table,
        one=one,
        alias=alias,
        columns=in_order(columns),
        description=naming.from_catalog(table.description) or made,
        untyped_times=untyped_times(found, columns),
    )
    return model, [item for item in read_here if isinstance(item, Nested)]


def _properties(table: Table, prefix: str) -> Iterator[Property | Nested]:
    """Yield what the properties of a raw table come to."""
    for column in table.layout.columns:
        is_key = column.name in table.layout.keys
        # What the tap or the loader adds for itself.
        if column.name.startswith("_sdc_") and not is_key:
            continue
        origin, schema = (column.property,), table.properties[column.property]
        reference, kind = f"{prefix}{values.identifier(column.name)}", column.type.kind
        if is_key:
            # As it is: a key that is a number of seconds stays a number.
            item = named(origin, Value(reference, kind), schema)
            yield replace(item, value=Value(reference, kind), is_key_part=True)
        elif column.type == ColumnType(Kind.JSON):
            yield from read(origin, JsonPath(reference), schema)
        elif column.type.repeated:
            yield named(origin, values.joined(reference, kind), schema, "list")
        else:
            yield named(origin, Value(reference, kind), schema)


def _surrogate(keys: Sequence[Property], found: Sequence[Property], one: str) -> Property:
    """Return one key made of several; `id` unless the source has one."""
    expression = values.surrogate_key([as_text(key.value) for key in keys])
    taken = any(item.names[0] == "id" for item in found)
    name = f"{one}_key" if taken else "id"
    made_of = " and ".join(key.names[0] for key in keys)
    schema = {"description": f"Identifies the {naming.words(one)}: made of {made_of}."}
    return Property((name,), Value(expression, Kind.STRING), ("",), schema)


def child_of(parent: Model, name: str, nested: Nested) -> Model:
    """Return the model of a list in a table."""
    table = parent.table
    item = free_name(table, "item", "list_item")
    one = naming.singular(nested.name)
    # A list inside an item gets no model: it is a text.
    found = [
        inner.as_json() if isinstance(inner, Nested) else inner
        for prop, schema in nested.properties.items()
        for inner in read((prop,), JsonPath(item, (prop,)), schema)
    ]
    parent_value = _parent_value(table, parent.alias)
    own = _own_columns(parent, one, parent_value.kind)
    columns = resolve(found, one, fixed=[column.name for column in own])
    column = nested.place.column.removeprefix(f"{parent.alias}.")
    return Model(
        name=name,
        source=parent.source,
        table=table,
        one=one,
        alias=parent.alias,
        columns=in_order([*own, *columns]),
        description=(
            f"{naming.sentence(naming.plural(one))} of each {naming.words(parent.one)}, one row "
            f"each: the items of `{'.'.join(nested.origin)}`."
        ),
        unnesting=Unnesting(
            parent=parent.name,
            parent_key=own[1].name,
            parent_value=parent_value.sql,
            items=replace(nested.place, column=f"{parent.alias}.{column}").items(),
            item=item,
        ),
        untyped_times=untyped_times(found, columns),
    )


def _own_columns(parent: Model, one: str, kind: Kind) -> list[Column]:
    """Return the columns that every child has: its key, its parent's and its position."""
    thing, owner = naming.words(one), naming.words(parent.one)
    parent_key = Value(f"{parent.one}_id", kind)
    key = values.surrogate_key([as_text(parent_key), "cast(position as string)"])
    made_of = f"Identifies the {thing}: made of {parent_key.sql} and position."
    return [
        column_of(
            Property(("id",), Value(key, Kind.STRING), ("",), {"description": made_of}),
            "id",
            one,
            is_key=True,
        ),
        Column(parent_key.sql, parent_key, "ids", f"The {owner} that the {thing} belongs to."),
        Column(
            "position",
            Value("position", Kind.INT64),
            "numbers",
            f"Place of the {thing} in its {owner}, from 1 on.",
        ),
    ]


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


def linked(models: Sequence[Model]) -> list[Model]:
    """Return models whose columns say which rows of each other they identify."""
    parents = {model.name: model for model in models}
    targets = {
        f"{model.one}_id": model
        for model in reversed(models)
        if not model.unnesting and len(model.table.layout.keys) == 1
    }
    found = []
    for model in models:
        columns = []
        for column in model.columns:
            if model.unnesting and column.name == model.unnesting.parent_key:
                if parent := parents.get(model.unnesting.parent):
                    reference = Reference(parent.name, parent.key.name, certain=True)
                    column = replace(column, reference=reference)
            elif (target := targets.get(column.name)) and target.name != model.name:
                column = _referring(column, target)
            columns.append(column)
        found.append(replace(model, columns=tuple(columns)))
    return found


def _referring(column: Column, target: Model) -> Column:
    """Return a column that refers to a model, if their types can be made one."""
    kind = target.key.value.kind
    if column.group != "ids" or column.is_key:
        return column
    if column.value.kind is not kind:
        if kind is not Kind.STRING:
            return column
        column = replace(column, value=Value(as_text(column.value), kind))
    return replace(column, reference=Reference(target.name, target.key.name, certain=False))
