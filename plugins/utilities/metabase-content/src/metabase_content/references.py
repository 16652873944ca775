"""References: files name tables, columns and content; Metabase's API has numbers.

One walk translates in both directions, since references are in the same places: see "Foreign Key
References" in the specification of the representation format.
"""

import difflib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from metabase_content.schema import ContentError, name_of_column, name_of_table, nodes_in

NAMESPACE = uuid.UUID("5e7a7d2e-9c38-4d0e-8f0e-3f4f0a5b7c11")
Key = tuple[str | int, ...]


class Resolver(Protocol):
    """Gives the other name of a thing."""

    def database(self, value: Any) -> Any: ...  # noqa: D102

    def table(self, value: Any) -> Any: ...  # noqa: D102

    def field(self, value: Any) -> Any: ...  # noqa: D102

    def entity(self, model: str, value: Any) -> Any: ...  # noqa: D102


class Warehouse:
    """The databases that Metabase knows, with their tables and columns."""

    def __init__(self, metadata: Sequence[Mapping[str, Any]]) -> None:
        """Takes the answers of `GET /api/database/:id/metadata`."""
        self.databases: dict[str, int] = {}
        self.tables: dict[tuple[str, ...], int] = {}
        self.fields: dict[tuple[str, ...], int] = {}
        for database in metadata:
            self.databases[database["name"]] = database["id"]
            for table in database["tables"]:
                key = (database["name"], table["schema"], table["name"])
                self.tables[key] = table["id"]
                for column in table["fields"]:
                    if column.get("parent_id") is None:
                        self.fields[*key, column["name"]] = column["id"]
        self.names_of_databases = {value: key for key, value in self.databases.items()}
        self.names_of_tables = {value: list(key) for key, value in self.tables.items()}
        self.names_of_fields = {value: list(key) for key, value in self.fields.items()}

    def missing(self, value: Any) -> Iterator[tuple[str, ...]]:
        """Yield the tables and columns that a query names and Metabase doesn't know (yet)."""
        for _, node in nodes_in(value):
            match node:
                case ["field", Mapping(), list() as column] if tuple(column) not in self.fields:
                    yield tuple(column)
                case {"source-table": list() as table} if tuple(table) not in self.tables:
                    yield tuple(table)


def entities_in(query: Any) -> Iterator[tuple[str, Any]]:
    """Yield the model, and the ID or number, of each card and segment that a query is made of."""
    for _, node in nodes_in(query):
        match node:
            case ["segment" | "metric" as operator, Mapping(), target]:
                yield "Segment" if operator == "segment" else "Card", target
            case Mapping():
                for key in ("source-card", "card-id"):
                    if node.get(key) is not None:
                        yield "Card", node[key]


def tables_of(query: Mapping[str, Any], query_of: Callable[[str], Any]) -> set[tuple[str, ...]]:
    """Return the tables whose columns a query can use by their names.

    `query_of` gives the query of the question that a query is made of; None if no file has it.

    Raises:
        LookupError: that can't be known: it is written in SQL, or is in no file.
    """
    tables: set[tuple[str, ...]] = set()
    first = query["stages"][0]
    if source := first.get("source-table"):
        tables.add(tuple(source))
    elif found := query_of(first.get("source-card")):
        tables |= tables_of(found, query_of)
    else:
        raise LookupError
    for stage in query["stages"]:
        for join in stage.get("joins") or []:
            tables |= tables_of(join, query_of)
    return tables


def columns_in(value: Any, key: Key) -> Iterator[tuple[Key, list[str]]]:
    """Yield the columns that clauses, or the target of a filter, name; and where.

    What is joined has columns of its own. Of one that is reached through a foreign key, yields the
    key.
    """
    for place, node in nodes_in(value, key):
        match node:
            case ["field", Mapping() as options, target] | ["field", target, options]:
                named = (options or {}).get("source-field") or target
                if isinstance(named, list):
                    yield place, named


def check_columns(
    value: Any, key: Key, query: Mapping[str, Any], query_of: Callable[[str], Any]
) -> None:
    """Refuse columns of tables that a query doesn't read.

    Raises:
        ContentError: there is one; with the place.
    """
    tags = {name for stage in query["stages"] for name in template_tags(stage)}
    match value:
        case [_, ["template-tag", str() as name], *_] if name not in tags:
            raise ContentError(f"The question has no template tag {name}{like(name, [*tags])}", key)
    try:
        tables = tables_of(query, query_of)
    except LookupError:
        return
    for place, column in columns_in(value, key):
        if tuple(column[:3]) not in tables:
            read = ", ".join(sorted(map(dotted, tables)))
            raise ContentError(
                f"The question has no column {dotted(column)}; it reads {read}", place
            )


def template_tags(stage: Mapping[str, Any]) -> list[str]:
    """Return the names of what a stage in SQL takes."""
    tags = stage.get("template-tags") or []
    return list(tags) if isinstance(tags, Mapping) else [tag["name"] for tag in tags]


def check_names(query: Mapping[str, Any], key: Key) -> None:
    """Refuse an expression, an aggregation or a join that a query names and doesn't have.

    Raises:
        ContentError: there is one; with the place.
    """
    joins = [join for stage in query["stages"] for join in stage.get("joins") or []]
    aliases = [join["alias"] for join in joins]

    def options_of(clauses: Any, name: str) -> list[str]:
        return [str(it[1].get(name)) for it in clauses or [] if isinstance(it, list)]

    def walk(value: Any, place: Key) -> None:
        match value:
            case ["expression" | "aggregation" as kind, Mapping(), str() as name]:
                if name not in known[kind]:
                    more = like(name, known[kind])
                    raise ContentError(f"The stage has no {kind} {name}{more}", place)
            case [str(), {"join-alias": str() as alias}, *_] if alias not in aliases:
                raise ContentError(f"The query has no join {alias}{like(alias, aliases)}", place)
        if isinstance(value, Mapping):
            for name, item in value.items():
                if name != "stages":  # those of a join are a query by themselves
                    walk(item, (*place, name))
        elif isinstance(value, list):
            for position, item in enumerate(value):
                walk(item, (*place, position))

    for number, stage in enumerate(query["stages"]):
        known = {
            "expression": options_of(stage.get("expressions"), "lib/expression-name"),
            "aggregation": options_of(stage.get("aggregation"), "lib/uuid"),
        }
        walk(stage, (*key, "stages", number))


def dotted(names: Sequence[str | None]) -> str:
    """Return the names of a table or a column, without the database's."""
    return ".".join(name for name in names[1:] if name is not None)


class ToIds:
    """Names → Metabase's numbers."""

    def __init__(
        self, warehouse: Warehouse, ids: Mapping[str, Any], model_of: Callable[[str], str]
    ) -> None:
        """`ids` has the number of each entity by its `entity_id`."""
        self.warehouse = warehouse
        self.ids = ids
        self.model_of = model_of

    def database(self, value: Any) -> Any:
        """Return a database's number."""
        if value not in self.warehouse.databases:
            known = ", ".join(self.warehouse.databases) or "none"
            raise ContentError(f"Metabase has no database {value!r}; it has {known}")
        return self.warehouse.databases[value]

    def table(self, value: Any) -> Any:
        """Return a table's number."""
        name_of_table(value, ())
        self.database(value[0])
        found = self.warehouse.tables.get(tuple(value))
        if found is None:
            names = [key[2] for key in self.warehouse.tables if key[:2] == tuple(value[:2])]
            raise ContentError(f"Metabase has no table {dotted(value)}{like(value[2], names)}")
        return found

    def field(self, value: Any) -> Any:
        """Return a column's number; columns of an earlier stage stay as they are."""
        if isinstance(value, str):
            return value
        name_of_column(value, ())
        self.table(value[:3])
        found = self.warehouse.fields.get(tuple(value))
        if found is None:
            table = tuple(value[:3])
            names = [key[3] for key in self.warehouse.fields if key[:3] == table]
            raise ContentError(f"{dotted(table)} has no column {value[3]}{like(value[3], names)}")
        return found

    def entity(self, model: str, value: Any) -> Any:
        """Return the number of a card, a dashboard and so on."""
        if value is None:
            return None
        if value not in self.ids:
            raise ContentError(f"No file has the {model.lower()} {value}")
        if (found := self.model_of(value)) != model:
            raise ContentError(f"{value} is a {found.lower()}, no {model.lower()}")
        return self.ids[value]


class ToNames:
    """Metabase's numbers → names. What has no name stays a number."""

    def __init__(self, warehouse: Warehouse, entities: Mapping[tuple[str, int], str]) -> None:
        """`entities` has the `entity_id` of each number, by model."""
        self.warehouse = warehouse
        self.entities = entities

    def database(self, value: Any) -> Any:
        """Return a database's name."""
        return self.warehouse.names_of_databases.get(value, value)

    def table(self, value: Any) -> Any:
        """Return a table's names."""
        return self.warehouse.names_of_tables.get(value, value)

    def field(self, value: Any) -> Any:
        """Return a column's names; columns of an earlier stage have theirs."""
        return self.warehouse.names_of_fields.get(value, value)

    def entity(self, model: str, value: Any) -> Any:
        """Return an `entity_id`."""
        return self.entities.get((model, value), value)


def like(name: str, names: Sequence[str]) -> str:
    """Return a question after the name that was probably meant."""
    near = difflib.get_close_matches(name, names, n=1)
    return f". Is it {near[0]}?" if near else ""


LINKS = {"dashboard": "Dashboard", "question": "Card", "card": "Card", "dataset": "Card"}


def translate(value: Any, resolver: Resolver, key: Key = ()) -> Any:
    """Translate all references in a query, in settings or in parameters.

    Raises:
        ContentError: what is named is missing; with the place.
    """
    if isinstance(value, Mapping):
        return {
            settings_key(name, resolver, key): translate_item(
                name, item, value, resolver, (*key, name)
            )
            for name, item in value.items()
        }
    if isinstance(value, list):
        return translate_list(value, resolver, key)
    return value


def translate_item(
    name: str, item: Any, owner: Mapping[str, Any], resolver: Resolver, key: Key
) -> Any:
    """Translate what a mapping has under a name."""
    if item is None:
        return None
    try:
        match name:
            case "database" if "stages" in owner:
                return resolver.database(item)
            case "source-table" | "table-id":
                return resolver.table(item)
            case "source-field":
                return resolver.field(item)
            case "parent_id" | "collection_id" if len(key) == 1:
                return resolver.entity("Collection", item)
            case "dashboard_id" if len(key) == 1:
                return resolver.entity("Dashboard", item)
            case "source-card" | "card-id" | "card_id":
                return resolver.entity("Card", item)
            case "targetId" if owner.get("linkType") in LINKS:
                return resolver.entity(LINKS[owner["linkType"]], item)
            case "entity" if isinstance(item, Mapping) and item.get("model") in LINKS:
                return {**item, "id": resolver.entity(LINKS[item["model"]], item["id"])}
    except ContentError as error:
        raise ContentError(str(error), error.key or key) from None
    return translate(item, resolver, key)


def translate_list(value: list[Any], resolver: Resolver, key: Key) -> Any:
    """Translate a clause, or a list of anything."""
    place = (*key, 2)
    try:
        match value:
            case ["field", Mapping() as options, target]:  # a query's
                return ["field", translate(options, resolver, (*key, 1)), resolver.field(target)]
            case ["field", target, options] if options is None or isinstance(options, Mapping):
                # A parameter's: the options come last.
                place = (*key, 1)
                return ["field", resolver.field(target), translate(options, resolver, (*key, 2))]
            case ["segment", Mapping() as options, target]:
                return ["segment", options, resolver.entity("Segment", target)]
            case ["metric", Mapping() as options, target]:
                return ["metric", options, resolver.entity("Card", target)]
    except ContentError as error:
        raise ContentError(str(error), error.key or place) from None
    return [translate(item, resolver, (*key, i)) for i, item in enumerate(value)]


def settings_key(name: str, resolver: Resolver, key: Key) -> str:
    """Translate a column's key in `column_settings`: JSON that may hold a reference."""
    if key[-1:] == ("column_settings",) and name.startswith('["ref"'):
        try:
            reference = json.loads(name)
        except ValueError:
            raise ContentError(f"The key `{name}` is no JSON", (*key, name)) from None
        return json.dumps(translate(reference, resolver, key), separators=(",", ":"))
    return name


def with_uuids(query: Any, seed: str) -> Any:
    """Give each clause of a query the `lib/uuid` that Metabase's library works by.

    Those that the file has stay. The others follow from the seed and the place, so that the same
    file always gives the same query.
    """

    def walk(value: Any, place: str) -> Any:
        match value:
            case dict():
                items = {name: walk(item, f"{place}/{name}") for name, item in value.items()}
                if isinstance(tags := items.get("template-tags"), list):
                    items["template-tags"] = {tag["name"]: tag for tag in tags}
                if "conditions" in value and "stages" in value:
                    options = items.get("lib/options") or {"lib/uuid": made(place)}
                    return {"lib/type": "mbql/join", **items, "lib/options": options}
                return items
            case [str() as operator, dict() as options, *arguments]:
                walked = [walk(item, f"{place}/{i}") for i, item in enumerate(arguments)]
                return [operator, {"lib/uuid": made(place), **options}, *walked]
            case list():
                return [walk(item, f"{place}/{i}") for i, item in enumerate(value)]
        return value

    def made(place: str) -> str:
        return str(uuid.uuid5(NAMESPACE, f"{seed}{place}"))

    return walk(query, "")


VOLATILE = frozenset({"lib/uuid", "lib/options", "lib/metadata", "info", "ident"})


def without_uuids(query: Any, keep: Mapping[str, str] | None = None) -> Any:
    """Remove what Metabase adds to a query; an aggregation that is referred to keeps an ID.

    Args:
        query: With names or with numbers.
        keep: The ID to write for each `lib/uuid` that something refers to; by default, its position
            among them, so that two queries that mean the same are equal.
    """
    if keep is None:
        keep = {item: f"#{i}" for i, item in enumerate(referred(query))}

    def walk(value: Any) -> Any:
        match value:
            case ["aggregation", dict() as options, str() as target]:
                return ["aggregation", clean(options), keep.get(target, target)]
            case ["field", dict() as options, target] if not isinstance(target, str):
                kept = {k: v for k, v in options.items() if k not in TYPES}
                return ["field", clean(kept), target]
            case [str() as operator, dict() as options, *arguments]:
                cleaned = clean(options)
                if options.get("lib/uuid") in keep:
                    cleaned["lib/uuid"] = keep[options["lib/uuid"]]
                return [operator, cleaned, *(walk(item) for item in arguments)]
            case list():
                return [walk(item) for item in value]
            case dict():
                if "conditions" in value:
                    value = {k: v for k, v in value.items() if k != "lib/type"}
                tags = value.get("template-tags")
                if isinstance(tags, dict):
                    value = {**value, "template-tags": list(tags.values())}
                return {k: walk(v) for k, v in value.items() if k not in VOLATILE}
        return value

    def clean(options: dict[str, Any]) -> dict[str, Any]:
        return {k: walk(v) for k, v in options.items() if k not in VOLATILE}

    return walk(query)


TYPES = frozenset({"base-type", "effective-type"})


def referred(query: Any) -> list[str]:
    """Return the `lib/uuid`s that clauses refer to, in the order in which their clauses come."""
    targets: set[str] = set()
    order: list[str] = []

    def walk(value: Any) -> None:
        match value:
            case ["aggregation", dict(), str() as target]:
                targets.add(target)
            case [str(), dict() as options, *_] if "lib/uuid" in options:
                order.append(options["lib/uuid"])
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(query)
    return [item for item in order if item in targets]
