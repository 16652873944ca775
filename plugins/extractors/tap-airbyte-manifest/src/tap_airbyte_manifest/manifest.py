"""Manifests: where they are, whether they can be run, and the CDK's source for one."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import validator_for

from tap_airbyte_manifest.errors import TapError

# What Airbyte's Connector Builder and its platform add; never run.
INJECTED_CODE = ("__injected_components_py", "__injected_components_py_checksums")


def load_manifest(setting: Any) -> dict[str, Any]:
    """Return the manifest that the setting `manifest` holds or names.

    Args:
        setting: a path relative to the project's root, YAML as text, or a mapping.

    Raises:
        TapError: it can't be read, or isn't a manifest.
    """
    if isinstance(setting, Mapping):
        return _checked(dict(setting), "`manifest`")
    if not isinstance(setting, str) or not setting.strip():
        message = "Set `manifest`: the path of a manifest in the project, or its YAML."
        raise TapError(message)
    if "\n" in setting.strip():
        return _checked(_parsed(setting, "`manifest`"), "`manifest`")
    root = Path(os.environ.get("MELTANO_PROJECT_ROOT") or ".")
    path = root / setting.strip()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        message = f"The manifest {setting} can't be read: {reason}. Correct `manifest`."
        raise TapError(message) from None
    return _checked(_parsed(text, setting), setting)


def _parsed(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        message = f"The manifest {place}{where} is not YAML: {getattr(error, 'problem', error)}."
        raise TapError(message) from None


def _checked(manifest: Any, place: str) -> dict[str, Any]:
    if not isinstance(manifest, dict):
        message = f"The manifest {place} is not one: it holds no mapping."
        raise TapError(message)
    for name in INJECTED_CODE:
        manifest.pop(name, None)
    if not isinstance(manifest.get("spec"), dict):
        message = (
            f"The manifest {place} has no `spec`, which says what settings it needs. Add one with "
            f"`connection_specification`."
        )
        raise TapError(message)
    return manifest


def specification(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of the settings that a manifest asks for."""
    return dict(manifest["spec"].get("connection_specification") or {})


def completed_config(spec: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the types and defaults of the manifest's `spec`.

    Settings that come from the environment are text, and empty where the variable isn't set.

    Raises:
        TapError: the `spec` rejects them.
    """
    found = _completed(spec, config)
    error = best_match(validator_for(spec)(spec).iter_errors(found))
    if error is not None:
        raise TapError(_rejected(error))
    return found


def _completed(spec: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in config.items() if value not in (None, "")}
    for name, rule in (spec.get("properties") or {}).items():
        if not isinstance(rule, Mapping):
            continue
        if name not in found and "default" in rule:
            found[name] = rule["default"]
        if name in found:
            found[name] = _typed(rule, found[name])
    return found


def _typed(rule: Mapping[str, Any], value: Any) -> Any:
    types = rule.get("type", ())
    types = [types] if isinstance(types, str) else list(types)
    if isinstance(value, Mapping):
        return _completed(rule, value)
    if not isinstance(value, str) or "string" in types:
        return value
    if "boolean" in types and value.lower() in ("true", "false"):
        return value.lower() == "true"
    for name, kind in (("integer", int), ("number", float)):
        if name in types:
            try:
                return kind(value)
            except ValueError:
                continue
    if "array" in types or "object" in types:
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return value
    return value


def _rejected(error: ValidationError) -> str:
    place = ".".join(["config", *map(str, error.absolute_path)])
    rule = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        names = ", ".join(f"`{place}.{name}`" for name in missing)
        return f"The manifest's `spec` asks for {names}. Set it."
    if error.validator == "pattern":
        wanted = rule.get("pattern_descriptor") or f"the pattern {error.validator_value}"
        return f"`{place}` is not as the manifest's `spec` asks for it: it must match {wanted}."
    if error.validator == "type":
        return (
            f"`{place}` is not as the manifest's `spec` asks for it: its type must be "
            f"{error.validator_value}."
        )
    if error.validator in ("enum", "const"):
        return (
            f"`{place}` is not as the manifest's `spec` asks for it: it must be "
            f"{error.validator_value}."
        )
    return f"`{place}` is not as the manifest's `spec` asks for it: its `{error.validator}` fails."


def components(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each mapping of a manifest and where it is."""
    if isinstance(node, dict):
        yield path, node
        for name, value in node.items():
            yield from components(value, f"{path}.{name}" if path else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from components(value, f"{path}[{index}]")
