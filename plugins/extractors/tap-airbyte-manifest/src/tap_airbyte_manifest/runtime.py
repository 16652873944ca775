"""What the CDK's runtime lacks: limits, proofs, and errors that say what to do.

The CDK builds its components by the names that its modules import, and has no other place to put
one in: `install` puts subclasses there. They keep notes of each stream that is read, since what is
known where a request fails, such as its status, is gone where the failure is reported.
"""

import fnmatch
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, override
from urllib.parse import urlsplit

import dpath
import msgspec
import requests
from airbyte_cdk.models import AirbyteStream, FailureType, SyncMode
from airbyte_cdk.sources.concurrent_source import concurrent_source
from airbyte_cdk.sources.concurrent_source.concurrent_source import (
    PartitionEnqueuer,
    PartitionReader,
)
from airbyte_cdk.sources.declarative.decoders import composite_raw_decoder
from airbyte_cdk.sources.declarative.parsers import model_to_component_factory as factory
from airbyte_cdk.sources.declarative.requesters import http_requester
from airbyte_cdk.sources.declarative.retrievers import simple_retriever
from airbyte_cdk.sources.declarative.retrievers.pagination_tracker import PaginationTracker
from airbyte_cdk.sources.streams.concurrent.abstract_stream import AbstractStream
from airbyte_cdk.sources.streams.concurrent.cursor import ConcurrentCursor, Cursor
from airbyte_cdk.sources.streams.concurrent.default_stream import DefaultStream
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.streams.http.error_handlers.response_models import (
    ErrorResolution,
    ResponseAction,
)
from airbyte_cdk.sources.streams.http.exceptions import (
    BaseBackoffException,
    UserDefinedBackoffException,
)
from airbyte_cdk.sources.streams.http.http_client import HttpClient
from airbyte_cdk.sources.types import Record, StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from requests.adapters import HTTPAdapter
from requests_cache import CacheMixin

# Seconds to wait for a connection, and for the next bytes of an answer. The CDK has no limit.
TIMEOUT = (30, 300)
# A page that was there before, so many times in a row: rows that move while they are read may
# bring one back, and a last page may be alike.
REPEATED_PAGES = 5
BARREN_PAGES = 10_000
# What an API answers with instead of records, under status 200.
ERROR_MEMBERS = {"error", "errors", "error_code", "error_message", "fault", "exception"}
WHAT_TO_DO: Mapping[int, str] = {
    401: "The API doesn't accept the credentials: correct them under `config`",
    403: "Give the credentials access, or leave the stream out with `select`",
    404: "There is no such path: correct what `config` or the manifest put into it",
    429: "The API's rate limit was reached: run again later or less often, or raise "
    "`max_retry_seconds`",
}
_MISSING = object()


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Notes:
    """What is known of the streams that are read.

    Attributes:
        max_retry_seconds: how long a request may be tried again.
        doubts: why a stream may lack rows though it was read to its end, by stream.
        given_up: streams that aren't to be read any further.
        read_in_full: incremental streams of which all is read all the same.
        started: when the run began.
        keeps_tokens: whether a refresh token that the API changes is kept for the next run.
        tell: takes a line for the user.
    """

    max_retry_seconds: float = 300
    doubts: dict[str, str] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    read_in_full: set[str] = field(default_factory=set)
    started: datetime = field(default_factory=_now)
    keeps_tokens: bool = False
    tell: Callable[[str], None] = lambda _: None
    _told: set[str] = field(default_factory=set)

    def tell_once(self, line: str) -> None:
        """Tell what holds for several streams."""
        if line not in self._told:
            self._told.add(line)
            self.tell(line)

    @staticmethod
    def take_ignored() -> bool:
        """Return whether this thread has ignored an answer since it was last asked."""
        ignored = getattr(_thread, "ignored", False)
        _thread.ignored = False
        return ignored

    @contextmanager
    def of_a_run(self) -> Iterator[None]:
        """Begin without notes, and keep tokens, since a run has a state."""
        self.doubts.clear()
        self.given_up.clear()
        self.read_in_full.clear()
        self._told.clear()
        self.started = _now()
        self.keeps_tokens = True
        try:
            yield
        finally:
            self.keeps_tokens = False


notes = Notes()
_thread = threading.local()


def current_stream() -> str:
    """Return the stream that this thread reads, itself or its parents; empty if it is none."""
    return getattr(_thread, "stream", "")


class NamedReader(PartitionReader):
    """Notes which stream a thread reads."""

    @override
    def process_partition(self, partition: Partition, cursor: Cursor) -> None:
        _thread.stream = partition.stream_name()
        super().process_partition(partition, cursor)


class NamedEnqueuer(PartitionEnqueuer):
    """Notes for which stream a thread finds partitions."""

    @override
    def generate_partitions(self, stream: AbstractStream) -> None:
        _thread.stream = stream.name
        super().generate_partitions(stream)


class NamedStream(DefaultStream):
    """A stream that doesn't ask for its schema whenever its status is told."""

    @override
    def as_airbyte_stream(self) -> AirbyteStream:
        return AirbyteStream(
            name=self.name, json_schema={}, supported_sync_modes=[SyncMode.full_refresh]
        )

    def described(self) -> AirbyteStream:
        """Return the stream with its schema, which may have to be asked for."""
        return super().as_airbyte_stream()


class TimedAdapter(HTTPAdapter):
    """Ends a request that the CDK makes outside of its client, as it does for tokens."""

    @override
    def send(self, *args: Any, **options: Any) -> requests.Response:
        return super().send(*args, **options | {"timeout": options.get("timeout") or TIMEOUT})


class Requests(HttpClient):
    """Requests that end in time, with errors that tell status and remedy."""

    def __init__(self, name: str, *args: Any, **options: Any) -> None:
        """Take what the CDK gives."""
        options["request_timeout"] = options.get("request_timeout") or TIMEOUT
        super().__init__(name, *args, **options)
        if isinstance(self._session, CacheMixin):
            # That something is missing is an answer too, if the manifest ignores it.
            self._session.settings.allowable_codes = (200, 404)
        self._failing_since: dict[requests.PreparedRequest, float] = {}

    @property
    @override
    def cache_filename(self) -> str:
        # One for all: the same request gets the same answer, whichever stream asks. (Headers are
        # compared too.)
        return "answers.sqlite"

    @override
    def _send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        if current_stream() in notes.given_up:
            raise AirbyteTracedException(message="It was given up.")
        response = super()._send(request, *args, **options)
        is_stream = bool(args and args[0].get("stream"))
        _thread.answer = None if response is None or is_stream else hash(response.content)
        content_type = response.headers.get("Content-Type", "") if response is not None else ""
        if content_type.startswith("text/html") and is_stream:
            # What is decoded while it comes is not looked at before: HTML makes rows of CSV.
            raise AirbyteTracedException(
                message=_explained(request, response, "the answer is HTML, not data"),
                failure_type=FailureType.system_error,
            )
        return response

    @override
    def _send_with_retry(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> Any:
        try:
            return super()._send_with_retry(request, *args, **options)
        except AirbyteTracedException as error:
            cause = error._exception
            if not isinstance(cause, BaseBackoffException):
                raise
            reason = "it went on failing" if cause.response is not None else _thread.reason
            raise AirbyteTracedException(
                message=_explained(request, cause.response, reason),
                failure_type=FailureType.transient_error,
            ) from error
        except requests.RequestException as error:
            raise AirbyteTracedException(
                message=_explained(request, error.response, _innermost(error)),
                failure_type=FailureType.transient_error,
            ) from error

    @override
    def _evict_key(self, prepared_request: requests.PreparedRequest) -> None:
        super()._evict_key(prepared_request)
        self._failing_since.pop(prepared_request, None)

    @override
    def _handle_error_resolution(
        self,
        response: requests.Response | None,
        exc: requests.RequestException | None,
        request: requests.PreparedRequest,
        error_resolution: ErrorResolution,
        exit_on_rate_limit: bool | None = False,
    ) -> None:
        action = error_resolution.response_action
        if action is ResponseAction.IGNORE or (
            # By the manifest's own rule, and without records either way.
            action is ResponseAction.SUCCESS and response is not None and not response.ok
        ):
            status = f"HTTP {response.status_code}" if response is not None else "a lost connection"
            _thread.ignored = True
            notes.doubts.setdefault(
                current_stream(), f"{status} was ignored, as the manifest says for such answers"
            )
        elif (
            action is not ResponseAction.SUCCESS
            and response is not None
            and isinstance(self._session, CacheMixin)
        ):
            # Whatever its status: the next try must not get it again.
            self._session.cache.delete(getattr(response, "cache_key", None) or "")
        _thread.reason = _innermost(exc) if exc is not None else ""
        try:
            super()._handle_error_resolution(
                response, exc, request, error_resolution, exit_on_rate_limit
            )
        except BaseBackoffException as wait:
            self._limit(request, response, wait)
            raise
        except AirbyteTracedException as error:
            # Others of its kind ask for another page, or another window.
            if type(error) is not AirbyteTracedException:
                raise
            told = error_resolution.error_message or ""
            if action is not ResponseAction.FAIL:
                told = str(error)
            elif response is not None and (told.startswith("HTTP Status Code") or not told):
                told = self._error_message_parser.parse_response_error_message(response) or ""
            raise AirbyteTracedException(
                message=_explained(request, response, told or _thread.reason),
                failure_type=error.failure_type,
            ) from error

    def _limit(
        self,
        request: requests.PreparedRequest,
        response: requests.Response | None,
        wait: BaseBackoffException,
    ) -> None:
        """Give up what takes too long.

        Raises:
            AirbyteTracedException: it would be tried for longer than allowed.
        """
        now = time.monotonic()
        seconds = wait.backoff if isinstance(wait, UserDefinedBackoffException) else 0
        failing = now + seconds - self._failing_since.setdefault(request, now)
        if failing > notes.max_retry_seconds:
            self._evict_key(request)
            reason = _thread.reason or "it went on failing"
            if seconds:
                reason = f"the API asks to wait {seconds:.0f} seconds"
            raise AirbyteTracedException(
                message=_explained(
                    request,
                    response,
                    f"{reason}; `max_retry_seconds` is {notes.max_retry_seconds:g}",
                ),
                failure_type=FailureType.transient_error,
            )
        if seconds > 1:
            status = f"HTTP {response.status_code}" if response is not None else "a failed request"
            notes.tell(f"Stream '{current_stream()}': {status}, waiting {seconds:.0f} seconds.")


def _innermost(error: BaseException) -> str:
    """Return why a request failed, without all that it is wrapped in."""
    inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    return _innermost(inner) if isinstance(inner, BaseException) else str(error)


def _explained(
    request: requests.PreparedRequest, response: requests.Response | None, reason: str
) -> str:
    """Return what went wrong with a request, and what to do."""
    # What stands behind the path may be long, and hold more than anybody wants to read.
    url = urlsplit(request.url or "")
    where = f"{request.method} {url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
    status = response.status_code if response is not None else None
    reason = reason.strip().rstrip(".")
    if status is None:
        return f"{where} failed: {reason}. Correct the address, or run again later."
    if status < 400:
        todo = "Run again later, or correct the manifest, which expects something else"
    else:
        todo = WHAT_TO_DO.get(
            status, "Run again later" if status >= 500 else "See the API's own docs"
        )
    return f"HTTP {status} for {where}{': ' * bool(reason)}{reason}. {todo}."


class KeptTokens(factory.DeclarativeSingleUseRefreshTokenOauth2Authenticator):
    """Spends a refresh token only where the next one is kept."""

    @override
    def refresh_access_token(self) -> Any:
        if not notes.keeps_tokens:
            raise AirbyteTracedException(
                message=(
                    "This needs a new access token, for which the API takes the refresh token and "
                    "gives another. Only a run has a state to keep that in; discovery and check "
                    "have none. Run the extractor's job; if its streams or schemas have to be "
                    "asked for first, use credentials that last, such as a personal access token"
                ),
                failure_type=FailureType.config_error,
            )
        return super().refresh_access_token()


class StrictJsonDecoder(factory.JsonDecoder):
    """Takes what isn't JSON for an error; the CDK takes it for an answer without records."""

    @override
    def decode(self, response: requests.Response) -> Generator[MutableMapping[str, Any]]:
        empty = True
        content = response.content
        if content and not content.isspace():
            try:
                body = msgspec.json.decode(content)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                # In another encoding, or with NaN, it is for the CDK to read.
                body = _MISSING
            if body is _MISSING:
                bodies: Iterable[Any] = self._as_the_cdk_does(response)
            elif isinstance(body, list):
                bodies = body
            else:
                bodies = () if body is None else (body,)
            for element in bodies:
                empty = False
                yield element
        if empty:
            yield {}

    def _as_the_cdk_does(self, response: requests.Response) -> Iterable[Any]:
        try:
            yield from self._decoder.decode(response)
        except AirbyteTracedException:
            kind = response.headers.get("Content-Type", "of unknown type").partition(";")[0]
            raise AirbyteTracedException(
                message=_explained(response.request, response, f"the answer is {kind}, not JSON")
            ) from None


class StrictJsonLineParser(composite_raw_decoder.JsonLineParser):
    """Takes a line that isn't JSON for an error; the CDK leaves it out."""

    @override
    def parse(self, data: Any) -> Generator[MutableMapping[str, Any]]:
        encoding = self.encoding or "utf-8"
        for number, line in enumerate(data, start=1):
            if not line.strip():
                continue
            try:
                yield msgspec.json.decode(line if encoding == "utf-8" else line.decode(encoding))
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise AirbyteTracedException(
                    message=f"Line {number} of an answer in JSON lines is no JSON."
                ) from None


class PathExtractor(factory.DpathExtractor):
    """Goes straight to the records; the CDK looks at every value of an answer for them."""

    @override
    def extract_records(self, response: requests.Response) -> Iterable[MutableMapping[Any, Any]]:
        path = [str(step.eval(self.config)) for step in self._field_path]
        if self.record_expander or any(
            character in step for step in path if step != "*" for character in "*?[/"
        ):
            yield from super().extract_records(response)
            return
        for body in self.decoder.decode(response):
            found = _all_at(body, path) if "*" in path else _at(body, path)
            if found is _MISSING:
                if isinstance(body, Mapping) and ERROR_MEMBERS & body.keys():
                    notes.doubts.setdefault(
                        current_stream(), "an answer held an error instead of records"
                    )
            elif isinstance(found, list):
                yield from found
            elif found:
                yield found


def _at(body: Any, path: list[str]) -> Any:
    found = body
    for step in path:
        if not isinstance(found, Mapping) or step not in found:
            return dpath.get(body, path, default=_MISSING)
        found = found[step]
    return found


def _all_at(body: Any, path: list[str]) -> Any:
    """Return what is at a path with `*`, as records: what is null or empty is none."""
    if path[0] != "*" and (not isinstance(body, Mapping) or path[0] not in body):
        return _MISSING
    found = [body]
    for step in path:
        if step != "*":
            found = [each[step] for each in found if isinstance(each, Mapping) and step in each]
        else:
            found = [
                inner
                for each in found
                if isinstance(each, Mapping | list)
                for inner in (each.values() if isinstance(each, Mapping) else each)
            ]
    return [each for each in found if each]


class DirectRemoval(factory.RemoveFields):
    """Goes straight to the fields; the CDK looks at every value of a record for them."""

    @override
    def __post_init__(self, parameters: Mapping[str, Any]) -> None:
        super().__post_init__(parameters)
        self._pointers = [[str(step) for step in pointer] for pointer in self.field_pointers]
        self._is_direct = not self.condition and not any(
            set("*?[") & {*"".join(parents)} or name == "**" for *parents, name in self._pointers
        )

    @override
    def transform(self, record: dict[str, Any], *arguments: Any, **context: Any) -> None:
        if not self._is_direct:
            super().transform(record, *arguments, **context)
            return
        for *parents, name in self._pointers:
            place = _at(record, parents)
            if isinstance(place, MutableMapping):
                for key in fnmatch.filter(place, name):
                    del place[key]
            elif place is not _MISSING:
                super().transform(record, *arguments, **context)
                return


class GuardedTracker(PaginationTracker):
    """Ends a stream whose pages repeat, or that was given up."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what the CDK gives."""
        super().__init__(*args, **options)
        self._seen: set[int] = set()
        self._answers: set[int] = set()
        self._repeated = self._barren = self._on_page = 0
        self._last: Record | None = None
        self._latest: Any = None
        self._is_ordered = True

    @override
    def observe(self, record: Record) -> None:
        super().observe(record)
        self._on_page += 1
        self._last = record
        if self._limit is not None and self._cursor is not None:
            self._look_at_order(self._cursor, record)

    def _look_at_order(self, cursor: ConcurrentCursor, record: Record) -> None:
        """Note a record that comes after one with a larger value; an API may round to seconds."""
        try:
            value = cursor._extract_cursor_value(record)
        except ValueError:
            return
        if self._latest is None or value > self._latest:
            self._latest = value
        elif self._latest - value > (timedelta(seconds=1) if isinstance(value, datetime) else 0):
            self._is_ordered = False

    @override
    def has_reached_limit(self) -> bool:
        if current_stream() in notes.given_up:
            raise AirbyteTracedException(message="It was given up.")
        # Different answers may hold the same records: a discount of each of many invoices, say.
        page = hash((self._on_page, repr(self._last.data))) if self._last else 0
        answer = getattr(_thread, "answer", None) or page
        self._repeated = self._repeated + 1 if page and answer in self._answers else 0
        self._barren = self._barren + 1 if not page or page in self._seen else 0
        self._answers.add(answer)
        self._seen.add(page)
        self._on_page, self._last = 0, None
        if self._repeated >= REPEATED_PAGES or self._barren >= BARREN_PAGES:
            raise AirbyteTracedException(
                message=(
                    "The API answers with the same page again and again, so its end can't be "
                    "found. Correct the manifest's `paginator`: the next page isn't asked for as "
                    "the API wants it."
                ),
                failure_type=FailureType.system_error,
            )
        return super().has_reached_limit()

    @override
    def reduce_slice_range_if_possible(
        self, previous_stream_slice: StreamSlice, original_stream_slice: StreamSlice
    ) -> StreamSlice:
        if not self._is_ordered:
            raise AirbyteTracedException(
                message=(
                    "The records don't come in the order of the cursor field, so pages that begin "
                    "at the last record would miss some. Correct the order that the manifest asks "
                    "for, or its `pagination_reset`."
                ),
                failure_type=FailureType.system_error,
            )
        # Its pages are read again.
        self._seen.clear()
        try:
            return super().reduce_slice_range_if_possible(
                previous_stream_slice, original_stream_slice
            )
        except AirbyteTracedException as error:
            raise AirbyteTracedException(
                message=(
                    "More records have the same value of the cursor field than one reading of the "
                    "list holds, so it can't go on from there. Raise the manifest's page size, or "
                    "`pagination_reset.limits.number_of_records`."
                ),
                internal_message=error.internal_message,
                failure_type=FailureType.system_error,
            ) from error


def install() -> None:
    """Put these in the places of the CDK's."""
    for module, own in (
        (concurrent_source, {"PartitionReader": NamedReader, "PartitionEnqueuer": NamedEnqueuer}),
        (http_requester, {"HttpClient": Requests}),
        (requests.sessions, {"HTTPAdapter": TimedAdapter}),
        (simple_retriever, {"PaginationTracker": GuardedTracker}),
        (
            factory,
            {
                "DeclarativeSingleUseRefreshTokenOauth2Authenticator": KeptTokens,
                "DefaultStream": NamedStream,
                "DpathExtractor": PathExtractor,
                "JsonDecoder": StrictJsonDecoder,
                "JsonLineParser": StrictJsonLineParser,
                "PaginationTracker": GuardedTracker,
                "RemoveFields": DirectRemoval,
            },
        ),
    ):
        for name, replacement in own.items():
            if not hasattr(module, name):
                message = (
                    f"The CDK's {module.__name__} has no {name}: install the version of the lock."
                )
                raise ImportError(message)
            setattr(module, name, replacement)
