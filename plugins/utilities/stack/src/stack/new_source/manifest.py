"""A source from a declarative manifest: its `spec` says what it needs, its `check` tries it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from stack import scratch
from stack.check.taps import last_words
from stack.manifests import TAP
from stack.new_source import source_file
from stack.new_source.source_file import (
    CommentedOut,
    Draft,
    Variable,
    add_streams,
    expanded,
    variable_name,
)
from stack.project import REFERENCE, Project
from stack.terminal import StackError, echo

LONGEST_INLINE = 100_000
"""Meltano hands each setting to the tap as a variable, too: Linux allows 128 KiB for one."""
LAST = 10**6
"""Where a setting without `order` is asked for."""


@dataclass(frozen=True)
class Setting:
    """A setting that a `spec` has, by the names that lead to it."""

    path: tuple[str, ...]
    schema: Mapping[str, Any]
    is_required: bool

    @property
    def name(self) -> str:
        """Its name for `--set`: `credentials.client_id`."""
        return ".".join(self.path)

    @property
    def is_secret(self) -> bool:
        """Whether it belongs into .env."""
        return bool(self.schema.get("airbyte_secret"))

    @property
    def about(self) -> str:
        """What the `spec` says of it, in a line."""
        words = re.sub(r"<[^>]*>", "", str(self.schema.get("description") or ""))
        return " ".join(words.split())

    def typed(self, value: str) -> Any:
        """Return a value as the `spec` wants it.

        Raises:
            StackError: it doesn't fit.
        """
        kinds = self.schema.get("type") or "string"
        if "string" in ([kinds] if isinstance(kinds, str) else kinds):
            return value
        try:
            return json.loads(value)
        except ValueError:
            message = f"`{self.name}` is of type {kinds}: write it as JSON."
            raise StackError(message) from None


def read(path: str, project: Project) -> str:
    """Return the text of a manifest.

    Raises:
        StackError: there is none.
    """
    file = project.root / path
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it isn't text in UTF-8"
        message = f"The manifest {file} can't be read: {reason}."
        raise StackError(message) from None


def draft(
    name: str,
    text: str,
    project: Project,
    given: Mapping[str, str],
    *,
    is_own: bool = False,
) -> Draft:
    """Ask a manifest for its settings, try them, and propose a source.

    Args:
        name: the source's.
        text: the manifest.
        project: where variables and the tap are.
        given: settings' values by name; `${VARIABLE}` in one stands for what .env has.
        is_own: whether the manifest was written by `new-source`: it goes into the source's file.

    Raises:
        StackError: the manifest can't be run, settings are missing, or its check fails.
    """
    found = Draft(name, origin="by a manifest", label="manifest")
    file = f"{name}.manifest.yaml"
    # Meltano would replace `${…}` in the source's file.
    is_inline = is_own and len(text) < LONGEST_INLINE and not REFERENCE.search(text)
    if not is_inline:
        found.files[file] = text
    known = source_file.known(project.root / ".env")
    with scratch.folder("new-source") as folder:
        tap = Tap(project, folder, text)
        schema = json.loads(tap.run("--spec"))
        settings = list(of_spec(schema, given))
        if unknown := given.keys() - {setting.name for setting in settings}:
            there = ", ".join(setting.name for setting in settings)
            message = f"The manifest has no setting {', '.join(sorted(unknown))}. It has: {there}."
            raise StackError(message)
        config, written = _fill(found, settings, given, known)
        found.config = {"config": written} if written else {}
        found.config["manifest"] = text if is_inline else f"extract/{file}"
        echo("Running the manifest's check")
        streams = json.loads(tap.run("--discover", "--check", config=config))["streams"]
    # So that Meltano doesn't show them. (It fails where such a setting has no value.)
    secrets = [one.name for one in settings if one.is_secret and _at(config, one.path)]
    declared = [{"name": f"config.{secret}", "sensitive": True} for secret in secrets]
    found.definition = {"inherit_from": TAP, **({"settings": declared} if declared else {})}
    add_streams(found, streams)
    return found


class Tap:
    """The tap, run on a manifest that the project doesn't have yet.

    Args:
        project: where the tap is installed.
        folder: for its settings; the caller removes it.
        manifest: its text.
    """

    def __init__(self, project: Project, folder: Path, manifest: str) -> None:
        """Look for the tap, and write the manifest."""
        self._executable = project.plugins[TAP].executable
        self._folder = folder
        if not Path(self._executable).exists():
            message = f"{TAP} isn't installed: `meltano install extractor {TAP}`."
            raise StackError(message)
        (folder / "manifest.yaml").write_text(manifest)

    def run(self, *options: str, config: Mapping[str, Any] | None = None) -> str:
        """Return what the tap prints.

        Raises:
            StackError: it failed, with its last line.
        """
        # Only the owner can read it: secrets are in it. It goes with its folder.
        settings = self._folder / "config.json"
        settings.touch(mode=0o600)
        manifest = str(self._folder / "manifest.yaml")
        settings.write_text(json.dumps({"manifest": manifest, "config": config or {}}))
        done = subprocess.run(  # noqa: S603
            [self._executable, "--config", str(settings), *options],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise StackError(last_words(done.stderr).replace(manifest, "you gave"))
        return done.stdout


def of_spec(
    schema: Mapping[str, Any], given: Mapping[str, str], path: tuple[str, ...] = ()
) -> Iterator[Setting]:
    """Yield the settings of a `spec` in its order; of alternatives, those of the one chosen.

    Args:
        schema: the JSON Schema of an object.
        given: what is set already, by name.
        path: where the object is.
    """
    properties = schema.get("properties") or {}
    for name in sorted(properties, key=lambda one: properties[one].get("order", LAST)):
        here, inner = (*path, name), properties[name]
        setting = Setting(here, inner, name in schema.get("required", ()))
        if branches := inner.get("oneOf") or inner.get("anyOf"):
            chosen = _choose(setting, branches, given)
            if chosen is None:
                continue
            inner = chosen
        if not inner.get("properties"):
            yield setting
            continue
        is_used = setting.is_required or any(one.startswith(f"{setting.name}.") for one in given)
        for below in of_spec(inner, given, here):
            yield replace(below, is_required=below.is_required and is_used)


def _choose(
    setting: Setting, branches: Sequence[Mapping[str, Any]], given: Mapping[str, str]
) -> Mapping[str, Any] | None:
    """Return the alternative that fits what is given; None for an optional one of which nothing is.

    Raises:
        StackError: several fit, or none.
    """
    prefix = f"{setting.name}."
    named = {
        name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)
    }
    fitting = [branch for branch in branches if _fits(branch, named)]
    if not named and not setting.is_required:
        return None
    if len(fitting) > 1 and sys.stdin.isatty():
        titles = [str(branch.get("title") or number) for number, branch in enumerate(fitting, 1)]
        answer = click.prompt(
            setting.schema.get("title") or setting.name, type=click.Choice(titles), err=True
        )
        return fitting[titles.index(answer)]
    if len(fitting) == 1:
        return fitting[0]
    ways = "; or ".join(_way(branch, prefix) for branch in branches)
    message = f"The manifest has alternatives for `{setting.name}`. Give {ways}."
    raise StackError(message)


def _fits(branch: Mapping[str, Any], named: Mapping[str, str]) -> bool:
    properties = branch.get("properties") or {}
    fixed = {name: _fixed(schema) for name, schema in properties.items()}
    return all(
        name.partition(".")[0] in properties and fixed.get(name) in (None, value)
        for name, value in named.items()
    )


def _way(branch: Mapping[str, Any], prefix: str) -> str:
    """Return the options that choose an alternative."""
    names = branch.get("required") or list(branch.get("properties") or {})
    properties = branch.get("properties") or {}
    fixed = {name: _fixed(properties.get(name, {})) for name in names}
    return " ".join(f"`--set {prefix}{name}={fixed[name] or '…'}`" for name in names)


def _fixed(schema: Mapping[str, Any]) -> Any:
    """Return the only value that a setting can have; it tells alternatives apart."""
    values = schema.get("enum") or [None]
    return schema.get("const", values[0] if len(values) == 1 else None)


def _fill(
    found: Draft,
    settings: Sequence[Setting],
    given: Mapping[str, str],
    known: Mapping[str, str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings as the tap gets them, and as the file has them.

    Raises:
        StackError: some are missing.
    """
    values: dict[str, Any] = {}
    written: dict[str, Any] = {}
    missing = []
    for setting in settings:
        variable = variable_name(found.name, *setting.path)
        reference = f"${{{variable}}}"
        default = _fixed(setting.schema) or setting.schema.get("default")
        value = given.get(setting.name)
        if value is None and variable not in known and setting.is_required and default is None:
            if not sys.stdin.isatty():
                missing.append((setting, variable))
                continue
            value = _ask(setting)
        if value is not None and REFERENCE.search(value):
            _put(values, setting.path, setting.typed(expanded(value, known)))
            _put(written, setting.path, value)
        elif value is not None and not setting.is_secret:
            _put(values, setting.path, setting.typed(value))
            _put(written, setting.path, setting.typed(value))
        elif value is not None or variable in known:
            text = known[variable] if value is None else value
            _put(values, setting.path, setting.typed(text))
            _put(written, setting.path, reference)
            found.variables.append(Variable(variable, value))
        elif setting.is_required:
            _put(values, setting.path, default)
            _put(written, setting.path, default)
        else:
            shown = reference if setting.is_secret else default
            _put(written, setting.path, CommentedOut(shown, setting.about[:LONGEST_COMMENT]))
    if missing:
        raise StackError(_missing(missing))
    return values, written


LONGEST_COMMENT = 200


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _at(tree: Any, path: Sequence[str]) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _ask(setting: Setting) -> str:
    """Ask for a setting on the terminal."""
    if setting.about:
        echo(setting.about)
    title = str(setting.schema.get("title") or setting.name)
    options = setting.schema.get("enum")
    kind = click.Choice([str(option) for option in options]) if options else None
    return str(click.prompt(title, hide_input=setting.is_secret, type=kind, err=True))


def _missing(missing: Sequence[tuple[Setting, str]]) -> str:
    named = [
        f"`{setting.name}`" + (f" ({setting.about.rstrip('.')})" if setting.about else "")
        for setting, _ in missing
    ]
    options = " ".join(f"--set {setting.name}=…" for setting, _ in missing)
    secrets = [variable for setting, variable in missing if setting.is_secret]
    kept = f" Or put secrets into .env first: {', '.join(secrets)}." if secrets else ""
    return f"The manifest needs {', '.join(named)}: `{options}`.{kept}"
