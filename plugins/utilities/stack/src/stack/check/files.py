"""Do the project's files fit together? Looked at without Meltano, which may be unable to start."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from stack.check import cron, documents, schema
from stack.check.documents import Document, Fault
from stack.project import SUFFIX

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
    found, faults = documents.read(root)
    known = next(root.glob(".venv/lib/*/site-packages/meltano/schemas/meltano.schema.json"), None)
    if known:
        faults += schema.check(found, known)
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
        for path in sorted((self.root / "extract").glob("*.y*ml")):
            file = str(path.relative_to(self.root))
            if file not in read:
                mend = f"Rename it to extract/{path.name.partition('.')[0]}{SUFFIX}."
                yield Fault(file, None, f"isn't read: `include_paths` in {documents.MAP}", mend)

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
                mend = f"Correct `inherit_from`{_nearest(parent, self.by_name)}"
                yield document.fault((*path, "inherit_from"), what, mend, fatal=True)

    def _source(self, document: Document, name: str) -> Iterator[Fault]:
        if not NAME.fullmatch(name):
            what = f"'{name}' can't be a dataset's name"
            mend = "Rename the file: small letters, digits and underscores, a letter first."
            yield document.fault((), what, mend)
        if RESERVED.fullmatch(name):
            what = f"the name '{name}' is taken: `dbt` and `dbt_<user>` are what dbt builds into"
            yield document.fault((), what, "Rename the file, and `load_schema` with it.")
        extractors = list(document.named("plugins", "extractors"))
        if not extractors:
            what = "has no extractor, and a file in extract/ is one source"
            mend = f"Add one under `plugins: extractors:`, with `load_schema: {name}`."
            yield document.fault(("plugins",), what, mend)
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
            mend = f"Add a job `{name}-daily` with the task `{extractor['name']} target-bigquery`."
            yield document.fault(path, what, mend)

    def _load_schema(
        self, document: Document, path: Path_, extractor: Mapping[str, Any], name: str
    ) -> Iterator[Fault]:
        dataset = extractor.get("load_schema")
        if dataset is None:
            what = f"'{extractor['name']}' has no `load_schema`, which names its raw dataset"
            yield document.fault(path, what, f"Add `load_schema: {name}`.")
        elif dataset != name:
            what = f"`load_schema` is '{dataset}', and the file's name says '{name}'"
            mend = f"Write `load_schema: {name}`, or rename the file to {dataset}{SUFFIX}."
            yield document.fault((*path, "load_schema"), what, mend)

    def _repeated_datasets(self) -> Iterator[Fault]:
        users = defaultdict(list)
        for document in self.sources:
            for path, extractor in list(document.named("plugins", "extractors"))[:1]:
                if dataset := extractor.get("load_schema"):
                    users[dataset].append((document, (*path, "load_schema")))
        for dataset, (first, *others) in users.items():
            for document, path in others:
                what = f"the dataset '{dataset}' is that of {first[0].file} too"
                mend = "Give each source a dataset of its own, named like its file."
                yield document.fault(path, what, mend)

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
            mend = f"Add the job, or correct `job`{_nearest(str(job), jobs)}"
            yield document.fault((*path, "job"), what, mend, fatal=True)
        interval = str(schedule.get("interval", ""))
        if "$" not in interval and (complaint := cron.complaint(interval)):
            mend = (
                "Write minute, hour, day, month and day of the week: '0 6 * * *' is daily at 6:00."
            )
            yield document.fault((*path, "interval"), f"schedule '{name}': {complaint}", mend)


def _tasks(job: Mapping[str, Any]) -> list[str]:
    tasks = job.get("tasks") or []
    each = tasks if isinstance(tasks, list) else [tasks]
    return [" ".join(map(str, task)) if isinstance(task, list) else str(task) for task in each]


def _nearest(name: str, names: Any) -> str:
    near = get_close_matches(name, [str(one) for one in names], 1)
    return f": did you mean `{near[0]}`?" if near else "."
