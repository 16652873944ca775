"""Environments can't be mixed up: a run in `dev` changes nothing of production's.

The sandbox's emulator stands for the company's BigQuery. It holds production's datasets, `product`
and `dbt`, and a developer comes with variables of all kinds left behind in the shell.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jinja2
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from ..stack import ROOT, Stack

VARIABLES = ("INTERCOM_ACCESS_TOKEN", "INTERCOM_START_DATE")
STRAY = {
    "MELTANO_ENVIRONMENT": "prod",
    "DBT_TARGET": "prod",
    "DBT_BIGQUERY_DATASET": "dbt",
    "DBT_PRODUCT_DATASET": "dbt",
    "TARGET_BIGQUERY_DATASET": "product",
    "TAP_PRODUCT__LOAD_SCHEMA": "product",
}
"""What may be left in .env or in a shell by someone who last worked on production."""


Variables = dict[str, Any]


@dataclass
class Google:
    """Where Google's credentials and storage are asked, in place of Google."""

    address: str
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if path.startswith("/token"):
            return {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}
        return {"kind": "storage#objects", "items": []}

    def key_file(self, folder: Path) -> Path:
        """A service account's key that nobody else knows."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = folder / "key.json"
        path.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "local",
                    "client_email": "developer@local.iam.gserviceaccount.com",
                    "private_key": key.decode(),
                    "token_uri": f"{self.address}/token",
                }
            )
        )
        return path


@pytest.fixture(scope="module")
def google() -> Iterator[Google]:
    class Handler(BaseHTTPRequestHandler):
        def handle_request(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = json.dumps(stand_in.answer(self.path)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = handle_request  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stand_in = Google(f"http://127.0.0.1:{server.server_address[1]}")
        Thread(target=server.serve_forever, daemon=True).start()
        yield stand_in
        server.shutdown()


@pytest.fixture(scope="module")
def company(stack: Stack, google: Google, tmp_path_factory: pytest.TempPathFactory) -> Variables:
    """The variables of `dev` and `prod`, for a developer called Lawrence Jones."""
    folder = tmp_path_factory.mktemp("company")
    return {
        "DEVELOPER": "lawrence_jones",
        "BIGQUERY_PROJECT": stack.status["bigquery"]["project"],
        "BIGQUERY_LOCATION": stack.status["bigquery"]["location"],
        "TARGET_BIGQUERY_API_ENDPOINT": stack.status["bigquery"]["endpoint"],
        "DBT_BIGQUERY_API_ENDPOINT": stack.status["bigquery"]["endpoint"],
        "GOOGLE_APPLICATION_CREDENTIALS": str(google.key_file(folder)),
        "PRODUCT_POSTGRES_HOST": "127.0.0.1",
        "PRODUCT_POSTGRES_PORT": stack.environment["SANDBOX_POSTGRES_PORT"],
        "PRODUCT_POSTGRES_USER": "sandbox",
        "PRODUCT_POSTGRES_PASSWORD": "sandbox",
        "PRODUCT_POSTGRES_DATABASE": "product",
        "TAP_PRODUCT_SSL_MODE": "disable",
        "DBT_TARGET_PATH": str(folder / "dbt"),
        "MELTANO_STATE_BACKEND_URI": f"file://{folder}/state",
    }


def warehouse(stack: Stack) -> bigquery.Client:
    return bigquery.Client(
        project=stack.status["bigquery"]["project"],
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": stack.status["bigquery"]["endpoint"]},
    )


def datasets(stack: Stack) -> set[str]:
    return {dataset.dataset_id for dataset in warehouse(stack).list_datasets()}


def fingerprint(stack: Stack, *names: str) -> dict[str, str]:
    """Return a hash of each table: what it is, when it was last changed, and all its rows."""
    client, found = warehouse(stack), {}
    for item in (item for name in names for item in client.list_tables(name)):
        name = f"{item.dataset_id}.{item.table_id}"
        facts: list[Any] = [client.get_table(item.reference).to_api_repr()]
        if item.table_type == "TABLE":
            facts += stack.query(
                "select count(*) as n, to_hex(md5(string_agg(to_json_string(t), '' "
                f"order by to_json_string(t)))) as h from {name} as t"
            )
        found[name] = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return found


def load(stack: Stack, environment: str, variables: Variables) -> None:
    stack.meltano(
        f"--environment={environment}", "run", "tap-product", "target-bigquery", **variables
    )


def build(stack: Stack, variables: Variables, *options: str) -> str:
    """Build one fact and what it is made of, without tests: it is about where they go."""
    return stack.meltano(
        "--environment=dev",
        "invoke",
        "dbt-bigquery",
        "run",
        "--select=+fct_user_incident_graph",
        *options,
        **variables,
    )


def test_a_run_in_dev_changes_nothing_of_productions(
    stack: Stack, first_run: str, company: Variables, google: Google
) -> None:
    assert first_run
    before = fingerprint(stack, "product", "dbt")
    already = datasets(stack)
    # As it should be: these are the names of their own datasets…
    load(stack, "dev", company)
    assert "schema: dbt_lawrence_jones\n" in stack.meltano(
        "--environment=dev", "invoke", "dbt-bigquery", "debug", **company
    )
    # … and as it should not be.
    load(stack, "dev", company | STRAY)
    assert "Bytes billed: " in build(stack, company | STRAY, "--target=prod")
    assert fingerprint(stack, "product", "dbt") == before
    theirs = {"lawrence_jones_product", "lawrence_jones_ops", "dbt_lawrence_jones"}
    assert datasets(stack) - already == theirs
    assert "/token" in google.asked, "application default credentials were used"

    # What came of it: a load of their own, and models of production's raw data.
    own = stack.query("select count(*) as n from lawrence_jones_product.incidents")
    assert own == stack.query("select count(*) as n from product.incidents")
    view = warehouse(stack).get_table("local.dbt_lawrence_jones.stg_product__incidents")
    assert "`product`.`incidents`" in view.view_query
    graph = "select * from {}.fct_user_incident_graph order by id"
    ours = stack.query(graph.format("dbt_lawrence_jones"))
    assert ours
    assert ours == stack.query(graph.format("dbt"))

    # The hash would have told: the same load, in prod.
    load(stack, "prod", company)
    after = fingerprint(stack, "product")
    assert {name for name in after if after[name] != before[name]} >= {"product.incidents"}

    # Each environment, and each developer, goes on from a state of its own.
    states = stack.meltano("--log-level=warning", "--environment=dev", "state", "list", **company)
    assert sorted(states.split()) == [
        "dev:tap-product-to-target-bigquery:dbt_lawrence_jones",
        "prod:tap-product-to-target-bigquery",
    ]


@pytest.mark.parametrize(
    ("arguments", "variables", "error"),
    [
        (
            ["run", "tap-product", "target-bigquery"],
            {"DEVELOPER": ""},
            "`developer` is ''",
        ),
        (
            ["run", "tap-product", "target-bigquery"],
            {"TARGET_BIGQUERY_DEVELOPER": ""},
            "`developer` is ''",
        ),
        (
            ["invoke", "dbt-bigquery", "debug"],
            {"DEVELOPER": ""},
            "DEVELOPER, your name, e.g. lawrence, in .env",
        ),
    ],
)
def test_a_name_that_is_empty_is_an_error(
    stack: Stack,
    company: Variables,
    arguments: list[str],
    variables: dict[str, str],
    error: str,
) -> None:
    changed = company | variables
    assert error in stack.meltano("--environment=dev", *arguments, fails=True, **changed)


def dataset_of_dbt(target: str, **variables: str) -> str:
    """Render the dataset in profiles.yml as dbt does."""

    def env_var(name: str, default: str | None = None) -> str:
        found = variables.get(name, default)
        if found is None:
            raise KeyError(name)
        return found

    profile = yaml.safe_load((ROOT / "transform" / "profiles.yml").read_text())
    template = profile["modern_data_stack"]["outputs"][target]["dataset"]
    return jinja2.Template(template).render(env_var=env_var)


def test_dbt_builds_in_a_dataset_of_the_developer() -> None:
    assert dataset_of_dbt("dev", DEVELOPER="lawrence") == "dbt_lawrence"
    with pytest.raises(KeyError, match="DEVELOPER, your name"):
        dataset_of_dbt("dev", DEVELOPER="")


@pytest.mark.parametrize("target", ["local", "dev", "prod"])
def test_the_environment_decides_where_dbt_builds_and_not_the_target(target: str) -> None:
    for environment in ("local", "prod"):
        variables = {"MELTANO_ENVIRONMENT": environment, "DBT_BIGQUERY_DATASET": "dbt"}
        assert dataset_of_dbt(target, **variables) == "dbt"
    for variables in ({"MELTANO_ENVIRONMENT": "dev"}, {}):
        own = dataset_of_dbt(target, DBT_BIGQUERY_DATASET="dbt", DEVELOPER="ann", **variables)
        assert own == "dbt_ann"


def test_state_may_live_in_google_cloud_storage(
    stack: Stack, company: Variables, google: Google
) -> None:
    backend = {
        "MELTANO_STATE_BACKEND_URI": "gs://bucket/state",
        "STORAGE_EMULATOR_HOST": google.address,
    }
    stack.meltano("--environment=prod", "state", "list", **(company | backend))
    assert [path for path in google.asked if path.startswith("/storage/v1/b/bucket/o")]


def test_bytes_billed_are_reported_by_model_with_a_total(
    stack: Stack, first_run: str, company: Variables
) -> None:
    assert "Bytes billed: 0 B by " in first_run, "the emulator bills nothing"
    billed = {"a": 2**40, "b": 20 * 2**20, "c": 0, "d": None}
    results = [
        {
            "node": {"unique_id": f"model.p.{name}", "resource_type": "model"},
            "adapter_response": {"bytes_billed": bytes_},
        }
        for name, bytes_ in billed.items()
    ]
    test = {"unique_id": "test.p.unique.1", "resource_type": "test", "attached_node": "model.p.b"}
    results += [{"node": test, "adapter_response": {"bytes_billed": 10 * 2**20}}] * 2
    log = stack.meltano(
        "--environment=dev",
        "invoke",
        "dbt-bigquery",
        "run-operation",
        "report_bytes_billed",
        "--args",
        json.dumps({"results": results}),
        **company,
    )
    said = [" ".join(line.split()[1:]) for line in log.splitlines() if "iB" in line]
    assert said == [
        "Bytes billed: 1.0 TiB by 6 nodes",
        "1.0 TiB a",
        "40.0 MiB b, of which tests 20.0 MiB",
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose plugins nobody else uses."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "meltano.yml", root)
    for folder in ("extract", "load", "transform", "orchestrate", "plugins"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("target"))
    (root / ".venv").symlink_to(ROOT / ".venv")
    return root


def installed(project: Path, tap: str, environment: str) -> set[str]:
    """What is installed beside a tap once it has run in an environment."""
    subprocess.run(
        [ROOT / ".venv/bin/meltano", f"--environment={environment}", "invoke", tap, "--help"],
        cwd=project,
        env=os.environ | dict.fromkeys(VARIABLES, "none") | {"SANDBOX_SAAS_PORT": "1"},
        check=True,
        capture_output=True,
    )
    # Sources with a manifest share what their parent has installed.
    packages = (
        project / ".meltano/extractors/tap-airbyte-manifest/venv/lib/python3.13/site-packages"
    )
    return {path.name for path in packages.iterdir()}


def test_nothing_reroutes_requests_outside_local(project: Path) -> None:
    assert "sandbox_redirect.pth" in installed(project, "tap-intercom", "local")
    beside = installed(project, "tap-intercom", "prod")
    assert "airbyte_cdk" in beside
    assert not [name for name in beside if "redirect" in name]


@pytest.mark.parametrize("environment", [".", "dev", "prod"])
def test_nothing_is_installed_beside_taps_outside_local(environment: str) -> None:
    requirements = ROOT / "plugins" / "environments" / environment / "requirements.txt"
    lines = requirements.read_text().splitlines()
    assert lines
    assert all(line.startswith("#") for line in lines)
