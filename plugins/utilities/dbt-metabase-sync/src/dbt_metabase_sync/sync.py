"""Update Metabase with the tables of the last dbt build: `meltano invoke dbt-metabase:sync`.

dbt-metabase does the work. This module chooses the tables, and explains errors. Then it lets
metabase-content push questions and dashboards: starting a second process would cost more than that.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import dbtmetabase._models
import requests
from dbtmetabase import DbtMetabase, Filter
from dbtmetabase.errors import ArgumentError, MetabaseStateError
from dbtmetabase.manifest import Model
from metabase_content import cli as content
from metabase_content.api import ApiError, Refused
from metabase_content.api import Metabase as MetabaseApi
from metabase_content.files import Content
from metabase_content.references import Warehouse

from dbt_metabase_sync import exposures, raw_tables
from dbt_metabase_sync.pending import ALL, MANIFEST, ROOT

# Seconds between dbt-metabase's checks whether Metabase sees the new tables; its default is 5.
dbtmetabase._models._SYNC_PERIOD = raw_tables.SYNC_PERIOD


def main(models: Sequence[str]) -> tuple[int, bool]:
    """Tell Metabase of tables, then push questions and dashboards.

    Args:
        models: the tables' names, or `pending.ALL`.

    Returns:
        The exit code, 0 when Metabase knows every table that was built, and all content; and
        whether it has found all raw tables, too.
    """
    url = os.environ["DBT_METABASE_URL"]
    found_all = False

    def tell() -> int:
        nonlocal found_all
        said, found_all = sync(url, None if ALL in models else Filter(include=models))
        failed = push(url)
        # `meltano run` shows the last line.
        print(said)  # noqa: T201
        return failed

    return explained(url, tell), found_all


def write_exposures() -> int:
    """Write Metabase's questions and dashboards as exposures of dbt; return the exit code."""
    url = os.environ["DBT_METABASE_URL"]

    def write() -> int:
        known = exposures.write(dbt_metabase(url), ROOT)
        print(f"{exposures.FILE} has {known} questions and dashboards.")  # noqa: T201
        return 0

    return explained(url, write)


def explained(url: str, work: Callable[[], int]) -> int:
    """Return the exit code of some work; 1, and a line that says why, if Metabase refuses it."""
    # dbt-metabase logs a line for every column that needs no change, and one for every table that
    # Metabase has not seen yet.
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    try:
        return work()
    except requests.HTTPError as error:
        problem = f"Metabase at {url} answered {error.response.status_code}: {error}"
    except requests.RequestException as error:
        problem = f"Metabase at {url} can't be reached ({type(error).__name__})"
    except (ArgumentError, MetabaseStateError, Refused) as error:
        problem = f"Metabase at {url}: {error}"
    except ApiError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}. dbt has not been run yet"
    return fail(problem)


def sync(url: str, models: Filter | None) -> tuple[str, bool]:
    """Push names, descriptions, types and foreign keys; only differences are written.

    Returns:
        What Metabase knows now; and whether it has found all raw tables of sources without staging.
    """
    client = dbt_metabase(url)
    database = os.environ["DBT_METABASE_DATABASE"]
    timeout = int(os.environ["DBT_METABASE_SYNC_TIMEOUT"])
    said = f"Metabase at {url} knows all that was built."
    # dbt-metabase takes an empty list to mean all models.
    if models is None or models.include:
        keep_hidden(client, database)
        client.export_models(
            metabase_database=database,
            model_filter=models,
            skip_sources=True,
            sync_timeout=timeout,
            order_fields=True,
        )
        said = f"Metabase at {url} knows {tables(models)} of dbt's."
    found_all = True
    for source in raw_tables.sources_without_staging(ROOT):
        known = raw_tables.describe(client.metabase, database, source, timeout)
        print(  # noqa: T201
            f"Metabase at {url} shows {known} raw tables of {source.label}, which has no staging."
            if known
            else f"Metabase at {url} finds no raw tables of {source.label}: may its account read "
            f"the dataset {source.dataset}?"
        )
        found_all &= known >= len(source.streams)
    return said, found_all


def tables(models: Filter | None) -> str:
    """Return how many tables there are, in words."""
    if models is None:
        return "every table"
    return "1 table" if len(models.include) == 1 else f"{len(models.include)} tables"


def push(url: str) -> int:
    """Push questions and dashboards; return the exit code.

    A model that no job had built before is new to Metabase: its tables are waited for.
    """
    folder = ROOT / content.FOLDER
    if not folder.exists():
        return 0
    metabase = MetabaseApi(url, os.environ.get("DBT_METABASE_API_KEY", ""))
    deadline = time.monotonic() + int(os.environ["DBT_METABASE_SYNC_TIMEOUT"])
    asked = False

    def wait(files: Content, warehouse: Warehouse) -> bool:
        nonlocal asked
        missing = {
            name
            for entity in files.entities
            for name in warehouse.missing([entity.document.get("dataset_query") or {}])
        }
        if not missing or not missing & names_in_manifest() or time.monotonic() > deadline:
            return False
        if not asked:
            for database in {name[0] for name in missing} & warehouse.databases.keys():
                metabase.sync_schema(warehouse.databases[database])
        asked = True
        return True

    return content.push(metabase, folder, wait=wait, mark="WARNING: ")


@cache
def names_in_manifest() -> set[tuple[str, ...]]:
    """Return the tables and columns that dbt has documented, as files of content name them."""
    database = os.environ["DBT_METABASE_DATABASE"]
    nodes = json.loads(MANIFEST.read_text())["nodes"].values()
    names: set[tuple[str, ...]] = set()
    for node in nodes:
        if node["resource_type"] == "model":
            table = (database, node["schema"], node["alias"])
            names |= {table, *((*table, column) for column in node["columns"])}
    return names


def dbt_metabase(url: str) -> DbtMetabase:
    """Return dbt-metabase, with what dbt last knew of the project."""
    return DbtMetabase(
        manifest_path=MANIFEST,
        metabase_url=url,
        metabase_api_key=os.environ.get("DBT_METABASE_API_KEY"),
    )


def keep_hidden(client: DbtMetabase, database: str) -> None:
    """Let tables and columns that people have hidden in Metabase stay hidden.

    dbt-metabase shows all that dbt doesn't hide. It also waits for new columns of a hidden table,
    which Metabase doesn't look for.
    """
    row = client.metabase.find_database(name=database)
    if row is None:
        return  # dbt-metabase says so
    tables = {
        ((table["schema"] or "").upper(), table["name"].upper()): table
        for table in client.metabase.get_database_metadata(row["id"])["tables"]
    }
    read_models = client.manifest.read_models

    def read_models_as_shown() -> Iterable[Model]:
        for model in read_models():
            table = tables.get((model.schema.upper(), model.alias.upper()))
            if table:
                keep_hidden_in(model, table)
            yield model

    client.manifest.read_models = read_models_as_shown


def keep_hidden_in(model: Model, table: Mapping[str, Any]) -> None:
    """Give a model the visibility that its table and columns have, where dbt says nothing of it."""
    if model.visibility_type is None and table["visibility_type"]:
        model.visibility_type = table["visibility_type"]
        model.columns = []
    visibility = {field["name"].upper(): field["visibility_type"] for field in table["fields"]}
    for column in model.columns:
        if column.visibility_type is None:
            column.visibility_type = visibility.get(column.name.upper())


def fail(what: str) -> int:
    """Say what went wrong and that no data is missing."""
    print(  # noqa: T201
        f"{what}.\nThe data is loaded and transformed; only Metabase has not been told. Once that "
        f"is fixed, `meltano invoke dbt-metabase:sync` makes up for it.",
        file=sys.stderr,
    )
    return 1
