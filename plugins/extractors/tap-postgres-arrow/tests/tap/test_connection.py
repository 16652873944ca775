"""Postgres where start-ups keep it: each way there works, and each refusal names the fix."""

import asyncio
import datetime
import json
import re
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import asyncssh
import psycopg
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from local_servers.encrypting_proxy import encrypted
from local_servers.loopback import HOST, free_port
from local_servers.postgres_server import PostgresServer
from psycopg import conninfo, sql
from tap_postgres_arrow.connection import Connector, parameters, servers
from tap_postgres_arrow.database import Connection, Database
from tap_postgres_arrow.errors import ConnectError
from tap_postgres_arrow.tap import TapPostgresArrow

from .pipeline import Pipeline

PASSWORD = "s3cret:/@ w'\\\"#%?&=ü"
ENCODED = quote(PASSWORD, safe="")
RULES = """
host all reader 127.0.0.1/32 scram-sha-256
host all "sa@acme.iam" 127.0.0.1/32 scram-sha-256
host all nobody 127.0.0.1/32 reject
"""


@pytest.fixture(scope="module")
def plain(server: PostgresServer) -> PostgresServer:
    """The server, which now asks some for their passwords. It speaks no TLS."""
    rules = server.directory / "pg_hba.conf"
    rules.write_text(RULES + rules.read_text())
    with server.connect("postgres") as connection:
        connection.execute(sql.SQL("create role reader login password {}").format(PASSWORD))
        for role in ("certified", '"sa@acme.iam"', "nobody"):
            connection.execute(f"create role {role} login")
        connection.execute("select pg_reload_conf()")
    return server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def tls(plain: PostgresServer, authority: trustme.CA) -> Iterator[int]:
    """The port at which it speaks TLS, as `localhost`."""
    with encrypted(plain.port, context(authority)) as port:
        yield port


@contextmanager
def database(**settings: Any) -> Iterator[Database]:
    found = Database({"statement_timeout": "0", **settings})
    try:
        yield found
    finally:
        found.close()


def asked(connection: Connection, expression: str) -> Any:
    with connection:
        return connection.rows(f"select {expression} as value")[0]["value"]


def answer(expression: str, **settings: Any) -> Any:
    with database(**settings) as found:
        return asked(found.connect(), expression)


def refusal(**settings: Any) -> str:
    with pytest.raises(ConnectError) as caught, database(**settings) as found:
        found.connect()
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.__cause__ is None
    return text


# --- One URL


def url(port: int, user: str = f"reader:{ENCODED}", more: str = "") -> str:
    return f"postgres://{user}@{HOST}:{port}/postgres{more}"


def test_a_url_says_all_that_libpq_takes_and_settings_beside_it_override_it(
    plain: PostgresServer, tls: int
) -> None:
    more = (
        "?sslmode=require&application_name=our%20stack&connect_timeout=3"
        "&options=-c%20geqo_threshold%3D7&target_session_attrs=read-write&client_encoding=latin1"
    )
    said = (
        "concat_ws('/', current_user, current_setting('application_name'), "
        "current_setting('geqo_threshold'), current_setting('client_encoding'))"
    )
    address = url(tls, more=more)
    assert answer(said, url=f" {address}\n") == "reader/our stack/7/UTF8"
    assert answer(said, url=address, user="postgres") == "postgres/our stack/7/UTF8"
    other = {"host": HOST, "port": plain.port, "user": "postgres", "ssl_mode": "disable"}
    nowhere = "postgres://reader:x@nowhere.invalid:1/postgres?application_name=our%20stack"
    assert answer(said, url=nowhere, **other) == "postgres/our stack/12/UTF8"
    # As an environment of Meltano takes settings back.
    other |= {"database": "postgres", "url": "", "ssh_host": ""}
    assert answer(said, **other) == "postgres/tap-postgres-arrow/12/UTF8"


def test_no_default_of_the_tap_overrides_a_url() -> None:
    said = {
        "port": "6543",
        "sslmode": "require",
        "target_session_attrs": "primary",
        "connect_timeout": "3",
        "keepalives_idle": "7",
        "keepalives_interval": "8",
        "keepalives_count": "9",
        "tcp_user_timeout": "1000",
    }
    address = f"postgres://h/d?{urlencode(said)}"
    assert parameters(TapPostgresArrow(config={"url": address}).config).items() >= said.items()


def test_a_service_of_libpqs_own_file(
    plain: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "services.conf"
    services.write_text(f"[shop]\nhost={HOST}\nport={plain.port}\nuser=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    address = "postgres:///postgres?service=shop"
    assert answer("inet_server_port()", url=address) == plain.port
    assert "there is no such service" in refusal(url=address.replace("shop", "mop"))


@pytest.mark.parametrize(
    "address",
    [
        "postgres://reader:wr/ong@host:5432/db",
        "postgres://reader:wr@ong@host/db",
        "postgres://reader:wrong%@host/db",
        "postgres://reader:12/wrong@host/db",
        "postgres://host:wrong/db",
        "postgres://reader@host/db?password=x&wrong=1",
        "postgres://reader:1/x?wrong=1@host/db",
        "jdbc:postgresql://reader:wrong@host/db",
        "host=db password=x wrong",
        "wrong",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(address: str) -> None:
    text = refusal(url=address)
    assert "`url` can't be understood. It goes `postgresql://" in text
    assert not re.search("wrong|wr/ong|ong@", text)


def test_a_parameter_that_libpq_does_not_know_is_named() -> None:
    text = refusal(url="postgres://reader:secret@host/db?schema=public")
    assert "`url` has the parameter `schema`" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"user": "reader"}, r"the password is wrong .*Correct `url` or `user`\."),
        ({"user": "reader", "password": "not-shown"}, r"wrong .*Correct `password` or `user`"),
        ({"database": "nowhere"}, r'"nowhere" does not exist. Correct `database`'),
        ({"host": "no-such-host.invalid"}, r"no such host \(no-such-host.invalid:.*`host`"),
        ({"port": 1}, r"nothing listens there .*`url` and `port`"),
        ({"user": "nobody"}, r"by its pg_hba.conf .*`ssl_mode: require`"),
        ({"ssl_mode": "require"}, r"the server has no encryption.*`ssl_mode: disable`"),
        ({"target_session_attrs": "standby"}, r"not a standby .*attrs: prefer-standby`"),
    ],
)
def test_each_refusal_names_the_setting_to_correct(
    plain: PostgresServer, settings: dict[str, Any], said: str
) -> None:
    address = url(plain.port, "postgres:not-shown")
    text = refusal(**{"url": address, **settings})
    assert re.search(said, text), text
    assert "not-shown" not in text


def test_a_password_that_a_server_repeats_is_hidden() -> None:
    connector = Connector({"host": HOST, "password": PASSWORD, "database": "d"})

    def opened(_: str) -> None:
        message = f'FATAL:  password authentication failed for "{PASSWORD}"'
        raise OSError(message)

    with pytest.raises(ConnectError) as caught:
        connector.connect(opened, (OSError,))
    assert PASSWORD not in str(caught.value)


# --- Certificates as text


def pem(blob: trustme.Blob) -> str:
    return blob.bytes().decode()


def test_certificates_as_text_lie_in_private_files_for_as_long_as_they_are_needed(
    plain: PostgresServer,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = authority.issue_cert(common_name="certified")
    stranger = trustme.CA().issue_cert(common_name="certified")
    asks = context(authority)
    asks.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(asks)
    with encrypted(plain.port, asks) as port:
        settings = {
            "url": f"postgres://certified@localhost:{port}/postgres?sslmode=verify-full",
            # As a variable on one line holds it.
            "ssl_certificate_authority": pem(authority.cert_pem).replace("\n", "\\n"),
            "ssl_client_certificate": pem(client.cert_chain_pems[0]),
            "ssl_client_private_key": pem(client.private_key_pem),
        }
        with database(**settings) as found:
            assert asked(found.connect(), "current_user") == "certified"
            assert asked(found.connect(), "current_user") == "certified"
            (folder,) = tmp_path.iterdir()
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            modes = [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()]
            assert modes == [0o600] * 3
        assert not list(tmp_path.iterdir())
        for changed, said in (
            (
                {"ssl_certificate_authority": pem(trustme.CA().cert_pem)},
                "is not trusted .*verify failed.*`ssl_certificate_authority`",
            ),
            (
                {"ssl_certificate_authority": "/no/such/file"},
                "is not trusted .*does not exist.*`ssl_certificate_authority`",
            ),
            ({"host": HOST}, "for another name .*`host`"),
            (
                {
                    "ssl_client_certificate": pem(stranger.cert_chain_pems[0]),
                    "ssl_client_private_key": pem(stranger.private_key_pem),
                },
                "our own certificate is not accepted .*`ssl_client_private_key`",
            ),
            ({"ssl_client_private_key": "/no/such/key"}, "our own certificate is not accepted"),
        ):
            text = refusal(**settings | changed)
            assert re.search(said, text), text
            assert not list(tmp_path.iterdir())


# --- Through SSH


class Bastion:
    """An SSH server that knows one key and forwards to one port."""

    def __init__(self) -> None:
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.allowed: int | None = None
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(20)

    async def _listen(self) -> int:
        bastion = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                bastion.connections.append(conn)

            def begin_auth(self, _: str) -> bool:
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return (username, key) == ("tunnel", bastion.key.convert_to_public())

            def connection_requested(self, _: str, dest_port: int, *__: Any) -> bool:
                return dest_port == bastion.allowed

        listener = await asyncssh.listen(
            HOST, 0, server_factory=Server, server_host_keys=[self.host_key]
        )
        return listener.get_port()

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "ssh_host": HOST,
            "ssh_port": self.port,
            "ssh_user": "tunnel",
            "ssh_private_key": self.key.export_private_key().decode(),
            "ssh_known_hosts": self.host_key.export_public_key().decode(),
        }

    def hang_up(self) -> None:
        for connection in self.connections:
            self.loop.call_soon_threadsafe(connection.abort)


@pytest.fixture
def bastion() -> Iterator[Bastion]:
    bastion = Bastion()
    yield bastion
    bastion.hang_up()
    bastion.loop.call_soon_threadsafe(bastion.loop.stop)


def test_a_whole_run_goes_through_the_tunnel(pipeline: Pipeline, bastion: Bastion) -> None:
    for table in "abcde":
        pipeline.sql(
            f"create table {table} (id int primary key)",
            f"insert into {table} select generate_series(1, 999)",
        )
    bastion.allowed = pipeline.server.port
    pipeline.settings |= bastion.settings | {"emit": "records"}
    streams = Counter(m["stream"] for m in pipeline.extract() if m["type"] == "RECORD")
    assert streams == {f"public-{table}": 999 for table in "abcde"}
    assert bastion.connections


def protected(key: asyncssh.SSHKey, passphrase: str | None) -> bytes:
    """A key as text, of which the passphrase is quickly tried."""
    return key.export_private_key(
        "openssh", passphrase=passphrase, rounds=1, ignore_few_rounds=True
    )


def test_keys_may_be_files_and_a_known_host_a_line_of_ssh_keyscan(
    tls: int, authority: trustme.CA, bastion: Bastion, tmp_path: Path
) -> None:
    """Beyond the tunnel, the certificate is still compared with the name of the server."""
    bastion.allowed = tls
    (tmp_path / "key").write_bytes(protected(bastion.key, "open sesame"))
    public = bastion.host_key.export_public_key().decode()
    (tmp_path / "known").write_text(f"# a comment\n[{HOST}]:{bastion.port} {public}")
    assert (
        answer(
            "current_user",
            **bastion.settings
            | {
                "url": f"postgres://reader:{ENCODED}@localhost:{tls}/postgres",
                "ssl_mode": "verify-full",
                "ssl_certificate_authority": authority.cert_pem.bytes().decode(),
                "ssh_private_key": str(tmp_path / "key"),
                "ssh_private_key_passphrase": "open sesame",
                "ssh_known_hosts": str(tmp_path / "known"),
            },
        )
        == "reader"
    )


def another_key(passphrase: str | None = None) -> str:
    return protected(asyncssh.generate_private_key("ssh-ed25519"), passphrase).decode()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"ssh_known_hosts": f"{HOST} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0xUgr1nFaIBxNBV"},
            r"presents a key that isn't known \(ssh-ed25519 SHA256:.*ssh-keyscan -p \d+ 127.0.0.1",
        ),
        ({"ssh_known_hosts": "/no/such/file"}, "file that `ssh_known_hosts` names can't be read"),
        ({"ssh_private_key": another_key()}, "doesn't let `tunnel` in .*`authorized_keys`"),
        ({"ssh_user": "stranger"}, "doesn't let `stranger` in with this key"),
        (
            {"ssh_private_key": another_key(passphrase="x")},
            "protected by a passphrase. Set `ssh_private_key_passphrase`",
        ),
        (
            {
                "ssh_private_key": another_key(passphrase="x"),
                "ssh_private_key_passphrase": "not-shown",
            },
            "`ssh_private_key_passphrase` doesn't open `ssh_private_key`",
        ),
        ({"ssh_private_key": "-----BEGIN nonsense"}, "holds no private key"),
        ({"ssh_private_key": "/no/such/key"}, "file that `ssh_private_key` names can't be read"),
        ({"ssh_port": 1}, r"127.0.0.1:1 can't be reached: .*refused.*`ssh_port`"),
        ({"ssh_host": "no-such-host.invalid"}, r"can't be reached: .*`ssh_host`"),
        ({"port": 2}, r"can't reach 127.0.0.1:2: .*`AllowTcpForwarding`"),
        ({"port": 1}, r"can't reach 127.0.0.1:1: .*`host` and `port`"),
        ({"host": None}, "Set `host`"),
    ],
)
def test_each_fault_of_a_tunnel_has_its_fix(
    plain: PostgresServer, bastion: Bastion, settings: dict[str, Any], said: str
) -> None:
    # Nothing listens on port 1; forwarding to port 2 isn't allowed.
    bastion.allowed = settings.get("port", plain.port) if settings != {"port": 2} else None
    config = {"host": HOST, "port": plain.port, "user": "postgres", "database": "postgres"}
    config |= bastion.settings | settings
    text = refusal(**{name: value for name, value in config.items() if value is not None})
    assert re.search(said, text), text
    assert "PRIVATE KEY" not in text.replace("END … PRIVATE KEY", "")
    assert "not-shown" not in text


def test_a_host_is_never_trusted_because_nobody_knows_it(
    plain: PostgresServer,
    bastion: Bastion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = bastion.settings
    del settings["ssh_known_hosts"]
    config = {"host": HOST, "port": plain.port, "user": "postgres", **settings}
    assert "presents a key that isn't known" in refusal(**config)
    assert not list(tmp_path.rglob("*known_hosts*"))


def test_a_tunnel_that_is_lost(plain: PostgresServer, bastion: Bastion) -> None:
    bastion.allowed = plain.port
    config = {"host": HOST, "port": plain.port, "user": "postgres", "database": "postgres"}
    with database(**config, **bastion.settings) as found:
        found.connect().close()
        bastion.hang_up()
        deadline = time.monotonic() + 20
        with pytest.raises(ConnectError, match=r"SSH connection .* was lost. Run again"):
            while time.monotonic() < deadline:
                found.connect().close()


# --- Logins by token


def conninfo_of(connector: Connector) -> dict[str, str]:
    """What libpq would be told."""
    return {
        name: str(value)
        for name, value in conninfo.conninfo_to_dict(connector.connect(str, (OSError,))).items()
    }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("shop.cluster-ro-abc.eu-west-1.rds.amazonaws.com", "eu-west-1"),
        ("shop.abc.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"),
    ],
)
def test_rds_gets_a_new_token_for_each_connection(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, region: str
) -> None:
    """A token is a URL that is signed, without its scheme.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    import botocore.auth

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("10.0.0.9", 0))])
    connector = Connector(
        {"url": f"postgres://iam_reader:ignored@{endpoint}/shop", "auth_method": "rds_iam"}
    )
    tokens = []
    for hour in (1, 2):
        now = datetime.datetime(2026, 11, 28, hour)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda now=now: now)
        found = conninfo_of(connector)
        assert found["user"] == "iam_reader"
        # It must not travel unencrypted.
        assert found["sslmode"] == "require"
        tokens.append(found["password"])
        place, _, query = found["password"].partition("/?")
        assert place == f"{endpoint}:5432"
        signed = {name: values[0] for name, values in parse_qs(query).items()}
        assert re.fullmatch("[0-9a-f]{64}", signed.pop("X-Amz-Signature"))
        assert signed == {
            "Action": "connect",
            "DBUser": "iam_reader",
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"AKIDEXAMPLE/20261128/{region}/rds-db/aws4_request",
            "X-Amz-Date": f"20261128T0{hour}0000Z",
            "X-Amz-Expires": "900",
            "X-Amz-SignedHeaders": "host",
        }
    assert tokens[0] != tokens[1]


@pytest.mark.usefixtures("aws")
def test_rds_without_credentials_region_or_user(tls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"host": HOST, "port": tls, "auth_method": "rds_iam"}
    assert "Set `user`" in refusal(**config)
    config["user"] = "reader"
    assert "Set `aws_region`" in refusal(**config)
    config["aws_region"] = "eu-west-1"
    text = refusal(**config)
    assert re.search("the token is not accepted .*`rds_iam` to `user`.*rds-db:connect", text), text
    assert "X-Amz" not in text
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert re.search("AWS gives no credentials: .*`AWS_PROFILE`", refusal(**config))


class GoogleTokens:
    """A fake of Google's token endpoint; each token is the user's password until the next."""

    def __init__(self, server: PostgresServer, folder: Path, seconds: int) -> None:
        self.given: list[str] = []
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                token = f"ya29.{len(tokens.given)}"
                tokens.given.append(token)
                with server.connect("postgres") as connection:
                    connection.execute(f"alter role \"sa@acme.iam\" password '{token}'")
                body = json.dumps({"access_token": token, "expires_in": seconds}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer((HOST, 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.credentials = folder / "credentials.json"
        self.credentials.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "client_email": "sa@acme.iam.gserviceaccount.com",
                    "private_key": pem,
                    "token_uri": f"http://{HOST}:{self.http.server_port}/token",
                }
            )
        )


@pytest.mark.parametrize(("seconds", "refreshed"), [(3600, 1), (1, 3)])
def test_cloud_sql_gets_a_new_token_once_the_old_one_has_expired(
    plain: PostgresServer,
    tls: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    refreshed: int,
) -> None:
    google = GoogleTokens(plain, tmp_path, seconds)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.credentials))
    settings = {
        "host": HOST,
        "port": tls,
        # As IAM has it; Postgres' user is called the same without the end.
        "user": "sa@acme.iam.gserviceaccount.com",
        "database": "postgres",
        "auth_method": "cloud_sql_iam",
    }
    with database(**settings) as found:
        connections = [found.connect() for _ in range(3)]
        assert [asked(one, "current_user") for one in connections] == ["sa@acme.iam"] * 3
    google.http.shutdown()
    google.http.server_close()
    assert len(google.given) == refreshed
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    assert re.search("Google gives no token: .*application-default login", refusal(**settings))


# --- Several servers


def a_list(*ports: int, attributes: str) -> str:
    places = ",".join(f"{HOST}:{port}" for port in ports)
    return f"postgres://postgres@{places}/postgres?target_session_attrs={attributes}"


def test_a_standby_is_preferred_and_a_primary_taken_where_there_is_none(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    dead = free_port()
    port = "inet_server_port()"
    both = a_list(primary.port, dead, standby.port, attributes="prefer-standby")
    assert answer(port, url=both) == standby.port
    alone = a_list(dead, primary.port, attributes="prefer-standby")
    assert answer(port, url=alone) == primary.port
    assert answer(port, url=both, target_session_attrs="primary") == primary.port
    text = refusal(url=a_list(primary.port, dead, attributes="standby"))
    assert re.search(
        rf"not a standby \({HOST}:{primary.port}.*nothing listens there \({HOST}:{dead}", text
    ), text
    assert "target_session_attrs: prefer-standby" in text
    # One port for all, in settings.
    hosts = {"host": f"{HOST},localhost", "port": primary.port, "user": "postgres"}
    prefers = {"database": "postgres", "target_session_attrs": "prefer-standby"}
    assert answer(port, **hosts, **prefers) == primary.port


def test_all_connections_of_a_run_go_to_one_server(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    """A snapshot that one server exports means nothing on another."""
    address = a_list(primary.port, standby.port, attributes="any") + "&load_balance_hosts=random"
    seen = set()
    while seen != {primary.port, standby.port}:
        with database(url=address) as found:
            ports = {asked(found.connect(), "inet_server_port()") for _ in range(4)}
        assert len(ports) == 1
        seen |= ports


def test_a_name_with_several_addresses_is_one_server_for_the_whole_run(
    primary: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the reader endpoint of a cluster is, which stands for another replica each time."""
    addresses = iter(["127.0.0.1", "127.0.0.9"])
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (next(addresses), 0))]
    )
    settings = {"host": "replicas.example.com", "port": primary.port, "user": "postgres"}
    with database(**settings, database="postgres") as found:
        for _ in range(2):
            assert asked(found.connect(), "host(inet_server_addr())") == "127.0.0.1"


def test_lists_of_different_lengths() -> None:
    text = refusal(url="postgres://a:1,b:2,c/db", host="a,b")
    assert "2 hosts" in text
    assert [str(one) for one in servers(parameters({"host": "a,b"}))] == ["a:5432", "b:5432"]


# --- What others use of it, and what it costs


def test_the_way_is_lent_to_other_programs_until_they_have_done(tls: int, bastion: Bastion) -> None:
    bastion.allowed = tls

    @contextmanager
    def lent(**settings: Any) -> Iterator[dict[str, str]]:
        command = [sys.executable, "-m", "tap_postgres_arrow.connection"]
        with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as lender:
            assert lender.stdin
            assert lender.stdout
            lender.stdin.write(f"{json.dumps(settings)}\n")
            lender.stdin.flush()
            yield json.loads(lender.stdout.readline())
        assert lender.returncode == 0

    settings = {"url": url(tls, more="?sslmode=require"), **bastion.settings}
    with lent(**settings) as way:
        with psycopg.connect(way["conninfo"]) as connection:
            assert connection.info.user == "reader"
        assert way["at"] == f"{HOST}:{tls}, database postgres, through {HOST}:{bastion.port}"
    with lent(**settings, password="wrong") as way:
        assert "the password is wrong" in way["problem"]
        assert way["fix"] == "Correct `password` or `url`."


def test_nobody_pays_for_a_way_that_is_not_taken() -> None:
    script = (
        "import sys; from tap_postgres_arrow.tap import TapPostgresArrow as Tap; "
        "Tap(config={'host': 'x', 'user': 'y'}); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"asyncssh", "botocore", "boto3", "google.auth", "psycopg", "cryptography"}
