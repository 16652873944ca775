"""The README of a source's staging folder."""

import textwrap
from collections.abc import Sequence

from stack.new_staging.model import Model
from stack.project import Source

OUR_POSTGRES_TAP = "tap-postgres-arrow"
WIDTH = 120


def render(source: Source, models: Sequence[Model]) -> str:
    """Return the text of README.md."""
    extractor = source.extractor
    dataset = extractor.extras.get("load_schema") or source.name
    file = f"extract/{source.file.name}"
    table = [
        "| Model | One row for each |",
        "|---|---|",
        *(f"| `{model.name}` | {_row(model)} |" for model in models),
    ]
    paragraphs = [
        f"# {extractor.label or source.name}",
        _wrapped(
            f"Read by {extractor.name} into the dataset `{dataset}`, as "
            f"[`{file}`](../../../../{file}) says."
        ),
        "\n".join(table),
        _wrapped(
            "Names are snake case, booleans begin with `is_` or `has_`, times are UTC. What an "
            "object holds is in columns of its own; a list of values is one text, separated by "
            "commas; a list of objects is a model of its own."
        ),
        _wrapped(_deleted(source, models)),
        *_open_ends(models),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _row(model: Model) -> str:
    name = model.one.replace("_", " ")
    if model.unnesting:
        return f"{name} in a row of `{model.unnesting.parent}`"
    return f"{name} in the raw table `{model.table.name}`"


def _deleted(source: Source, models: Sequence[Model]) -> str:
    """Return how rows that were deleted at the source are known."""
    dropped = "A row with `_sdc_deleted_at` is dropped here, with all that was listed in it."
    if OUR_POSTGRES_TAP in (source.extractor.name, source.extractor.parent):
        return f"{dropped} Every run compares keys with the source, so that each delete is seen."
    tables = {model.table.name: model.table for model in models}
    partial = [
        f"`{name}`" for name, table in tables.items() if table.replication_method == "INCREMENTAL"
    ]
    stay = (
        f" Of these only what has changed is read, so that deleted rows stay unless the tap "
        f"reports them: {', '.join(partial)}."
        if partial
        else ""
    )
    return (
        f"{dropped} A stream that is read whole tells what has gone, if its tap says that it has "
        f"read all of it.{stay}"
    )


def _open_ends(models: Sequence[Model]) -> list[str]:
    """Return what the catalog said too little of."""
    found = []
    as_json = [
        f"- `{model.name}`: {', '.join(columns)}"
        for model in models
        if (columns := [column.name for column in model.columns if column.kept_as_json])
    ]
    if as_json:
        found.append(
            "Of what lies deeper, or has no shape that the catalog knows, the JSON is kept:"
        )
        found.append("\n".join(map(_item, as_json)))
    times = [
        f"{', '.join(model.untyped_times)} in `{model.name}`"
        for model in models
        if model.untyped_times
    ]
    if times:
        text = (
            f"These may be times, but the catalog has them as text: {'; '.join(times)}. Declare "
            "`format: date-time` for one, under `schema` of the extractor, and it is a timestamp."
        )
        found.append(_wrapped(text))
    return found


def _item(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
