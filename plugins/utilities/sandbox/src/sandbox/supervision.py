"""One supervisord for all services, controlled over its unix socket.

Services never restart by themselves: `status` shows a crash, and `up` starts the service again.
"""

import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport  # type: ignore[import-untyped]

from sandbox.errors import SandboxError
from sandbox.services import Service

# The path of a unix socket has at most about 107 bytes, and clones may be in deep folders. The
# socket is in a private temporary folder, to which this link in the sandbox directory points.
RUN = "supervisor.run"
SOCKET = "supervisor.sock"
CONFIGURATION = "supervisord.conf"
LOG = "supervisord.log"
PID = "supervisord.pid"

LAUNCH_SECONDS = 20
SHUTDOWN_SECONDS = 60
# The services don't get the project's settings and secrets.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")


class Supervisor:
    """The supervisord of one sandbox directory."""

    def __init__(self, directory: Path, services: Iterable[Service]) -> None:
        self.directory = directory
        self.services = tuple(services)

    def running(self) -> bool:
        """Tell whether supervisord answers."""
        try:
            self._call("getState")
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def states(self) -> dict[str, str]:
        """Return each service's state, by supervisor's names such as `RUNNING` or `EXITED`."""
        if not self.running():
            return {}
        return {
            str(info["name"]): str(info["statename"]) for info in self._call("getAllProcessInfo")
        }

    def outdated(self) -> bool:
        """Tell whether supervisord was started with other definitions of services."""
        configuration = self.directory / CONFIGURATION
        return configuration.exists() and configuration.read_text() != self._configuration()

    def launch(self) -> None:
        """Start supervisord, without any service.

        Raises:
            SandboxError: supervisord doesn't answer.
        """
        # A killed supervisord leaves these files; nothing listens on them.
        self._forget_run()
        (self.directory / PID).unlink(missing_ok=True)
        (self.directory / RUN).symlink_to(tempfile.mkdtemp(prefix="sandbox-"))
        configuration = self.directory / CONFIGURATION
        configuration.touch(mode=0o600)
        configuration.write_text(self._configuration())
        result = subprocess.run(  # noqa: S603 - our own arguments
            [sys.executable, "-m", "supervisor.supervisord", "-c", CONFIGURATION],
            cwd=self.directory,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        deadline = time.monotonic() + LAUNCH_SECONDS
        while not self.running():
            if result.returncode or time.monotonic() > deadline:
                reason = result.stderr.strip() or f"no answer in {LAUNCH_SECONDS} s"
                raise SandboxError(
                    f"supervisord did not start: {reason}. "
                    f"See {self.directory / LOG}, then run `sandbox up` again."
                )
            time.sleep(0.05)

    def start(self, name: str) -> None:
        """Start a service, and don't wait until it is healthy."""
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise SandboxError(
                    f"{name} could not be started: {fault.faultString}. See {self.directory / LOG}."
                ) from None

    def stop(self, name: str) -> None:
        """Stop a service and wait until it has ended."""
        try:
            self._call("stopProcess", name, True)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.NOT_RUNNING:
                raise

    def shutdown(self) -> None:
        """Stop every service and supervisord itself.

        Raises:
            SandboxError: Something is still running after a minute.
        """
        if not self.running():
            return
        self._call("shutdown")
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while (self.directory / PID).exists() or self.running():
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"Services were still stopping after {SHUTDOWN_SECONDS} s. "
                    f"See {self.directory / LOG}, then try again."
                )
            time.sleep(0.05)
        self._forget_run()

    def _forget_run(self) -> None:
        link = self.directory / RUN
        if link.is_symlink():
            shutil.rmtree(link.readlink(), ignore_errors=True)
            link.unlink()

    def _socket(self) -> Path:
        return (self.directory / RUN).readlink() / SOCKET

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(serverurl=f"unix://{self._socket()}")
        try:
            proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()

    def _configuration(self) -> str:
        """Return supervisord's configuration, see https://supervisord.org/configuration.html."""
        configuration = RawConfigParser()
        sections: dict[str, dict[str, str | int]] = {
            "unix_http_server": {"file": str(self._socket()), "chmod": "0700"},
            "supervisord": {
                "logfile": LOG,
                "logfile_maxbytes": "1MB",
                "logfile_backups": 1,
                "pidfile": PID,
            },
            "rpcinterface:supervisor": {
                "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
            },
        }
        for service in self.services:
            sections[f"program:{service.name}"] = {
                "command": shlex.join(service.command),
                "directory": str(self.directory),
                "environment": ",".join(
                    f'{name}="{value}"' for name, value in service.environment.items()
                ),
                "autostart": "false",
                "autorestart": "false",
                "startsecs": 0,
                "startretries": 0,
                "stopsignal": service.stop_signal,
                "stopwaitsecs": 20,
                "killasgroup": "true",
                "redirect_stderr": "true",
                "stdout_logfile": str(service.log),
                "stdout_logfile_maxbytes": "10MB",
                "stdout_logfile_backups": 1,
            }
        configuration.read_dict(
            {
                # supervisord expands %(name)s in values.
                name: {option: str(value).replace("%", "%%") for option, value in options.items()}
                for name, options in sections.items()
            }
        )
        text = io.StringIO()
        configuration.write(text)
        return text.getvalue()
