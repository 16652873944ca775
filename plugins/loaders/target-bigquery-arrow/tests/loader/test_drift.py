"""What each `schema_drift` policy makes of a stream that has come apart from its table."""

import pytest
from target_bigquery_arrow.column_types import ColumnType, Kind
from target_bigquery_arrow.drift import Reconciliation, SchemaDrift, reconcile
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import METADATA, layout_of

EVOLVE, FREEZE, FAIL = SchemaDrift.EVOLVE, SchemaDrift.FREEZE, SchemaDrift.FAIL
INTEGER, NUMBER, STRING = {"type": "integer"}, {"type": "number"}, {"type": "string"}
DECIMAL = {"type": "number", "multipleOf": 0.01}
STRINGS = {"type": "array", "items": STRING}


def fit(
    stream: dict[str, object], table: dict[str, Kind | ColumnType], policy: SchemaDrift
) -> Reconciliation:
    """Reconcile a stream with a table; both have a key `id` besides."""
    layout = layout_of("s", "s", {"properties": {"id": STRING} | stream}, ["id"])
    types = {
        name: column if isinstance(column, ColumnType) else ColumnType(column)
        for name, column in {"id": Kind.STRING, **table}.items()
    }
    return reconcile(layout, types | dict(METADATA), policy)


@pytest.mark.parametrize("policy", SchemaDrift)
def test_what_has_not_changed_is_no_drift(policy: SchemaDrift) -> None:
    result = fit({"a": INTEGER}, {"A": Kind.INT64, "gone": Kind.STRING}, policy)
    assert [column.name for column in result.layout.columns] == ["id", "A"]
    assert not (result.added or result.widened or result.casts or result.report)


def test_a_new_column_is_added_left_out_or_refused() -> None:
    assert fit({"a": INTEGER}, {}, EVOLVE).added == {"a": ColumnType(Kind.INT64)}
    frozen = fit({"a": INTEGER}, {}, FREEZE)
    assert not frozen.added
    assert [column.name for column in frozen.layout.columns] == ["id"]
    assert "'a' (INT64) left out" in frozen.report[0]
    with pytest.raises(LoadError, match=r"column 'a' is new.*`schema_drift: fail`"):
        fit({"a": INTEGER}, {}, FAIL)


@pytest.mark.parametrize(
    ("before", "now", "widened"),
    [
        (Kind.INT64, NUMBER, Kind.FLOAT64),
        (Kind.INT64, DECIMAL, Kind.NUMERIC),
        (Kind.NUMERIC, {"type": "number", "format": "decimal"}, Kind.BIGNUMERIC),
    ],
)
def test_a_wider_type_widens_the_column(before: Kind, now: object, widened: Kind) -> None:
    assert fit({"a": now}, {"a": before}, EVOLVE).widened == {"a": ColumnType(widened)}
    for policy in (FREEZE, FAIL):
        with pytest.raises(LoadError, match=f"'a' is {before} in the table and {widened} in the"):
            fit({"a": now}, {"a": before}, policy)


def test_what_the_column_holds_without_loss_is_cast_unless_any_difference_is_refused() -> None:
    for policy in (EVOLVE, FREEZE):
        result = fit({"a": INTEGER}, {"a": Kind.STRING}, policy)
        assert result.casts == {"a": ColumnType(Kind.STRING)}
        assert not result.added
    with pytest.raises(LoadError, match="column 'a' is STRING in the table and INT64"):
        fit({"a": INTEGER}, {"a": Kind.STRING}, FAIL)


@pytest.mark.parametrize(
    ("before", "now", "beside"),
    [(Kind.INT64, STRING, "a__string"), (Kind.STRING, STRINGS, "a__array")],
)
def test_values_that_fit_no_way_go_into_a_column_beside(
    before: Kind, now: object, beside: str
) -> None:
    result = fit({"a": now}, {"a": before}, EVOLVE)
    assert list(result.added) == [beside]
    assert list(result.superseded) == ["a"]
    again = fit({"a": now}, {"a": before} | dict(result.added), EVOLVE)
    assert not again.added
    assert [column.name for column in again.layout.columns] == ["id", beside]


def test_a_key_never_moves_to_another_column() -> None:
    with pytest.raises(LoadError, match="for a key column"):
        fit({}, {"id": Kind.INT64}, EVOLVE)


def test_a_column_beside_that_is_a_property_already_is_an_error() -> None:
    with pytest.raises(LoadError, match="would both be column 'a__string'"):
        fit(
            {"a": STRING, "a__string": STRING},
            {"a": Kind.INT64, "a__string": Kind.STRING},
            EVOLVE,
        )
