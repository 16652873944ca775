"""A manifest becomes a source by what its `spec` asks for, once its own check has passed."""

import os
import pty
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from source_files.new_source import manifest, source_file
from source_files.new_source.source_file import Draft
from stack.project import Project
from stack.terminal import StackError

from .paged_api import TOKEN, Api, running_api

ROOT = Path(__file__).resolve().parents[5]
KEY = TOKEN.removeprefix("Bearer ")
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["workspace", "credentials", "start_date"],
    "properties": {
        "start_date": {"type": "string", "format": "date", "default": "2025-01-01", "order": 2},
        "workspace": {"type": "string", "title": "Workspace", "order": 0},
        "credentials": {
            "type": "object",
            "title": "Sign in",
            "order": 1,
            "oneOf": [
                {
                    "title": "OAuth",
                    "type": "object",
                    "required": ["kind", "client_id", "client_secret"],
                    "properties": {
                        "kind": {"type": "string", "const": "oauth"},
                        "client_id": {"type": "string"},
                        "client_secret": {"type": "string", "airbyte_secret": True},
                    },
                },
                {
                    "title": "Key",
                    "type": "object",
                    "required": ["kind", "key"],
                    "properties": {
                        "kind": {"type": "string", "const": "key"},
                        "key": {
                            "type": "string",
                            "airbyte_secret": True,
                            "description": "A <b>key</b>.",
                        },
                    },
                },
            ],
        },
        "page_size": {"type": "integer", "default": 10, "description": "Of 1 to 15."},
        "proxy": {
            "type": "object",
            "required": ["host"],
            "properties": {
                "host": {"type": "string"},
                "password": {"type": "string", "airbyte_secret": True},
            },
        },
    },
}


@pytest.fixture(scope="module", name="api")
def api_of_the_module() -> Iterator[Api]:
    with running_api() as api:
        yield api


@pytest.fixture(scope="module", name="project")
def project_of_the_module() -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MELTANO_PROJECT_ROOT", str(ROOT))
        patch.setenv("MELTANO_ENVIRONMENT", "local")
        yield Project()


@pytest.fixture(scope="module", autouse=True)
def each_spec_is_asked_for_once() -> Iterator[None]:
    """The tap takes more than a second to start."""
    ask, answers = manifest.ask_tap, {}

    def remembered(executable: str, *options: str, config: Mapping[str, Any]) -> Any:
        if options != ("--spec",):
            return ask(executable, *options, config=config)
        text = Path(config["manifest"]).read_text()
        answers[text] = answers.get(text) or ask(executable, *options, config=config)
        return answers[text]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "ask_tap", remembered)
        yield


def written(api: Api, **changed: Any) -> str:
    """A manifest as the Connector Builder exports it."""
    stream = {
        "type": "DeclarativeStream",
        "name": "pages",
        "primary_key": ["id"],
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {
                "type": "HttpRequester",
                "url_base": api.url("/"),
                "path": "secured/pages",
                "authenticator": {
                    "type": "BearerAuthenticator",
                    "api_token": "{{ config['credentials']['key'] }}",
                },
            },
            "record_selector": {
                "type": "RecordSelector",
                "extractor": {"type": "DpathExtractor", "field_path": ["items"]},
            },
        },
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"$ref": "#/schemas/pages"},
        },
    }
    document = {
        "version": "6.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["pages"]},
        "definitions": {"streams": {"pages": stream}},
        "streams": [{"$ref": "#/definitions/streams/pages"}],
        "schemas": {
            "pages": {
                "type": "object",
                "additionalProperties": True,
                "properties": {"id": {"type": "string"}, "email": {"type": "string"}},
            }
        },
        "spec": {"type": "Spec", "connection_specification": SPEC},
        "metadata": {"autoImportSchema": {"pages": True}, "testedStreams": {}},
    }
    return yaml.safe_dump(document | changed, sort_keys=False)


def draft(project: Project, text: str, *given: str) -> Draft:
    return manifest.draft("acme", text, project, dict(one.split("=", 1) for one in given))


def extractor(draft: Draft) -> dict[str, Any]:
    text = source_file.text(draft, "0 6 * * *")
    (found,) = yaml.safe_load(text)["plugins"]["extractors"]
    return dict(found)


def test_secrets_go_to_variables_and_other_settings_into_the_file(
    api: Api, project: Project
) -> None:
    text = written(api)
    found = draft(project, text, "workspace=north", f"credentials.key={KEY}")
    assert extractor(found) == {
        "name": "tap-acme",
        "inherit_from": "tap-airbyte-manifest",
        "namespace": "acme",
        "label": "Acme (manifest)",
        "settings": [{"name": "config.credentials.key", "sensitive": True}],
        "config": {
            "config": {
                "workspace": "north",
                "credentials": {"kind": "key", "key": "${ACME_CREDENTIALS_KEY}"},
                "start_date": "2025-01-01",
            },
            "manifest": "extract/acme.manifest.yaml",
        },
        "select": ["pages.*"],
        "load_schema": "acme",
    }
    assert {one.name: one.value for one in found.variables} == {"ACME_CREDENTIALS_KEY": KEY}
    assert found.files == {"acme.manifest.yaml": text}
    whole = source_file.text(found, "0 6 * * *")
    assert KEY not in whole
    assert "# Of 1 to 15.\n        # page_size: 10\n" in whole
    assert "# proxy:\n        #   host: null\n        #   password: ${ACME_PROXY_PASSWORD}" in whole
    assert "# pages:\n      #   pages" not in whole
    assert "#     email: md5(email) if email else None" in whole


def test_a_variable_that_is_there_is_referred_to(
    api: Api, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARED", KEY)
    monkeypatch.setenv("ACME_WORKSPACE", "north")
    found = draft(project, written(api), "credentials.key=${SHARED}")
    config = extractor(found)["config"]["config"]
    assert config["workspace"] == "${ACME_WORKSPACE}"
    assert config["credentials"]["key"] == "${SHARED}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["credentials.key=x"], r"needs `workspace`: `--set workspace=…`"),
        (
            ["workspace=a", "credentials.kind=key"],
            r"needs `credentials\.key` \(A key\): .*put secrets into \.env.*ACME_CREDENTIALS_KEY",
        ),
        (["workspace=a"], r"alternatives for `credentials`.*kind=oauth.*; or .*kind=key"),
        (["workspace=a", "credentials.kind=x"], r"alternatives for `credentials`"),
        (["worksapce=a", "credentials.key=x"], r"no setting worksapce\. There are: workspace, "),
        (
            ["workspace=a", "credentials.key=x", "page_size=ten"],
            "page_size is of kind integer: write it as JSON",
        ),
        (["workspace=a", "credentials.key=s3cret"], "check failed.*401"),
        (["workspace=a", "credentials.key=${NOBODYS}"], "NOBODYS isn't set"),
    ],
)
def test_settings_that_do_not_do_are_an_error_of_a_line(
    api: Api, project: Project, given: list[str], said: str
) -> None:
    with pytest.raises(StackError) as error:
        draft(project, written(api), *given)
    assert re.search(said, error.value.message), error.value.message
    assert "\n" not in error.value.message
    assert "s3cret" not in error.value.message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"spec": None}, "no `spec`"),
        ({"streams": [{"type": "CustomStream", "name": "a", "class_name": "x.Y"}]}, "x.Y"),
    ],
)
def test_what_the_tap_cannot_run_is_refused(
    api: Api, project: Project, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(StackError) as error:
        draft(project, written(api, **changed), "workspace=a", f"credentials.key={KEY}")
    assert re.search(said, error.value.message), error.value.message
    assert "\n" not in error.value.message
    assert "/tmp" not in error.value.message


def test_a_manifest_that_is_not_there_is_named(project: Project) -> None:
    with pytest.raises(StackError, match=r"/nothing\.yaml can't be read: No such file"):
        manifest.read("nothing.yaml", project)


def test_what_is_missing_is_asked_for_on_a_terminal(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(written(api))
    leader, follower = pty.openpty()
    command = subprocess.Popen(
        [ROOT / ".venv/bin/stack", "new-source", "acme", file, "--print"],
        cwd=ROOT,
        env=os.environ | {"MELTANO_PROJECT_ROOT": str(ROOT), "MELTANO_ENVIRONMENT": "local"},
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    asked = ""
    assert command.stderr
    for question, answer in (("Sign in", "Key"), ("Workspace", "north"), ("key", KEY)):
        while not re.search(rf"{question}[^\n]*: $", asked):
            asked += command.stderr.read(1)
        os.write(leader, f"{answer}\n".encode())
    output, error = command.communicate(timeout=60)
    os.close(leader)
    os.close(follower)
    assert command.returncode == 0, error
    config = yaml.safe_load(output)["plugins"]["extractors"][0]["config"]["config"]
    assert config["workspace"] == "north"
    assert config["credentials"] == {"kind": "key", "key": "${ACME_CREDENTIALS_KEY}"}
    assert KEY not in output + asked + error
    assert "A key." in asked
