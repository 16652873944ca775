"""The `sandbox` command, as its users run it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PORTS = (
    "SANDBOX_POSTGRES_PORT",
    "SANDBOX_BIGQUERY_PORT",
    "SANDBOX_BIGQUERY_GRPC_PORT",
    "SANDBOX_SAAS_PORT",
    "SANDBOX_METABASE_PORT",
)


@dataclass
class CommandLine:
    """The `sandbox` command with an environment of its own."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("sandbox"), *arguments],
            env={"PATH": os.environ["PATH"], **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def without(self, name: str) -> "CommandLine":
        return CommandLine({key: value for key, value in self.environment.items() if key != name})

    def port(self, name: str) -> int:
        return int(self.environment[f"SANDBOX_{name}_PORT"])
