"""What a catalog comes to: names, types, keys and times, whichever tap it is from."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
import sqlfluff
import yaml
from hypothesis import given
from hypothesis import strategies as st
from local_servers.googlesql import GoogleSQL
from source_files.new_staging import files, models, naming
from source_files.new_staging.catalog import Catalog, read
from source_files.new_staging.columns import Reference
from source_files.new_staging.models import Model, linked
from stack.terminal import StackError

ROOT = Path(__file__).resolve().parents[5]
MOMENT = {"type": ["string", "null"], "format": "date-time"}


def entry(
    name: str, properties: dict[str, Any], keys: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    """A stream as the Singer SDK describes it."""
    return {
        "tap_stream_id": name,
        "key_properties": ["id"] if keys is None else keys,
        "schema": {"type": "object", "properties": properties},
        "metadata": [{"breadcrumb": [], "metadata": {"inclusion": "available", "selected": True}}],
        **more,
    }


def catalog(*entries: dict[str, Any], **loader: Any) -> Catalog:
    return read("shop", {"streams": list(entries)}, loader)


def build(*entries: dict[str, Any], **loader: Any) -> dict[str, Model]:
    built = linked(models.build("shop", catalog(*entries, **loader).tables))
    return {model.name: model for model in built}


def columns(*entries: dict[str, Any], **loader: Any) -> dict[str, str]:
    """The columns of the first model, with their types."""
    model = next(iter(build(*entries, **loader).values()))
    return {column.name: column.data_type for column in model.columns}


def of(*types: str, **more: Any) -> dict[str, Any]:
    return {"type": [*types, "null"], **more}


ID = of("string")


def test_selection_is_respected_as_the_sdk_writes_it() -> None:
    metadata = [
        {"breadcrumb": [], "metadata": {"inclusion": "available", "selected": True}},
        {"breadcrumb": ["properties", "id"], "metadata": {"inclusion": "automatic"}},
        {"breadcrumb": ["properties", "secret"], "metadata": {"selected": False}},
        {"breadcrumb": ["properties", "gone"], "metadata": {"inclusion": "unsupported"}},
        {
            "breadcrumb": ["properties", "place", "properties", "lat"],
            "metadata": {"selected": False},
        },
    ]
    place = of("object", properties={"city": ID, "lat": of("number")})
    stream = entry("a", {"id": ID, "secret": ID, "gone": ID, "place": place}, metadata=metadata)
    assert columns(stream) == {"id": "string", "place_city": "string"}


def test_selection_and_keys_are_respected_as_singer_python_writes_them() -> None:
    root = {"table-key-properties": ["code"], "selected": True}
    stream = {
        "tap_stream_id": "a",
        "stream": "a",
        "schema": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "n": of("integer")},
        },
        "metadata": [
            {"breadcrumb": [], "metadata": root},
            {"breadcrumb": ["properties", "n"], "metadata": {"selected": False}},
        ],
    }
    other = {**stream, "tap_stream_id": "b", "stream": "b"}
    other["metadata"] = [{"breadcrumb": [], "metadata": {**root, "selected": False}}]
    model = build(stream, other)["stg_shop__a"]
    assert [column.name for column in model.columns if column.is_key] == ["code"]
    assert len(model.columns) == 1


def test_a_key_said_in_metadata_goes_before_the_tap_s() -> None:
    metadata = [{"breadcrumb": [], "metadata": {"table-key-properties": ["b"], "selected": True}}]
    model = build(entry("a", {"id": ID, "b": ID}, ["id"], metadata=metadata))["stg_shop__a"]
    assert model.key.name == "b"


def test_what_the_loader_s_stream_maps_do_shows_in_the_models() -> None:
    people = entry(
        "people", {"id": ID, "email": ID, "phone": ID, "born": of("string", format="date")}
    )
    maps = {
        "people": {
            "__alias__": "persons",
            "email": "md5(email)",
            "phone": "__NULL__",
            "year": "int(born[:4])",
        },
        "pets": "__NULL__",
    }
    found = catalog(people, entry("pets", {"id": ID}), stream_maps=maps)
    assert [table.name for table in found.tables] == ["persons"]
    model = models.build("shop", found.tables)[0]
    types = {column.name: column.data_type for column in model.columns}
    assert types == {"id": "string", "email": "string", "born": "date", "year": "int64"}
    with pytest.raises(StackError, match="`stream_maps` drop it"):
        found.named("pets")


def test_what_the_loader_flattens_has_its_names_and_types() -> None:
    inside = of("object", properties={"n": of("integer"), "list": of("array", items=of("object"))})
    either = of("object", "string", properties={"n": of("integer")})
    stream = entry("a", {"id": ID, "inside": inside, "either": either})
    (table,) = catalog(stream, flattening_enabled=True, flattening_max_depth=1).tables
    assert {column.name: str(column.type) for column in table.layout.columns} == {
        "id": "STRING",
        "inside__n": "INT64",
        "inside__list": "JSON",
        "either": "JSON",
    }


def test_names_become_snake_case_and_stay_apart() -> None:
    names = [
        "userID",
        "user id",
        "Größe",
        "order",
        "2fa",
        "firstName",
        "first_name",
        "日本",
        "_id",
        "İd",
    ]
    assert list(columns(entry("Big Things", dict.fromkeys(["id", *names], ID)))) == [
        *("id", "user_id", "user_id_2", "id_2", "id_3"),
        *("grosse", "big_thing_order", "_2fa", "first_name_2", "first_name", "column"),
    ]


@given(st.lists(st.text(max_size=40), min_size=1, unique=True))
def test_any_names_come_to_names_that_bigquery_takes_and_none_twice(texts: list[str]) -> None:
    names = naming.Names()
    taken = [names.take([naming.snake_case(text) or "column"]) for text in texts]
    assert len(set(taken)) == len(texts)
    assert all(re.fullmatch("[a-z_][a-z0-9_]{0,299}", name) for name in taken)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("active", "is_active"),
        ("is_active", "is_active"),
        ("has_debt", "has_debt"),
        ("attachments", "has_attachments"),
        ("includes_tax", "has_tax"),
        ("was_sent", "is_sent"),
        ("can_edit", "is_able_to_edit"),
    ],
)
def test_booleans_say_whether(name: str, expected: str) -> None:
    assert naming.boolean_name(name) == expected


@pytest.mark.parametrize(
    ("name", "schema", "expected"),
    [
        ("created", of("integer"), "timestamp"),
        ("updatedAt", of("integer"), "timestamp"),
        ("seen_at_ms", of("integer"), "timestamp"),
        ("ts", of("number"), "timestamp"),
        ("expires", of("integer", description="Unix time of expiry."), "int64"),
        ("expires_on", of("integer", description="Unix time."), "timestamp"),
        # Not times, or not surely.
        ("tickets_created", of("integer"), "int64"),
        ("duration_ms", of("integer"), "int64"),
        ("due_date", of("integer"), "int64"),
        ("processing_time", of("number"), "float64"),
        ("created_at", of("string"), "string"),
        # Texts that the catalog knows to be times.
        ("created_at", of("string", format="date-time"), "timestamp"),
        ("created_at", of("string", description="ISO 8601, in UTC"), "timestamp"),
        ("created_at", of("string", description="Seconds since the epoch"), "timestamp"),
        ("created_at", of("string", examples=["2024-02-29T12:00:00Z"]), "timestamp"),
        ("closed_on", of("string", examples=["2024-02-29"]), "date"),
        ("closed_on", of("string", pattern=r"^\d{4}-\d{2}-\d{2}$"), "date"),
        ("closed_on", of("string", description="As YYYY-MM-DD"), "date"),
        ("created_at", of("string", examples=["yesterday"]), "string"),
        ("duration", of("string", description="ISO 8601 duration"), "string"),
    ],
)
def test_times_are_known_by_what_the_catalog_says(
    name: str, schema: dict[str, Any], expected: str
) -> None:
    found = columns(entry("a", {"id": ID, name: schema}))
    assert list(found.values())[1] == expected


def test_a_text_that_may_be_a_time_is_reported() -> None:
    stream = entry("a", {"id": ID, "created_at": ID, "due_on": MOMENT, "name": ID})
    assert build(stream)["stg_shop__a"].untyped_times == ("created_at",)


def test_objects_are_flattened_once_and_lists_of_objects_are_models() -> None:
    item = of("object", properties={"id": ID, "position": of("integer"), "tags": of("array")})
    stream = entry(
        "orders",
        {
            "id": of("integer"),
            "lines": of("array", items=item),
            "address": of(
                "object",
                properties={"city": ID, "geo": item, "notes": of("array", items=item)},
            ),
            "either": {"anyOf": [item, {"type": "null"}]},
            "anything": {},
            "mixed": of("string", "integer"),
            "labels": of("array", items=of("string")),
        },
    )
    found = build(stream)
    assert list(found) == [
        "stg_shop__orders",
        "stg_shop__orders_lines",
        "stg_shop__orders_address_notes",
    ]
    orders, lines, notes = found.values()
    assert {column.name: column.data_type for column in orders.columns} == {
        "id": "int64",
        "either_id": "string",
        "address_city": "string",
        "address_geo": "string",
        "either_tags": "string",
        "anything": "string",
        "mixed": "string",
        "labels": "string",
        "line_count": "int64",
        "address_note_count": "int64",
        "either_position": "int64",
    }
    assert [column.name for column in lines.columns] == [
        *("id", "order_id", "line_id", "tags", "position", "line_position"),
    ]
    assert [column.reference and column.reference.model for column in notes.columns][:2] == [
        None,
        "stg_shop__orders",
    ]


def test_a_key_of_several_columns_becomes_one() -> None:
    stream = entry("lines", {"order_id": of("integer"), "sku": ID}, ["order_id", "sku"])
    sql = files.model_sql(build(stream)["stg_shop__lines"])
    assert "{{ surrogate_key(['cast(order_id as string)', 'sku']) }} as id," in sql
    with_id = entry("rows", {"tenant": ID, "id": ID}, ["tenant", "id"])
    assert build(with_id)["stg_shop__rows"].key.name == "row_key"


def test_columns_named_after_a_stream_refer_to_it() -> None:
    users = entry("users", {"id": ID})
    pages = entry("pages", {"id": ID, "userId": of("integer"), "page_id": ID, "team_id": ID})
    found = {c.name: c for c in build(users, pages)["stg_shop__pages"].columns}
    assert found["user_id"].reference == Reference("stg_shop__users", "id", certain=False)
    assert found["user_id"].data_type == "string"  # as the id that it refers to
    assert found["page_id"].reference is found["team_id"].reference is None


def test_descriptions_are_the_catalog_s_else_words() -> None:
    stream = entry(
        "pages",
        {
            "id": ID,
            "title": of("string", description="What  people\nsee: {{ title }}, {% raw %}"),
            "kind": of("string", description="Kind"),
            "live": of("boolean"),
            "published_at": MOMENT,
        },
    )
    stream["schema"]["description"] = "Pages that people have written."
    text = files.staging_yaml(list(build(stream).values()))
    (model,) = yaml.safe_load(text)["models"]
    assert model["description"] == "Pages that people have written."
    assert {column["name"]: column["description"] for column in model["columns"]} == {
        "id": "Identifies the page.",
        "title": "What people see: { { title }}, { % raw %}",
        "kind": "Kind of the page.",
        "is_live": "Whether the page is live.",
        "published_at": "When the page was published.",
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("nothing", "'nothing' is not in the catalog of shop. Selected are: a. There are: a, b."),
        ("b", "Stream 'b' of shop is not loaded"),
    ],
)
def test_a_stream_that_is_not_there_or_not_selected_is_an_error(asked: str, said: str) -> None:
    unselected = [{"breadcrumb": [], "metadata": {"selected": False}}]
    found = catalog(entry("a", {"id": ID}), entry("b", {"id": ID}, metadata=unselected))
    with pytest.raises(StackError) as caught:
        found.named(asked)
    assert said in str(caught.value)


def test_a_stream_without_a_key_is_an_error_that_says_where_to_name_it() -> None:
    with pytest.raises(StackError) as caught:
        build(entry("log lines", {"at": MOMENT, "line": ID}, []), entry("a", {"id": ID}))
    assert "No key is known of 'log lines'" in str(caught.value)
    assert "log lines: {table-key-properties: [at]}" in str(caught.value)


def test_what_the_loader_would_refuse_is_refused_here() -> None:
    with pytest.raises(StackError, match="would both be column"):
        build(entry("a", {"id": ID, "x y": ID, "x_y": ID}))


def words() -> list[Model]:
    """Models whose columns, and what is inside them, are called by every word of SQL."""
    words = sorted(naming.RESERVED | naming.KEYWORDS | {"name", "type", "value"})
    odd = ["source", "item", "camelCase", "a.b", 'say "x"', "it's", "{{ x }}", "n" * 120]
    # Read as columns, and as the names that values inside JSON get.
    named = dict.fromkeys(words, ID) | dict.fromkeys(odd, of("number"))
    nested = of("array", items=of("object", properties=named))
    inside = of("object", properties=dict.fromkeys(odd, of("boolean")))
    properties = dict.fromkeys(["id", *words, *odd], ID)
    stream = entry(
        "words", {**properties, "In Side": inside, "order": nested, "row": ID}, ["id", "row"]
    )
    return list(build(stream).values())


def test_any_word_may_be_a_column_and_the_sql_passes_the_linter() -> None:
    assert keywords_of_the_linter() - {"name", "type", "value"} <= naming.RESERVED | naming.KEYWORDS
    for model in words():
        sql = files.model_sql(model)
        found = sqlfluff.lint(sql, config_path=str(ROOT / ".sqlfluff"))
        assert [
            f"{one['code']} {sql.splitlines()[one['start_line_no'] - 1]}" for one in found
        ] == []


def types() -> list[Model]:
    """Models of values of all types, which are keys too, and inside JSON."""
    scalars = [
        *(MOMENT, of("string", format="date"), of("string", format="time"), ID),
        *(of("string", format="singer.decimal"), of("string", contentEncoding="base64")),
        *(of("integer"), of("integer", maximum=10**30), of("boolean")),
    ]
    every = [*scalars, of("number"), of("object"), of("array"), of("string", "integer"), {}]
    every += [of("array", items=kind) for kind in every]
    values = {f"{name}_{number}": kind for name in ("a", "at") for number, kind in enumerate(every)}
    values |= {"created_at": of("integer"), "signed_at": of("string", description="In ISO 8601")}
    inside = of("object", properties=values)
    columns = {**values, "inside": inside, "items": of("array", items=inside)}
    keys = [f"a_{number}" for number in range(len(scalars))]
    return list(build(entry("values", columns, keys)).values())


def tables() -> list[Model]:
    """Models of tables that are called like what the models themselves name."""
    names = ("source", "renamed", "unnested", "item", "position", "offset", "select")
    item = of("object", properties=dict.fromkeys(["id", *names], ID))
    streams = [entry(name, {"id": ID, name: of("array", items=item)}) for name in names]
    return list(build(*streams).values())


@pytest.mark.parametrize("written", [words, types, tables])
def test_bigquery_takes_what_is_written(
    googlesql: GoogleSQL, written: Callable[[], list[Model]]
) -> None:
    """As Google's own analyser says; the emulator takes more."""
    every = written()
    raw = {
        f"shop.{model.table.name}": {
            name: str(kind) for name, kind in model.table.layout.types.items()
        }
        for model in every
    }
    catalog = googlesql.catalog(raw)
    rejected = {
        f"{model.name}: {why}"
        for model in every
        if (why := catalog.rejection(compiled(files.model_sql(model))))
    }
    assert rejected == set()


def compiled(sql: str) -> str:
    """Return what dbt makes of a model: the project's macros, and a source's table by its name."""
    names = ("epoch_timestamp", "surrogate_key", "written_day")
    macros = [ROOT / f"transform/macros/{name}.sql" for name in names]
    source = "{% macro source(dataset, table) %}`{{ dataset }}`.`{{ table }}`{% endmacro %}"
    text = "".join([*(macro.read_text() for macro in macros), source, sql])
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text).render()


def keywords_of_the_linter() -> set[str]:
    from sqlfluff.core.dialects import dialect_selector

    dialect = dialect_selector("bigquery")
    sets = ("reserved_keywords", "unreserved_keywords")
    return {word.lower() for name in sets for word in dialect.sets(name)}
