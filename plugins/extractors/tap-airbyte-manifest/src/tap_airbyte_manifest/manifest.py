"""Manifests: where they are, whether they can be run, and what settings they ask for."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from typing import Any

import yaml
from airbyte_cdk.sources.declarative.concurrent_declarative_source import (
    get_declarative_component_schema,
)
from airbyte_cdk.sources.declarative.parsers.custom_exceptions import (
    CircularReferenceException,
    UndefinedReferenceException,
)
from airbyte_cdk.sources.declarative.parsers.manifest_reference_resolver import (
    ManifestReferenceResolver,
)
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import validator_for

from tap_airbyte_manifest.errors import TapError, shortened

logger = logging.getLogger("tap-airbyte-manifest")

PACKAGE = "tap-airbyte-manifest"
# The only Python of this environment that a manifest may name.
COMPONENTS = [
    f"tap_airbyte_manifest.components.{name}" for name in ("ChangedObjects", "ChangedParts")
]
# What Airbyte's Connector Builder wraps an export in, and the Python that may come with it.
INJECTED_MANIFEST = "__injected_declarative_manifest"
INJECTED_CODE = "__injected_components_py"
# Members whose values aren't components, though they may look like some.
NO_COMPONENTS = (
    "advanced_auth",
    "config_overrides",
    "connection_specification",
    "definitions",
    "metadata",
    "schema",
    "schemas",
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which a date is text, as a manifest means it."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own
        first: [rule for rule in rules if not rule[0].endswith(":timestamp")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def load_manifest(setting: Any) -> dict[str, Any]:
    """Return the manifest that the setting `manifest` holds or names.

    Args:
        setting: a path relative to the project's root, YAML as text, or a mapping.

    Raises:
        TapError: it can't be read, or can't be run.
    """
    if isinstance(setting, Mapping):
        return _checked(setting, "`manifest`")
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
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        message = f"The manifest {place}{where} is not YAML: {getattr(error, 'problem', error)}."
        raise TapError(message) from None


def _checked(manifest: Any, place: str) -> dict[str, Any]:
    """Return a manifest that can be run.

    Raises:
        TapError: it can't.
    """
    if not isinstance(manifest, Mapping):
        message = f"The manifest {place} is not one: it holds no mapping."
        raise TapError(message)
    refuse_code(manifest, place)
    manifest = dict(manifest.get(INJECTED_MANIFEST) or manifest)
    manifest.setdefault("type", "DeclarativeSource")
    if manifest["type"] != "DeclarativeSource":
        message = (
            f"The manifest {place} is of type {manifest['type']!r}, not DeclarativeSource: only "
            f"declarative manifests of sources can be run."
        )
        raise TapError(message)
    _check_version(manifest.get("version"), place)
    if not isinstance(manifest.get("spec"), dict):
        message = (
            f"The manifest {place} has no `spec`, which says what settings it needs. Add one with "
            f"`connection_specification`."
        )
        raise TapError(message)
    try:
        resolved = ManifestReferenceResolver().preprocess_manifest(manifest)
    except UndefinedReferenceException as error:
        message = f"The manifest {place} can't be read: {error}."
        raise TapError(message) from None
    except (CircularReferenceException, RecursionError):
        message = f"The manifest {place} has a `$ref` that refers to itself."
        raise TapError(message) from None
    _check_components(resolved, place)
    # What was referred to is in its place now. The CDK would go through it once more.
    return {name: part for name, part in resolved.items() if name not in ("definitions", "schemas")}


def refuse_code(settings: Mapping[str, Any], place: str) -> None:
    """See that no Python comes along.

    Raises:
        TapError: there is some.
    """
    for holder in (settings, settings.get(INJECTED_MANIFEST)):
        if isinstance(holder, Mapping) and holder.get(INJECTED_CODE):
            message = (
                f"{place} brings Python along, as `{INJECTED_CODE}`, which isn't run. Use a "
                f"manifest without custom components, or put them into a package."
            )
            raise TapError(message)


def _check_version(found: Any, place: str) -> None:
    known = version("airbyte-cdk")
    numbers = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)\S*", str(found))
    if not numbers or int(numbers[1]) > int(known.partition(".")[0]):
        message = (
            f"The manifest {place} is of version {found!r}; this extractor reads versions up to "
            f"{known}. Correct `version`, or install a newer extractor."
        )
        raise TapError(message)


def _check_components(manifest: Mapping[str, Any], place: str) -> None:
    for path, component in _components(manifest):
        code = component.get("class_name")
        if isinstance(code, str):
            _check_code(code, path, place)


@cache
def component_schema() -> dict[str, Any]:
    """Return the CDK's JSON schema of manifests, which takes a while to read."""
    return get_declarative_component_schema()


def _components(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each component of a manifest and where it is."""
    if isinstance(node, Mapping):
        yield path, node
        for name, value in node.items():
            if name not in NO_COMPONENTS:
                yield from _components(value, f"{path}.{name}" if path else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _components(value, f"{path}[{index}]")


def _check_code(class_name: str, path: str, place: str) -> None:
    """See whether a class is of a package that was installed for it.

    Raises:
        TapError: it isn't: nothing that is here anyway may be called by a manifest.
    """
    if class_name in COMPONENTS:
        return
    module = class_name.partition(".")[0]
    own = set(_requirements(PACKAGE))
    packages = {_canonical(name) for name in packages_distributions().get(module, ())}
    if not packages or packages & own:
        message = (
            f"The manifest {place} has at `{path}` custom Python, {class_name}, which isn't run. "
            f"If a package has this class, name the package in the extractor's `pip_url`."
        )
        raise TapError(message)


def _requirements(package: str, seen: set[str] | None = None) -> Iterable[str]:
    """Return a package and all that it brings along."""
    seen = set() if seen is None else seen
    name = _canonical(package)
    if name not in seen:
        seen.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            needed = []
        for requirement in needed:
            if found := re.match(r"[\w.-]+", requirement):
                _requirements(found[0], seen)
    return seen


def _canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _component_types() -> set[str]:
    return {"DeclarativeSource"} | {
        name
        for definition in component_schema()["definitions"].values()
        for name in definition.get("properties", {}).get("type", {}).get("enum", ())
    }


def invalid(error: ValidationError) -> TapError:
    """Return the error for a manifest that isn't as the CDK's schema of manifests has it."""
    while error.context:
        # Of the alternatives, the one that the component's own `type` means.
        branches: dict[Any, list[ValidationError]] = {}
        for inner in error.context:
            branches.setdefault(inner.relative_schema_path[0], []).append(inner)
        meant = [
            inners
            for inners in branches.values()
            if not any(list(inner.relative_path) == ["type"] for inner in inners)
        ]
        if not meant:
            break
        error = best_match(iter(meant[0]))
    path = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path
    ).removeprefix(".")
    kind = error.instance.get("type") if isinstance(error.instance, Mapping) else None
    if isinstance(kind, str) and kind not in _component_types():
        return TapError(
            f"The manifest has at `{path}` a component of type {kind}, which isn't known. Correct "
            f"`type`, or install a newer extractor."
        )
    return TapError(
        f"The manifest is not valid at `{path or 'its root'}`: {shortened(error.message, 300)}."
    )


def specification(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of the settings that a manifest asks for."""
    return dict(manifest["spec"].get("connection_specification") or {})


def completed_config(spec: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the types and defaults of the manifest's `spec`.

    Settings that come from the environment are text, and empty where the variable isn't set.

    Raises:
        TapError: the `spec` rejects them.
    """
    refuse_code(config, "`config`")
    if INJECTED_MANIFEST in config:
        message = f"`config` holds a manifest, as `{INJECTED_MANIFEST}`. Set it as `manifest`."
        raise TapError(message)
    try:
        found = _completed(spec, config)
        error = best_match(validator_for(spec)(spec).iter_errors(found))
    except Exception as error:  # it depends on what isn't a schema
        logger.debug("", exc_info=True)
        message = f"The manifest's `spec` is no JSON schema ({type(error).__name__})."
        raise TapError(message) from None
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
    if error.validator == "additionalProperties":
        known = rule.get("properties") or {}
        names = ", ".join(f"`{place}.{name}`" for name in error.instance if name not in known)
        return f"The manifest's `spec` doesn't know {names}. Remove it."
    if error.validator in ("oneOf", "anyOf"):
        branches = [branch for branch in error.validator_value if isinstance(branch, Mapping)]
        names = ", ".join(str(branch.get("title") or branch.get("const")) for branch in branches)
        return f"`{place}` is not as the manifest's `spec` asks for it: it must be one of {names}."
    if error.validator in ("enum", "const"):
        return (
            f"`{place}` is not as the manifest's `spec` asks for it: it must be "
            f"{error.validator_value}."
        )
    return f"`{place}` is not as the manifest's `spec` asks for it: its `{error.validator}` fails."
