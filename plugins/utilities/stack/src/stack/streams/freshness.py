"""How old the newest row may be: by the source's file, else by what dbt has for its tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import yaml

from stack.project import Source
from stack.terminal import StackError


class Verdict(StrEnum):
    """What a row's age comes to, in dbt's words."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True)
class Freshness:
    """The ages from which on a row is old; None for never."""

    warn_after: timedelta | None
    error_after: timedelta | None

    @classmethod
    def read(cls, written: Any, place: str) -> Self | None:
        """Read dbt's `freshness`; None where there is none.

        Raises:
            StackError: it isn't one.
        """
        if not written:
            return None
        try:
            warn, error = (_duration(written.get(name)) for name in ("warn_after", "error_after"))
        except (AttributeError, KeyError, TypeError) as problem:
            message = (
                f"{place}: `freshness` isn't one. Write it as in "
                f"`freshness: {{warn_after: {{count: 36, period: hour}}}}`."
            )
            raise StackError(message) from problem
        return cls(warn, error)

    def verdict(self, age: timedelta) -> Verdict:
        """Judge an age."""
        if self.error_after is not None and age > self.error_after:
            return Verdict.ERROR
        if self.warn_after is not None and age > self.warn_after:
            return Verdict.WARN
        return Verdict.PASS

    @property
    def limit(self) -> timedelta | None:
        """Return the age from which on anything is said."""
        return min(filter(None, (self.warn_after, self.error_after)), default=None)


def of_source(source: Source) -> Freshness | None:
    """Return what the source's file says, of its newest row whatever its stream.

    Raises:
        StackError: it says something else.
    """
    return Freshness.read(source.annotations.get("freshness"), str(source.file))


def of_tables(root: Path, source: Source) -> dict[str, Freshness]:
    """Return what dbt says of a source's tables, in `src_<source>.yml`.

    Raises:
        StackError: the file can't be read.
    """
    path = root / "transform" / "models" / "staging" / source.name / f"src_{source.name}.yml"
    if not path.is_file():
        return {}
    try:
        written = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        message = f"{path} isn't YAML: {' '.join(str(error).split())}"
        raise StackError(message) from error
    found = {}
    for declared in written.get("sources") or []:
        general = _written(declared)
        for table in declared.get("tables") or []:
            freshness = Freshness.read(_written(table, general), f"{path}, table {table['name']}")
            if freshness:
                found[str(table["name"])] = freshness
    return found


def _written(node: Mapping[str, Any], otherwise: Any = None) -> Any:
    """Return the `freshness` of a source or table: under `config`, or beside it."""
    config = node.get("config") or {}
    return config.get("freshness", node.get("freshness", otherwise))


def _duration(written: Mapping[str, Any] | None) -> timedelta | None:
    if not written:
        return None
    return timedelta(**{f"{written['period']}s": float(written["count"])})
