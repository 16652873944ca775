"""A way through an SSH server, to a database in a private network."""

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tap_postgres_arrow.errors import ConnectError

if TYPE_CHECKING:
    import asyncssh

SECONDS = 30
LOOPBACK = "127.0.0.1"
KEY_TYPES = ("ssh-", "ecdsa-", "sk-")


class Tunnel:
    """An SSH connection, through which ports elsewhere are reached as ports of this machine.

    It is asyncssh's, on a thread of its own. Nothing is imported or sent before the first port is
    asked for.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take the tap's settings."""
        self._settings = settings
        self._host = str(settings["ssh_host"])
        self._port = int(settings.get("ssh_port", 22))
        self._ports: dict[tuple[str, int], int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def name(self) -> str:
        """Return what it leads through, for people."""
        return f"{self._host}:{self._port}"

    def open(self) -> None:
        """Connect, if it isn't.

        Raises:
            ConnectError: the SSH server can't be reached, isn't known, or doesn't let us in.
        """
        if not self._connection:
            self._connection = self._run(self._connect())

    def forward(self, host: str, port: int) -> int:
        """Return the port of this machine's loopback that leads to a host's.

        Raises:
            ConnectError: the SSH server can't reach the host.
        """
        self.open()
        if not self._connection:
            raise AssertionError
        if (host, port) not in self._ports:
            self._ports[host, port] = self._run(self._forward(self._connection, host, port))
        return self._ports[host, port]

    def require_open(self) -> None:
        """Do nothing while it works.

        Raises:
            ConnectError: it was lost.
        """
        if self._connection and self._run(self._is_closed(self._connection)):
            message = f"the SSH connection to {self.name} was lost"
            raise ConnectError(message, "Run again: what is complete is not read twice") from None

    def close(self) -> None:
        """End it."""
        if self._loop:
            if self._connection:
                self._loop.call_soon_threadsafe(self._connection.abort)
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _run[T](self, work: Coroutine[Any, Any, T]) -> T:
        if not self._loop:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _is_closed(self, connection: "asyncssh.SSHClientConnection") -> bool:
        # On its own thread: its ports close a moment before it says that it is lost.
        return connection.is_closed()

    async def _connect(self) -> "asyncssh.SSHClientConnection":
        try:
            import asyncssh
        except ImportError:
            message = "`ssh_host` needs asyncssh, which isn't installed"
            fix = "Add the extra to the tap's `pip_url`: `tap-postgres-arrow[ssh]`"
            raise ConnectError(message, fix) from None
        # It logs each connection.
        logging.getLogger("asyncssh").setLevel(logging.WARNING)
        presented: list[asyncssh.SSHKey] = []

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, *which: Any) -> bool:
                # Only called for a key that isn't known, which comes last.
                presented.append(which[-1])
                return False

        options: dict[str, Any] = {}
        if "ssh_private_key" in self._settings:
            # No other key, and no agent: a server may give up after a few.
            options = {"client_keys": [self._key()], "agent_path": None}
        if "ssh_known_hosts" in self._settings:
            options["known_hosts"] = self._known_hosts()
        if "ssh_user" in self._settings:
            options["username"] = self._settings["ssh_user"]
        user = f"`{self._settings['ssh_user']}`" if "ssh_user" in self._settings else "this user"
        try:
            return await asyncssh.connect(
                self._host,
                self._port,
                client_factory=Client,
                config=None,
                connect_timeout=SECONDS,
                login_timeout=SECONDS,
                keepalive_interval=SECONDS,
                **options,
            )
        except asyncssh.HostKeyNotVerifiable:
            keys = [f" ({k.get_algorithm()} {k.get_fingerprint()})" for k in presented]
            problem = f"the SSH server {self.name} presents a key that isn't known{''.join(keys)}"
            fix = (
                "If its administrator says that this is its key, put the line that "
                f"`ssh-keyscan -p {self._port} {self._host}` prints into `ssh_known_hosts`"
            )
        except asyncssh.PermissionDenied:
            problem = f"the SSH server {self.name} doesn't let {user} in with this key"
            fix = (
                "Correct `ssh_user` or `ssh_private_key`, or add its public key to the server's "
                "`authorized_keys`"
            )
        except (OSError, asyncssh.Error) as error:
            said = str(error) or f"no answer within {SECONDS} s"
            if isinstance(error, ConnectionError) and error.errno:
                said = os.strerror(error.errno)
            problem = f"the SSH server {self.name} can't be reached: {said}"
            fix = "Correct `ssh_host` or `ssh_port`, or let the firewall pass this machine"
        raise ConnectError(problem, fix)

    async def _forward(
        self, connection: "asyncssh.SSHClientConnection", host: str, port: int
    ) -> int:
        import asyncssh

        try:
            # What is behind a port that is forwarded would be found out too late to say why.
            _, writer = await connection.open_connection(host, port)
            writer.close()
            listener = await connection.forward_local_port(LOOPBACK, 0, host, port)
        except (OSError, asyncssh.Error) as error:
            problem = f"the SSH server {self.name} can't reach {host}:{port}: {error}"
            fix = (
                "Correct `host` and `port` (or `url`), which are as the SSH server knows them; or "
                "let it forward there (`AllowTcpForwarding`, `PermitOpen`, the firewall)"
            )
            raise ConnectError(problem, fix) from None
        return listener.get_port()

    def _key(self) -> "asyncssh.SSHKey":
        import asyncssh

        written = str(self._settings["ssh_private_key"]).strip().replace("\\n", "\n")
        passphrase = self._settings.get("ssh_private_key_passphrase")
        try:
            if not written.startswith("-----BEGIN "):
                written = Path(written).expanduser().read_text()
            return asyncssh.import_private_key(written, passphrase)
        except OSError as error:
            problem = f"the file that `ssh_private_key` names can't be read: {error.strerror}"
            fix = "Correct the path; or give the key itself, which begins with `-----BEGIN`"
        except asyncssh.KeyEncryptionError:
            problem = "`ssh_private_key_passphrase` doesn't open `ssh_private_key`"
            fix = "Correct it"
        except asyncssh.KeyImportError as error:
            if "passphrase" in str(error).lower():
                problem = "`ssh_private_key` is protected by a passphrase"
                fix = "Set `ssh_private_key_passphrase`, or use a key without one"
            else:
                problem = "`ssh_private_key` holds no private key"
                fix = "Give the whole file, from `-----BEGIN` to `-----END … PRIVATE KEY-----`"
        raise ConnectError(problem, fix) from None

    def _known_hosts(self) -> "asyncssh.SSHKnownHosts":
        import asyncssh

        written = str(self._settings["ssh_known_hosts"]).strip().replace("\\n", "\n")
        try:
            if " " not in written:
                written = Path(written).expanduser().read_text()
        except OSError as error:
            problem = f"the file that `ssh_known_hosts` names can't be read: {error.strerror}"
            fix = "Correct the path; or give its lines, as `ssh-keyscan` prints them"
            raise ConnectError(problem, fix) from None
        # A host's public key, as it is in the host's /etc/ssh, is its own.
        own = self._host if self._port == 22 else f"[{self._host}]:{self._port}"
        lines = [
            f"{own} {line}" if line.startswith(KEY_TYPES) else line for line in written.splitlines()
        ]
        return asyncssh.import_known_hosts("\n".join(lines) + "\n")
