"""The sandbox's Postgres, run in the foreground: its cluster, role and databases."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from local_servers import postgres_programs
from local_servers.loopback import HOST

from sandbox.errors import SandboxError
from sandbox.feedback import database as feedback

DATABASE = "product"
DATABASES = (DATABASE, feedback.DATABASE)
# Real password authentication, with a password that is no secret: it opens nothing but this
# database, on loopback.
ROLE = PASSWORD = "sandbox"  # noqa: S105

# The superuser can't log in from anywhere: with a password that everybody knows, it would let any
# user of this machine run programs as the owner of the sandbox.
HOST_BASED_AUTHENTICATION = "".join(
    f"host {database} {ROLE} {HOST}/32 scram-sha-256\n" for database in DATABASES
)
ROLES = f"create role {ROLE} login password '{PASSWORD}';\n"


def dsn(port: int, database: str = DATABASE) -> str:
    """The connection string of a database, the product's unless another is named."""
    return f"postgresql://{ROLE}:{PASSWORD}@{HOST}:{port}/{database}"


def command(data: Path, port: int) -> tuple[str, ...]:
    """The server's command line. It stays in the foreground and logs to standard error."""
    settings = {
        "listen_addresses": HOST,
        "port": port,
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    return (*postgres_programs.program("postgres"), "-D", str(data), *options)


def initialise(data: Path) -> None:
    """Make the cluster with its role and empty databases, or those that an older one lacks.

    Raises:
        SandboxError: One of Postgres' programs failed.
    """
    if data.exists():
        _add_databases(data)
        return
    # Made beside its place and then moved there, so that an interruption leaves no half of one.
    draft = data.with_name(f"{data.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    postgres_programs.own(draft)
    _run(
        *("initdb", "--pgdata", str(draft), "--username", "postgres", "--encoding", "UTF8"),
        # Sorts the same on every machine.
        *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        *("--auth", "reject"),
    )
    (draft / "pg_hba.conf").write_text("")
    _run("postgres", "--single", "-D", str(draft), "postgres", stdin=ROLES)
    _add_databases(draft)
    draft.rename(data)


def _add_databases(data: Path) -> None:
    """Make the databases that can't be logged in to yet, while the server is down."""
    admitted = data / "pg_hba.conf"
    lines = admitted.read_text().splitlines()
    missing = [name for name in DATABASES if not any(f"host {name} " in line for line in lines)]
    if missing:
        statements = "".join(f"create database {name} owner {ROLE};\n" for name in missing)
        _run("postgres", "--single", "-D", str(data), "postgres", stdin=statements)
        admitted.write_text(HOST_BASED_AUTHENTICATION)


def _run(program: str, *arguments: str, stdin: str = "") -> None:
    result = subprocess.run(  # noqa: S603 - our own arguments
        [*postgres_programs.program(program), *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=tempfile.gettempdir(),
    )
    if result.returncode:
        raise SandboxError(
            f"Postgres could not be set up: {program} failed.\n{result.stdout.strip()}"
        )
