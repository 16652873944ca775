"""Intercom's search: nested filters, a sort order and cursors, as SQL over the documents."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sandbox.saas.documents import Body
from sandbox.saas.intercom import errors
from sandbox.saas.store import Store

MOST_FILTERS = 15
MOST_LEVELS = 2
MOST_PER_PAGE = 150
# Contacts are searched by the day of the workspace's timezone.
TIMEZONE = "America/Los_Angeles"

Type = Literal["string", "date", "boolean"]
COMPARISONS: Mapping[str, str] = {
    "=": "is not distinct from",
    "!=": "is distinct from",
    ">": ">",
    "<": "<",
}
LISTS: Mapping[str, str] = {"IN": "{0} = any(%s)", "NIN": "coalesce({0} != all(%s), true)"}


@dataclass(frozen=True)
class Searchable:
    """A kind of object that can be searched."""

    kind: str
    fields: Mapping[str, Type]
    is_by_day: bool
    """Whether times are searched by the day: all those of a day are equal."""
    per_page: int
    """How many a page holds unless the request says."""

    def expression(self, field: str) -> str:
        """Return the field in SQL."""
        match self.fields[field]:
            case "date":
                return f"(body->>'{field}')::bigint"
            case "boolean":
                return f"(body->>'{field}')::boolean"
            case _:
                return "id" if field == "id" else f"body->>'{field}'"


CONTACTS = Searchable(
    kind="contact",
    fields={
        **dict.fromkeys(("id", "role", "external_id", "email", "name", "phone"), "string"),
        **dict.fromkeys(
            (
                *("created_at", "updated_at", "signed_up_at"),
                *("last_seen_at", "last_replied_at", "last_contacted_at"),
            ),
            "date",
        ),
        "unsubscribed_from_emails": "boolean",
    },
    is_by_day=True,
    per_page=50,
)
CONVERSATIONS = Searchable(
    kind="conversation",
    fields={
        "id": "string",
        **dict.fromkeys(("created_at", "updated_at", "waiting_since", "snoozed_until"), "date"),
        **dict.fromkeys(("state", "priority"), "string"),
        **dict.fromkeys(("open", "read"), "boolean"),
    },
    is_by_day=False,
    per_page=20,
)


@dataclass(frozen=True)
class Page:
    """A page of search results."""

    objects: list[Body]
    total_count: int
    pages: Body


def search(store: Store, searchable: Searchable, request: Any) -> Page:
    """Answer a search request.

    The cursor of a page holds the position of its last object, so that changes between two pages
    make no gap.

    Raises:
        ApiError: 400 if the request is malformed.
    """
    if not isinstance(request, dict):
        raise errors.invalid_query("Invalid query.")
    _check_keys(request, {"query", "pagination", "sort"})
    where, parameters = _condition(searchable, request.get("query"), level=1)
    pagination = request.get("pagination") or {}
    _check_keys(pagination, {"per_page", "starting_after"})
    per_page = _per_page(searchable, pagination.get("per_page"))
    starting_after = pagination.get("starting_after")
    field, direction = _sort(searchable, request.get("sort") or {})
    id_ = searchable.expression("id")
    # Objects without the field come first.
    value = f"coalesce({searchable.expression(field)}, 0)"
    number = 1
    after, cursor_values = "true", []
    if starting_after is not None:
        *cursor_values, number = _decode(starting_after)
        after = f"({value}, {id_}) {'>' if direction == 'asc' else '<'} (%s, %s)"
    total_count = store.count(searchable.kind, where, parameters)
    found = store.find(
        searchable.kind,
        f"({where}) and {after}",
        [*parameters, *cursor_values],
        order=f"{value} {direction}, {id_} {direction}",
        limit=per_page + 1,
    )
    pages: Body = {
        "type": "pages",
        "page": number,
        "per_page": per_page,
        "total_pages": ceil(total_count / per_page),
    }
    if len(found) > per_page:
        last = found[per_page - 1]
        pages["next"] = {
            "page": number + 1,
            "starting_after": _encode([last[field] or 0, last["id"], number + 1]),
        }
    return Page(found[:per_page], total_count, pages)


def _check_keys(mapping: Any, known: set[str]) -> None:
    if not isinstance(mapping, dict):
        raise errors.invalid_query("Invalid query.")
    for name in sorted(mapping.keys() - known):
        raise errors.bad_parameter(name)


def _per_page(searchable: Searchable, value: Any) -> int:
    if value is None:
        return searchable.per_page
    if not isinstance(value, int) or not 0 < value <= MOST_PER_PAGE:
        raise errors.bad_parameter("per_page")
    return value


def _sort(searchable: Searchable, sort: Any) -> tuple[str, str]:
    """Return the field and the direction; by default, the last change comes first."""
    _check_keys(sort, {"field", "order"})
    field, order = sort.get("field", "updated_at"), sort.get("order", "descending")
    if searchable.fields.get(field) != "date":
        raise errors.invalid_field(field)
    if order not in ("ascending", "descending"):
        raise errors.ApiError(
            400,
            "invalid_sort_order",
            f"Invalid sort order '{order}'. Must be one of: ascending, descending",
        )
    return field, "asc" if order == "ascending" else "desc"


def _encode(values: list[Any]) -> str:
    return base64.b64encode(json.dumps(values).encode()).decode()


def _decode(cursor: Any) -> list[Any]:
    """Decode a cursor.

    Raises:
        ApiError: The cursor is malformed.
    """
    try:
        values = json.loads(base64.b64decode(cursor, validate=True))
    except (TypeError, ValueError, binascii.Error):
        raise errors.bad_parameter("starting_after") from None
    if not isinstance(values, list) or [type(value) for value in values] != [int, str, int]:
        raise errors.bad_parameter("starting_after")
    return values


def _condition(searchable: Searchable, query: Any, level: int) -> tuple[str, list[Any]]:
    """Return a filter, or a group of filters, in SQL."""
    match query:
        case {"operator": _, "value": _, "field": _} if len(query) == 3:
            return _single(searchable, query["field"], query["operator"], query["value"])
        case {"operator": operator, "value": list(filters)} if len(query) == 2:
            if operator not in ("AND", "OR"):
                raise errors.invalid_operator("Composite operators must be of type AND or OR")
            if len(filters) > MOST_FILTERS:
                raise errors.invalid_value(
                    f"Number of elements in composite query is greater than {MOST_FILTERS}, "
                    "please try again with a smaller list"
                )
            if level > MOST_LEVELS or not filters:
                raise errors.invalid_query(f"Filters can be nested {MOST_LEVELS} levels deep.")
            parts = [_condition(searchable, part, level + 1) for part in filters]
            parameters = [parameter for _, values in parts for parameter in values]
            joined = f" {operator.lower()} ".join(f"({part})" for part, _ in parts)
            return joined, parameters
    raise errors.invalid_query(
        "Invalid query. Ensure 'field', 'operator', 'value' are present for field queries. "
        "Ensure 'operator' and 'value' for composite queries."
    )


def _single(searchable: Searchable, field: Any, operator: Any, value: Any) -> tuple[str, list[Any]]:
    if not isinstance(field, str) or field not in searchable.fields:
        raise errors.invalid_field(field)
    type_ = searchable.fields[field]
    expression = searchable.expression(field)
    by_day = type_ == "date" and searchable.is_by_day
    if by_day:
        expression = f"(to_timestamp({expression}) at time zone '{TIMEZONE}')::date"
    if (operator in LISTS or operator == "!=") and by_day:
        raise errors.invalid_operator(f"{field} does not support operator: {operator}")
    if operator in LISTS:
        if not isinstance(value, list) or not value:
            raise errors.invalid_value(f"{value} is not a valid list")
        values = [_value(type_, item, by_day) for item in value]
        return LISTS[operator].format(expression), [values]
    if operator not in COMPARISONS or (operator in "><" and type_ != "date"):
        raise errors.invalid_operator(f"{field} does not support operator: {operator}")
    if value is None and operator in ("=", "!="):
        return f"{expression} {COMPARISONS[operator]} null", []
    return f"{expression} {COMPARISONS[operator]} %s", [_value(type_, value, by_day)]


def _value(type_: Type, value: Any, by_day: bool) -> Any:
    """Return the value in the field's type; a time as its day if that is how it is searched.

    Raises:
        ApiError: The value has another type.
    """
    match type_, value:
        case ("boolean", bool()) | ("string", str()):
            return value
        case "date", str() if value.isdecimal():
            return _value(type_, int(value), by_day)
        case "date", int() if not isinstance(value, bool):
            return datetime.fromtimestamp(value, ZoneInfo(TIMEZONE)).date() if by_day else value
    raise errors.invalid_value(f"{json.dumps(value)} is not a valid {type_}")
