"""A manifest from example URLs of a REST API: one page of each is fetched, the rest is guessed.

What is guessed is where the records are, their key, what says when one was changed, and how the API
pages. A way of paging is proposed only if following it once gave other records.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import requests
from stack.terminal import StackError, echo
from urllib3.exceptions import HTTPError

from source_files.new_source.source_file import CREDENTIAL, expanded, mapping

Record = dict[str, Any]
Component = dict[str, Any]
"""A part of a manifest."""

TIMEOUT = (10, 30)
LARGEST = 64 * 2**20
NOT_FOR_PEOPLE = "Give the address of an API, not of a page for people; and ask for a short page."
HARMLESS_HEADERS = ("accept", "content-type", "user-agent")
KEY = "Give a key with `--header 'Authorization: Bearer …'`, or in the header that the API names."
FIXES = {401: KEY, 403: KEY, 404: "Is the path right?", 429: "Wait a little: it was too often."}
NEXT_URL = re.compile(r"@?(odata\.)?next_?(page|link|url|href|page_?(url|link|uri))?|href", re.I)
CURSOR = re.compile(
    r"(next_?)?(page_?)?(cursor|token|marker|bookmark)|next_?(page|offset|id|key|after)?"
    r"|(continuation|end|scroll)_?(token|cursor|id)?|after",
    re.I,
)
CURSOR_PARAMS = ("cursor", "page_token", "after", "starting_after", "token", "offset", "page")
MORE = re.compile(r"has_?(more|next)(_?page)?|more|is_?truncated", re.I)
LAST_ID_PARAMS = ("starting_after", "after", "after_id", "since_id", "last_id")
PAGE_PARAMS = ("page", "page_number", "pageNumber", "page[number]", "p")
OFFSET_PARAMS = ("offset", "skip", "start", "startAt", "startIndex")
SIZE_PARAMS = ("limit", "per_page", "perPage", "page_size", "pageSize", "size", "count", "$top")
FAR = 1_000_000  # a page that no API has
KEYS = ("id", "uuid", "guid", "_id", "gid", "key", "urn", "uri", "slug", "code", "number", "sku")
CHANGED = re.compile(
    r"_?(date_?)?(last_?)?(updated|modified|changed|edited|update|modification|change)"
    r"(_?(at|on|date|time|timestamp|ts))?(_?utc)?",
    re.I,
)
SINCE = re.compile(r"since|after|from|start|min|gte?\b|updated|modified", re.I)
DATE, START = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"
FORMATS = (
    *(DATE, START, "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"),
    *("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S"),
)
EPOCHS = {10: ("%s", 1), 13: ("%ms", 1000)}  # formats and units of times by their digits
TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
TYPES |= {list: "array", dict: "object"}


@dataclass(frozen=True)
class Options:
    """What the user says instead of leaving it to a guess."""

    headers: Mapping[str, str] = field(default_factory=dict)
    records: str | None = None
    key: str | None = None
    replication_key: str | None = None
    one_page: bool = False


@dataclass(frozen=True)
class Page:
    """A request and its answer; `path` are the properties that lead to the list of records."""

    url: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    document: Any = None
    next_link: str | None = None
    path: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The address without secrets."""
        params = {k: "…" if CREDENTIAL.search(k) else v for k, v in self.params.items()}
        return f"{self.url}?{urlencode(params, safe='…:,[]/')}" if params else self.url

    @property
    def records(self) -> list[Record]:
        """The records, none where the path leads to no list of objects."""
        found = self.document
        for name in self.path:
            found = found.get(name) if isinstance(found, dict) else None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def next(self, params: Mapping[str, Any], url: str | None = None) -> "Page | None":
        """Return another page of the list; None if it has no records, or the same again."""
        found = self.asked(params, url)
        seen = found and any(row in self.records for row in found.records)
        return found if found and found.records and not seen else None

    def asked(self, params: Mapping[str, Any], url: str | None = None) -> "Page | None":
        """Return the same list at another address or with other parameters; None if it fails."""
        asked = {**self.params, **{name: str(value) for name, value in params.items()}}
        try:
            return replace(fetch(replace(self, url=url or self.url, params=asked)), path=self.path)
        except StackError:
            return None

    def values(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield what the answer holds, lists as a whole, by the properties that lead there."""
        waiting: list[tuple[tuple[str, ...], Any]] = [((), self.document)]
        for path, value in waiting:
            if isinstance(value, dict) and len(path) < 4:
                waiting += [((*path, name), below) for name, below in value.items()]
            else:
                yield path, value


def fetch(page: Page) -> Page:
    """Return a page with its answer."""
    host = urlsplit(page.url).netloc
    params, headers = dict(page.params), dict(page.headers)
    try:
        with requests.get(
            page.url, params=params, headers=headers, timeout=TIMEOUT, stream=True
        ) as answer:
            body = answer.raw.read(LARGEST, decode_content=True)
    except (requests.RequestException, HTTPError) as error:
        reason = str(error).rsplit(": ", 1)[-1].rstrip(")'\"")
        message = f"{host} can't be reached: {reason}. Check the address and the network."
        raise StackError(message) from None
    start = " ".join(body[:1000].decode(errors="replace").split())[:200]
    if not answer.ok:
        fix = FIXES.get(answer.status_code, "Try again later.")
        message = f"{page.shown} answers {answer.status_code} {answer.reason}: {start}. {fix}"
        raise StackError(message)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = answer.headers.get("Content-Type", "something").split(";")[0]
        reasons = {
            "nothing": not body.strip(),
            "more than 64 MiB": len(body) == LARGEST,
            "JSON that is nested too deeply": isinstance(error, RecursionError),
            "a number of thousands of digits": "digits" in str(error),
            f"{kind}, not JSON: {start!r}": True,
        }
        what = next(reason for reason, holds in reasons.items() if holds)
        message = f"{page.shown} answers {answer.status_code} with {what}. {NOT_FOR_PEOPLE}"
        raise StackError(message) from None
    return replace(page, document=document, next_link=answer.links.get("next", {}).get("url"))


def propose(
    urls: Sequence[str], options: Options, known: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Return a manifest for an API, as YAML, and the values of the settings that it asks for."""
    if len(hosts := {urlsplit(url)[:2] for url in urls}) > 1:
        names = ", ".join(sorted(host for _, host in hosts))
        message = f"A source is one API, and these are several: {names}. Make a source of each."
        raise StackError(message)
    if "@" in urlsplit(urls[0]).netloc:
        message = "The URL holds a user or a password: give `--header 'Authorization: Basic …'`."
        raise StackError(message)
    found = Manifest("://".join(hosts.pop()))
    headers = {name: found.header(name, value, known) for name, value in options.headers.items()}
    for url, name in zip(urls, _names(urls), strict=True):
        parts = urlsplit(url)
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        page = Page(f"{found.base}{parts.path}", params, headers)
        echo(f"Fetching {page.shown}")
        found.add(name, fetch(page), options)
    return "\n".join(mapping(found.document())) + "\n", found.settings


def _names(urls: Sequence[str]) -> list[str]:
    """Return a stream's name for each URL: the last word of its path, or two where needed."""
    words = [re.findall(r"(?<=/)[A-Za-z_][^/]*", urlsplit(url).path) or ["records"] for url in urls]
    last, two = ([_snake("_".join(one[-count:])) for one in words] for count in (1, 2))
    names = last if len(set(last)) == len(last) else two
    if len(set(names)) < len(names):
        message = f"Two of the URLs would be streams of one name: {', '.join(sorted(names))}."
        raise StackError(message)
    return names


@dataclass
class Manifest:
    """A manifest as far as it is known; `settings` are the values of what its `spec` asks for."""

    base: str
    settings: dict[str, str] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    streams: list[dict[str, Any]] = field(default_factory=list)

    def setting(self, name: str, value: str, **schema: Any) -> str:
        """Ask for a setting; return how the manifest refers to it."""
        self.settings[name] = value
        self.properties[name] = {"type": "string", **schema}
        return f'{{{{ config["{name}"] }}}}'

    def header(self, name: str, value: str, known: Mapping[str, str]) -> str:
        """Write a header into the manifest; return its value with variables filled in."""
        scheme, _, token = value.rpartition(" ")
        if name.lower() not in HARMLESS_HEADERS:
            setting = "token" if name.lower() == "authorization" else _snake(name)
            token = self.setting(setting, token, title=name, airbyte_secret=True)
        self.headers[name] = f"{scheme} {token}".strip()
        return expanded(value, known)

    def add(self, name: str, page: Page, options: Options) -> None:
        """Add a stream."""
        page = replace(page, path=_path(name, page, options.records))
        key = _key(name, page.records, options.key)
        since = next((p for p, v in page.params.items() if SINCE.search(p) and _time(v)), None)
        changed = next((c for c in page.records[0] if CHANGED.fullmatch(c)), None)
        cursor = options.replication_key or changed if since else None
        found = None if options.one_page else Pager(page, key[0]).find()
        seen = [*page.records, *(found.second.records if found else ())]
        echo(f"  {name}: {len(seen)} records in {'.'.join(page.path) or 'the answer'}")
        echo(f"  key {', '.join(key)}; {f'the next page by {found.why}' if found else 'one page'}")
        echo(f"  reads {f'what is new, by {cursor} and `{since}`' if cursor else 'everything'}")
        sent = (found and found.param, cursor and since)
        requester = {"$ref": "#/definitions/requester", "url": page.url}
        params = {k: self.param(k, v) for k, v in page.params.items() if k not in sent}
        extractor = _component("DpathExtractor", field_path=list(page.path))
        retriever = _component(
            "SimpleRetriever",
            requester=requester | ({"request_parameters": params} if params else {}),
            record_selector=_component("RecordSelector", extractor=extractor),
        )
        if found:
            retriever["paginator"] = found.paginator
        stream = _component("DeclarativeStream", name=name, primary_key=key, retriever=retriever)
        if cursor and since:
            stream["incremental_sync"] = self._incremental(cursor, since, page, seen)
        stream["schema_loader"] = _component("InlineSchemaLoader", schema=schema(seen))
        self.streams.append(stream)

    def param(self, name: str, value: str) -> str:
        """Return a parameter's value as the manifest has it: a secret is a setting."""
        if not CREDENTIAL.search(name) or CURSOR.fullmatch(name):
            return value
        return self.setting(_snake(name), value, title=name, airbyte_secret=True)

    def _incremental(
        self, cursor: str, since: str, page: Page, seen: Sequence[Record]
    ) -> Component:
        """Return how to ask for what has changed since the last run."""
        formats = [(_time(row.get(cursor)) or ("",))[0] for row in seen]
        if "" in formats:
            raise StackError(f"'{cursor}' isn't a date or time in each record: choose another one.")
        sent, start = _time(page.params[since]) or ("", "")
        start = self.setting(
            "start_date", min(start, self.settings.get("start_date", start)), format="date-time"
        )
        return _component(
            "DatetimeBasedCursor",
            cursor_field=cursor,
            cursor_datetime_formats=list(dict.fromkeys(formats)),
            datetime_format=sent,
            start_datetime=_component("MinMaxDatetime", datetime=start, datetime_format=START),
            start_time_option=_parameter(since),
        )

    def document(self) -> Component:
        """Return the manifest."""
        requester = _component("HttpRequester")
        requester |= {"request_headers": self.headers} if self.headers else {}
        settings = _component("object", required=list(self.properties), properties=self.properties)
        return {
            "version": "6.0.0",
            "type": "DeclarativeSource",
            "check": _component("CheckStream", stream_names=[self.streams[0]["name"]]),
            "definitions": {"requester": requester},
            "streams": self.streams,
            "spec": _component("Spec", connection_specification=settings),
        }


@dataclass(frozen=True)
class Paging:
    """How an API pages; `second` is where that led, `param` what the paginator sends."""

    paginator: Component
    why: str
    second: Page
    param: str | None = None


@dataclass(frozen=True)
class Pager:
    """Finds out how an API pages, by its first page; `size` is how long a page may be, if known."""

    first: Page
    key: str
    size: str | None = None

    def find(self) -> Paging | None:
        """Return how the API pages; a page of one record less shows it where all fit on one."""
        found, less = self._look(), len(self.first.records) - 1
        for param in [p for p in SIZE_PARAMS if p in self.first.params] or SIZE_PARAMS[:2]:
            page = self.first.asked({param: less}) if less and not found else None
            if page and len(page.records) == less:
                found = Pager(page, self.key, self.first.params.get(param))._look()
        more = (NEXT_URL, CURSOR, MORE)
        empty = [path for path, value in self.first.values() if path and not value]
        signs = [path for path in empty if any(one.fullmatch(path[-1]) for one in more)]
        if signs and not found:
            raise StackError(
                f"`{'.'.join(signs[0])}` is empty here: the API pages, and how can't be tried with "
                "so few records. Give a URL that has more, or a shorter page; or say `--one-page`."
            )
        return found

    def _look(self) -> Paging | None:
        ways = (self._link, self._body, self._last_id, self._number, self._offset)
        return next(filter(None, (way() for way in ways)), None)

    def _try(self, params: Iterable[str], value: Any, strategy: Component) -> Paging | None:
        """Return paging by the first parameter that gives other records."""
        for param in dict.fromkeys(params):
            if page := self.first.next({param: value}):
                paginator = _paginator(_parameter(param), strategy)
                return Paging(paginator, f"`{param}`", page, param)
        return None

    def _try_url(self, url: str, strategy: Component) -> Paging | None:
        """Return paging by the next page's address, if that gives other records."""
        url, _, query = urljoin(self.first.url, url).partition("?")
        page = self.first.next(dict(parse_qsl(query)), url)
        paginator = _paginator(_component("RequestPath"), strategy)
        return Paging(paginator, "its address", page) if page else None

    def _link(self) -> Paging | None:
        strategy = _cursor('headers["link"]["next"]["url"]', '"next" not in headers["link"]')
        return self._try_url(self.first.next_link, strategy) if self.first.next_link else None

    def _body(self) -> Paging | None:
        """Follow an address or a cursor that stands beside the records."""
        for path, value in self.first.values():
            if not value or type(value) not in (str, int):
                continue
            name, found = path[-1], None
            strategy = _cursor(_response(path), f"not {_response(path)}")
            if re.match(r"https?://|/", str(value)):
                if NEXT_URL.fullmatch(name) and (name != "href" or "next" in path):
                    found = self._try_url(str(value), strategy)
            elif CURSOR.fullmatch(name):
                given = [p for p in self.first.params if CURSOR.fullmatch(p) or p in PAGE_PARAMS]
                likely = re.sub(r"^(next|end)_?", "", name, flags=re.I) or name
                found = self._try([*given, likely, *CURSOR_PARAMS, name], value, strategy)
            if found:
                return found
        return None

    def _last_id(self) -> Paging | None:
        """Ask for what comes after the last record, where the answer says that there is more."""
        for path, value in self.first.values():
            if value is True and MORE.fullmatch(path[-1]):
                strategy = _cursor(f'last_record["{self.key}"]', f"not {_response(path)}")
                last = self.first.records[-1].get(self.key)
                return self._try(LAST_ID_PARAMS, last, strategy)
        return None

    def _number(self) -> Paging | None:
        """Count pages until one is empty; or, where such a page is an error, until one is short."""
        param = next((p for p in PAGE_PARAMS if p in self.first.params), PAGE_PARAMS[0])
        start = int(self.first.params.get(param) or 1)
        strategy = _component("PageIncrement", start_from_page=start)
        if not (found := self._try([param], start + 1, strategy)):
            return None
        if not self.first.asked({param: FAR}):
            strategy["page_size"] = int(self.size or len(self.first.records))
        return found

    def _offset(self) -> Paging | None:
        """Count records until a page is empty."""
        param = next((p for p in OFFSET_PARAMS if p in self.first.params), OFFSET_PARAMS[0])
        return self._try([param], len(self.first.records), _component("OffsetIncrement"))


def _component(kind: str, **fields: Any) -> Component:
    return {"type": kind, **fields}


def _paginator(option: Component, strategy: Component) -> Component:
    parts = {"page_token_option": option, "pagination_strategy": strategy}
    return _component("DefaultPaginator", **parts)


def _cursor(value: str, stop: str) -> Component:
    value, stop = f"{{{{ {value} }}}}", f"{{{{ {stop} }}}}"
    return _component("CursorPagination", cursor_value=value, stop_condition=stop)


def _response(path: Sequence[str]) -> str:
    return "response" + "".join(f'["{step}"]' for step in path)


def _parameter(name: str) -> Component:
    return _component("RequestOption", inject_into="request_parameter", field_name=name)


def _snake(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def _path(name: str, page: Page, chosen: str | None) -> tuple[str, ...]:
    """Return the path of the records: the longest list of objects, or that of the stream's name."""
    if chosen is not None:
        words = chosen.removeprefix("$").removesuffix("[*]").strip(".")
        path = tuple(words.split(".")) if words else ()
        if replace(page, path=path).records:
            return path
    lists = [
        (path[-1:] == (name,), len(replace(page, path=path).records), path)
        for path, value in page.values()
        if isinstance(value, list)
    ]
    if chosen is None and (found := max(lists, default=(False, 0, ())))[1]:
        return found[2]
    there = ", ".join(".".join(path) for path, _ in page.values() if path)[:300]
    where = f"at {chosen}" if chosen else f"in what {page.shown} answers"
    raise StackError(
        f"There is no list of objects {where}. Say where the records are, as in `--records data`; "
        f"or give a URL whose page isn't empty. There are: {there or 'no properties'}."
    )


def _key(name: str, rows: Sequence[Record], chosen: str | None) -> list[str]:
    """Return what tells records apart."""
    ids = [column for column in rows[0] if re.search(r"(_id|Id|ID|_uuid|_key)$", column)]
    guesses = [[column] for column in [*KEYS, *ids]]
    for columns in [chosen.split(",")] if chosen else guesses:
        keys = [tuple(str(row.get(column.strip(), "")) for column in columns) for row in rows]
        if len(set(keys)) == len(keys) and all(all(key) for key in keys):
            return [column.strip() for column in columns]
    what = f"'{chosen}' isn't a key of" if chosen else "nothing looks like a key of"
    raise StackError(
        f"{what} '{name}': a key tells all records apart. Name its columns, as in `--key a,b`. "
        f"There are: {', '.join(rows[0])}."
    )


def _time(value: Any) -> tuple[str, str] | None:
    """Return a time's format as manifests write it, and its moment; None if it is no time."""
    text = str(value)
    for form in FORMATS:
        with contextlib.suppress(ValueError):
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
            return form, moment.strftime(START)
    form, unit = EPOCHS.get(len(text) if text.isdigit() else 0, ("", 0))
    return (form, datetime.fromtimestamp(int(text) / unit, UTC).strftime(START)) if form else None


def schema(values: Sequence[Any]) -> dict[str, Any]:
    """Return a JSON Schema that all values fit; `{}`, which takes anything, where none is known."""
    there = [value for value in values if value is not None]
    kinds = {TYPES[type(value)] for value in there}
    kind = "number" if kinds == {"integer", "number"} else kinds.pop() if len(kinds) == 1 else None
    found: dict[str, Any] = {"type": [kind, "null"]} if kind else {}
    if kind == "array":
        found["items"] = schema([item for value in there for item in value])
    elif kind == "object":
        names = dict.fromkeys(name for value in there for name in value)
        # An object whose names are ids is a map, not a structure.
        if len(names) < 2 or not all(re.fullmatch(r"\d+|[0-9a-f-]{16,}", name) for name in names):
            found["properties"] = {n: schema([value.get(n) for value in there]) for n in names}
    elif kind == "string":
        forms = {(_time(value) or ("",))[0] for value in there}
        if forms <= set(FORMATS):
            found["format"] = "date" if forms == {DATE} else "date-time"
    return found
