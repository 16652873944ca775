"""`stack new-source NAME FROM`: writes extract/NAME.meltano.yml, and says what it found."""

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from stack.project import RESERVED, SOURCE_NAME, SUFFIX, Project
from stack.terminal import StackError, echo, secho

from source_files.new_source import source_file
from source_files.new_source.source_file import Draft

FIRST_HOUR = 4


@click.command("new-source")
@click.argument("name")
@click.argument("origins", metavar="FROM...", nargs=-1, required=True)
@click.option("--print", "only_print", is_flag=True, help="Print the file instead of writing it.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SETTING=VALUE",
    help="A setting of the tap or of the manifest.",
)
@click.option("--schema", "schemas", multiple=True, help="Postgres: a schema to read; else all.")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="REST: a header to send."
)
@click.option("--records", metavar="PATH", help="REST: where the records are, as in data.items.")
@click.option("--key", metavar="A,B", help="REST: what makes a record unique.")
@click.option(
    "--replication-key",
    metavar="COLUMN",
    help="REST: what says when a record was last changed.",
)
@click.option("--one-page", is_flag=True, help="REST: the first page is all there is.")
def new_source(name: str, origins: Sequence[str], *, only_print: bool, **options: Any) -> None:
    """Write the file of a new source, extract/NAME.meltano.yml.

    FROM says what it is:

    \b
      acme.manifest.yaml                    an Airbyte manifest, as the Connector Builder exports
      https://api.example.com/v1/pages      a page of a REST API; several URLs are several streams
      tap-github                            a tap from PyPI
      postgresql://user@host:5432/database  a Postgres database; PGPASSWORD may hold the password
      ${DATABASE_URL}                       one whose URL stands in .env or the environment

    What is missing is asked for on a terminal. Secrets go to .env, which git ignores; the file
    refers to them. In a header or after --set, `${VARIABLE}` stands for what .env has already.
    Nothing is overwritten.
    """  # noqa: D301 - click's mark for lines that stay as they are
    project = Project()
    check_name(name, project)
    # What is found out on the way doesn't get into the file that is printed.
    with contextlib.redirect_stdout(sys.stderr if only_print else sys.stdout):
        draft = _draft(name, origins, project, options)
    text = source_file.text(draft, _interval(project))
    if only_print:
        source_file.check(project, name, text, source_file.environment_text(project, draft))
        click.echo(text, nl=False)
    else:
        _tell(draft, source_file.put(project, draft, text), project)


def _draft(
    name: str, origins: Sequence[str], project: Project, options: Mapping[str, Any]
) -> Draft:
    settings = _pairs(options["settings"], "--set", "=")
    if all(origin.lower().startswith(("http://", "https://")) for origin in origins):
        from source_files.new_source import manifest, rest

        asked = ("records", "key", "replication_key", "one_page")
        headers = _pairs(options["headers"], "--header", ":")
        said = rest.Options(headers, **{option: options[option] for option in asked})
        text, found = rest.propose(origins, said, source_file.known(project))
        return manifest.draft(name, text, project, found | settings, is_own=True)
    if len(origins) > 1:
        message = "Several FROM are the URLs of one REST API: anything else is one source each."
        raise StackError(message)
    if origins[0].endswith((".yaml", ".yml", ".json")):
        from source_files.new_source import manifest

        return manifest.draft(name, manifest.read(origins[0], project), project, settings)
    if origins[0].lower().startswith(("postgresql://", "postgres://", "${")):
        from source_files.new_source import postgres

        return postgres.draft(name, origins[0], project, options["schemas"], settings)
    from source_files.new_source import tap

    return tap.draft(name, origins[0], project, settings)


def _pairs(given: Sequence[str], option: str, sign: str) -> dict[str, str]:
    found = {}
    for pair in given:
        name, found_sign, value = pair.partition(sign)
        if not found_sign or not name.strip():
            example = "'Authorization: Bearer …'" if sign == ":" else "start_date=2024-01-01"
            # What was given isn't repeated: it may be secret.
            raise StackError(f"{option} goes `{option} {example}`.")
        found[name.strip()] = value.strip()
    return found


def _interval(project: Project) -> str:
    """Return a time of the day, as cron has it, at which no other job begins."""
    taken = {str(schedule["interval"]) for schedule in project.facts["schedules"].values()}
    times = [f"0 {hour} * * *" for hour in [*range(FIRST_HOUR, 24), *range(FIRST_HOUR)]]
    return next((time for time in times if time not in taken), "0 6 * * *")


def _tell(draft: Draft, kept: Sequence[str], project: Project) -> None:
    name, known = draft.name, source_file.known(project)
    echo()
    secho(f"✓ extract/{name}.meltano.yml", fg="green")
    if there := [v.name for v in draft.variables if v.name in known]:
        secho(f"✓ .env has {', '.join(there)}", fg="green")
    if missing := [v.name for v in draft.variables if v.name not in known]:
        secho(f"✗ .env still needs {', '.join(missing)}", fg="red")
    for variable in kept:
        secho(f"! {variable} was set before, to something else: left as it was.", fg="yellow")
    for note in draft.notes:
        echo(f"  {note}")
    echo("\nNext")
    for command, what in (
        (f"meltano invoke stack check {name}", "whether everything is in place"),
        (f"meltano run {name}-daily", "load it, build what it feeds, tell Metabase"),
        (f"meltano invoke stack new-staging {name}", "write its staging models"),
    ):
        echo(f"  {command:<44}{what}")


MAXIMUM = 40
KINDS = {"tap": "extractor", "target": "loader", "dbt": "transformer"}


def check_name(name: str, project: Project) -> None:
    """Make sure that a name can be a new source's."""
    if not SOURCE_NAME.fullmatch(name):
        suggested = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        raise StackError(
            f"'{name}' can't be a source's name, which is that of its dataset too: lower case, "
            f"digits and underscores, a letter first. Perhaps '{suggested}'?"
        )
    if len(name) > MAXIMUM:
        message = f"'{name}' has {len(name)} characters: a source's name has {MAXIMUM} at most."
        raise StackError(message)
    if RESERVED.fullmatch(name):
        other = re.sub("^(dbt_?)+", "", name) or "models"
        raise StackError(
            f"'{name}' is reserved: dbt writes to `dbt` and `dbt_<developer>`, and a source of "
            f"that name would be mixed up with it. Choose another name, such as '{other}'."
            if name.startswith("dbt")
            else f"'{name}' is reserved. Choose another name, such as '{name}_data'."
        )
    file = project.root / "extract" / f"{name}{SUFFIX}"
    if file.exists():
        raise StackError(
            f"extract/{file.name} is there already, and is never overwritten. Choose another name, "
            "or remove the file first."
        )
    for conflict in _conflicts(name, project):
        raise StackError(f"{conflict} Choose another name than '{name}'.")


def _conflicts(name: str, project: Project) -> Iterator[str]:
    """Yield the plugins, jobs and datasets that a name would be mixed up with."""
    for prefix, kind in KINDS.items():
        if (plugin := f"{prefix}-{name}") in project.plugins:
            yield (
                f"There is a plugin '{plugin}' in the project already, and the source's {kind} "
                f"would be called so too."
            )
    for other in project.plugins.values():
        if other.namespace == name and other.type == "extractors":
            yield f"The plugin '{other.name}' has the namespace '{name}' already."
    if f"{name}-daily" in project.facts["jobs"]:
        yield f"There is a job '{name}-daily' already."
    for source in project.sources.values():
        dataset = str(source.extractor.extras.get("load_schema") or source.name)
        place = f"the source {source.name} (extract/{source.file.name})"
        if name == dataset:
            yield f"The dataset '{name}' is that of {place} already."
        if name.endswith(f"_{dataset}"):
            yield (
                f"'{name}' would be the dataset of a developer called "
                f"'{name.removesuffix(f'_{dataset}')}' for {place}: in `dev`, loads go to "
                f"`<user>_<source>`."
            )
        if dataset.endswith(f"_{name}"):
            yield (
                f"A developer called '{dataset.removesuffix(f'_{name}')}' would load '{name}' into "
                f"'{dataset}' in `dev`, which is the dataset of {place}."
            )
