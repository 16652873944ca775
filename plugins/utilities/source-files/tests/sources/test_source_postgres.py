"""A Postgres database becomes a source: what can be read and kept up to date is selected."""

import re
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme
import yaml
from local_servers.encrypting_proxy import encrypted
from local_servers.postgres_server import PostgresServer, running_server
from source_files.new_source import postgres, source_file
from source_files.new_source.source_file import Draft, Variable
from stack.project import Project
from stack.terminal import StackError

ROOT = Path(__file__).resolve().parents[5]
PASSWORD = "s3cret:/@ word"
ENCODED = "s3cret%3A%2F%40%20word"


@pytest.fixture(scope="module", name="server")
def server_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_server(tmp_path_factory.mktemp("postgres") / "data") as server:
        rules = server.directory / "pg_hba.conf"
        asks = "host all reader 127.0.0.1/32 scram-sha-256\n"
        rules.write_text(asks + rules.read_text())
        with server.connect("postgres") as connection:
            connection.execute(f"create role reader login password '{PASSWORD}'")
            connection.execute("select pg_reload_conf()")
        yield server


@pytest.fixture(name="database")
def database_of_the_test(server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    name = f"db_{uuid.uuid4().hex[:8]}"
    with server.connect("postgres") as connection:
        connection.execute(f"create database {name}")
    with server.connect(name) as connection:
        yield connection
    with server.connect("postgres") as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="module", name="project")
def project_of_the_module() -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MELTANO_PROJECT_ROOT", str(ROOT))
        project = Project()
        assert project.plugins
        yield project


def url(connection: psycopg.Connection[Any], *, port: int = 0, more: str = "") -> str:
    info = connection.info
    return f"postgresql://reader:{ENCODED}@127.0.0.1:{port or info.port}/{info.dbname}{more}"


def draft(project: Project, connection: psycopg.Connection[Any], **changed: Any) -> Draft:
    connection.execute("grant select on all tables in schema public to reader")
    return postgres.draft("shop", url(connection, **changed), project, [])


def extractor(draft: Draft) -> dict[str, Any]:
    written = yaml.safe_load(source_file.text(draft, "0 6 * * *"))["plugins"]["extractors"][0]
    return dict(written)


def test_a_server_on_this_machine_may_do_without_encryption(
    project: Project, database: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute("create table users (id int primary key, password text, token_count int)")
    found = draft(project, database)
    written = extractor(found)
    assert written["config"] == {
        "url": "${SHOP_DATABASE_URL}",
        "ssl_mode": "disable",
        "filter_schemas": ["public"],
    }
    assert written["select"] == ["public-users.*", "!public-users.password"]
    assert found.variables == [Variable("SHOP_DATABASE_URL", url(database))]
    said = source_file.text(found, "") + capsys.readouterr().out
    assert PASSWORD not in said
    assert ENCODED not in said


def test_encryption_is_required_wherever_the_server_can(
    project: Project, database: psycopg.Connection[Any]
) -> None:
    database.execute("create table users (id int primary key)")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with encrypted(database.info.port, context) as port:
        found = draft(project, database, port=port)
    assert extractor(found)["config"]["ssl_mode"] == "require"


def test_a_server_elsewhere_without_encryption_has_to_be_allowed(
    project: Project, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("create table users (id int primary key)")
    monkeypatch.setattr(postgres, "_is_loopback", lambda _: False)
    with pytest.raises(StackError, match=r"doesn't speak SSL.*add `\?sslmode=disable`"):
        draft(project, database)
    found = draft(project, database, more="?sslmode=disable")
    assert "ssl_mode" not in extractor(found)["config"]
    assert str(found.variables[0].value).endswith("?sslmode=disable")


def test_what_tells_the_rows_of_a_table_apart_is_found_or_else_each_run_reads_it_whole(
    project: Project, database: psycopg.Connection[Any]
) -> None:
    database.execute("""
        create table declared (a int, b text, primary key (a, b));
        create table by_index (code text not null unique);
        create table habit (id int, note text);
        create table pairs (user_id int, role_id int);
        create table events (user_id int, item_id int, said text);
        create table lines (user_id int, line text);
        create table unfit (measure double precision primary key);
        create table nothing ();
        create view seen as select id from habit;
        insert into habit values (1, 'x'), (2, 'x');
        insert into pairs values (1, 1), (1, 2), (2, 1);
        insert into events values (1, 1, 'x'), (1, 2, 'x');
        insert into lines values (1, 'x'), (1, 'x');
    """)
    found = draft(project, database)
    written = extractor(found)
    assert written["select"] == [
        *("public-by_index.*", "public-declared.*", "public-habit.*"),
        *("public-pairs.*", "public-seen.*"),
        # Each run reads them whole.
        *("public-events.*", "public-lines.*"),
    ]
    assert written["metadata"] == {
        "public-habit": {"table-key-properties": ["id"]},
        "public-pairs": {"table-key-properties": ["user_id", "role_id"]},
        "public-seen": {"table-key-properties": ["id"]},
    }
    assert "# - public-unfit.*" in source_file.text(found, "")
    assert [note for note in found.notes if "No key:" in note] == [
        "No key: public-events, public-lines. Each run reads all of it, and it has no staging "
        "models until `metadata` names one.",
    ]
    assert [note for note in found.notes if "Left out" in note] == [
        "Left out: public-nothing, has no columns.",
        "Left out: public-unfit, measure, in its key, can't be one in BigQuery.",
    ]


def test_names_that_meltano_or_bigquery_would_mix_up_are_kept_apart(
    project: Project, database: psycopg.Connection[Any]
) -> None:
    database.execute("""
        create table "v1.0 [old]" (id int primary key, "a.b token" text, "a-b" int, a_b int);
        create table "v1_0__old_" (id int primary key);
    """)
    found = draft(project, database)
    assert extractor(found)["select"] == [
        r"public-v1\.0 [[]old].*",
        "!public-v1\\.0 [[]old].a?b token",
        "!public-v1\\.0 [[]old].a_b",
    ]
    assert any("would share the raw table v1_0__old_" in note for note in found.notes)


def test_the_password_may_stand_in_the_environment(
    project: Project, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("create table users (id int primary key)")
    database.execute("grant select on users to reader")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    address = url(database).replace(f":{ENCODED}", "")
    found = postgres.draft("shop", address, project, [])
    assert found.variables == [
        Variable("SHOP_DATABASE_URL", address),
        Variable("SHOP_POSTGRES_PASSWORD", PASSWORD),
    ]


def test_a_url_that_stands_in_a_variable_is_referred_to_with_all_else_that_the_tap_takes(
    project: Project, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Heroku's DATABASE_URL, which it changes now and then."""
    database.execute("create table users (id int primary key)")
    database.execute("grant select on users to reader")
    monkeypatch.setenv("DATABASE_URL", url(database, more="?application_name=shop"))
    key = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n"
    given = {"target_session_attrs": "prefer-standby", "ssl_client_private_key": key}
    found = postgres.draft("shop", "${DATABASE_URL}", project, [], given)
    assert extractor(found)["config"] == {
        "url": "${DATABASE_URL}",
        "target_session_attrs": "prefer-standby",
        "ssl_client_private_key": "${SHOP_POSTGRES_SSL_CLIENT_PRIVATE_KEY}",
        "ssl_mode": "disable",
        "filter_schemas": ["public"],
    }
    (variable,) = found.variables
    assert variable.value == key.strip().replace("\n", "\\n")
    with pytest.raises(StackError, match="SHOP_URL isn't set"):
        postgres.draft("shop", "${SHOP_URL}", project, [])
    with pytest.raises(StackError, match="no setting ssh"):
        postgres.draft("shop", "${DATABASE_URL}", project, [], {"ssh": "x"})


def test_only_the_schemas_that_were_named_are_read(
    project: Project, database: psycopg.Connection[Any]
) -> None:
    database.execute("""
        create schema crm;
        create table users (id int primary key);
        create table crm.deals (id int primary key);
        grant usage on schema crm to reader;
        grant select on crm.deals, users to reader;
    """)
    found = postgres.draft("shop", url(database), project, ["crm"])
    assert extractor(found)["select"] == ["crm-deals.*"]
    assert extractor(found)["config"]["filter_schemas"] == ["crm"]


def test_a_user_who_may_read_nothing_is_told_what_to_grant(
    project: Project, database: psycopg.Connection[Any]
) -> None:
    database.execute("create table users (id int primary key)")
    with pytest.raises(StackError, match=r"no table that reader may read.*grant select on"):
        postgres.draft("shop", url(database), project, [])


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("reader:hunter@127.0.0.1:{port}/postgres", "password authentication failed.*PGPASSWORD"),
        ("reader@127.0.0.1:{port}/postgres", "no password supplied.*PGPASSWORD"),
        ("postgres@127.0.0.1:{port}/nowhere", '"nowhere" does not exist. Correct `url`'),
        ("reader:hunter@127.0.0.1:9/postgres", "127.0.0.1:9, .*Is it running"),
        ("reader:hunter@no-such-host.invalid/db", "no such host .*Correct `url`"),
        ("reader:hunter@127.0.0.1:{port}/", "names no database"),
        ("reader:hun/ter@127.0.0.1:{port}/postgres", "can't be understood.*%2F"),
        ("reader:x@hunter@127.0.0.1:{port}/postgres", "can't be understood.*%40"),
        ("reader:hunter%@127.0.0.1:{port}/postgres", "can't be understood.*%25"),
    ],
)
def test_a_database_that_lets_nobody_in_is_an_error_without_the_password(
    project: Project,
    server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    said: str,
) -> None:
    for name in ("PGPASSWORD", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StackError) as error:
        postgres.draft("shop", f"postgresql://{address.format(port=server.port)}", project, [])
    assert re.search(said, error.value.message, re.DOTALL), error.value.message
    assert not re.search("hunter|hun/ter", error.value.message)
