"""Metabase: does it answer, may we write to it, and does it show what dbt builds?"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import requests

from stack.check import dbt, variables
from stack.check.context import Context
from stack.check.result import Result, failed, passed, skipped
from stack.check.selection import nearest

SECONDS = 8
NOT_METABASE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What comes of reading an answer that is no JSON, or other JSON than Metabase's."""
REFUSED = (401, 403)


def check(context: Context) -> Iterator[Result]:
    """Yield what Metabase says; in an environment that has none, that."""
    plugin = context.metabase
    if not plugin.settings["url"].written:
        yield skipped("Metabase", f"`{context.environment}` has none: its `url` isn't set")
        return
    settings = list(variables.check(context, [plugin]))
    yield from settings
    if any(result.ok is False for result in settings):
        yield skipped("connection", "not asked: settings are missing")
        return
    try:
        yield from _ask(context)
    except NOT_METABASE:
        detail = f"{plugin.config()['url']} answers, and not as Metabase does"
        yield failed("connection", detail, f"Correct {variables.where(plugin, 'url')}.")
    except requests.RequestException as error:
        said = context.masked(type(error).__name__)
        mend = f"Correct {variables.where(plugin, 'url')}, or start Metabase."
        if context.environment == "local":
            mend = "Start the sandbox: `meltano invoke sandbox up`."
        yield failed("connection", f"{plugin.config()['url']} doesn't answer: {said}", mend)


def _ask(context: Context) -> Iterator[Result]:
    config = context.metabase.config()
    key = variables.where(context.metabase, "api_key")
    answer = _get(config, "user/current")
    if answer.status_code in REFUSED:
        detail = f"{config['url']} refuses the key ({answer.status_code})"
        yield failed("key", detail, f"Make one in Metabase's admin settings; it goes into {key}.")
        return
    answer.raise_for_status()
    yield passed("connection", f"{config['url']} knows the key")
    if not answer.json().get("is_superuser"):
        mend = f"Make the key anew in the group Administrators; it goes into {key}."
        yield failed("rights", "the key isn't an administrator's, and may change no table", mend)
    else:
        yield passed("rights", "the key is an administrator's")
    answer = _get(config, "database")
    answer.raise_for_status()
    yield from _database(context, str(config["database"]), answer.json()["data"])


def _database(context: Context, name: str, rows: list[dict[str, Any]]) -> Iterator[Result]:
    by_name = {str(row["name"]): row for row in rows}
    if name not in by_name:
        near = nearest(name, list(by_name))
        mend = (
            f"Add a BigQuery database '{name}' in Metabase, or correct `database` of dbt-metabase"
        )
        yield failed("database", f"there is no '{name}'", mend + (f": '{near}'?" if near else "."))
        return
    details = by_name[name].get("details") or {}
    built = dbt.dataset(context)
    if not shows(details, built):
        detail = f"'{name}' doesn't show the dataset {built}"
        yield failed("database", detail, f"Add {built} to the datasets of '{name}' in Metabase.")
    else:
        yield passed("database", f"'{name}' shows {built}")


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
