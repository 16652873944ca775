"""The single checks: what each finds, what it takes as right, and what it keeps to itself."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner
from google.api_core import exceptions
from google.cloud import bigquery as api
from stack import manifests
from stack.check import bigquery, dbt, files, installation, report, source
from stack.check.command import check
from stack.check.report import Context, Result
from stack.check.taps import Tap, TapError, last_words
from stack.project import Plugin, Project, Setting, Source
from stack.streams.catalog import Stream
from stack.terminal import StackError

MAP = "include_paths: [extract/*.meltano.yml]\n"
SOURCE = """
plugins:
  extractors:
  - {name: tap-notes, load_schema: notes}
  loaders:
  - {name: target-bigquery}
jobs:
- {name: notes-daily, tasks: [tap-notes target-bigquery]}
"""


def setting(name: str, value: Any, written: Any = None, *, sensitive: bool = False) -> Setting:
    return Setting(name, value, value if written is None else written, "", sensitive, None)


def plugin(name: str, *settings: Setting, **changed: Any) -> Plugin:
    facts = {
        "type": "extractors",
        "parent": None,
        "namespace": name,
        "label": name,
        "pip_url": None,
        "executable": f"/nowhere/{name}/venv/bin/{name}",
        "extras": {"load_schema": "notes"},
    }
    return Plugin(name=name, settings={one.name: one for one in settings}, **(facts | changed))


def context(
    root: Path, extractor: Plugin, environment: str = "local", dataset: str = "notes", **facts: Any
) -> Context:
    """A project with one source."""
    developer = [setting("developer", "lawrence_")] if environment == "dev" else []
    loader = plugin(
        "target-bigquery", setting("project", "somebodys"), setting("location", "EU"), *developer
    )
    source = Source(
        "notes", root / "notes.meltano.yml", extractor, loader, dataset, "state", None, None
    )
    dbt = plugin("dbt-bigquery", setting("dataset", "dbt"))
    project = Project()
    project.root = root
    project.environment = environment
    plugins = [extractor, loader, dbt, plugin("dbt-metabase"), plugin("stack")]
    project.__dict__ |= {
        "plugins": {one.name: one for one in plugins},
        "sources": {"notes": source},
        "facts": facts,
    }
    return Context(project, [source])


# --- Files


def check_files(root: Path, **written: str) -> list[tuple[str, str, bool]]:
    """Return what is found in files: where, what and its fix; whether Meltano can't start."""
    (root / "meltano.yml").write_text(MAP)
    (root / "extract").mkdir(exist_ok=True)
    (root / ".venv").symlink_to(Path(installation.__file__).resolve().parents[6] / ".venv")
    for name, text in written.items():
        (root / "extract" / f"{name}.meltano.yml").write_text(text)
    _, faults = files.check(root)
    return [(f"{one.file}:{one.line}", f"{one.what} {one.fix}", one.is_fatal) for one in faults]


def test_a_source_in_one_file_is_enough(tmp_path: Path) -> None:
    otherwise = "  - {name: tap-again, inherit_from: tap-notes}\n  loaders:"
    again = SOURCE.replace("  loaders:", otherwise)
    assert check_files(tmp_path, notes=again) == []


@pytest.mark.parametrize(
    ("text", "line", "fix"),
    [
        ("plugins:\n\textractors: []\n", 2, "Indent with spaces"),
        ("plugins:\n  extractors:\n  - name: a: b\n", 3, "holds `: ` into quotes"),
        ("plugins:\n  extractors:\n  - name: @a\n", 3, "the whole value into quotes"),
        ("jobs:\n- name: 'a\n", 3, "Close the quote"),
        ("jobs:\n- {name: a, tasks: [b}\n", 2, "Close the bracket"),
        ("jobs:\n- name: a\n   tasks: []\n", 3, "correct the indentation of this line"),
        ("jobs:\n  - name: a\n - name: b\n", 3, "stand at the same indentation"),
        ("jobs: *those\n", 1, "Define it before, with `&`"),
        ("jobs: []\njobs: []\n", 2, "Put what both hold under one"),
        (f"jobs: []\nx: {'[' * 2000}{']' * 2000}\n", None, "nested too deeply"),
        (f"jobs: []\nx: {'{a: ' * 2000}{'}' * 2000}\n", None, "nested too deeply"),
        ("jobs: []\nx: &a\n  b: [*a]\n", None, "holds itself"),
        (f"jobs: []\nx:\n  y: {'9' * 5000}\n", 3, "Put the value into quotes"),
        ("jobs: []\nx: 2024-13-45\n", 2, "Put the value into quotes"),
    ],
)
def test_what_meltano_cannot_read_is_named_with_its_line(
    tmp_path: Path, text: str, line: int | None, fix: str
) -> None:
    found = check_files(tmp_path, notes=text)
    assert [where for where, _, is_fatal in found if is_fatal] == [
        f"extract/notes.meltano.yml:{line}"
    ]
    assert any(fix in what for _, what, is_fatal in found if is_fatal)


@pytest.mark.parametrize(
    ("changed", "line", "says"),
    [
        (("tap-notes, load", "tap-notes, inherit_from: tap-n, load"), 4, "isn't in the project"),
        (("target-bigquery]", "target-bigquery, target-bigquery:biuld]"), 8, "no command 'biuld'"),
        (("  loaders:", "  - {name: tap-other}\n  loaders:"), 5, "has a second extractor"),
        (("jobs:", "schedules:\n- {name: n, interval: '@daily'}\njobs:"), 8, "names no job"),
        (("jobs:", "schedules:\n- {name: n, job: m, interval: '@daily'}\njobs:"), 8, "no job 'm'"),
        (("jobs:", "jobs:\n- {name: notes-daily, tasks: []}"), 9, "a job 'notes-daily' already"),
    ],
)
def test_what_does_not_fit_together_is_named_with_its_line(
    tmp_path: Path, changed: tuple[str, str], line: int, says: str
) -> None:
    ((where, what, _),) = check_files(tmp_path, notes=SOURCE.replace(*changed))
    assert where == f"extract/notes.meltano.yml:{line}"
    assert says in what


MANIFEST = "extract/notes.manifest.yaml"
OF_A_MANIFEST = SOURCE.replace(
    "{name: tap-notes,", f"{{name: tap-notes, config: {{manifest: {MANIFEST}}},"
)


@pytest.mark.parametrize(
    ("manifest", "found"),
    [
        ("version: 6.0.0\n", []),
        (None, [("extract/notes.meltano.yml:4", f"there is no manifest {MANIFEST} Correct `man")]),
        ("a: 1\n\tb: 2\n", [(f"{MANIFEST}:2", "Indent with spaces")]),
        ("a: [1\n", [(f"{MANIFEST}:2", "Close the bracket")]),
        ("text", [(f"{MANIFEST}:None", "is no manifest: it holds no mapping")]),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named_and_meltano_can_start(
    tmp_path: Path, manifest: str | None, found: list[tuple[str, str]]
) -> None:
    (tmp_path / "extract").mkdir()
    if manifest:
        (tmp_path / MANIFEST).write_text(manifest)
    for (where, what, is_fatal), (line, says) in zip(
        check_files(tmp_path, notes=OF_A_MANIFEST), found, strict=True
    ):
        assert where == line
        assert says in what
        assert not is_fatal


def test_a_manifest_of_no_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "extract").mkdir()
    (tmp_path / MANIFEST).write_text("version: 6.0.0\n")
    ((where, what, _),) = check_files(tmp_path, notes=SOURCE)
    assert where == f"{MANIFEST}:None"
    assert "is the manifest of no source" in what


# --- Settings


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "isn't set"),
        (" ", "is empty"),
        ("<your key>", "is still an example"),
        ("changeme", "is still an example"),
        ("https://metabase.example.com", "is still an example"),
        ("you@example.com", "is still an example"),
    ],
)
def test_a_variable_without_a_value_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, says: str
) -> None:
    if value is not None:
        monkeypatch.setenv("NOTES_KEY", value)
    extractor = plugin("tap-notes", setting("keys", [value], ["${NOTES_KEY}"]))
    (found,) = report.settings(context(tmp_path, extractor), [extractor])
    assert (found.name, found.ok) == ("NOTES_KEY", False)
    assert says in found.detail
    assert "`keys` of tap-notes" in found.detail


@pytest.mark.parametrize("value", ["your1", "xoxb-1", "example", "https://metabase.examples.io"])
def test_a_variable_in_dotenv_counts(tmp_path: Path, value: str) -> None:
    (tmp_path / ".env").write_text(f"NOTES_KEY={value}-real\n")
    extractor = plugin("tap-notes", setting("key", value, "${NOTES_KEY}"))
    (found,) = report.settings(context(tmp_path, extractor), [extractor])
    assert found.ok


def test_what_meltano_takes_for_a_variable_counts_as_one() -> None:
    written = {"a": ["${A_b}x", "$B"], "c": "$last_run_date, $.data[*], \\${D}, $5"}
    assert list(report.references(written)) == ["A_b", "B"]


def test_a_secret_in_yaml_is_named_without_its_value(tmp_path: Path) -> None:
    written = Setting("token", "s3cret", "s3cret", "meltano_yml", True, None)
    extractor = plugin("tap-notes", written, namespace="notes")
    (found,) = report.settings(context(tmp_path, extractor, "prod"), [extractor])
    assert (
        found.fix == "Put its value into .env as `NOTES_TOKEN`, and write `token: ${NOTES_TOKEN}`."
    )
    assert "s3cret" not in found.detail
    assert all(one.ok for one in report.settings(context(tmp_path, extractor), [extractor]))


@pytest.mark.parametrize(
    ("spec", "secret"),
    [
        ({"properties": {"token": {"airbyte_secret": True}}}, "config.token"),
        (
            {
                "properties": {
                    "login": {"oneOf": [{}, {"properties": {"token": {"airbyte_secret": 1}}}]}
                }
            },
            "config.login.token",
        ),
        ({"$ref": "#/definitions/settings"}, "config.token"),
    ],
)
@pytest.mark.parametrize("is_export", [False, True])
def test_what_a_manifest_calls_a_secret_is_one(
    tmp_path: Path, spec: dict[str, Any], secret: str, is_export: bool
) -> None:
    definitions = {"settings": {"properties": {"token": {"airbyte_secret": True}}}}
    document: dict[str, Any] = {
        "definitions": definitions,
        "spec": {"connection_specification": spec},
    }
    if is_export:
        document = {"__injected_declarative_manifest": document}
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(document))
    written = Setting(secret, "s3cret", "s3cret", "meltano_yml", False, None)
    other = Setting("config.url", "x", "x", "meltano_yml", False, None)
    extractor = plugin(
        "tap-airbyte-manifest",
        setting("manifest", "manifest.yaml"),
        written,
        other,
        namespace="notes",
    )
    marked = manifests.with_secrets(extractor, tmp_path)
    (found,) = report.settings(context(tmp_path, marked, "prod"), [marked])
    assert (found.name, found.ok) == (secret, False)
    assert re.fullmatch(
        r"Put its value into \.env as `(NOTES_\w*TOKEN)`, .* `.*token: \$\{\1\}`\.", found.fix or ""
    )


# --- Versions


@pytest.mark.parametrize(
    ("requirement", "pinned"),
    [
        ("tap-x==1.2.3", True),
        ("tap-x[all]===1.2", True),
        (f"git+https://git.example/tap-x.git@{'a' * 40}", True),
        (f"tap-x @ git+https://git.example/tap-x.git@{'a' * 40}", True),
        ("tap-x", False),
        ("tap-x>=1,<2", False),
        ("tap-x==1.*", False),
        ("git+https://git.example/tap-x.git@main", False),
    ],
)
def test_a_version_is_pinned_by_number_or_commit(requirement: str, pinned: bool) -> None:
    assert installation.is_pinned(requirement) is pinned


def test_a_lock_pins_what_a_pip_url_leaves_open() -> None:
    assert installation.is_pinned("setuptools<81", {"setuptools": "80.9.0"})
    assert not installation.is_pinned("setuptools<81", {"requests": "2.0"})


def test_a_version_of_no_standard_form_is_compared_as_it_is() -> None:
    assert not installation.differences({"odd": "2004d-custom"}, {"odd": "2004d-custom"})
    assert "odd is 2004c-custom" in installation.differences(
        {"odd": "2004d-custom"}, {"odd": "2004c-custom"}
    )


LOCK = """# made by hand
requests==2.0 \\
    --hash=sha256:00
other==1 ; sys_platform == 'win32' \\
    --hash=sha256:00
"""


def installed(root: Path, *names: str, own: str = "") -> Plugin:
    """A plugin whose environment holds distributions, one of them from a folder."""
    venv = root / ".meltano/extractors/tap-notes/venv"
    for name in [*names, *([own] if own else [])]:
        path = venv / f"lib/python3.13/site-packages/{name}.dist-info"
        path.mkdir(parents=True)
        if name == own:
            (path / "direct_url.json").touch()
    (venv / "bin").mkdir()
    (venv / "bin/tap-notes").touch()
    (root / "plugins/locks").mkdir(parents=True)
    (root / "plugins/locks/tap-notes.txt").write_text(LOCK)
    beside = "--requirement plugins/environments/${MELTANO_ENVIRONMENT}/requirements.txt"
    return plugin(
        "tap-notes",
        executable=str(venv / "bin/tap-notes"),
        pip_url=f"requests==2.0 {beside} --constraint plugins/locks/tap-notes.txt",
    )


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["requests-2.0.0"], None),
        (["requests-2.1"], "requests is 2.1, not 2.0"),
        ([], "requests 2.0 is missing"),
        (["requests-2.0", "surprise-1"], "surprise 1 isn't in the lock"),
    ],
)
def test_what_is_installed_is_what_the_lock_says(
    tmp_path: Path, names: list[str], says: str | None
) -> None:
    extractor = installed(tmp_path, *names, own="sandbox_redirect-0.1.0")
    found = list(installation.of_plugin(context(tmp_path, extractor), extractor))
    assert [bool(says and says in one.detail) for one in found] == [True] * bool(says)


@pytest.mark.parametrize(
    ("environment", "own", "ok"),
    [
        ("local", "", False),
        ("local", "sandbox_redirect-0.1.0", None),
        ("prod", "", None),
        ("prod", "sandbox_redirect-0.1.0", True),
    ],
)
def test_no_tap_runs_in_local_without_the_redirect_into_the_sandbox(
    tmp_path: Path, environment: str, own: str, ok: bool | None
) -> None:
    extractor = installed(tmp_path, "requests-2.0", own=own)
    here = context(tmp_path, extractor, environment)
    assert [one.ok for one in installation.of_plugin(here, extractor)] == (
        [] if ok is None else [ok]
    )
    assert installation.lacks_redirect(here, extractor) is (ok is False)


# --- Taps

CATALOG = {
    "streams": [
        {
            "tap_stream_id": name,
            "key_properties": ["id"],
            "schema": {"type": "object", "properties": {"id": {}, "body": {}, "other": {}}},
            "metadata": [{"breadcrumb": [], "metadata": {"inclusion": "available"}}]
            + [
                {"breadcrumb": ["properties", one], "metadata": {"inclusion": "available"}}
                for one in ("id", "body", "other")
            ],
        }
        for name in ("notes", "note_tags", "public.users", "users")
    ]
}


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("note.*", "notes"), ("notes.bdy", "notes.body"), ("!usrs.*", "users"), ("zebra.*", None)],
)
def test_a_pattern_in_vain_is_named_with_the_nearest(pattern: str, near: str | None) -> None:
    streams = [
        Stream(name, None, None, [], True, {"id": {}, "body": {}, "other": {}}, [])
        for name in ("notes", "note_tags", "public.users", "users")
    ]
    patterns = ["*.*", r"public\.users.id", "note*.body", "!notes.other", pattern]
    assert list(source.unmatched(patterns, streams)) == [(pattern, near)]


def test_meltano_applies_its_selection_to_a_catalog(tmp_path: Path) -> None:
    requests = []

    def ask(request: Any, **_: Any) -> Any:
        requests.append(request)
        if request["extractor"] == "tap-b":
            return {"error": "KeyError: 'schema'"}
        return {"streams": [vars(Stream("a", None, None, [], True, {}, []))]}

    here = context(tmp_path, plugin("tap-a"))
    here.project.ask = ask
    assert [one.name for one in source.streams_of(here, plugin("tap-a"), CATALOG)] == ["a"]
    assert requests == [{"operation": "streams", "extractor": "tap-a", "catalog": CATALOG}]
    with pytest.raises(StackError, match="'schema'"):
        source.streams_of(here, plugin("tap-b"), CATALOG)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            "INFO Starting\nTraceback (most recent call last):\n  File x\nTapError: no key\n",
            "TapError: no key",
        ),
        (
            "2026-11-26 01:27:36,831 | CRITICAL | tap-postgres-arrow   | Can't connect\n",
            "Can't connect",
        ),
        ("ERROR Key refused\n    ~~~~^^^\n\n", "Key refused"),
        ('INFO METRIC: {"type": "timer"}\n', ""),
    ],
)
def test_a_log_is_told_by_its_last_words(log: str, words: str) -> None:
    assert last_words(log) == words


def tap(root: Path, script: str, secret: str = "s3cret/key", name: str = "tap") -> Tap:
    executable = root / name
    executable.write_text(f"#!/bin/bash\n{script}\n")
    executable.chmod(0o700)
    extractor = plugin(
        "tap-notes",
        setting("api_key", secret, "${NOTES_KEY}", sensitive=True),
        setting("config.token", secret, "${NOTES_KEY}", sensitive=True),
        executable=str(executable),
    )
    here = context(root, extractor)
    folder = root / "settings"
    folder.mkdir()
    return Tap(here, here.sources[0], folder)


def test_a_tap_gets_its_settings_in_a_file_that_only_we_can_read(tmp_path: Path) -> None:
    script = """test $(stat -c %a $2) = 600 || exit 3
        echo "$*" | grep -q cret && exit 4
        grep -q '"api_key": "s3cret/key"' $2 && echo '{"streams": []}'"""
    assert tap(tmp_path, script).discover() == {"streams": []}


def test_what_a_tap_says_is_shown_without_its_secrets(tmp_path: Path) -> None:
    script = "echo 'HTTPError: 401 for /x?key=s3cret%2Fkey, s3cret/key' >&2; exit 1"
    with pytest.raises(TapError) as caught:
        tap(tmp_path, script).discover()
    assert caught.value.reason == "HTTPError: 401 for /x?key=•••, •••"
    assert caught.value.fix == "The key is wrong, or was revoked: correct `NOTES_KEY` in .env."


def test_a_manifest_that_fails_its_check_has_a_catalog_all_the_same(tmp_path: Path) -> None:
    fails = "`config.token` is not as the manifest's `spec` asks for it"
    script = f"""test "$3 $4" = "--discover --check" || exit 3
        echo '{{"streams": []}}'
        cat >&2 <<'X'; exit 1
CRITICAL {fails}
X"""
    found = tap(tmp_path, script, name="tap-airbyte-manifest")
    assert found.discover() == {"streams": []}
    with pytest.raises(TapError) as caught:
        found.check()
    assert caught.value.reason == fails
    assert caught.value.fix == "Correct `NOTES_KEY` in .env (notes.meltano.yml)."


def test_a_tap_is_ended_at_its_first_record(tmp_path: Path) -> None:
    script = """echo '{"type": "SCHEMA", "stream": "notes"}'; echo '{"type": "RECORD"}'
        touch $0.begun; sleep 60; touch $0.ended"""
    tap(tmp_path, script).read(CATALOG, "notes")
    assert not (tmp_path / "tap.ended").exists()


def test_a_tap_that_does_not_answer_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.check.taps.SECONDS", 0.5)
    with pytest.raises(TapError, match="did not answer within"):
        tap(tmp_path, "sleep 60 & echo $! >$0.child; wait").discover()
    child = int((tmp_path / "tap.child").read_text())
    deadline = time.monotonic() + 10
    while not is_over(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_over(child)


def is_over(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("Config is missing required keys: ['user']", "Set `user` under `config` of tap-notes"),
        ("Config validation failed: 'site' is a required property", "Set `site` under `config`"),
        ("403 Forbidden: scope missing", "Let the key read this"),
        ("Max retries exceeded", "invoke sandbox up"),
        ("what?", "invoke tap-notes --discover"),
    ],
)
def test_each_refusal_of_a_tap_has_its_fix(tmp_path: Path, said: str, fix: str) -> None:
    with pytest.raises(TapError) as caught:
        tap(tmp_path, f'echo "{said}" >&2; exit 1').discover()
    assert fix in caught.value.fix


def test_a_refusal_of_postgres_names_settings_where_their_values_stand() -> None:
    url = setting("url", "postgres://…", written="${SHOP_URL}", sensitive=True)
    fix = "Correct `url` or `ssl_mode`; write `ssl_mode: disable`."
    placed = source._placed(plugin("tap-notes", url), fix)
    assert placed == "Correct `SHOP_URL` in .env or `ssl_mode`; write `ssl_mode: disable`."


def test_the_password_in_a_url_is_masked_however_it_is_written(tmp_path: Path) -> None:
    url = setting("url", "postgres://reader:p%40ss%2Fword@db/shop", sensitive=True)
    masked = context(tmp_path, plugin("tap-notes", url), "prod").masked
    assert masked("p@ss/word or p%40ss%2Fword at db") == "••• or ••• at db"


# --- BigQuery, Metabase, state


class Client:
    """BigQuery's client, with rights that can be taken away."""

    def __init__(self, datasets: Mapping[str, str], forbidden: str = "") -> None:
        self.datasets = dict(datasets)
        self.forbidden = forbidden
        self.error: Exception = exceptions.Forbidden("Access Denied")
        self.made: list[str] = []
        self.days: int | None = None
        self.tables: Mapping[str, datetime | None] = {}

    def __getattr__(self, name: str) -> Any:
        def call(target: Any, *_: Any, **__: Any) -> Any:
            if name == self.forbidden:
                raise self.error
            if name == "get_dataset":
                if target.split(".")[1] not in self.datasets:
                    raise exceptions.NotFound(target)
                dataset = api.Dataset(target)
                dataset.location = self.datasets[target.split(".")[1]]
                dataset.default_table_expiration_ms = self.days and self.days * 86_400_000
                return dataset
            if name == "list_tables":
                return [SimpleNamespace(table_id=n, expires=at) for n, at in self.tables.items()]
            if name.startswith("create"):
                self.made.append(str(target.reference))
            if name.startswith("delete"):
                self.made.remove(str(target.reference))
            return []

        return call


def check_bigquery(
    root: Path, monkeypatch: pytest.MonkeyPatch, client: Client, environment: str = "local"
) -> dict[str, Result]:
    monkeypatch.setattr(bigquery, "connect", lambda _: client)
    dataset = "lawrence_notes" if environment == "dev" else "notes"
    here = context(root, plugin("tap-notes"), environment, dataset)
    found = {one.name: one for one in bigquery.check(here)}
    assert client.made == []
    return found


def test_a_developers_datasets_are_written_and_productions_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client({"lawrence_notes": "EU", "notes": "EU"}, "list_tables")
    found = check_bigquery(tmp_path, monkeypatch, client, "dev")
    assert "takes tables" in found["lawrence_notes"].detail
    assert "dbt_lawrence: the first run can make them" in found["new datasets"].detail
    assert found["notes"].ok is False
    assert found["notes"].fix == "Grant this account BigQuery Data Viewer on notes."


@pytest.mark.parametrize(
    ("forbidden", "name", "fix"),
    [
        ("query", "connection", "BigQuery Job User"),
        ("get_dataset", "notes", "BigQuery Data Editor on the dataset"),
        ("create_table", "notes", "BigQuery Data Editor on the dataset"),
        ("create_dataset", "new datasets", "BigQuery User on somebodys"),
    ],
)
def test_each_right_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forbidden: str, name: str, fix: str
) -> None:
    found = check_bigquery(tmp_path, monkeypatch, Client({"notes": "EU"}, forbidden))
    assert found[name].ok is False
    assert fix in str(found[name].fix)


def test_a_project_without_billing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (
        "Billing has not been enabled for this project. Enable billing at "
        "https://console.cloud.google.com/billing. DML queries are not allowed in the free tier. "
        "Set up a billing account to remove this restriction."
    )
    client = Client({"notes": "EU"}, "query_and_wait")
    client.error = exceptions.Forbidden(
        said, errors=[{"reason": "billingNotEnabled", "message": said}]
    )
    found = check_bigquery(tmp_path, monkeypatch, client)
    assert found["notes"].ok is True
    assert found["INSERT"].ok is False
    assert "no billing account" in found["INSERT"].detail
    assert "/billing/linkedaccount?project=somebodys" in str(found["INSERT"].fix)


@pytest.mark.parametrize(("environment", "ok"), [("prod", False), ("dev", True)])
def test_tables_that_bigquery_will_delete_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str, ok: bool
) -> None:
    dataset = "lawrence_notes" if environment == "dev" else "notes"
    client = Client({dataset: "EU"})
    soon = datetime(2026, 12, 1, tzinfo=UTC)
    client.tables = {
        "_sdc_staging__notes__x": soon,
        "stack_check_1": soon,
        "notes__dbt_tmp_1": soon,
        "notes": None,
    }
    assert check_bigquery(tmp_path, monkeypatch, client, environment)[dataset].fix is None
    client.tables = {"notes": soon + timedelta(1), "tags": soon}
    found = check_bigquery(tmp_path, monkeypatch, client, environment)[dataset]
    assert found.ok is ok
    assert "delete 2 of its tables, tags first, on 2026-12-01" in found.detail
    client.days = 60
    found = check_bigquery(tmp_path, monkeypatch, client, environment)[dataset]
    assert found.ok is ok
    assert "deleted after 60 days" in found.detail
    assert f"--default_table_expiration 0 --default_partition_expiration 0 somebodys:{dataset}" in (
        str(found.fix)
    )


def test_a_developers_dataset_may_not_be_one_of_productions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery, "connect", lambda _: Client({}))
    here = context(tmp_path, plugin("tap-notes"), "dev", "dbt")
    assert any("production's of dbt" in one.detail for one in bigquery.check(here) if not one.ok)


def test_in_production_a_query_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = check_bigquery(tmp_path, monkeypatch, Client({}), "prod")
    assert found["limit"].ok is False
    assert "`maximum_bytes_billed`" in str(found["limit"].fix)


@pytest.mark.parametrize(
    ("kind", "patterns", "shown"),
    [
        ("inclusion", "dbt", True),
        ("inclusion", "product, dbt*", True),
        ("inclusion", "product", False),
        ("exclusion", "dbt", False),
        ("all", "", True),
        (None, None, True),
    ],
)
def test_a_database_in_metabase_shows_what_its_filter_lets_through(
    kind: str | None, patterns: str | None, shown: bool
) -> None:
    details = {"dataset-filters-type": kind, "dataset-filters-patterns": patterns}
    assert dbt.shows(details, "dbt") is shown


@pytest.mark.parametrize(
    ("environment", "backend", "database", "ok"),
    [
        ("local", "systemdb", "", True),
        ("prod", "systemdb", "", False),
        ("prod", "systemdb", "sqlite:///meltano.db", False),
        ("prod", "systemdb", "postgresql://db/meltano", True),
        ("prod", "file:///var/state", "", False),
        ("prod", "gs://bucket/state", "", False),
    ],
)
def test_productions_state_outlives_the_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
    backend: str,
    database: str,
    ok: bool,
) -> None:
    (tmp_path / "meltano.yml").write_text(MAP)
    monkeypatch.setenv("MELTANO_DATABASE_URI", database)
    here = context(tmp_path, plugin("tap-notes"), environment, state_backend=backend)
    (found,) = installation.state(here)
    # Without an environment here, gs:// lacks its library: which is named.
    assert found.ok is ok
    assert ok or "MELTANO_STATE_BACKEND_URI" in str(found.fix) or "meltano[gcs]" in str(found.fix)


# --- This machine


@pytest.mark.parametrize(
    ("modes", "fix"),
    [
        ({".env": 0o600, ".meltano": 0o700}, None),
        ({".meltano": 0o700}, None),
        ({".env": 0o400, ".meltano": 0o500}, None),
        ({".env": 0o644, ".meltano": 0o700}, "chmod 600 .env"),
        ({".env": 0o640, ".meltano": 0o755}, "chmod 600 .env && chmod 700 .meltano"),
        ({".env": 0o600, ".meltano": 0o711}, "chmod 700 .meltano"),
    ],
)
def test_what_holds_passwords_is_closed_to_others(
    tmp_path: Path, modes: Mapping[str, int], fix: str | None
) -> None:
    for name, mode in modes.items():
        if name == ".env":
            (tmp_path / name).touch()
        else:
            (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (found,) = (
        one
        for one in installation.machine(context(tmp_path, plugin("x")))
        if one.name == "private files"
    )
    assert found.ok is (fix is None)
    assert found.fix == (fix and f"In {tmp_path}: {fix}")


def test_a_test_message_that_can_not_be_sent_ends_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALERT_URLS", "nonsense://hunter2")
    result = CliRunner().invoke(check, ["--alert"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ALERT_URLS: its URL number 1 isn't one that apprise")
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("orders", None),
        ("dbt_sales", "the name 'dbt_sales' is taken: `dbt` and `dbt_<user>`"),
        ("information_schema", "the name 'information_schema' is reserved"),
        ("sandbox", "the name 'sandbox' is reserved"),
        ("Orders", "'Orders' can't be a dataset's name"),
    ],
)
def test_a_source_is_called_as_a_new_one_may_be(
    tmp_path: Path, name: str, said: str | None
) -> None:
    (tmp_path / "extract").mkdir()
    (tmp_path / "meltano.yml").write_text("include_paths: [extract/*.meltano.yml]")
    plugins = {"extractors": [{"name": "tap-x", "load_schema": name}]}
    content = {"plugins": plugins, "jobs": [{"name": "x", "tasks": ["tap-x target-x"]}]}
    (tmp_path / "extract" / f"{name}.meltano.yml").write_text(yaml.safe_dump(content))
    _, faults = files.check(tmp_path)
    of_name = [fault.what for fault in faults if name in fault.what and "plugin" not in fault.what]
    assert [fault[: len(said or "")] for fault in of_name] == ([said] if said else [])
