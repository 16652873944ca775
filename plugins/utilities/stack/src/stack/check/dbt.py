"""dbt and Metabase: are they set up, and does Metabase show what dbt builds?"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import requests
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.names import developer_name

from stack.check import report
from stack.check.report import Context, Result, failed, nearest, passed, skipped
from stack.meltano import sandbox_or
from stack.project import Plugin

PRODUCTION = "dbt"


def dataset(context: Context) -> str:
    """Return the dataset that models are built in, as transform/profiles.yml has it."""
    if context.environment in ("local", "prod"):
        return str(context.dbt.config().get("dataset") or PRODUCTION)
    return f"dbt_{developer_name(str(context.project.loader.config().get('developer') or ''))}"


def check(context: Context) -> Iterator[Result]:
    """Yield where dbt builds; `dbt debug` looks at its profile."""
    yield from report.settings(context, [context.dbt], besides=[context.project.loader])
    yield _dataset(context)
    loader = context.project.loader.config().get("location")
    location = context.dbt.config().get("location")
    if loader and location and str(loader).lower() != str(location).lower():
        detail = f"dbt builds in {location}, and raw data is in {loader}"
        fix = f"Correct {context.dbt.where('location')}: no query crosses locations."
        yield failed("location", detail, fix)


def _dataset(context: Context) -> Result:
    try:
        built = dataset(context)
    except LoadError as error:
        fix = "Put your name into .env: `DEVELOPER=lawrence`."
        return failed("dataset", " ".join(str(error).split()), fix)
    sources = context.project.sources.values()
    if built in [source.extractor.extras.get("load_schema") for source in sources]:
        fix = "Give dbt a dataset of its own: `dataset` of dbt-bigquery."
        return failed("dataset", f"{built} is a raw dataset too", fix)
    return passed("dataset", f"builds into {built}")


SECONDS = 8
NOT_METABASE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What comes of reading an answer that is no JSON, or other JSON than Metabase's."""
REFUSED = (401, 403)


def metabase(context: Context) -> Iterator[Result]:
    """Yield what Metabase says; in an environment that has none, that."""
    plugin = context.project.plugins["dbt-metabase"]
    if not plugin.settings["url"].written:
        yield skipped("Metabase", f"`{context.environment}` has none: its `url` isn't set")
        return
    settings = list(report.settings(context, [plugin]))
    yield from settings
    if any(result.ok is False for result in settings):
        yield skipped("connection", "not asked: settings are missing")
        return
    try:
        yield from _ask(context, plugin)
    except NOT_METABASE:
        detail = f"{plugin.config()['url']} answers, and not as Metabase does"
        yield failed("connection", detail, f"Correct {plugin.where('url')}.")
    except requests.RequestException as error:
        said = context.masked(type(error).__name__)
        fix = sandbox_or(f"Correct {plugin.where('url')}, or start Metabase.")
        yield failed("connection", f"{plugin.config()['url']} doesn't answer: {said}", fix)


def _ask(context: Context, plugin: Plugin) -> Iterator[Result]:
    config, key = plugin.config(), plugin.where("api_key")
    user = _get(config, "user/current")
    if user.status_code in REFUSED:
        detail = f"{config['url']} refuses the key ({user.status_code})"
        yield failed("key", detail, f"Make one in Metabase's admin settings; it goes into {key}.")
        return
    user.raise_for_status()
    yield passed("connection", f"{config['url']} knows the key")
    if user.json().get("is_superuser"):
        yield passed("rights", "the key is an administrator's")
    else:
        fix = f"Make a new key in the group Administrators; it goes into {key}."
        yield failed("rights", "the key isn't an administrator's, and may change no table", fix)
    databases = _get(config, "database")
    databases.raise_for_status()
    yield _shown(context, str(config["database"]), databases.json()["data"])


def _shown(context: Context, name: str, rows: list[dict[str, Any]]) -> Result:
    by_name = {str(row["name"]): row for row in rows}
    if name not in by_name:
        near = nearest(name, by_name)
        fix = f"Add a BigQuery database '{name}' in Metabase, or correct `database` of dbt-metabase"
        return failed("database", f"there is no '{name}'", fix + (f": '{near}'?" if near else "."))
    built = dataset(context)
    if shows(by_name[name].get("details") or {}, built):
        return passed("database", f"'{name}' shows {built}")
    fix = f"Add {built} to the datasets of '{name}' in Metabase."
    return failed("database", f"'{name}' doesn't show the dataset {built}", fix)


def shows(details: dict[str, Any], dataset: str) -> bool:
    """Return whether a database's filter lets a dataset through."""
    kind = details.get("dataset-filters-type")
    patterns = str(details.get("dataset-filters-patterns") or "").split(",")
    fits = any(fnmatchcase(dataset, pattern.strip()) for pattern in patterns)
    return {"inclusion": fits, "exclusion": not fits}.get(str(kind), True)


def _get(config: dict[str, Any], path: str) -> requests.Response:
    return requests.get(
        f"{str(config['url']).rstrip('/')}/api/{path}",
        headers={"X-API-KEY": str(config["api_key"])},
        timeout=SECONDS,
    )
