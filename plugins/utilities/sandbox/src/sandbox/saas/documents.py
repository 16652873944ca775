"""The objects that a tool's API serves, as JSON documents.

They are in the product's Postgres, in the schema `sandbox`, so that a tick changes the product and
the tools in one transaction.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

Body = dict[str, Any]

SCHEMA = """
create table sandbox.documents (
    tool text not null,         -- such as close
    kind text not null,         -- such as lead; one that begins with _ is served by no API
    id text not null,
    body jsonb not null,        -- the object as the API answers it
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tool, kind, id)
);
create index on sandbox.documents (tool, kind, updated_at, id);
create index on sandbox.documents (tool, kind, created_at, id);
"""


@dataclass
class Document:
    """An object of a tool; `body["id"]` is its key among objects of its kind."""

    body: Body
    created_at: datetime
    updated_at: datetime


class Documents:
    """All documents of one tool in memory, with a record of the changed ones."""

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self._kinds: dict[str, dict[str, Document]] = defaultdict(dict)
        self._put: set[tuple[str, str]] = set()
        self._deleted: set[tuple[str, str]] = set()

    @classmethod
    def load(cls, connection: Connection[Any], tool: str) -> "Documents":
        """Read a tool's documents, oldest first within a kind."""
        documents = cls(tool)
        rows = connection.execute(
            "select kind, id, body::text, created_at, updated_at from sandbox.documents "
            "where tool = %s order by created_at, id",
            (tool,),
        )
        for kind, id_, body, created_at, updated_at in rows:
            documents._kinds[kind][id_] = Document(json.loads(body), created_at, updated_at)
        return documents

    def of(self, kind: str) -> list[Body]:
        """Return every object of a kind, in the order of creation."""
        return [document.body for document in self._kinds[kind].values()]

    def get(self, kind: str, id_: str) -> Body | None:
        """Return an object, or None. After a change, `put` it again."""
        document = self._kinds[kind].get(id_)
        return document.body if document else None

    def changed_at(self, kind: str, id_: str) -> datetime:
        """Return the time when an object was last written."""
        return self._kinds[kind][id_].updated_at

    def put(self, kind: str, body: Body, at: datetime) -> None:
        """Add an object that was created at a time, or replace one that changed then."""
        id_ = str(body["id"])
        known = self._kinds[kind].get(id_)
        self._kinds[kind][id_] = Document(body, known.created_at if known else at, at)
        self._put.add((kind, id_))
        self._deleted.discard((kind, id_))

    def delete(self, kind: str, id_: str) -> None:
        """Remove an object for good."""
        del self._kinds[kind][id_]
        self._put.discard((kind, id_))
        self._deleted.add((kind, id_))

    def save(self, connection: Connection[Any]) -> int:
        """Write the changed objects, in the connection's transaction; return their number."""
        with connection.cursor() as cursor:
            cursor.executemany(
                "delete from sandbox.documents where tool = %s and kind = %s and id = %s",
                [(self.tool, kind, id_) for kind, id_ in self._deleted | self._put],
            )
            with cursor.copy("copy sandbox.documents from stdin") as copy:
                for kind, id_ in sorted(self._put):
                    document = self._kinds[kind][id_]
                    copy.write_row(
                        (
                            *(self.tool, kind, id_, Jsonb(document.body)),
                            *(document.created_at, document.updated_at),
                        )
                    )
        changed = len(self._put | self._deleted)
        self._put.clear()
        self._deleted.clear()
        return changed
