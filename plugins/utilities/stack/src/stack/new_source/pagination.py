"""Finds out how an API pages, and follows one step to make sure.

What can be proposed is what tap-rest-api-msdk can do. Its `hateoas_paginator` and its Link header
(`restapi_header_link_paginator`) fail in version 1.4.2; the styles below don't.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from stack.new_source.fetch import Answer, Request, attempt
from stack.new_source.records import Record, at, step
from stack.terminal import StackError

NEXT_URL = re.compile(
    r"^@?(odata\.)?next_?(page|link|url|href|page_?(url|link|uri))?$|^href$", re.I
)
CURSOR = re.compile(
    r"^(next_?)?(page_?)?(cursor|token|marker|bookmark)$|^next(_?(page|offset|id|key|after))?$"
    r"|^(continuation|end|scroll)_?(token|cursor|id)?$|^after$|^offset$",
    re.I,
)
CURSOR_PARAMS = (
    "cursor",
    "page_token",
    "after",
    "starting_after",
    "token",
    "offset",
    "next",
    "page",
)
MORE = re.compile(r"^(has_?(more|next)(_?pages?|_?items|_?results)?|more|is_?truncated)$", re.I)
LAST_ID_PARAMS = ("starting_after", "after", "after_id", "since_id", "last_id", "from_id", "since")
TOTAL_PAGES = re.compile(
    r"^(total_?pages?|num_?pages?|page_?count|pages|last_?page|pages_?total)$", re.I
)
PAGE_PARAMS = ("page", "page_number", "pageNumber", "page[number]", "p", "_page")
OFFSET_PARAMS = ("offset", "skip", "start", "_start", "startAt", "startIndex", "from")
SIZE_PARAMS = (
    *("limit", "per_page", "perPage", "page_size", "pageSize", "size", "count", "first", "take"),
    *("top", "$top", "max_results", "maxResults", "page[size]", "results_per_page", "_limit"),
)
FAR = 1_000_000
"""A page that no API has."""
DEPTH = 4


@dataclass(frozen=True)
class Paging:
    """How an API pages.

    Attributes:
        config: the tap's settings; None where the tap can't follow.
        why: what says so, in a few words.
        page: the second page's records, if one was read.
        dropped: parameters that the tap sends by itself.
    """

    config: Mapping[str, Any] | None
    why: str
    page: tuple[Record, ...] = ()
    dropped: tuple[str, ...] = ()


SINGLE: Mapping[str, Any] = {"pagination_request_style": "single_page_paginator"}


@dataclass
class Pager:
    """Looks for what pages an answer.

    Attributes:
        answer: the first page.
        path: JSONPath of its records.
        key: the property that tells them apart, as the API sends it; none if it is nested.
        is_last: whether the answer says that there is nothing after it.
    """

    answer: Answer
    path: str
    key: str | None = None
    is_last: bool = field(default=False, init=False)

    @property
    def request(self) -> Request:
        """What was asked for."""
        return self.answer.request

    @property
    def records(self) -> list[Record]:
        """The first page's records."""
        return at(self.path, self.answer.document)

    @property
    def records_list(self) -> str:
        """JSONPath of the list of records."""
        return self.path.removesuffix("[*]")

    def find(self, *, may_ask_for_less: bool = True) -> Paging:
        """Return how the API pages.

        Args:
            may_ask_for_less: whether an API that seems to have but one page may be asked for a
                shorter one, so that there is a second.

        Raises:
            StackError: it does in a way that the tap can't follow.
        """
        ways = (
            self._next_url, self._header, self._cursor, self._link,
            self._last_id, self._page_number, self._offset,
        )  # fmt: skip
        for way in ways:
            if found := way():
                return found
        if may_ask_for_less and (shorter := self._shorter()):
            found = shorter.find(may_ask_for_less=False)
            if found.config != SINGLE:
                return found
        if self.is_last:
            return self._untried()
        return Paging(SINGLE, "nothing says that there is another page")

    def _shorter(self) -> "Pager | None":
        """Return the first page as it is when one record less is asked for."""
        less = len(self.records) - 1
        given = [name for name in SIZE_PARAMS if name in self.request.params]
        for param in given or SIZE_PARAMS[:2] if less else ():
            params = {**self.request.params, param: str(less)}
            answer = attempt(replace(self.request, params=params))
            if answer and len(at(self.path, answer.document)) == less:
                return Pager(answer, self.path, self.key)
        return None

    def _untried(self) -> Paging:
        """Return what the marks of a last page say: nothing could be followed from it."""
        for path, name, value in self._beside():
            if value is None and NEXT_URL.match(name) and not name.lower().startswith("next_page"):
                return Paging(_next_url(path), f"{path} is there, and null: not tried")
            if value in (None, "") and CURSOR.match(name):
                param = self._param(CURSOR_PARAMS)
                return Paging(
                    _cursor(path, param), f"{path} is there, and empty: `{param}` is a guess"
                )
        return Paging(SINGLE, "the answer says that there is no other page")

    def _beside(self) -> Iterator[tuple[str, str, Any]]:
        """Yield path, name and value of whatever isn't a record."""
        return _scalars(self.answer.document, "$", 0, self.records_list)

    def _param(self, names: tuple[str, ...]) -> str:
        return next((name for name in names if name in self.request.params), names[0])

    def _follow(self, **params: str | int) -> tuple[Record, ...] | None:
        """Return the records that come with other parameters, unless they are the same again."""
        asked = {**self.request.params, **{name: str(value) for name, value in params.items()}}
        answer = attempt(replace(self.request, params=asked))
        return self._new(answer) if answer else None

    def _new(self, answer: Answer) -> tuple[Record, ...] | None:
        records = at(self.path, answer.document)
        seen = self.records
        fresh = [r for r in records if isinstance(r, dict) and r not in seen]
        return tuple(fresh) if fresh and len(fresh) == len(records) else None

    def _next_url(self) -> Paging | None:
        for path, name, value in self._beside():
            if not NEXT_URL.match(name) or (name.lower() == "href" and ".next" not in path.lower()):
                continue
            if value is None:
                self.is_last = True
            if not isinstance(value, str) or not re.match(r"https?://|/", value):
                continue
            url = urlsplit(urljoin(self.request.url, value))
            if url.netloc != urlsplit(self.request.url).netloc:
                message = (
                    f"{path} leads to another host, {url.netloc}, where the tap can't follow. Give "
                    "an example URL of that host."
                )
                raise StackError(message)
            address = f"{url.scheme}://{url.netloc}{url.path}"
            params = {**self.request.params, **dict(parse_qsl(url.query))}
            answer = attempt(replace(self.request, url=address, params=params))
            if answer and (page := self._new(answer)):
                return Paging(
                    _next_url(path), f"{path} is the next page's address; followed it", page
                )
        return None

    def _header(self) -> Paging | None:
        value = self.answer.headers.get("X-Next-Page")
        if value is None:
            return None
        self.is_last |= not value
        param = self._param(PAGE_PARAMS)
        if value and (page := self._follow(**{param: value})):
            config = {
                "pagination_request_style": "simple_header_paginator",
                "pagination_next_page_param": param,
            }
            return Paging(config, f"the header X-Next-Page names page {value}; followed it", page)
        return None

    def _cursor(self) -> Paging | None:
        for path, name, value in self._beside():
            # An `offset` that is a number is where this page begins.
            if not CURSOR.match(name) or type(value) not in (str, int, type(None)):
                continue
            if name.lower() == "offset" and isinstance(value, int):
                continue
            if value in (None, ""):
                self.is_last = True
                continue
            stripped = re.sub(r"^(next|end)_?", "", name, flags=re.I) or "page"
            given = [n for n in self.request.params if CURSOR.match(n) or n in PAGE_PARAMS]
            likely = stripped[0].lower() + stripped[1:]
            for param in list(dict.fromkeys([*given, likely, *CURSOR_PARAMS, name]))[:8]:
                if page := self._follow(**{param: value}):
                    why = f"{path} is the next page's `{param}`; followed it"
                    return Paging(_cursor(path, param), why, page, (param,))
        return None

    def _link(self) -> Paging | None:
        """Return what a Link header comes to: the tap can't read it, but may do what it says."""
        if "next" not in self.answer.links:
            return None
        query = dict(parse_qsl(urlsplit(self.answer.links["next"]).query))
        before = self.request.params
        changed = {k: v for k, v in query.items() if before.get(k) != v and k not in SIZE_PARAMS}
        for param, value in changed.items():
            why = f"the Link header asks for `{param}={value}`"
            if param in PAGE_PARAMS and (found := self._by_page(param, why)):
                return found
            is_offset = value.isdigit() and int(value) == len(self.records)
            if is_offset and (found := self._by_offset(param, why)):
                return found
            is_last_id = bool(self.key) and str(self.records[-1].get(self.key or "")) == value
            if is_last_id and (found := self._by_last_id(param, why)):
                return found
        message = (
            f"The API pages by a Link header with {', '.join(changed) or 'no parameters'}, which "
            "tap-rest-api-msdk can't follow. Look for a tap of its own on PyPI, or, if the first "
            "page is all that you want, say so with `--one-page`."
        )
        raise StackError(message)

    def _last_id(self) -> Paging | None:
        for path, name, value in self._beside():
            if not MORE.match(name) or not isinstance(value, bool):
                continue
            if not value:
                self.is_last = True
                continue
            why = f"{path} says that there is more"
            if self.key:
                for param in dict.fromkeys([self._param(LAST_ID_PARAMS), *LAST_ID_PARAMS]):
                    if found := self._by_last_id(param, why):
                        return found
            for param in PAGE_PARAMS[:3]:
                number = int(self.request.params.get(param) or 1)
                if page := self._follow(**{param: number + 1}):
                    return Paging(
                        _page(path, param, number), f"{why}; `{param}` turns it", page, (param,)
                    )
        return None

    def _by_last_id(self, param: str, why: str) -> Paging | None:
        last = self.records[-1].get(self.key or "")
        if last is None or not (page := self._follow(**{param: last})):
            return None
        path = f"{self.records_list}[-1:]{step(self.key or '')}"
        return Paging(
            _cursor(path, param),
            f"{why}; `{param}` takes the last record's {self.key}",
            page,
            (param,),
        )

    def _page_number(self) -> Paging | None:
        given = [name for name in PAGE_PARAMS if name in self.request.params]
        total = next(
            ((p, v) for p, n, v in self._beside() if TOTAL_PAGES.match(n) and type(v) is int), None
        )
        if total and total[1] <= 1:
            self.is_last = True
            return None
        if self.is_last:
            return None
        why = f"{total[0]} counts {total[1]} pages" if total else ""
        for param in given or PAGE_PARAMS[: 3 if total else 1]:
            if found := self._by_page(param, why):
                return found
        return None

    def _by_page(self, param: str, why: str) -> Paging | None:
        """Return page numbers, if they work, and end: with a page that has no records."""
        written = self.request.params.get(param) or "1"
        if not written.isdigit():
            return None
        page = self._follow(**{param: int(written) + 1})
        if not page:
            return None
        beyond = attempt(replace(self.request, params={**self.request.params, param: str(FAR)}))
        if beyond is None or at(self.path, beyond.document):
            message = (
                f"The API has numbered pages (`{param}`), but nothing in them that the tap could "
                f"know the last one by: page {FAR:,} "
                + ("is an error" if beyond is None else "has records too")
                + ". Look for a tap of its own on PyPI, or, if the first page is all that you "
                "want, say so with `--one-page`."
            )
            raise StackError(message)
        why = "; ".join(filter(None, [why, f"`{param}` turns the page, until one is empty"]))
        path = f"{self.records_list}[0]"
        return Paging(_page(path, param, int(written)), why, page, (param,))

    def _offset(self) -> Paging | None:
        if self.is_last:
            return None
        return self._by_offset(self._param(OFFSET_PARAMS), "")

    def _by_offset(self, param: str, why: str) -> Paging | None:
        """Return offsets, if they work; the page that is shorter than the others is the last."""
        size = len(self.records)
        start = self.request.params.get(param) or "0"
        if not start.isdigit() or not (page := self._follow(**{param: int(start) + size})):
            return None
        limit = self._param(SIZE_PARAMS)
        config = {
            "pagination_request_style": "simple_offset_paginator",
            "pagination_response_style": "offset",
            "pagination_next_page_param": param,
            "pagination_initial_offset": int(start),
            "pagination_limit_per_page_param": limit,
            "pagination_page_size": size,
        }
        if self.path != "$[*]":
            config["offset_records_jsonpath"] = self.records_list
        why = "; ".join(filter(None, [why, f"`{param}` and `{limit}` turn the page"]))
        return Paging(config, why, page, (param, limit))


def merge(found: Mapping[str, Paging]) -> Mapping[str, Any]:
    """Return the one configuration that suits all streams, since the tap has one for all.

    Raises:
        StackError: there is none.
    """
    configs = {stream: paging.config or SINGLE for stream, paging in found.items()}
    several = {stream: config for stream, config in configs.items() if config != SINGLE}
    distinct = list({repr(config): config for config in several.values()}.values())
    if not distinct:
        return SINGLE
    # A stream of one page ends by itself only where the next page is named in the answer.
    ends = distinct[0]["pagination_request_style"] in (
        "jsonpath_paginator",
        "simple_header_paginator",
    )
    if len(distinct) > 1 or (len(several) < len(configs) and not ends):
        ways = "; ".join(f"{stream}: {paging.why}" for stream, paging in found.items())
        message = (
            "These streams page in different ways, of which tap-rest-api-msdk takes one a source: "
            f"{ways}. Make a source of each, with a name of its own."
        )
        raise StackError(message)
    return distinct[0]


def _scalars(value: Any, path: str, depth: int, records: str) -> Iterator[tuple[str, str, Any]]:
    if not isinstance(value, dict) or depth >= DEPTH or path == records:
        return
    for name, below in value.items():
        if isinstance(below, dict):
            yield from _scalars(below, path + step(name), depth + 1, records)
        elif not isinstance(below, list):
            yield path + step(name), name, below


def _next_url(path: str) -> Mapping[str, Any]:
    return {
        "pagination_request_style": "jsonpath_paginator",
        "pagination_response_style": "hateoas_body",
        "next_page_token_path": path,
    }


def _cursor(path: str, param: str) -> Mapping[str, Any]:
    return {
        "pagination_request_style": "jsonpath_paginator",
        "next_page_token_path": path,
        "pagination_next_page_param": param,
    }


def _page(path: str, param: str, first: int) -> Mapping[str, Any]:
    return {
        "pagination_request_style": "page_number_paginator",
        "next_page_token_path": path,
        "pagination_next_page_param": param,
        "pagination_initial_offset": first,
    }
