"""What the routes share: who asks, the state, and the rows that a path names."""

from typing import Annotated, Any, Literal

from fastapi import Body, Depends, Header, Query, Request

from sandbox.metabase import auth, errors
from sandbox.metabase.store import Store, User
from sandbox.metabase.sync import Syncer


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _syncer(request: Request) -> Syncer:
    syncer: Syncer = request.app.state.syncer
    return syncer


StoreOf = Annotated[Store, Depends(_store)]
SyncerOf = Annotated[Syncer, Depends(_syncer)]
JsonBody = Annotated[Any, Body()]
Flag = Annotated[Literal["true", "false"], Query()]


def viewer_of(
    store: StoreOf,
    x_api_key: Annotated[str | None, Header()] = None,
    x_metabase_session: Annotated[str | None, Header()] = None,
) -> User:
    """Return the user whose key or session the request bears."""
    with store.read() as state:
        return auth.authenticated(state, x_api_key, x_metabase_session)


Viewer = Annotated[User, Depends(viewer_of)]


def refuse_unknown_query_keys(request: Request) -> None:
    """Refuse a query key that the route doesn't declare: it might change Metabase's answer."""
    declared = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    if unknown := sorted(request.query_params.keys() - declared):
        keys = ", ".join(unknown)
        raise errors.not_implemented(f"the query keys {keys} of {request.url.path}")


def found[Row](rows: dict[int, Row], row_id: int) -> Row:
    """The row.

    Raises:
        ApiError: 404.
    """
    if row_id not in rows:
        raise errors.not_found()
    return rows[row_id]


def writable[Row](rows: dict[int, Row], row_id: int, viewer: User) -> Row:
    """Return the row if the user may change it.

    Raises:
        ApiError: 404, else 403.
    """
    row = found(rows, row_id)
    check_superuser(viewer)
    return row


def check_superuser(viewer: User) -> None:
    """Refuse users who are no administrators, with 403."""
    if not viewer.is_superuser:
        raise errors.forbidden()
