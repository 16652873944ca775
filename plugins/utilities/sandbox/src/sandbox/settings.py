"""Settings of the sandbox, read from environment variables (see `.env.example`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sandbox.errors import SandboxError

DEFAULT_API_KEY = "mb_local_sandbox"
TOOLS = ("close", "intercom", "stripe")
"""The tools that the project has sources for."""
EXAMPLES = ("surveys", "uptime", "github")
"""What the sources in `extract/examples` read."""
FAKES = (*TOOLS, *EXAMPLES)
DEFAULT_SAAS_KEY = "sandbox"


@dataclass(frozen=True)
class Settings:
    """Where the sandbox lives, where it listens and how large its world is."""

    directory: Path
    postgres_port: int
    bigquery_port: int
    bigquery_grpc_port: int
    saas_port: int
    saas_secrets: dict[str, str]
    """The key that each fake takes, by the tool's name."""
    intercom_region: str
    """Where Intercom hosts the workspace: US, EU or AU."""
    metabase_port: int
    metabase_api_key: str
    scale: float
    today: date | None
    """The world's today when it is first brought up; None: 14 days before the real one."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            SandboxError: A variable is missing or malformed.
        """
        root = Path(environment.get("MELTANO_PROJECT_ROOT") or ".")
        return cls(
            directory=Path(environment.get("SANDBOX_DIRECTORY") or root / ".sandbox").absolute(),
            postgres_port=_port(environment, "SANDBOX_POSTGRES_PORT"),
            bigquery_port=_port(environment, "SANDBOX_BIGQUERY_PORT"),
            bigquery_grpc_port=_port(environment, "SANDBOX_BIGQUERY_GRPC_PORT"),
            saas_port=_port(environment, "SANDBOX_SAAS_PORT"),
            saas_secrets={
                tool: environment.get(f"SANDBOX_{tool.upper()}_SECRET") or DEFAULT_SAAS_KEY
                for tool in FAKES
            },
            intercom_region=_region(environment, "SANDBOX_INTERCOM_REGION"),
            metabase_port=_port(environment, "SANDBOX_METABASE_PORT"),
            metabase_api_key=environment.get("METABASE_API_KEY") or DEFAULT_API_KEY,
            scale=_scale(environment, "SANDBOX_SCALE"),
            today=_date(environment, "SANDBOX_TODAY"),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise SandboxError(
            f"Environment variable {name} is not set. "
            "Add it to .env: .env.example has a line to copy (`make setup` copies the whole file)."
        )
    return value


def _port(environment: Mapping[str, str], name: str) -> int:
    value = _required(environment, name)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise SandboxError(
            f"{name} is {value!r}, not a port between 1 and 65535. Correct it in .env."
        )
    return int(value)


def _region(environment: Mapping[str, str], name: str) -> str:
    region = environment.get(name) or "US"
    if region not in ("US", "EU", "AU"):
        raise SandboxError(f"{name} is {region!r}, not US, EU or AU. Correct it in .env.")
    return region


def _scale(environment: Mapping[str, str], name: str) -> float:
    value = _required(environment, name)
    try:
        scale = float(value)
    except ValueError:
        scale = 0.0
    if not 0 < scale <= 1000:
        raise SandboxError(
            f"{name} is {value!r}, not a number such as 0.01, 1 or 10. Correct it in .env."
        )
    return scale


def _date(environment: Mapping[str, str], name: str) -> date | None:
    value = environment.get(name, "").strip()
    if not value:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise SandboxError(
            f"{name} is {value!r}, not a date such as 2026-01-31. Correct it in .env."
        ) from None
