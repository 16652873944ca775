"""Whatever a database's encoding is, text and names arrive as UTF-8, or their column is named."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_servers.emulator import Emulator
from local_servers.postgres_server import PostgresServer
from tap_postgres_arrow.errors import TapError

from .pipeline import Pipeline

NewPipeline = Callable[[str], Pipeline]


@pytest.fixture
def encoded(server: PostgresServer, emulator: Emulator, tmp_path: Path) -> Iterator[NewPipeline]:
    """Make a database of some encoding."""
    made: list[Pipeline] = []

    def make(encoding: str) -> Pipeline:
        name = f"test_{encoding.lower()}_{tmp_path.name}"
        with server.connect("postgres") as connection:
            connection.execute(f'drop database if exists "{name}"')
            connection.execute(
                f"create database \"{name}\" encoding '{encoding}' locale 'C' template template0"
            )
        made.append(Pipeline(server, emulator, name, tmp_path).__enter__())
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.__exit__()
        with server.connect("postgres") as connection:
            connection.execute(f'drop database "{pipeline.name}" with (force)')


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("LATIN1", "Café"), ("LATIN9", "5 €"), ("WIN1251", "Счёт"), ("EUC_JP", "日本語")],
)
def test_text_and_names_arrive_from_any_encoding(
    encoded: NewPipeline, encoding: str, text: str
) -> None:
    pipeline = encoded(encoding)
    pipeline.postgres.execute("set client_encoding = 'UTF8'")
    pipeline.sql(
        f'create table "{text}" (id int primary key, "{text}" text, tags text[], doc json)',
        f"""insert into "{text}" values (1, '{text}', '{{{text}}}', '{{"a": "{text}"}}')""",
    )
    messages = pipeline.run()
    assert f"public-{text}" in {message.get("stream") for message in messages}
    (table,) = pipeline.emulator.client().list_tables(pipeline.name)
    ((_, value, tags, doc),) = (tuple(row.values()) for row in pipeline.loaded(table.table_id))
    assert (value, tags, doc) == (text, [text], {"a": text})


def test_a_role_that_asks_for_another_encoding_gets_utf8(pipeline: Pipeline) -> None:
    role = f"latin_{pipeline.name}"
    pipeline.sql(
        "create table t (id int primary key, name text)",
        "insert into t values (1, 'Café €')",
        f"create role {role} superuser login",
        f"alter role {role} set client_encoding = 'LATIN9'",
    )
    pipeline.settings["user"] = role
    pipeline.run()
    assert pipeline.loaded("t") == [{"id": 1, "name": "Café €"}]


def test_a_stray_byte_where_nothing_checks_them_fails_by_its_column_and_row(
    encoded: NewPipeline,
) -> None:
    pipeline = encoded("SQL_ASCII")
    pipeline.sql(
        "create table bad (id int primary key, doc json, name text)",
        r"insert into bad values (1, '{}', E'Caf\xC3\xA9'), (2, null, E'Caf\xE9')",
        "create table good (id int primary key, name text)",
        r"insert into good values (1, E'Caf\xC3\xA9')",
    )
    with pytest.raises(TapError) as caught:
        pipeline.extract()
    assert "Stream 'public-bad', column 'name', row with id = 2: the text is not UTF-8" in str(
        caught.value
    )
    pipeline.settings["invalid_values"] = "nullify"
    pipeline.run()
    assert pipeline.loaded("good") == [{"id": 1, "name": "Café"}]
    assert {row["name"] for row in pipeline.loaded("bad")} == {"Café", None}


@pytest.mark.parametrize("definition", [r"%s (id int)", r"t (%s int)"])
def test_a_name_that_is_not_utf8_fails_by_itself(encoded: NewPipeline, definition: str) -> None:
    pipeline = encoded("SQL_ASCII")
    name = "convert_from('\\x436166e9', 'SQL_ASCII')"
    pipeline.sql(
        "create table good (id int primary key)",
        "do $$ begin execute format('create table "
        + definition.replace("%s", "%I")
        + f"', {name}); end $$",
    )
    with pytest.raises(TapError, match=r"\\xe9.* isn't UTF-8.*rename it, or leave it out"):
        pipeline.run()
