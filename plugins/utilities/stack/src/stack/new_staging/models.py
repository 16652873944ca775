"""Staging models: one for each raw table, and one for each list of objects in it."""

from collections.abc import Iterator, Sequence

from target_bigquery_arrow.column_types import ColumnType, Kind

from stack.errors import StackError
from stack.new_staging import descriptions, naming, sql
from stack.new_staging.catalog import Table
from stack.new_staging.children import child_of
from stack.new_staging.columns import in_order, resolve, untyped_times
from stack.new_staging.model import Model, alias_of
from stack.new_staging.naming import Names, snake_case
from stack.new_staging.reading import Found, Nested, count_of, read
from stack.new_staging.values import Inside, Place, Raw, Value, as_text


def build(source: str, tables: Sequence[Table]) -> list[Model]:
    """Return the models of a source's tables, each followed by its children.

    What they say of each other is added by `references.linked`.

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
    """See to it that every row of a model can be told from the others.

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
        description=descriptions.from_catalog(table.description) or made,
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
        reference = f"{prefix}{sql.identifier(column.name)}"
        is_json = column.type == ColumnType(Kind.JSON)
        place: Place = Inside(reference) if is_json else Raw(reference, column.type)
        schema = table.properties[column.property]
        for item in read((column.property,), place, schema, column.type, flatten=True):
            if isinstance(item, Found) and is_key:
                # As it is: a key that is a number of seconds stays a number.
                item.value, item.is_key_part = place.scalar(column.type.kind), True
            yield item


def _surrogate(keys: Sequence[Found], found: Sequence[Found], one: str) -> Found:
    """Return one key made of several; `id` unless the source has one."""
    expression = sql.surrogate_key([as_text(key.value) for key in keys])
    taken = any(item.candidates[0] == "id" for item in found)
    name = f"{one}_key" if taken else "id"
    made_of = " and ".join(key.candidates[0] for key in keys)
    schema = {"description": f"Identifies the {naming.words(one)}: made of {made_of}."}
    return Found((name,), Value(expression, Kind.STRING), ("",), schema)
