"""The page at `/` shows what was synced.

The page is a tree of elements, so that the serialiser escapes everything.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from xml.etree.ElementTree import Element, tostring

from sandbox.metabase.semantics import FOREIGN_KEY, PRIMARY_KEY
from sandbox.metabase.store import Database, Field, State, Table

_GROUPS = (
    ("Dimensions", "dim_", "The things the company deals with: one row for each."),
    ("Facts", "fct_", "What happened, to be counted and summed up."),
    ("Staging", "stg_", "One cleaned table for each table of a source."),
    ("Other tables", "", "Tables whose names bear no prefix that the project uses."),
)

type Node = Element | str | None


def tag(name: str, /, *children: Node, **attributes: str) -> Element:
    """An element. `class_` stands for `class`, `data_text` for `data-text`."""
    element = Element(name, {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif child is not None and len(element):
            element[-1].tail = (element[-1].tail or "") + child
        elif child is not None:
            element.text = (element.text or "") + child
    return element


def render(state: State) -> str:
    """Return the whole page, with its style and script."""
    databases = [_Shown(state, database) for database in state.databases.values()]
    root = document(
        "Fake Metabase",
        tag(
            "header",
            tag("h1", "Fake Metabase"),
            tag(
                "p",
                tag("strong", "This is not Metabase."),
                " This fake runs on your own machine: it takes what is sent to Metabase (names,"
                " descriptions, types and join keys of tables; questions and dashboards), runs"
                " the questions on the local BigQuery, and shows what Metabase would show.",
            ),
            class_="masthead",
        ),
        _dashboards(state),
        *(_database(database) for database in databases),
        script="page.js",
    )
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html")


def document(title: str, *body: Node, script: str) -> Element:
    """A whole page, with the style of all pages and the script of an asset."""
    return tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("link", rel="icon", href="data:,"),
            tag("style", asset("page.css") + asset("dashboard.css")),
        ),
        tag("body", *body, tag("script", asset(script))),
        lang="en",
    )


def _dashboards(state: State) -> Node:
    """A link to each dashboard: the pinned ones first, in their order."""
    rows = sorted(
        (row for row in state.dashboards.values() if not row.archived),
        key=lambda row: (row.collection_position or 1000, row.name),
    )
    if not rows:
        return None
    return tag(
        "section",
        tag("h2", "Dashboards"),
        tag(
            "div",
            *(
                tag(
                    "a",
                    tag("h3", row.name),
                    tag("p", row.description) if row.description else None,
                    href=f"/dashboard/{row.id}",
                )
                for row in rows
            ),
            class_="dashboards",
        ),
        class_="wide",
    )


@dataclass
class _Shown:
    """A database with its active tables and fields."""

    state: State
    database: Database

    def __post_init__(self) -> None:
        self.tables = [t for t in self.state.tables_of(self.database.id) if t.active]
        self.fields = {
            table.id: [
                field
                for field in self.state.fields_of(table.id)
                if field.active and field.visibility_type != "retired"
            ]
            for table in self.tables
        }
        all_fields = [field for fields in self.fields.values() for field in fields]
        self.columns = len(all_fields)
        self.join_keys = sum(self.target(field) is not None for field in all_fields)
        self.described = sum(bool(field.description) for field in all_fields)
        self.references = Counter(
            field.fk_target_field_id for field in all_fields if self.target(field) is not None
        )

    def target(self, field: Field) -> Field | None:
        if field.semantic_type != FOREIGN_KEY or field.fk_target_field_id is None:
            return None
        return self.state.fields[field.fk_target_field_id]

    def groups(self) -> Iterable[tuple[str, str, list[Table]]]:
        """Yield title, explanation and tables of each group that isn't empty, marts first."""
        left = sorted(self.tables, key=lambda table: table.name)
        for title, prefix, explanation in _GROUPS:
            tables = [table for table in left if table.name.startswith(prefix)]
            left = [table for table in left if table not in tables]
            if tables:
                yield title, explanation, tables


def _database(shown: _Shown) -> Element:
    details = shown.database.details
    heading = tag(
        "div",
        tag("h2", shown.database.name),
        tag(
            "p",
            f"BigQuery · project {details['project-id']} · dataset "
            f"{details['dataset-filters-patterns']}",
            class_="muted",
        ),
    )
    if not shown.tables:
        return tag("main", heading, _not_yet_synced(), class_="empty")
    contents = [
        tag(
            "section",
            tag("h3", title),
            tag("p", explanation, class_="muted"),
            *(_table(shown, table) for table in tables),
            class_="group",
        )
        for title, explanation, tables in shown.groups()
    ]
    return tag(
        "main",
        _navigation(shown),
        tag(
            "div",
            heading,
            tag(
                "dl",
                _count(len(shown.tables), "tables"),
                _count(shown.columns, "columns"),
                _count(shown.described, "columns described"),
                _count(shown.join_keys, "join keys"),
                class_="counts",
            ),
            *contents,
            tag("p", "No table or column matches.", id="nothing", hidden="hidden"),
            class_="content",
        ),
    )


def _not_yet_synced() -> Element:
    return tag(
        "div",
        tag("h3", "Not yet synced"),
        tag("p", "No tables are known yet. Load, build and sync them with one command:"),
        tag("pre", tag("code", "meltano run product-daily")),
        tag("p", "Then load this page again.", class_="muted"),
        class_="card",
    )


def _count(number: int, of: str) -> Element:
    return tag("div", tag("dt", of), tag("dd", f"{number:,}"))


def _navigation(shown: _Shown) -> Element:
    return tag(
        "nav",
        tag(
            "input",
            id="filter",
            type="search",
            placeholder="Find a table or column…",
            autocomplete="off",
            aria_label="Find a table or column",
        ),
        *(
            tag(
                "div",
                tag("h4", title),
                tag(
                    "ul",
                    *(
                        tag(
                            "li",
                            tag("a", table.name, href=f"#{_anchor(table)}"),
                            data_for=_anchor(table),
                        )
                        for table in tables
                    ),
                ),
            )
            for title, _, tables in shown.groups()
        ),
    )


def _table(shown: _Shown, table: Table) -> Element:
    fields = shown.fields[table.id]
    return tag(
        "article",
        tag(
            "header",
            tag("h4", tag("a", table.display_name, href=f"#{_anchor(table)}")),
            tag("code", f"{table.schema}.{table.name}"),
            tag("span", table.visibility_type, class_="chip") if table.visibility_type else None,
        ),
        _description(table.description),
        tag(
            "div",
            tag(
                "table",
                tag(
                    "thead",
                    tag(
                        "tr",
                        *(tag("th", name) for name in ("Column", "Description", "Type", "Meaning")),
                    ),
                ),
                tag("tbody", *(_field(shown, table, field) for field in fields)),
            ),
            class_="scroll",
        ),
        id=_anchor(table),
        class_="card",
        data_text=f"{table.name} {table.display_name} {table.description or ''}".lower(),
    )


def _field(shown: _Shown, table: Table, field: Field) -> Element:
    path = ".".join([*(field.nfc_path or ()), field.name])
    return tag(
        "tr",
        tag("td", tag("strong", field.display_name), tag("code", path)),
        tag("td", _description(field.description)),
        tag("td", tag("code", field.database_type.lower())),
        tag("td", _meaning(shown, field)),
        id=_anchor(table, field),
        data_text=f"{path} {field.display_name} {field.description or ''}".lower(),
    )


def _description(text: str | None) -> Element:
    if not text:
        return tag("p", "No description.", class_="description missing")
    return tag("p", text, class_="description")


def _meaning(shown: _Shown, field: Field) -> Element | None:
    """The semantic type in words and, for a foreign key, a link to its target."""
    if (target := shown.target(field)) is not None:
        target_table = shown.state.tables[target.table_id]
        link = tag(
            "a",
            f"{target_table.name}.{target.name}",
            href=f"#{_anchor(target_table, target)}",
        )
        return tag("div", _chip(field), tag("div", "→ ", link), class_="key")
    if field.semantic_type is None:
        return None
    references = shown.references[field.id]
    if field.semantic_type == PRIMARY_KEY and references:
        columns = "column" if references == 1 else "columns"
        return tag("div", _chip(field), tag("div", f"← {references} {columns}"), class_="key")
    return _chip(field)


_KEY_NAMES = {PRIMARY_KEY: "Primary key", FOREIGN_KEY: "Foreign key"}


def _chip(field: Field) -> Element:
    semantic_type = field.semantic_type or ""
    # type/DeletionTimestamp → Deletion timestamp
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", semantic_type.removeprefix("type/"))
    label = _KEY_NAMES.get(semantic_type, words[:1] + words[1:].lower() if " " in words else words)
    kind = "chip relation" if semantic_type in _KEY_NAMES else "chip"
    return tag("span", label, class_=kind, title=semantic_type)


def _anchor(table: Table, field: Field | None = None) -> str:
    """Return an ID that is unique on the page, which shows the tables of all databases."""
    anchor = f"{table.db_id}.{table.schema}.{table.name}"
    return f"{anchor}.{field.id}" if field else anchor


def asset(name: str) -> str:
    """A file beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
