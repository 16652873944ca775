"""What a sync finds in BigQuery, asked of the emulator."""

from collections.abc import Iterator

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from local_servers.emulator import running_emulator
from local_servers.loopback import free_port
from sandbox.metabase.discovery import BigQueryWarehouse, Column, WarehouseError, metabase_types
from sandbox.metabase.provision import Provision

TABLES = """
create table dbt.fct_everything (
    a_string string,
    a_short_string string(10),
    an_integer int64,
    a_float float64,
    a_numeric numeric(12, 2),
    a_bignumeric bignumeric,
    a_boolean bool,
    a_timestamp timestamp,
    a_datetime datetime,
    a_date date,
    a_time time,
    a_json json,
    a_bytes bytes,
    an_array array<string>,
    a_struct struct<id string, inner_struct struct<n int64>>,
    an_array_of_structs array<struct<id string>>,
)
partition by a_date;
create view dbt.dim_something as select a_string as id from dbt.fct_everything;
create table other.elsewhere (id string);
"""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_emulator(tmp_path_factory.mktemp("bigquery")) as emulator:
        create_tables(emulator.endpoint)
        yield emulator.endpoint


def client(address: str) -> bigquery.Client:
    return bigquery.Client(
        project="local",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": address},
    )


def create_tables(address: str) -> None:
    session = client(address)
    for dataset in ("dbt", "other"):
        session.create_dataset(dataset)
    for statement in TABLES.strip().removesuffix(";").split(";"):
        session.query(statement).result()


def warehouse(address: str, dataset: str = "dbt") -> BigQueryWarehouse:
    return BigQueryWarehouse(Provision("", "", address, "local", dataset).details)


def test_tables_and_views_of_the_dataset_are_found_with_metabase_s_types(endpoint: str) -> None:
    found = {table.name: table for table in warehouse(endpoint).tables()}
    assert found.keys() == {"fct_everything", "dim_something"}
    columns = found["fct_everything"].columns
    assert [(".".join(c.path), c.database_type, c.base_type) for c in columns] == [
        ("a_string", "STRING", "type/Text"),
        ("a_short_string", "STRING", "type/Text"),
        ("an_integer", "INTEGER", "type/Integer"),
        ("a_float", "FLOAT", "type/Float"),
        ("a_numeric", "NUMERIC", "type/Decimal"),
        ("a_bignumeric", "BIGNUMERIC", "type/Decimal"),
        ("a_boolean", "BOOLEAN", "type/Boolean"),
        ("a_timestamp", "TIMESTAMP", "type/DateTimeWithLocalTZ"),
        ("a_datetime", "DATETIME", "type/DateTime"),
        ("a_date", "DATE", "type/Date"),
        ("a_time", "TIME", "type/Time"),
        ("a_json", "JSON", "type/JSON"),
        ("a_bytes", "BYTES", "type/*"),
        ("an_array", "ARRAY", "type/Array"),
        ("a_struct", "RECORD", "type/Dictionary"),
        ("a_struct.id", "STRING", "type/Text"),
        ("a_struct.inner_struct", "RECORD", "type/Dictionary"),
        ("a_struct.inner_struct.n", "INTEGER", "type/Integer"),
        ("an_array_of_structs", "ARRAY", "type/Array"),
    ]
    assert [c.path for c in columns if c.partitioned] == [("a_date",)]
    assert found["dim_something"].columns == (Column(("id",), "STRING", "type/Text", position=0),)


def test_types_keep_neither_length_nor_precision() -> None:
    assert metabase_types("BIGNUMERIC(60, 20)") == ("BIGNUMERIC", "type/Decimal")
    assert metabase_types("STRUCT<id STRING, n INT64>") == ("RECORD", "type/Dictionary")
    assert metabase_types("GEOGRAPHY") == ("GEOGRAPHY", "type/*")


def test_datasets_can_be_chosen_by_patterns(endpoint: str) -> None:
    assert {table.schema for table in warehouse(endpoint, "db*, other").tables()} == {
        "dbt",
        "other",
    }


def test_a_dataset_that_is_not_there_is_an_error(endpoint: str) -> None:
    with pytest.raises(WarehouseError, match="cannot find any matching datasets"):
        warehouse(endpoint, "dbt_nobody").check()


def test_a_bigquery_that_does_not_answer_is_named_with_the_fix() -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with pytest.raises(WarehouseError, match=f"{address} can't be reached.*sandbox up"):
        warehouse(address).check()
