"""dbt: has its profile what it needs, and does it build where it should?"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.names import developer_name

from stack.check import variables
from stack.check.context import Context
from stack.check.result import Result, failed, passed

# A variable that has no value to fall back on.
NEEDED = re.compile(r"env_var\(\s*'([A-Z0-9_]+)'\s*\)")
PRODUCTION = "dbt"
PREFIX = "DBT_BIGQUERY_"


def dataset(context: Context) -> str:
    """Return the dataset that models are built in; in `dev` as transform/profiles.yml makes it."""
    written = str(context.dbt.config().get("dataset") or PRODUCTION)
    if context.environment in ("local", "prod"):
        return written
    return f"dbt_{developer_name(written)}"


def check(context: Context) -> Iterator[Result]:
    """Yield whether dbt's connection is described, and where it builds."""
    yield from variables.check(context, [context.dbt], besides=[context.project.loader])
    yield from _profile(context)
    yield from _dataset(context)
    loader = context.project.loader.config().get("location")
    location = context.dbt.config().get("location")
    if loader and location and str(loader).lower() != str(location).lower():
        detail = f"dbt builds in {location}, and raw data is in {loader}"
        mend = f"Correct {variables.where(context.dbt, 'location')}: no query crosses locations."
        yield failed("location", detail, mend)


def _profile(context: Context) -> Iterator[Result]:
    """Yield whether profiles.yml has an output for the environment, with all that it reads."""
    path = Path(str(context.dbt.config().get("profiles_dir", "transform"))) / "profiles.yml"
    file = context.root / path
    name = file.relative_to(context.root) if file.is_relative_to(context.root) else file
    target = str(context.dbt.config().get("target") or context.environment)
    try:
        project = yaml.safe_load((context.root / "transform" / "dbt_project.yml").read_text())
        profile = yaml.safe_load(file.read_text())[project["profile"]]
        output = profile["outputs"][target]
    except (OSError, yaml.YAMLError) as error:
        detail = f"can't be read: {' '.join(str(error).split())}"
        yield failed("profile", detail, f"Correct {name} or transform/dbt_project.yml.")
        return
    except (KeyError, TypeError) as error:
        detail = f"has no {error} for the target '{target}'"
        yield failed("profile", detail, f"Add it to {name}.")
        return
    # Settings that wait for a variable have been named already.
    given = {
        f"{PREFIX}{setting.name.upper()}"
        for setting in context.dbt.settings.values()
        if setting.written not in (None, "")
    } | set(context.variables)
    given |= {"DBT_TARGET", "MELTANO_ENVIRONMENT"}
    missing = sorted(set(NEEDED.findall(json.dumps(output))) - given)
    for variable in missing:
        setting = variable.removeprefix(PREFIX).lower()
        detail = f"'{target}' reads {variable}, which nothing sets"
        yield failed("profile", detail, f"Set `{setting}` of dbt-bigquery in meltano.yml or .env.")
    if not missing:
        yield passed("profile", f"'{target}' in {name} has all that it reads")


def _dataset(context: Context) -> Iterator[Result]:
    try:
        built = dataset(context)
    except LoadError as error:
        mend = "Put your own into .env: `DBT_DATASET=dbt_<user>`."
        yield failed("dataset", " ".join(str(error).split()), mend)
        return
    raw = {
        source.extractor.extras.get("load_schema") for source in context.project.sources.values()
    }
    if built in raw:
        mend = "Give dbt a dataset of its own: `dataset` of dbt-bigquery."
        yield failed("dataset", f"{built} is a raw dataset too", mend)
    elif context.environment == "dev" and built == PRODUCTION:
        yield failed("dataset", f"{built} is production's", "Put DBT_DATASET=dbt_<user> into .env.")
    else:
        yield passed("dataset", f"builds into {built}")
