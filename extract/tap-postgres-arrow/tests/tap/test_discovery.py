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


def test_a_selected_table_that_has_gone_is_named(pipeline: Pipeline) -> None:
    pipeline.sql("create table t (id int primary key)")
    catalog = pipeline.catalog()
    pipeline.sql("drop table t")
    with pytest.raises(TapError, match=r"'public-t' is selected, but the database has no such"):
        pipeline.extract(catalog)
