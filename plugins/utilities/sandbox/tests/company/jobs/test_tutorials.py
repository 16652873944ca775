"""The tutorials in docs/ are followed word by word: each edit is made, each command is run."""

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from ..stack import ROOT, Stack

BLOCK = re.compile(r"^```(?P<kind>diff|console)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
QUESTION = re.compile(
    r"^### (?P<title>[^\n]*)$.*?^(?P<header>\| [^\n]* \|)$.*?^```sql\n(?P<sql>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
FAILS = re.compile(r"\s+# fails$")


@pytest.fixture
def project(stack: Stack) -> Iterator[Stack]:
    """The stack, whose dbt project is as it was afterwards."""
    models = stack.root / "transform/models"
    files = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    yield stack
    for path, text in files.items():
        if path.read_bytes() != text:
            path.write_bytes(text)
    stack.meltano("invoke", "dbt-bigquery", "run", "--select", "stg_product__users", "dim_users")


def test_intro_to_dbt(project: Stack) -> None:
    page = (ROOT / "docs/intro-to-dbt.md").read_text()
    blocks = [(found["kind"], found["text"]) for found in BLOCK.finditer(page)]
    assert {kind for kind, _ in blocks} == {"diff", "console"}
    for kind, text in blocks:
        (edit if kind == "diff" else follow)(project, text)


def edit(project: Stack, diff: str) -> None:
    subprocess.run(["git", "apply", "-"], cwd=project.root, input=diff, text=True, check=True)


def follow(project: Stack, block: str) -> None:
    """Run the command of a block; what it prints has the block's lines, in their order.

    A line that is … stands for any lines, and … in a line for any text.
    """
    command, *expected = block.splitlines()
    fails = bool(FAILS.search(command))
    program, *arguments = shlex.split(FAILS.sub("", command).removeprefix("$ "))
    assert program == "meltano"
    output = project.meltano(*arguments, fails=fails)
    lines = map(spaced, output.splitlines())
    for line in expected:
        local = line.replace("http://127.0.0.1:13000", project.status["metabase"]["url"])
        pattern = ".*".join(map(re.escape, spaced(local).split("…")))
        assert line == "…" or any(re.search(pattern, each) for each in lines), (line, output)


def spaced(line: str) -> str:
    """Return a line with one space for several: tables are as wide as their values."""
    return " ".join(line.split())


def test_intro_to_data(stack: Stack) -> None:
    """Each question has an answer, with the columns that the page shows."""
    page = (ROOT / "docs/intro-to-data.md").read_text()
    questions = [found.groupdict() for found in QUESTION.finditer(page)]
    assert [each["title"].partition(".")[0] for each in questions] == [str(n) for n in range(1, 11)]
    answered = 0
    for question in questions:
        answer = stack.warehouse.query(question["sql"]).result()
        columns = [field.name for field in answer.schema]
        assert columns == question["header"].strip("| ").split(" | "), question["title"]
        answered += answer.total_rows > 0
    assert answered >= 8, "The company of the tests is small: not each question has an answer."
