"""All files of a source's staging folder, as they would be written now."""

from collections.abc import Sequence
from dataclasses import dataclass

from stack.errors import StackError
from stack.new_staging import models, properties, readme, staging_sql
from stack.new_staging.catalog import Catalog, Table
from stack.new_staging.folder import Folder
from stack.new_staging.model import Model
from stack.new_staging.plan import Addition, Wanted
from stack.new_staging.references import linked
from stack.project import Source


@dataclass(frozen=True)
class Staged:
    """The models of a source.

    Attributes:
        source: the source.
        known: those that have a file already.
        new: those that have none.
        removed: the names of those that somebody has removed and nobody has asked for.
        keyless: streams that can't have one, since they have no key, and nobody has asked for.
    """

    source: Source
    known: tuple[Model, ...]
    new: tuple[Model, ...]
    removed: frozenset[str]
    keyless: tuple[str, ...] = ()

    @property
    def models(self) -> list[Model]:
        """All of them, each knowing the others."""
        return linked([*self.known, *self.new])

    def files(self) -> dict[str, Wanted]:
        """Return every file by name."""
        known = linked(self.known)
        everything = self.models
        new = everything[len(known) :]
        tables = {model.table.name for model in known}
        new_tables = [model for model in new if model.table.name not in tables]
        files = {
            f"src_{self.source.name}.yml": Wanted(
                properties.sources(self.source, everything),
                properties.sources(self.source, known),
                Addition(("sources", 0, "tables"), properties.table_blocks(new_tables)),
            ),
            f"stg_{self.source.name}.yml": Wanted(
                properties.staging(everything),
                properties.staging(known),
                Addition(("models",), properties.model_blocks(new)),
            ),
            "README.md": Wanted(
                readme.render(self.source, everything), readme.render(self.source, known)
            ),
        }
        sql = {f"{model.name}.sql": Wanted(staging_sql.render(model)) for model in everything}
        return files | sql


def stage(source: Source, catalog: Catalog, streams: Sequence[str], folder: Folder) -> Staged:
    """Return the models of the streams that are asked for, and of those that have one already.

    Args:
        source: the source.
        catalog: what its tap sends.
        streams: as the tap or the raw dataset calls them; all that are selected if there are none.
        folder: its staging folder.

    Raises:
        StackError: a stream isn't there, isn't loaded or has no key; or none is selected.
    """
    asked = _asked(catalog, streams)
    there = folder.models()
    has_model = [
        table for table in catalog.tables if models.model_name(source.name, table.name) in there
    ]
    keyless = () if streams else tuple(t.stream for t in asked if not t.layout.keys)
    if len(keyless) < len(asked):
        asked = [table for table in asked if table.stream not in keyless]
    models.check_keys(source.name, [*asked, *(table for table in has_model if table not in asked)])
    # Of all tables, so that a name doesn't depend on which of them are asked for.
    everything = models.build(source.name, [table for table in catalog.tables if table.layout.keys])
    removed = set() if streams else folder.removed()
    wanted = [
        model
        for model in everything
        if model.name not in removed and (model.name in there or model.table in asked)
    ]
    known = [model for model in wanted if model.name in there]
    return Staged(
        source,
        tuple(sorted(known, key=lambda model: there.index(model.name))),
        tuple(model for model in wanted if model.name not in there),
        frozenset(removed),
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
