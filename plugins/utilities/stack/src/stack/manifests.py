"""Manifests of the sources that `tap-airbyte-manifest` reads, as far as commands look into them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from stack.project import Plugin

TAP = "tap-airbyte-manifest"
INJECTED = "__injected_declarative_manifest"
"""What an export of the Connector Builder may have around the manifest."""
# As in `"{{ config['start_date'] }}"`, also with a format or a default around it.
CONFIG = re.compile(r"config(?:\[['\"]|\.(?:get\(['\"])?)(\w+)")


def of(plugin: "Plugin", root: Path) -> dict[str, Any]:
    """Return an extractor's manifest; an empty one where it has none that can be read."""
    return load(plugin.config().get("manifest"), root) if plugin.program == TAP else {}


def with_secrets(plugin: "Plugin", root: Path) -> "Plugin":
    """Return a plugin in which what its manifest calls a secret counts as one."""
    names = secrets(of(plugin, root)) & plugin.settings.keys()
    if not names:
        return plugin
    marked = {name: replace(plugin.settings[name], sensitive=True) for name in names}
    return replace(plugin, settings={**plugin.settings, **marked})


def path_of(setting: Any) -> str | None:
    """Return the path that the setting `manifest` names; None if it holds the manifest itself."""
    is_path = isinstance(setting, str) and setting.strip() and "\n" not in setting.strip()
    return str(setting).strip() if is_path else None


def load(setting: Any, root: Path) -> dict[str, Any]:
    """Return a manifest; an empty one where it can't be read, which the tap will say."""
    try:
        if path := path_of(setting):
            setting = (root / path).read_text(encoding="utf-8")
        found = yaml.load(setting, yaml.CSafeLoader) if isinstance(setting, str) else setting
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    found = found if isinstance(found, dict) else {}
    return found.get(INJECTED) or found


def secrets(manifest: Mapping[str, Any]) -> set[str]:
    """Return the settings that a manifest's `spec` calls secret, as Meltano names them."""
    spec = _resolved(manifest, manifest.get("spec"))
    schema = _resolved(manifest, spec.get("connection_specification"))
    return {f"config.{name}" for name in _secrets(schema)}


def _secrets(schema: Any, prefix: str = "") -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    for name, inner in (schema.get("properties") or {}).items():
        if not isinstance(inner, Mapping):
            continue
        if inner.get("airbyte_secret"):
            yield f"{prefix}{name}"
        for branch in (inner, *(inner.get("oneOf") or ()), *(inner.get("anyOf") or ())):
            yield from _secrets(branch, f"{prefix}{name}.")


def start_settings(manifest: Mapping[str, Any]) -> set[str]:
    """Return the settings by which a manifest's streams are told where to begin, for Meltano."""
    found: set[str] = set()
    waiting: list[Any] = [manifest]
    while waiting:
        match waiting.pop():
            case dict() as one:
                if "start_datetime" in one:
                    names = CONFIG.findall(str(one["start_datetime"]))
                    found |= {f"config.{name}" for name in names}
                waiting += one.values()
            case list() as several:
                waiting += several
    return found


def _resolved(manifest: Mapping[str, Any], node: Any) -> Mapping[str, Any]:
    """Return what a reference such as `#/definitions/spec` leads to."""
    for _ in range(10):
        if not isinstance(node, Mapping) or not isinstance(node.get("$ref"), str):
            break
        target: Any = manifest
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target.get(step) if isinstance(target, Mapping) else None
        node = target
    return node if isinstance(node, Mapping) else {}
