"""Plan a day: `jobs.py [job …]` prints what `meltano run` is told: a name, a tab, tasks.

Without names, the jobs are those that have a schedule for today (in UTC; the hour doesn't count).
Where several of them load and build, `load` loads all their sources, each `load: <job>` those of
one, and `build` is the one build for all. Other jobs run as they are.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILD = re.compile(r"dbt-[\w-]+:build(-changed)?")
GUARD, SYNC = "stack:guard", "dbt-metabase:sync"
ONE_BUILD = f"{GUARD} dbt-bigquery:build-changed {SYNC}"
ALIASES = {
    **dict.fromkeys(("@hourly", "@daily", "@midnight"), "* * * * *"),
    "@weekly": "* * * * 0",
    "@monthly": "* * 1 * *",
    **dict.fromkeys(("@yearly", "@annually"), "* * 1 1 *"),
}
Jobs = Mapping[str, Sequence[str]]


def main() -> None:
    """Print the plan."""
    listed, schedules = read(ROOT)
    names = sys.argv[1:] or due(schedules, datetime.now(UTC).date())
    # Of a name that isn't a job, `meltano run` knows what it is.
    for name, told in plan({name: listed.get(name, ()) for name in names}):
        print(f"{name}\t{told}")  # noqa: T201


def read(root: Path) -> tuple[Jobs, Sequence[Mapping[str, str]]]:
    """Return the tasks of each job, and the schedules. To ask Meltano takes a second."""
    main = root / "meltano.yml"
    patterns = yaml.safe_load(main.read_text())["include_paths"]
    files = [main, *(path for pattern in patterns for path in root.glob(pattern))]
    parts: list[dict[str, Any]] = [yaml.safe_load(file.read_text()) or {} for file in files]
    jobs = {
        job["name"]: [task if isinstance(task, str) else " ".join(task) for task in job["tasks"]]
        for part in parts
        for job in part.get("jobs") or []
    }
    return jobs, [one for part in parts for one in part.get("schedules") or [] if one.get("job")]


def due(schedules: Sequence[Mapping[str, str]], today: date) -> list[str]:
    """Return the jobs whose schedule is for a day."""
    found = {
        one["job"]
        for one in schedules
        if is_due(ALIASES.get(one["interval"], one["interval"]), today)
    }
    return sorted(found)


def is_due(interval: str, today: date) -> bool:
    """Return whether an interval holds a day: *, 0, 1-5, 1,15. Another form counts as today."""
    match interval.split():
        case [_, _, day, month, weekday]:
            return (
                holds(day, today.day)
                and holds(month, today.month)
                and holds(weekday, today.isoweekday(), today.isoweekday() % 7)
            )
    return False


def holds(field: str, *numbers: int) -> bool:
    """Return whether a field of cron holds one of some numbers."""
    parts = [part.split("-") for part in field.split(",")]
    if field == "*" or not all(end.isdigit() for part in parts for end in part):
        return True
    return any(int(part[0]) <= number <= int(part[-1]) for part in parts for number in numbers)


def plan(jobs: Jobs) -> Iterator[tuple[str, str]]:
    """Yield what runs and its name, in their order."""
    loads = {name: loads_of(tasks) for name, tasks in jobs.items() if is_load_and_build(tasks)}
    if len(loads) > 1:
        yield "load", " ".join((GUARD, *loads.values()))
        yield from ((f"load: {name}", f"{GUARD} {load}") for name, load in loads.items())
    yield from ((name, name) for name in jobs if name not in loads or len(loads) == 1)
    if len(loads) > 1:
        yield "build", ONE_BUILD


def loads_of(tasks: Sequence[str]) -> str:
    """Return the tasks of a job that load."""
    return " ".join(task for task in tasks if " " in task)


def is_load_and_build(tasks: Sequence[str]) -> bool:
    """Return whether a job loads, builds what that feeds, and does nothing else."""
    kinds = {
        "load" if " " in task else "build" if BUILD.fullmatch(task) else task for task in tasks
    }
    return {"load", "build"} <= kinds <= {"load", "build", GUARD, SYNC}


if __name__ == "__main__":
    main()
