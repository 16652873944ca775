"""The way to a database: what the settings mean to libpq, and which server is read.

Run as a program, it lends that way to others: `python -m tap_postgres_arrow.connection` reads the
tap's settings from standard input, one line of JSON; prints libpq's connection string, or what is
wrong and its fix, as JSON too; and keeps tunnel and files until its standard input ends.
"""

import json
import os
import random
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tap_postgres_arrow.errors import ConnectError
from tap_postgres_arrow.tokens import BY_PASSWORD, LOGINS
from tap_postgres_arrow.tunnel import Tunnel

# What a killed run leaves is removed as its Parquet files are, by a run a day later.
FOLDER_PREFIX = "tap-postgres-arrow-"
HIDDEN = "•••"
# What a setting of the tap is called by libpq.
PARAMETERS = {
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
    "database": "dbname",
    "target_session_attrs": "target_session_attrs",
    "ssl_mode": "sslmode",
    "ssl_certificate_authority": "sslrootcert",
    "ssl_client_certificate": "sslcert",
    "ssl_client_private_key": "sslkey",
    "keepalives_idle": "keepalives_idle",
    "keepalives_interval": "keepalives_interval",
    "keepalives_count": "keepalives_count",
    "tcp_user_timeout": "tcp_user_timeout",
}
# What neither `url`, a setting nor libpq's own variable says. All else libpq takes from where it
# always does.
DEFAULTS = {
    "connect_timeout": os.environ.get("PGCONNECT_TIMEOUT", "30"),
    "application_name": os.environ.get("PGAPPNAME", "tap-postgres-arrow"),
    # A silent connection is probed, so that no router or load balancer forgets it.
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
}
# Whatever the database's encoding or the role's `client_encoding`, text arrives as UTF-8.
ENCODING = "UTF8"
ALWAYS = {"client_encoding": ENCODING}
FILES = ("sslrootcert", "sslcert", "sslkey")
ANY = "any"
PREFER_STANDBY = "prefer-standby"
NO_STANDBY = "not in hot standby mode"
URL_FORM = (
    "It goes `postgresql://user:password@host:5432/database`; in user and password, `@`, `/`, `:`, "
    "`?`, `#` and `%` are written %40, %2F, %3A, %3F, %23 and %25"
)
# What libpq or the server says, what is wrong, and the fix. Names in braces are settings.
REFUSALS = (
    (r"translate host name|name or service not known|nodename nor", "there is no such host", ""),
    (
        r"password authentication failed|no password supplied|PAM authentication failed"
        r"|IAM user authentication failed",
        "the password is wrong",
        "Correct {password} or {user}",
    ),
    (r'role ".*" does not exist', "there is no such user", "Correct {user}"),
    (r'database ".*" does not exist', "there is no such database", "Correct {database}"),
    (
        r"permission denied for database",
        "the user may not connect to the database",
        "As its owner: `grant connect on database … to …`; or correct {user}",
    ),
    (
        r"does not support SSL",
        "the server has no encryption, and the setting wants it",
        "Set `ssl_mode: disable` for a server in your own network, or turn encryption on there",
    ),
    (
        r"server certificate for|does not match host name",
        "the server's certificate is for another name",
        "Name the server in {host} as its certificate does",
    ),
    (
        r"certificate verify failed|root certificate",
        "the server's certificate is not trusted",
        "Give the authority that signed it in {ssl_certificate_authority}: a file, or its text",
    ),
    (
        r"private key|certificate file|client certificate|alert certificate|alert unknown ca",
        "our own certificate is not accepted",
        "Correct {ssl_client_certificate} and {ssl_client_private_key}: files with mode 600, or "
        "their text",
    ),
    (
        r"pg_hba\.conf",
        "the server lets nobody in like this, by its pg_hba.conf",
        "Set `ssl_mode: require` if it wants encryption; else correct {user} or {database}, or "
        "let its administrator add this machine",
    ),
    (
        NO_STANDBY,
        "the server is not a standby",
        "Name one in {host}, or write `target_session_attrs: prefer-standby`",
    ),
    (
        r"server is in hot standby mode|session is (not )?read-only",
        "no such server by `target_session_attrs`",
        "Name one in {host}, or correct {target_session_attrs}",
    ),
    (
        r"connection refused|No such file or directory",
        "nothing listens there",
        "Is it running, and are {host} and {port} right? Locally, `meltano invoke sandbox up` "
        "starts it",
    ),
    (
        r"timeout expired|timed out|no route to host|network is unreachable",
        "no answer",
        "Correct {host}, or let the firewall pass this machine; a database in a private network "
        "is reached through `ssh_host`",
    ),
    (
        r"definition of service|service file",
        "there is no such service",
        "Correct `service` in {url}",
    ),
    (r"invalid .* value", "libpq doesn't take that value", "Correct it in {url} or its setting"),
)


@dataclass(frozen=True)
class Server:
    """One server of the list that `host` may be.

    Attributes:
        host: its name, or the folder of its socket; empty where libpq is to find it.
        port: its port; empty for libpq's default.
        address: the IP address to dial.
        dialled_port: the port to dial, where a tunnel begins; else empty.
    """

    host: str = ""
    port: str = ""
    address: str = ""
    dialled_port: str = ""

    def __str__(self) -> str:
        """Return its name and port."""
        return f"{self.host or self.address or 'localhost'}:{self.port or 5432}"

    @property
    def parameters(self) -> dict[str, str]:
        """Return what libpq is told of it."""
        port = self.dialled_port or self.port
        found = {"host": self.host, "hostaddr": self.address, "port": port}
        return {name: value for name, value in found.items() if value}


class Connector:
    """Opens connections, all of a run to one server: to the first of the list that fits.

    Attributes:
        user: who connects, as far as the settings say.
        at: where it has connected to, for people.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take the settings; nothing is sent yet.

        Raises:
            ConnectError: they can't be understood.
        """
        self._settings = {k: v for k, v in settings.items() if v not in (None, "")}
        self._parameters = parameters(self._settings)
        login = self._settings.get("auth_method", BY_PASSWORD)
        if login not in LOGINS:
            problem = f"there is no `auth_method: {login}`"
            raise ConnectError(problem, f"There are {', '.join(LOGINS)}")
        self._login = LOGINS[login](self._settings)
        if self._login and self._parameters.get("sslmode", "prefer") in ("allow", "prefer"):
            # A token is sent as it is.
            self._parameters["sslmode"] = "require"
        if self._login and "user" not in self._parameters:
            message = f"`auth_method: {login}` needs to know for whom"
            raise ConnectError(message, "Set `user`")
        self._servers = servers(self._parameters)
        self._tunnel = Tunnel(self._settings) if "ssh_host" in self._settings else None
        if self._tunnel and not self._servers[0].host:
            message = "a tunnel needs to know where the database is"
            raise ConnectError(message, "Set `host` (and `port`) as the SSH server knows it")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._paths: dict[str, str] = {}
        self._lock = threading.Lock()
        self._chosen: Server | None = None
        self.user = self._parameters.get("user")

    @property
    def at(self) -> str:
        """Return where it has connected to."""
        return self._place(self._chosen or self._servers[0])

    def connect[T](self, opened: Callable[[str], T], errors: tuple[type[Exception], ...]) -> T:
        """Open a connection.

        The first one decides for a server; later ones go to the same address, since a snapshot
        means nothing anywhere else.

        Args:
            opened: opens a connection by libpq's connection string.
            errors: what it raises if there is none.

        Raises:
            ConnectError: no server can be reached, or none lets us in.
        """
        wanted = self._parameters.get("target_session_attrs", ANY)
        if self._servers == [Server()]:
            return self._first([(Server(), wanted)], opened, errors)
        if self._chosen:
            return self._first([(self._chosen, ANY)], opened, errors)
        if self._tunnel:
            self._tunnel.open()
        falls_back = wanted == PREFER_STANDBY
        ways = [(server, "standby" if falls_back else wanted) for server in self._servers]
        return self._first(ways, opened, errors, falls_back=falls_back)

    def _first[T](
        self,
        ways: Sequence[tuple[Server, str]],
        opened: Callable[[str], T],
        errors: tuple[type[Exception], ...],
        *,
        falls_back: bool = False,
    ) -> T:
        """Return the first connection that there is.

        Args:
            ways: servers, with the `target_session_attrs` that each should fulfil.
            opened: opens a connection by libpq's connection string.
            errors: what it raises if there is none.
            falls_back: whether to take a primary if there is no standby.
        """
        # By name: a name may stand for several addresses, of which the last one's is said.
        failures: dict[str, ConnectError] = {}
        primaries: list[tuple[Server, str]] = []
        for named, wanted in ways:
            try:
                candidates = list(self._addresses(named))
            except ConnectError as error:
                failures[str(named)] = error
                continue
            for server in candidates:
                try:
                    connection = opened(self._conninfo(server, wanted))
                except errors as error:
                    if self._tunnel:
                        self._tunnel.require_open()
                    failures[str(server)] = self._refusal(server, self._reason(error))
                    if NO_STANDBY in str(error):
                        primaries.append((server, ANY))
                else:
                    self._chosen = server
                    return connection
        if falls_back and primaries:
            return self._first(primaries, opened, errors)
        first, *others = failures.values()
        raise first if not others else first.with_others(others)

    def _addresses(self, server: Server) -> Iterator[Server]:
        """Yield a server with each address that its name stands for.

        Raises:
            ConnectError: there is no such name, or the tunnel doesn't reach it.
        """
        if self._tunnel and not server.dialled_port:
            port = self._tunnel.forward(server.host, int(server.port or 5432))
            yield replace(server, address="127.0.0.1", dialled_port=str(port))
        elif server.address or server.host[:1] in ("", "/", "@"):
            yield server
        else:
            try:
                found = socket.getaddrinfo(server.host, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                said = f"could not translate host name: {error}"
                raise self._refusal(server, said) from None
            for address in dict.fromkeys(str(info[4][0]) for info in found):
                yield replace(server, address=address)

    def _conninfo(self, server: Server, wanted: str) -> str:
        """Return libpq's connection string."""
        with self._lock:
            found = {**self._parameters, **self._files()}
            if self._tunnel:
                self._tunnel.require_open()
            if server != Server():
                for name in ("host", "hostaddr", "port", "load_balance_hosts"):
                    found.pop(name, None)
            found |= server.parameters
            if "target_session_attrs" in found:
                found["target_session_attrs"] = wanted
            if self._login:
                host, port = server.host or server.address, int(server.port or 5432)
                found["user"], found["password"] = self._login.user_and_token(
                    host, port, found["user"]
                )
        return " ".join(f"{name}={_quoted(value)}" for name, value in found.items())

    def _files(self) -> dict[str, str]:
        """Write the certificates and keys that are given as text; return their paths.

        libpq wants files, for each connection.
        """
        for name in FILES:
            text = _pem(self._parameters.get(name, ""))
            if text is None or name in self._paths:
                continue
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX)
            path = Path(self._folder.name, f"{name}.pem")
            path.touch(0o600)
            path.write_text(text)
            self._paths[name] = str(path)
        return self._paths

    def _reason(self, error: Exception) -> str:
        """Return what libpq or the server said, in one line."""
        text = str(error)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = lines[0] if lines else type(error).__name__
        if refused := re.search(r"(?:ERROR|FATAL|PANIC):\s+(.+)", text):
            said = refused[1]
        else:
            # Where is said once, and with a tunnel libpq doesn't know.
            said = re.split(r"(?:\w+ failed|Failed to connect): ", said)[-1]
        password = self._parameters.get("password", "")
        return (said.replace(password, HIDDEN) if len(password) > 3 else said).rstrip(".")

    def _refusal(self, server: Server, said: str) -> ConnectError:
        meaning, fix = self._meaning(said)
        return ConnectError(f"{meaning} ({self._place(server)}): {said}", fix)

    def _meaning(self, said: str) -> tuple[str, str]:
        for pattern, meaning, fix in REFUSALS:
            if re.search(pattern, said, re.IGNORECASE):
                if self._login and "{password}" in fix:
                    return "the token is not accepted", self._login.refused
                named = {name: self._named(name) for name in [*PARAMETERS, "url"]}
                filled = (fix or "Correct {host}").format_map(named)
                # Several of them may be the URL's.
                return meaning, re.sub(r"(`\w+`)(?:(?:,| or| and) \1)+", r"\1", filled)
        names = " and ".join(self._named(name) for name in ("host", "port"))
        return "it doesn't let us in", f"Check {names}, and what the server's log says"

    def _named(self, setting: str) -> str:
        """Return the setting that says something: itself, or the URL."""
        is_from_url = "url" in self._settings and setting not in self._settings
        return "`url`" if is_from_url else f"`{setting}`"

    def _place(self, server: Server) -> str:
        database = self._parameters.get("dbname")
        return (
            str(server)
            + (f", database {database}" if database else "")
            + (f", through {self._tunnel.name}" if self._tunnel else "")
        )

    def close(self) -> None:
        """Close the tunnel, and remove files."""
        if self._tunnel:
            self._tunnel.close()
        if self._folder:
            self._folder.cleanup()
            self._folder, self._paths = None, {}


def parameters(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what libpq is told: what `url` says, and above it what other settings say.

    Raises:
        ConnectError: the URL can't be understood.
    """
    found = _of_url(str(settings["url"])) if "url" in settings else {}
    if "host" in settings:
        found.pop("hostaddr", None)
    own = {name: str(settings[k]) for k, name in PARAMETERS.items() if k in settings}
    return DEFAULTS | found | own | ALWAYS


def servers(parameters: Mapping[str, str]) -> list[Server]:
    """Return the servers of libpq's lists; one without a name where libpq is to find it.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS

    Raises:
        ConnectError: the lists are of different lengths.
    """
    hosts, addresses, ports = (
        parameters[name].split(",") if parameters.get(name) else []
        for name in ("host", "hostaddr", "port")
    )
    count = max(len(hosts), len(addresses))
    if not count:
        return [Server()]
    lists = [hosts, addresses, ports * count if len(ports) == 1 else ports]
    if any(len(values) not in (0, count) for values in lists):
        message = f"{len(hosts)} hosts, {len(addresses)} addresses and {len(ports)} ports"
        raise ConnectError(message, "Name as many of each, or one port for all")
    hosts, addresses, ports = (values or [""] * count for values in lists)
    found = [Server(*values) for values in zip(hosts, ports, addresses, strict=True)]
    if parameters.get("load_balance_hosts") == "random":
        random.shuffle(found)
    return found


def _of_url(url: str) -> dict[str, str]:
    """Return the parameters of a URL, or of a connection string, by libpq's own rules.

    Raises:
        ConnectError: it has none. What can't be read may be a part of the password: it isn't
            repeated.
    """
    import psycopg
    from psycopg import conninfo

    url = url.strip()
    problem = "`url` can't be understood"
    try:
        found = {k: str(v) for k, v in conninfo.conninfo_to_dict(url).items() if v is not None}
    except psycopg.ProgrammingError as error:
        unknown = re.match(r'invalid URI query parameter: "(\w+)"', str(error))
        query = url.partition("?")[2]
        if unknown and "@" not in query and "password=" not in query:
            problem = f"`url` has the parameter `{unknown[1]}`, which libpq doesn't know"
            raise ConnectError(problem, "Leave it out") from None
        raise ConnectError(problem, URL_FORM) from None
    is_odd = "@" in found.get("host", "") + found.get("dbname", "")
    ports = found.get("port", "5432").split(",")
    if not url or is_odd or not all(port.isdigit() or not port for port in ports):
        raise ConnectError(problem, URL_FORM)
    return found


def _pem(value: str) -> str | None:
    r"""Return a certificate or key that is given as text; None for a path.

    In a variable, its lines may end with `\n` as two characters.
    """
    text = value.strip().replace("\\n", "\n")
    return f"{text}\n" if text.startswith("-----BEGIN ") else None


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main() -> None:
    """Lend the way to a database until standard input ends."""
    import psycopg

    used = ""

    def opened(conninfo: str) -> None:
        nonlocal used
        psycopg.connect(conninfo).close()
        used = conninfo

    try:
        connector = Connector(json.loads(sys.stdin.readline()))
        connector.connect(opened, (psycopg.Error, OSError))
    except ConnectError as error:
        print(json.dumps({"problem": error.problem, "fix": error.fix}))  # noqa: T201
        return
    print(json.dumps({"conninfo": used, "at": connector.at}), flush=True)  # noqa: T201
    sys.stdin.read()
    connector.close()


if __name__ == "__main__":
    main()
