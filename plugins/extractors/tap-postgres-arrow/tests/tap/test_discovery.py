"""The catalog says what there is to read, how it is typed, and how it is best replicated."""

import pytest
from tap_postgres_arrow.errors import TapError

from .pipeline import Pipeline


def streams(pipeline: Pipeline) -> dict[str, dict]:
    return {stream["tap_stream_id"]: stream for stream in pipeline.catalog()["streams"]}


def test_every_kind_of_relation_is_a_stream_and_a_partition_is_none(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create table plain (id int primary key)",
        "create view seen as select * from plain",
        "create materialized view stored as select * from plain",
        "create table parted (id int, day date, primary key (id, day)) partition by range (day)",
        "create table parted_1 partition of parted for values from ('2020-01-01') to (maxvalue)",
        'create schema "Other one"; create table "Other one"."a.b""c" (id int)',
        "create temporary table passing (id int)",
    )
    found = streams(pipeline)
    assert {name: stream["key_properties"] for name, stream in found.items()} == {
        "public-plain": ["id"],
        "public-seen": [],
        "public-stored": [],
        "public-parted": ["id", "day"],
        'Other one-a.b"c': [],
    }
    by_xmin = [name for name, stream in found.items() if stream.get("replication_key") == "xmin"]
    assert by_xmin == ["public-parted", "public-plain"]
    assert found["public-seen"]["replication_method"] == "FULL_TABLE"


def test_without_a_primary_key_a_unique_index_without_nulls_is_the_key(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create table things (a int not null, b text not null, c int)",
        "create unique index on things (c)",
        "create unique index on things (a) where b > 'm'",
        "create unique index on things (lower(b))",
        "create unique index on things (b, a)",
    )
    assert streams(pipeline)["public-things"]["key_properties"] == ["b", "a"]


def test_only_the_schemas_asked_for_are_looked_at(pipeline: Pipeline) -> None:
    pipeline.sql("create schema other; create table other.x (id int); create table y (id int)")
    assert set(streams(pipeline)) == {"other-x", "public-y"}
    pipeline.settings["filter_schemas"] = ["other"]
    assert set(streams(pipeline)) == {"other-x"}


def test_comments_on_columns_become_descriptions(pipeline: Pipeline) -> None:
    pipeline.sql("create table t (a int)", "comment on column t.a is 'How many'")
    schema = streams(pipeline)["public-t"]["schema"]["properties"]
    assert schema["a"] == {"type": ["null", "integer"], "description": "How many"}


def test_columns_and_streams_can_be_left_out_but_not_the_key(pipeline: Pipeline) -> None:
    pipeline.sql("create table t (id int primary key, a int, b int)", "create table u (id int)")
    pipeline.deselected = {("public-u",), ("public-t", "a"), ("public-t", "id")}
    (schema,) = (message for message in pipeline.extract() if message["type"] == "SCHEMA")
    own = {name for name in schema["schema"]["properties"] if not name.startswith("_sdc_")}
    assert (schema["stream"], own) == ("public-t", {"id", "b"})


def test_a_selected_table_that_has_gone_is_named_and_the_others_are_read(
    pipeline: Pipeline,
) -> None:
    pipeline.sql("create table t (id int primary key)", "create table u (id int primary key)")
    catalog = pipeline.catalog()
    pipeline.sql("drop table t")
    with pytest.raises(TapError, match=r"'public-t' is selected, but the database has no such"):
        pipeline.extract(catalog)
    assert '"STATE","value":{"bookmarks":{"public-u":' in pipeline.written.getvalue()


def test_a_not_null_that_old_rows_break_makes_no_key(pipeline: Pipeline) -> None:
    pipeline.sql(
        "create table t (id int)",
        "insert into t values (null), (null)",
        "alter table t add constraint filled not null id not valid",
        "create unique index on t (id)",
    )
    assert streams(pipeline)["public-t"]["key_properties"] == []
    pipeline.sql("delete from t", "alter table t validate constraint filled")
    assert streams(pipeline)["public-t"]["key_properties"] == ["id"]


def test_columns_that_are_called_as_the_loaders_own_arrive_under_other_names_said_once(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.sql(
        'create table t (id int, "_SDC_Sequence" text, _sdc_deleted_at text, '
        "source_sdc_deleted_at text, _sdc_level_0_id int, primary key (id, _sdc_deleted_at))",
        "insert into t values (1, 'abc', 'never', 'x', 7)",
    )
    pipeline.metadata["public-t"] = {"table-key-properties": ["id", "source_source_sdc_deleted_at"]}
    said = "_SDC_Sequence as source_SDC_Sequence, _sdc_deleted_at as source_source_sdc_deleted_at"
    pipeline.run()
    assert said in caplog.text
    caplog.clear()
    pipeline.sql("update t set \"_SDC_Sequence\" = 'def'")
    pipeline.run()
    assert said not in caplog.text
    (row,) = pipeline.query("select * from t where _sdc_deleted_at is null")
    assert isinstance(row["_sdc_sequence"], int)
    assert (row["source_SDC_Sequence"], row["source_source_sdc_deleted_at"]) == ("def", "never")
