"""The routes of Intercom's API that tap-intercom calls, as version 2.12 documents them.

All other requests are refused, in Intercom's format.
"""

import hmac
import logging
import re
import time
from html import unescape
from math import ceil
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi import Body as RequestBody
from fastapi.responses import Response

from sandbox.saas.documents import Body
from sandbox.saas.intercom import errors, people
from sandbox.saas.intercom.scroll import Scrolls
from sandbox.saas.intercom.search import (
    CONTACTS,
    CONVERSATIONS,
    MOST_PER_PAGE,
    Page,
    find_page,
    search,
)
from sandbox.saas.store import Store, store_of

logger = logging.getLogger(__name__)

VERSION = "2.12"
# 10,000 per minute, divided evenly over windows of ten seconds.
RATE_LIMIT = (1_667, 10.0)
MOST_PARTS = 500


def authorised(request: Request, secret: str) -> bool:
    """Tell whether the request has the access token."""
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {secret}".encode())


def unauthorised() -> Response:
    """401: a request without the access token, or with a wrong one."""
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
PerPage = Annotated[int, Query(ge=1, le=MOST_PER_PAGE)]

router = APIRouter(
    route_class=errors.Route,
    dependencies=[Depends(_check_version), Depends(_refuse_unknown_parameters)],
)
scrolls = Scrolls()


# --- The help desk itself


@router.get("/admins")
def list_admins(store: StoreOf) -> Body:
    """List the admins."""
    return {"type": "admin.list", "admins": store.find("admin")}


@router.get("/admins/{id_}")
def retrieve_admin(id_: str, store: StoreOf) -> Body:
    """Show an admin."""
    admin = store.one("admin", id_)
    if admin is None:
        raise errors.ApiError(404, "admin_not_found", "Admin not found")
    return admin


@router.get("/teams")
def list_teams(store: StoreOf) -> Body:
    """List the teams."""
    return {"type": "team.list", "teams": store.find("team")}


@router.get("/tags")
def list_tags(store: StoreOf) -> Body:
    """List the tags."""
    return {"type": "list", "data": store.find("tag")}


# --- Companies


@router.get("/companies/scroll")
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


@router.post("/contacts/search")
def search_contacts(store: StoreOf, body: JsonBody) -> Body:
    """Find contacts; searches by time compare days."""
    return _contact_list(search(store, CONTACTS, body))


@router.get("/contacts")
def list_contacts(
    store: StoreOf, per_page: PerPage = 50, starting_after: str | None = None
) -> Body:
    """List all contacts."""
    page = find_page(
        store,
        CONTACTS,
        "true",
        [],
        sort=("id", "asc"),
        per_page=per_page,
        starting_after=starting_after,
    )
    return _contact_list(page)


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


# tap-intercom writes a second slash when it joins the URL of a contact; Intercom accepts it.
# The tap asks for plain text everywhere, also where there are no messages.
@router.get("/contacts/{id_}/tags")
@router.get("//contacts/{id_}/tags")
def list_tags_of_contact(
    id_: str,
    store: StoreOf,
    display_as: DisplayAs = None,  # noqa: ARG001
    per_page: PerPage = 50,
) -> Body:
    """List all tags of a contact."""
    return _attached(store, id_, "tag", "tags", per_page)


@router.get("/contacts/{id_}/companies")
@router.get("//contacts/{id_}/companies")
def list_companies_of_contact(
    id_: str,
    store: StoreOf,
    display_as: DisplayAs = None,  # noqa: ARG001
    per_page: PerPage = 50,
) -> Body:
    """List all companies of a contact."""
    return _attached(store, id_, "company", "companies", per_page)


def _attached(store: Store, id_: str, kind: str, what: str, per_page: int) -> Body:
    """Return the attachments of a contact, on one page: no contact here has more."""
    attached = _contact(store, id_)[what]["data"]
    if len(attached) > per_page:
        raise errors.bad_parameter("per_page")
    objects = [_found(store, kind, one["id"]) for one in attached]
    return {"type": "list", "data": objects}


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


@router.post("/conversations/search")
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


@router.get("/conversations/{id_}")
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
