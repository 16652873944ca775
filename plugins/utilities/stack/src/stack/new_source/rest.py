"""A source from REST example URLs: a page of each is fetched, and the rest proposed."""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from stack.new_source import pagination, records, source_file
from stack.new_source.fetch import SECRET, Answer, Request, attempt, fetch, split
from stack.new_source.pagination import CURSOR, PAGE_PARAMS, Pager, Paging
from stack.new_source.source_file import Draft, Select, Variable, WithComment, variable_name
from stack.terminal import StackError, echo

TAP = "tap-rest-api-msdk"
SINCE = re.compile(r"since|after|from|start|min|gte?\b|updated|modified", re.I)
AGENTS = ("accept", "content-type", "user-agent")
SEARCHES = ("$last_run_date", "$last_run_date+00:00", "$last_run_date.000Z")
"""How a moment may be written; the tap puts `2024-01-01T00:00:00` in its place."""


@dataclass(frozen=True)
class Options:
    """What the user says instead of leaving it to the proposal, by stream; `None` is for all."""

    headers: Mapping[str, str]
    path: Mapping[str | None, str]
    key: Mapping[str | None, str]
    replication_key: Mapping[str | None, str]
    one_page: bool = False


@dataclass(frozen=True)
class Filter:
    """A parameter of the API that takes the date to begin at."""

    param: str
    query: str
    start: str


@dataclass
class Stream:
    """What is proposed for one URL."""

    name: str
    request: Request
    path: str
    key: Sequence[str]
    replication_key: str | None
    filter: Filter | None
    paging: Paging
    kept: Sequence[str]
    schema: Mapping[str, Any]
    count: int


def draft(name: str, urls: Sequence[str], options: Options, known: Mapping[str, str]) -> Draft:
    """Fetch a page of each URL and propose a source.

    Args:
        name: the source's.
        urls: example URLs of one API, a stream each.
        options: what the user says.
        known: variables that may stand in headers.

    Raises:
        StackError: an answer isn't to be had, or can't be made a stream of.
    """
    expanded = {header: _expanded(value, known) for header, value in options.headers.items()}
    requests = [split(url, expanded) for url in urls]
    hosts = list(dict.fromkeys(urlsplit(r.url)._replace(path="").geturl() for r in requests))
    if len(hosts) > 1:
        message = (
            f"A source is one API, and these are several: {', '.join(hosts)}. Make a source of "
            "each."
        )
        raise StackError(message)
    streams: list[Stream] = []
    for request, stream in zip(requests, _stream_names(requests), strict=True):
        echo(f"Fetching {request.shown}")
        found = _look_at(stream, request, options)
        streams.append(found)
        for line in _said(found):
            echo(f"  {line}")
    paging = pagination.merge({stream.name: stream.paging for stream in streams})
    return _draft(name, hosts[0], streams, paging, options)


def _look_at(stream: str, request: Request, options: Options) -> Stream:
    answer = fetch(request)
    path = _path(stream, answer, options)
    page = records.at(path, answer.document)
    kept = records.maps(page)
    rows = [records.flatten(record, kept) for record in page]
    key = _key(stream, rows, options)
    filter_ = _filter(answer, path)
    paging = _paging(answer, path, key, options)
    seen = [*page, *paging.page]
    kept = records.maps(seen)
    rows = [records.flatten(record, kept) for record in seen]
    chosen = _option(options.replication_key, stream)
    if chosen and not any(row.get(chosen) is not None for row in rows):
        message = f"'{stream}' has no '{chosen}' to replicate by. There are: {', '.join(rows[0])}."
        raise StackError(message)
    schema = records.schema(seen, kept)
    replication_key = chosen or records.find_replication_key(rows)
    if not chosen and replication_key:
        # A filter by moments needs one; numbers can't be filtered by.
        is_date = schema["properties"][replication_key].get("format") == "date-time"
        filter_ = filter_ if is_date else None
    dropped = {*paging.dropped, *([filter_.param] if filter_ and replication_key else [])}
    params = {k: v for k, v in request.params.items() if k not in dropped}
    return Stream(
        name=stream,
        request=replace(request, params=params),
        path=path,
        key=key,
        replication_key=replication_key,
        filter=filter_ if replication_key else None,
        paging=paging,
        kept=kept,
        schema=schema,
        count=len(seen),
    )


def _path(stream: str, answer: Answer, options: Options) -> str:
    if chosen := _option(options.path, stream):
        return records.whole_path(chosen, answer.document)
    segment = urlsplit(answer.request.url).path.rstrip("/").rsplit("/", 1)[-1]
    path = records.find_path(answer.document, segment)
    if path:
        return path
    message = (
        f"There is no list of objects in what {answer.request.shown} answers:\n"
        f"{records.top(answer.document)}\n"
        f"Say where the records are, as in `--records '$.data'`; or, if the page is just empty, "
        f"give a URL "
        f"that has some."
    )
    raise StackError(message)


def _key(stream: str, rows: Sequence[records.Record], options: Options) -> Sequence[str]:
    chosen = _option(options.key, stream)
    if chosen:
        columns = [column.strip() for column in chosen.split(",")]
        if unknown := [c for c in columns if c not in rows[0]]:
            there = ", ".join(rows[0])
            message = f"'{stream}' has no '{', '.join(unknown)}' to be a key. There are: {there}."
            raise StackError(message)
        if not records.is_key(rows, columns):
            message = (
                f"{', '.join(columns)} can't be the key of '{stream}': on the page that was "
                f"fetched, some of {len(rows)} records have it twice, or not at all."
            )
            raise StackError(message)
        return columns
    if key := records.find_key(rows, stream):
        return [key]
    message = (
        f"Nothing in '{stream}' looks like a key, and without one each run would add all records "
        f"again. Say what makes a record unique: `--key {stream}=a,b`. There are: "
        f"{', '.join(rows[0])}."
    )
    raise StackError(message)


def _filter(answer: Answer, path: str) -> Filter | None:
    """Return the date to begin at that the example URL asks for, as the tap can ask for it."""
    for param, value in answer.request.params.items():
        if not SINCE.search(param) or not (records.is_date(value) or records.is_date_time(value)):
            continue
        moment = datetime.datetime.fromisoformat(value)
        if moment.tzinfo:
            moment = moment.astimezone(datetime.UTC)
        written = moment.strftime("%Y-%m-%dT%H:%M:%S")
        for query in SEARCHES:
            asked = {**answer.request.params, param: query.replace("$last_run_date", written)}
            tried = attempt(replace(answer.request, params=asked))
            if tried and records.at(path, tried.document):
                return Filter(param, query, f"{written}Z")
    return None


def _paging(answer: Answer, path: str, key: Sequence[str], options: Options) -> Paging:
    if options.one_page:
        return Paging(pagination.SINGLE, "as you said")
    first = records.at(path, answer.document)[0]
    return Pager(answer, path, key[0] if len(key) == 1 and key[0] in first else None).find()


def _said(stream: Stream) -> Iterator[str]:
    """Yield what is proposed for a stream, and why."""
    properties = stream.schema["properties"]
    yield f"stream           {stream.name}: {stream.count} records seen, {len(properties)} columns"
    yield f"records          {stream.path}"
    yield f"key              {', '.join(stream.key)}"
    match stream.replication_key, stream.filter:
        case None, _:
            yield "replication key  none: each run reads everything"
        case key, None:
            yield (
                f"replication key  none: {key} says what changed, but the URL has no parameter to "
                "ask for it, such as updated_since=2024-01-01"
            )
        case key, since:
            yield f"replication key  {key}, asked for by `{since.param}`"
    yield f"pages            {stream.paging.why}"
    if opened := [name for name, schema in properties.items() if not schema]:
        yield f"open             {', '.join(opened)}: null, or of several types; kept as JSON"


def _draft(
    name: str,
    host: str,
    streams: Sequence[Stream],
    paging: Mapping[str, Any],
    options: Options,
) -> Draft:
    address = Variable(variable_name(name, "api_url"), host)
    found = Draft(
        name,
        origin="a REST API",
        label="REST API",
        definition={"inherit_from": TAP},
        variables=[address],
    )
    found.config["api_url"] = f"${{{address.name}}}"
    if headers := dict(_headers(name, options.headers, found)):
        found.config["headers"] = headers
    secret = {
        param: value
        for stream in streams
        for param, value in stream.request.params.items()
        if SECRET.search(param) and not CURSOR.match(param) and param not in PAGE_PARAMS
    }
    for param, value in secret.items():
        found.variables.append(Variable(variable_name(name, param), value))
    if secret:
        found.config["params"] = {p: f"${{{variable_name(name, p)}}}" for p in secret}
    starts = [stream.filter.start for stream in streams if stream.filter]
    if starts:
        found.variables.append(Variable(variable_name(name, "start_date"), min(starts)))
        found.config["start_date"] = WithComment(
            f"${{{found.variables[-1].name}}}", "What last changed before is not read."
        )
    reasons = "\n".join(f"{stream.name}: {stream.paging.why}." for stream in streams)
    for setting, value in paging.items():
        is_first = setting == next(iter(paging))
        comment = f"How the pages go on.\n{reasons}" if is_first else ""
        found.config[setting] = WithComment(value, comment) if comment else value
    found.config["streams"] = WithComment(
        [dict(_stream(stream, secret, options)) for stream in streams],
        "Columns are as the tap sends them: nested objects flattened, lists as JSON text. One "
        "that isn't in `schema` isn't loaded; the tap's log says so. `{}` takes anything, as JSON.",
    )
    for stream in streams:
        found.select.append(Select(f"{stream.name}.*"))
        properties = stream.schema["properties"]
        if proposed := source_file.stream_maps(stream.name, properties, stream.key):
            found.personal[stream.name] = proposed
    found.notes.append(
        "The tap doesn't see what is deleted at the source: such rows stay in BigQuery."
    )
    return found


def _stream(
    stream: Stream, secret: Mapping[str, str], options: Options
) -> Iterator[tuple[str, Any]]:
    yield "name", stream.name
    yield "path", urlsplit(stream.request.url).path
    params = {k: _plain(v) for k, v in stream.request.params.items() if k not in secret}
    if params:
        yield "params", params
    yield "records_path", stream.path
    yield "primary_keys", list(stream.key)
    if stream.filter:
        yield "replication_key", stream.replication_key
        yield "source_search_field", stream.filter.param
        yield "source_search_query", stream.filter.query
    elif chosen := _option(options.replication_key, stream.name):
        yield "replication_key", chosen
    if stream.kept:
        yield "except_keys", list(stream.kept)
    yield "schema", stream.schema


def _headers(name: str, headers: Mapping[str, str], found: Draft) -> Iterator[tuple[str, str]]:
    """Yield the headers as they are written down, and keep what is secret in variables."""
    for header, value in headers.items():
        if names := re.findall(r"\$\{(\w+)\}", value):
            found.variables += [Variable(variable) for variable in names]
            yield header, value
        elif header.lower() in AGENTS:
            yield header, value
        else:
            scheme, _, rest = value.partition(" ")
            is_token = header.lower() == "authorization" and rest
            variable = Variable(
                variable_name(name, "token" if is_token else header), rest if is_token else value
            )
            found.variables.append(variable)
            yield header, f"{scheme} ${{{variable.name}}}" if is_token else f"${{{variable.name}}}"


def _expanded(value: str, known: Mapping[str, str]) -> str:
    def look_up(match: re.Match[str]) -> str:
        if match[1] not in known:
            message = f"{match[1]} isn't set, neither in .env nor in the environment."
            raise StackError(message)
        return known[match[1]]

    return re.sub(r"\$\{(\w+)\}", look_up, value)


def _stream_names(requests: Sequence[Request]) -> list[str]:
    names = [_stream_name(request, 1) for request in requests]
    if len(set(names)) < len(names):
        names = [_stream_name(request, 2) for request in requests]
    if len(set(names)) < len(names):
        message = f"Two of the URLs would be streams of one name: {', '.join(sorted(names))}."
        raise StackError(message)
    return names


def _stream_name(request: Request, segments: int) -> str:
    """Return the last parts of the path as a name; an id in it is none."""
    parts = [part for part in urlsplit(request.url).path.split("/") if re.match(r"[A-Za-z_]", part)]
    last = "_".join(parts[-segments:]) or "records"
    last = re.sub(r"\.json$", "", last)
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def _option(chosen: Mapping[str | None, str], stream: str) -> str | None:
    return chosen.get(stream) or chosen.get(None)


def _plain(value: str) -> str | int:
    return int(value) if re.fullmatch(r"0|[1-9]\d{0,15}", value) else value
