"""Every Markdown file names only paths, headings, `make` targets and Meltano names that exist."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4,}\S.*$", re.MULTILINE)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# `<source>` and `NAME` stand for any name.
PATH = re.compile(r"(?<![\w/.:@$<>{}=-])\.?[\w-][\w.<>-]*(?:/[\w.<>-]+)+/?(?![\w*{…])")
PLACEHOLDER = re.compile(r"<[^>]*>|\bNAME\b")
FILE = re.compile(r"\.(json|md|py|sh|sql|toml|txt|ya?ml)$")
TARGET = re.compile(r"(?:^ *|[$&;] *)(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)", re.MULTILINE)
MELTANO = re.compile(r"\bmeltano (?:--\S+ )*(run|invoke) ((?:--\S+ )*)([^\s`&|#]+(?: [^\s`&|#]+)*)")
NAME = re.compile(r"[a-z][a-z0-9-]*(:[a-z-]+)?")


def documents() -> list[str]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    found = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in found.splitlines() if (ROOT / name).exists()]


def faults(document: Path, text: str) -> Iterator[str]:
    """Yield what a document names that does not exist."""
    fences = "\n".join(FENCE.findall(text))
    prose = FENCE.sub("", text)
    spans = "\n".join(SPAN.findall(prose))
    commands = "\n".join(INDENTED.findall(prose))
    yield from (f"link {link}" for link in LINK.findall(prose) if not leads(link, document))
    # In fences there is output, which names files that a command has yet to write.
    for path in PATH.findall(f"{spans}\n{commands}"):
        if is_of_the_repository(path, document) and not exists(path, document):
            yield f"path {path}"
    code = "\n".join([spans, commands, fences])
    yield from (f"make {name}" for name in TARGET.findall(code) if name not in targets())
    for verb, _, arguments in MELTANO.findall(code):
        names = arguments.split()[:1] if verb == "invoke" else arguments.split()
        yield from (f"meltano {verb} {n}" for n in names if NAME.fullmatch(n) and n not in known())


def leads(link: str, document: Path) -> bool:
    """Tell whether a link leads to a file and a heading; links to other sites count as good."""
    if re.match(r"[a-z]+:", link):
        return True
    name, _, anchor = unquote(link).partition("#")
    target = (document.parent / name).resolve() if name else document
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(target)


@cache
def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    plain = (LINK.sub(lambda link: link[0][1 : link[0].index("]")], line) for line in headings)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in plain}


def is_of_the_repository(path: str, document: Path) -> bool:
    """Tell a path of the repository from an API's route, an option or a name with a slash."""
    first = path.split("/")[0]
    folders = (ROOT, document.parent)
    return (any((f / first).exists() for f in folders) or bool(FILE.search(path))) and not made(
        path
    )


@cache
def made(path: str) -> bool:
    """Tell whether git ignores a path: set-up or a run makes it."""
    check = ["git", "check-ignore", "--quiet", "--no-index", path]
    return subprocess.run(check, cwd=ROOT, check=False).returncode == 0


def exists(path: str, document: Path) -> bool:
    pattern = PLACEHOLDER.sub("*", path).rstrip("/.")
    return any(any(folder.glob(pattern)) for folder in (ROOT, document.parent))


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def known() -> set[str]:
    """Return the jobs and plugins of the project and its examples, and `plugin:command`."""
    names: set[str] = set()
    for file in ROOT.glob("*/**/*.meltano.yml"):
        content = yaml.safe_load(file.read_text())
        names.update(job["name"] for job in content.get("jobs", []))
        for plugin in (p for plugins in content["plugins"].values() for p in plugins):
            commands = plugin.get("commands", {})
            names.update([plugin["name"], *(f"{plugin['name']}:{c}" for c in commands)])
    return names


@pytest.mark.parametrize("name", documents())
def test_what_a_document_names_exists(name: str) -> None:
    assert list(faults(ROOT / name, (ROOT / name).read_text())) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "[a file](extract/nothing.meltano.yml)",
        "[a heading](README.md#nothing)",
        "`extract/nothing.meltano.yml`",
        "`nothing/product.meltano.yml`",
        "`transform/models/nothing/<source>/`",
        "    cp extract/nothing.meltano.yml extract/",
        "`make nothing`",
        "    cd data-stack && MELTANO_ENVIRONMENT=prod make nothing  # make it so",
        "`meltano run product-daily nothing-daily`",
        "`meltano --environment=prod invoke nothing check`",
        "```\n$ meltano invoke dbt-bigquery:nothing\n```",
    ],
)
def test_what_does_not_exist_is_found(wrong: str) -> None:
    assert len(list(faults(ROOT / "README.md", wrong))) == 1
