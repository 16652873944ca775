"""Update Metabase with the tables of the last dbt build: `meltano invoke dbt-metabase:sync`.

dbt-metabase does the work. This module chooses the tables, and explains errors. Then it lets
metabase-content push questions and dashboards: starting a second process would cost more than that.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
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

# Seconds between dbt-metabase's checks whether Metabase sees the new tables; its default is 5.
dbtmetabase._models._SYNC_PERIOD = raw_tables.SYNC_PERIOD
ROOT = Path(os.environ.get("MELTANO_PROJECT_ROOT", "."))
TARGET = Path(os.environ.get("DBT_TARGET_PATH", "transform/target"))


def main() -> int:
    """Return the exit code: 0 when Metabase knows all tables that were built, and all content."""
    # dbt-metabase logs a line for every column that needs no change, and one for every table that
    # Metabase has not seen yet.
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    url = os.environ.get("DBT_METABASE_URL")
    if not url:
        print("No Metabase in this environment: set its `url` in meltano.yml.")  # noqa: T201
        return 0
    try:
        if sys.argv[1:] == ["exposures"]:
            known = exposures.write(dbt_metabase(url), ROOT)
            print(f"{exposures.FILE} has {known} questions and dashboards.")  # noqa: T201
            return 0
        said = sync(url, built_models(TARGET / "run_results.json"))
        failed = push(url)
        # `meltano run` shows the last line.
        print(said)  # noqa: T201
        return failed
    except requests.HTTPError as error:
        return fail(f"Metabase at {url} answered {error.response.status_code}: {error}")
    except requests.RequestException as error:
        return fail(f"Metabase at {url} can't be reached ({type(error).__name__})")
    except (ArgumentError, MetabaseStateError, Refused) as error:
        return fail(f"Metabase at {url}: {error}")
    except ApiError as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}. dbt has not been run yet")


def built_models(run_results: Path) -> Filter | None:
    """Return the models of the last dbt build; None for all, if dbt was last run in another way.

    After a build of one source's models, the tables of other sources may not exist yet, and
    dbt-metabase would wait for them.
    """
    last = json.loads(run_results.read_text())
    if last["args"]["which"] not in ("build", "run"):
        return None
    built = [r["unique_id"].split(".") for r in last["results"] if r["status"] == "success"]
    return Filter(include=sorted(name for kind, _, name, *_ in built if kind == "model"))


def sync(url: str, models: Filter | None) -> str:
    """Push names, descriptions, types and foreign keys; only differences are written.

    Returns: what Metabase knows now.
    """
    client = dbt_metabase(url)
    database = os.environ["DBT_METABASE_DATABASE"]
    timeout = int(os.environ["DBT_METABASE_SYNC_TIMEOUT"])
    said = f"Metabase at {url}."
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
        tables = f"{len(models.include)} tables" if models else "every table"
        said = f"Metabase at {url} knows {tables} of dbt's."
    for source in raw_tables.sources_without_staging(ROOT):
        known = raw_tables.describe(client.metabase, database, source, timeout)
        print(  # noqa: T201
            f"Metabase at {url} shows {known} raw tables of {source.label}, which has no staging."
            if known
            else f"Metabase at {url} finds no raw tables of {source.label}: may its account read "
            f"the dataset {source.dataset}?"
        )
    return said


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
    nodes = json.loads((TARGET / "manifest.json").read_text())["nodes"].values()
    names: set[tuple[str, ...]] = set()
    for node in nodes:
        if node["resource_type"] == "model":
            table = (database, node["schema"], node["alias"])
            names |= {table, *((*table, column) for column in node["columns"])}
    return names


def dbt_metabase(url: str) -> DbtMetabase:
    """Return dbt-metabase, with what dbt last knew of the project."""
    return DbtMetabase(
        manifest_path=TARGET / "manifest.json",
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
