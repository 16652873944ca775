"""How a tool's API reads the tool's documents: directly from Postgres."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, LiteralString

from fastapi import Request
from psycopg import Connection, sql

from sandbox.saas.documents import Body


class Store:
    """The documents of one tool."""

    def __init__(self, connection: Connection[Any], tool: str) -> None:
        self._connection = connection
        self._tool = tool

    def one(self, kind: str, id_: str) -> Body | None:
        """Return an object by its ID."""
        return next(iter(self.find(kind, "id = %s", [id_])), None)

    def find(
        self,
        kind: str,
        where: LiteralString = "true",
        parameters: Iterable[Any] = (),
        *,
        order: LiteralString = "created_at, id",
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Body]:
        """Find objects of a kind; `where` and `order` may use id, body, created_at, updated_at."""
        statement = sql.SQL(
            "select body from sandbox.documents where tool = %s and kind = %s and ({}) "
            "order by {} limit %s offset %s"
        ).format(sql.SQL(where), sql.SQL(order))
        rows = self._connection.execute(
            statement, (self._tool, kind, *parameters, limit, offset)
        ).fetchall()
        return [body for (body,) in rows]

    def count(
        self, kind: str, where: LiteralString = "true", parameters: Iterable[Any] = ()
    ) -> int:
        """Return the number of objects that `find` would return without a limit."""
        statement = sql.SQL(
            "select count(*) from sandbox.documents where tool = %s and kind = %s and ({})"
        ).format(sql.SQL(where))
        ((count,),) = self._connection.execute(
            statement, (self._tool, kind, *parameters)
        ).fetchall()
        return int(count)


def store_of(tool: str) -> Callable[[Request], Iterator[Store]]:
    """A dependency that gives routes the tool's documents."""

    def store(request: Request) -> Iterator[Store]:
        with request.app.state.connections.connection() as connection:
            yield Store(connection, tool)

    return store
