"""The files of a source's staging folder, as they would be written now: SQL, YAML and README."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from stack.postgres import TAP
from stack.project import Source
from stack.terminal import StackError

from source_files.new_source.source_file import scalar
from source_files.new_staging import models, naming, values
from source_files.new_staging.catalog import Catalog, Table
from source_files.new_staging.folder import File, Folder
from source_files.new_staging.models import Model, linked


@dataclass(frozen=True)
class Staged:
    """The models of a source."""

    source: Source
    known: Sequence[Model]
    """Those that have a file already."""
    new: Sequence[Model]
    declared: Sequence[Table]
    """The raw tables that `src_<source>.yml` has already."""
    keyless: Sequence[str] = ()
    """Streams that can't have a model, since they have no key, and were not named."""

    @property
    def models(self) -> list[Model]:
        """All of them, each knowing the others."""
        return linked([*self.known, *self.new])

    def files(self) -> dict[str, File]:
        """Return every file by name."""
        name = self.source.name
        known, every = linked(self.known), self.models
        new = _blocks("model.yml", every[len(known) :])
        declared = {table.name: table for table in self.declared}
        tables = declared | {model.table.name: model.table for model in every}
        new_tables = [table for table in tables.values() if table.name not in declared]
        return {
            f"src_{name}.yml": File(
                source_yaml(self.source, tables.values()),
                source_yaml(self.source, self.declared),
                ("sources", 0, "tables"),
                _blocks("table.yml", new_tables),
            ),
            f"stg_{name}.yml": File(staging_yaml(every), staging_yaml(known), ("models",), new),
            "README.md": File(readme(self.source, every), readme(self.source, known)),
            **{f"{model.name}.sql": File(model_sql(model)) for model in every},
        }


def stage(source: Source, catalog: Catalog, streams: Sequence[str], folder: Folder) -> Staged:
    """Return the models of the streams that are asked for, and of those that have one already.

    Streams are named as the tap or the raw dataset does. Without names, all that are selected are
    asked for, but for those that are declared as a source and have no model: it was removed, or
    never needed.
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
        sorted(known, key=lambda model: there.index(model.name)),
        [model for model in everything if model.table in asked and model not in known],
        sorted(declared, key=lambda table: tables.index(table.name)),
        keyless,
    )


def _asked(catalog: Catalog, streams: Sequence[str]) -> list[Table]:
    if not catalog.tables:
        raise StackError(
            f"No stream of {catalog.source} is selected. Add some to `select` in extract/"
            f"{catalog.source}.meltano.yml. There are: {', '.join(catalog.streams) or 'none'}."
        )
    if not streams:
        return list(catalog.tables)
    return [table for stream in streams for table in catalog.named(stream)]


LINE = 120


def _described(description: str, indent: int) -> str:
    """Return a description, folded where it is long."""
    line = f"description: {scalar(description)}"
    if indent + len(line) <= LINE:
        return line
    folded = _wrapped(description, LINE - indent - 2)
    return f"description: >-\n{textwrap.indent(folded, ' ' * (indent + 2))}"


def _wrapped(text: str, width: int = LINE, indent: str = "") -> str:
    whole: Any = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, width, subsequent_indent=indent, **whole)


# dbt's own marks stay as they are.
TEMPLATES = jinja2.Environment(  # noqa: S701 - SQL, YAML and Markdown, no HTML
    block_start_string="[%",
    block_end_string="%]",
    variable_start_string="[[",
    variable_end_string="]]",
    comment_start_string="[#",
    comment_end_string="#]",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    loader=jinja2.PackageLoader("source_files.new_staging"),
)
TEMPLATES.filters |= {
    "described": _described,
    "from_catalog": naming.from_catalog,
    "scalar": scalar,
    "wrapped": lambda text: f"{_wrapped(text)}\n",
    "item": lambda text: f"{_wrapped(text, indent='  ')}\n",
}
TEMPLATES.globals["select"] = values.column


def _render(template: str, **variables: Any) -> str:
    return TEMPLATES.get_template(f"{template}.jinja").render(**variables)


def _blocks[T: (Table, Model)](template: str, items: Iterable[T]) -> dict[str, str]:
    """Return each table's or model's part of a properties file by its name."""
    return {item.name: _render(template, item=item) for item in items}


def model_sql(model: Model) -> str:
    """Return the text of a model's file."""
    return _render("model.sql", model=model)


def source_yaml(source: Source, tables: Iterable[Table]) -> str:
    """Return the text of `src_<source>.yml`."""
    return _render("src.yml", tables=tables, **_facts(source))


def staging_yaml(models: Sequence[Model]) -> str:
    """Return the text of `stg_<source>.yml`."""
    return _render("stg.yml", models=models)


def readme(source: Source, models: Sequence[Model]) -> str:
    """Return the text of README.md."""
    tables = {model.table.name: model.table for model in models}.values()
    return _render(
        "README.md",
        models=models,
        is_our_postgres_tap=TAP in (source.extractor.name, source.extractor.parent),
        incremental=[t.name for t in tables if t.replication_method == "INCREMENTAL"],
        **_facts(source),
    )


def _facts(source: Source) -> dict[str, str]:
    return {
        "name": source.name,
        "label": source.extractor.label or source.name,
        "extractor": source.extractor.name,
        "dataset": source.extractor.extras.get("load_schema") or source.name,
        "file": f"extract/{source.file.name}",
    }
