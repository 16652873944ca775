"""SQL as the house writes it: lines of at most a hundred characters, broken where it reads well."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stack.new_staging.naming import KEYWORDS, RESERVED, UNREADABLE

MAXIMUM_LINE = 100
INDENT = 4


@dataclass(frozen=True)
class Call:
    """A function or a macro, called."""

    name: str
    arguments: tuple["Expression", ...]
    suffix: str = ""
    """What follows it inside another call, such as ` as bool`."""
    close: str = ")"


@dataclass(frozen=True)
class Subquery:
    """A query that gives one value, line by line."""

    lines: tuple[str, ...]


type Expression = str | Call | Subquery


def call(name: str, *arguments: Expression) -> Call:
    """Return a call of a function."""
    return Call(name, arguments)


def safe_cast(value: Expression, kind: str) -> Call:
    """Return a cast that is null where a value doesn't fit."""
    return call("safe_cast", _followed(value, f" as {kind}"))


def cast(value: Expression, kind: str) -> Call:
    """Return a cast that can't fail."""
    return call("cast", _followed(value, f" as {kind}"))


def macro(name: str, *arguments: Expression) -> Call:
    """Return a call of one of dbt's macros, whose arguments are texts of SQL."""
    return Call(f"{{{{ {name}", tuple(_jinja_text(one) for one in arguments), close=") }}")


def surrogate_key(columns: Sequence[Expression]) -> str:
    """Return the call that makes one key of several columns."""
    return f"{{{{ surrogate_key([{', '.join(_jinja_text(column) for column in columns)}]) }}}}"


def identifier(name: str) -> str:
    """Return a column's name as SQL takes it, in backticks if it is a word of SQL or `userId`."""
    is_word = name.lower() in RESERVED | UNREADABLE
    return f"`{name}`" if is_word or name != name.lower() else name


def text(value: str) -> str:
    """Return a string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    # dbt reads the file before BigQuery does.
    escaped = (
        escaped.replace("{", "\\x7b") if any(x in escaped for x in ("{{", "{%", "{#")) else escaped
    )
    return f"'{escaped}'"


def json_path(keys: Sequence[str]) -> str:
    """Return a JSONPath as a string literal: `'$.address.city'`."""
    parts = ["$"]
    for key in keys:
        plain = key.isascii() and key.isidentifier()
        parts.append(key if plain else json.dumps(key, ensure_ascii=False))
    return text(".".join(parts))


def flat(expression: Expression) -> str:
    """Return an expression on one line."""
    if isinstance(expression, str):
        return expression
    if isinstance(expression, Subquery):
        return f"({' '.join(expression.lines)})"
    arguments = ", ".join(flat(argument) for argument in expression.arguments)
    return f"{expression.name}({arguments}{expression.close}{expression.suffix}"


def column(expression: Expression, name: str, *, last: bool, indent: int = 2 * INDENT) -> str:
    """Return the lines of one column of a `select`."""
    comma = "" if last else ","
    if flat(expression).rpartition(".")[2] == identifier(name):
        return _line(f"{' ' * indent}{flat(expression)}{comma}")
    name = f"`{name}`" if name in KEYWORDS else name
    if isinstance(expression, Subquery):
        inside = [f"{' ' * (indent + INDENT)}{line}" for line in expression.lines]
        lines = [f"{' ' * indent}(", *inside, f"{' ' * indent}) as {name}{comma}"]
        return "\n".join(_line(line) for line in lines)
    whole = f"{' ' * indent}{flat(expression)} as {name}{comma}"
    if len(whole) <= MAXIMUM_LINE:
        return whole
    if isinstance(expression, str):
        lines = [f"{' ' * indent}{expression}", f"{' ' * (indent + INDENT)}as {name}{comma}"]
    else:
        lines = _broken(replace(expression, suffix=f" as {name}"), indent)
        lines[-1] += comma
    return "\n".join(_line(line) for line in lines)


def _broken(expression: Expression, indent: int) -> list[str]:
    """Return an expression on as few lines as its length allows."""
    whole = f"{' ' * indent}{flat(expression)}"
    if not isinstance(expression, Call) or len(whole) <= MAXIMUM_LINE - 1:
        return [whole]
    lines = [f"{' ' * indent}{expression.name}("]
    for number, argument in enumerate(expression.arguments, 1):
        inside = _broken(argument, indent + INDENT)
        if number < len(expression.arguments):
            inside[-1] += ","
        lines += inside
    return [*lines, f"{' ' * indent}{expression.close}{expression.suffix}"]


def _line(line: str) -> str:
    """Return a line, with leave to be long where it can't be broken."""
    return line if len(line) <= MAXIMUM_LINE else f"{line}  -- noqa: layout.long_lines"


def _followed(value: Expression, suffix: str) -> Expression:
    if not isinstance(value, Call):
        return f"{flat(value)}{suffix}"
    return replace(value, suffix=f"{value.suffix}{suffix}")


def _jinja_text(expression: Expression) -> str:
    value = flat(expression).replace("\\", "\\\\")
    if "'" not in value:
        return f"'{value}'"
    escaped = value.replace('"', '\\"')
    return f'"{escaped}"'
