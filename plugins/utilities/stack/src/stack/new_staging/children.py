"""The model of a list of objects: a row for each item, with the key of the row that it lies in."""

from dataclasses import replace

from target_bigquery_arrow.column_types import Kind, column_type

from stack.new_staging import naming, sql
from stack.new_staging.catalog import Table
from stack.new_staging.columns import Column, in_order, key_column, resolve, untyped_times
from stack.new_staging.model import Model, Unnesting, free_name
from stack.new_staging.naming import snake_case
from stack.new_staging.reading import Found, Nested, as_json, read
from stack.new_staging.values import Inside, Value, as_text


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
    found = list(_items(nested, item))
    columns = _columns(parent, one, parent_key, parent_value, found)
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


def _items(nested: Nested, item: str) -> list[Found]:
    """Return what an item holds. Lists in it are not models once more, but texts."""
    found = [
        one
        for prop, schema in nested.properties.items()
        for one in read((prop,), Inside(item, (prop,)), schema, column_type(schema), flatten=True)
    ]
    return [one if isinstance(one, Found) else as_json(one.origin, one.place, {}) for one in found]


def _columns(
    parent: Model, one: str, parent_key: str, parent_value: Value, found: list[Found]
) -> dict[int, Column]:
    """Return an item's columns by their place, after those that every child has."""
    thing, owner = naming.words(one), naming.words(parent.one)
    parts = [as_text(replace(parent_value, expression=parent_key)), "cast(position as string)"]
    key = Found(
        ("id",),
        Value(sql.surrogate_key(parts), Kind.STRING),
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
        Value(f"{alias}.{sql.identifier(column.name)}", column.type.kind)
        for column in table.layout.columns
        if column.name in table.layout.keys
    ]
    if len(keys) == 1:
        return keys[0]
    return Value(sql.surrogate_key([as_text(key) for key in keys]), Kind.STRING)


def _qualified(place: Inside, alias: str) -> Inside:
    column = place.column.removeprefix(f"{alias}.")
    return replace(place, column=f"{alias}.{column}")
