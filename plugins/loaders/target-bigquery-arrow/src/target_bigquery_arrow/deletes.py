"""Rows that have left the source: marked, or removed, once it is known which they are.

A guard stands before both ways: `max_delete_fraction`, of the extractor or else of the loader, says
how much of a table may go in one run. Past it, nothing is marked: more likely than not, something
else is amiss.
"""

import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from target_bigquery_arrow import statements
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import Layout
from target_bigquery_arrow.partitioning import MAXIMUM_PARTITIONS_A_JOB, PartitionFilter
from target_bigquery_arrow.staging import StagingTable
from target_bigquery_arrow.table import Table

logger = logging.getLogger(__name__)


@dataclass
class SourceKeys:
    """Every key that the source holds.

    Attributes:
        staging: the table where they are, which does not exist if there are none.
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
    staged = keys.staging.name if keys.rows else None
    listed = statements.listed_keys(staged, keys.staging.expressions, keys.staging.columns)
    sql = statements.count_unlisted(table.target, listed, layout, table.partitioning)
    parts = table.rows(sql, "count_deletes")
    live, gone, lacking = (_total(parts, column) for column in range(3))
    _guard(table, gone, live, keys.max_delete_fraction)
    if lacking:
        logger.warning(
            "Table %s lacks %s rows whose keys the source holds. Unless `stream_maps` filter them "
            "out, read the stream in full once: run with `--full-refresh`.",
            table.target,
            f"{lacking:,}",
        )
    if gone:
        deleted = 0
        for where in _where(table, [part[3:] for part in parts if part[1]]):
            sql = statements.delete_unlisted(
                table.target, listed, layout, where, hard_delete=hard_delete
            )
            deleted += table.execute(sql, "delete")
        table.check_equal(gone, "gone from the source", deleted, "deleted")
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
    sql = statements.count_older(table.target, version, layout, table.partitioning)
    parts = table.rows(sql, "count_deletes")
    live, gone = (_total(parts, column) for column in range(2))
    if layout.keys:
        _guard(table, gone, live, max_delete_fraction)
    else:  # each version is a copy of the whole: has it shrunk?
        before, now = gone, live - gone
        if before - now > max_delete_fraction * before:
            # Runs that broke off may have left copies of their own.
            ((before,),) = table.rows(
                statements.count_largest_older(table.target, version, layout), "count_largest_older"
            )
        _guard(table, before - now, before, max_delete_fraction)
    if gone:
        deleted = 0
        for where in _where(table, [part[2:] for part in parts if part[1]]):
            sql = statements.activate_version(
                table.target, version, layout, where, hard_delete=hard_delete
            )
            deleted += table.execute(sql, "activate_version")
        table.check_equal(gone, "of older versions", deleted, "deleted")
    return gone


def remove_deleted(table: Table, layout: Layout) -> int:
    """Remove the rows that the source itself reported as deleted; return how many."""
    parts = table.rows(
        statements.count_deleted(table.target, layout, table.partitioning), "count_deletes"
    )
    if not _total(parts, 0):
        return 0
    return sum(
        table.execute(statements.remove_deleted(table.target, layout, where), "remove_deleted")
        for where in _where(table, [part[1:] for part in parts])
    )


def _total(parts: Sequence[Sequence[Any]], column: int) -> int:
    return sum(part[column] for part in parts)


def _where(table: Table, intervals: Sequence[Any]) -> Iterable[PartitionFilter | None]:
    """Return where rows have gone, for as many statements as it takes."""
    if table.partitioning is None:
        return [None]
    return [
        PartitionFilter(table.partitioning.column, [tuple(pair) for pair in some])
        for some in itertools.batched(intervals, MAXIMUM_PARTITIONS_A_JOB, strict=False)
    ]


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
