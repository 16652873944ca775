"""`orchestrate/ci/grant.sh` grants what its README lists, and nothing else."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


FOLDER = ROOT / "orchestrate" / "ci"
VARIABLES = {
    "BIGQUERY_PROJECT": "acme",
    "BIGQUERY_LOCATION": "EU",
    "GITHUB_REPOSITORY_ID": "4711",
    "DEVELOPERS": "group:data@example.com user:ann@example.com",
}
PRODUCTION, PULL_REQUESTS, METABASE = (
    f"serviceAccount:data-stack-{name}@acme.iam.gserviceaccount.com"
    for name in ("production", "pull-requests", "metabase")
)
POOL = "principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools"
AUTHORIZE_VIEWS = "projects/acme/roles/dataStackAuthorizeViews"
SOURCES = (ROOT / "extract").glob("*.meltano.yml")
RAW = {"ops"} | {path.name.removesuffix(".meltano.yml") for path in SOURCES}
TABLE = re.compile(r"^\| who \|.+?\n\n", re.MULTILINE | re.DOTALL)
# A fake of gcloud and bq. It logs its arguments, and stores who has access to a dataset.
FAKE = r"""#!/usr/bin/env bash
folder=${0%/*}
asked=("${0##*/}" "$@")
thing=${asked[-1]}
case " $* " in
    *" query "*) asked+=("$(cat)") ;;
    *" --source "*) cp "$4" "$folder/$thing" ;;
    *" --format=json "*)
        cat "$folder/$thing" 2>/dev/null || echo '{"access": [{"role": "OWNER"}]}' ;;
    *" projects describe "*) echo 42 ;;
    *" describe "* | *" show "*) [ -e "$folder/made" ] || failed=1 ;;
esac
{ printf '%s\037' "${asked[@]}"; printf '\036'; } >>"$folder/asked"
exit ${failed:-0}
"""
Grant = tuple[str, str, str]


@dataclass
class Cloud:
    """A fake Google Cloud that logs its requests."""

    folder: Path

    def grant(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:{os.environ['PATH']}"
        return subprocess.run(
            [FOLDER / "grant.sh", *arguments],
            env=os.environ | VARIABLES | {"PATH": path} | changed,
            capture_output=True,
            text=True,
        )

    @property
    def asked(self) -> list[list[str]]:
        log = self.folder / "asked"
        lines = log.read_text().split("\036")[:-1] if log.exists() else []
        return [line.split("\037")[:-1] for line in lines]

    def grants(self) -> Iterator[Grant]:
        """Yield who was granted which role on what."""
        for command in self.asked:
            options = dict(part.split("=", 1) for part in command if part.startswith("--member="))
            options |= dict(part.split("=", 1) for part in command if part.startswith("--role="))
            if options:
                thing = command[command.index("add-iam-policy-binding") + 1]
                yield options["--member"], options["--role"], thing
            if "query" in command:
                for statement in command[-1].splitlines():
                    found = re.fullmatch(r'grant `(.+)` on schema `(.+)` to "(.+)";', statement)
                    assert found, statement
                    yield found[3], found[1], found[2]


def make_cloud(folder: Path) -> Cloud:
    for name in ("gcloud", "bq"):
        (folder / name).write_text(FAKE)
        (folder / name).chmod(0o755)
    return Cloud(folder)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """A cloud without requests."""
    return make_cloud(tmp_path)


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    """A cloud in which `grant.sh` has run once."""
    cloud = make_cloud(tmp_path_factory.mktemp("cloud"))
    done = cloud.grant()
    assert done.returncode == 0, done.stderr
    return cloud


def test_each_gets_what_is_listed_and_no_more(granted: Cloud) -> None:
    readers = (PULL_REQUESTS, "group:data@example.com", "user:ann@example.com")
    viewer = "roles/bigquery.dataViewer"
    assert sorted(granted.grants()) == sorted(
        [
            (PRODUCTION, "roles/bigquery.user", "acme"),
            *((PRODUCTION, "roles/bigquery.dataEditor", f"acme.{name}") for name in RAW),
            *((PRODUCTION, AUTHORIZE_VIEWS, f"acme.{name}") for name in RAW),
            (PRODUCTION, "roles/bigquery.dataEditor", "acme.dbt"),
            (PRODUCTION, "roles/storage.objectUser", "gs://acme-meltano-state"),
            (PRODUCTION, "roles/storage.objectUser", "gs://acme-dbt-manifest"),
            *((reader, "roles/bigquery.user", "acme") for reader in readers),
            *((reader, viewer, f"acme.{name}") for reader in readers for name in [*RAW, "dbt"]),
            *((r, "roles/storage.objectViewer", "gs://acme-dbt-manifest") for r in readers),
            (METABASE, "roles/bigquery.jobUser", "acme"),
            (METABASE, viewer, "acme.dbt"),
            *(
                (
                    f"{POOL}/data-stack/attribute.part/{part}",
                    "roles/iam.workloadIdentityUser",
                    account.removeprefix("serviceAccount:"),
                )
                for part, account in (("production", PRODUCTION), ("pull-request", PULL_REQUESTS))
            ),
        ]
    )
    listed = (FOLDER / "README.md").read_text()
    roles = {role.removeprefix("projects/acme/") for _, role, _ in granted.grants()}
    assert roles == set(re.findall(r"roles/[\w.]+", TABLE.search(listed)[0]))


def test_the_role_of_ones_own_holds_what_a_view_of_an_authorized_dataset_takes(
    granted: Cloud,
) -> None:
    (made,) = (command for command in granted.asked if command[1:4] == ["iam", "roles", "create"])
    assert made[4] == AUTHORIZE_VIEWS.rpartition("/")[2]
    assert "--permissions=bigquery.datasets.get,bigquery.datasets.update" in made


def test_only_this_repository_can_sign_in(granted: Cloud) -> None:
    (provider,) = (command for command in granted.asked if "create-oidc" in command)
    assert "--attribute-condition=assertion.repository_id == '4711'" in provider


def test_views_of_dbt_read_raw_data_for_metabase(granted: Cloud) -> None:
    dbt = {"dataset": {"projectId": "acme", "datasetId": "dbt"}, "targetTypes": ["VIEWS"]}
    for name in RAW:
        access = json.loads((granted.folder / f"acme:{name}").read_text())["access"]
        assert access == [{"role": "OWNER"}, {"dataset": dbt}]


def test_granting_again_makes_nothing_anew_and_takes_nothing_away(
    cloud: Cloud, granted: Cloud
) -> None:
    (cloud.folder / "made").touch()
    files = [granted.folder / f"acme:{name}" for name in RAW]
    for file in files:
        shutil.copy(file, cloud.folder)
    assert cloud.grant().returncode == 0
    assert not [c for c in cloud.asked if {"create", "create-oidc", "mk"} & set(c)]
    for file in files:
        assert (cloud.folder / file.name).read_text() == file.read_text()


def test_a_dry_run_asks_nothing_and_prints_each_command(cloud: Cloud, granted: Cloud) -> None:
    printed = cloud.grant("--dry-run").stdout
    assert cloud.asked == []
    lines = [line for line in printed.splitlines() if re.match(r"(gcloud|bq (mk|update)) ", line)]
    shown = [shlex.split(line.replace("/PROJECT_NUMBER/", "/42/")) for line in lines]
    asked = [c for c in granted.asked if not {"describe", "show", "query"} & set(c)]
    assert [without_file(c) for c in shown] == [without_file(c) for c in asked]
    (sql,) = (command[-1] for command in granted.asked if "query" in command)
    assert sql in printed


def without_file(command: list[str]) -> list[str]:
    """A command without the name of the file that it gets."""
    return command[:4] + command[5:] if "--source" in command else command


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BIGQUERY_PROJECT", "", "BIGQUERY_PROJECT isn't set"),
        ("GITHUB_REPOSITORY_ID", "acme/data", "GITHUB_REPOSITORY_ID isn't set to a number"),
        ("DEVELOPERS", "allUsers", "'allUsers' is neither user:<address> nor group:<address>"),
    ],
)
def test_what_is_missing_or_too_much_is_refused(
    cloud: Cloud, variable: str, value: str, said: str
) -> None:
    refused = cloud.grant(**{variable: value})
    assert refused.returncode == 1
    assert said in refused.stderr
    assert cloud.asked == []
