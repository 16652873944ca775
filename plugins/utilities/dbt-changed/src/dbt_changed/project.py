"""The dbt project as files: where it builds, and a fingerprint of its code. dbt isn't imported."""

import hashlib
import importlib.metadata
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from dbt_changed.errors import BuildError

WRITTEN = {"DBT_TARGET_PATH": "target", "DBT_LOG_PATH": "logs"}
"""Folders of the project that dbt writes to, and the variables that name others."""
SETTINGS = "*.meltano.yml"
"""Meltano's own files beside the project; what they set is in the profile."""
DOCS_BLOCK = b"{% docs"
PACKAGES = ("dbt-core", "dbt-bigquery", "dbt-changed")
CUSTOM, METADATA = "DBT_ENV_", "DBT_ENV_CUSTOM_ENV_"
"""How dbt's own variables for code begin, and those that dbt only writes into its artifacts.

https://docs.getdbt.com/reference/dbt-jinja-functions/env_var
"""


@dataclass(frozen=True)
class Target:
    """Where dbt builds, from profiles.yml.

    Attributes:
        name: the target's.
        settings: its output, filled in.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def project(self) -> str:
        """Return the Google Cloud project."""
        return str(self.settings["project"])

    @property
    def dataset(self) -> str:
        """Return the dataset that models go into."""
        return str(self.settings["dataset"])

    @property
    def ops(self) -> str:
        """Return the dataset for what the stack notes down: of `dbt_lawrence`, `lawrence_ops`."""
        prefix, _, developer = self.dataset.partition("dbt_")
        return (
            f"{self.project}.{developer}_ops" if developer and not prefix else f"{self.project}.ops"
        )

    @property
    def record(self) -> str:
        """Return the table that says what was built into the dataset, and from what."""
        return f"{self.ops}.built_{self.dataset}"

    @property
    def lock(self) -> str:
        """Return the lock of all builds into the dataset."""
        return f"{self.ops}.lock_{self.dataset}"


def read_target(project: Path, profiles: Path, name: str | None) -> Target:
    """Read the target of a profile.

    Args:
        project: the folder of dbt_project.yml.
        profiles: the folder of profiles.yml.
        name: of a target other than the profile's own.

    Raises:
        BuildError: a file or a variable is missing, or there is no such target.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - YAML
    environment.globals["env_var"] = _env_var
    # dbt's filters of types; YAML sees to them here.
    environment.filters |= dict.fromkeys(("as_number", "as_bool", "as_native", "as_text"), _same)

    def filled(value: Any) -> Any:
        if isinstance(value, str) and "{" in value:
            return environment.from_string(value).render().strip()
        return value

    path = profiles / "profiles.yml"
    try:
        profile = yaml.safe_load((project / "dbt_project.yml").read_text())["profile"]
        found = yaml.safe_load(path.read_text())[profile]
        target = name or filled(found["target"])
        output = found["outputs"][target]
        settings = {key: filled(value) for key, value in output.items()}
        return Target(target, settings | {key: settings[key] for key in ("project", "dataset")})
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    except yaml.YAMLError as error:
        message = f"{path}: {error}"
    except jinja2.TemplateError as error:
        message = f"{path}: {error}"
    except (KeyError, TypeError) as error:
        message = f"{path} has no {error}, of the profile that dbt_project.yml names"
    raise BuildError(message)


def _env_var(name: str, default: str | None = None) -> str:
    value = os.environ.get(name, default)
    if value is None:
        message = f"{name} isn't set: put it into .env, or see `meltano invoke stack check`"
        raise BuildError(message)
    return value


def _same(value: Any) -> Any:
    return value


def fingerprint(project: Path, target: Target, given: Sequence[str]) -> str:
    """Return a text that is another one if code may build something else.

    Args:
        project: the folder of dbt_project.yml.
        target: models may depend on its name.
        given: `--vars`, as dbt is given them.
    """
    digest = hashlib.sha256()
    for path in code_files(project):
        content = path.read_bytes()
        if path.suffix == ".md" and DOCS_BLOCK not in content:
            continue
        digest.update(f"{path.relative_to(project)}\0{len(content)}\0".encode())
        digest.update(content)
    versions = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    custom = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(CUSTOM) and not name.startswith(METADATA)
    ]
    digest.update(repr([target.name, [*given], versions, custom]).encode())
    return digest.hexdigest()


def code_files(project: Path) -> Iterator[Path]:
    """Yield the project's files, in the same order everywhere, without dbt's own output."""
    written = {project / name for name in WRITTEN.values()}
    written |= {project / os.environ[name] for name in WRITTEN if os.environ.get(name)}
    for folder, folders, files in project.walk():
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and folder / name not in written
        )
        for name in sorted(files):
            path = folder / name
            if not name.startswith(".") and not path.match(SETTINGS):
                yield path
