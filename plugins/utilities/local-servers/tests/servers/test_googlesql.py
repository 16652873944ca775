"""Google's analyser says of a statement what BigQuery would, and evaluates queries."""

import pytest
from local_servers.googlesql import Catalog, GoogleSQL, Rejected

COLUMNS = {
    "id": "int64",
    "tag": "string",
    "target": "string",
    "amount": "numeric",
    "made": "timestamp",
    "tags": "array<string>",
    "body": "json",
}


@pytest.fixture(scope="module")
def catalog(googlesql: GoogleSQL) -> Catalog:
    return googlesql.catalog({"my-project.raw.tag": COLUMNS, "my-project.dbt.rows": COLUMNS})


@pytest.mark.parametrize(
    "sql",
    [
        # Whose alias is it? The column's that the sum is made of.
        """
        select tag, sum(amount) as amount from raw.tag group by tag
        qualify row_number() over (order by sum(amount) desc) = 1
        """,
        "select tag, sum(amount) as amount from raw.tag group by tag having sum(amount) > 1",
        "select tag, sum(amount) as amount from raw.tag group by tag order by sum(amount)",
        """
        merge `dbt.rows` as target using `raw.tag` as source on target.id = source.id
        when matched then update set target = source.target
        """,
        # A column called like its table: the name is the table's row.
        "select 1 from (select tag from `raw.tag` where id = 1) join `raw.tag` using (id)",
        "select parse_date('%F', tag) from raw.tag",
        "select safe_cast('1' as json)",
        "select 1 as a, a + 1 as b",
        "select distinct body from raw.tag",
        "select tags = tags from raw.tag",
        "select cast(1 as int32)",
        "select array_max([1, 2])",
        "select iferror(1, 2)",
        "select 1 as qualify",
        "select 1 union all select '1'",
        "insert into raw.tag (id) values ('1')",
        "insert into raw.tag (id) select tag from raw.tag",
        "select missing from raw.tag",
        "select 1 from raw.missing",
        "create table dbt.new (id int64, id string)",
        "select 1; select",
        "begin select 1; select nothing; exception when error then select 1; end",
    ],
)
def test_what_bigquery_rejects_is_rejected(catalog: Catalog, sql: str) -> None:
    assert catalog.rejection(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select tag.id from raw.tag",
        "select tag.id from my-project.raw.tag",
        "select tag.id from `my-project`.`raw`.`tag`",
        "select tag.id from `my-project.raw.tag`",
        "select tag.id, 'in `no.path`', \"it's\" from `my-project.raw`.tag  -- it's `no.path`",
        "select lax_int64(body.a), json_value(body, '$.a.b') from raw.tag",
        "select safe.parse_date('%F', tag) from dbt.rows",
        "select parse_json('1', wide_number_mode => 'round')",
        "select * except (made) from raw.tag qualify row_number() over (partition by id) = 1",
        "update raw.tag set amount = 1 where id in unnest([1, 2])",
        "begin\nselect 1; select 2;\nexception when error then select @@error.message;\nend",
        "alter table `raw.tag` add column if not exists `more` array<json>",
        """
        create or replace table `my-project`.`dbt`.`t` (id int64, made timestamp)
        partition by timestamp_trunc(made, day) cluster by id
        options (description = 'of `raw.tag`')
        as (select id, made from raw.tag)
        """,
        "begin transaction; delete from raw.tag where true; commit transaction;\n",
    ],
)
def test_what_bigquery_takes_is_taken(catalog: Catalog, sql: str) -> None:
    assert catalog.rejection(sql) is None


def test_a_type_that_bigquery_lacks_is_named(googlesql: GoogleSQL) -> None:
    with pytest.raises(Rejected, match="Type not found: uint8"):
        googlesql.catalog({"raw.t": {"id": "uint8"}})


def test_queries_are_evaluated_over_given_rows(catalog: Catalog) -> None:
    query = """
    with source as (select * from `my-project`.`raw`.`tag`)
    select id, safe_cast(json_value(body.n) as int64) as strict, lax_int64(body.n) as lax
    from source
    """
    rows = [
        {"id": "1", "body": """json '{"n": 5.0}'"""},
        {"id": "2", "body": """parse_json('{"n": "1e3"}')"""},
    ]
    found = catalog.evaluate(query, {"my-project.raw.tag": rows})
    assert sorted(found, key=lambda row: row["id"]) == [
        {"id": 1, "strict": None, "lax": 5},
        {"id": 2, "strict": None, "lax": 1000},
    ]


def test_what_fails_on_its_rows_says_why(catalog: Catalog) -> None:
    with pytest.raises(Rejected, match="division by zero"):
        catalog.evaluate("select 1 / (id - 1) from raw.tag", {"raw.tag": [{"id": "1"}]})
    with pytest.raises(Rejected, match="1e400"):
        catalog.evaluate("select parse_json('1e400', wide_number_mode => 'round')")
