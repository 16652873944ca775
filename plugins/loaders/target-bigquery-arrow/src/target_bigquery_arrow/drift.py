"""What happens when a stream's schema and its table have come apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from target_bigquery_arrow.column_types import TEXT_KINDS, ColumnType, Kind
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import KEY_KINDS, METADATA, Column, Layout
from target_bigquery_arrow.names import valid_names

# A table's columns by name; None for a type that this loader never writes.
TableTypes = Mapping[str, ColumnType | None]


class SchemaDrift(StrEnum):
    """The `schema_drift` setting.

    `evolve` adds columns, widens types, and puts values that still don't fit into a column
    beside the old one (`<column>__<type>`). `freeze` never alters the table and leaves new
    columns out. `fail` refuses any difference.
    """

    EVOLVE = "evolve"
    FREEZE = "freeze"
    FAIL = "fail"


# What ALTER COLUMN … SET DATA TYPE can make of a column in place. Source:
# https://cloud.google.com/bigquery/docs/managing-table-schemas#change_a_columns_data_type
WIDER: Mapping[Kind, tuple[Kind, ...]] = {
    Kind.INT64: (Kind.NUMERIC, Kind.BIGNUMERIC, Kind.FLOAT64),
    Kind.NUMERIC: (Kind.BIGNUMERIC, Kind.FLOAT64),
}
# Values of the first kind fit, by a cast, into an existing column of the others without loss.
HELD_BY: Mapping[Kind, tuple[Kind, ...]] = {
    Kind.INT64: (Kind.NUMERIC, Kind.BIGNUMERIC, Kind.STRING),
    Kind.NUMERIC: (Kind.BIGNUMERIC, Kind.STRING),
    Kind.BIGNUMERIC: (Kind.STRING,),
    Kind.BOOL: (Kind.STRING,),
} | {kind: (Kind.STRING,) for kind in TEXT_KINDS if kind not in (Kind.STRING, Kind.BYTES)}


@dataclass(frozen=True)
class Reconciliation:
    """How a stream goes into a table that is already there.

    Attributes:
        layout: the stream's columns, under the names that they have in the table.
        added: columns that the table has to gain.
        widened: columns whose type in the table has to grow.
        casts: columns that are cast to the type that the table has.
        superseded: columns of the table whose values now go into another.
        report: what was found, in words, for the log.
    """

    layout: Layout
    added: dict[str, ColumnType] = field(default_factory=dict)
    widened: dict[str, ColumnType] = field(default_factory=dict)
    casts: dict[str, ColumnType] = field(default_factory=dict)
    superseded: dict[str, ColumnType] = field(default_factory=dict)
    report: list[str] = field(default_factory=list)


def reconcile(layout: Layout, table: TableTypes, policy: SchemaDrift) -> Reconciliation:
    """Fit a stream's layout to the columns of an existing table.

    Raises:
        LoadError: the policy forbids the change, a key column has changed its type, or two
            properties would end in one column.
    """
    result = Reconciliation(layout)
    fitted = [(column, _fit(column, table, policy, result)) for column in layout.columns]
    columns = tuple(column for _, column in fitted if column)
    names = {before.name: column.name for before, column in fitted if column}
    valid_names(layout.stream, names.values(), reserved=METADATA)
    result.added.update({name: METADATA[name] for name in METADATA if name not in table})
    keys = tuple(names[key] for key in layout.keys)
    return replace(result, layout=replace(layout, columns=columns, keys=keys))


def _fit(
    column: Column, table: TableTypes, policy: SchemaDrift, result: Reconciliation
) -> Column | None:
    """Return the column as it goes into the table, None where it is left out."""
    layout = result.layout
    name = next((name for name in table if name.lower() == column.name.lower()), None)
    is_key = column.name in layout.keys
    if name is None:
        if policy is SchemaDrift.FAIL or (policy is SchemaDrift.FREEZE and is_key):
            raise _forbidden(layout, column, f"is new ({column.type})", policy)
        if policy is SchemaDrift.FREEZE:
            result.report.append(f"new column '{column.name}' ({column.type}) left out: frozen")
            return None
        result.added[column.name] = column.type
        result.report.append(f"new column '{column.name}' ({column.type})")
        return column

    column = replace(column, name=name)
    existing = table[name]
    if existing == column.type:
        return column
    change = f"is {existing or 'of another type'} in the table and {column.type} in the stream"
    if existing and _holds(existing, column.type) and policy is not SchemaDrift.FAIL:
        result.casts[name] = existing
        result.report.append(f"column '{name}' {change}: cast to {existing}")
        return column
    widens = _widens(existing, column.type) and (not is_key or column.type.kind in KEY_KINDS)
    if policy is not SchemaDrift.EVOLVE or (is_key and not widens):
        raise _forbidden(layout, column, change, policy)
    if widens:
        result.widened[name] = column.type
        result.report.append(f"column '{name}' {change}: widened")
        return column
    suffix = "array" if column.type.repeated else str(column.type).lower()
    beside = f"{name}__{suffix}"
    if existing:
        result.superseded[name] = existing
    result.report.append(f"column '{name}' {change}: values go into '{beside}'")
    return _fit(replace(column, name=beside), table, policy, result)


def _holds(existing: ColumnType, incoming: ColumnType) -> bool:
    return (
        not existing.repeated
        and not incoming.repeated
        and existing.kind in HELD_BY.get(incoming.kind, ())
    )


def _widens(existing: ColumnType | None, incoming: ColumnType) -> bool:
    return (
        existing is not None
        and not existing.repeated
        and not incoming.repeated
        and incoming.kind in WIDER.get(existing.kind, ())
    )


def _forbidden(layout: Layout, column: Column, change: str, policy: SchemaDrift) -> LoadError:
    return LoadError(
        f"Stream '{layout.stream}', table '{layout.table}': column '{column.name}' {change}, which "
        f"`schema_drift: {policy}` does not take"
        + (" for a key column. " if policy is SchemaDrift.EVOLVE else ". ")
        + "Alter the table by hand, declare the type in the extractor's `schema`, deselect the "
        "column, or change the loader's `schema_drift`."
    )
