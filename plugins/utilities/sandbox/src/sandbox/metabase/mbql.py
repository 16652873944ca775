"""Queries as Metabase stores them: MBQL 5, whose clauses are `[operator, options, *arguments]`.

The rules are those of the Metabase Representation Format (npm `@metabase/representations`,
`core-spec/v1/schemas/common/query.yaml`), with ids in place of names. Metabase takes classic
queries too, and stores them converted; so does this.
"""

import uuid
from collections.abc import Iterator
from typing import Any

from sandbox.metabase import errors

type Query = dict[str, Any]
type Clause = list[Any]

QUERY = "mbql/query"
MBQL_STAGE = "mbql.stage/mbql"
NATIVE_STAGE = "mbql.stage/native"
CLAUSES = ("expressions", "fields", "filters", "aggregation", "breakout", "order-by")
_STAGE_KEYS = {
    MBQL_STAGE: {"lib/type", "source-table", "source-card", "joins", "limit", *CLAUSES},
    NATIVE_STAGE: {"lib/type", "native", "template-tags", "collection"},
}
_JOIN_KEYS = {
    *("lib/type", "lib/options", "stages", "conditions", "alias", "strategy", "fields", "ident"),
}
# Metabase's marks of its own on a stage or query.
_BOOKKEEPING = {"lib/options", "lib.convert/converted?", "lib/stage-metadata", "parameters"}
_QUERY_KEYS = {"lib/type", "database", "stages", "info", "constraints", "middleware"}


def normalised(query: object) -> Query:
    """Return the query in MBQL 5, where every clause has a `lib/uuid`.

    Raises:
        ApiError: 400 if it is no query; 501 for parts that the fake doesn't know.
    """
    if not isinstance(query, dict) or not ({"lib/type", "type"} & query.keys()):
        raise _malformed("value must be a query: a map with lib/type, or type")
    if query.get("lib/type") is None:
        query = from_classic(query)
    if query["lib/type"] != QUERY:
        raise _malformed(f"lib/type must be {QUERY}")
    if unknown := sorted(query.keys() - _QUERY_KEYS - _BOOKKEEPING):
        raise errors.not_implemented(f"the keys {', '.join(unknown)} of a query")
    if not _is_id(query.get("database")):
        raise _malformed("database must be an id")
    return {**query, "stages": _stages(query.get("stages"))}


def from_classic(query: Query) -> Query:
    """Convert `{"type": "native" | "query", …}`.

    Raises:
        ApiError: 400 if it is no query; 501 for what the fake can't convert.
    """
    match query:
        case {"type": "native", "native": {"query": str(sql)} as inner}:
            tags = inner.get("template-tags") or {}
            stage = {"lib/type": NATIVE_STAGE, "native": sql, "template-tags": tags}
        case {"type": "query", "query": dict(inner)}:
            stage = _classic_stage(inner)
        case _:
            raise _malformed(
                'a classic query has type "native" or "query", and the key of its type'
            )
    return {
        "lib/type": QUERY,
        "database": query.get("database"),
        "stages": [stage],
        "lib.convert/converted?": True,
    }


def _classic_stage(inner: Query) -> Query:
    stage: Query = {"lib/type": MBQL_STAGE}
    for key, value in inner.items():
        match key, value:
            case "source-table", str() if value.startswith("card__"):
                stage["source-card"] = int(value.removeprefix("card__"))
            case "source-table" | "limit", _:
                stage[key] = value
            case "filter", ["and", *clauses]:
                stage["filters"] = [from_classic_clause(clause) for clause in clauses]
            case "filter", [*_]:
                stage["filters"] = [from_classic_clause(value)]
            case "aggregation" | "breakout" | "fields" | "order-by", [*_]:
                clauses = value if value and isinstance(value[0], list) else [value]
                stage[key] = [from_classic_clause(clause) for clause in clauses]
            case "expressions", dict(named):
                stage[key] = [
                    _with_options(from_classic_clause(clause), {"lib/expression-name": name})
                    for name, clause in named.items()
                ]
            case _:
                raise errors.not_implemented(f"the key {key} of a classic query; send MBQL 5")
    return stage


def from_classic_clause(clause: Any) -> Any:
    """Convert `[operator, *arguments, options?]`; what is no clause stays as it is.

    Raises:
        ApiError: 501 for a reference by position, which MBQL 5 has no more.
    """
    match clause:
        case ["field" | "expression" as kind, target, *options]:
            return [kind, dict((options[0] if options else None) or {}), target]
        case ["aggregation-options", inner, dict(named)]:
            return _with_options(from_classic_clause(inner), named)
        case ["aggregation", int(), *_]:
            raise errors.not_implemented("order by an aggregation's position; send MBQL 5")
        case [str(operator), *arguments, dict(trailing)]:
            return [operator, trailing, *map(from_classic_clause, arguments)]
        case [str(operator), *arguments]:
            return [operator, {}, *map(from_classic_clause, arguments)]
    return clause


def _with_options(clause: Clause, options: dict[str, Any]) -> Clause:
    return [clause[0], {**clause[1], **options}, *clause[2:]]


def _stages(stages: object) -> list[Query]:
    if not (isinstance(stages, list) and stages):
        raise _malformed("stages must be a list with at least one stage")
    return [_stage(stage, first=number == 0) for number, stage in enumerate(stages)]


def _stage(stage: object, *, first: bool) -> Query:
    if not isinstance(stage, dict) or stage.get("lib/type") not in _STAGE_KEYS:
        raise _malformed(f"a stage has lib/type {MBQL_STAGE} or {NATIVE_STAGE}")
    if unknown := sorted(stage.keys() - _STAGE_KEYS[stage["lib/type"]] - _BOOKKEEPING):
        raise errors.not_implemented(f"the keys {', '.join(unknown)} of a query's stage")
    if stage["lib/type"] == NATIVE_STAGE:
        return _native_stage(stage)
    sources = [key for key in ("source-table", "source-card") if stage.get(key) is not None]
    if len(sources) != (1 if first else 0):
        raise _malformed("the first stage, and no other, has either source-table or source-card")
    if not all(_is_id(stage[key]) for key in sources):
        raise _malformed(f"{sources[0]} must be an id")
    complete = dict(stage)
    for key in CLAUSES:
        if stage.get(key) is not None:
            complete[key] = _clauses(stage[key], key)
    if stage.get("joins") is not None:
        complete["joins"] = [_join(join) for join in stage["joins"]]
    return complete


def _native_stage(stage: Query) -> Query:
    if not isinstance(stage.get("native"), str) or not stage["native"].strip():
        raise _malformed("native must be SQL")
    tags = stage.get("template-tags") or []
    if isinstance(tags, dict):  # as before v0.64
        tags = [{"name": name, **tag} for name, tag in tags.items()]
    for tag in tags:
        if not (isinstance(tag, dict) and {"id", "name", "type"} <= tag.keys()):
            raise _malformed("a template tag has an id, a name and a type")
    tags = [
        {**tag, "dimension": _completed(_maybe_classic(tag["dimension"]))}
        if tag.get("dimension")
        else tag
        for tag in tags
    ]
    return {**stage, "template-tags": tags} if tags else _without(stage, "template-tags")


def _maybe_classic(clause: Clause) -> Clause:
    is_mbql_5 = len(clause) > 1 and isinstance(clause[1], dict)
    converted: Clause = clause if is_mbql_5 else from_classic_clause(clause)
    return converted


def _join(join: object) -> Query:
    if not isinstance(join, dict) or not {"stages", "conditions", "alias"} <= join.keys():
        raise _malformed("a join has stages, conditions and an alias")
    if unknown := sorted(join.keys() - _JOIN_KEYS):
        raise errors.not_implemented(f"the keys {', '.join(unknown)} of a join")
    fields = join.get("fields")
    return {
        "lib/type": "mbql/join",
        **join,
        "stages": _stages(join["stages"]),
        "conditions": _clauses(join["conditions"], "conditions"),
        **({"fields": _clauses(fields, "fields")} if isinstance(fields, list) else {}),
    }


def _clauses(clauses: object, key: str) -> list[Clause]:
    if not isinstance(clauses, list):
        raise _malformed(f"{key} must be a list of clauses")
    for clause in clauses:
        if not (isinstance(clause, list) and clause and isinstance(clause[0], str)):
            raise _malformed(f"{key} must be a list of clauses [operator, options, …]")
    return [_completed(clause) for clause in clauses]


def _completed(clause: Any) -> Any:
    """The clause with a `lib/uuid` in its options, and in those of all clauses in it."""
    match clause:
        case [str(operator), dict(options), *arguments]:
            identity = {"lib/uuid": options.get("lib/uuid") or str(uuid.uuid4())}
            return [operator, {**options, **identity}, *map(_completed, arguments)]
        case [str(operator), *_]:
            raise _malformed(f"the second part of the clause {operator} must be a map of options")
        case [*parts]:  # the branches of a `case`
            return [_completed(part) for part in parts]
    return clause


def walk(clause: Any) -> Iterator[Clause]:
    """Yield every clause in this value: also those of stages, joins and template tags."""
    match clause:
        case [str(), {}, *arguments]:
            yield clause
            for argument in arguments:
                yield from walk(argument)
        case list():
            for part in clause:
                yield from walk(part)
        case dict():
            for part in clause.values():
                yield from walk(part)


def first_stage(query: Query) -> Query:
    """The stage that names where the rows come from."""
    stage: Query = query["stages"][0]
    return stage


def is_native(query: Query) -> bool:
    """Tell whether the query is SQL."""
    return bool(first_stage(query)["lib/type"] == NATIVE_STAGE)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _without(stage: Query, key: str) -> Query:
    return {k: v for k, v in stage.items() if k != key}


def _malformed(message: str) -> errors.ApiError:
    return errors.invalid({"dataset_query": message}, {"dataset_query": [message]})
