"""A source from a tap's name: the package is installed aside, and asked about itself."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from stack import meltano, scratch
from stack.project import Project
from stack.terminal import StackError, echo, last_line

from source_files.new_source import source_file
from source_files.new_source.settings import (
    KINDS,
    Filled,
    Setting,
    ask_tap,
    fill,
    json_kind,
    refuse_unknown,
)
from source_files.new_source.source_file import CREDENTIAL, CommentedOut, Draft, Select, add_streams

PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[A-Za-z0-9,._-]+\])?(==[A-Za-z0-9.!+_-]+)?")
ADDRESS = re.compile(
    r"url|host|domain|endpoint|server|account|user|login|project|workspace|tenant", re.I
)
SDK_SETTINGS = (
    *("stream_maps", "stream_map_config", "faker_config", "flattening_enabled", "batch_config"),
    *("flattening_max_depth", "flattening_separator", "flattening_max_key_length"),
)
"""What every tap of the Singer SDK has, and the loader has too."""
VERSIONS = "emit_activate_version_messages"
"""The setting of newer ones by which deletes can be seen."""
CAPABILITIES = ["catalog", "discover", "state"]
SECONDS = 120
NO_SECRET = re.compile(r"url|uri|path|expir|type", re.I)
TEXTS = ("string", "array", "object", None)
"""Types that may hold a secret."""
OLD_SETUPTOOLS = "setuptools<81"
"""The last ones with pkg_resources, which many taps need and no longer get by themselves."""


def _declared(setting: Setting) -> dict[str, Any]:
    """Return how Meltano is told of a setting."""
    found: dict[str, Any] = {"name": setting.name}
    if setting.kind and setting.kind != "decimal":  # which Meltano can't hand on
        found["kind"] = setting.kind
    if setting.options:
        found["options"] = [{"label": str(value), "value": value} for value in setting.options]
    if setting.is_secret:
        found["sensitive"] = True
    if setting.description:
        found["description"] = setting.description
    return found


def _setting(name: str, *, is_secret: bool, **facts: Any) -> Setting:
    is_variable = is_secret or bool(ADDRESS.search(name))
    return Setting(name, is_secret=is_secret, is_variable=is_variable, **facts)


@dataclass
class Tap:
    """A tap as installed in a folder of its own."""

    folder: Path
    name: str
    version: str
    executable: str
    pins: tuple[str, ...] = ()
    capabilities: Sequence[str] = ()
    settings: list[Setting] = field(default_factory=list)
    is_described: bool = False

    def run(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run it, in its own folder."""
        program = self.folder / "bin" / self.executable
        try:
            return ask_tap(program, *arguments, cwd=self.folder, timeout=SECONDS, **how)
        except subprocess.TimeoutExpired:
            message = f"`{self.executable} {arguments[0]}` hasn't ended after {SECONDS} seconds."
            raise StackError(message) from None


def draft(name: str, package: str, project: Project, given: Mapping[str, str]) -> Draft:
    """Install a tap aside and propose a source."""
    if not PACKAGE.fullmatch(package):
        raise StackError(
            f"'{package}' is none of these: a tap from PyPI (`tap-github`, or "
            "`tap-github==1.2.3`), `https://…`, `postgresql://…`. Other databases have taps, too. "
            "For a tap in a git repository, copy the file of another source and set `pip_url: "
            "git+https://…@<commit>`."
        )
    with scratch.folder("new-source") as folder:
        tap = _install(package, folder)
        echo(f"Asking {tap.executable} {tap.version} about its settings")
        _describe(tap)
        if tap.is_described:
            refuse_unknown(given, [setting.name for setting in tap.settings], tap.name)
        unknown = sorted(given.keys() - {setting.name for setting in tap.settings})
        tap.settings += [
            _setting(name, is_secret=bool(CREDENTIAL.search(name))) for name in unknown
        ]
        found = _draft(name, tap)
        filled = fill(found, tap.settings, given, source_file.known(project))
        found.config = filled.written
        secrets = [setting.name for setting in tap.settings if setting.is_secret]
        if left := [name for name in secrets if isinstance(found.config[name], CommentedOut)]:
            found.notes.append(
                f"It also takes {', '.join(left)}: take the mark away in `config` and fill in .env."
            )
        _fill_select(found, tap, filled)
    return found


def _install(package: str, folder: Path) -> Tap:
    match = PACKAGE.fullmatch(package)
    assert match  # noqa: S101 - the caller has looked
    echo(f"Installing {package} aside")
    uv = [str(meltano.python()), "-m", "uv"]
    environment = folder / "venv"
    _uv([*uv, "venv", "--quiet", "--python", str(meltano.python()), str(environment)], package)
    install = [*uv, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python")]
    _uv([*install, package], package)
    found = _installed(environment, match[1])
    name, programs = found.metadata["Name"], found.entry_points.select(group="console_scripts")
    scripts = [script for script in programs.names if re.match(r"tap[-_]", script)]
    if not scripts:
        has = ", ".join(programs.names) or "none"
        raise StackError(
            f"{name} {found.version} is no Singer tap: none of its programs is called "
            f"`tap-…` (it has: {has}). Look for one on https://hub.meltano.com/extractors."
        )
    tap = Tap(
        folder=environment,
        name=name + (match[2] or ""),
        version=found.version,
        executable=min(scripts, key=lambda script: (not match[1].endswith(script), script)),
    )
    if "No module named 'pkg_resources'" in tap.run("--help").stderr:
        _uv([*install, OLD_SETUPTOOLS], package)
        tap.pins = (f"setuptools=={_installed(environment, 'setuptools').version}",)
    started = tap.run("--help")
    if started.returncode and "Traceback" in started.stderr:
        raise StackError(
            f"{tap.name} {tap.version} doesn't run on this project's Python: "
            f"{last_line(started.stderr)}. Look for a newer version, or for another "
            "tap of the same source."
        )
    return tap


def _uv(command: Sequence[str], package: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if not done.returncode:
        return
    # Without uv's frames and arrows.
    said = " ".join(re.sub(r"[^\x20-\x7e]+", " ", done.stderr).split())
    if "was not found in the package registry" in said or "there is no version of" in said:
        message = (
            f"There is no {package} on PyPI. Check the spelling (many taps are called "
            "`meltanolabs-tap-…` or `pipelinewise-tap-…` there); for a tap in a git repository, "
            "copy the file of another source and set `pip_url: git+https://…@<commit>`."
        )
    else:
        message = (
            f"{package} can't be installed on this project's Python: {said[-600:]} Try another "
            f"version (`{package.split('==')[0]}==…`), or another tap."
        )
    raise StackError(message)


def _installed(environment: Path, package: str) -> Distribution:
    """Return what a virtual environment has of a package."""
    folders = map(str, environment.glob("lib/python*/site-packages"))
    return next(iter(distributions(name=package, path=list(folders))))


def _describe(tap: Tap) -> None:
    """Find out a tap's settings and capabilities: what it says, or what it misses."""
    about = tap.run("--about", "--format=json")
    try:
        told = json.loads(about.stdout)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and isinstance(told.get("settings"), dict):
        tap.is_described = True
        tap.settings = list(_settings(told["settings"]))
        tap.capabilities = [c for c in told.get("capabilities", []) if "target" not in c]
        return
    tap.capabilities = CAPABILITIES
    tap.settings = list(_missing_settings(tap.run("--discover", config={})))


def _settings(schema: Mapping[str, Any]) -> Iterator[Setting]:
    required = schema.get("required", [])
    for name, said in schema.get("properties", {}).items():
        if name in SDK_SETTINGS:
            continue
        main = json_kind(said)
        options = [value for value in said.get("enum", []) if value is not None]
        is_date = said.get("format") in ("date-time", "date")
        is_told_secret = bool(said.get("secret") or said.get("writeOnly"))
        yield _setting(
            name,
            kind="options" if options else "date_iso8601" if is_date else KINDS.get(main or ""),
            is_secret=is_told_secret
            or (main in TEXTS and source_file.is_secret(name) and not NO_SECRET.search(name)),
            is_required=name in required,
            description=" ".join(str(said.get("description") or said.get("title") or "").split()),
            default=said.get("default"),
            options=options,
        )


def _missing_settings(done: subprocess.CompletedProcess[str]) -> Iterator[Setting]:
    """Yield what a tap without `--about` says that it misses, if it has no settings at all."""
    said = f"{done.stderr}\n{done.stdout}"
    listed = re.search(r"missing required keys: \[([^\]]*)\]", said, re.I)
    names = re.findall(r"['\"]([^'\"]+)['\"]", listed[1]) if listed else []
    for name in names or re.findall(r"KeyError: '(\w+)'", said)[-1:]:
        yield _setting(
            name,
            kind="date_iso8601" if name.endswith("_date") else None,
            is_secret=bool(CREDENTIAL.search(name)),
            is_required=True,
        )


def _draft(name: str, tap: Tap) -> Draft:
    definition = {
        "pip_url": " ".join([f"{tap.name}=={tap.version}", *tap.pins]),
        "executable": tap.executable,
        "capabilities": list(tap.capabilities),
        "settings": list(map(_declared, tap.settings)),
    }
    found = Draft(name, f"by {tap.name}", tap.name, definition)
    if any(setting.name == VERSIONS for setting in tap.settings):
        found.notes.append(
            "What the source deletes isn't seen where streams are read incrementally, and in "
            "full only by proof: plugins/extractors/singer-completed/README.md says how."
        )
    if not tap.is_described:
        which = "only those that" if tap.settings else "nor what"
        found.notes.append(
            f"{tap.name} doesn't tell its settings, {which} it can't do without. Its documentation "
            "names them: add them to `settings` and `config`."
        )
    return found


def _fill_select(found: Draft, tap: Tap, filled: Filled) -> None:
    missing = [setting.name for setting in filled.missing]
    if missing or not (filled.values or tap.is_described):
        above = "Everything. `meltano select tap --list --all` shows the streams."
        found.select = [Select("*.*", above=above)]
        found.notes.append(
            f"Which streams there are isn't known before {', '.join(missing) or 'its settings'} "
            f"is: all are selected. Give `--set {(missing or ['setting'])[0]}=…`, or put it into "
            ".env, to have them listed."
        )
        return
    echo("Asking it for its streams")
    streams = _discover(tap, filled.values)
    if isinstance(streams, str):
        found.select = [Select("*.*", above="Everything; the streams couldn't be listed.")]
        found.notes.append(f"Its streams can't be listed: {streams} All are selected.")
        return
    add_streams(found, streams)


def _discover(tap: Tap, values: Mapping[str, Any]) -> list[dict[str, Any]] | str:
    """Return the catalog's streams, or why there are none."""
    done = tap.run("--discover", config=values)
    try:
        streams: list[dict[str, Any]] = json.loads(done.stdout)["streams"]
    except (ValueError, KeyError, TypeError, RecursionError):
        last = last_line(done.stderr)
        for value in values.values():
            if isinstance(value, str) and len(value) > 3:
                last = last.replace(value, "…")
        last = last if len(last) <= 300 else f"{last[:300]}…"
        return last if last.endswith((".", "…")) else f"{last}."
    return streams or "there are none."
