"""Values as people read them: by the column's type, its unit of time and its settings."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sandbox.metabase.compile import SQL_TYPES, Column

_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}
_MONEY = {"type/Currency", "type/Income", "type/Price", "type/Cost", "type/GrossMargin"}
NUMBERS = {"type/Integer", "type/BigInteger", "type/Float", "type/Decimal"}
EMPTY = "—"


def settings_of(column: Column, visualization: Mapping[str, Any]) -> dict[str, Any]:
    """The column's settings: the field's, then the card's."""
    own = (visualization.get("column_settings") or {}).get(f'["name","{column.name}"]') or {}
    return {**(column.settings or {}), **own}


def title_of(column: Column, visualization: Mapping[str, Any]) -> str:
    """The column's title."""
    return settings_of(column, visualization).get("column_title") or column.display_name


def is_number(column: Column) -> bool:
    """Tell whether its values are amounts: no keys."""
    return column.base_type in NUMBERS and column.semantic_type not in ("type/PK", "type/FK")


def text(value: Any, column: Column, visualization: Mapping[str, Any]) -> str:
    """The value as text."""
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, str) and column.base_type in SQL_TYPES:
        return moment(value, column.unit, column.base_type)
    if isinstance(value, int | float) and is_number(column):
        return number(value, column, settings_of(column, visualization))
    return str(value)


def number(value: float, column: Column, settings: Mapping[str, Any]) -> str:
    """The number in its style: `$1,200`, `12.5%`, `3,400`."""
    amount = value * (settings.get("scale") or 1)
    style = settings.get("number_style")
    if style is None and column.semantic_type == "type/Percentage":
        style = "percent"
    if style is None and column.semantic_type in _MONEY and settings.get("currency"):
        style = "currency"
    decimals = settings.get("decimals")
    if style == "percent":
        written = f"{amount * 100:,.{1 if decimals is None else decimals}f}%"
    elif style == "currency":
        currency = settings.get("currency") or "USD"
        symbol = _SYMBOLS.get(currency, f"{currency} ")
        sign = "-" if amount < 0 else ""
        written = f"{sign}{symbol}{abs(amount):,.{2 if decimals is None else decimals}f}"
    elif decimals is not None:
        written = f"{amount:,.{decimals}f}"
    else:
        written = f"{amount:,.2f}".rstrip("0").rstrip(".")
    return f"{settings.get('prefix') or ''}{written}{settings.get('suffix') or ''}"


def moment(value: str, unit: str | None, base_type: str) -> str:
    """The time, as exactly as its unit is."""
    at = datetime.fromisoformat(value)
    match unit:
        case "year":
            return f"{at:%Y}"
        case "quarter":
            return f"Q{(at.month + 2) // 3} {at:%Y}"
        case "month":
            return f"{at:%b %Y}"
        case "week":
            last = at + timedelta(days=6)
            return f"{at:%b} {at.day} - {last:%b} {last.day}, {last:%Y}"
    day = f"{at:%b} {at.day}, {at:%Y}"
    return day if unit == "day" or base_type == "type/Date" else f"{day}, {at:%H:%M}"
