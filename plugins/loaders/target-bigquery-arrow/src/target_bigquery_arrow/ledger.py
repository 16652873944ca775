"""The ledger: a row in BigQuery for each table that a run has loaded, or failed to load."""

import datetime
import importlib.metadata
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from google.cloud.bigquery import SchemaField

from target_bigquery_arrow.logs import shown
from target_bigquery_arrow.warehouse import JOB_PREFIX, Warehouse

logger = logging.getLogger(__name__)

TABLE = "loads"
LONGEST_ERROR = 2_000
SCHEMA = [
    SchemaField("load_id", "STRING", description="The run of the loader"),
    SchemaField("run_id", "STRING", description="The run of Meltano that started the loader"),
    SchemaField("source", "STRING", description="The extractor that the rows came from"),
    SchemaField("stream", "STRING", description="The stream, as the extractor calls it"),
    SchemaField("dataset", "STRING", description="The dataset that was loaded into"),
    SchemaField("table", "STRING", description="The table that was loaded into"),
    SchemaField("started_at", "TIMESTAMP", description="When the loader was started"),
    SchemaField("ended_at", "TIMESTAMP", description="When the loader ended"),
    SchemaField("rows_received", "INTEGER", description="Rows that the extractor sent"),
    SchemaField("rows_inserted", "INTEGER", description="Rows that are new in the table"),
    SchemaField("rows_updated", "INTEGER", description="Rows of the table that were replaced"),
    SchemaField("rows_deleted", "INTEGER", description="Rows that were marked or removed"),
    SchemaField("bytes_billed", "INTEGER", description="What its queries have billed"),
    SchemaField(
        "is_proven_complete",
        "BOOLEAN",
        description="Whether the extractor proved what the source holds, so that deletes were seen",
    ),
    SchemaField(
        "schema_changes",
        "STRING",
        mode="REPEATED",
        description="In what the stream's columns differed from the table's, and what was done",
    ),
    SchemaField("bookmark", "JSON", description="Where the next run goes on, in the last state"),
    SchemaField("error", "STRING", description="Why the stream has failed"),
    SchemaField("host", "STRING", description="The machine"),
    SchemaField("loader_version", "STRING", description="The release of the loader"),
]


@dataclass
class Load:
    """What a run did to one table. The attributes are columns of `SCHEMA`."""

    stream: str
    table: str | None = None
    rows_received: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    bytes_billed: int = 0
    is_proven_complete: bool = False
    schema_changes: list[str] = field(default_factory=list)
    bookmark: Any = None
    error: str | None = None


class Ledger:
    """Append to the ledger. A run whose loads can't be recorded goes on as if they were.

    Args:
        warehouse: the ledger's own dataset.
        run: the run's identifier.
        source: the extractor's name.
        dataset: the dataset that the run loads into.
    """

    def __init__(self, warehouse: Warehouse, run: str, source: str | None, dataset: str) -> None:
        """Note when the run began."""
        self._warehouse = warehouse
        self._run = run
        self._started_at = _now()
        self._same = {
            "load_id": run,
            "run_id": os.environ.get("MELTANO_RUN_ID"),
            "source": source,
            "dataset": dataset,
            "host": platform.node(),
            "loader_version": importlib.metadata.version("target-bigquery-arrow"),
        }

    def record(self, loads: Sequence[Load]) -> None:
        """Append a row a load."""
        if not loads:
            return
        times = {"started_at": self._started_at, "ended_at": _now()}
        rows = [self._same | times | asdict(load) for load in loads]
        for row in rows:
            if row["error"]:
                row["error"] = shown(row["error"], LONGEST_ERROR)
        try:
            job = f"{JOB_PREFIX}{self._run}_{TABLE}_record"
            self._warehouse.append_rows(TABLE, rows, SCHEMA, partitioned_by="ended_at", job=job)
        except Exception as error:
            # The rows are in their tables all the same.
            logger.warning(
                "This load is not recorded in %s.%s: %s", self._warehouse.dataset, TABLE, error
            )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()
