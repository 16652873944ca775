"""What the emulator need not ask or translate again: the answers are as before, and come sooner.

local-bigquery 0.3.2 asks DuckDB about each name in a statement several times, and translates a
statement anew each time that it comes. Here, an answer is remembered until a statement changes it.
"""

import functools
import json
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import duckdb

Key = tuple[str, ...]
"""Project, dataset and table, as DuckDB has them."""

NAME = r'"(?:[^"]|"")+"'
FULL_NAME = re.compile(rf"(?:{NAME}|\w+)(?:\.(?:{NAME}|\w+)){{2}}")
"""DuckDB quotes a part only if it has to when it shows a view's SQL."""
DEFINITION = re.compile(
    r"\s*(?:(?P<create>create)(?:\s+or\s+replace)?|drop|alter)\s+(?P<kind>table|view)\s+"
    rf"(?:if\s+(?:not\s+)?exists\s+)?(?P<name>{NAME}\.{NAME}\.{NAME})(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that makes, changes or drops a table or view, as DuckDB is given it."""
RENAMING = re.compile(r"\s+rename\s+to\b", re.IGNORECASE)
ANY_DEFINITION = re.compile(
    r"\s*(?:create|drop|alter|attach|detach)\s+"
    r"(?!(?:or\s+replace\s+)?temp|table\s+(?:if\s+exists\s+)?temp\.)",
    re.IGNORECASE,
)
"""The same, of whatever is not temporary."""
NOT_REMEMBERED = re.compile(
    r"@|information_schema|external_query|system_time|session_user|\*`|\btemp(?:orary)?\b",
    re.IGNORECASE,
)
"""Statements whose translation depends on more than the columns of the tables in them."""
KEYS, STATEMENTS, JOBS = 10_000, 400, 400
"""How many are remembered."""


def do_without_pandas() -> None:
    """Let DuckDB find at once that pandas isn't here.

    It looks for pandas at each statement with parameters, and Python remembers no module that it
    hasn't found.
    """
    if find_spec("pandas") is None:
        sys.modules["pandas"] = None  # type: ignore[assignment]


class Memory:
    """Answers about what is named by a key, until that may have changed."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._known: dict[Key, dict[str, Any]] = {}
        self._versions: dict[Key, int] = {}
        self._all = 0
        self.changes = 0
        """How often something, or everything, may have changed."""

    def version(self, key: Key) -> int:
        """Return another version each time that what the key names may have changed."""
        with self._lock:
            return self._versions.get(key, self._all)

    def known(self, key: Key, question: str) -> Any:
        """Return the answer to a question; None if it isn't remembered."""
        with self._lock:
            return self._known.get(key, {}).get(question)

    def remember[T](self, key: Key, question: str, ask: Callable[[], T]) -> T:
        """Return the answer to a question, asked unless it is remembered."""
        with self._lock:
            known = self._known.get(key, {})
            if question in known:
                found: T = known[question]
                return found
            before = self.version(key)
        answer = ask()
        with self._lock:
            if len(self._known) > KEYS:
                self._known.clear()
            # If it has changed meanwhile, this may be how it was before.
            if self.version(key) == before:
                self._known.setdefault(key, {})[question] = answer
        return answer

    def forget(self, key: Key) -> None:
        """Forget what the key names."""
        with self._lock:
            if len(self._versions) > KEYS:
                self.forget_all()
                return
            self.changes += 1
            self._known.pop(key, None)
            self._versions[key] = self.changes

    def forget_all(self) -> None:
        """Forget everything."""
        with self._lock:
            self.changes += 1
            self._known.clear()
            self._versions.clear()
            self._all = self.changes


class Catalog(Memory):
    """What tables and views are like, until a statement changes that."""

    def __init__(self) -> None:
        super().__init__()
        self._in_views: set[Key] = set()

    def forget(self, key: Key) -> None:
        """Forget a table; and everything if a view reads it, because its columns are the view's."""
        with self._lock:
            if key in self._in_views:
                self.forget_all()
            else:
                super().forget(key)

    def note_view(self, sql: str) -> None:
        """Note the tables that a view reads."""
        with self._lock:
            self._in_views |= {_key(found[0]) for found in FULL_NAME.finditer(sql)}

    def redefined(self, sql: str) -> None:
        """Take notice of a definition that DuckDB has run.

        dbt replaces tables and views by what has the same columns: then nothing is forgotten.
        """
        found = DEFINITION.match(sql)
        if not found or RENAMING.match(found["rest"]):
            self.forget_all()
            return
        key, kind = _key(found["name"]), found["kind"].upper()
        if kind == "VIEW":
            self.note_view(found["rest"])
        columns = self.known(key, "columns")
        if not (
            found["create"]
            and columns is not None
            and self.known(key, "kind") == kind
            and not self.known(key, "is hidden")
            and "_PARTITIONTIME" not in sql
            and columns == _columns_now(key)
        ):
            self.forget(key)


CATALOG = Catalog()


def _key(name: str) -> Key:
    parts = re.findall(rf"{NAME}|\w+", name)
    return tuple(p[1:-1].replace('""', '"') if p.startswith('"') else p for p in parts)


def _columns_now(key: Key) -> Any:
    """Return the columns of a table of the catalog as they are now; None if it isn't there."""
    from local_bigquery.catalog import tables
    from local_bigquery.errors import BigQueryError

    try:
        return tables.columns.__wrapped__(*key)
    except (BigQueryError, duckdb.Error):
        return None


def look_tables_up_once() -> None:
    """Remember what a table is and has.

    local-bigquery 0.3.2 asks DuckDB's functions, which read the whole catalog, several times a
    query. Rows are counted: DuckDB's estimate has deleted ones.
    """
    from local_bigquery.catalog import datasets, tabledata, tables
    from local_bigquery.engine import database
    from local_bigquery.sql.rules import partitions

    all_objects, columns, exists = database.objects, tables.columns, datasets.exists
    hidden = partitions._hidden
    of_name = "select 1 from duckdb_{kind}s() where (database_name, schema_name, {kind}_name)"

    def kind_of(key: Key) -> str | None:
        with database.cursor() as cursor:
            try:
                cursor.table(database.quote(*key))
            except duckdb.CatalogException:
                kind = "view"
            else:
                kind = "table"
        # DuckDB finds a name in any case, and BigQuery doesn't. The result of a query is asked for
        # by those who know its name.
        is_there = kind == "table" and key[0] == "emulator"
        if is_there or database.fetch(f"{of_name.format(kind=kind)} = (?, ?, ?)", list(key)):
            return kind.upper()
        return None

    @functools.wraps(all_objects)
    def objects(project: str, dataset: str | None, table: str | None = None) -> Any:
        if table is None or dataset is None:  # a temporary table is in no dataset
            return all_objects(project, dataset, table)
        key = project, dataset, table
        kind = CATALOG.remember(key, "kind", lambda: kind_of(key))
        if kind != "TABLE":
            return [(table, kind, 0)] if kind else []
        with database.cursor() as cursor:
            try:
                counting = f"select count(*) from {database.quote(*key)}"
                ((rows,),) = cursor.execute(counting).fetchall()
            except duckdb.CatalogException:  # Dropped since a moment.
                return []
        return [(table, "TABLE", rows)]

    @functools.wraps(columns)
    def columns_once(project: str, dataset: str, table: str) -> Any:
        key = tables.physical(project, dataset, table)
        return list(CATALOG.remember(key, "columns", lambda: columns(project, dataset, table)))

    def exists_once(project: str, dataset: str) -> bool:
        found: bool = CATALOG.remember(
            (project, dataset), "exists", lambda: exists(project, dataset)
        )
        return found

    def hidden_once(table: Any) -> bool:
        key = (table.catalog, table.db, table.name)
        found: bool = CATALOG.remember(key, "is hidden", lambda: hidden(table))
        return found

    database.objects, datasets.exists, partitions._hidden = objects, exists_once, hidden_once
    tables.columns = tabledata.columns = columns_once


def look_columns_up_by_name() -> None:
    """Ask for the columns of one table, which costs the same however many tables there are.

    local-bigquery 0.3.2 asks DuckDB's function, which reads the whole catalog.
    """
    from local_bigquery.engine import database
    from local_bigquery.jobs.storage import literal

    fetch = database.fetch

    @functools.wraps(fetch)
    def fetch_by_name(sql: str, parameters: list[Any] | None = None) -> Any:
        if "FROM duckdb_columns() " not in sql or not parameters:
            return fetch(sql, parameters)
        table = database.quote(*parameters[:3])
        names = [literal(name) for name in parameters[:3]]
        columns = f"""(
            select {names[0]} as database_name, {names[1]} as schema_name, {names[2]} as table_name,
                name as column_name, not "notnull" as is_nullable
            from pragma_table_info({literal(table)})
        )"""
        with database.cursor() as cursor:
            try:
                cursor.table(table)
                found = cursor.execute(sql.replace("duckdb_columns()", columns), parameters)
                return found.fetchall()
            except duckdb.CatalogException:  # A view has none that is NOT NULL or hidden.
                return []

    database.fetch = fetch_by_name


def read_metadata_once() -> None:
    """Remember what local-bigquery has stored of datasets, tables, functions and so on."""
    from local_bigquery.catalog import metadata, row_access, tables
    from local_bigquery.engine import database
    from local_bigquery.models import Routine, RowAccessPolicy, Table

    rows = Memory()
    save, delete, secured = metadata.save, metadata.delete, row_access.secured

    def read(kind: str, keys: Key) -> list[str]:
        where = metadata._where(kind, len(keys))
        sql = f"select resource from emulator.{kind} where {where}"
        return [resource for (resource,) in database.fetch(sql, list(keys))]

    def list_once(model: Any, *keys: str) -> Any:
        kind = metadata.KINDS[model]
        found = rows.remember((kind, *keys), "rows", lambda: read(kind, keys))
        return [model.model_validate_json(resource) for resource in found]

    def forget(model: Any, keys: Key) -> None:
        kind = metadata.KINDS[model]
        if len(keys) < len(database.RESOURCES[kind]):  # all that is in a dataset, say
            rows.forget_all()
        for length in range(len(keys) + 1):
            rows.forget((kind, *keys[:length]))
        if model in (Routine, RowAccessPolicy):
            CATALOG.forget_all()

    @functools.wraps(save)
    def save_and_forget(resource: Any, *keys: str) -> Any:
        saved = save(resource, *keys)
        forget(type(resource), keys)
        if isinstance(resource, Table) and _has_rules(resource):
            CATALOG.forget(tables.physical(*keys))
        return saved

    @functools.wraps(delete)
    def delete_and_forget(model: Any, *keys: str) -> None:
        delete(model, *keys)
        forget(model, keys)

    def secured_once() -> Any:
        return CATALOG.remember(("",), "secured", secured)

    metadata.list_, metadata.save, metadata.delete = list_once, save_and_forget, delete_and_forget
    row_access.secured = secured_once


def _has_rules(table: Any) -> bool:
    """Tell whether a table is for some statements only, or for some time."""
    return bool(table.expirationTime or table.requirePartitionFilter or table.type == "SNAPSHOT")


def keep_jobs_in_memory() -> None:
    """Write a job down when it is asked for and when it is done, and read it from memory.

    local-bigquery 0.3.2 also writes down that it runs, has DuckDB look for conflicts each time,
    and reads it several times.
    """
    from local_bigquery.engine import database
    from local_bigquery.jobs import store
    from local_bigquery.models import Job

    lock = threading.Lock()
    running: dict[Key, str] = {}
    done: OrderedDict[Key, str] = OrderedDict()
    save, load, list_, delete = store.save, store.load, store.list_, store.delete

    def write(key: Key, state: str, resource: str) -> bool:
        ((known,),) = database.fetch(
            # It may be done since it was looked at.
            "update emulator.jobs set state = ?, resource = ? "
            "where project_id = ? and job_id = ? and state <> 'DONE'",
            [state, resource, *key],
        )
        return bool(known)

    @functools.wraps(save)
    def save_in_memory(job: Any) -> Any:
        key = job.jobReference.projectId, job.jobReference.jobId
        state, resource = job.status.state, json.dumps(job.dump())
        with lock:
            is_known = key in running
        if not is_known or (state == "DONE" and not write(key, state, resource)):
            save(job)
        with lock:
            if state != "DONE":
                running[key] = resource
            else:
                running.pop(key, None)
                done[key] = resource
                while len(done) > JOBS:
                    done.popitem(last=False)
        return job

    @functools.wraps(load)
    def load_from_memory(*key: str) -> Any:
        with lock:
            resource = running.get(key) or done.get(key)
        return Job.model_validate_json(resource) if resource else load(*key)

    @functools.wraps(list_)
    def list_as_they_are(*arguments: Any, **options: Any) -> Any:
        with lock:
            unwritten = dict(running)
        for key, resource in unwritten.items():
            write(key, json.loads(resource)["status"]["state"], resource)
        return list_(*arguments, **options)

    @functools.wraps(delete)
    def delete_everywhere(*key: str) -> None:
        delete(*key)
        with lock:
            running.pop(key, None)
            done.pop(key, None)

    store.save, store.load = save_in_memory, load_from_memory
    store.list_, store.delete = list_as_they_are, delete_everywhere


@dataclass(frozen=True)
class Translation:
    """A statement for DuckDB, and the tables that it reads, with their versions."""

    sql: str
    reads: dict[Key, tuple[Key, int]]

    @property
    def holds(self) -> bool:
        """Whether each table that it reads is as it was."""
        return all(CATALOG.version(key) == version for key, version in self.reads.values())


@dataclass(frozen=True)
class Statement:
    """The text of one statement, parsed. Nobody changes the trees."""

    trees: list[Any]
    parts: dict[int, list[Any]] = field(default_factory=dict)
    translations: dict[tuple[int, str, str | None], Translation] = field(default_factory=dict)


class Statements:
    """The statements that came last. A tree of theirs is found by its identity, while it lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_text: OrderedDict[str, Statement] = OrderedDict()
        self._by_tree: dict[int, Statement] = {}

    def of_text(self, text: str) -> Statement | None:
        """Return the statement of a text."""
        with self._lock:
            if found := self._by_text.get(text):
                self._by_text.move_to_end(text)
            return found

    def of_tree(self, tree: Any) -> Statement | None:
        """Return the statement that a tree, or a part of it, is of."""
        with self._lock:
            return self._by_tree.get(id(tree))

    def add(self, text: str, statement: Statement) -> None:
        """Add a statement, and drop the one that hasn't come for longest."""
        with self._lock:
            if text in self._by_text:
                return
            self._by_text[text] = statement
            self._by_tree |= {id(tree): statement for tree in statement.trees}
            if len(self._by_text) > STATEMENTS:
                _, oldest = self._by_text.popitem(last=False)
                for tree in [*oldest.trees, *(p for ps in oldest.parts.values() for p in ps)]:
                    self._by_tree.pop(id(tree), None)

    def add_parts(self, statement: Statement, tree: Any, parts: list[Any]) -> None:
        """Note the statements that one is split into."""
        with self._lock:
            if id(tree) in self._by_tree:
                statement.parts[id(tree)] = parts
                self._by_tree |= {id(part): statement for part in parts}


def translate_once() -> None:
    """Remember the translations of statements, until a table that they read has changed.

    dbt sends the same models and tests at each build.
    """
    from local_bigquery.catalog import metadata, row_access, tables
    from local_bigquery.jobs import query
    from local_bigquery.models import Table
    from local_bigquery.sql import script
    from local_bigquery.sql.rules import ddl
    from sqlglot import exp

    remembered = Statements()
    parse, split, translate = script.parse, ddl.split, query.translate

    def is_plain(tree: Any) -> bool:
        if isinstance(tree, exp.Create):
            return tree.args.get("kind") in ("TABLE", "VIEW")
        return isinstance(tree, exp.Query | exp.Insert | exp.Update | exp.Delete)

    def parse_once(text: str) -> Any:
        if found := remembered.of_text(text):
            return found.trees
        trees = parse(text)
        if all(map(is_plain, trees)) and not NOT_REMEMBERED.search(text):
            remembered.add(text, Statement(trees))
        return trees

    def split_once(tree: Any) -> Any:
        statement = remembered.of_tree(tree)
        if statement is None:
            return split(tree)
        if (parts := statement.parts.get(id(tree))) is None:
            parts = split(tree)
            remembered.add_parts(statement, tree, parts)
        return parts

    def depends_on_columns_only(references: set[Key]) -> bool:
        stored = (metadata.load(Table, *reference) for reference in references)
        return not row_access.secured() and not any(one and _has_rules(one) for one in stored)

    @functools.wraps(translate)
    def translate_remembered(tree: Any, context: Any) -> Any:
        statement = remembered.of_tree(tree)
        if statement is None or any(
            (context.values, context.temporary, context.functions, context.variables)
        ):
            return translate(tree, context)
        name = id(tree), context.project_id, context.dataset_id
        found = statement.translations.get(name)
        if found and found.holds:
            context.used.clear()
            context.referenced |= {*found.reads}
            return found.sql, {}
        before, others = CATALOG.changes, context.referenced
        context.referenced = set()
        try:
            sql, bound = translate(tree, context)
        finally:
            references = context.referenced
            context.referenced = others | references
        if depends_on_columns_only(references):
            reads = {reference: tables.physical(*reference) for reference in references}
            versions = {reference: (key, CATALOG.version(key)) for reference, key in reads.items()}
            # Otherwise a table may have changed since it was looked at.
            if CATALOG.changes == before:
                statement.translations[name] = Translation(sql, versions)
        return sql, bound

    script.parse, ddl.split, query.translate = parse_once, split_once, translate_remembered


def remember_answers() -> None:
    """Let the emulator remember all of this."""
    do_without_pandas()
    look_columns_up_by_name()
    look_tables_up_once()
    read_metadata_once()
    keep_jobs_in_memory()
    translate_once()
