"""What a source may be called: its name is that of its file, its raw dataset and its job."""

import re

from stack.errors import StackError
from stack.project import SUFFIX, Project

MAXIMUM = 40
RESERVED = ("dbt", "sandbox", "information_schema")
KINDS = {"tap": "extractors", "target": "loaders", "dbt": "transformers"}


def check_name(name: str, project: Project) -> None:
    """Make sure that a name can be a new source's.

    Raises:
        StackError: it can't, and why.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        suggested = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        message = (
            f"'{name}' can't be a source's name, which is that of its dataset too: lower case, "
            f"digits and underscores, a letter first. Perhaps '{suggested}'?"
        )
        raise StackError(message)
    if len(name) > MAXIMUM:
        message = f"'{name}' has {len(name)} characters: a source's name has {MAXIMUM} at most."
        raise StackError(message)
    if name in RESERVED or name.startswith("dbt_"):
        other = re.sub("^(dbt_?)+", "", name) or "models"
        message = (
            f"'{name}' is reserved: dbt writes to `dbt` and `dbt_<developer>`, and a source of "
            f"that name would be mixed up with it. Choose another name, such as '{other}'."
            if name.startswith("dbt")
            else f"'{name}' is reserved. Choose another name, such as '{name}_data'."
        )
        raise StackError(message)
    file = project.root / "extract" / f"{name}{SUFFIX}"
    if file.exists():
        message = (
            f"extract/{file.name} is there already, and is never overwritten. Choose another name, "
            "or remove the file first."
        )
        raise StackError(message)
    _check_plugins(name, project)
    _check_datasets(name, project)


def _check_plugins(name: str, project: Project) -> None:
    for prefix, kind in KINDS.items():
        plugin = f"{prefix}-{name}"
        if plugin in project.plugins:
            message = (
                f"There is a plugin '{plugin}' in the project already, and the source's "
                f"{kind[:-1]} would be called so too. Choose another name than '{name}'."
            )
            raise StackError(message)
    for other in project.plugins.values():
        if other.namespace == name and other.type == "extractors":
            message = (
                f"The plugin '{other.name}' has the namespace '{name}' already. Choose another "
                "name."
            )
            raise StackError(message)
    if f"{name}-daily" in project.facts["jobs"]:
        message = f"There is a job '{name}-daily' already. Choose another name than '{name}'."
        raise StackError(message)


def _check_datasets(name: str, project: Project) -> None:
    for source in project.sources.values():
        dataset = str(source.extractor.extras.get("load_schema") or source.name)
        place = f"the source {source.name} (extract/{source.file.name})"
        if name == dataset:
            message = f"The dataset '{name}' is that of {place} already. Choose another name."
            raise StackError(message)
        if name.endswith(f"_{dataset}"):
            developer = name.removesuffix(f"_{dataset}")
            message = (
                f"'{name}' would be the dataset of a developer called '{developer}' for {place}: "
                "in `dev`, loads go to `<user>_<source>`. Choose another name."
            )
            raise StackError(message)
        if dataset.endswith(f"_{name}"):
            developer = dataset.removesuffix(f"_{name}")
            message = (
                f"A developer called '{developer}' would load '{name}' into '{dataset}' in `dev`, "
                f"which is the dataset of {place}. Choose another name."
            )
            raise StackError(message)
