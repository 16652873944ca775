"""The services: each one's command, ports, log and health check."""

import http.client
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from local_servers.loopback import HOST

from sandbox import postgres
from sandbox.feedback import database as feedback
from sandbox.settings import Settings

BIGQUERY_PROJECT = "local"
BIGQUERY_LOCATION = "US"
DBT_DATASET = "dbt"
METABASE_DATABASE = "All (dbt)"


@dataclass(frozen=True)
class Service:
    """A program on loopback."""

    name: str
    command: tuple[str, ...]
    ports: dict[str, int]
    """Environment variable that sets the port → port."""
    log: Path
    healthy: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"

    def ports_in_use(self) -> dict[str, int]:
        """Return those of its ports on which some process listens."""
        return {variable: port for variable, port in self.ports.items() if not _free(port)}


def services(settings: Settings) -> tuple[Service, ...]:
    """Return the services of the sandbox, in the order of display."""
    logs = settings.directory / "logs"
    return (
        Service(
            name="postgres",
            command=postgres.command(postgres_data(settings), settings.postgres_port),
            ports={"SANDBOX_POSTGRES_PORT": settings.postgres_port},
            log=logs / "postgres.log",
            healthy=lambda: _answers_postgres(postgres.dsn(settings.postgres_port)),
            # Postgres' "fast shutdown": it ends sessions, and loses no committed data.
            stop_signal="INT",
        ),
        Service(
            name="bigquery",
            command=(
                *(sys.executable, "-m", "local_servers.bigquery"),
                *("--port", str(settings.bigquery_port)),
                *("--grpc-port", str(settings.bigquery_grpc_port)),
                *("--project", BIGQUERY_PROJECT),
                *("--directory", str(settings.directory / "bigquery")),
            ),
            ports={
                "SANDBOX_BIGQUERY_PORT": settings.bigquery_port,
                "SANDBOX_BIGQUERY_GRPC_PORT": settings.bigquery_grpc_port,
            },
            log=logs / "bigquery.log",
            healthy=lambda: _answers_http(
                settings.bigquery_port, f"/bigquery/v2/projects/{BIGQUERY_PROJECT}/datasets"
            ),
        ),
        Service(
            name="saas",
            command=(
                *(sys.executable, "-m", "sandbox.saas"),
                *("--port", str(settings.saas_port)),
                *("--dsn", postgres.dsn(settings.postgres_port)),
                *("--request-log", str(request_log(settings))),
            ),
            # Not as arguments, which every user of the machine can read.
            environment={
                f"{tool.upper()}_SECRET": secret for tool, secret in settings.saas_secrets.items()
            }
            | {"INTERCOM_REGION": settings.intercom_region},
            ports={"SANDBOX_SAAS_PORT": settings.saas_port},
            log=logs / "saas.log",
            healthy=lambda: _answers_http(settings.saas_port, "/health"),
        ),
        Service(
            name="metabase",
            command=(
                *(sys.executable, "-m", "sandbox.metabase"),
                *("--port", str(settings.metabase_port)),
                *("--state-file", str(settings.directory / "metabase.json")),
                *("--bigquery-endpoint", bigquery_endpoint(settings)),
                *("--bigquery-project", BIGQUERY_PROJECT),
                *("--dataset", DBT_DATASET),
                *("--database", METABASE_DATABASE),
            ),
            environment={"METABASE_API_KEY": settings.metabase_api_key},
            ports={"SANDBOX_METABASE_PORT": settings.metabase_port},
            log=logs / "metabase.log",
            healthy=lambda: _answers_http(settings.metabase_port, "/api/health"),
        ),
    )


def connections(settings: Settings) -> dict[str, dict[str, str]]:
    """Return how to connect to each service, for `sandbox status --json`."""
    return {
        "postgres": {
            "dsn": postgres.dsn(settings.postgres_port),
            "schema": "public",
            "feedback_dsn": postgres.dsn(settings.postgres_port, feedback.DATABASE),
        },
        "bigquery": {
            "endpoint": bigquery_endpoint(settings),
            "project": BIGQUERY_PROJECT,
            "location": BIGQUERY_LOCATION,
        },
        "saas": {"url": saas_url(settings), "request_log": str(request_log(settings))},
        "metabase": {
            "url": f"http://{HOST}:{settings.metabase_port}",
            "api_key": settings.metabase_api_key,
            "database": METABASE_DATABASE,
        },
    }


def postgres_data(settings: Settings) -> Path:
    """Postgres' data directory."""
    return settings.directory / "postgres"


def saas_url(settings: Settings) -> str:
    """Return the base address of the tools' APIs; each API has its tool's name as path."""
    return f"http://{HOST}:{settings.saas_port}"


def request_log(settings: Settings) -> Path:
    """The log of requests to the tools' APIs, one line of JSON per request."""
    return settings.directory / "logs" / "saas-requests.jsonl"


def bigquery_endpoint(settings: Settings) -> str:
    """The emulator's address, for `api_endpoint`."""
    return f"http://{HOST}:{settings.bigquery_port}"


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # A port with connections that have just ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _answers_postgres(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _answers_http(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
