"""Which columns say which row of another model they belong to."""

from collections.abc import Sequence
from dataclasses import replace

from target_bigquery_arrow.column_types import Kind

from stack.new_staging.columns import Column, Reference
from stack.new_staging.model import Model
from stack.new_staging.values import Value, as_text


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
