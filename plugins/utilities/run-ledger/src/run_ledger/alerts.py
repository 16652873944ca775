"""Alerts: one message an incident, and one when it is over.

What is under way is kept in the warehouse (the description of `ops.incidents`), so that a fresh
machine knows it; where the warehouse is what fails, in a file. A message is claimed before it is
sent, so that of two runs that end at once one sends it.
"""

import contextlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bigquery_lock

from run_ledger.ops import Ops

URLS = "ALERT_URLS"
TABLE = "incidents"
FILE = Path(".meltano/incidents.json")
VOLUME_TEST = "loads_are_usual"
LONGEST_LINE = 300
MOST_NODES = 20
"""More than these that fail at once are one incident: `ops.incidents` holds 16,384 characters."""
SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|_URL|DSN|ALERT", re.IGNORECASE)
SHORTEST_SECRET = 6
HIDDEN = "…"
IN_URL = re.compile(r"://[^/\s@]+@")
E_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
OF_KEY = re.compile(r"\)=\([^)]*\)")
VALUE = re.compile(r"\b(?P<what>[Vv]alues?:? )(?!of |in |is |for |that )(?P<value>[^\s'\"]\S*)")
QUOTED = re.compile(r"(?P<before>[\w-]*)(?P<space>\s?)(?P<text>'[^'\n]*'|\"[^\"\n]*\")")
NAMES = re.compile(
    r"(?:stream|table|column|dataset|property|model|test|setting|source|job|branch|plugin|"
    r"extractor|loader|variable|file|streams|tables|columns)",
    re.IGNORECASE,
)
"""What stands before a quoted name; any other quoted text may be a value of a row."""


class AlertError(Exception):
    """A test message has nowhere to go, or can't be sent."""


@dataclass(frozen=True)
class Problem:
    """Something that people should know of.

    Attributes:
        key: names the incident: the same problem of another run has the same key.
        title: what is wrong, in a few words.
        lines: more about it.
    """

    key: str
    title: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class News:
    """What has become known by the end of a run.

    Attributes:
        begun: incidents that have begun.
        over: those that are over, by key: since when they were.
    """

    begun: Sequence[Problem]
    over: Mapping[str, Mapping[str, str]]


def after(run: Mapping[str, Any], ops: Ops, root: Path, say: Callable[[str], None]) -> None:
    """Send what a run has made known: incidents that began, and those that are over.

    Args:
        run: what `run-output` says of it.
        ops: where incidents are kept.
        root: the project's folder.
        say: told which URLs haven't got it.
    """
    if not (urls := destinations()):
        return
    now = datetime.now(UTC)
    problems = [*problems_of(run, root), *volume_of(run)]
    promised = promises(root)
    local = root / FILE

    def change(before: dict[str, Any]) -> tuple[dict[str, Any], News]:
        return updated(before, run, problems, promised, now, local)

    is_known = True
    try:
        news = ops.change_document(TABLE, change)
        local.unlink(missing_ok=True)
    except (bigquery_lock.LockError, KeyError):
        is_known = False
        known, news = change({})
        local.write_text(json.dumps(known))
    if not (messages := list(written(news, run, root))):
        return
    if failed := send(messages, urls):
        numbers = " and ".join(map(str, failed))
        say(
            f"! An alert could not be sent to URL number {numbers} of {URLS}: "
            f"`meltano invoke stack check --alert` says why."
        )
        # If nobody has got it, the next run tries again.
        if len(failed) == len(urls) and is_known:
            ops.change_document(TABLE, lambda known: (_unsaid(known, news), None))
        elif len(failed) == len(urls):
            local.write_text(json.dumps(_unsaid(known, news)))


def destinations() -> list[str]:
    """Return where alerts go: the URLs of the variable, between spaces or line ends."""
    return os.environ.get(URLS, "").split()


def problems_of(run: Mapping[str, Any], root: Path) -> Iterator[Problem]:
    """Yield why a run has failed: tests and models by name, else the step."""
    is_found = False
    for step in run["steps"]:
        if step["is_ok"]:
            continue
        is_found = True
        key = step["name"]
        nodes = [node for node in step["nodes"] if not node["problem"].startswith("Warning")]
        owned = owners(root) if nodes else {}
        if len(nodes) > MOST_NODES:
            lines = [f"{node['type']} {node['name']}" for node in nodes[:MOST_NODES]]
            title = f"{len(nodes)} models and tests failed"
            yield Problem(key, title, [*lines, f"and {len(nodes) - MOST_NODES} more"])
            continue
        for node in nodes:
            owner = owned.get(node["name"])
            yield Problem(
                f"{key}/{node['name']}",
                f"{node['type']} {node['name']} failed",
                [f"Owner: {owner}" if owner else "Owner: none is named", f"In {node['path']}"],
            )
        if not nodes:
            yield Problem(key, f"{step['name']} failed", [masked(line) for line in step["lines"]])
    if run["status"] != "success" and not is_found:
        lines = run.get("lines") or ["It ended before its first step."]
        yield Problem(run["arguments"], f"was {run['status']}", lines)


def volume_of(run: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the streams that have brought much less, or much more, than usual."""
    for step in run["steps"]:
        for line in step["unusual"]:
            cells = dict(cell.split("=", 1) for cell in line.split(", ") if "=" in cell)
            stream = f"{cells.get('source_id')}.{cells.get('stream')}"
            changed = f"{cells.get('rows_changed')} rows changed"
            usual = f"{cells.get('least_rows_changed')} to {cells.get('most_rows_changed')}"
            yield Problem(
                f"volume: {stream}",
                f"Stream {stream} has brought much less, or more, than usual",
                [f"{changed} in the last load; {usual} in the loads before."],
            )


def promises(root: Path) -> dict[str, timedelta]:
    """Return how old the last load of each source may be: its `freshness` in dbt, the shortest."""
    import yaml

    found: dict[str, timedelta] = {}
    for file in sorted((root / "transform" / "models" / "staging").glob("*/src_*.yml")):
        for source in (yaml.safe_load(file.read_text()) or {}).get("sources") or []:
            limits = [
                timedelta(**{f"{limit['period']}s": limit["count"]})
                for thing in (source, *(source.get("tables") or []))
                for config in (thing, thing.get("config") or {})
                if (limit := (config.get("freshness") or {}).get("warn_after"))
            ]
            if limits:
                found[source["name"]] = min(limits)
    return found


def updated(
    before: Mapping[str, Any],
    run: Mapping[str, Any],
    problems: Sequence[Problem],
    promised: Mapping[str, timedelta],
    now: datetime,
    local: Path,
) -> tuple[dict[str, Any], News]:
    """Return what is known after a run, and what of it is news.

    Args:
        before: what was known: `incidents` by key, and when each source was `loaded`.
        run: the run.
        problems: its own.
        promised: how old the last load of each source may be.
        now: the time.
        local: what runs have noted that couldn't reach the warehouse.
    """
    known = {"incidents": {}, "loaded": {}, **before}
    if local.is_file():
        with contextlib.suppress(ValueError):  # a run was killed while it wrote
            unsent = json.loads(local.read_text())
            parts = ("incidents", "loaded")
            known = {part: {**unsent.get(part, {}), **known[part]} for part in parts}
    good = {step["name"] for step in run["steps"] if step["is_ok"]}
    loaded = dict(known["loaded"])
    for block in run["blocks"]:
        if "dataset" in block and f"{block['extractor']} → {block['loader']}" in good:
            loaded[block["dataset"]] = run["ended_at"]
    problems = [*problems, *late(loaded, promised, now)]
    keys = {problem.key for problem in problems}
    over = {
        key: incident
        for key, incident in known["incidents"].items()
        if key not in keys and is_over(key, run, good)
    }
    begun = [problem for problem in problems if problem.key not in known["incidents"]]
    incidents = {key: value for key, value in known["incidents"].items() if key not in over}
    for problem in begun:
        incidents[problem.key] = {"title": problem.title, "since": run["ended_at"]}
    return {"incidents": incidents, "loaded": loaded}, News(begun, over)


def late(
    loaded: Mapping[str, str], promised: Mapping[str, timedelta], now: datetime
) -> Iterator[Problem]:
    """Yield the sources whose last load is older than promised."""
    for source, at in loaded.items():
        limit = promised.get(source)
        if limit and now - datetime.fromisoformat(at) > limit:
            hours = limit.total_seconds() / 3600
            lines = [f"Last loaded {at[:16]} UTC; promised is every {hours:g} hours."]
            yield Problem(f"late: {source}", f"Source {source} is late", lines)


def is_over(key: str, run: Mapping[str, Any], good: set[str]) -> bool:
    """Return whether an incident that isn't among a run's problems is over by this run."""
    kind = key.partition(": ")[0]
    if kind == "late":
        return True
    if kind == "volume":
        return any(step["has_tested"] for step in run["steps"])
    if key == run["arguments"]:
        return bool(run["status"] == "success")
    return any(key == name or key.startswith(f"{name}/") for name in good)


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        title: its first line.
        body: the rest.
        kind: `failure`, `warning` or `success`, as apprise calls them.
    """

    title: str
    body: str
    kind: str


def written(news: News, run: Mapping[str, Any], root: Path) -> Iterator[Message]:
    """Yield the messages of a run: what failed, what else is wrong, and what is over."""
    where = run["environment"] or "no environment"
    own = [p for p in news.begun if not p.key.startswith(("late: ", "volume: "))]
    others = [p for p in news.begun if p not in own]
    if own:
        lines = [line for problem in own for line in _described(problem)]
        step = next((step for step in run["steps"] if not step["is_ok"]), None)
        tail = [masked(line) for line in step["lines"]] if step and step["nodes"] else []
        if tail:
            lines += ["", "Last lines:", *(f"  {line[:LONGEST_LINE]}" for line in tail)]
        lines += ["", f"All output: {run['log']} on {platform.node()}"]
        lines.append(f"What to do: {advice(root, lines)}")
        what = own[0].title if len(own) == 1 else f"{len(own)} failures"
        yield Message(f"[{where}] {run['arguments']}: {what}", "\n".join(lines), "failure")
    for problem in others:
        lines = [
            *problem.lines,
            f"What to do: {advice(root, [f'! dbt-: WARN {VOLUME_TEST}', *problem.lines])}",
        ]
        yield Message(f"[{where}] {problem.title}", "\n".join(lines), "warning")
    if news.over:
        lines = [
            f"{incident['title']} (since {incident['since'][:16]} UTC; {key})"
            for key, incident in news.over.items()
        ]
        yield Message(f"[{where}] Recovered: {run['arguments']}", "\n".join(lines), "success")


def _described(problem: Problem) -> Iterator[str]:
    yield problem.title
    yield from (f"  {line[:LONGEST_LINE]}" for line in problem.lines)


def advice(root: Path, lines: Sequence[str]) -> str:
    """Return where the README says what to do: the row whose words are in the lines, or all."""
    text, found = "\n".join(lines), 0
    try:
        readme = (root / "README.md").read_text().splitlines()
    except OSError:
        return "the last lines of that file say what failed"
    for number, line in enumerate(readme, 1):
        if line.startswith("## What breaks"):
            found = number
        elif (
            found
            and line.startswith("| ")
            and (seen := re.findall(r"`([^`]+)`", line.split("|")[1]))
        ):
            parts = [part.strip() for words in seen[:1] for part in words.split("…")]
            if all(part in text for part in parts) and max(map(len, parts)) > 2:
                return f"README.md, line {number}"
    return f"README.md, line {found}" if found else "README.md"


def owners(root: Path) -> dict[str, str]:
    """Return who owns each model, and the tests of it: `config.meta.owner`, or its group's."""
    try:
        manifest = json.loads((root / "transform" / "target" / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    groups = {group["name"]: group["owner"] for group in manifest.get("groups", {}).values()}

    def owner(node: Mapping[str, Any]) -> str | None:
        config = node.get("config") or {}
        named = (config.get("meta") or {}).get("owner") or groups.get(str(config.get("group")))
        if isinstance(named, dict):
            named = named.get("email") or named.get("name")
        return str(named) if named else None

    nodes, found = manifest.get("nodes", {}), {}
    for node in nodes.values():
        tested: dict[str, Any] = nodes.get(node.get("attached_node") or "") or next(
            (nodes[one] for one in (node.get("depends_on") or {}).get("nodes", []) if one in nodes),
            {},
        )
        if said := owner(node) or (owner(tested) if node["resource_type"] == "test" else None):
            found[node["name"]] = said
    return found


def masked(text: str) -> str:
    """Return a text without secrets, and without what may be a value of a row."""
    values = [value for name, value in os.environ.items() if SECRET_NAMES.search(name)]
    # Of a key of several lines, an error may show one; in a URL, it may be quoted.
    lines = [line.strip() for value in values for line in value.replace("\\n", "\n").splitlines()]
    secrets = {shown for line in (*values, *lines) for shown in (line, quote(line, safe=""))}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < SHORTEST_SECRET:
            break
        text = text.replace(secret, HIDDEN)
    text = IN_URL.sub(f"://{HIDDEN}@", text)
    text = E_MAIL.sub(HIDDEN, text)
    text = OF_KEY.sub(f")=({HIDDEN})", text)
    text = VALUE.sub(lambda found: f"{found['what']}{HIDDEN}", text)
    return QUOTED.sub(_without_value, text)


def _without_value(found: re.Match[str]) -> str:
    if NAMES.fullmatch(found["before"]):
        return found.group()
    return f"{found['before']}{found['space']}'{HIDDEN}'"


def send(messages: Sequence[Message], urls: Sequence[str]) -> list[int]:
    """Send messages to all destinations; return the numbers of those that haven't got them all."""
    import apprise  # it knows a hundred services, and takes its time to load them

    failed = []
    for number, url in enumerate(urls, 1):
        channel = apprise.Apprise()
        sent = channel.add(url) and [
            channel.notify(
                body=message.body,
                title=message.title,
                notify_type=apprise.NotifyType(message.kind),
                body_format=apprise.NotifyFormat.TEXT,
            )
            for message in messages
        ]
        if not sent or not all(sent):
            failed.append(number)
    return failed


def send_test(environment: str, say: Callable[[str], None]) -> None:
    """Send a test message: `stack check --alert`.

    Args:
        environment: Meltano's, which the message names.
        say: told which URLs have got it.

    Raises:
        AlertError: there is nowhere to send it, or it can't be sent. The URL isn't shown: it holds
            a secret.
    """
    import apprise

    if not (urls := destinations()):
        message = f"{URLS} is not set. Put one or more URLs into .env: .env.example has examples."
        raise AlertError(message)
    where = f"{platform.node()}, environment {environment}"
    test = Message("Test of alerts", f"`stack check --alert` was run on {where}.", "info")
    for number, url in enumerate(urls, 1):
        kind = url.partition(":")[0]
        if not apprise.Apprise().add(url):
            message = (
                f"{URLS}: its URL number {number} isn't one that apprise knows. See the README of "
                f"`run-ledger` for examples."
            )
            raise AlertError(message)
        if send([test], [url]):
            message = f"{URLS}: URL number {number} ({kind}) did not take the message."
            raise AlertError(message)
        say(f"✓ A test message was sent to URL number {number} ({kind}).")


def _unsaid(known: Mapping[str, Any], news: News) -> dict[str, Any]:
    """Return what is known without news that nobody has got."""
    begun = {problem.key for problem in news.begun}
    incidents = {k: v for k, v in known.get("incidents", {}).items() if k not in begun}
    return {**known, "incidents": {**news.over, **incidents}}
