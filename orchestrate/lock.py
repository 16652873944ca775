"""Lock every dependency with hashes: `make lock`.

A version is pinned by hand in one place only: a plugin's `pip_url`, or a pyproject.toml. The
files written here follow from it. They hold no download address, so any index will do.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
OWN = sorted(ROOT.glob("plugins/*/*/pyproject.toml"))
UV = [sys.executable, "-m", "uv", "pip", "compile", "--quiet"]
COMPILE = [*UV, "--universal", "--generate-hashes", "--no-header", "--no-annotate"]
# The project's own packages need each other; they are installed from their folders.
COMPILE += [f"--no-emit-package={path.parent.name}" for path in OWN]


def main() -> None:
    """Write requirements-dev.txt, requirements.txt and plugins/locks/*.txt."""
    upgrade = sys.argv[1:]
    plugins = [(kind, *split(pip_url)) for kind, pip_url in pip_urls()]
    # The tests use what the utilities use; taps and dbt stay in environments of their own.
    beside = [pin for kind, _, pins, _ in plugins if kind == "utilities" for pin in pins]
    own = [str(path.relative_to(ROOT)) for path in OWN]
    # dagster-dbt asks for sqlglot in its compiled form, which the local BigQuery can't extend.
    interpreted = [f"--no-emit-package={name}" for name in ("sqlglotc", "sqlglotrs")]
    development = ["pyproject.toml", *own, "--all-extras", "--group", "dev", *interpreted, *upgrade]
    lock(development, beside, ROOT / "requirements-dev.txt")
    # The same versions, so that the second installs on top of the first.
    lock(["pyproject.toml", "--constraint", "requirements-dev.txt"], [], ROOT / "requirements.txt")
    for _, packages, pins, output in plugins:
        if output:
            lock([*packages, *upgrade], pins, output)


def pip_urls() -> Iterator[tuple[str, str]]:
    """Yield the kind and the `pip_url` of every plugin in the project."""
    for path in sorted([*ROOT.glob("*/*.meltano.yml"), *ROOT.glob("extract/tap-*/*.meltano.yml")]):
        for kind, plugins in yaml.safe_load(path.read_text()).get("plugins", {}).items():
            yield from ((kind, plugin["pip_url"]) for plugin in plugins if "pip_url" in plugin)


def split(pip_url: str) -> tuple[list[str], list[str], Path | None]:
    """Return a `pip_url`'s own packages, what it pins, and the lock that it names."""
    packages: list[str] = []
    pins: list[str] = []
    output = None
    arguments = iter(shlex.split(pip_url))
    for argument in arguments:
        match argument:
            case "-e":
                folder, _, extras = next(arguments).removesuffix("]").partition("[")
                packages.append(f"{folder}/pyproject.toml")
                packages += [f"--extra={extra}" for extra in extras.split(",") if extra]
            case "--constraint":
                output = ROOT / next(arguments)
            case "--excludes":
                packages.append(f"{argument}={next(arguments)}")
            case "--requirement":
                next(arguments)  # what stands beside it in an environment: the sandbox's own
            case _:
                pins.append(argument)
    return packages, pins, output


def lock(arguments: Sequence[str], pins: Sequence[str], output: Path) -> None:
    """Compile requirements to a file of exact versions and hashes."""
    name = str(output.relative_to(ROOT))
    print(name)  # noqa: T201
    output.parent.mkdir(exist_ok=True)
    command = [*COMPILE, "--output-file", name, *arguments, *(["-"] if pins else [])]
    subprocess.run(command, cwd=ROOT, check=True, text=True, input="\n".join(pins))  # noqa: S603


if __name__ == "__main__":
    main()
