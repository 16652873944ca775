"""The SQL of a staging model: `source` → `renamed` → all of it."""

from itertools import groupby

from stack.new_staging import sql
from stack.new_staging.model import Model, Unnesting


def render(model: Model) -> str:
    """Return the text of a model's file."""
    parts = [_source(model)]
    if model.unnesting:
        parts.append(_unnested(model, model.unnesting))
    parts.append(_renamed(model))
    return f"with {',\n\n'.join(parts)}\n\nselect *\nfrom renamed\n"


def _source(model: Model) -> str:
    return (
        "source as (\n\n"
        "    select *\n"
        f"    from {{{{ source('{model.source}', '{model.table.name}') }}}}\n"
        "    where _sdc_deleted_at is null\n\n"
        ")"
    )


def _unnested(model: Model, unnesting: Unnesting) -> str:
    parent_key = sql.column(unnesting.parent_value, unnesting.parent_key, last=False)
    item, offset = unnesting.item, f"{unnesting.item}_offset"
    items = f"    cross join unnest({sql.flat(unnesting.items)}) as {item} with offset as {offset}"
    if len(items) > sql.MAXIMUM_LINE:
        items = (
            "    cross join\n"
            f"        unnest({sql.flat(unnesting.items)}) as {item}\n"
            f"        with offset as {offset}"
        )
    return (
        "unnested as (\n\n"
        "    select\n"
        f"{parent_key}\n"
        f"        {item},\n"
        f"        {offset} + 1 as position\n"
        f"    from source{_alias(model)}\n"
        f"{items}\n\n"
        ")"
    )


def _renamed(model: Model) -> str:
    groups = []
    last = model.columns[-1]
    for group, columns in groupby(model.columns, key=lambda column: column.group):
        lines = [
            sql.column(column.value.expression, column.name, last=column is last)
            for column in columns
        ]
        groups.append("\n".join([f"        ---------- {group}", *lines]))
    origin = "unnested" if model.unnesting else f"source{_alias(model)}"
    return f"renamed as (\n\n    select\n{'\n\n'.join(groups)}\n\n    from {origin}\n\n)"


def _alias(model: Model) -> str:
    return "" if model.alias == "source" else f" as {model.alias}"
