"""Values of filters: what a dashboard's parameters change in the query of a card.

Formats of values and their meaning are those of Metabase's `parameters/dates.clj`,
`query_processor/middleware/parameters` and `lib/params`.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sandbox.metabase import errors, mbql
from sandbox.metabase.compile import QueryError, plus
from sandbox.metabase.mbql import Clause, Query

_ONE_VALUE = {"number/>=": ">=", "number/<=": "<="}
_TEXT = {
    f"string/{operator}": operator
    for operator in ("contains", "does-not-contain", "starts-with", "ends-with")
}
_EQUAL = {
    *("string/=", "number/=", "boolean/=", "category", "id", "text", "number", "boolean"),
    *("location/city", "location/state", "location/zip_code", "location/country"),
}
_UNEQUAL = {"string/!=", "number/!="}
_RELATIVE = re.compile(
    r"(?P<way>past|next)(?P<count>\d+)(?P<unit>day|week|month|quarter|year)s(?P<current>~)?"
)
_NAMED = {"today": (0, "day"), "yesterday": (-1, "day")}
_THIS = re.compile(r"(?P<way>this|last|next)(?P<unit>day|week|month|quarter|year)")
_QUARTER = re.compile(r"Q(?P<quarter>[1-4])-(?P<year>\d{4})")
_DAY = r"\d{4}-\d{2}-\d{2}"


@dataclass(frozen=True)
class Given:
    """A value for a parameter, and what it changes in one card.

    `target` is `[dimension | variable, …]`; without one, `id` is a template tag's.
    """

    id: str
    type: str
    value: Any
    target: list[Any] | None


def is_empty(value: Any) -> bool:
    """Tell whether nothing is chosen."""
    return value is None or value == "" or value == []


def applied(query: Query, given: Sequence[Given]) -> Query:
    """The query with the filters of these values. Values of template tags are left to `native`.

    Raises:
        QueryError: A value that its type doesn't have, or a target that the query doesn't have.
        ApiError: 501 for a type that the fake doesn't know.
    """
    changed: Query = deepcopy(query)
    for parameter in given:
        match parameter.target:
            case ["dimension", ["field" | "expression", *_] as reference, *options]:
                number = ((options[0] if options else None) or {}).get("stage-number", 0)
                _apply(changed["stages"][number], parameter, _clause(reference))
            case ["dimension" | "variable", ["template-tag", *_]] | ["text-tag", _] | None:
                continue
            case target:
                raise errors.not_implemented(f"the target {target} of a parameter")
    return changed


def _clause(reference: list[Any]) -> Clause:
    is_mbql_5 = len(reference) == 3 and isinstance(reference[1], dict)
    clause: Clause = reference if is_mbql_5 else mbql.from_classic_clause(reference)
    return clause


def _apply(stage: Query, parameter: Given, clause: Clause) -> None:
    if parameter.type == "temporal-unit":
        for key in ("breakout", "order-by"):
            stage[key] = [_in_unit(part, clause, parameter.value) for part in stage.get(key) or []]
    elif not is_empty(parameter.value):
        stage.setdefault("filters", []).append(condition(parameter.type, clause, parameter.value))


def _in_unit(part: Any, clause: Clause, unit: str) -> Any:
    """The same clause with the field in another unit of time."""
    match part:
        case ["field" as kind, dict(options), target] if target == clause[2]:
            return [kind, {**options, "temporal-unit": unit}, target]
        case ["asc" | "desc" as direction, options, inner]:
            return [direction, options, _in_unit(inner, clause, unit)]
    return part


def condition(kind: str, clause: Clause, value: Any) -> Clause:
    """The filter for a parameter's value.

    Raises:
        QueryError: The value isn't one of its type.
        ApiError: 501 for a type that the fake doesn't know.
    """
    values = value if isinstance(value, list) else [value]
    if kind.startswith("date"):
        return _dates(_without_unit(clause), str(values[0]))
    if kind.startswith("number"):
        values = [_number(v) for v in values]
    if kind in _EQUAL:
        return ["=", {}, clause, *values]
    if kind in _UNEQUAL:
        return ["!=", {}, clause, *values]
    if kind in _TEXT:
        return [_TEXT[kind], {"case-sensitive": False}, clause, *values]
    if kind in _ONE_VALUE:
        return [_ONE_VALUE[kind], {}, clause, values[0]]
    if kind == "number/between" and len(values) == 2:
        return ["between", {}, clause, *values]
    raise errors.not_implemented(f"a parameter of type {kind} with {len(values)} values")


def _without_unit(clause: Clause) -> Clause:
    kind, options, target = clause
    return [kind, {k: v for k, v in options.items() if k != "temporal-unit"}, target]


def _number(value: Any) -> int | float:
    try:
        return value if isinstance(value, int | float) else float(value)
    except ValueError as error:
        raise QueryError(f"{value!r} is no number") from error


def _dates(clause: Clause, value: str) -> Clause:
    if value in _NAMED:
        amount, unit = _NAMED[value]
        return ["time-interval", {}, clause, amount or "current", unit]
    if found := _THIS.fullmatch(value):
        amount_word = {"this": "current"}.get(found["way"], found["way"])
        return ["time-interval", {}, clause, amount_word, found["unit"]]
    if found := _RELATIVE.fullmatch(value):
        amount = int(found["count"]) * (-1 if found["way"] == "past" else 1)
        options = {"include-current": bool(found["current"])}
        return ["time-interval", options, clause, amount, found["unit"]]
    if re.fullmatch(_DAY, value):
        return ["=", {}, clause, value]
    if found := re.fullmatch(rf"({_DAY})?~({_DAY})?", value):
        first, last = found.groups()
        if first and last:
            return ["between", {}, clause, first, last]
        if first or last:
            return [">=", {}, clause, first] if first else ["<=", {}, clause, last]
    if re.fullmatch(r"\d{4}-\d{2}", value):
        return _whole(clause, date.fromisoformat(f"{value}-01"), "month")
    if found := _QUARTER.fullmatch(value):
        start = date(int(found["year"]), int(found["quarter"]) * 3 - 2, 1)
        return _whole(clause, start, "quarter")
    raise errors.not_implemented(f"the date {value!r} of a parameter")


def _whole(clause: Clause, start: date, unit: str) -> Clause:
    last = plus(start, 1, unit) - timedelta(days=1)
    return ["between", {}, clause, start.isoformat(), last.isoformat()]
