"""Do the project's files fit together? Looked at without Meltano, which may be unable to start."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, override

import yaml

from stack import manifests
from stack.check.report import meant
from stack.project import RESERVED, SOURCE_NAME, SUFFIX

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


@dataclass(frozen=True)
class Entry:
    """A part of a file: a mapping, where it is, and what it was read from."""

    file: str
    """Its path in the project."""
    data: Mapping[str, Any]
    node: yaml.Node | None = field(repr=False)
    line: int | None = 1

    @property
    def name(self) -> str:
        """What the entry is called."""
        return str(self.data["name"])

    def fault(self, what: str, fix: str, *steps: Hashable, fatal: bool = False) -> Fault:
        """Say what is wrong with it, or with what lies below it at a path of keys and positions."""
        node, line = self.node, self.line
        for step in steps:
            key, node = below(node, step)
            line = key.start_mark.line + 1 if key else line
        return Fault(self.file, line, what, fix, fatal)

    def named(self, *path: str) -> Iterator["Entry"]:
        """Yield the entries of a list that have a name."""
        found: Any = self.data
        node = self.node
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
            _, node = below(node, step)
        for position, data in enumerate(found if isinstance(found, list) else []):
            if isinstance(data, dict) and isinstance(data.get("name"), str):
                _, item = below(node, position)
                yield Entry(self.file, data, item, item.start_mark.line + 1 if item else None)


def below(node: yaml.Node | None, step: Hashable) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return what leads to a value below a node, and the value."""
    nothing = None, None
    match node:
        case yaml.SequenceNode() if isinstance(step, int) and step < len(node.value):
            return node.value[step], node.value[step]
        case yaml.MappingNode():
            return next((pair for pair in node.value if pair[0].value == step), nothing)
    return nothing


class Loader(yaml.SafeLoader):
    """Names the line of a value that can't be read, and of a key that one mapping has twice."""

    @override
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except ValueError as error:  # a date or a number that there can't be
            raise yaml.MarkedYAMLError(
                problem=str(error), problem_mark=node.start_mark, note="bad value"
            ) from error

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines and name != "<<":
                problem = f"has `{name}` twice in one mapping, first in line {lines[name]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[name] = line
        return super().construct_mapping(node, deep=deep)


FIXES = {
    "'\\t'": "Indent with spaces: YAML takes no tabs there.",
    "cannot start any token": "Put the whole value into quotes.",
    "mapping values are not allowed": (
        "Put a text that holds `: ` into quotes, or correct the indentation of this line."
    ),
    "could not find expected ':'": "Write `key: value`, with a space after the colon.",
    "undefined alias": "Define it before, with `&`, in this same file; or write it out.",
    "quoted scalar": "Close the quote that was opened there.",
    "twice in one mapping": "Put what both hold under one of them.",
    "flow": "Close the bracket, or put a comma between its entries.",
    "block": "Entries of one list or mapping stand at the same indentation: correct this line's.",
    "": "Correct the YAML in this line, or the one above it.",
}
"""What usually leads to a problem that the YAML parser names."""


def read(root: Path) -> tuple[list[Entry], list[Fault]]:
    """Read meltano.yml and what it includes."""
    whole = read_one(root, MAP)
    if isinstance(whole, Fault):
        return [], [whole]
    patterns = whole.data.get("include_paths")
    files = dict.fromkeys(
        str(path.relative_to(root))
        for pattern in (patterns if isinstance(patterns, list) else [])
        for path in sorted(root.glob(str(pattern)))
    )
    found = [whole, *(read_one(root, file) for file in files if file != MAP)]
    return (
        [one for one in found if isinstance(one, Entry)],
        [one for one in found if isinstance(one, Fault)],
    )


def read_one(root: Path, file: str) -> Entry | Fault:
    """Read a file."""
    try:
        loader = Loader((root / file).read_text())
        node: yaml.Node | None = loader.get_single_node()
        data = loader.construct_document(node) if node else None
        json.dumps(data, default=str, skipkeys=True)
    except FileNotFoundError:
        return Fault(file, None, "is missing", f"Restore it: `git checkout {file}`.", True)
    except (OSError, UnicodeDecodeError) as error:
        fix = "Make it a file that you may read, in UTF-8."
        return Fault(file, None, f"can't be read: {error}", fix, True)
    except RecursionError:
        fix = "Write it with less levels: nothing in Meltano needs so many."
        return Fault(file, None, "is nested too deeply", fix, True)
    except ValueError:  # JSON's, which has no anchors
        fix = "Write out what the anchor (`&`) holds, instead of referring to it from within."
        return Fault(file, None, "has a value that holds itself", fix, True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        fix = next(fix for sign, fix in FIXES.items() if sign in problem)
        if error.note:
            fix = "Put the value into quotes, or correct it."
        return Fault(file, mark.line + 1 if mark else None, problem, fix, True)
    except yaml.YAMLError as error:
        problem = str(error).partition("\n")[0]
        return Fault(file, None, problem, "Take that character out.", True)
    return Entry(file, data if isinstance(data, dict) else {}, node)


def check(root: Path) -> tuple[int, list[Fault]]:
    """Return how many files there are, and what is wrong with them."""
    found, faults = read(root)
    if not faults:
        faults = list(Files(root, found).faults())
    return len(found), faults


class Files:
    """All files, which could be read."""

    def __init__(self, root: Path, found: Sequence[Entry]) -> None:
        """Collect what has a name."""
        self.root = root
        self.files = found
        self.plugins = [
            entry
            for file in found
            for kind in file.data.get("plugins") or ()
            for entry in file.named("plugins", kind)
        ]
        self.by_name = {entry.name: entry for entry in self.plugins}
        self.jobs = [entry for file in found for entry in file.named("jobs")]
        self.schedules = [entry for file in found for entry in file.named("schedules")]

    def faults(self) -> Iterator[Fault]:
        """Yield all faults."""
        yield from self._unread()
        yield from self._bad_manifests()
        yield from _repeated("plugin", self.plugins)
        yield from _repeated("job", self.jobs)
        yield from _repeated("schedule", self.schedules)
        yield from self._parents()
        sources: dict[str, str] = {}
        for file in self.files:
            if str(Path(file.file).parent) == "extract":
                yield from self._source(file, sources)
        for job in self.jobs:
            yield from self._job(job)
        for schedule in self.schedules:
            yield from self._schedule(schedule)

    def _unread(self) -> Iterator[Fault]:
        read = {file.file for file in self.files}
        used = {manifest for _, manifest in self._manifests()}
        for path in sorted((self.root / "extract").glob("*.y*ml")):
            file = str(path.relative_to(self.root))
            if file.endswith(MANIFEST) and file not in used:
                fix = f"Remove it, or write `manifest: {file}` in the source's file."
                yield Fault(file, None, "is the manifest of no source", fix)
            elif file not in read | used:
                fix = f"Rename it to extract/{path.name.partition('.')[0]}{SUFFIX}."
                yield Fault(file, None, f"isn't read: `include_paths` in {MAP}", fix)

    def _manifests(self) -> Iterator[tuple[Entry, str]]:
        """Yield which extractors name the file of a manifest, and which."""
        for extractor in self.plugins:
            config = extractor.data.get("config")
            setting = config.get("manifest") if isinstance(config, dict) else None
            if file := manifests.path_of(setting):
                yield extractor, file

    def _bad_manifests(self) -> Iterator[Fault]:
        for extractor, file in self._manifests():
            if not (self.root / file).is_file():
                fix = "Correct `manifest`, a path from the project's folder; or restore the file."
                yield extractor.fault(f"there is no manifest {file}", fix, "config", "manifest")
            elif isinstance(found := read_one(self.root, file), Fault):
                yield replace(found, is_fatal=False)
            elif not found.data:
                yield Fault(file, None, "is no manifest: it holds no mapping", "Export it again.")

    def _parents(self) -> Iterator[Fault]:
        for entry in self.plugins:
            parent = entry.data.get("inherit_from")
            if parent and parent not in self.by_name:
                what = f"'{entry.name}' inherits from '{parent}', which isn't in the project"
                fix = f"Correct `inherit_from`{meant(parent, self.by_name)}"
                yield entry.fault(what, fix, "inherit_from", fatal=True)

    def _source(self, file: Entry, datasets: dict[str, str]) -> Iterator[Fault]:
        """Yield what is wrong with a source; `datasets` are those of sources before it."""
        name = Path(file.file).name.removesuffix(SUFFIX)
        if not SOURCE_NAME.fullmatch(name):
            fix = "Rename the file: small letters, digits and underscores, a letter first."
            yield file.fault(f"'{name}' can't be a dataset's name", fix)
        if RESERVED.fullmatch(name):
            what = f"the name '{name}' is reserved"
            if name.startswith("dbt"):
                what = (
                    f"the name '{name}' is taken: `dbt` and `dbt_<user>` are what dbt builds into"
                )
            yield file.fault(what, "Rename the file, and `load_schema` with it.")
        extractors = list(file.named("plugins", "extractors"))
        if not extractors:
            what = "has no extractor, and a file in extract/ is one source"
            fix = f"Add one under `plugins: extractors:`, with `load_schema: {name}`."
            yield file.fault(what, fix, "plugins")
            return
        extractor, *others = extractors
        for other in others:
            if other.data.get("inherit_from") != extractor.name:  # else read otherwise
                what = f"has a second extractor, '{other.name}'"
                yield other.fault(what, "Give each source a file of its own.")
        yield from self._load_schema(extractor, name, datasets)
        tasks = [task for job in self.jobs for task in _tasks(job.data)]
        if not any(extractor.name in task.split()[:-1] for task in tasks):
            what = f"no job runs '{extractor.name}' into a loader"
            fix = f"Add a job `{name}-daily` with the task `{extractor.name} target-bigquery`."
            yield extractor.fault(what, fix)

    def _load_schema(
        self, extractor: Entry, name: str, datasets: dict[str, str]
    ) -> Iterator[Fault]:
        dataset = extractor.data.get("load_schema")
        if not dataset:
            what = f"'{extractor.name}' has no `load_schema`, which names its raw dataset"
            yield extractor.fault(what, f"Add `load_schema: {name}`.")
            return
        if dataset != name:
            what = f"`load_schema` is '{dataset}', and the file's name says '{name}'"
            fix = f"Write `load_schema: {name}`, or rename the file to {dataset}{SUFFIX}."
            yield extractor.fault(what, fix, "load_schema")
        if datasets.setdefault(dataset, extractor.file) != extractor.file:
            what = f"the dataset '{dataset}' is that of {datasets[dataset]} too"
            fix = "Give each source a dataset of its own, named like its file."
            yield extractor.fault(what, fix, "load_schema")

    def _job(self, job: Entry) -> Iterator[Fault]:
        mappings = [
            mapping.get("name")
            for entry in self.plugins
            for mapping in entry.data.get("mappings") or []
        ]
        known = [*self.by_name, *mappings, *(job.name for job in self.jobs)]
        for position, task in enumerate(_tasks(job.data)):
            for word in task.split():
                name, _, command = word.partition(":")
                if name not in known:
                    what = f"job '{job.name}': there is no plugin '{name}'"
                    yield job.fault(what, f"Correct it{meant(name, known)}", "tasks", position)
                elif command and command not in (commands := self._commands(name)):
                    what = f"job '{job.name}': '{name}' has no command '{command}'"
                    fix = f"Correct it{meant(command, commands)}"
                    yield job.fault(what, fix, "tasks", position)

    def _commands(self, name: str | None) -> set[str]:
        if name not in self.by_name:
            return set()
        plugin = self.by_name[name].data
        return self._commands(plugin.get("inherit_from")) | set(plugin.get("commands") or ())

    def _schedule(self, schedule: Entry) -> Iterator[Fault]:
        job, jobs = schedule.data.get("job"), [entry.name for entry in self.jobs]
        if job is None and "extractor" not in schedule.data:
            what = f"schedule '{schedule.name}' names no job"
            yield schedule.fault(what, f"Add `job:`{meant(schedule.name, jobs)}", fatal=True)
        elif job is not None and job not in jobs:
            what = f"schedule '{schedule.name}': there is no job '{job}'"
            fix = f"Add the job, or correct `job`{meant(str(job), jobs)}"
            yield schedule.fault(what, fix, "job", fatal=True)


def _repeated(kind: str, entries: Iterable[Entry]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for entry in entries:
        if entry.name in first:
            what = f"there is a {kind} '{entry.name}' already, in {first[entry.name]}"
            yield entry.fault(what, "Rename one, and what refers to it.", fatal=True)
        first.setdefault(entry.name, f"{entry.file}:{entry.line}")


def _tasks(job: Mapping[str, Any]) -> list[str]:
    tasks = job.get("tasks") or []
    each = tasks if isinstance(tasks, list) else [tasks]
    return [" ".join(map(str, task)) if isinstance(task, list) else str(task) for task in each]
