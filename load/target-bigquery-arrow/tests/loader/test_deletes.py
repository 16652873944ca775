"""KEYS lists what the source holds: what it lacks is deleted, unless that is too much."""

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from target_bigquery_arrow.errors import LoadError

from .driver import Loader, Message, activate, files, record, schema, state

ID = {"id": {"type": "integer"}}
SCHEMA = schema("things", ID)
numbers = itertools.count()


def batch(directory: Path, *ids: Any, stream: str = "things", **others: Any) -> Message:
    return files("BATCH", stream, parquet(directory, {"id": list(ids)}), **others)


def keys(directory: Path, *ids: Any, stream: str = "things", limit: float = 0.5) -> Message:
    paths = [parquet(directory, {"id": list(ids)})] if ids else []
    return files("KEYS", stream, *paths, max_delete_fraction=limit)


def parquet(directory: Path, columns: dict[str, list[Any]]) -> Path:
    path = directory / f"{next(numbers)}.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def ids(loader: Loader, *, table: str = "things", deleted: bool = False) -> list[int]:
    return sorted(row["id"] for row in loader.rows(table, deleted=deleted))


def test_exactly_the_rows_that_are_not_listed_are_marked_until_they_return(
    loader: Loader, tmp_path: Path
) -> None:
    loader.load(SCHEMA, batch(tmp_path, 1, 2, 3, 4), keys(tmp_path, 1, 2, 3, 4), state(1))
    assert loader.load(SCHEMA, batch(tmp_path, 5), keys(tmp_path, 1, 2, 5), state(2)) == [2]
    assert (ids(loader), ids(loader, deleted=True)) == ([1, 2, 5], [3, 4])
    (marked,) = loader.query("select distinct _sdc_deleted_at from things where id in (3, 4)")
    loader.load(SCHEMA, batch(tmp_path, 3), keys(tmp_path, 1, 2, 3, 5), state(3))
    assert (ids(loader), ids(loader, deleted=True)) == ([1, 2, 3, 5], [4])
    assert loader.query("select _sdc_deleted_at from things where id = 4") == [marked]
