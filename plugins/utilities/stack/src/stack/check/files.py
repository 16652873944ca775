"""Do the project's files fit together? Looked at without Meltano, which may be unable to start."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from stack import manifests
from stack.project import SUFFIX

MAP = "meltano.yml"
MANIFEST = ".manifest.yaml"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file."""

    file: str
    line: int | None
    what: str
    fix: str
    is_fatal: bool = False
    """Whether Meltano can't read the project, or nothing can be said of the rest."""


@dataclass(frozen=True, eq=False)
class Document:
    """A file that has been read."""

    file: str
    """Its path in the project."""
    data: Any
    node: yaml.Node | None = field(repr=False)

    def line(self, *path: Hashable) -> int | None:
        """Return the line of what lies at a path of keys and positions, or of what leads there."""
        node = self.node
        line = 1 if node is not None else None
        for step in path:
            inner = _step(node, step)
            if inner is None:
                break
            key, node = inner
            line = key.start_mark.line + 1
        return line

    def fault(self, path: Sequence[Hashable], what: str, fix: str, *, fatal: bool = False) -> Fault:
        """Say what is wrong at a path."""
        return Fault(self.file, self.line(*path), what, fix, fatal)

    def named(self, *path: str) -> Iterator[tuple[tuple[Hashable, ...], dict[str, Any]]]:
        """Yield the entries of a list that have a name, each with its path."""
        found = self.data
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        for position, entry in enumerate(found if isinstance(found, list) else []):
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                yield (*path, position), entry


def _step(node: yaml.Node | None, step: Hashable) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key, value
    return None


def read(root: Path) -> tuple[list[Document], list[Fault]]:
    """Read meltano.yml and what it includes."""
    whole = read_one(root, MAP)
    if isinstance(whole, Fault):
        return [], [whole]
    patterns = whole.data.get("include_paths") if isinstance(whole.data, dict) else None
    files = dict.fromkeys(
        str(path.relative_to(root))
        for pattern in (patterns if isinstance(patterns, list) else [])
        for path in sorted(root.glob(str(pattern)))
    )
    found = [whole, *(read_one(root, file) for file in files if file != MAP)]
    documents = [one for one in found if isinstance(one, Document)]
    repeated = [fault for one in documents for fault in _repeated_keys(one, one.node)]
    return documents, [*(one for one in found if isinstance(one, Fault)), *repeated]


def read_one(root: Path, file: str) -> Document | Fault:
    """Read a file."""
    try:
        text = (root / file).read_text()
    except FileNotFoundError:
        return Fault(file, None, "is not there", f"Restore it: `git checkout {file}`.", True)
    except (OSError, UnicodeDecodeError) as error:
        fix = "Make it a file that you may read, in UTF-8."
        return Fault(file, None, f"can't be read: {error}", fix, True)
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if _holds_itself(node):
            fix = "Write out what the anchor (`&`) holds, instead of referring to it from within."
            return Fault(file, None, "has a value that holds itself", fix, True)
        return Document(file, yaml.safe_load(text), node)
    except RecursionError:
        fix = "Write it with less levels: nothing in Meltano needs so many."
        return Fault(file, None, "is nested too deeply", fix, True)
    except ValueError as error:  # a date or a number that there can't be
        problem, fix = str(error), "Put the value into quotes, or correct it."
        return Fault(file, _line_of_bad_value(node), problem, fix, True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        return Fault(file, mark.line + 1 if mark else None, problem, _yaml_fix(problem), True)
    except yaml.YAMLError as error:
        problem = str(error).partition("\n")[0]
        return Fault(file, None, problem, "Take that character out.", True)


def _yaml_fix(problem: str) -> str:
    """Return what usually leads to a problem that the YAML parser names."""
    for sign, fix in (
        ("'\\t'", "Indent with spaces: YAML takes no tabs there."),
        ("cannot start any token", "Put the whole value into quotes."),
        (
            "mapping values are not allowed",
            "Put a text that holds `: ` into quotes, or correct the indentation of this line.",
        ),
        ("could not find expected ':'", "Write `key: value`, with a space after the colon."),
        ("undefined alias", "Define it before, with `&`, in this same file; or write it out."),
        ("quoted scalar", "Close the quote that was opened there."),
        ("flow", "Close the bracket, or put a comma between its entries."),
        (
            "block",
            "Entries of one list or mapping stand at the same indentation: correct this line's.",
        ),
    ):
        if sign in problem:
            return fix
    return "Correct the YAML in this line, or the one above it."


def _children(node: yaml.Node) -> list[yaml.Node]:
    match node:
        case yaml.MappingNode():
            return [part for pair in node.value for part in pair]
        case yaml.SequenceNode():
            return list(node.value)
        case _:
            return []


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Yield a node and all that it holds, each once, in the order of the file."""
    waiting = [node] if node else []
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += reversed(_children(one))


def _holds_itself(node: yaml.Node | None) -> bool:
    """Return whether an alias leads back to what it is in."""
    done: set[int] = set()
    above: set[int] = set()
    waiting = [(node, False)] if node else []
    while waiting:
        one, is_left = waiting.pop()
        if is_left:
            above.discard(id(one))
            done.add(id(one))
        elif id(one) in above:
            return True
        elif id(one) not in done:
            above.add(id(one))
            waiting.append((one, True))
            waiting += [(child, False) for child in _children(one)]
    return False


def _line_of_bad_value(node: yaml.Node | None) -> int | None:
    """Return the line of the value that can't be read."""
    for one in _nodes(node):
        if isinstance(one, yaml.ScalarNode):
            try:
                yaml.SafeLoader("").construct_object(one)
            except ValueError:
                return int(one.start_mark.line) + 1
    return None


def _repeated_keys(document: Document, node: yaml.Node | None) -> Iterator[Fault]:
    """Yield the keys that one mapping has twice: Meltano refuses them."""
    for one in _nodes(node):
        if not isinstance(one, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, _ in one.value:
            line = key.start_mark.line + 1
            name = str(key.value)
            if name in lines and name != "<<":
                what = f"has `{name}` twice in one mapping, first in line {lines[name]}"
                fix = "Put what both hold under one of them."
                yield Fault(document.file, line, what, fix, True)
            lines[name] = line


NAME = re.compile("[a-z][a-z0-9_]*")
RESERVED = re.compile("dbt(_.*)?|information_schema")
PLUGIN_TYPES = (
    "extractors",
    "loaders",
    "mappers",
    "transformers",
    "transforms",
    "orchestrators",
    "utilities",
    "files",
)
Path_ = tuple[Hashable, ...]
Entry = tuple[Document, Path_, dict[str, Any]]


def check(root: Path) -> tuple[int, list[Fault]]:
    """Return how many files there are, and what is wrong with them."""
    found, faults = read(root)
    if not any(fault.is_fatal for fault in faults):
        faults += Files(root, found).faults()
    return len(found), faults


class Files:
    """All files that could be read."""

    def __init__(self, root: Path, found: Sequence[Document]) -> None:
        """Collect what has a name."""
        self.root = root
        self.documents = found
        self.plugins = [
            (document, path, entry)
            for document in found
            for kind in PLUGIN_TYPES
            for path, entry in document.named("plugins", kind)
        ]
        self.by_name = {entry["name"]: entry for _, _, entry in self.plugins}
        self.jobs = self._all("jobs")
        self.schedules = self._all("schedules")
        self.sources = {
            document: Path(document.file).name.removesuffix(SUFFIX)
            for document in found
            if str(Path(document.file).parent) == "extract"
        }

    def _all(self, *path: str) -> list[Entry]:
        return [
            (document, *found) for document in self.documents for found in document.named(*path)
        ]

    def faults(self) -> Iterator[Fault]:
        """Yield all faults."""
        yield from self._unread()
        yield from self._bad_manifests()
        yield from self._repeated("plugin", self.plugins)
        yield from self._repeated("job", self.jobs)
        yield from self._repeated("schedule", self.schedules)
        yield from self._parents()
        for document, name in self.sources.items():
            yield from self._source(document, name)
        yield from self._repeated_datasets()
        for entry in self.jobs:
            yield from self._job(*entry)
        for entry in self.schedules:
            yield from self._schedule(*entry)

    def _unread(self) -> Iterator[Fault]:
        read = {document.file for document in self.documents}
        used = {manifest for _, _, manifest in self._manifests()}
        for path in sorted((self.root / "extract").glob("*.y*ml")):
            file = str(path.relative_to(self.root))
            if file.endswith(MANIFEST) and file not in used:
                fix = f"Remove it, or write `manifest: {file}` in the source's file."
                yield Fault(file, None, "is the manifest of no source", fix)
            elif file not in read | used:
                fix = f"Rename it to extract/{path.name.partition('.')[0]}{SUFFIX}."
                yield Fault(file, None, f"isn't read: `include_paths` in {MAP}", fix)

    def _manifests(self) -> Iterator[tuple[Document, Path_, str]]:
        """Yield where sources name the file of a manifest, and which."""
        for document in self.sources:
            for path, extractor in document.named("plugins", "extractors"):
                config = extractor.get("config")
                setting = config.get("manifest") if isinstance(config, dict) else None
                if file := manifests.path_of(setting):
                    yield document, (*path, "config", "manifest"), file

    def _bad_manifests(self) -> Iterator[Fault]:
        for document, path, file in self._manifests():
            if not (self.root / file).is_file():
                fix = "Correct `manifest`, a path from the project's folder; or restore the file."
                yield document.fault(path, f"there is no manifest {file}", fix)
            elif isinstance(found := read_one(self.root, file), Fault):
                yield replace(found, is_fatal=False)
            elif not isinstance(found.data, dict):
                yield Fault(file, None, "is no manifest: it holds no mapping", "Export it again.")

    def _repeated(self, kind: str, entries: Sequence[Entry]) -> Iterator[Fault]:
        first: dict[str, str] = {}
        for document, path, entry in entries:
            name = entry["name"]
            here = f"{document.file}:{document.line(*path)}"
            if name in first:
                what = f"there is a {kind} '{name}' already, in {first[name]}"
                yield document.fault(path, what, "Rename one, and what refers to it.", fatal=True)
            first.setdefault(name, here)

    def _parents(self) -> Iterator[Fault]:
        for document, path, entry in self.plugins:
            parent = entry.get("inherit_from")
            if parent and parent not in self.by_name:
                what = f"'{entry['name']}' inherits from '{parent}', which isn't in the project"
                fix = f"Correct `inherit_from`{_nearest(parent, self.by_name)}"
                yield document.fault((*path, "inherit_from"), what, fix, fatal=True)

    def _source(self, document: Document, name: str) -> Iterator[Fault]:
        if not NAME.fullmatch(name):
            what = f"'{name}' can't be a dataset's name"
            fix = "Rename the file: small letters, digits and underscores, a letter first."
            yield document.fault((), what, fix)
        if RESERVED.fullmatch(name):
            what = f"the name '{name}' is taken: `dbt` and `dbt_<user>` are what dbt builds into"
            yield document.fault((), what, "Rename the file, and `load_schema` with it.")
        extractors = list(document.named("plugins", "extractors"))
        if not extractors:
            what = "has no extractor, and a file in extract/ is one source"
            fix = f"Add one under `plugins: extractors:`, with `load_schema: {name}`."
            yield document.fault(("plugins",), what, fix)
            return
        for path, extractor in extractors[1:]:
            if extractor.get("inherit_from") == extractors[0][1]["name"]:
                continue  # the same source, read otherwise
            what = f"has a second extractor, '{extractor['name']}'"
            yield document.fault(path, what, "Give each source a file of its own.")
        path, extractor = extractors[0]
        yield from self._load_schema(document, path, extractor, name)
        tasks = [task for _, _, job in self.jobs for task in _tasks(job)]
        if not any(extractor["name"] in task.split()[:-1] for task in tasks):
            what = f"no job runs '{extractor['name']}' into a loader"
            fix = f"Add a job `{name}-daily` with the task `{extractor['name']} target-bigquery`."
            yield document.fault(path, what, fix)

    def _load_schema(
        self, document: Document, path: Path_, extractor: Mapping[str, Any], name: str
    ) -> Iterator[Fault]:
        dataset = extractor.get("load_schema")
        if dataset is None:
            what = f"'{extractor['name']}' has no `load_schema`, which names its raw dataset"
            yield document.fault(path, what, f"Add `load_schema: {name}`.")
        elif dataset != name:
            what = f"`load_schema` is '{dataset}', and the file's name says '{name}'"
            fix = f"Write `load_schema: {name}`, or rename the file to {dataset}{SUFFIX}."
            yield document.fault((*path, "load_schema"), what, fix)

    def _repeated_datasets(self) -> Iterator[Fault]:
        users = defaultdict(list)
        for document in self.sources:
            for path, extractor in list(document.named("plugins", "extractors"))[:1]:
                if dataset := extractor.get("load_schema"):
                    users[dataset].append((document, (*path, "load_schema")))
        for dataset, (first, *others) in users.items():
            for document, path in others:
                what = f"the dataset '{dataset}' is that of {first[0].file} too"
                fix = "Give each source a dataset of its own, named like its file."
                yield document.fault(path, what, fix)

    def _job(self, document: Document, path: Path_, job: Mapping[str, Any]) -> Iterator[Fault]:
        mappings = [
            mapping.get("name")
            for entry in self.by_name.values()
            for mapping in entry.get("mappings") or []
        ]
        known = [*self.by_name, *mappings, *(job["name"] for _, _, job in self.jobs)]
        for position, task in enumerate(_tasks(job)):
            for word in task.split():
                name, _, command = word.partition(":")
                here = (*path, "tasks", position)
                if name not in known:
                    what = f"job '{job['name']}': there is no plugin '{name}'"
                    yield document.fault(here, what, f"Correct it{_nearest(name, known)}")
                elif command and command not in (commands := self._commands(name)):
                    what = f"job '{job['name']}': '{name}' has no command '{command}'"
                    yield document.fault(here, what, f"Correct it{_nearest(command, commands)}")

    def _commands(self, name: str) -> set[str]:
        entry = self.by_name.get(name) or {}
        inherited = self._commands(entry["inherit_from"]) if entry.get("inherit_from") else set()
        return inherited | set(entry.get("commands") or ())

    def _schedule(
        self, document: Document, path: Path_, schedule: Mapping[str, Any]
    ) -> Iterator[Fault]:
        name, job = schedule["name"], schedule.get("job")
        jobs = [entry["name"] for _, _, entry in self.jobs]
        if job is None and "extractor" not in schedule:
            what = f"schedule '{name}' names no job"
            yield document.fault(path, what, f"Add `job:`{_nearest(name, jobs)}", fatal=True)
        elif job is not None and job not in jobs:
            what = f"schedule '{name}': there is no job '{job}'"
            fix = f"Add the job, or correct `job`{_nearest(str(job), jobs)}"
            yield document.fault((*path, "job"), what, fix, fatal=True)


def _tasks(job: Mapping[str, Any]) -> list[str]:
    tasks = job.get("tasks") or []
    each = tasks if isinstance(tasks, list) else [tasks]
    return [" ".join(map(str, task)) if isinstance(task, list) else str(task) for task in each]


def _nearest(name: str, names: Any) -> str:
    near = get_close_matches(name, [str(one) for one in names], 1)
    return f": did you mean `{near[0]}`?" if near else "."
