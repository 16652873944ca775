"""Asks a REST API for one answer, and says what is wrong with it in words that help."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests

from stack.terminal import StackError

TIMEOUT = (10, 30)
MEBIBYTE = 2**20
LARGEST = 64 * MEBIBYTE
"""How much of an answer is read; an example page is smaller by far."""
SECRET = re.compile(r"key|token|secret|passw|auth|signature|session|cookie", re.IGNORECASE)
AUTHORISE = "give a key with `--header 'Authorization: Bearer …'`"
FIXES = {
    400: "Does the API know all of the URL's parameters?",
    401: f"It wants to know who asks: {AUTHORISE}, or whatever header its documentation names.",
    403: f"Who asks may not read this: {AUTHORISE}, of a key that may.",
    404: "Is the path right?",
    429: "It has been asked too often: wait a little.",
}


@dataclass(frozen=True)
class Request:
    """What to ask: an address without its query, the query, and headers."""

    url: str
    params: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The address without what is secret in it."""
        params = {k: "…" if SECRET.search(k) else v for k, v in self.params.items()}
        return f"{self.url}?{urlencode(params, safe='…:,[]/')}" if params else self.url


@dataclass(frozen=True)
class Answer:
    """What the API said.

    Attributes:
        request: to what.
        document: the body.
        headers: in any case.
        links: those of the Link header, by relation.
    """

    request: Request
    document: Any
    headers: Mapping[str, str]
    links: Mapping[str, str]


def split(url: str, headers: Mapping[str, str]) -> Request:
    """Take a URL apart.

    Raises:
        StackError: it holds a password, or isn't one.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        message = f"'{url}' isn't a URL: it goes `https://api.example.com/v1/pages?limit=50`."
        raise StackError(message)
    if parts.password or parts.username:
        message = (
            f"The URL of {parts.hostname} holds a user or password. Give them as a header instead: "
            "`--header 'Authorization: Basic <user:password in base64>'`."
        )
        raise StackError(message)
    address = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return Request(address, dict(parse_qsl(parts.query, keep_blank_values=True)), headers)


def fetch(request: Request) -> Answer:
    """Ask.

    Raises:
        StackError: there is no answer, or none that is JSON, or too large a one.
    """
    host = urlsplit(request.url).netloc
    try:
        with requests.get(
            request.url,
            params=dict(request.params),
            headers=dict(request.headers),
            timeout=TIMEOUT,
            stream=True,
        ) as response:
            body = _body(response)
    except requests.Timeout:
        message = (
            f"{host} hasn't answered {request.shown} in {TIMEOUT[1]} seconds. Try a smaller page."
        )
        raise StackError(message) from None
    except requests.RequestException as error:
        message = f"{host} can't be reached: {_reason(error)}. Check the address and the network."
        raise StackError(message) from None
    text = body[:MEBIBYTE].decode(response.encoding or "utf-8", errors="replace")
    if not response.ok:
        said = _start(text)
        fix = FIXES.get(response.status_code, "Try again later.")
        message = (
            f"{request.shown} answers {response.status_code} {response.reason}"
            + (f": {said}" if said else "")
            + f". {fix}"
        )
        raise StackError(message)
    if len(body) > LARGEST:
        message = (
            f"{request.shown} answers with more than {LARGEST // MEBIBYTE} MiB. Ask for a smaller "
            f"page."
        )
        raise StackError(message)
    if not body.strip():
        message = f"{request.shown} answers {response.status_code} with nothing. Is the path right?"
        raise StackError(message)
    try:
        document = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        kind = response.headers.get("Content-Type", "something").split(";")[0]
        message = (
            f"{request.shown} answers with {kind}, not JSON: {_start(text)!r}. Is it the "
            f"API's address, not a page for people? If one has to log in, {AUTHORISE}."
        )
        raise StackError(message) from None
    except (ValueError, RecursionError):
        message = (
            f"{request.shown} answers with JSON that is nested too deeply, or holds a number of "
            f"thousands of digits: no tap can read it. Is it the right path?"
        )
        raise StackError(message) from None
    links = {name: link["url"] for name, link in response.links.items() if "url" in link}
    return Answer(request, document, response.headers, links)


def attempt(request: Request) -> Answer | None:
    """Ask for something that there may not be."""
    try:
        return fetch(request)
    except StackError:
        return None


def _body(response: requests.Response) -> bytes:
    """Return what an answer holds, or a little more than is read of one."""
    body = bytearray()
    for part in response.iter_content(2**16):
        body += part
        if len(body) > LARGEST:
            break
    return bytes(body)


def _start(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 200 else f"{words[:200]}…"


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate isn't trusted"
    # What lies below says it without the whole address.
    below = str(error).rsplit(": ", 1)[-1].rstrip(")'\"")
    return re.sub(r"^\[Errno -?\d+\] ", "", below) or type(error).__name__
