"""`meltano invoke metabase:push`, `plan` and `pull`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from metabase_content.api import ApiError, Metabase, Refused
from metabase_content.files import Content, read, short
from metabase_content.pull import NotFoundError, Pull
from metabase_content.references import Warehouse
from metabase_content.sync import OF_PEOPLE, WRITES, Change, Report, Sync

FOLDER = "orchestrate/metabase"
SIGNS = {
    "create": "+",
    "update": "~",
    "restore": "~",
    "archive": "-",
    **dict.fromkeys(OF_PEOPLE | {"kept"}, "!"),
}
KEPT = "left as it is. Take it over: metabase:pull; undo it: metabase:push --overwrite"
SAYS = {
    "create": "new",
    "update": "changed here: {}",
    "restore": "back from the archive",
    "archive": "archived: {}",
    "kept": "{}, left in Metabase. Archive it: metabase:push --archive",
    "edited": "changed in Metabase: {}; " + KEPT,
    "conflict": "changed here and in Metabase: {}; " + KEPT,
    "unknown": "is in Metabase, not from here, and differs: {}; " + KEPT,
    "gone": "{}; left so. Make it again: metabase:push --overwrite",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 1 if something could not be pushed."""
    options = parser().parse_args(arguments)
    root = Path(os.environ.get("MELTANO_PROJECT_ROOT", "."))
    folder = Path(options.folder) if options.folder else root / FOLDER
    url, key = os.environ.get("METABASE_SERVER"), os.environ.get("METABASE_KEY")
    if not url:
        say("No Metabase in this environment: set `server` of `metabase` in meltano.yml.")
        return 0
    metabase = Metabase(url, key or "")
    try:
        if options.command == "pull":
            return pull(metabase, folder, options.names)
        overwrite = getattr(options, "overwrite", None)
        archive = getattr(options, "archive", False)
        dry = options.command == "plan"
        if not folder.is_dir():
            return fail(f"{short(folder)} is no folder: questions and dashboards are read from it")
        return push(metabase, folder, dry=dry, overwrite=overwrite, archive=archive)
    except (ApiError, NotFoundError) as error:
        return fail(str(error))
    except Refused as error:
        return fail(f"Metabase at {url}: {error}")


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    result = argparse.ArgumentParser("metabase", description=__doc__)
    result.add_argument("--folder", help=f"where the files are; by default, {FOLDER}")
    commands = result.add_subparsers(dest="command", required=True)
    commands.add_parser("plan", help="show what a push would do")
    push_ = commands.add_parser("push", help="write what differs to Metabase")
    push_.add_argument(
        "--overwrite",
        nargs="*",
        metavar="NAME",
        help="write these though people have changed them in Metabase; without names, all",
    )
    push_.add_argument(
        "--archive", action="store_true", help="archive what is no longer in the files"
    )
    pull_ = commands.add_parser("pull", help="write what people have changed in Metabase to files")
    pull_.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="only these, wherever they are: names, or addresses of pages",
    )
    return result


def compared(
    metabase: Metabase,
    folder: Path,
    overwrite: Sequence[str] | None = None,
    archive: bool = False,
    wait: Callable[[Content, Warehouse], bool] = lambda _content, _warehouse: False,
) -> Sync:
    """Read the files and Metabase, and compare them.

    `wait` says whether Metabase has yet to find a table that the files name.
    """
    content = read(folder)
    known = {name for entity in content.entities for name in (entity.name, entity.entity_id)}
    for name in overwrite or []:
        if name not in known:
            raise NotFoundError(f"No file has a collection, question or dashboard “{name}”")
    metabase.check_version()
    warehouse = Warehouse(list(metabase.metadata()))
    while wait(content, warehouse):
        time.sleep(1)
        warehouse = Warehouse(list(metabase.metadata()))
    sync = Sync(metabase, content, warehouse)
    sync.look()
    sync.compare(overwrite, archive)
    return sync


def push(
    metabase: Metabase,
    folder: Path,
    *,
    dry: bool = False,
    overwrite: Sequence[str] | None = None,
    archive: bool = False,
    wait: Callable[[Content, Warehouse], bool] = lambda _content, _warehouse: False,
    mark: str = "  ! ",
) -> int:
    """Push a folder, or only say what a push would do; return the exit code.

    `mark` begins the lines about what people have changed.
    """
    sync = compared(metabase, folder, overwrite, archive, wait)
    if not dry:
        sync.push()
    show(sync.report, metabase.url, mark, dry=dry)
    return 1 if sync.report.problems else 0


def pull(metabase: Metabase, folder: Path, names: Sequence[str]) -> int:
    """Write files; return the exit code."""
    sync = compared(metabase, folder)
    what = Pull(sync)
    if names:
        what.named(names)
    else:
        what.changed()
    written = what.write()
    for path in written:
        say(f"  wrote {short(path)}")
    for problem in sync.report.problems:
        say(f"  ✗ {problem}", error=True)
    if not written:
        say(f"The files are as Metabase at {metabase.url} has it.")
    return 1 if sync.report.problems else 0


def show(report: Report, url: str, mark: str, *, dry: bool) -> None:
    """Print what a plan or a push has found."""
    for change in report.changes:
        if change.action in SIGNS:
            say(line(change, mark))
    # If nothing can be pushed, the causes are enough.
    is_all = all(change.action == "failed" for change in report.changes)
    for problem in report.problems:
        if not (is_all and problem.follows):
            say(f"  ✗ {problem}", error=True)
    written = sum(change.action in WRITES for change in report.changes)
    people = sum(change.action in OF_PEOPLE for change in report.changes)
    same = sum(change.action in ("same", "adopt") for change in report.changes)
    parts = [f"{written} {'to write' if dry else 'written'}", f"{same} as they are"]
    parts += [f"{people} changed by people"] if people else []
    parts += [f"{len(report.problems)} can't be pushed"] if report.problems else []
    say(f"Questions and dashboards of Metabase at {url}: {', '.join(parts)}.")


def line(change: Change, mark: str) -> str:
    """Return a line about a change."""
    sign = mark if change.action in OF_PEOPLE | {"kept"} else f"  {SIGNS[change.action]} "
    return f"{sign}{change.kind} “{change.name}”: {SAYS[change.action].format(change.detail)}"


def say(text: str, *, error: bool = False) -> None:
    """Print."""
    print(text, file=sys.stderr if error else sys.stdout)


def fail(text: str) -> int:
    """Print an error and return the exit code."""
    say(text, error=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
