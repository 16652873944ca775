"""The properties files of a source: `src_<source>.yml` and `stg_<source>.yml`."""

import textwrap
from collections.abc import Sequence

import yaml

from stack.new_staging import descriptions
from stack.new_staging.catalog import Table
from stack.new_staging.columns import Column
from stack.new_staging.model import Model
from stack.project import Source

MAXIMUM_LINE = 120


def sources(source: Source, models: Sequence[Model]) -> str:
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
        "      # A table that is not loaded yet is taken as empty. Without this, dbt fails.",
        "      meta: { optional: true }",
        "    tables:",
    ]
    blocks = table_blocks(models)
    return "\n".join([*lines, *(block for block in blocks.values())]) + "\n"


def table_blocks(models: Sequence[Model]) -> dict[str, str]:
    """Return each raw table's part of `src_<source>.yml` by the table's name."""
    tables = {model.table.name: model.table for model in models}
    return {name: "\n".join(_table(table)) for name, table in tables.items()}


def staging(models: Sequence[Model]) -> str:
    """Return the text of `stg_<source>.yml`."""
    return "models:\n" + "\n\n".join(model_blocks(models).values()) + "\n"


def model_blocks(models: Sequence[Model]) -> dict[str, str]:
    """Return each model's part of `stg_<source>.yml` by the model's name."""
    return {model.name: "\n".join(_model(model)) for model in models}


def _table(table: Table) -> list[str]:
    description = descriptions.from_catalog(table.description)
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
