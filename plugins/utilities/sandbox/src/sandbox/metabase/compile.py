"""Compiles MBQL 5 to GoogleSQL: each stage is a SELECT from the one before.

Names, types and results are those of Metabase's `metabase.lib` and
`driver/sql/query_processor.clj`, with the date functions of its `bigquery-cloud-sdk` driver. What
isn't here is refused by name.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlglot import exp

from sandbox.metabase import errors
from sandbox.metabase.mbql import NATIVE_STAGE, Clause, Query
from sandbox.metabase.semantics import FOREIGN_KEY, humanise
from sandbox.metabase.store import Card, Field, State, Table

MAX_BARE_ROWS = 2_000
"""How many rows Metabase shows of a query that doesn't aggregate."""

DATE, DATETIME, TIMESTAMP = "type/Date", "type/DateTime", "type/DateTimeWithLocalTZ"
INTEGER, FLOAT, TEXT, BOOLEAN = "type/Integer", "type/Float", "type/Text", "type/Boolean"
SQL_TYPES = {DATE: "DATE", DATETIME: "DATETIME", TIMESTAMP: "TIMESTAMP"}
TRUNCATED = {
    unit: unit.upper()
    for unit in ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
}
EXTRACTED = {
    "minute-of-hour": "MINUTE",
    "hour-of-day": "HOUR",
    "day-of-week": "DAYOFWEEK",
    "day-of-month": "DAY",
    "day-of-year": "DAYOFYEAR",
    "month-of-year": "MONTH",
    "quarter-of-year": "QUARTER",
    "year-of-era": "YEAR",
}
_COMPARED = {
    "=": exp.EQ,
    "!=": exp.NEQ,
    "<": exp.LT,
    "<=": exp.LTE,
    ">": exp.GT,
    ">=": exp.GTE,
}
_NEGATED = {"!=": "=", "not-in": "in", "does-not-contain": "contains"}
_TEXT_TESTS = {"contains": "STRPOS", "starts-with": "STARTS_WITH", "ends-with": "ENDS_WITH"}
_FUNCTIONS = {
    "abs": ("ABS", None),
    "ceil": ("CEIL", FLOAT),
    "floor": ("FLOOR", FLOAT),
    "round": ("ROUND", FLOAT),
    "sqrt": ("SQRT", FLOAT),
    "exp": ("EXP", FLOAT),
    "log": ("LN", FLOAT),
    "power": ("POWER", FLOAT),
    "length": ("LENGTH", INTEGER),
    "trim": ("TRIM", TEXT),
    "ltrim": ("LTRIM", TEXT),
    "rtrim": ("RTRIM", TEXT),
    "upper": ("UPPER", TEXT),
    "lower": ("LOWER", TEXT),
    "concat": ("CONCAT", TEXT),
    "substring": ("SUBSTR", TEXT),
    "replace": ("REPLACE", TEXT),
    "coalesce": ("COALESCE", None),
}
_CASTS = {"text": ("STRING", TEXT), "integer": ("INT64", INTEGER), "float": ("FLOAT64", FLOAT)}
_PARTS = {
    "get-year": "YEAR",
    "get-quarter": "QUARTER",
    "get-month": "MONTH",
    "get-day": "DAY",
    "get-hour": "HOUR",
    "get-minute": "MINUTE",
    "get-second": "SECOND",
}
_STRATEGIES = {
    "left-join": "LEFT",
    "inner-join": "INNER",
    "right-join": "RIGHT",
    "full-join": "FULL",
}
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class QueryError(Exception):
    """The query names something that its source doesn't have."""


@dataclass(frozen=True)
class Column:
    """A column of a result. `field_id` is that of the warehouse's column that it came from."""

    name: str
    display_name: str
    base_type: str
    semantic_type: str | None = None
    field_id: int | None = None
    fk_target_field_id: int | None = None
    unit: str | None = None
    source: str = "fields"
    settings: dict[str, Any] | None = None
    description: str | None = None
    clause: Clause | None = None


@dataclass(frozen=True)
class Compiled:
    """A SELECT and its columns."""

    select: exp.Select
    columns: tuple[Column, ...]

    @property
    def sql(self) -> str:
        """The statement, as BigQuery takes it."""
        return self.select.sql(dialect="bigquery", pretty=True)


@dataclass(frozen=True)
class Typed:
    """A piece of SQL, and what is known of its values."""

    sql: exp.Expr
    column: Column

    @property
    def type(self) -> str:
        """The base type."""
        return self.column.base_type


@dataclass(frozen=True)
class _Source:
    """What a stage selects from: a table, or another SELECT, under an alias."""

    alias: str
    columns: tuple[tuple[tuple[str, ...], Column], ...]
    table: Table | None = None

    def typed(self, path: tuple[str, ...], column: Column) -> Typed:
        first, *inner = path
        sql: exp.Expr = exp.column(first, table=self.alias, quoted=True)
        for name in inner:
            sql = exp.Dot(this=sql, expression=exp.to_identifier(name, quoted=True))
        return Typed(sql, column)

    def find(self, target: int | str) -> Typed | None:
        for path, column in self.columns:
            if target in (column.field_id, column.name):
                return self.typed(path, column)
        return None


@dataclass
class Compiler:
    """Compiles the queries of one state of Metabase.

    Args:
        state: The tables, fields and cards.
        native: Returns the SQL and columns of a card that is SQL.
        today: For relative dates.
    """

    state: State
    native: Callable[[Query], Compiled]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def compile(self, query: Query) -> Compiled:
        """Compile the query with all its stages.

        Raises:
            QueryError: It names what isn't there.
            ApiError: 501 for an operator that the fake doesn't know.
        """
        return self.stages(query["stages"])

    def stages(self, stages: Sequence[Query]) -> Compiled:
        """Compile stages, each of which selects from the one before."""
        compiled: Compiled | None = None
        for stage in stages:
            if stage["lib/type"] == NATIVE_STAGE:
                compiled = self.native({"stages": [stage]})
            else:
                source, origin = self.source("source", stage, compiled)
                compiled = _Stage(self, stage, source, origin).compile()
        if compiled is None:
            raise QueryError("the query has no stage")
        return compiled

    def condition_on(self, row: Field, alias: str, clause: Clause) -> exp.Expr:
        """Compile a filter on a field of a table that SQL has under an alias."""
        path = (*(row.nfc_path or ()), row.name)
        source = _Source(alias, ((path, column_of(row)),))
        return _Stage(self, {}, source, exp.to_identifier(alias)).condition(clause)

    def source(
        self, alias: str, stage: Query, previous: Compiled | None = None
    ) -> tuple[_Source, exp.Expr]:
        """Return where a stage's rows come from, and the SQL of it after FROM or JOIN.

        Raises:
            QueryError: There is no such table or card.
        """
        if stage.get("source-table") is not None:
            table = self.state.tables.get(stage["source-table"])
            if table is None or not table.active:
                raise QueryError(f"Table {stage['source-table']} does not exist.")
            return _table_source(self.state, table, alias), _table(table, alias)
        if stage.get("source-card") is not None:
            previous = self.card(stage["source-card"])
        if previous is None:
            raise QueryError("the first stage has no source")
        return _select_source(previous, alias), _subquery(previous, alias)

    def card(self, card_id: int) -> Compiled:
        """Compile a card's query."""
        card = self.state.cards.get(card_id)
        if card is None:
            raise QueryError(f"Card {card_id} does not exist.")
        if card.dataset_query["stages"][0]["lib/type"] == NATIVE_STAGE:
            compiled = self.native(card.dataset_query)
        else:
            compiled = self.compile(card.dataset_query)
        return replace(compiled, columns=_with_metadata(card, compiled.columns))


class _Stage:
    def __init__(self, compiler: Compiler, stage: Query, main: _Source, origin: exp.Expr) -> None:
        self.compiler = compiler
        self.state = compiler.state
        self.stage = stage
        self.joins: list[tuple[exp.Expr, exp.Expr | None, str]] = []
        self.joined: dict[str, _Source] = {}
        self.implicit: dict[tuple[object, ...], _Source] = {}
        self.expressions: dict[str, Clause] = {
            clause[1].get("lib/expression-name", ""): clause
            for clause in stage.get("expressions") or []
        }
        self.aggregations: dict[str, exp.Expr] = {}
        self.main = main
        self.origin = origin

    # --- The whole

    def compile(self) -> Compiled:
        joined_columns = [
            column for join in self.stage.get("joins") or [] for column in self._join(join)
        ]
        filters = [self.condition(clause) for clause in self.stage.get("filters") or []]
        breakouts = [self.typed(clause) for clause in self.stage.get("breakout") or []]
        aggregations = [
            self._aggregated(clause, breakouts) for clause in self.stage.get("aggregation") or []
        ]
        if breakouts or aggregations:
            outputs = [
                Typed(b.sql, replace(b.column, source="breakout")) for b in breakouts
            ] + aggregations
        else:
            outputs = self._fields() + joined_columns
        outputs = _uniquely_named(outputs)
        # By position: in GROUP BY, a name may be that of a column as well as an output's.
        positions = [exp.Literal.number(number + 1) for number in range(len(outputs))]
        for clause, position in zip(
            self.stage.get("aggregation") or [], positions[len(breakouts) :], strict=False
        ):
            self.aggregations[clause[1].get("lib/uuid", "")] = position
        select = exp.select(
            *(exp.alias_(o.sql, o.column.name, quoted=True) for o in outputs), dialect="bigquery"
        ).from_(self.origin)
        orders = self._orders({b.sql: p for b, p in zip(breakouts, positions, strict=False)})
        for table, on, kind in self.joins:
            select = select.join(table, on=on, join_type=kind, dialect="bigquery")
        if filters:
            select = select.where(*filters)
        if breakouts:
            select = select.group_by(*positions[: len(breakouts)])
        if orders:
            select = select.order_by(*orders)
        if self.stage.get("limit"):
            select = select.limit(self.stage["limit"])
        return Compiled(select, tuple(output.column for output in outputs))

    def _orders(self, breakouts: dict[exp.Expr, exp.Expr]) -> list[exp.Expr]:
        """What is asked for, then the breakouts, as Metabase adds them."""
        asked = {
            self.sql(clause): direction == "desc"
            for direction, _, clause in self.stage.get("order-by") or []
        }
        orders = asked | {sql: False for sql in breakouts if sql not in asked}
        return [_ordered(breakouts.get(sql, sql), desc) for sql, desc in orders.items()]

    def _fields(self) -> list[Typed]:
        if self.stage.get("fields"):
            return [self.typed(clause) for clause in self.stage["fields"]]
        computed = [self.typed(["expression", {}, name]) for name in self.expressions]
        return [self.main.typed(path, column) for path, column in self.main.columns] + computed

    # --- Where rows come from

    def _join(self, join: Query) -> list[Typed]:
        """Add a join, and return the columns that it adds to the result."""
        alias = join["alias"]
        stages = join["stages"]
        simple = len(stages) == 1 and stages[0].keys() <= {
            "lib/type",
            "source-table",
            "lib/options",
        }
        if simple:
            source, origin = self.compiler.source(alias, stages[0])
        else:
            compiled = self.compiler.stages(stages)
            source, origin = _select_source(compiled, alias), _subquery(compiled, alias)
        self.joined[alias] = source
        conditions = [self.condition(clause) for clause in join["conditions"]]
        kind = _known(_STRATEGIES, join.get("strategy") or "left-join", "join strategy")
        self.joins.append((origin, exp.and_(*conditions), kind))
        match join.get("fields"):
            case "all":
                found = [source.typed(path, column) for path, column in source.columns]
            case list(clauses):
                return [self.typed(clause) for clause in clauses]
            case _:
                found = []
        return [
            Typed(f.sql, replace(f.column, display_name=f"{alias} → {f.column.display_name}"))
            for f in found
        ]

    def _field(self, options: dict[str, Any], target: int | str) -> Typed:
        if (alias := options.get("join-alias")) is not None:
            if alias not in self.joined:
                raise QueryError(f"the query has no join {alias}")
            if found := self.joined[alias].find(target):
                name = f"{alias} → {found.column.display_name}"
                return Typed(found.sql, replace(found.column, display_name=name))
            raise QueryError(f"join {alias} has no column {self._named(target)}")
        if options.get("source-field") is not None and isinstance(target, int):
            return self._through_foreign_key(options, target)
        if found := self.main.find(target):
            return found
        where = f"{self.main.table.name} has" if self.main.table else "the source has"
        raise QueryError(f"{where} no column {self._named(target)}")

    def _through_foreign_key(self, options: dict[str, Any], target: int) -> Typed:
        key = options.get("source-field-name") or options["source-field"]
        through = options.get("source-field-join-alias")
        foreign = self._field({"join-alias": through} if through else {}, key)
        wanted = self.state.fields.get(target)
        key_field = self.state.fields.get(options["source-field"])
        if wanted is None or key_field is None:
            raise QueryError(f"Field {target} does not exist.")
        referred = self.state.fields.get(key_field.fk_target_field_id or 0)
        if (
            key_field.semantic_type != FOREIGN_KEY
            or referred is None
            or referred.table_id != wanted.table_id
        ):
            raise QueryError(
                f"{self._named(key_field.id)} is no foreign key to the table of "
                f"{self._named(target)}: sync the names and keys to Metabase first"
            )
        identity = (key, through, wanted.table_id)
        if identity not in self.implicit:
            table = self.state.tables[wanted.table_id]
            alias = f"{table.name}__via__{foreign.column.name}" + (
                f"__{through}" if through else ""
            )
            source = _table_source(self.state, table, alias)
            self.implicit[identity] = source
            referred_to = source.find(referred.id)
            if referred_to is None:
                raise QueryError(f"{table.name} has no column {referred.name}")
            on = exp.EQ(this=foreign.sql.copy(), expression=referred_to.sql)
            self.joins.append((_table(table, alias), on, "LEFT"))
        found = self.implicit[identity].find(target)
        if found is None:
            raise QueryError(f"there is no column {self._named(target)}")
        prefix = re.sub(r" ID$", "", foreign.column.display_name, flags=re.IGNORECASE)
        name = f"{prefix} → {found.column.display_name}"
        return Typed(found.sql, replace(found.column, display_name=name))

    def _named(self, target: int | str) -> str:
        if isinstance(target, str) or target not in self.state.fields:
            return str(target)
        row = self.state.fields[target]
        return f"{self.state.tables[row.table_id].name}.{row.name}"

    # --- Values

    def sql(self, value: Any, like: Typed | None = None) -> exp.Expr:
        """The SQL of a clause, or of a literal that is compared with something of this type."""
        return self.typed(value, like).sql

    def typed(self, value: Any, like: Typed | None = None) -> Typed:
        """The SQL of a clause or literal, with its column."""
        match value:
            case ["field", dict(options), int() | str() as target]:
                return self._bucketed(self._field(options, target), options, value)
            case ["expression", dict(options), str(name)]:
                if name not in self.expressions:
                    raise QueryError(f"the query has no expression {name}")
                found = self.typed(self.expressions[name])
                column = replace(
                    found.column, name=name, display_name=name, field_id=None, clause=value
                )
                return self._bucketed(Typed(found.sql, column), options, value)
            case ["aggregation", dict(), str(identity)]:
                if identity not in self.aggregations:
                    raise QueryError(f"the query has no aggregation {identity}")
                return Typed(self.aggregations[identity], _plain("aggregation", FLOAT))
            case ["value", dict(), inner]:
                return self.typed(inner, like)
            case [str(operator), dict(options), *arguments]:
                return self._computed(operator, options, arguments)
            case list():
                raise QueryError(f"{value!r} is no clause")
        return Typed(_literal(value, like.type if like else None), _plain("value", _type_of(value)))

    def _bucketed(self, found: Typed, options: dict[str, Any], clause: Clause) -> Typed:
        unit = str(options.get("temporal-unit") or "default")
        column = replace(found.column, clause=clause)
        if (binning := options.get("binning")) is not None:
            if binning.get("strategy") != "bin-width":
                raise errors.not_implemented(f"binning by {binning.get('strategy')}")
            width = exp.Literal.number(binning["bin-width"])
            bins = _function("FLOOR", exp.Div(this=exp.paren(found.sql), expression=width))
            name = f"{column.display_name}: {binning['bin-width']:g} wide bins"
            return Typed(exp.Mul(this=bins, expression=width), replace(column, display_name=name))
        if unit == "default":
            return Typed(found.sql, column)
        if found.type not in SQL_TYPES:
            raise QueryError(f"{column.name} is no date: it has no {unit}")
        name = f"{column.display_name}: {unit.replace('-', ' ').capitalize()}"
        column = replace(column, display_name=name, unit=unit)
        return Typed(_truncated(found, unit), replace(column, base_type=_type_of_unit(found, unit)))

    def _computed(self, operator: str, options: dict[str, Any], arguments: list[Any]) -> Typed:
        name = options.get("lib/expression-name") or operator
        made = self._function(operator, options, arguments)
        return Typed(made.sql, replace(made.column, name=name, display_name=humanise(name)))

    def _function(self, operator: str, options: dict[str, Any], arguments: list[Any]) -> Typed:
        match operator, arguments:
            case "+" | "-" | "*" | "/", [_, *_]:
                return self._arithmetic(operator, arguments)
            case "case" | "if", [list(branches), *rest]:
                return self._case(branches, rest)
            case "now", []:
                return Typed(
                    _literal(self.compiler.now.isoformat(), TIMESTAMP), _plain("now", TIMESTAMP)
                )
            case "today", []:
                today = self.compiler.now.date().isoformat()
                return Typed(_literal(today, DATE), _plain("today", DATE))
            case "date", [inner]:
                return Typed(
                    exp.cast(self.sql(inner), "DATE", dialect="bigquery"), _plain("date", DATE)
                )
            case "datetime-diff", [start, end, str(unit)]:
                return self._difference(start, end, unit)
            case "datetime-add" | "datetime-subtract", [inner, int(amount), str(unit)]:
                sign = 1 if operator == "datetime-add" else -1
                return self._shifted(self.typed(inner), sign * amount, unit)
        if operator in _PARTS:
            part = exp.var(_PARTS[operator])
            extracted = exp.Extract(this=part, expression=self.sql(arguments[0]))
            return Typed(extracted, _plain(operator, INTEGER))
        if operator in _CASTS:
            sql_type, base_type = _CASTS[operator]
            converted = exp.cast(self.sql(arguments[0]), sql_type, dialect="bigquery")
            return Typed(converted, _plain(operator, base_type))
        if operator in _FUNCTIONS:
            name, result = _FUNCTIONS[operator]
            first = self.typed(arguments[0])
            others = [self.sql(argument, like=first) for argument in arguments[1:]]
            column = (
                replace(first.column, field_id=None) if result is None else _plain(operator, result)
            )
            return Typed(_function(name, first.sql, *others), column)
        if operator in _CONDITIONS:
            return Typed(self.condition([operator, options, *arguments]), _plain(operator, BOOLEAN))
        # Last, since an aggregation may be part of an expression: [/ {} [sum …] [count …]].
        return self._aggregation(operator, arguments)

    def _arithmetic(self, operator: str, arguments: list[Any]) -> Typed:
        terms = [self.typed(argument) for argument in arguments]
        kinds = {"+": exp.Add, "-": exp.Sub, "*": exp.Mul, "/": exp.Div}
        integers = all(term.type in (INTEGER, "type/BigInteger") for term in terms)
        result = FLOAT if operator == "/" or not integers else INTEGER
        if any(term.type in SQL_TYPES for term in terms):
            raise errors.not_implemented(f"{operator} of dates; use datetime-add or datetime-diff")
        if len(terms) == 1:
            return Typed(exp.Neg(this=exp.paren(terms[0].sql)), _plain("-", result))
        sql: exp.Expr = exp.paren(terms[0].sql)
        if operator == "/":
            sql = exp.cast(sql, "FLOAT64", dialect="bigquery")
        for term in terms[1:]:
            other: exp.Expr = exp.paren(term.sql)
            if operator == "/":  # Metabase shows nothing in place of an error
                other = exp.Nullif(this=other, expression=exp.Literal.number(0))
            sql = kinds[operator](this=sql, expression=other)
        return Typed(exp.paren(sql), _plain(operator, result))

    def _case(self, branches: list[Any], rest: list[Any]) -> Typed:
        case = exp.Case()
        first: Typed | None = None
        for condition, value in branches:
            made = self.typed(value)
            first = first or made
            case = case.when(self.condition(condition), made.sql)
        if rest:
            case = case.else_(self.sql(rest[0]))
        column = replace(first.column, field_id=None) if first else _plain("case", TEXT)
        return Typed(case, column)

    def _difference(self, start: Any, end: Any, unit: str) -> Typed:
        """Whole units between two times, as Metabase counts them: a day has 24 hours."""
        first, last = self.typed(start), self.typed(end)
        as_datetimes = [
            exp.cast(side.sql, "DATETIME", dialect="bigquery") for side in (last, first)
        ]
        if unit not in ("second", "minute", "hour", "day", "week"):
            raise errors.not_implemented(f"datetime-diff in {unit}s")
        seconds = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}[unit]
        between = _function("DATETIME_DIFF", *as_datetimes, exp.var("SECOND"))
        sql = _function("DIV", between, exp.Literal.number(seconds))
        return Typed(sql, _plain("datetime-diff", INTEGER))

    def _shifted(self, inner: Typed, amount: int, unit: str) -> Typed:
        _known(TRUNCATED, unit, "unit")
        interval = exp.Interval(this=exp.Literal.number(amount), unit=exp.var(unit.upper()))
        if inner.type == DATE:
            return Typed(_function("DATE_ADD", inner.sql, interval), replace(inner.column))
        as_datetime = exp.cast(inner.sql, "DATETIME", dialect="bigquery")
        shifted = _function("DATETIME_ADD", as_datetime, interval)
        return Typed(exp.cast(shifted, SQL_TYPES[inner.type], dialect="bigquery"), inner.column)

    # --- Conditions

    def condition(self, clause: Any) -> exp.Expr:
        """The SQL of a clause that is true or false."""
        match clause:
            case ["and" | "or" as operator, dict(), *inner]:
                parts = [exp.paren(self.condition(part)) for part in inner]
                return exp.paren((exp.and_ if operator == "and" else exp.or_)(*parts))
            case ["not", dict(), inner]:
                return exp.not_(exp.paren(self.condition(inner)))
            case ["is-null" | "not-null" as operator, dict(), inner]:
                null = exp.Is(this=self.sql(inner), expression=exp.null())
                return null if operator == "is-null" else exp.not_(null)
            case ["is-empty" | "not-empty" as operator, dict(), inner]:
                value = self.sql(inner)
                empty = exp.or_(
                    exp.Is(this=value, expression=exp.null()),
                    exp.EQ(this=value.copy(), expression=exp.Literal.string("")),
                )
                return empty if operator == "is-empty" else exp.not_(exp.paren(empty))
            case ["=" | "!=" | "in" | "not-in" as operator, dict(), left, *values] if values:
                return self._equals(operator, left, values)
            case ["<" | "<=" | ">" | ">=" as operator, dict(), left, right]:
                tested, (other,) = self._compared(left, [right])
                return _COMPARED[operator](this=tested.sql, expression=other)
            case ["between", dict(), left, low, high]:
                tested, (first, last) = self._compared(left, [low, high])
                return exp.Between(this=tested.sql, low=first, high=last)
            case [
                "contains" | "does-not-contain" | "starts-with" | "ends-with" as operator,
                dict(options),
                left,
                *values,
            ] if values:
                return self._text_test(operator, options, left, values)
            case ["time-interval", dict(options), inner, amount, str(unit)]:
                include = bool(options.get("include-current"))
                return self._time_interval(self.typed(inner), amount, unit, include)
            case ["segment", *_]:
                raise errors.not_implemented("segments")
            case ["field" | "expression" | "case" | "coalesce" | "value", dict(), *_] | bool():
                return self.sql(clause)
            case [str(operator), *_]:
                raise errors.not_implemented(f"the filter {operator}")
        raise QueryError(f"{clause!r} is no filter")

    def _compared(self, left: Any, right: list[Any]) -> tuple[Typed, list[exp.Expr]]:
        """Both sides of a comparison. Times compared with a date are compared by day."""
        tested = self.typed(left)
        dates = all(isinstance(value, str) and _ISO_DATE.fullmatch(value) for value in right)
        if dates and tested.type in (DATETIME, TIMESTAMP) and tested.column.unit is None:
            tested = Typed(_truncated(tested, "day"), tested.column)
        return tested, [self.sql(value, like=tested) for value in right]

    def _equals(self, operator: str, left: Any, values: list[Any]) -> exp.Expr:
        tested, others = self._compared(left, values)
        if len(others) == 1:
            equal: exp.Expr = exp.EQ(this=tested.sql, expression=others[0])
            if values[0] is None:
                equal = exp.Is(this=tested.sql, expression=exp.null())
        else:
            equal = exp.In(this=tested.sql, expressions=others)
        if operator not in _NEGATED or values == [None]:
            return exp.not_(equal) if operator in _NEGATED else equal
        return _or_null(exp.not_(equal), tested.sql)

    def _text_test(
        self, operator: str, options: dict[str, Any], left: Any, values: list[Any]
    ) -> exp.Expr:
        function = _TEXT_TESTS[_NEGATED.get(operator, operator)]
        tested = self.typed(left)

        def cased(sql: exp.Expr) -> exp.Expr:
            return sql if options.get("case-sensitive", True) else _function("LOWER", sql)

        def test(value: Any) -> exp.Expr:
            found = _function(function, cased(tested.sql.copy()), cased(self.sql(value)))
            zero = exp.Literal.number(0)
            return exp.GT(this=found, expression=zero) if function == "STRPOS" else found

        any_of = exp.paren(exp.or_(*map(test, values)))
        if operator in _NEGATED:
            return _or_null(exp.not_(any_of), tested.sql)
        return any_of

    def _time_interval(
        self, tested: Typed, amount: Any, unit: str, include_current: bool
    ) -> exp.Expr:
        steps = {"current": 0, "last": -1, "next": 1}.get(amount, amount)
        if not isinstance(steps, int):
            raise QueryError(f"{amount!r} is no number of {unit}s")
        if tested.type not in SQL_TYPES:
            raise QueryError(f"{tested.column.name} is no date")
        start = start_of(self.compiler.now.date(), unit)
        first, last = sorted((steps, 0))
        if steps == 0:
            last = 1
        elif steps > 0:  # the units after the current one
            first, last = (0 if include_current else 1), steps + 1
        elif include_current:
            last = 1
        low, high = (plus(start, n, unit).isoformat() for n in (first, last))
        return exp.and_(
            exp.GTE(this=tested.sql, expression=_literal(low, tested.type)),
            exp.LT(this=tested.sql.copy(), expression=_literal(high, tested.type)),
        )

    # --- Aggregations

    def _aggregated(self, clause: Clause, breakouts: list[Typed]) -> Typed:
        operator, options, *arguments = clause
        if operator in ("cum-sum", "cum-count"):
            made = self._aggregation(operator.removeprefix("cum-"), arguments)
            made = Typed(_running(made.sql, breakouts), made.column)
            name = (
                f"Cumulative {made.column.display_name[:1].lower()}{made.column.display_name[1:]}"
            )
            made = Typed(made.sql, replace(made.column, display_name=name))
        elif operator == "metric":
            made = self._metric(arguments[0])
        else:
            made = self.typed(clause)
            if operator in _ARITHMETIC_NAMES:
                made = Typed(made.sql, replace(made.column, name="expression"))
        column = replace(
            made.column,
            name=options.get("name") or made.column.name,
            display_name=options.get("display-name") or made.column.display_name,
            source="aggregation",
            field_id=None,
            clause=None,
        )
        return Typed(made.sql, column)

    def _metric(self, card_id: int) -> Typed:
        card = self.state.cards.get(card_id)
        if card is None or card.type != "metric":
            raise QueryError(f"{card_id} is no metric")
        (stage,) = card.dataset_query["stages"]
        if stage.get("source-table") != self.stage.get("source-table") or stage.get("joins"):
            raise errors.not_implemented("a metric of another table than the query's")
        (clause,) = stage["aggregation"]
        if filters := stage.get("filters"):
            condition = filters[0] if len(filters) == 1 else ["and", {}, *filters]
            clause = _only_where(clause, condition)
        made = self._aggregated(clause, [])
        return Typed(made.sql, replace(made.column, display_name=card.name))

    def _aggregation(self, operator: str, arguments: list[Any]) -> Typed:
        one = exp.Literal.number(1)
        match operator, arguments:
            case "count", []:
                return Typed(exp.Count(this=exp.Star()), _counted("count", "Count"))
            case "count", [inner]:
                return Typed(exp.Count(this=self.sql(inner)), _counted("count", "Count"))
            case "distinct", [inner]:
                made = self.typed(inner)
                name = f"Distinct values of {made.column.display_name}"
                return Typed(_distinct(made.sql), _counted("count", name))
            case "sum" | "avg" | "min" | "max" | "stddev" | "var", [inner]:
                return self._of_a_column(operator, self.typed(inner))
            case "count-where", [condition]:
                return Typed(
                    _function("SUM", _case(self.condition(condition), one, 0)),
                    _counted("count_where", "Count of rows matching condition"),
                )
            case "sum-where", [inner, condition]:
                made = self.typed(inner)
                name = f"Sum of {made.column.display_name} matching condition"
                column = replace(made.column, name="sum_where", display_name=name)
                return Typed(
                    _function("SUM", _case(self.condition(condition), made.sql, 0)), column
                )
            case "distinct-where", [inner, condition]:
                made = self.typed(inner)
                name = f"Distinct values of {made.column.display_name} matching condition"
                only = _case(self.condition(condition), made.sql, None)
                return Typed(_distinct(only), _counted("distinct_where", name))
            case "share", [condition]:
                some = _function("SUM", _case(self.condition(condition), one, 0))
                rows = exp.Nullif(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(0))
                share = exp.Div(this=exp.cast(some, "FLOAT64", dialect="bigquery"), expression=rows)
                return Typed(
                    exp.paren(share),
                    Column("share", "Share of rows matching condition", FLOAT, "type/Percentage"),
                )
        raise errors.not_implemented(f"the operator {operator}")

    def _of_a_column(self, operator: str, made: Typed) -> Typed:
        function = {"stddev": "STDDEV_SAMP", "var": "VAR_SAMP"}.get(operator, operator.upper())
        title = {"avg": "Average", "stddev": "Standard deviation", "var": "Variance"}
        name = f"{title.get(operator, operator.capitalize())} of {made.column.display_name}"
        keeps_type = operator in ("sum", "min", "max")
        column = replace(
            made.column,
            name=operator,
            display_name=name,
            base_type=made.type if keeps_type else FLOAT,
        )
        return Typed(_function(function, made.sql), column)


_CONDITIONS = {
    *("and", "or", "not", "is-null", "not-null", "is-empty", "not-empty", "in", "not-in"),
    *("between", "contains", "does-not-contain", "starts-with", "ends-with", "time-interval"),
    *_COMPARED,
}
_ARITHMETIC_NAMES = {"+", "-", "*", "/", *_FUNCTIONS, *_CASTS, "case", "if"}


def _known[Value](table: dict[str, Value], key: str, what: str) -> Value:
    if key not in table:
        raise errors.not_implemented(f"the {what} {key}")
    return table[key]


def _only_where(clause: Clause, condition: Clause) -> Clause:
    """The aggregation of the rows that fulfil a condition."""
    operator, options, *arguments = clause
    match operator, arguments:
        case "count", []:
            return ["count-where", options, condition]
        case "sum" | "distinct", [inner]:
            return [f"{operator}-where", options, inner, condition]
        case "avg" | "min" | "max", [inner]:
            return [operator, options, ["case", {}, [[condition, inner]]]]
    raise errors.not_implemented(f"a filtered metric of {operator}")


def _running(sql: exp.Expr, breakouts: list[Typed]) -> exp.Expr:
    """The sum up to each row, in the order of the finest time; a sum of its own per other group."""
    if not breakouts:
        return sql
    times = [b for b in breakouts if b.type in SQL_TYPES] or breakouts
    order = times[-1]
    others = [b.sql.copy() for b in breakouts if b is not order]
    return exp.Window(
        this=_function("SUM", sql),
        partition_by=others or None,
        order=exp.Order(expressions=[_ordered(order.sql.copy(), desc=False)]),
        spec=exp.WindowSpec(
            kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW"
        ),
    )


def _table(table: Table, alias: str) -> exp.Expr:
    return exp.alias_(
        exp.table_(table.name, db=table.schema, quoted=True), alias, table=True, quoted=True
    )


def _subquery(compiled: Compiled, alias: str) -> exp.Expr:
    return exp.Subquery(
        this=compiled.select.copy(),
        alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)),
    )


def _table_source(state: State, table: Table, alias: str) -> _Source:
    shown = [
        ((*(row.nfc_path or ()), row.name), column_of(row))
        for row in state.fields_of(table.id)
        if row.active and row.visibility_type not in ("sensitive", "retired")
        if row.base_type != "type/Dictionary"
    ]
    return _Source(alias, tuple(shown), table)


def _select_source(compiled: Compiled, alias: str) -> _Source:
    columns = (
        ((column.name,), replace(column, source="fields", unit=None)) for column in compiled.columns
    )
    return _Source(alias, tuple(columns))


def column_of(row: Field) -> Column:
    """The column of a table's field."""
    return Column(
        name=row.name,
        display_name=row.display_name,
        base_type=row.base_type,
        semantic_type=row.semantic_type,
        field_id=row.id,
        fk_target_field_id=row.fk_target_field_id,
        settings=row.settings,
        description=row.description,
    )


def _with_metadata(card: Card, columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns with what people wrote of them in a model."""
    if card.type != "model":
        return tuple(columns)
    known = {column.get("name"): column for column in card.result_metadata or []}
    return tuple(
        replace(
            column,
            display_name=known.get(column.name, {}).get("display_name") or column.display_name,
            semantic_type=known.get(column.name, {}).get("semantic_type") or column.semantic_type,
            description=known.get(column.name, {}).get("description") or column.description,
        )
        for column in columns
    )


def _uniquely_named(outputs: list[Typed]) -> list[Typed]:
    seen: dict[str, int] = {}
    unique = []
    for output in outputs:
        name = output.column.name
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name = f"{name}_{seen[name]}"
        unique.append(Typed(output.sql, replace(output.column, name=name)))
    return unique


def _plain(name: str, base_type: str) -> Column:
    return Column(name, humanise(name), base_type)


def _counted(name: str, display_name: str) -> Column:
    return Column(name, display_name, INTEGER, "type/Quantity")


def _function(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _ordered(sql: exp.Expr, desc: bool) -> exp.Expr:
    """In BigQuery's own order of nulls, which is smallest first."""
    return exp.Ordered(this=sql, desc=desc, nulls_first=not desc)


def _distinct(sql: exp.Expr) -> exp.Expr:
    return exp.Count(this=exp.Distinct(expressions=[sql]))


def _case(condition: exp.Expr, value: exp.Expr, default: int | None) -> exp.Expr:
    case = exp.Case().when(condition, value)
    return case if default is None else case.else_(exp.Literal.number(default))


def _or_null(condition: exp.Expr, tested: exp.Expr) -> exp.Expr:
    """Null is not equal to anything in Metabase, so `!=` keeps it."""
    null = exp.Is(this=tested.copy(), expression=exp.null())
    return exp.paren(exp.or_(exp.paren(condition), null))


def _truncated(found: Typed, unit: str) -> exp.Expr:
    if unit in EXTRACTED:
        return exp.Extract(this=exp.var(EXTRACTED[unit]), expression=found.sql)
    part = _known(TRUNCATED, unit, "temporal unit")
    if found.type == DATE and unit in ("second", "minute", "hour", "day"):
        return found.sql
    return _function(f"{SQL_TYPES[found.type]}_TRUNC", found.sql, exp.var(part))


def _type_of_unit(found: Typed, unit: str) -> str:
    return INTEGER if unit in EXTRACTED else found.type


def _literal(value: Any, base_type: str | None) -> exp.Expr:
    match value:
        case None:
            return exp.null()
        case bool():
            return exp.true() if value else exp.false()
        case int() | float():
            return exp.Literal.number(value)
        case str() if base_type in SQL_TYPES:
            # Results have dates as midnights UTC.
            written = {DATE: value[:10], DATETIME: value.removesuffix("Z")}.get(base_type, value)
            return exp.cast(exp.Literal.string(written), SQL_TYPES[base_type], dialect="bigquery")
        case str():
            return exp.Literal.string(value)
    raise QueryError(f"{value!r} is no value")


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return BOOLEAN
        case int():
            return INTEGER
        case float():
            return FLOAT
    return TEXT


def start_of(day: date, unit: str) -> date:
    """The first day of the week (from Sunday), month, quarter or year that the day is in."""
    match unit:
        case "day":
            return day
        case "week":
            return day - timedelta(days=(day.weekday() + 1) % 7)
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case "year":
            return day.replace(month=1, day=1)
    raise errors.not_implemented(f"an interval of {unit}s")


def plus(start: date, amount: int, unit: str) -> date:
    """The first day of a unit, so many units later."""
    match unit:
        case "day" | "week":
            return start + timedelta(days=amount * (7 if unit == "week" else 1))
        case "month" | "quarter":
            months = start.year * 12 + start.month - 1 + amount * (3 if unit == "quarter" else 1)
            return start.replace(year=months // 12, month=months % 12 + 1)
    return start.replace(year=start.year + amount)
