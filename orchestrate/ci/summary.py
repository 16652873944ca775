"""Summarise a dbt build as Markdown: summary.py <run_results.json> [<production's manifest.json>].

With the manifest, it says which dashboards and questions in Metabase read what was built. GitHub
shows the summary on the page of the run.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

BUILT = ("model", "seed", "snapshot")
SIGNS = {"success": "✓", "pass": "✓", "warn": "!", "skipped": "-"}
Result = Mapping[str, Any]


def summary(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines: the models that were built, then each test that didn't pass."""
    built = [result for result in results if kind(result) in BUILT]
    tests = [result for result in results if kind(result) in ("test", "unit_test")]
    bad = [result for result in tests if result["status"] != "pass"]
    yield f"### dbt: {len(built)} models built, {len(tests)} tests run, {len(bad)} not passed"
    yield ""
    if not results:
        yield "No model is changed."
    if built:
        yield "| | built | seconds | MiB billed |"
        yield "|---|---|--:|--:|"
    for result in built:
        billed = (result["adapter_response"].get("bytes_billed") or 0) / 2**20
        where = (result["relation_name"] or name(result)).replace("`", "")
        yield f"| {sign(result)} | `{where}` | {result['execution_time']:.1f} | {billed:,.0f} |"
    for result in [*(r for r in built if r["status"] == "error"), *bad]:
        message = " ".join(str(result["message"] or result["status"]).split())
        yield ""
        yield f"{sign(result)} `{name(result)}`: {message.replace('`', '')}"


def touched(results: Sequence[Result], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about Metabase: what reads the models that were built."""
    built = {result["unique_id"] for result in results if kind(result) in BUILT}
    exposures = [
        (exposure, sorted(built.intersection(exposure["depends_on"]["nodes"])))
        for exposure in manifest.get("exposures", {}).values()
    ]
    for of_type, called in (("dashboard", "Dashboards"), ("analysis", "Questions")):
        found = [(one, read) for one, read in exposures if read and one["type"] == of_type]
        if found:
            yield ""
            yield f"### {called} in Metabase that read what this changes: {len(found)}"
            yield ""
        for one, read in sorted(found, key=lambda pair: str(pair[0]["label"])):
            models = ", ".join(f"`{node.split('.')[-1]}`" for node in read)
            yield f"- [{one['label']}]({one['url']}): {models}"


def kind(result: Result) -> str:
    """Return a result's resource type."""
    return str(result["unique_id"]).partition(".")[0]


def name(result: Result) -> str:
    """Return a result's name without its type and package."""
    return str(result["unique_id"]).split(".", 2)[2]


def sign(result: Result) -> str:
    """Return a sign for a result's status."""
    return SIGNS.get(result["status"], "✗")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    # dbt writes no file if nothing was selected.
    results = json.loads(path.read_text())["results"] if path.exists() else []
    lines = [*summary(results)]
    if len(sys.argv) > 2:
        lines += touched(results, json.loads(Path(sys.argv[2]).read_text()))
    print("\n".join(lines))  # noqa: T201
