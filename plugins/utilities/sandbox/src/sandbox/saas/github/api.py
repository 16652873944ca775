"""The routes of GitHub's API that tap-github calls for issues and pull requests.

They follow https://docs.github.com/rest. All other requests are refused.
"""

import base64
import hmac
import re
import time
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from sandbox.saas.documents import Body
from sandbox.saas.github.world import ORGANISATION, REPOSITORY
from sandbox.saas.simple import refuse_unknown_parameters
from sandbox.saas.store import Store, store_of

# 5,000 per hour.
RATE_LIMIT = (5_000, 3_600.0)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
REPOSITORIES_ASKED_FOR = re.compile(r'(\w+): repository\(name: "([^"]*)", owner: "([^"]*)"\)')


def authorised(request: Request, secret: str) -> bool:
    """Tell whether the request has the token."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("token ")
    return hmac.compare_digest(given.encode(), secret.encode())


def unauthorised() -> Response:
    """401: a request without the token, or with a wrong one."""
    return JSONResponse({"message": "Bad credentials"}, 401)


def rate_limited(seconds: float) -> Response:
    """429: too many requests."""
    headers = {**_allowance(), "X-RateLimit-Remaining": "0", "Retry-After": str(int(seconds) + 1)}
    return JSONResponse({"message": "API rate limit exceeded"}, 403, headers)


def server_error() -> Response:
    """500: a failure of GitHub."""
    return JSONResponse({"message": "Server Error"}, 500)


def unknown_route(path: str) -> Response:
    """404: a route that GitHub or the fake doesn't have."""
    return JSONResponse({"message": "Not Found", "path": path}, 404)


def _allowance() -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(RATE_LIMIT[0]),
        "X-RateLimit-Remaining": str(RATE_LIMIT[0] - 1),
        "X-RateLimit-Used": "1",
        "X-RateLimit-Reset": str(int(time.time() + RATE_LIMIT[1])),
        "X-RateLimit-Resource": "core",
    }


def _tell_allowance(response: Response) -> None:
    response.headers.update(_allowance())


router = APIRouter(dependencies=[Depends(_tell_allowance)])
StoreOf = Annotated[Store, Depends(store_of("github"))]


class GraphQuery(BaseModel):
    """A GraphQL query."""

    query: str


@router.get("/rate_limit")
def show_rate_limit() -> Body:
    """Show how many requests are left. The tap uses this to validate a token."""
    core = {"limit": RATE_LIMIT[0], "remaining": RATE_LIMIT[0] - 1, "used": 1}
    return {"resources": {"core": core}, "rate": core}


@router.post("/graphql")
def find_repositories(order: GraphQuery, store: StoreOf) -> Body:
    """Answer the tap's only query: the IDs of some repositories."""
    asked_for = REPOSITORIES_ASKED_FOR.findall(order.query)
    if not asked_for:
        return {"errors": [{"message": "The fake knows repository(name:, owner:) only."}]}
    found: Body = {"rateLimit": {"cost": 1}}
    for alias, name, owner in asked_for:
        repository = store.find("repository", "body->>'full_name' = %s", [f"{owner}/{name}"])
        found[alias] = repository and {
            "nameWithOwner": repository[0]["full_name"],
            "databaseId": repository[0]["id"],
        }
    return {"data": {alias: value or None for alias, value in found.items()}}


@router.get("/repos/{owner}/{name}")
def get_repository(owner: str, name: str, store: StoreOf) -> Body:
    """Show a repository."""
    found = store.find("repository", "body->>'full_name' = %s", [f"{owner}/{name}"])
    if not found:
        raise HTTPException(404, "Not Found")
    return found[0]


@router.get("/repos/{owner}/{name}/issues", dependencies=[Depends(refuse_unknown_parameters)])
def list_issues(
    owner: str,
    name: str,
    request: Request,
    response: Response,
    store: StoreOf,
    state: Literal["all"],  # noqa: ARG001
    sort: Literal["updated"],  # noqa: ARG001
    direction: Literal["asc"],  # noqa: ARG001
    per_page: Annotated[int, Query(ge=1, le=100)] = 30,
    since: datetime = LONG_AGO,
    after: str = "",
) -> list[Body]:
    """List issues, which include pull requests, by the time of their last change."""
    if (owner, name) != (ORGANISATION, REPOSITORY):
        raise HTTPException(404, "Not Found")
    skipped = _skipped(after)
    found = store.find(
        "issue",
        "updated_at >= %s",
        [since],
        order="updated_at, id",
        limit=per_page + 1,
        offset=skipped,
    )
    if len(found) > per_page:
        cursor = base64.b64encode(f"cursor:{skipped + per_page}".encode()).decode()
        query = urlencode({**request.query_params, "after": cursor})
        response.headers["Link"] = (
            f'<https://api.github.com/repositories/1/issues?{query}>; rel="next"'
        )
    return found[:per_page]


def _skipped(after: str) -> int:
    """Return the number of objects before a page, from its cursor."""
    if not after:
        return 0
    try:
        return int(base64.b64decode(after).decode().removeprefix("cursor:"))
    except ValueError:
        raise HTTPException(422, "Validation Failed") from None
