"""A tap from a package index becomes a source by what it says of itself."""

import json
import os
import re
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from source_files.new_source import source_file, tap
from source_files.new_source.source_file import Draft
from stack.project import Project
from stack.terminal import StackError

ROOT = Path(__file__).resolve().parents[5]
SINGER_SDK = """
import json, sys
ABOUT = {
    "name": "tap-weather", "version": "1.2.3",
    "capabilities": ["catalog", "discover", "state", "about", "stream-maps"],
    "settings": {"type": "object", "required": ["api_key", "start_date", "stations", "page_size"],
    "properties": {
        "api_key": {"type": ["string"], "secret": True, "description": "From the\\n  console."},
        "start_date": {"type": ["string"], "format": "date-time"},
        "stations": {"type": ["array"], "items": {"type": ["string"]}},
        "page_size": {"type": ["integer"], "default": 100},
        "threshold": {"type": ["number", "null"], "default": 0.5},
        "unit": {"enum": ["celsius", "kelvin", None], "default": "celsius"},
        "proxy_password": {"type": ["string", "null"]},
        "flattening_enabled": {"type": ["boolean", "null"]},
        "emit_activate_version_messages": {"type": ["boolean"], "default": False},
    }},
}
CATALOG = {"streams": [
    {"tap_stream_id": "observers", "key_properties": ["id"], "replication_key": "updated_at",
     "schema": {"properties": {"id": {"type": "integer"}, "email": {"type": ["string", "null"]},
                               "is_email_confirmed": {"type": "boolean"}}}},
    {"tap_stream_id": "readings", "schema": {"properties": {}}, "metadata": [
        {"breadcrumb": [], "metadata": {"table-key-properties": ["id"]}}]},
    {"tap_stream_id": "log", "schema": {"properties": {}}, "key_properties": []},
]}
def main():
    if "--about" in sys.argv:
        print(json.dumps(ABOUT))
    elif "--discover" in sys.argv:
        config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
        if config["api_key"] != "right-key":
            sys.exit("401: the key " + config["api_key"] + " opens nothing")
        assert config["page_size"] == 100 and config["stations"] == ["a", "b"], config
        print(json.dumps(CATALOG))
"""
SINGER_PYTHON = """
import sys
import pkg_resources
def main():
    if "--about" in sys.argv:
        sys.exit("error: unrecognized arguments: --about")
    if "--discover" in sys.argv:
        raise Exception("Config is missing required keys: ['access_token', 'start_date']")
"""


def wheel(folder: Path, name: str, version: str, script: str, code: str) -> None:
    """Make a package with one program."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module if script else 'pkg_resources'}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: "
        "py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{script} = {module}:main\n"
        if script
        else "",
    }
    (folder / name).mkdir(exist_ok=True)
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / name / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module", name="index")
def index_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A package index: a folder of wheels for each package, whose listings are its pages."""
    folder = tmp_path_factory.mktemp("index")
    wheel(folder, "vendor-tap-weather", "1.2.3", "tap-weather", SINGER_SDK)
    wheel(folder, "vendor-tap-weather", "0.9.0", "tap-weather", "def main(): pass")
    wheel(folder, "tap-old", "5.0.1", "tap-old", SINGER_PYTHON)
    wheel(folder, "weather-dashboard", "1.0.0", "dashboard", "def main(): pass")
    wheel(folder, "tap-ancient", "0.1.0", "tap-ancient", "from collections import Iterable")
    wheel(folder, "setuptools", "80.9.0", "", "")
    wheel(folder, "setuptools", "82.0.0", "", "raise ModuleNotFoundError")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(autouse=True)
def only_the_index(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("UV_", "WEATHER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(ROOT))


def draft(package: str, **given: str) -> Draft:
    return tap.draft("weather", package, Project(), given)


def extractor(draft: Draft) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(source_file.text(draft, "0 6 * * *"))["plugins"]
    (extractor,) = found["extractors"]
    return dict(extractor)


def test_a_tap_is_pinned_and_its_settings_are_those_that_it_tells() -> None:
    found = draft("vendor-tap-weather")
    written = extractor(found)
    assert written["pip_url"] == "vendor-tap-weather==1.2.3"
    assert written["executable"] == "tap-weather"
    assert written["capabilities"] == ["catalog", "discover", "state", "about", "stream-maps"]
    assert written["settings"] == [
        {"name": "api_key", "sensitive": True, "description": "From the console."},
        {"name": "start_date", "kind": "date_iso8601"},
        {"name": "stations", "kind": "array"},
        {"name": "page_size", "kind": "integer"},
        {"name": "threshold"},  # Meltano fails at a value of kind decimal
        {
            "name": "unit",
            "kind": "options",
            "options": [
                {"label": "celsius", "value": "celsius"},
                {"label": "kelvin", "value": "kelvin"},
            ],
        },
        {"name": "proxy_password", "sensitive": True},
        {"name": "emit_activate_version_messages", "kind": "boolean"},
    ]
    assert any("plugins/extractors/singer-completed/README.md" in note for note in found.notes)
    assert written["config"] == {
        "api_key": "${WEATHER_API_KEY}",
        "start_date": "${WEATHER_START_DATE}",
        "stations": "${WEATHER_STATIONS}",
        "page_size": 100,
    }
    assert written["select"] == ["*.*"]
    assert "# unit: celsius" in source_file.text(found, "")
    assert "# proxy_password: ${WEATHER_PROXY_PASSWORD}" in source_file.text(found, "")
    assert {variable.name for variable in found.variables} == {
        "WEATHER_API_KEY",
        "WEATHER_START_DATE",
        "WEATHER_STATIONS",
    }


def test_streams_are_listed_once_the_settings_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_START_DATE", "2025-01-01T00:00:00Z")
    found = draft("vendor-tap-weather==1.2.3", api_key="right-key", stations='["a", "b"]')
    written, text = extractor(found), source_file.text(found, "0 6 * * *")
    assert written["select"] == ["observers.*", "readings.*", "log.*"]
    assert re.search(r"observers\.\* +# key: id; by updated_at\n", text)
    assert re.search(r"readings\.\* +# key: id; in full\n", text)
    assert any("log has no key" in note for note in found.notes)
    assert written["config"]["stations"] == ["a", "b"]
    assert found.personal == {"observers": {"email": "md5(email) if email else None"}}
    assert "right-key" not in text
    assert {v.name: v.value for v in found.variables}["WEATHER_API_KEY"] == "right-key"


def test_streams_that_cannot_be_listed_are_no_obstacle_and_no_secret_is_told() -> None:
    given = {"api_key": "wrong-key", "stations": '["a"]', "start_date": "2025-01-01"}
    found = draft("vendor-tap-weather", **given)
    assert extractor(found)["select"] == ["*.*"]
    assert any("401: the key … opens nothing" in note for note in found.notes)


def test_a_tap_that_tells_nothing_is_asked_what_it_misses() -> None:
    found = draft("tap-old", base_url="https://example.com")
    written = extractor(found)
    # The tap needs pkg_resources, which the newest setuptools no longer has.
    assert written["pip_url"] == "tap-old==5.0.1 setuptools==80.9.0"
    assert written["settings"] == [
        {"name": "access_token", "sensitive": True},
        {"name": "start_date", "kind": "date_iso8601"},
        {"name": "base_url"},
    ]
    assert written["config"] == {
        "access_token": "${WEATHER_ACCESS_TOKEN}",
        "start_date": "${WEATHER_START_DATE}",
        "base_url": "${WEATHER_BASE_URL}",
    }


@pytest.mark.parametrize(
    ("package", "given", "said"),
    [
        ("tap-that-nobody-made", {}, "no tap-that-nobody-made on PyPI. Check the spelling"),
        ("vendor-tap-weather==7", {}, "no vendor-tap-weather==7 on PyPI"),
        ("weather-dashboard", {}, r"no Singer tap.*it has: dashboard"),
        ("tap-ancient", {}, "doesn't run on this project's Python: ImportError"),
        ("mysql://host/db", {}, "is none of these"),
        ("vendor-tap-weather", {"api_kye": "1"}, "no setting api_kye. There are: api_key, start"),
        ("vendor-tap-weather", {"stations": "a,b"}, "stations is of kind array: write it as JSON"),
    ],
)
def test_what_is_no_tap_is_an_error_with_the_fix(
    package: str, given: dict[str, str], said: str
) -> None:
    with pytest.raises(StackError) as error:
        draft(package, **given)
    assert re.search(said, error.value.message, re.DOTALL), error.value.message


def test_the_file_says_nothing_that_json_does_not_know() -> None:
    # Meltano reads YAML 1.1: a date or an `on` without quotes would be something else.
    found = draft("vendor-tap-weather", start_date="2025-01-01T00:00:00Z")
    assert json.dumps(extractor(found))
