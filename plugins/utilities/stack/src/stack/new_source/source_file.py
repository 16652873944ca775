"""The text of a source's file, comments and all."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from stack.new_source.dotenv_file import Variable

LINE = 120


@dataclass
class Select:
    """A line of `select`: a pattern, what is said of it, and whether it is more than a comment."""

    pattern: str
    comment: str = ""
    is_selected: bool = True
    above: str = ""


@dataclass
class Draft:
    """What is known of a new source.

    Attributes:
        name: the source's.
        origin: what it is, for the first line: `a Postgres database`.
        label: the extractor's, in brackets after the name: `Postgres`.
        definition: what else the extractor says of itself, above `config`; `inherit_from`, say.
        config: the extractor's settings; `Commented` ones stay comments.
        select: which streams and columns.
        metadata: by stream.
        personal: what `stream_maps` could be, by stream.
        loader: the loader's settings beyond the drift policy, with a comment each.
        variables: what `config` refers to.
        notes: what people should know; said when the file is written.
    """

    name: str
    origin: str
    label: str
    definition: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    select: list[Select] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    personal: dict[str, dict[str, str | None]] = field(default_factory=dict)
    loader: dict[str, Any] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Remarked:
    """A value with a comment above it."""

    value: Any
    comment: str


@dataclass(frozen=True)
class Commented:
    """A setting that stays a comment, with what it is about."""

    value: Any
    comment: str = ""


def variable_name(source: str, *words: str) -> str:
    """Return a source's variable: upper case, the source's name first."""
    return re.sub(r"[^A-Z0-9]+", "_", "_".join([source, *words]).upper())


def text(draft: Draft, interval: str) -> str:
    """Return the file's text.

    Args:
        draft: what is known of the source.
        interval: when its job runs, as cron has it.
    """
    name = draft.name
    title = name.replace("_", " ").capitalize()
    named = {"namespace": name, "label": f"{title} ({draft.label})"}
    parent = {k: v for k, v in draft.definition.items() if k == "inherit_from"}
    extractor = {"name": f"tap-{name}", **parent, **named, **draft.definition}
    lines = [
        f"# {title}, {draft.origin} → dataset `{name}`.",
        "plugins:",
        "  extractors:",
        *_item(_mapping(extractor)),
        *_indented(_config(draft.config), 4),
        *_indented(_selection(draft.select), 4),
        *_indented(_block("metadata", draft.metadata), 4),
        f"    load_schema: {name}",
        "    annotations:",
        "      stack:",
        "        # How old the newest row may be before `stack streams` says so.",
        "        freshness: {warn_after: {count: 36, period: hour}, error_after: {count: 72, "
        "period: hour}}",
        "",
        "  loaders:",
        f"  - name: target-{name}",
        "    inherit_from: target-bigquery",
        "    config:",
        "      # What happens when the source's columns change: evolve the table, freeze it, or "
        "fail.",
        "      schema_drift: evolve",
        *_indented(_mapping(draft.loader), 6),
        *_indented(_personal(draft.personal), 6),
        "",
        f"  # What {title} feeds: its staging tables, and the marts that are made of them.",
        "  transformers:",
        f"  - name: dbt-{name}",
        "    inherit_from: dbt-bigquery",
        "    commands:",
        f"      build: {{args: 'build --select source:{name}+ --exclude-resource-type unit_test'}}",
        "",
        "jobs:",
        f"- name: {name}-daily",
        "  tasks:",
        "  - stack:guard",
        f"  - tap-{name} target-{name}",
        "  - dbt-bigquery:make-missing-models",
        f"  - dbt-{name}:build",
        "  - dbt-metabase:sync",
        "",
        "schedules:",
        f"- name: {name}-daily",
        f"  job: {name}-daily",
        f"  interval: '{interval}'",
    ]
    return "\n".join(lines) + "\n"


def scalar(value: Any) -> str:
    """Return a value on one line, as YAML writes it in flow style."""
    written = yaml.safe_dump(
        value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False
    )
    return written.removesuffix("...\n").rstrip("\n")


def _item(lines: Sequence[str]) -> Iterable[str]:
    yield f"  - {lines[0]}"
    yield from _indented(lines[1:], 4)


def _indented(lines: Iterable[str], spaces: int) -> Iterable[str]:
    return (" " * spaces + line if line else line for line in lines)


def _comment(words: str, width: int = 100) -> Iterable[str]:
    """Fold a comment; a line feed in it stays one."""
    for paragraph in words.splitlines():
        line = "#"
        for word in paragraph.split():
            if len(line) + len(word) >= width:
                yield line
                line = "#"
            line += f" {word}"
        yield line


def _mapping(values: Mapping[str, Any]) -> list[str]:
    """Return a mapping, a line or block a key, with its comments."""
    lines: list[str] = []
    for key, value in values.items():
        match value:
            case Remarked():
                lines += [*_comment(value.comment), *_block(key, value.value)]
            case Commented():
                lines += [*_comment(value.comment)] if value.comment else []
                lines += [f"# {line}" for line in _block(key, value.value)]
            case _:
                lines += _block(key, value)
    return lines


def _block(key: str, value: Any) -> list[str]:
    """Return `key: value`, on one line where it fits."""
    if value in ({}, None) and value is not None:
        return []
    flow = f"{scalar(key)}: {scalar(value)}"
    is_nested = isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values())
    is_list_of_mappings = isinstance(value, list) and any(isinstance(v, Mapping) for v in value)
    if len(flow) <= LINE - 10 and not is_nested and not is_list_of_mappings:
        return [flow]
    match value:
        case Mapping():
            below = [
                line for k, v in value.items() for line in _block(k, v) or [f"{scalar(k)}: {{}}"]
            ]
            return [f"{scalar(key)}:", *_indented(below, 2)]
        case list():
            return [f"{scalar(key)}:", *(line for item in value for line in _list_item(item))]
        case str():
            return [f"{scalar(key)}: >-", *(f"  {line[2:]}" for line in _comment(value))]
        case _:
            return [flow]


def _config(values: Mapping[str, Any]) -> Iterable[str]:
    lines = list(_indented(_mapping(values), 2))
    if any(not isinstance(value, Commented) for value in values.values()):
        yield from ["config:", *lines]
    elif lines:
        # A comment as a whole, for a linter's sake: there is nothing that it could belong to.
        yield from ["# config:", *(f"# {line.replace('# ', '', 1)}" for line in lines)]


def _list_item(item: Any) -> Iterable[str]:
    if isinstance(item, Mapping) and item:
        lines = [line for k, v in item.items() for line in _block(k, v) or [f"{scalar(k)}: {{}}"]]
        yield f"- {lines[0]}"
        yield from _indented(lines[1:], 2)
    else:
        yield f"- {scalar(item)}"


def _selection(select: Sequence[Select]) -> Iterable[str]:
    if not select:
        return
    yield "select:"
    marks = {True: "-", False: "# -"}
    shown = [f"{marks[line.is_selected]} {scalar(line.pattern)}" for line in select]
    width = min(max(map(len, shown)), 50)
    for line, pattern in zip(select, shown, strict=True):
        yield from _comment(line.above)
        beside = f"{pattern:<{width}}  # {line.comment}"
        if len(beside) > LINE:
            yield from _comment(line.comment)
        yield beside if line.comment and len(beside) <= LINE else pattern


def _personal(maps: Mapping[str, Mapping[str, str | None]]) -> Iterable[str]:
    if not maps:
        return
    yield (
        "# Personal data that should not get into BigQuery is hashed or dropped on the way. "
        "These columns look like"
    )
    yield "# it; take the marks away from the lines that you want."
    yield "# stream_maps:"
    for stream, columns in maps.items():
        yield f"#   {scalar(stream)}:"
        yield from (f"#     {scalar(column)}: {scalar(how)}" for column, how in columns.items())
