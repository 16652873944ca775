"""Rows that have left the source: marked, or removed, once it is known which they are.

A guard stands before both ways: `max_delete_fraction`, of the extractor or else of the loader, says
how much of a table may go in one run. Past it, nothing is marked: more likely than not, something
else is amiss.
"""

import logging
from dataclasses import dataclass

from target_bigquery_arrow import statements
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import Layout
from target_bigquery_arrow.staging import StagingTable
from target_bigquery_arrow.table import Table

logger = logging.getLogger(__name__)


@dataclass
class SourceKeys:
    """Every key that the source holds.

    Attributes:
        staging: the table where they are, which isn't there if there are none.
        rows: how many there are.
        max_delete_fraction: how much of the stream's table may go.
    """

    staging: StagingTable
    rows: int
    max_delete_fraction: float


def delete_unlisted(table: Table, layout: Layout, keys: SourceKeys, *, hard_delete: bool) -> int:
    """Mark, or remove, the live rows whose keys the source no longer holds; return how many.

    Raises:
        LoadError: they are more than `max_delete_fraction` allows, or not all keys are there.
    """
    table.check_equal(keys.rows, "in the files of KEYS", keys.staging.rows, "loaded")
    staged = table.qualified(keys.staging.name) if keys.rows else None
    listed = statements.listed_keys(staged, keys.staging.expressions)
    sql = statements.count_unlisted(table.target, listed, layout)
    live, gone, lacking = table.counts(sql, "count_deletes")
    _guard(table, gone, live, keys.max_delete_fraction)
    if lacking:
        logger.warning(
            "Table %s lacks %s rows whose keys the source holds. Unless `stream_maps` filter them "
            "out, read the stream in full once: run with `--full-refresh`.",
            table.target,
            f"{lacking:,}",
        )
    if gone:
        sql = statements.delete_unlisted(table.target, listed, layout, hard_delete=hard_delete)
        table.check_equal(gone, "gone from the source", table.execute(sql, "delete"), "deleted")
    if keys.rows:
        table.warehouse.drop_table(keys.staging.name)
    return gone


def delete_older_versions(
    table: Table,
    layout: Layout,
    version: int,
    *,
    max_delete_fraction: float,
    hard_delete: bool,
) -> int:
    """Mark, or remove, what isn't of a stream's newest version; return how many rows.

    Raises:
        LoadError: they are more than `max_delete_fraction` allows.
    """
    live, gone = table.counts(statements.count_older(table.target, version), "count_deletes")
    if layout.keys:
        _guard(table, gone, live, max_delete_fraction)
    else:  # each version is a copy of the whole: has it shrunk?
        _guard(table, max(0, gone - (live - gone)), gone, max_delete_fraction)
    sql = statements.activate_version(table.target, version, hard_delete=hard_delete)
    return table.execute(sql, "activate_version")


def _guard(table: Table, gone: int, live: int, max_delete_fraction: float) -> None:
    if gone <= max_delete_fraction * live:
        return
    message = (
        f"Table {table.target}: {gone:,} of its {live:,} live rows are no longer in the source, "
        f"more than `max_delete_fraction` ({max_delete_fraction:g}) allows; none is marked as "
        f"deleted. If they have truly gone, run once with `max_delete_fraction: 1` on the "
        f"extractor, or on the loader if the extractor has no such setting."
    )
    raise LoadError(message)
