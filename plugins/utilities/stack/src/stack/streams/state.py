"""States in Meltano's state backend: one stream's bookmarks, taken from one state into another.

`prepare`, `adopt` and `drop` are requests to `stack.bridge`, which gives them the service behind
`meltano state`: each takes one start of Meltano, so that nothing comes between looking and writing.
"""

import copy
import json
from collections.abc import Collection, Mapping
from typing import Any

State = dict[str, Any]
"""What Meltano keeps under a state ID: `singer_state` is the tap's."""


def owner(bookmark: str, streams: Collection[str]) -> str | None:
    """Return the stream that a bookmark belongs to.

    Some taps keep a second one, such as `charges_events`: where the changes of `charges` were read
    to. Of several streams that fit, the longest name wins: `invoice_line_items_events`
    isn't one of `invoice`.
    """
    if bookmark in streams:
        return bookmark
    fitting = [stream for stream in streams if bookmark.startswith(f"{stream}_")]
    return max(fitting, key=len, default=None)


def bookmarks(state: Mapping[str, Any], stream: str, streams: Collection[str]) -> dict[str, Any]:
    """Return one stream's bookmarks by name."""
    found = (state.get("singer_state") or {}).get("bookmarks") or {}
    return {name: value for name, value in found.items() if owner(name, streams) == stream}


def with_bookmarks(
    state: Mapping[str, Any], new: Mapping[str, Any], stream: str, streams: Collection[str]
) -> State:
    """Return a state in which one stream's bookmarks are the given ones, and all else as before."""
    result = copy.deepcopy(dict(state))
    singer = result.setdefault("singer_state", {})
    merged = {
        name: new.get(name, value)
        for name, value in (singer.get("bookmarks") or {}).items()
        if name in new or owner(name, streams) != stream
    }
    singer["bookmarks"] = merged | dict(new)
    return result


def without_row_count(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return bookmarks that make tap-postgres-arrow compare all keys at its next run.

    It leaves that out where nothing was inserted since its bookmark and the source has as many
    rows as then. Once a later moment has been loaded, that doesn't tell what the table holds.
    """
    return {
        name: {key: part for key, part in value.items() if key != "rows"}
        if isinstance(value, dict) and value.get("replication_key") == "xmin"
        else value
        for name, value in found.items()
    }


class ChangedError(Exception):
    """Another run has moved the stream's bookmark in the meantime."""


SHARED = "airbyte_config"
"""Where tap-airbyte-manifest keeps a rotated OAuth token: the next run of any stream needs it."""


def shared(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a state keeps for all streams."""
    found = (state.get("singer_state") or {}).get("bookmarks") or {}
    return {SHARED: found[SHARED]} if found.get(SHARED) else {}


def carry(states: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take what belongs to all streams from the re-read's own state; return it."""
    found = shared(states.get_state(request["temporary"]))
    if found:
        main = with_bookmarks(states.get_state(request["main"]), found, SHARED, ())
        states.set_state(request["main"], json.dumps(main))
    return found


def prepare(states: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give the re-read a state of its own to begin with; return the bookmarks before it."""
    stream, streams = request["stream"], request["streams"]
    carry(states, request)  # of one that broke off
    main = states.get_state(request["main"])
    before = without_row_count(bookmarks(main, stream, streams))
    if before != bookmarks(main, stream, streams):
        new = with_bookmarks(main, before, stream, streams)
        states.set_state(request["main"], json.dumps(new))
    states.clear_state(request["temporary"])
    seed = request["seed"] or {}
    if kept := shared(main):
        seed = with_bookmarks(seed, kept, SHARED, ())
    if seed:
        states.set_state(request["temporary"], json.dumps(seed))
    return before


def adopt(states: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take the stream's new bookmarks over, drop the re-read's own state; return the bookmarks.

    Raises:
        ChangedError: the bookmarks are not those that `prepare` has returned.
    """
    stream, streams = request["stream"], request["streams"]
    carry(states, request)
    main = states.get_state(request["main"])
    if bookmarks(main, stream, streams) != request["before"]:
        raise ChangedError
    new = bookmarks(states.get_state(request["temporary"]), stream, streams)
    if new:
        changed = with_bookmarks(main, new, stream, streams)
        states.set_state(request["main"], json.dumps(changed))
    states.clear_state(request["temporary"])
    return new


def drop(states: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the re-read's own state."""
    carry(states, request)
    states.clear_state(request["temporary"])
    return {}


OPERATIONS = {"prepare": prepare, "adopt": adopt, "drop": drop, "carry": carry}
