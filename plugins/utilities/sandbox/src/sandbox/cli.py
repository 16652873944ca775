"""`sandbox up | status | tick | fault | tour | down | reset`."""

import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import psycopg

from sandbox import postgres, world
from sandbox.errors import Commands, SandboxError
from sandbox.feedback import database as feedback
from sandbox.product.database import read_clock, running_clock
from sandbox.saas import faults
from sandbox.services import Service, connections, postgres_data, saas_url, services
from sandbox.settings import FAKES, Settings
from sandbox.supervision import Supervisor

SERVICE_NAMES = ("postgres", "bigquery", "saas", "metabase")
HEALTHY_WITHIN_SECONDS = 90
SEED = 2007
ROOM_FOR_TICKS = timedelta(days=14)
"""How long before the real today the world starts: that many ticks stay in the past."""
CONTENTS = ("postgres", "postgres.new", "bigquery", "metabase.json*", "logs", "supervis*")
"""All that the sandbox ever writes into its directory."""

service_names = click.argument(
    "names", metavar="[SERVICE]...", nargs=-1, type=click.Choice(SERVICE_NAMES)
)


class Sandbox:
    """The services of one sandbox directory, and the supervisor that runs them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.services = {service.name: service for service in services(settings)}
        self.supervisor = Supervisor(settings.directory, self.services.values())

    def states(self) -> dict[str, str]:
        """Each service's state: `healthy`, `not answering`, `crashed` or `stopped`."""
        found = self.supervisor.states()
        return {
            name: _state(found.get(name, "STOPPED"), service)
            for name, service in self.services.items()
        }


def _state(process: str, service: Service) -> str:
    if process == "RUNNING":
        return "healthy" if service.healthy() else "not answering"
    return "stopped" if process.startswith("STOP") else "crashed"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """The local world: Postgres, a BigQuery emulator, and fakes of SaaS tools and Metabase."""
    context.obj = Sandbox(Settings.from_environment(os.environ))


@main.command()
@service_names
@click.pass_obj
def up(sandbox: Sandbox, names: tuple[str, ...]) -> None:
    """Start what isn't running, wait until it is healthy, and say how to connect."""
    supervisor = sandbox.supervisor
    wanted = [sandbox.services[name] for name in names or SERVICE_NAMES]
    if supervisor.running() and supervisor.outdated():
        click.echo("The settings have changed: stopping everything first.")
        supervisor.shutdown()
    processes = supervisor.states()
    starting = [service for service in wanted if processes.get(service.name) != "RUNNING"]
    for service in starting:
        _refuse_ports_in_use(service)
    _prepare(sandbox.settings, starting)
    if starting and not supervisor.running():
        supervisor.launch()
    for service in starting:
        supervisor.start(service.name)
    for service in wanted:
        _wait_until_healthy(supervisor, service)
        if service.name == "postgres":
            _load_world_once(sandbox.settings)
            _load_feedback_once(sandbox.settings)
    click.echo()
    _print_connections(sandbox.settings, [service.name for service in wanted])


@main.command()
@click.option("--json", "as_json", is_flag=True, help="How to connect to the healthy services.")
@click.pass_obj
def status(sandbox: Sandbox, as_json: bool) -> None:
    """Show what runs; exit 1 unless every service is healthy."""
    states = sandbox.states()
    if as_json:
        healthy = {
            name: connection
            for name, connection in connections(sandbox.settings).items()
            if states[name] == "healthy"
        }
        click.echo(json.dumps(healthy, indent=2))
    else:
        for name, state in states.items():
            ports = ", ".join(str(port) for port in sandbox.services[name].ports.values())
            click.echo(f"{name:<10}{state:<15}port {ports:<14}log {sandbox.services[name].log}")
    unhealthy = [f"{name} is {state}" for name, state in states.items() if state != "healthy"]
    if unhealthy:
        raise SandboxError(f"{', '.join(unhealthy)}. Run `sandbox up`.")


@main.command()
@click.pass_obj
def tick(sandbox: Sandbox) -> None:
    """Let a day pass in the product and the tools, and show what changed."""
    try:
        with (
            psycopg.connect(_dsn(sandbox.settings), connect_timeout=5) as connection,
            psycopg.connect(_dsn(sandbox.settings, feedback.DATABASE), connect_timeout=5) as other,
        ):
            passed = world.tick(connection)
            clock = passed.clock
            wishes = feedback.tick(other, clock.today, clock.seed, _people(connection))
    except psycopg.OperationalError as error:
        raise SandboxError(
            f"Postgres does not answer on port {sandbox.settings.postgres_port}; "
            f"no day has passed. Run `sandbox up`. ({str(error).splitlines()[0]})"
        ) from error
    click.echo(f"It is {clock.today:%A} {clock.today}, day {clock.ticks} after the first.\n")
    click.echo(f"{'table':<24}{'inserted':>9}{'updated':>9}{'deleted':>9}")
    for name, change in {**passed.product, "ideas (in feedback)": wishes}.items():
        click.echo(f"{name:<24}{change.inserted:>9}{change.updated:>9}{change.deleted:>9}")
    click.echo(f"\n{'tool':<24}{'objects changed':>18}")
    for name, count in passed.tools.items():
        click.echo(f"{name:<24}{count:>18}")


@main.command()
@click.argument("tool", type=click.Choice(FAKES))
@click.argument("kind", type=click.Choice((*faults.KINDS, "off")))
@click.option("--times", type=click.IntRange(min=1), help="End after so many requests.")
@click.pass_obj
def fault(sandbox: Sandbox, tool: str, kind: str, times: int | None) -> None:
    """Switch a fault of a tool's API on: it answers 429 or 500, is slow, or breaks off; or off."""
    try:
        faults.switch(saas_url(sandbox.settings), tool, None if kind == "off" else kind, times)
    except OSError as error:
        raise SandboxError(
            f"The fakes do not answer on port {sandbox.settings.saas_port}. "
            f"Run `sandbox up`. ({error})"
        ) from error
    if kind == "off":
        click.echo(f"{tool} answers as it should.")
    else:
        until = f"the next {times} requests" if times else "all requests, until switched off"
        click.echo(f"{tool} {faults.MEANINGS[kind]}: {until}.")


@main.command()
@click.pass_obj
def tour(sandbox: Sandbox) -> None:
    """Show what is in BigQuery, and where to look next."""
    # Imported here: only this command needs BigQuery's client, which takes a second to import.
    from sandbox.tour import show

    show(sandbox.settings)


@main.command()
@service_names
@click.pass_obj
def down(sandbox: Sandbox, names: tuple[str, ...]) -> None:
    """Stop the services, or only those named; their data stays."""
    if not sandbox.supervisor.running():
        click.echo("Nothing was running.")
    elif names:
        for name in names:
            sandbox.supervisor.stop(name)
        click.echo(f"Stopped {', '.join(names)}. The data stays in {sandbox.settings.directory}.")
    else:
        sandbox.supervisor.shutdown()
        click.echo(f"Stopped. The data stays in {sandbox.settings.directory}.")


@main.command()
@click.pass_obj
def reset(sandbox: Sandbox) -> None:
    """Stop everything and remove all data: the next `up` makes a new world."""
    sandbox.supervisor.shutdown()
    if root := os.environ.get("MELTANO_PROJECT_ROOT"):
        _forget_where_jobs_were(Path(root) / ".venv" / "bin" / "meltano")
        # What the old Metabase was told: the new one knows nothing.
        (Path(root) / "transform" / "target" / "metabase_sync.json").unlink(missing_ok=True)
    directory = sandbox.settings.directory
    # By name, so that files of others stay if the directory was set by mistake.
    for pattern in CONTENTS:
        for path in directory.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    if directory.exists() and not any(directory.iterdir()):
        directory.rmdir()
    click.echo(f"Stopped, and removed all data from {directory}. `sandbox up` makes a new world.")


def _forget_where_jobs_were(meltano: Path) -> None:
    """Clear the state of jobs in `local`: old bookmarks would skip rows of the new world."""

    def state(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - our own arguments
            [meltano, "--log-level=error", "state", *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    for state_id in state("list", "--pattern", "local:*").splitlines():
        state("clear", "--force", state_id)


def _refuse_ports_in_use(service: Service) -> None:
    for variable, port in service.ports_in_use().items():
        raise SandboxError(
            f"Port {port} of {service.name} is in use by another process; nothing was started. "
            f"Stop that process, or set {variable} in .env to a free port."
        )


def _prepare(settings: Settings, starting: list[Service]) -> None:
    for service in starting:
        service.log.parent.mkdir(parents=True, exist_ok=True)
        if service.name == "postgres":
            if not postgres_data(settings).exists():
                click.echo("postgres  first start: making the database cluster")
            postgres.initialise(postgres_data(settings))
        if service.name == "bigquery":
            (settings.directory / "bigquery").mkdir(exist_ok=True)


def _wait_until_healthy(supervisor: Supervisor, service: Service) -> None:
    start = time.monotonic()
    while not service.healthy():
        process = supervisor.states().get(service.name)
        waited = time.monotonic() - start
        if process != "RUNNING" or waited > HEALTHY_WITHIN_SECONDS:
            what = f"gave no answer in {waited:.0f} s" if process == "RUNNING" else "stopped"
            raise SandboxError(
                f"{service.name} {what} while starting. Its log, {service.log}, ends:\n\n"
                f"{_last_lines(service)}\n\n"
                "Fix what it says and run `sandbox up` again; "
                "`sandbox reset` starts over with a new world."
            )
        if waited < 0.1:
            click.echo(f"{service.name:<10}starting, log in {service.log}")
        time.sleep(0.1)
    click.echo(f"{service.name:<10}healthy")


def _last_lines(service: Service, count: int = 10) -> str:
    if not service.log.exists():
        return "    (nothing)"
    lines = service.log.read_text(errors="replace").splitlines()[-count:]
    return "\n".join(f"    {line}" for line in lines)


def _load_world_once(settings: Settings) -> None:
    with psycopg.connect(_dsn(settings)) as connection:
        clock = read_clock(connection)
        if clock is None:
            today = settings.today or datetime.now(UTC).date() - ROOM_FOR_TICKS
            click.echo(
                f"postgres  loading the world at scale {settings.scale:g}, its today is {today}"
            )
            world.load(connection, today, settings.scale, SEED)
        elif clock.scale != settings.scale:
            click.echo(
                f"postgres  keeps its world of scale {clock.scale:g}, though SANDBOX_SCALE is "
                f"{settings.scale:g}: `sandbox reset` first for a new one"
            )


def _load_feedback_once(settings: Settings) -> None:
    try:
        other = psycopg.connect(_dsn(settings, feedback.DATABASE))
    except psycopg.OperationalError as error:
        raise SandboxError(
            f"Postgres has no database {feedback.DATABASE}: it was started by an older version. "
            "Run `sandbox down postgres`, then `sandbox up`."
        ) from error
    with other, psycopg.connect(_dsn(settings)) as connection:
        if not other.execute("select to_regclass('ideas') is not null").fetchall()[0][0]:
            clock = running_clock(connection)
            feedback.load(other, clock.today, clock.seed, _people(connection))


def _dsn(settings: Settings, database: str = postgres.DATABASE) -> str:
    return postgres.dsn(settings.postgres_port, database)


def _people(connection: psycopg.Connection[Any]) -> list[UUID]:
    """The product's users."""
    return [id_ for (id_,) in connection.execute("select id from users order by id").fetchall()]


def _print_connections(settings: Settings, names: list[str]) -> None:
    found = connections(settings)
    postgres_, bigquery, saas, metabase = (found[name] for name in SERVICE_NAMES)
    lines = {
        "postgres": f"{postgres_['dsn']}  (schema {postgres_['schema']}; and /feedback)",
        "bigquery": f"{bigquery['endpoint']}  (project {bigquery['project']}, no credentials)",
        "saas": f"{saas['url']}/close, /intercom, /stripe, …  (the taps find them)",
        "metabase": f"{metabase['url']}  (open it in a browser)",
    }
    for name in names:
        click.echo(f"{name:<10}{lines[name]}")
