"""Names that BigQuery accepts, made from the names that a tap sends.

Rules: https://cloud.google.com/bigquery/docs/schemas#column_names and
https://cloud.google.com/bigquery/docs/tables#table_naming (the ASCII subset, which
every BigQuery interface takes).
"""

import re
from collections.abc import Iterable, Sequence

from target_bigquery_arrow.errors import LoadError

# `dbt_…` are the datasets that dbt builds in.
DEVELOPER = re.compile(r"(?!dbt(_|$))[a-z0-9]+(_[a-z0-9]+)*")
MAXIMUM_COLUMN_NAME = 300
MAXIMUM_DATASET_NAME = 1024
RESERVED_PREFIXES = (
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
    "_change_sequence_number",
    "_change_type",
    "_change_timestamp",
)


def valid_name(name: str) -> str:
    """Return `name` with what BigQuery refuses replaced by underscores."""
    valid = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    if valid[0].isdigit():
        valid = f"_{valid}"
    if valid.lower().startswith(RESERVED_PREFIXES):
        valid = f"column{valid}"
    return valid[:MAXIMUM_COLUMN_NAME]


def dataset_name(dataset: str, developer: str | None = None) -> str:
    """Return the dataset that streams are loaded into: a developer's own, if one is named.

    Raises:
        LoadError: nothing of the developer's name can be in a dataset's, or it is too long.
    """
    name = valid_name(dataset)
    if developer is not None:
        name = f"{developer_name(developer)}_{name}"
    if len(name) > MAXIMUM_DATASET_NAME:
        message = (
            f"Dataset '{name[:40]}…' has {len(name)} characters, BigQuery takes "
            f"{MAXIMUM_DATASET_NAME}. Choose a shorter `developer`."
        )
        raise LoadError(message)
    return name


def developer_name(developer: str) -> str:
    """Return a developer's name as datasets begin with it: without the `_` that follows it.

    Raises:
        LoadError: it is no such name.
    """
    name = developer.removesuffix("_")
    if not DEVELOPER.fullmatch(name):
        message = (
            f"`developer` is '{name}'. A developer's own datasets begin with this name: lower-case "
            f"letters (a to z), digits and single `_`, without `dbt_` in front, e.g. `lawrence`."
        )
        raise LoadError(message)
    return name


def table_name(stream: str, drop_prefixes: Sequence[str]) -> str:
    """Return the table a stream is loaded into: its name, less the first prefix that fits."""
    for prefix in drop_prefixes:
        if stream.startswith(prefix) and len(stream) > len(prefix):
            stream = stream.removeprefix(prefix)
            break
    return valid_name(stream)


def valid_names(stream: str, names: Iterable[str], reserved: Iterable[str]) -> dict[str, str]:
    """Map each property of a stream to its column.

    Raises:
        LoadError: two properties would share a column, or one would take a reserved column.
            BigQuery's column names are case-insensitive.
    """
    columns: dict[str, str] = {}
    taken = {name.lower(): name for name in reserved}
    for name in names:
        column = valid_name(name)
        if (other := taken.get(column.lower())) is not None:
            message = (
                f"Stream '{stream}': properties '{other}' and '{name}' would both be column "
                f"'{column}' in BigQuery. Deselect one of them in the extractor's `select`, or "
                f"rename it with `stream_maps`."
            )
            raise LoadError(message)
        taken[column.lower()] = name
        columns[name] = column
    return columns
