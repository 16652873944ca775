"""Records as their schema has them: each value fits its declared type, or is kept as JSON.

A loader takes a value that doesn't fit its column for an error. So what can be had in its type
without loss is converted, and what can't goes into a property of its own, `<name>__json`, which
no schema has: target-bigquery-arrow makes a JSON column of it.
"""

import datetime
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from types import GenericAlias
from typing import Annotated, Any

import msgspec

from tap_airbyte_manifest.catalog import UNIX_TIME

# Where a value goes that is not of its declared type.
ASIDE = "__json"
INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
CLOCK_TIME = Annotated[datetime.time, msgspec.Meta(tz=False)]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
FORMATS = {"date-time": datetime.datetime, "date": datetime.date, "time": CLOCK_TIME}
SCALARS: Mapping[str, Any] = {"integer": INT64, "number": float, "boolean": bool, "string": str}


def declared_type(schema: Any) -> Any:
    """Return the Python type that a property's values must have; Any where every value will do."""
    if not isinstance(schema, Mapping):
        return Any
    types = schema.get("type")
    names = {types} if isinstance(types, str) else set(types or ()) - {"null"}
    if names == {"integer", "number"}:
        names = {"number"}
    if len(names) != 1:
        return Any
    (name,) = names
    if name == "array":
        item = declared_type(schema.get("items"))
        return Any if item is Any or isinstance(item, GenericAlias) else GenericAlias(list, (item,))
    if name == "string":
        return FORMATS.get(str(schema.get("format")), str)
    return SCALARS.get(name, Any)


class Fitting:
    """Makes the records of one stream fit their schema.

    One typed conversion of a record by msgspec is fast and finds nothing almost always. Only when
    it finds something are the values looked at one by one.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        left_out: Iterable[Sequence[str]] = (),
        wants: Callable[[str], bool] | None = None,
    ) -> None:
        """Prepare for a stream.

        Args:
            schema: JSON schema of its records.
            left_out: paths of properties that aren't wanted.
            wants: whether a property is wanted that the schema doesn't have; None if any is.
        """
        self._declared = schema.get("properties", {}).keys()
        self._wants = wants
        self._types = {
            name: kind
            for name, rule in schema.get("properties", {}).items()
            if (kind := declared_type(rule)) is not Any
        }
        self._unix_times = {
            name for name in self._types if schema["properties"][name].get(UNIX_TIME)
        }
        self._left_out = [tuple(path) for path in left_out]
        names = {f"field_{index}": name for index, name in enumerate(self._types)}
        self._model = msgspec.defstruct(
            "Record",
            [(field, self._types[name] | None, None) for field, name in names.items()],
            rename=names,
            gc=False,
        )

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record, or another one if some of it doesn't fit."""
        for path in self._left_out:
            _remove(record, path)
        if self._wants:
            for name in record.keys() - self._declared:
                if not self._wants(name):
                    del record[name]
        try:
            msgspec.convert(record, self._model)
        except msgspec.ValidationError:
            return self._fitted(record)
        return record

    def _fitted(self, record: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(record)
        for name, kind in self._types.items():
            value = record.get(name)
            if value is None:
                continue
            try:
                msgspec.convert(value, kind)
            except msgspec.ValidationError:
                converted = (
                    _from_unix(value)
                    if name in self._unix_times and not isinstance(value, str)
                    else _converted(value, kind)
                )
                if converted is None:
                    found[f"{name}{ASIDE}"] = value
                found[name] = converted
        return found


def _remove(record: Any, path: Sequence[str]) -> None:
    name, *deeper = path
    if isinstance(record, list):
        for item in record:
            _remove(item, path)
    elif isinstance(record, dict) and name in record:
        if deeper:
            _remove(record[name], deeper)
        else:
            del record[name]


def _converted(value: Any, kind: Any) -> Any:
    """Return a value in another type, without loss; None if it can't be had."""
    if kind is str:
        return _text(value)
    if kind is INT64 or kind is float:
        return _number(value, kind)
    if kind is bool:
        return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None
    if isinstance(value, str) and kind in FORMATS.values():
        return _moment(value, kind)
    return None


def _text(value: Any) -> str | None:
    return json.dumps(value) if isinstance(value, bool | int | float | Decimal) else None


def _number(value: Any, kind: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        exact = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not exact.is_finite():
        return None
    if kind is float:
        return float(exact) if Decimal(repr(float(exact))) == exact else None
    whole = exact == exact.to_integral_value() and abs(exact) < 2**63
    return int(exact) if whole else None


def _from_unix(value: Any) -> str | None:
    """Return a Unix time in seconds as text; None if it isn't a number, or after the year 9999."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        return (EPOCH + datetime.timedelta(seconds=float(value))).isoformat()
    except (OverflowError, ValueError):
        return None


def _moment(value: str, kind: Any) -> str | None:
    try:
        parsed = datetime.datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    if kind is datetime.datetime:
        return parsed.isoformat()
    if kind is datetime.date and parsed.time() == datetime.time():
        return parsed.date().isoformat()
    return None
