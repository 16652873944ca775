"""Names are made valid for BigQuery, and no two things share one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_bigquery_arrow.errors import LoadError
from target_bigquery_arrow.layout import layout_of
from target_bigquery_arrow.names import RESERVED_PREFIXES, dataset_name, table_name, valid_name


@given(st.text())
def test_any_text_becomes_a_name_that_bigquery_takes(text: str) -> None:
    name = valid_name(text)
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,299}", name)
    assert not name.lower().startswith(RESERVED_PREFIXES)


@given(st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True))
def test_a_valid_name_stays_as_it_is(name: str) -> None:
    assert valid_name(name) == name


@pytest.mark.parametrize(
    ("stream", "table"),
    [
        ("public-users", "users"),
        ("other-users", "other_users"),
        ("public-", "public_"),
        ("custom fields (2024)", "custom_fields__2024_"),
        ("2fa", "_2fa"),
        ("_TABLE_x", "column_TABLE_x"),
    ],
)
def test_table_names(stream: str, table: str) -> None:
    assert table_name(stream, ["public-"]) == table


@given(st.text(max_size=900), st.text(max_size=100))
def test_a_developers_dataset_is_never_the_one_that_is_asked_for(
    dataset: str, developer: str
) -> None:
    try:
        name = dataset_name(dataset, developer)
    except LoadError:
        return
    assert re.fullmatch(r"[a-z0-9][a-z0-9_]*_[A-Za-z0-9_]+", name)
    assert name.endswith(f"_{valid_name(dataset)}")


@pytest.mark.parametrize(
    ("developer", "dataset"),
    [
        (None, "product"),
        ("lawrence", "lawrence_product"),
        ("lawrence_", "lawrence_product"),
        ("lawrence_jones", "lawrence_jones_product"),
        ("2nd", "2nd_product"),
        ("dbtuser", "dbtuser_product"),
    ],
)
def test_dataset_names(developer: str | None, dataset: str) -> None:
    assert dataset_name("product", developer) == dataset


@pytest.mark.parametrize(
    "developer", ["", "_", "__", "łł", "Lawrence", "lawrence.jones", "dbt", "dbt_", "dbt_lawrence"]
)
def test_without_a_developers_name_there_is_no_dataset(developer: str) -> None:
    with pytest.raises(
        LoadError, match=f"`developer` is '{developer.removesuffix('_')}'.*e.g. `lawrence`"
    ):
        dataset_name("product", developer)


@pytest.mark.parametrize(
    ("one", "other"), [("a b", "a_b"), ("Id", "ID"), ("_SDC_Sequence", "_sdc_sequence")]
)
def test_two_properties_for_one_column_are_an_error_that_names_both(one: str, other: str) -> None:
    properties: dict[str, object] = {one: {"type": "string"}, other: {"type": "string"}}
    with pytest.raises(LoadError, match=f"'{other}'.*'{one}'|'{one}'.*'{other}'"):
        layout_of("users", "users", {"properties": properties}, [])
