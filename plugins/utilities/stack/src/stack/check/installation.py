"""What is installed, where state is kept, and what this machine has.

Every plugin is to be pinned, and installed in the versions that its lock has.
"""

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from stack.check.report import Context, Result, failed, noted, passed
from stack.project import Plugin

REDIRECT = "sandbox-redirect"
LOCAL = "local"
COMMIT = re.compile("@[0-9a-f]{40}(#.*)?")
SHOWN = 3
OWN = "own"


PIP = argparse.ArgumentParser(add_help=False, exit_on_error=False)
"""Reads a `pip_url` as pip does, as far as it goes."""
PIP.add_argument("-e", "--editable", action="append")
PIP.add_argument("-c", "--constraint", dest="locks", action="append", default=[])
PIP.add_argument("--excludes")
PIP.add_argument("-r", "--requirement", dest="extra", action="append", default=[])


def check(context: Context) -> Iterator[Result]:
    """Yield a line for each fault, or one for all plugins."""
    needed = [plugin for one in context.sources for plugin in (one.extractor, one.loader)]
    needed += [context.project.plugins[one] for one in ("dbt-bigquery", "dbt-metabase", "stack")]
    # Plugins that inherit share what is installed with their parent.
    shared: dict[str, Plugin] = {}
    for plugin in needed:
        shared.setdefault(plugin.executable, plugin)
    plugins = shared.values()
    faults = [fault for plugin in plugins for fault in of_plugin(context, plugin)]
    yield from faults
    if not any(fault.ok is False for fault in faults):
        yield passed("plugins", f"{len(plugins)} installed, pinned, and as their locks say")
    yield from _meltano(context)


def of_plugin(context: Context, plugin: Plugin) -> Iterator[Result]:
    """Yield what is wrong with one plugin's versions."""
    if not plugin.pip_url:
        return
    pip_url = _pip_arguments(context, plugin)
    locks = {
        lock: locked_versions((context.root / lock).read_text())
        for lock in pip_url.locks
        if (context.root / lock).is_file()
    }
    gone = [lock for lock in pip_url.locks if lock not in locks]
    if gone:
        yield failed(plugin.name, f"its lock {gone[0]} is missing", "Make it: `make lock`.")
    loose = [one for one in pip_url.requirements if not is_pinned(one, *locks.values())]
    if loose and not gone:
        fix = f"Write its version: `{re.split('[^A-Za-z0-9._-]', loose[0])[0]}==1.2.3`."
        yield failed(plugin.name, f"`pip_url` doesn't pin {loose[0]} to one version", fix)
    install = f"`meltano --environment={context.environment} install`."
    if not Path(plugin.executable).exists():
        detail = f"isn't installed: no {plugin.executable}"
        yield failed(plugin.name, detail, f"Install it: {install}")
        return
    installed = installed_versions(Path(plugin.executable).parent.parent)
    for lock, versions in locks.items():
        if wrong := differences(versions, installed):
            yield failed(
                plugin.name, f"not as {lock} says: {wrong}", f"Install it again: {install}"
            )
    # `meltano install` takes no account of the environment, although it accepts one.
    again = f"`meltano --environment={context.environment} invoke --only-install {plugin.name}`"
    if lacks_redirect(context, plugin):
        detail = "without the sandbox's redirect, its requests would go to the vendor"
        yield failed(plugin.name, detail, f"Install it again: {again}.")
    if context.environment != LOCAL and REDIRECT in installed:
        detail = f"the sandbox's redirect is installed with it, idle outside `{LOCAL}`"
        yield noted(plugin.name, detail, f"The next run removes it; or do so now: {again}.")


def _pip_arguments(context: Context, plugin: Plugin) -> argparse.Namespace:
    written = (plugin.pip_url or "").replace("${MELTANO_ENVIRONMENT}", context.environment)
    found, others = PIP.parse_known_args(shlex.split(written))
    found.requirements = [word for word in others if not word.startswith("-")]
    return found


def lacks_redirect(context: Context, plugin: Plugin) -> bool:
    """Return whether a tap's requests would go to the vendor in `local`."""
    if context.environment != LOCAL or not _pip_arguments(context, plugin).extra:
        return False
    return REDIRECT not in installed_versions(Path(plugin.executable).parent.parent)


def is_pinned(requirement: str, *locks: Mapping[str, str]) -> bool:
    """Return whether a requirement leaves one version, or one commit; a lock may say which."""
    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return bool(COMMIT.search(requirement))
    if parsed.url:
        return bool(COMMIT.search(parsed.url))
    if any(canonicalize_name(parsed.name) in lock for lock in locks):
        return True
    exact = [one for one in parsed.specifier if one.operator in ("==", "===")]
    return any(not one.version.endswith(".*") for one in exact)


def _meltano(context: Context) -> Iterator[Result]:
    """Yield whether Meltano's own environment is as locked."""
    locked = locked_versions((context.root / "requirements.txt").read_text())
    installed = installed_versions(context.root / ".venv")
    wrong = differences(locked, installed, only_locked=True)
    if wrong:
        detail = f"not as requirements.txt says: {wrong}"
        yield failed("Meltano", detail, "Install it again: `make setup`.")
    else:
        yield passed("Meltano", f"{installed.get('meltano')}, as requirements.txt says")


def locked_versions(text: str) -> dict[str, str]:
    """Return the versions that a lock names for this machine."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line or line.startswith((" ", "#", "-")):
            continue
        requirement = Requirement(line.removesuffix("\\").strip())
        version = next(iter(requirement.specifier), None)
        if version and (requirement.marker is None or requirement.marker.evaluate()):
            found[canonicalize_name(requirement.name)] = version.version
    return found


def installed_versions(venv: Path) -> dict[str, str]:
    """Return the versions of what is installed in a virtual environment.

    What comes from a folder or a repository rather than from an index has the version `OWN`.
    """
    found: dict[str, str] = {}
    for path in venv.glob("lib/python*/site-packages/*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        is_own = (path / "direct_url.json").exists()
        found[canonicalize_name(name)] = OWN if is_own else version
    return found


def differences(
    locked: Mapping[str, str], installed: Mapping[str, str], *, only_locked: bool = False
) -> str:
    """Return in what an environment isn't as its lock says, three phrases at most."""
    found = []
    for name, version in locked.items():
        if name not in installed:
            found.append(f"{name} {version} is missing")
        elif installed[name] != OWN and not _same(version, installed[name]):
            found.append(f"{name} is {installed[name]}, not {version}")
    if not only_locked:
        others = installed.keys() - locked.keys()
        found += [
            f"{name} {installed[name]} isn't in the lock"
            for name in sorted(others)
            if installed[name] != OWN
        ]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def _same(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


DATABASE = "systemdb"
STATE_FIX = "Set MELTANO_STATE_BACKEND_URI=gs://<bucket>/state where jobs run."
LIBRARIES = {
    "gs": ("google-cloud-storage", "gcs"),
    "s3": ("boto3", "s3"),
    "azure": ("azure-storage-blob", "azure"),
}


def state(context: Context) -> Iterator[Result]:
    """Yield where the state is, and whether it is safe there."""
    backend = str(context.project.facts.get("state_backend") or DATABASE)
    scheme = urlsplit(backend).scheme
    written = yaml.safe_load((context.root / "meltano.yml").read_text())
    database = context.variables.get("MELTANO_DATABASE_URI") or written.get("database_uri")
    needed, extra = LIBRARIES.get(scheme, (None, ""))
    if needed and needed not in installed_versions(context.root / ".venv"):
        fix = f"Write `meltano[{extra}]` for `meltano` in pyproject.toml, then `make lock setup`."
        yield failed("state", f"{backend} needs {needed}, which isn't installed", fix)
    elif backend != DATABASE and scheme != "file":
        yield passed("state", f"in {backend}")
    elif backend == DATABASE and database and not str(database).startswith("sqlite"):
        yield passed("state", "in Meltano's database, on a server")
    elif context.environment == "prod":
        detail = "on this machine's disk: without it, the next run reads every source in full"
        yield failed("state", detail, STATE_FIX)
    else:
        yield passed("state", "on this machine, as is right here")


PRIVATE = {".env": 0o600, ".meltano": 0o700}
"""What holds passwords, with its mode: in .meltano, the settings and logs of runs."""
OTHERS = 0o077


def machine(context: Context) -> Iterator[Result]:
    """Yield whether others can read passwords."""
    there = [name for name in PRIVATE if (context.root / name).exists()]
    opened = [name for name in there if (context.root / name).stat().st_mode & OTHERS]
    if opened:
        detail = f"other users of this machine can open {' and '.join(opened)}: passwords are there"
        fix = " && ".join(f"chmod {PRIVATE[name]:o} {name}" for name in opened)
        yield failed("private files", detail, f"In {context.root}: {fix}")
    else:
        yield passed("private files", f"{' and '.join(PRIVATE)} are closed to other users")
