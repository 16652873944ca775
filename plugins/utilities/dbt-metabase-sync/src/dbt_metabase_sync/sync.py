"""Update Metabase with the tables of the last dbt build: `meltano invoke dbt-metabase:sync`.

dbt-metabase does the work. This module chooses the tables, and explains errors.
"""

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dbtmetabase._models
import requests
from dbtmetabase import DbtMetabase, Filter
from dbtmetabase.errors import ArgumentError, MetabaseStateError
from dbtmetabase.manifest import Model

from dbt_metabase_sync import raw_tables
from dbt_metabase_sync.pending import ALL, ROOT, TARGET

# Seconds between dbt-metabase's checks whether Metabase sees the new tables; its default is 5.
dbtmetabase._models._SYNC_PERIOD = raw_tables.SYNC_PERIOD


def main(models: Sequence[str]) -> tuple[int, bool]:
    """Tell Metabase of tables.

    Args:
        models: their names, or `pending.ALL`.

    Returns:
        The exit code, 0 when Metabase knows every table that was built; and whether it has found
        all raw tables, too.
    """
    # dbt-metabase logs a line for every column that needs no change, and one for every table that
    # Metabase has not seen yet.
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    url = os.environ["DBT_METABASE_URL"]
    try:
        return 0, sync(url, None if ALL in models else Filter(include=models))
    except requests.HTTPError as error:
        problem = f"Metabase at {url} answered {error.response.status_code}: {error}"
    except requests.RequestException as error:
        problem = f"Metabase at {url} can't be reached ({type(error).__name__})"
    except (ArgumentError, MetabaseStateError) as error:
        problem = f"Metabase at {url}: {error}"
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}. dbt has not been run yet"
    return fail(problem), False


def sync(url: str, models: Filter | None) -> bool:
    """Push names, descriptions, types and foreign keys; only differences are written.

    Returns:
        Whether Metabase has found all raw tables of sources without staging.
    """
    client = DbtMetabase(
        manifest_path=TARGET / "manifest.json",
        metabase_url=url,
        metabase_api_key=os.environ.get("DBT_METABASE_API_KEY"),
    )
    database = os.environ["DBT_METABASE_DATABASE"]
    timeout = int(os.environ["DBT_METABASE_SYNC_TIMEOUT"])
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
        print(f"Metabase at {url} knows {tables} of dbt's.")  # noqa: T201
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
    return found_all


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
