"""The survey tool's API: OAuth, pages by a cursor, and a filter by time of change."""

import base64
import hmac
import json
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Query, Request

from sandbox.saas import simple
from sandbox.saas.documents import Body
from sandbox.saas.simple import iso, refuse_unknown_parameters
from sandbox.saas.store import Store, store_of

TOKENS = "/oauth/token"
CLIENT_ID = "sandbox"
LONG_AGO = datetime.min.replace(tzinfo=UTC)
RATE_LIMIT = (600, 60.0)
unauthorised = simple.unauthorised
rate_limited = simple.rate_limited
server_error = simple.server_error
unknown_route = simple.unknown_route


def authorised(request: Request, secret: str) -> bool:
    """Tell whether the request has a token: a personal one, or one that `/oauth/token` gives."""
    if request.url.path == f"/surveys{TOKENS}":
        return True
    given = request.headers.get("authorization", "").encode()
    tokens = (secret, _access_token(secret))
    return any(hmac.compare_digest(given, f"Bearer {token}".encode()) for token in tokens)


def _access_token(secret: str) -> str:
    return hmac.digest(secret.encode(), b"access", "sha256").hex()


router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])
StoreOf = Annotated[Store, Depends(store_of("surveys"))]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.post(TOKENS)
async def refresh(request: Request) -> Body:
    """Give an access token for a refresh token, as RFC 6749 has it (section 6)."""
    secret = request.app.state.secrets["surveys"]
    given = dict(parse_qsl((await request.body()).decode()))
    known = {"client_id": CLIENT_ID, "client_secret": secret, "refresh_token": secret}
    if given.get("grant_type") != "refresh_token" or not known.items() <= given.items():
        raise HTTPException(400, "invalid_grant")
    return {"access_token": _access_token(secret), "token_type": "Bearer", "expires_in": 3600}


@router.get("/v1/surveys")
def list_surveys(store: StoreOf, limit: Limit = 25, cursor: str | None = None) -> Body:
    """List the active surveys."""
    return _page(store, "survey", LONG_AGO, limit, cursor)


@router.get("/v1/responses")
def list_responses(
    store: StoreOf,
    limit: Limit = 25,
    cursor: str | None = None,
    updated_since: datetime = LONG_AGO,
) -> Body:
    """List the answers, the last changed at the end; a time without a zone is in UTC."""
    if updated_since.tzinfo is None:
        updated_since = updated_since.replace(tzinfo=UTC)
    return _page(store, "response", updated_since, limit, cursor)


def _page(store: Store, kind: str, since: datetime, limit: int, cursor: str | None) -> Body:
    """Return a page and the cursor of the next one, which is null on the last page."""
    after, id_ = _position(cursor) if cursor else ("-infinity", "")
    found = store.find(
        kind,
        "date_trunc('second', updated_at) >= %s "
        "and (date_trunc('second', updated_at), id) > (%s::timestamptz, %s)",
        [since, after, id_],
        order="date_trunc('second', updated_at), id",
        limit=limit + 1,
    )
    page, more = found[:limit], len(found) > limit
    return {"data": page, "next_cursor": _cursor(page[-1]) if more else None}


def _cursor(last: Body) -> str:
    """Return an object's position in its list, as opaque text."""
    return base64.urlsafe_b64encode(json.dumps([last["updated_at"], last["id"]]).encode()).decode()


def _position(cursor: str) -> tuple[str, str]:
    try:
        position: Any = json.loads(base64.urlsafe_b64decode(cursor))
        updated_at, id_ = position
        return iso(datetime.fromisoformat(updated_at)), str(id_)
    except (TypeError, ValueError):
        raise HTTPException(400, f"{cursor} is no cursor that was given out.") from None
