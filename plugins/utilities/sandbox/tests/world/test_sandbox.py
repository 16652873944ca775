"""The services, through the command line."""

import errno
import http.client
import json
import socket
from pathlib import Path

import click
import psutil
import psycopg
import pytest
from click.testing import CliRunner
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from sandbox import postgres
from sandbox.errors import Commands

from .support import PORTS, CommandLine


@pytest.fixture
def warehouse(sandbox: CommandLine) -> bigquery.Client:
    return bigquery.Client(
        project="local",
        location="US",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": f"http://127.0.0.1:{sandbox.port('BIGQUERY')}"},
    )


def listeners(sandbox: CommandLine) -> dict[int, tuple[str, int | None]]:
    """Port → address and process that listens on it."""
    ports = {int(sandbox.environment[name]) for name in PORTS}
    return {
        connection.laddr.port: (connection.laddr.ip, connection.pid)
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports
    }


def test_status_tells_how_to_connect(sandbox: CommandLine) -> None:
    result = sandbox("status", "--json")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "postgres": {
            "dsn": f"postgresql://sandbox:sandbox@127.0.0.1:{sandbox.port('POSTGRES')}/product",
            "schema": "public",
            "feedback_dsn": (
                f"postgresql://sandbox:sandbox@127.0.0.1:{sandbox.port('POSTGRES')}/feedback"
            ),
        },
        "bigquery": {
            "endpoint": f"http://127.0.0.1:{sandbox.port('BIGQUERY')}",
            "project": "local",
            "location": "US",
        },
        "saas": {
            "url": f"http://127.0.0.1:{sandbox.port('SAAS')}",
            "request_log": f"{sandbox.environment['SANDBOX_DIRECTORY']}/logs/saas-requests.jsonl",
        },
        "metabase": {
            "url": f"http://127.0.0.1:{sandbox.port('METABASE')}",
            "api_key": "mb_local_sandbox",
            "database": "All (dbt)",
        },
    }


def test_up_leaves_alone_what_is_up(sandbox: CommandLine) -> None:
    before = listeners(sandbox)

    assert sandbox("up").returncode == 0

    assert listeners(sandbox) == before


def test_every_service_listens_on_loopback_only(sandbox: CommandLine) -> None:
    addresses = listeners(sandbox)

    assert len(addresses) == len(PORTS)
    assert {address for address, _ in addresses.values()} <= {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("BIGQUERY", "/bigquery/v2/projects/local/datasets"),
        ("SAAS", "/health"),
        ("METABASE", "/api/health"),
    ],
)
def test_every_service_refuses_requests_to_another_name(
    sandbox: CommandLine, service: str, path: str
) -> None:
    def status(host: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", sandbox.port(service), timeout=30)
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status

    assert status(f"127.0.0.1:{sandbox.port(service)}") == 200
    assert status(f"localhost:{sandbox.port(service)}") == 200
    assert status(f"evil.example:{sandbox.port(service)}") == 400


def test_postgres_refuses_a_wrong_password(sandbox: CommandLine) -> None:
    dsn = postgres.dsn(sandbox.port("POSTGRES"))

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn, password="guessed")


def test_a_create_table_as_select_names_its_destination(warehouse: bigquery.Client) -> None:
    warehouse.create_dataset("ctas", exists_ok=True)

    job = warehouse.query("create or replace table ctas.answers as select 42 as answer")
    job.result()

    finished = warehouse.get_job(job.job_id)
    assert isinstance(finished, bigquery.QueryJob)
    assert finished.destination is not None
    assert finished.destination.path == "/projects/local/datasets/ctas/tables/answers"
    assert [tuple(row) for row in warehouse.list_rows(finished.destination)] == [(42,)]


def test_a_crash_is_reported_and_fixed_without_loss(
    sandbox: CommandLine, warehouse: bigquery.Client
) -> None:
    warehouse.create_dataset("kept", exists_ok=True)
    warehouse.query("create or replace table kept.rows as select 1 as id").result()
    _, process = listeners(sandbox)[sandbox.port("BIGQUERY")]
    psutil.Process(process).kill()
    psutil.wait_procs([psutil.Process(process)] if psutil.pid_exists(process or 0) else [], 5)

    status = sandbox("status", "--json")
    fixed = sandbox("up")

    assert status.returncode == 1
    assert "bigquery is crashed" in status.stderr
    assert set(json.loads(status.stdout)) == {"postgres", "saas", "metabase"}
    assert fixed.returncode == 0, fixed.stderr
    assert [tuple(row) for row in warehouse.query("select id from kept.rows").result()] == [(1,)]


@pytest.mark.parametrize("name", [*PORTS, "SANDBOX_SCALE"])
def test_a_missing_variable_is_named(stopped_sandbox: CommandLine, name: str) -> None:
    result = stopped_sandbox.without(name)("up")

    assert result.returncode == 1
    assert name in result.stderr
    assert ".env.example" in result.stderr


def test_a_port_in_use_is_named_and_nothing_is_started(
    stopped_sandbox: CommandLine, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = str(somebody.getsockname()[1])
        directory = tmp_path / "sandbox"
        result = stopped_sandbox(
            "up", "metabase", SANDBOX_METABASE_PORT=port, SANDBOX_DIRECTORY=str(directory)
        )

    assert result.returncode == 1
    assert port in result.stderr
    assert "SANDBOX_METABASE_PORT" in result.stderr
    assert not directory.exists()


def test_reset_removes_nothing_but_its_own(stopped_sandbox: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "novel.txt").write_text("Chapter 1")

    result = stopped_sandbox("reset", SANDBOX_DIRECTORY=str(tmp_path))

    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["novel.txt"]


def test_a_reset_forgets_what_was_of_the_old_world(
    stopped_sandbox: CommandLine, tmp_path: Path
) -> None:
    """Else jobs would go on where they were, and the new Metabase would be told of no table."""
    project = tmp_path / "project"
    meltano, told = (
        project / name for name in (".venv/bin/meltano", "transform/target/metabase_sync.json")
    )
    for path in meltano, told:
        path.parent.mkdir(parents=True)
    meltano.write_text(f'#!/bin/sh\necho "$@" >> {project}/asked\necho local:product\n')
    meltano.chmod(0o755)
    told.write_text("{}")

    result = stopped_sandbox(
        "reset", SANDBOX_DIRECTORY=str(tmp_path / "data"), MELTANO_PROJECT_ROOT=str(project)
    )

    assert result.returncode == 0, result.stderr
    assert "state clear --force local:product" in (project / "asked").read_text()
    assert not told.exists()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Error: Interrupted. `sandbox status` says what runs."),
        (ValueError("bad \x1b[2J\nsecond"), 1, r"Error: ValueError: bad \x1b[2J (Not foreseen"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    ],
)
def test_whatever_ends_a_command_is_said_in_a_line(
    error: BaseException, code: int, said: str
) -> None:
    @click.group(cls=Commands)
    def main() -> None:
        """Have one command."""

    @main.command()
    def fail() -> None:
        raise error

    done = CliRunner().invoke(main, ["fail"])
    assert done.exit_code == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == (1 if said else 0)
