"""The routes of Intercom's API that the project's manifest asks, as version 2.16 documents them.

All other requests are refused, in Intercom's format. The hosts of the regions EU and AU are the
paths `/eu` and `/au`.
Source: https://github.com/intercom/Intercom-OpenAPI, descriptions/2.16
"""

import hmac
import logging
import os
import re
import time
from html import unescape
from math import ceil
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi import Body as RequestBody
from fastapi.responses import Response

from sandbox.saas.documents import Body
from sandbox.saas.intercom import errors, people
from sandbox.saas.intercom.scroll import Scrolls
from sandbox.saas.intercom.search import (
    CONTACTS,
    CONVERSATIONS,
    Page,
    search,
)
from sandbox.saas.store import Store, store_of

logger = logging.getLogger(__name__)

VERSION = "2.16"
# 10,000 per minute, divided evenly over windows of ten seconds.
RATE_LIMIT = (1_667, 10.0)
MOST_PARTS = 500
MOST_DELETED_PER_PAGE = 60
COMPANIES_PER_PAGE = 50
REGIONAL_PATHS = {"eu": "EU", "au": "AU"}


def authorised(request: Request, secret: str) -> bool:
    """Tell whether the request has the access token, and its host knows the workspace.

    api.intercom.io routes requests to the workspace's region; the others know their own only.
    Source: https://developers.intercom.com/building-apps/docs/rest-apis
    """
    given = request.headers.get("authorization", "")
    region = REGIONAL_PATHS.get(request.url.path.split("/")[2])
    is_known = region in (None, os.environ.get("INTERCOM_REGION") or "US")
    return is_known and hmac.compare_digest(given.encode(), f"Bearer {secret}".encode())


def unauthorised() -> Response:
    """401: a request without the access token, or with one that is wrong or of another region."""
    return errors.ApiError(401, "unauthorized", "Access Token Invalid").response()


def rate_limited(seconds: float) -> Response:
    """429: too many requests."""
    requests, window = RATE_LIMIT
    message = f"Exceeded rate limit of {requests} in {window:.0f}_seconds"
    headers = {
        "X-RateLimit-Limit": str(requests),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(ceil(time.time() + seconds)),
        "Retry-After": str(ceil(seconds)),
    }
    return errors.ApiError(429, "rate_limit_exceeded", message).response(headers)


def server_error() -> Response:
    """Intercom's own failure."""
    return errors.ApiError(500, "server_error", "Server Error").response()


def unknown_route(path: str) -> Response:
    """404: a route that Intercom or the fake doesn't have."""
    logger.warning("Intercom: there is no route for %s", path)
    return errors.not_found("The requested resource was not found").response()


def _check_version(intercom_version: Annotated[str, Header()] = VERSION) -> None:
    if intercom_version != VERSION:
        raise errors.ApiError(
            400, "intercom_version_invalid", "The requested version could not be found"
        )


def _refuse_unknown_parameters(request: Request) -> None:
    declared = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    for name in sorted(request.query_params.keys() - declared):
        raise errors.bad_parameter(name)


StoreOf = Annotated[Store, Depends(store_of("intercom"))]
JsonBody = Annotated[Any, RequestBody()]
DisplayAs = Annotated[Literal["plaintext"] | None, Query()]
Page_ = Annotated[int, Query(alias="page", ge=1)]
DeletedPerPage = Annotated[int, Query(ge=1, le=MOST_DELETED_PER_PAGE)]

routes = APIRouter(
    route_class=errors.Route,
    dependencies=[Depends(_check_version), Depends(_refuse_unknown_parameters)],
)
scrolls = Scrolls()


# --- The help desk itself


@routes.get("/admins")
def list_admins(store: StoreOf, *, display_avatar: bool = False) -> Body:
    """List the admins, with their avatars if that is asked for."""
    admins = store.find("admin")
    if not display_avatar:
        admins = [{k: v for k, v in admin.items() if k != "avatar"} for admin in admins]
    return {"type": "admin.list", "admins": admins}


@routes.get("/teams")
def list_teams(store: StoreOf) -> Body:
    """List the teams."""
    return {"type": "team.list", "teams": store.find("team")}


@routes.get("/tags")
def list_tags(store: StoreOf) -> Body:
    """List the tags."""
    return {"type": "list", "data": store.find("tag")}


# --- Companies


@routes.get("/companies/scroll")
def scroll_over_companies(store: StoreOf, scroll_param: str | None = None) -> Body:
    """Show the first page of all companies, or the next one."""
    if scroll_param is None:
        scrolls.check_free()
        page, parameter = scrolls.open(store.find("company"))
    else:
        page, parameter = scrolls.go_on(scroll_param)
    return {
        "type": "list",
        "data": page,
        "pages": None,
        "total_count": None,
        "scroll_param": parameter,
    }


# --- Contacts


@routes.post("/contacts/search")
def search_contacts(store: StoreOf, body: JsonBody) -> Body:
    """Find contacts; searches by time compare days."""
    return _contact_list(search(store, CONTACTS, body))


def _contact_list(page: Page) -> Body:
    return {
        "type": "list",
        "data": [_listed_contact(contact) for contact in page.objects],
        "total_count": page.total_count,
        "pages": page.pages,
    }


def _listed_contact(contact: Body) -> Body:
    """Return a contact with the first ten of its tags and companies."""
    return contact | {
        what: contact[what] | {"data": contact[what]["data"][: people.LISTED_IN_FULL]}
        for what in ("tags", "companies")
    }


@routes.get("/contacts/{id_}/tags")
def list_tags_of_contact(id_: str, store: StoreOf) -> Body:
    """List all tags of a contact."""
    return {"type": "list", "data": _attached(store, id_, "tag", "tags")}


@routes.get("/contacts/{id_}/companies")
def list_companies_of_contact(id_: str, request: Request, store: StoreOf, page: Page_ = 1) -> Body:
    """List all companies of a contact."""
    attached = _attached(store, id_, "company", "companies")
    found, pages = _numbered(attached, page, COMPANIES_PER_PAGE, request)
    # `data` is from Intercom's example; its schema calls the list `companies`.
    return {"type": "list", "data": found, "pages": pages, "total_count": len(attached)}


def _attached(store: Store, id_: str, kind: str, what: str) -> list[Body]:
    return [_found(store, kind, one["id"]) for one in _contact(store, id_)[what]["data"]]


def _numbered(
    objects: list[Body], page: int, per_page: int, request: Request
) -> tuple[list[Body], Body]:
    """Return a page by its number, and the links to others."""
    total_pages = ceil(len(objects) / per_page)
    pages: Body = {
        "type": "pages",
        "next": None,
        "page": page,
        "per_page": per_page,
        "total_pages": total_pages,
    }
    if page < total_pages:
        path = request.url.path.removeprefix("/intercom")
        query = urlencode({**request.query_params, "page": page + 1})
        pages["next"] = f"https://api.intercom.io{path}?{query}"
    return objects[(page - 1) * per_page : page * per_page], pages


def _contact(store: Store, id_: str) -> Body:
    contact = store.one("contact", id_)
    if contact is None:
        raise errors.not_found("User Not Found")
    return contact


def _found(store: Store, kind: str, id_: str) -> Body:
    object_ = store.one(kind, id_)
    if object_ is None:
        raise errors.not_found("Resource Not Found")
    return object_


# --- Conversations


@routes.post("/conversations/search")
def search_conversations(store: StoreOf, body: JsonBody) -> Body:
    """Find conversations, without their parts."""
    page = search(store, CONVERSATIONS, body)
    return {
        "type": "conversation.list",
        "pages": page.pages,
        "total_count": page.total_count,
        "conversations": [_without_parts(conversation) for conversation in page.objects],
    }


def _without_parts(conversation: Body) -> Body:
    return {key: value for key, value in conversation.items() if key != "conversation_parts"}


@routes.get("/conversations/deleted")
def list_deleted_conversations(
    request: Request,
    store: StoreOf,
    page: Page_ = 1,
    per_page: DeletedPerPage = 20,
    order: Literal["asc", "desc"] = "desc",
) -> Body:
    """List the IDs of deleted conversations, in their order."""
    deleted = sorted(store.find("deleted_conversation"), key=lambda each: int(each["id"]))
    if order == "desc":
        deleted.reverse()
    found, pages = _numbered(deleted, page, per_page, request)
    return {
        "type": "conversations.list",
        "conversations": found,
        "total_count": len(deleted),
        "pages": pages,
    }


@routes.get("/conversations/{id_}")
def retrieve_conversation(id_: str, store: StoreOf, display_as: DisplayAs = None) -> Body:
    """Show a conversation with its parts, the latest 500."""
    conversation = _found(store, "conversation", id_)
    parts = conversation["conversation_parts"]
    parts["conversation_parts"] = parts["conversation_parts"][-MOST_PARTS:]
    if display_as == "plaintext":
        for message in (conversation["source"], *parts["conversation_parts"]):
            message["body"] = message["body"] and plain_text(message["body"])
    return conversation


def plain_text(html: str) -> str:
    """Return the text of a message, with one line per paragraph."""
    lines = re.sub(r"</(p|pre)>(?=.)|<br>", "\n", html, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", "", lines))


router = APIRouter()
for prefix in ("", *(f"/{path}" for path in REGIONAL_PATHS)):
    router.include_router(routes, prefix=prefix)
