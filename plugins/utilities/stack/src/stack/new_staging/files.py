"""The files of a source's staging folder, as they would be written now: SQL, YAML and README."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import yaml

from stack.new_staging import models, naming, values
from stack.new_staging.catalog import Catalog, Table
from stack.new_staging.columns import Column
from stack.new_staging.folder import Folder, Wanted
from stack.new_staging.models import Model, Unnesting, linked
from stack.project import Source
from stack.terminal import StackError


@dataclass(frozen=True)
class Staged:
    """The models of a source.

    Attributes:
        source: the source.
        known: the models that have a file already.
        new: the models that have none.
        declared: the raw tables that `src_<source>.yml` has already.
        keyless: streams that can't have a model, since they have no key, and nobody named them.
    """

    source: Source
    known: tuple[Model, ...]
    new: tuple[Model, ...]
    declared: tuple[Table, ...]
    keyless: tuple[str, ...] = ()

    @property
    def models(self) -> list[Model]:
        """All of them, each knowing the others."""
        return linked([*self.known, *self.new])

    def files(self) -> dict[str, Wanted]:
        """Return every file by name."""
        name = self.source.name
        known, every = linked(self.known), self.models
        new = model_blocks(every[len(known) :])
        declared = {table.name: table for table in self.declared}
        tables = declared | {model.table.name: model.table for model in every}
        new_tables = [table for table in tables.values() if table.name not in declared]
        return {
            f"src_{name}.yml": Wanted(
                source_yaml(self.source, tables.values()),
                source_yaml(self.source, self.declared),
                ("sources", 0, "tables"),
                table_blocks(new_tables),
            ),
            f"stg_{name}.yml": Wanted(staging_yaml(every), staging_yaml(known), ("models",), new),
            "README.md": Wanted(readme(self.source, every), readme(self.source, known)),
            **{f"{model.name}.sql": Wanted(model_sql(model)) for model in every},
        }


def stage(source: Source, catalog: Catalog, streams: Sequence[str], folder: Folder) -> Staged:
    """Return the models of the streams that are asked for, and of those that have one already.

    A table that is declared as a source and has no model had one that somebody removed, or never
    needed one: it gets one only if its stream is named.

    Args:
        source: the source.
        catalog: what its tap sends.
        streams: as the tap or the raw dataset calls them; all that are selected if there are none.
        folder: its staging folder.

    Raises:
        StackError: a stream is missing, isn't loaded or has no key; or none is selected.
    """
    asked = _asked(catalog, streams)
    there, tables = folder.models(), folder.tables()
    has_model = [
        table for table in catalog.tables if models.model_name(source.name, table.name) in there
    ]
    if not streams:
        asked = [table for table in asked if table.name not in tables]
    keyless = () if streams else tuple(t.stream for t in asked if not t.layout.keys)
    if len(keyless) < len(asked) or has_model:
        asked = [table for table in asked if table.stream not in keyless]
    models.check_keys(source.name, [*asked, *(table for table in has_model if table not in asked)])
    # Of all tables, so that a name doesn't depend on which of them are asked for.
    everything = models.build(source.name, [table for table in catalog.tables if table.layout.keys])
    known = [model for model in everything if model.name in there]
    declared = [table for table in catalog.tables if table.name in tables]
    return Staged(
        source,
        tuple(sorted(known, key=lambda model: there.index(model.name))),
        tuple(model for model in everything if model.table in asked and model not in known),
        tuple(sorted(declared, key=lambda table: tables.index(table.name))),
        keyless,
    )


def _asked(catalog: Catalog, streams: Sequence[str]) -> list[Table]:
    if not catalog.tables:
        message = (
            f"No stream of {catalog.source} is selected. Add some to `select` in extract/"
            f"{catalog.source}.meltano.yml. There are: {', '.join(catalog.streams) or 'none'}."
        )
        raise StackError(message)
    if not streams:
        return list(catalog.tables)
    return [table for stream in streams for table in catalog.named(stream)]


def model_sql(model: Model) -> str:
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
    parent_key = values.column(unnesting.parent_value, unnesting.parent_key, last=False)
    item, offset = unnesting.item, f"{unnesting.item}_offset"
    listed = values.flat(unnesting.items)
    items = f"    cross join unnest({listed}) as {item} with offset as {offset}"
    if len(items) > values.MAXIMUM_LINE:
        items = (
            f"    cross join\n        unnest({listed}) as {item}\n        with offset as {offset}"
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
            values.column(column.value.expression, column.name, last=column is last)
            for column in columns
        ]
        groups.append("\n".join([f"        ---------- {group}", *lines]))
    origin = "unnested" if model.unnesting else f"source{_alias(model)}"
    return f"renamed as (\n\n    select\n{'\n\n'.join(groups)}\n\n    from {origin}\n\n)"


def _alias(model: Model) -> str:
    return "" if model.alias == "source" else f" as {model.alias}"


MAXIMUM_LINE = 120


def source_yaml(source: Source, tables: Iterable[Table]) -> str:
    """Return the text of `src_<source>.yml`."""
    dataset = source.extractor.extras.get("load_schema") or source.name
    label = source.extractor.label or source.name
    description = (
        f"{label}, one raw table a stream of {source.extractor.name}, with its names. Rows that "
        "are known to be gone from the source stay, with `_sdc_deleted_at` set."
    )
    lines = [
        "sources:",
        f"  - name: {_scalar(source.name)}",
        *_described(description, 4),
        "    # In dev, a developer's own load is read with "
        f"--vars '{source.name}_dataset: <user>_{source.name}'.",
        f"    schema: \"{{{{ var('{source.name}_dataset', '{dataset}') }}}}\"",
        "    config:",
        "      loaded_at_field: _sdc_extracted_at",
        "      # How old the newest row of a table may be, for `dbt source freshness`:",
        "      # freshness: { warn_after: { count: 36, period: hour } }",
        "      # A table that is not loaded yet is taken as empty. Without this, dbt fails.",
        "      meta: { optional: true }",
        "    tables:",
    ]
    return "\n".join([*lines, *table_blocks(tables).values()]) + "\n"


def table_blocks(tables: Iterable[Table]) -> dict[str, str]:
    """Return each raw table's part of `src_<source>.yml` by the table's name."""
    return {table.name: "\n".join(_table(table)) for table in tables}


def staging_yaml(models: Sequence[Model]) -> str:
    """Return the text of `stg_<source>.yml`."""
    return "models:\n" + "\n\n".join(model_blocks(models).values()) + "\n"


def model_blocks(models: Sequence[Model]) -> dict[str, str]:
    """Return each model's part of `stg_<source>.yml` by the model's name."""
    return {model.name: "\n".join(_model(model)) for model in models}


def _table(table: Table) -> list[str]:
    description = naming.from_catalog(table.description)
    columns = [(column.name, str(column.type).lower()) for column in table.layout.columns]
    columns.append(("_sdc_deleted_at", "timestamp"))
    return [
        f"      - name: {_scalar(table.name)}",
        *(_described(description, 8) if description else []),
        "        columns:",
        *(
            f"          - {{ name: {_scalar(name)}, data_type: {data_type} }}"
            for name, data_type in columns
        ),
    ]


def _model(model: Model) -> list[str]:
    lines = [
        f"  - name: {_scalar(model.name)}",
        *_described(model.description, 4),
        "    data_tests:",
        *_integrity(model),
        "    columns:",
    ]
    for column in model.columns:
        lines += _column(column)
    return lines


def _integrity(model: Model) -> list[str]:
    """Return the one test of a model's own rows."""
    needed = [
        column.name for column in model.columns if column.reference and column.reference.certain
    ]
    arguments = [f"key: {_scalar(model.key.name)}"]
    if needed:
        arguments.append(f"not_null: [{', '.join(map(_scalar, needed))}]")
    line = f"      - integrity: {{ arguments: {{ {', '.join(arguments)} }} }}"
    if len(line) <= MAXIMUM_LINE:
        return [line]
    return [
        "      - integrity:",
        "          arguments:",
        *(f"            {argument}" for argument in arguments),
    ]


def _column(column: Column) -> list[str]:
    lines = [
        f"      - name: {_scalar(column.name)}",
        *_described(column.description, 8),
        f"        data_type: {column.data_type}",
    ]
    if column.semantic_type:
        lines.append(
            f"        config: {{ meta: {{ metabase.semantic_type: {column.semantic_type} }} }}"
        )
    if column.reference:
        reference = column.reference
        lines += [
            "        data_tests:",
            "          - relationships:",
            *_arguments(f"ref('{reference.model}')", reference.column),
            *([] if reference.certain else ["              config: { severity: warn }"]),
        ]
    return lines


def _arguments(to: str, field: str) -> list[str]:
    line = f"              arguments: {{ to: {to}, field: {_scalar(field)} }}"
    if len(line) <= MAXIMUM_LINE:
        return [line]
    return [
        "              arguments:",
        f"                to: {to}",
        f"                field: {_scalar(field)}",
    ]


def _described(description: str, indent: int) -> list[str]:
    """Return a description, folded where it is long."""
    room = MAXIMUM_LINE - indent
    line = f"description: {_scalar(description)}"
    if len(line) <= room:
        return [f"{' ' * indent}{line}"]
    folded = textwrap.wrap(description, room - 2, break_long_words=False, break_on_hyphens=False)
    return [f"{' ' * indent}description: >-", *(f"{' ' * (indent + 2)}{text}" for text in folded)]


def _scalar(value: str) -> str:
    """Return a text as YAML takes it, in quotes where it needs them."""
    written: str = yaml.safe_dump(value, width=10**6, allow_unicode=True)
    return written.removesuffix("...\n").strip()


OUR_POSTGRES_TAP = "tap-postgres-arrow"
WIDTH = 120


def readme(source: Source, models: Sequence[Model]) -> str:
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
