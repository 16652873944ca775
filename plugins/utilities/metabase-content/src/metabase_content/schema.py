"""What a file may hold: as much of the representation format's schemas as a push depends on.

The schemas are in the npm package @metabase/representations (`core-spec/v1/schemas`). Here a schema
is a type, None, a pattern, a set of texts, a tuple of alternatives, a list with the schema of each
item, a mapping with the schema of each key (`!` follows one that is required; other keys may have
any value), or a function that checks.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Key = tuple[str | int, ...]


class ContentError(Exception):
    """What is wrong in a file; `key` is where: names of keys and positions in lists."""

    def __init__(self, message: str, key: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.key = tuple(key)


class NeedsError(ContentError):
    """A file needs another, which can't be pushed."""


def check(value: Any, schema: Any, key: Key = ()) -> None:
    """Check a value against a schema.

    Raises:
        ContentError: it doesn't fit; with the place.
    """
    match schema:
        case tuple():
            # The last alternative says what is wrong with what isn't null.
            for alternative in schema[:-1]:
                try:
                    return check(value, alternative, key)
                except ContentError:
                    continue
            check(value, schema[-1], key)
        case None:
            fits(value is None, value, "", key)
        case type():
            # YAML's true and false are no numbers.
            number = not isinstance(value, bool) or schema in (bool, object)
            fits(isinstance(value, schema) and number, value, NAMES.get(schema, ""), key)
        case re.Pattern():
            fits(isinstance(value, str) and schema.fullmatch(value), value, NANO_ID_SAYS, key)
        case frozenset():
            known = ", ".join(sorted(schema))
            fits(isinstance(value, str) and value in schema, value, f"one of {known}", key)
        case [of_items]:
            fits(isinstance(value, list), value, "a list", key)
            for position, item in enumerate(value):
                check(item, of_items, (*key, position))
        case Mapping():
            check_mapping(value, schema, key)
        case _:
            schema(value, key)
    return None


def check_mapping(value: Any, schema: Mapping[str, Any], key: Key) -> None:
    """Check a mapping, and what it has."""
    fits(isinstance(value, dict), value, "a mapping", key)
    for name, of_value in schema.items():
        plain = name.removesuffix("!")
        if plain in value:
            check(value[plain], of_value, (*key, plain))
        elif name != plain:
            of = f" of {place(key)}" if key else ""
            raise ContentError(f"`{plain}`{of} is missing", key)


def fits(truth: Any, value: Any, wanted: str, key: Key) -> None:
    """Refuse a value, unless it fits."""
    if not truth:
        shown = repr(value)
        shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
        more = f": it is {wanted}" if wanted else ""
        said = place(key)
        raise ContentError(f"{said[0].upper()}{said[1:]} can't be {shown}{more}", key)


def place(key: Key) -> str:
    """Name a key as a reader of the file knows it."""
    names = [part for part in key if isinstance(part, str)]
    if not names:
        return "a reference"
    path = ".".join(names)
    return f"`{path}`" if key and isinstance(key[-1], str) else f"an item of `{path}`"


LONGEST = 60
NAMES = {
    str: "text",
    int: "a whole number",
    list: "a list",
    dict: "a mapping",
    bool: "true or false",
}
NANO_ID = re.compile(r"[A-Za-z0-9_-]{21}")
NANO_ID_SAYS = "an entity ID, 21 of A-Z a-z 0-9 _ -"
ID_OR_NULL = (None, NANO_ID)
TEXT_OR_NULL = (None, str)
SHORTEST = {
    **dict.fromkeys(("=", "!=", "<", ">", "<=", ">=", "in", "not-in", "and", "or"), 2),
    **dict.fromkeys(("contains", "does-not-contain", "starts-with", "ends-with"), 2),
    **dict.fromkeys(("is-null", "not-null", "is-empty", "not-empty", "not", "asc", "desc"), 1),
    **dict.fromkeys(("sum", "avg", "min", "max", "distinct", "stddev", "var", "median"), 1),
    **dict.fromkeys(("cum-sum", "count-where", "share", "case", "if", "+", "-", "*", "/"), 1),
    **dict.fromkeys(("between", "time-interval", "replace", "split-part", "datetime-diff"), 3),
    **dict.fromkeys(("datetime-add", "datetime-subtract"), 3),
    **dict.fromkeys(("sum-where", "distinct-where", "percentile", "concat", "coalesce"), 2),
    **dict.fromkeys(("field", "expression", "aggregation", "metric", "segment", "measure"), 1),
}
"""How many arguments an operator has at least."""


def name_of_table(value: Any, key: Key) -> None:
    """Check the names of a table."""
    good = isinstance(value, list) and len(value) == len(("database", "schema", "table"))
    names = good and all(isinstance(part, str) for part in (value[0], value[2]))
    fits(names and isinstance(value[1], str | None), value, "[database, schema, table]", key)


def name_of_column(value: Any, key: Key) -> None:
    """Check the names of a column; those of an earlier stage have one."""
    if isinstance(value, str):
        return
    fits(isinstance(value, list) and len(value) > len(("d", "s", "t")), value, COLUMN_SAYS, key)
    name_of_table(value[:3], key)
    fits(all(isinstance(part, str) for part in value[3:]), value, COLUMN_SAYS, key)


COLUMN_SAYS = "[database, schema, table, column], or the name of a column of the stage before"


def clause(value: Any, key: Key) -> None:
    """Check an expression: a plain value, or `[operator, {options}, arguments …]`."""
    if not isinstance(value, list):
        fits(value is None or isinstance(value, str | int | float), value, "a clause", key)
        return
    good = len(value) > 1 and isinstance(value[0], str) and isinstance(value[1], dict)
    fits(good, value, "a clause: [operator, {options}, arguments …]", key)
    operator, options, *arguments = value
    check(options, {"source-field": name_of_column}, (*key, 1))
    if len(arguments) < SHORTEST.get(operator, 0):
        raise ContentError(f"`{operator}` has too few arguments in {place(key)}", key)
    match operator, arguments:
        case "field", [target, *_]:
            name_of_column(target, (*key, 2))
        case "expression" | "aggregation", [target, *_]:
            check(target, str, (*key, 2))
        case "metric" | "segment", [target, *_]:
            check(target, NANO_ID, (*key, 2))
        case "measure", _:
            raise ContentError("Measures can't be pushed: use a metric", key)
        case "case" | "if", [pairs, *_]:
            check(pairs, [[clause]], (*key, 2))
        case _:
            for position, item in enumerate(arguments, 2):
                clause(item, (*key, position))


def stage(value: Any, key: Key) -> None:
    """Check a stage of a query, and of a join."""
    check(value, {"lib/type!": STAGES}, key)
    check(value, MBQL_STAGE if value["lib/type"] == "mbql.stage/mbql" else NATIVE_STAGE, key)


def query(value: Any, key: Key) -> None:
    """Check a query."""
    check(value, QUERY, key)
    fits(value["stages"], [], "at least one stage", (*key, "stages"))
    first = value["stages"][0]
    sources = (first.get("source-table"), first.get("source-card"))
    if first["lib/type"] == "mbql.stage/mbql" and not any(sources):
        raise ContentError(
            "The query has no table: write `source-table` or `source-card`", (*key, "stages", 0)
        )


def target(value: Any, key: Key) -> None:
    """Check what a filter of a dashboard is mapped to."""
    says = "[dimension, [field, …]], [variable, [template-tag, …]] or [text-tag, …]"
    good = isinstance(value, list) and len(value) > 1 and isinstance(value[0], str)
    fits(good, value, says, key)
    match value:
        case ["dimension", ["field", dict(), _] as field, *_]:
            clause(field, (*key, 1))
        case ["dimension", ["field", column, options], *_]:
            name_of_column(column, (*key, 1, 1))
            check(options, (None, {"source-field": name_of_column}), (*key, 1, 2))
        case ["dimension", ["template-tag" | "expression", str(), *_], *_]:
            pass
        case ["variable", ["template-tag", str()]] | ["text-tag", str()]:
            pass
        case _:
            fits(False, value, says, key)


def nodes_in(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield each mapping and list of a value, from the outside in; and where."""
    if isinstance(value, Mapping | list):
        yield key, value
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, item in items:
            yield from nodes_in(item, (*key, name))


def clicks_in(value: Any) -> Iterator[tuple[Key, Any]]:
    """Yield what clicks do, as settings say; and where."""
    for key, node in nodes_in(value):
        if isinstance(node, Mapping) and "click_behavior" in node:
            yield (*key, "click_behavior"), node["click_behavior"]


def click(value: Any, key: Key) -> None:
    """Check what a click does."""
    check(value, (None, CLICK), key)
    if value and value["type"] == "link":
        check(value, {"linkType!": frozenset({"dashboard", "question", "url"})}, key)
        url = value["linkType"] == "url"
        check(value, {"linkTemplate!": str} if url else {"targetId!": NANO_ID}, key)
    for name, item in ((value or {}).get("parameterMapping") or {}).items():
        check(item, {"source!": CLICK, "target!": CLICK}, (*key, "parameterMapping", name))
        if dimension := item["target"].get("dimension"):
            target(dimension, (*key, "parameterMapping", name, "target", "dimension"))


CLICK = {"type!": str, "parameterMapping": (None, dict)}
STAGES = frozenset({"mbql.stage/mbql", "mbql.stage/native"})
MBQL_STAGE: dict[str, Any] = {
    "source-table": (None, name_of_table),
    "source-card": ID_OR_NULL,
    "joins": [{"stages!": [stage], "conditions!": [clause], "alias!": str}],
    "limit": (None, int),
    "expressions": [clause],
    "fields": [clause],
    "filters": [clause],
    "aggregation": [clause],
    "breakout": [clause],
    "order-by": [clause],
}
TAGS = frozenset(
    {"text", "number", "date", "boolean", "dimension", "temporal-unit", "card", "table"}
)
"""The types of what SQL takes; snippets can't be pushed."""
TEMPLATE_TAG = {"name!": str, "id!": str, "type!": TAGS, "card-id": NANO_ID, "dimension": clause}
QUERY = {"lib/type!": frozenset({"mbql/query"}), "database!": str, "stages!": [stage]}
NATIVE_STAGE = {"native!": str, "template-tags": (dict, [TEMPLATE_TAG])}
PARAMETERS = [
    {
        "id!": str,
        "name!": str,
        "slug!": str,
        "type!": str,
        "required": bool,
        "values_source_config": (None, {"card_id": NANO_ID}),
    }
]
DISPLAYS = frozenset(
    {
        *("table", "bar", "line", "area", "row", "pie", "scalar", "smartscalar", "number", "combo"),
        *("pivot", "funnel", "map", "scatter", "waterfall", "progress", "gauge", "object", "list"),
        *("heading", "text", "link", "iframe", "action", "sankey", "boxplot"),
    }
)
META = [{"id!": str, "model!": str}]
COMMON = {
    "name!": str,
    "entity_id!": NANO_ID,
    "serdes/meta!": META,
    "description": TEXT_OR_NULL,
    "archived": bool,
    "archived_directly": (None, bool),
    "created_at": object,
}
OTHERS = {**COMMON, "creator_id!": str}
IN_COLLECTION = {
    "collection_id": ID_OR_NULL,
    "collection_position": (None, int),
    **dict.fromkeys(("enable_embedding", "embedding_params", "embedding_type"), object),
    **dict.fromkeys(("public_uuid", "made_public_by_id"), object),
}
MAPPING = {"parameter_id!": str, "target!": target, "card_id": ID_OR_NULL}
DASHCARD = {
    "entity_id!": str,
    **dict.fromkeys(("row!", "col!", "size_x!", "size_y!"), int),
    "card_id": ID_OR_NULL,
    "dashboard_tab_id": (None, [str]),
    "inline_parameters": (None, [str]),
    "parameter_mappings": (None, [MAPPING]),
    "series": (None, [{"card_id!": NANO_ID, "position!": int}]),
    "visualization_settings": (None, dict),
}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "Collection": {
        **COMMON,
        "parent_id": ID_OR_NULL,
        "authority_level": TEXT_OR_NULL,
        **dict.fromkeys(("slug", "type", "namespace", "archive_operation_id"), object),
        **dict.fromkeys(("is_remote_synced", "is_sample"), object),
        "creator_id": object,
        "personal_owner_id": None,
    },
    "Segment": {**OTHERS, "table_id": name_of_table, "definition!": query},
    "Card": {
        **OTHERS,
        **IN_COLLECTION,
        "display!": DISPLAYS,
        "type": frozenset({"question", "model", "metric"}),
        "dataset_query!": query,
        "visualization_settings!": dict,
        "parameters": PARAMETERS,
        "dashboard_id": ID_OR_NULL,
        **dict.fromkeys(("database_id", "collection_preview", "parameter_mappings"), object),
        **dict.fromkeys(("result_metadata", "metabase_version", "card_schema"), object),
        "query_type": object,
        "document_id": None,
    },
    "Dashboard": {
        **OTHERS,
        **IN_COLLECTION,
        "parameters": PARAMETERS,
        "tabs": [{"entity_id!": str, "name!": str, "position!": int}],
        "dashcards": [DASHCARD],
        "width": frozenset({"fixed", "full"}),
        "auto_apply_filters": bool,
        **dict.fromkeys(("position", "show_in_getting_started", "caveats"), object),
        **dict.fromkeys(("points_of_interest", "initially_published_at"), object),
    },
}
"""What the format has: the keys of each entity, all of them, and the schemas of what is pushed."""
MODELS = tuple(SCHEMAS)
OF_DATABASES = ("Database", "Table", "Field", "FieldValues")
COLUMNS = 24


def model_of(document: Mapping[str, Any]) -> str | None:
    """Return what a file holds; None for metadata of the database, which dbt describes.

    Raises:
        ContentError: nothing that can be pushed.
    """
    if "serdes/meta" not in document:
        raise ContentError("`serdes/meta` is missing")
    check(document["serdes/meta"], META, ("serdes/meta",))
    meta = document["serdes/meta"]
    model = meta[-1]["model"] if meta else None
    if model in OF_DATABASES:
        return None
    if model not in MODELS:
        raise ContentError(
            f"`model` in `serdes/meta` is {model!r}; what can be pushed is {', '.join(MODELS)}",
            ("serdes/meta",),
        )
    return str(model)


def check_entity(model: str, document: Mapping[str, Any]) -> None:
    """Check one entity by itself.

    Raises:
        ContentError: it is not as the format has it.
    """
    schema = SCHEMAS[model]
    known = {name.removesuffix("!") for name in schema}
    for key in document:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            more = f". Is it `{near[0]}`?" if near else ""
            raise ContentError(f"A {model.lower()} has no key `{key}`{more}", (key,))
    check_mapping(document, schema, ())
    if not document["name"].strip():
        raise ContentError("`name` is empty", ("name",))
    for place_of_click, found in clicks_in(document):
        click(found, place_of_click)
    if model == "Dashboard":
        check_dashboard(document)
    if model == "Segment":
        first = document["definition"]["stages"][0].get("source-table")
        if first is None or first != document.get("table_id", first):
            said = "A segment is of one table: `source-table` is `table_id`"
            raise ContentError(said, ("definition", "stages", 0))


def check_dashboard(document: Mapping[str, Any]) -> None:
    """Check what a dashboard says of itself in two places."""
    tabs = {tab["entity_id"] for tab in document.get("tabs", [])}
    parameters = {parameter["id"] for parameter in document.get("parameters", [])}
    for name, of_id in (("tabs", "entity_id"), ("parameters", "id")):
        seen: set[str] = set()
        for number, item in enumerate(document.get(name, [])):
            if item[of_id] in seen:
                message = f"`{of_id}` {item[of_id]} is there twice in `{name}`"
                raise ContentError(message, (name, number, of_id))
            seen.add(item[of_id])
    for position, dashcard in enumerate(document.get("dashcards", [])):
        key = ("dashcards", position)
        width = dashcard["col"] + dashcard["size_x"]
        if width > COLUMNS or min(dashcard["col"], dashcard["row"]) < 0:
            raise ContentError(
                f"`col` + `size_x` is {width}; a dashboard has {COLUMNS} columns", (*key, "col")
            )
        for size in ("size_x", "size_y"):
            fits(dashcard[size] > 0, dashcard[size], "at least 1", (*key, size))
        if tab := dashcard.get("dashboard_tab_id"):
            of_tab = (*key, "dashboard_tab_id")
            fits(len(tab) == len(("dashboard", "tab")), tab, "[dashboard, tab]", of_tab)
            if tab[-1] not in tabs:
                raise ContentError(f"The dashboard has no tab {tab[-1]}", of_tab)
        for number, mapping in enumerate(dashcard.get("parameter_mappings") or []):
            if mapping["parameter_id"] not in parameters:
                raise ContentError(
                    f"The dashboard has no filter {mapping['parameter_id']}",
                    (*key, "parameter_mappings", number, "parameter_id"),
                )
