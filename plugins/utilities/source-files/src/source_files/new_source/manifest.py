"""A source from a declarative manifest: its `spec` says what it needs, its `check` tries it."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stack import scratch
from stack.check.taps import last_words
from stack.manifests import TAP
from stack.project import REFERENCE, Project, variable_name
from stack.terminal import StackError, ask, echo

from source_files.new_source import source_file
from source_files.new_source.settings import (
    KINDS,
    Setting,
    ask_tap,
    fill,
    json_kind,
    refuse_unknown,
)
from source_files.new_source.source_file import Draft, add_streams

LONGEST_INLINE = 100_000
"""Meltano hands each setting to the tap as a variable, too: Linux allows 128 KiB for one."""
LAST = 10**6
"""Where a setting without `order` is asked for."""


def read(path: str, project: Project) -> str:
    """Return the text of a manifest."""
    file = project.root / path
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it isn't text in UTF-8"
        raise StackError(f"The manifest {file} can't be read: {reason}.") from None


def draft(
    name: str,
    text: str,
    project: Project,
    given: Mapping[str, str],
    *,
    is_own: bool = False,
) -> Draft:
    """Ask a manifest for its settings, try them, and propose a source."""
    origin, label = ("a REST API", "REST API") if is_own else ("by a manifest", "manifest")
    found = Draft(name, origin, label)
    executable = project.plugins[TAP].installed
    with scratch.folder("new-source") as folder:
        manifest = folder / "manifest.yaml"
        manifest.write_text(text)

        def run(*options: str, **config: Any) -> Any:
            settings = {"manifest": str(manifest), "config": config}
            done = ask_tap(executable, *options, config=settings)
            if done.returncode:
                raise StackError(last_words(done.stderr).replace(str(manifest), "you gave"))
            return json.loads(done.stdout)

        settings = list(of_spec(run("--spec"), given))
        refuse_unknown(given, [setting.name for setting in settings], "The manifest")
        known = source_file.known(project)
        filled = fill(found, settings, given, known, describe=True)
        if filled.missing:
            raise StackError(_missing(name, filled.missing))
        echo("Running the manifest's check")
        streams = run("--discover", "--check", **filled.values)["streams"]
    found.config = {"config": filled.written} if filled.written else {}
    # Meltano would replace `${…}` in the source's file.
    if is_own and len(text) < LONGEST_INLINE and not REFERENCE.search(text):
        found.config["manifest"] = text
    else:
        file = f"{name}.manifest.yaml"
        found.config["manifest"] = f"extract/{file}"
        found.files[file] = text
    # So that Meltano doesn't show them. (It fails where such a setting has no value.)
    secrets = [one.name for one in settings if one.is_secret and _at(filled.values, one.path)]
    declared = [{"name": f"config.{secret}", "sensitive": True} for secret in secrets]
    found.definition = {"inherit_from": TAP, **({"settings": declared} if declared else {})}
    add_streams(found, streams)
    return found


def of_spec(
    schema: Mapping[str, Any], given: Mapping[str, str], prefix: str = ""
) -> Iterator[Setting]:
    """Yield the settings of a `spec` in its order; of alternatives, those of the one chosen.

    Args:
        schema: the JSON Schema of an object.
        given: what is set already, by name.
        prefix: the names that lead to the object.
    """
    # JSON Schema also has `true`, for a setting that may be anything.
    found = (schema.get("properties") or {}).items()
    properties = {name: one if isinstance(one, Mapping) else {} for name, one in found}
    for key in sorted(properties, key=lambda one: properties[one].get("order", LAST)):
        inner = properties[key]
        setting = _setting(f"{prefix}{key}", inner, is_required=key in schema.get("required", ()))
        branches = [
            one for one in inner.get("oneOf") or inner.get("anyOf") or () if "properties" in one
        ]
        chosen = _choose(setting, branches, given) if branches else inner
        if chosen is None or (chosen.get("airbyte_hidden") and not setting.is_required):
            continue
        if not chosen.get("properties"):
            yield setting
            continue
        inside = f"{setting.name}."
        is_used = setting.is_required or any(name.startswith(inside) for name in given)
        for below in of_spec(chosen, given, inside):
            yield replace(below, is_required=below.is_required and is_used)


def _setting(name: str, schema: Mapping[str, Any], *, is_required: bool) -> Setting:
    is_secret = bool(schema.get("airbyte_secret"))
    return Setting(
        name,
        kind=KINDS.get(json_kind(schema) or ""),
        title=str(schema.get("title") or ""),
        is_secret=is_secret,
        is_variable=is_secret,
        is_required=is_required,
        description=" ".join(re.sub(r"<[^>]*>", "", str(schema.get("description") or "")).split()),
        default=_fixed(schema) or schema.get("default"),
        options=schema.get("enum") or (),
    )


def _choose(
    setting: Setting, branches: Sequence[Mapping[str, Any]], given: Mapping[str, str]
) -> Mapping[str, Any] | None:
    """Return the alternative that fits what is given; None for an optional one left out."""
    prefix = f"{setting.name}."
    named = {
        name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)
    }
    fitting = [branch for branch in branches if _fits(branch, named)]
    if not named and not setting.is_required:
        return None
    if len(fitting) > 1 and sys.stdin.isatty():
        titles = [str(branch.get("title") or number) for number, branch in enumerate(fitting, 1)]
        answer = ask(setting.title or setting.name, options=titles)
        return fitting[titles.index(answer)]
    if len(fitting) == 1:
        return fitting[0]
    ways = "; or ".join(_way(branch, prefix) for branch in branches)
    raise StackError(f"The manifest has alternatives for `{setting.name}`. Give {ways}.")


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


def _at(tree: Any, path: Sequence[str]) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _missing(source: str, missing: Sequence[Setting]) -> str:
    named = [
        f"`{one.name}`" + (f" ({one.description.rstrip('.')})" if one.description else "")
        for one in missing
    ]
    options = " ".join(f"--set {one.name}=…" for one in missing)
    secrets = [variable_name(source, *one.path) for one in missing if one.is_secret]
    kept = f" Or put secrets into .env first: {', '.join(secrets)}." if secrets else ""
    return f"The manifest needs {', '.join(named)}: `{options}`.{kept}"
