"""SQL questions: their template tags, filled in.

A value never becomes SQL by pasting: it is written as a literal by sqlglot, or compiled as a
filter is. Optional parts `[[…]]` stay only if all their tags have a value. Source: Metabase's
documentation of SQL parameters, and `driver/common/parameters`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from sandbox.metabase import errors
from sandbox.metabase.compile import Column, Compiler, QueryError
from sandbox.metabase.mbql import Query
from sandbox.metabase.parameters import Given, condition, is_empty

_TAG = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_OPTIONAL = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_NOTHING = "1 = 1"


def filled_in(query: Query, given: Sequence[Given], compiler: Compiler) -> str:
    """The SQL with a value for each tag.

    Raises:
        QueryError: A required value is missing, or a value isn't one of its type.
        ApiError: 501 for a kind of tag that the fake doesn't know.
    """
    (stage, *others) = query["stages"]
    if others:
        raise errors.not_implemented("a stage after SQL")
    tags = {tag["name"]: tag for tag in stage.get("template-tags") or []}
    values = {name: _value(tag, given) for name, tag in tags.items()}

    def has_all(part: str) -> bool:
        return all(not is_empty(values.get(name)) for name in _TAG.findall(part))

    def replaced(found: re.Match[str]) -> str:
        return _sql(_tag(tags, found[1]), values[found[1]], given, compiler)

    sql = _OPTIONAL.sub(lambda found: found[1] if has_all(found[1]) else "", stage["native"])
    return _TAG.sub(replaced, sql)


def _tag(tags: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in tags:
        raise QueryError(f"the SQL has {{{{{name}}}}}, which is no template tag")
    return tags[name]


def _value(tag: dict[str, Any], given: Sequence[Given]) -> Any:
    for parameter in given:
        match parameter.target:
            case [_, ["template-tag", name]] if name == tag["name"]:
                return parameter.value
            case None if parameter.id == tag["id"]:
                return parameter.value
    return tag.get("default")


def _sql(tag: dict[str, Any], value: Any, given: Sequence[Given], compiler: Compiler) -> str:
    if tag["type"] == "dimension":
        return _field_filter(tag, value, given, compiler)
    if is_empty(value):
        name = tag.get("display-name") or tag["name"]
        raise QueryError(f"a value is required for {name}")
    single = value[0] if isinstance(value, list) else value
    match tag["type"]:
        case "text":
            return _written(exp.Literal.string(str(single)))
        case "number":
            return _written(exp.Literal.number(_number(single)))
        case "date":
            return _written(exp.cast(exp.Literal.string(str(single)), "DATE", dialect="bigquery"))
        case "boolean":
            return "TRUE" if single in (True, "true") else "FALSE"
    raise errors.not_implemented(f"template tags of type {tag['type']}")


def _number(value: Any) -> int | float:
    try:
        return int(value) if float(value).is_integer() else float(value)
    except (TypeError, ValueError) as error:
        raise QueryError(f"{value!r} is no number") from error


def _field_filter(
    tag: dict[str, Any], value: Any, given: Sequence[Given], compiler: Compiler
) -> str:
    if is_empty(value):
        return _NOTHING
    kinds = [p.type for p in given if p.target == ["dimension", ["template-tag", tag["name"]]]]
    kind = tag.get("widget-type") or (kinds[0] if kinds else "category")
    clause = tag["dimension"]
    row = compiler.state.fields.get(clause[2])
    if row is None:
        raise QueryError(f"Field {clause[2]} does not exist.")
    table = tag.get("alias") or compiler.state.tables[row.table_id].name
    return _written(compiler.condition_on(row, table, condition(kind, clause, value)))


def _written(sql: exp.Expr) -> str:
    return sql.sql(dialect="bigquery")


def columns(schema: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    """The columns of a result whose names and base types the warehouse says."""
    return tuple(Column(name, name, base_type, source="native") for name, base_type in schema)
