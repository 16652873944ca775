"""A source's file and its variables in .env: their text, and how they are put in place."""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from stack import meltano, scratch
from stack.project import REFERENCE, SUFFIX, Project
from stack.streams.entry import keys_of, method_of, replication_key_of
from stack.terminal import StackError, echo

CREDENTIAL = re.compile(r"key|token|secret|passw|auth|signature|session|cookie", re.IGNORECASE)
"""What a setting, a header or a parameter is called that lets somebody in."""
PLAIN = re.compile(r"[A-Za-z0-9_.,:/@%+=?&~-]*")


@dataclass(frozen=True)
class Variable:
    """A variable that a source's file refers to; its value is None until somebody fills it in."""

    name: str
    value: str | None = None


PRIVATE = 0o600
"""The mode of .env, which holds passwords: its owner alone may read it."""


def known(project: Project) -> dict[str, str]:
    """Return the variables that have a value, in .env or in this process' environment."""
    return {name: value for name, value in project.variables.items() if value}


def expanded(value: str, known: Mapping[str, str]) -> str:
    """Return a value with its variables, `${VARIABLE}`, filled in."""

    def look_up(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not known.get(name):
            raise StackError(f"{name} isn't set. Put it into .env first.")
        return known[name]

    return REFERENCE.sub(look_up, value)


def added(before: str, variables: Sequence[Variable], title: str) -> str:
    """Return the text of a .env file with the variables that it doesn't have yet.

    One without a value comes as a comment: it isn't set then, which Meltano says, whereas an
    empty one would be sent as it is.
    """
    there = set(re.findall(r"^\s*(?:export\s+)?(\w+)\s*=", before, re.MULTILINE))
    lines = [
        f"# {variable.name}=" if variable.value is None else f"{variable.name}={_quoted(variable)}"
        for variable in variables
        if variable.name not in there
    ]
    if not lines:
        return before
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    return before + gap + "\n".join([f"# {title}", *lines]) + "\n"


def _quoted(variable: Variable) -> str:
    value = variable.value or ""
    if "${" in value or not value.isprintable():
        raise StackError(
            f"The value of {variable.name} holds '${{' or a control character, which .env can't "
            f"hold. Set {variable.name} in the environment that runs the jobs, and run this "
            "command again there."
        )
    if PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SECRET = re.compile(
    r"passw(or)?d|passphrase|digest|secret|token|(api|app|private|access|secret)_?key|_salt$|^salt$|otp_",
    re.IGNORECASE,
)
HASHED = re.compile(
    r"e_?-?mail|phone|mobile|iban|ssn|passport|tax_?id|\bip\b|ip_?addr", re.IGNORECASE
)
DROPPED = re.compile(
    r"(first|last|full|middle|sur|given|family|display)[_ ]?name"
    r"|(contact|person|customer|user|author|owner)[_ ]?name"
    r"|street|address|postal|post_?code|zip_?code|birth|gender|avatar|latitude|longitude",
    re.IGNORECASE,
)
PEOPLE = re.compile(
    r"user|people|person|contact|customer|member|employee|patient|author|lead|subscriber|profile",
    re.IGNORECASE,
)


def is_secret(column: str) -> bool:
    """Whether a column's name says that it opens something: no warehouse needs it."""
    return bool(SECRET.search(column))


def stream_maps(
    stream: str, properties: Mapping[str, Any], key: Iterable[str] = ()
) -> dict[str, str | None]:
    """Return what `stream_maps` could do to a stream's columns that look personal.

    What identifies somebody is hashed, so that it can still be joined by; the rest is dropped.
    """
    found: dict[str, str | None] = {}
    for column, schema in properties.items():
        if column in key or not may_be_text(schema):
            continue
        if HASHED.search(column):
            value = column if column.isidentifier() else f"record[{column!r}]"
            found[column] = f"md5({value}) if {value} else None"
        elif DROPPED.search(column) or (column.lower() == "name" and PEOPLE.search(stream)):
            found[column] = None
    return found


def may_be_text(schema: Any) -> bool:
    """Whether a JSON Schema, of one type or several, allows a text."""
    match schema:
        case {"anyOf": list(branches)} | {"oneOf": list(branches)}:
            return any(map(may_be_text, branches))
        case {"type": types}:
            return "string" in types
        case _:
            return False


LINE = 120
FLOW = 92
"""Longest line of flow style, without what it is indented by."""


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
        config: the extractor's settings; `CommentedOut` ones stay comments.
        select: which streams and columns.
        metadata: by stream.
        personal: what `stream_maps` could be, by stream.
        variables: what `config` refers to.
        files: texts of other files in extract/ that it needs, by name.
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
    variables: list[Variable] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def stream_pattern(stream: str) -> str:
    """Return a pattern of Meltano's `select` that fits one stream."""
    return "".join({".": r"\."}.get(c, f"[{c}]" if c in "*?[" else c) for c in stream)


def loose_pattern(name: str) -> str:
    """Return a pattern for a column, or a stream in `metadata`: `?` for what can't be escaped."""
    return "".join("?" if c in ".*?[" else c for c in name)


def add_streams(found: Draft, streams: Sequence[Mapping[str, Any]]) -> None:
    """Select all streams of a catalog, and say of each what it is read by."""
    for entry in streams:
        stream = entry["tap_stream_id"]
        found.select.append(Select(f"{stream_pattern(stream)}.*", _about_stream(entry)))
        if not keys_of(entry):
            found.notes.append(
                f"{stream} has no key: each run adds all its rows again. Leave it out, or name one "
                f"in `metadata`: `{loose_pattern(stream)}: {{table-key-properties: [...]}}`."
            )
        properties = entry.get("schema", {}).get("properties", {})
        if proposed := stream_maps(stream, properties, keys_of(entry)):
            found.personal[stream] = proposed
    echo(f"  {len(streams)} streams")


def _about_stream(entry: Mapping[str, Any]) -> str:
    """Return a stream's key and what it is replicated by."""
    how = "incrementally" if method_of(entry) == "INCREMENTAL" else "in full"
    if key := replication_key_of(entry):
        how = f"by {key}"
    return f"key: {', '.join(keys_of(entry)) or 'none'}; {how}"


@dataclass(frozen=True)
class WithComment:
    """A value with a comment above it."""

    value: Any
    comment: str


@dataclass(frozen=True)
class CommentedOut:
    """A setting that stays a comment, with what it is about."""

    value: Any
    comment: str = ""


def text(draft: Draft, interval: str) -> str:
    """Return the file's text."""
    name = draft.name
    title = name.replace("_", " ").capitalize()
    named = {"namespace": name, "label": f"{title} ({draft.label})"}
    parent = {k: v for k, v in draft.definition.items() if k == "inherit_from"}
    extractor = {"name": f"tap-{name}", **parent, **named, **draft.definition}
    lines = [
        f"# {title}, {draft.origin} → dataset `{name}`.",
        "plugins:",
        "  extractors:",
        *_indented(_list_item(extractor), 2),
        *_indented(mapping({"config": draft.config} if draft.config else {}), 4),
        *_indented(_selection(draft.select), 4),
        *_indented(mapping({"metadata": draft.metadata} if draft.metadata else {}), 4),
        f"    load_schema: {name}",
        "",
        "  loaders:",
        f"  - name: target-{name}",
        "    inherit_from: target-bigquery",
        "    config:",
        "      # What happens when the source's columns change: evolve the table, freeze it, or "
        "fail.",
        "      schema_drift: evolve",
        *_indented(_personal(draft.personal), 6),
        "",
        f"  # What {title} feeds: its staging tables, and the marts that are made of them.",
        "  transformers:",
        f"  - name: dbt-{name}",
        "    inherit_from: dbt-bigquery",
        "    commands:",
        f"      build: {{executable: dbt-changed, args: --source {name} --source ops}}",
        "",
        "jobs:",
        f"- name: {name}-daily",
        "  tasks:",
        "  - stack:guard",
        f"  - tap-{name} target-{name}",
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


def mapping(values: Mapping[str, Any]) -> list[str]:
    """Return a mapping's lines, a line or block a key, with its comments."""
    lines: list[str] = []
    for key, value in values.items():
        match value:
            case WithComment():
                lines += [*_comment(value.comment), *_block(key, value.value)]
            case CommentedOut():
                lines += [*_comment(value.comment)] if value.comment else []
                lines += [f"# {line}" for line in _block(key, value.value)]
            case Mapping() if value and all(map(_is_comment, value.values())):
                # A comment as a whole, for a linter's sake: there is nothing that it belongs to.
                below = _indented(mapping(value), 2)
                lines += [f"# {line.replace('# ', '', 1)}" for line in (f"{scalar(key)}:", *below)]
            case _:
                lines += _block(key, value)
    return lines


def _is_comment(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_comment, value.values()))
    return isinstance(value, CommentedOut)


def _block(key: str, value: Any) -> list[str]:
    """Return `key: value`, on one line where it fits."""
    inner = [*value.values()] if isinstance(value, Mapping) else value
    kinds = (Mapping, CommentedOut, WithComment)
    is_nested = isinstance(inner, list) and any(isinstance(one, kinds) for one in inner)
    if isinstance(value, str) and "\n" in value:
        return [f"{scalar(key)}: |", *_indented(value.splitlines(), 2)]
    if not is_nested and len(flow := f"{scalar(key)}: {scalar(value)}") <= FLOW:
        return [flow]
    match value:
        case Mapping():
            return [f"{scalar(key)}:", *_indented(mapping(value), 2)]
        case list():
            return [f"{scalar(key)}:", *(line for item in value for line in _list_item(item))]
        case str():
            return [f"{scalar(key)}: >-", *(f"  {line[2:]}" for line in _comment(value))]
        case _:
            return [f"{scalar(key)}: {scalar(value)}"]


def _list_item(item: Any) -> Iterable[str]:
    if isinstance(item, Mapping) and item:
        lines = mapping(item)
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


def put(project: Project, draft: Draft, text: str) -> list[str]:
    """Write a source's file and its variables; return the variables that were there before."""
    environment = project.root / ".env"
    after = environment_text(project, draft)
    there = known(project)
    given = {one.name: one.value for one in draft.variables if one.value is not None}
    kept = [name for name, value in given.items() if there.get(name, value) != value]
    check(project, draft.name, text, after)
    # The variables first: a file whose variables aren't set would be worse than the reverse.
    if not environment.exists() or after != environment.read_text():
        scratch.put({environment: after}, PRIVATE)
    extract = project.root / "extract"
    put: list[Path] = []
    with scratch.folder(".new-source", extract) as folder:
        for name, content in {**draft.files, f"{draft.name}{SUFFIX}": text}.items():
            target, written = extract / name, folder / name
            written.write_text(content)
            try:
                # Unlike a rename, a link never replaces a file that came in the meantime.
                target.hardlink_to(written)
            except FileExistsError:
                if target.read_text() == content:
                    continue
                for path in put:
                    path.unlink()
                message = f"extract/{name} is there already, and is never overwritten."
                raise StackError(message) from None
            put.append(target)
    return kept


def environment_text(project: Project, draft: Draft) -> str:
    """Return what .env holds once the source's variables are in it."""
    environment = project.root / ".env"
    before = environment.read_text() if environment.exists() else ""
    return added(before, draft.variables, f"The source {draft.name}.")


def check(project: Project, name: str, text: str, environment: str) -> None:
    """Let Meltano read the project as it would be."""
    with scratch.folder("new-source") as copy:
        # Copies, since Meltano doesn't follow links out of its project.
        included = yaml.safe_load((project.root / "meltano.yml").read_text()).get(
            "include_paths", []
        )
        for pattern in ("meltano.yml", *included):
            for file in project.root.glob(pattern):
                written = copy / file.relative_to(project.root)
                written.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, written)
        (copy / "extract" / f"{name}{SUFFIX}").write_text(text)
        scratch.put({copy / ".env": environment}, PRIVATE)
        failing = "Meltano can't read the file that would be written"
        facts = meltano.ask({"operation": "project"}, project=copy, failing=failing)
    plugins = {plugin["name"] for plugin in facts["plugins"]}
    missing = {f"tap-{name}", f"target-{name}", f"dbt-{name}"} - plugins
    if missing or f"{name}-daily" not in facts["jobs"]:
        message = f"Meltano doesn't find {', '.join(sorted(missing)) or 'the job'} in the new file."
        raise StackError(message)
