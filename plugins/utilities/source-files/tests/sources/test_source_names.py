"""A source's name can't be mixed up with anything that is there, nor can its variables."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import dotenv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files.new_source import source_file
from source_files.new_source.command import check_name
from source_files.new_source.source_file import Variable
from stack import scratch
from stack.project import Project
from stack.terminal import StackError

ROOT = Path(__file__).resolve().parents[5]


@pytest.fixture(scope="module", name="project")
def project_of_the_module() -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MELTANO_PROJECT_ROOT", str(ROOT))
        patch.setenv("MELTANO_ENVIRONMENT", "local")
        project = Project()
        assert project.facts
        yield project


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Shop Data", "Perhaps 'shop_data'"),
        ("1st", "a letter first"),
        ("shop-data", "Perhaps 'shop_data'"),
        ("a" * 41, "40 at most"),
        ("dbt", "reserved: dbt writes to"),
        ("dbt_lawrence", "reserved: dbt writes to"),
        ("sandbox", "reserved"),
        ("information_schema", "reserved"),
        ("stripe", "extract/stripe.meltano.yml is there already"),
        ("tap_airbyte_manifest", "has the namespace 'tap_airbyte_manifest'"),
        ("bigquery", "a plugin 'target-bigquery'"),
        ("metabase", "a plugin 'dbt-metabase'"),
        ("lawrence_stripe", "developer called 'lawrence' for the source stripe"),
    ],
)
def test_a_name_that_is_taken_or_would_collide_is_refused(
    project: Project, name: str, said: str
) -> None:
    with pytest.raises(StackError) as error:
        check_name(name, project)
    assert said in error.value.message


@pytest.mark.parametrize("name", ["shop", "product_analytics", "wiki2", "dbtx"])
def test_any_other_name_will_do(project: Project, name: str) -> None:
    check_name(name, project)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=30))
def test_a_value_comes_out_of_the_env_file_as_it_went_in(value: str) -> None:
    if "${" in value or not value.isprintable():
        with pytest.raises(StackError, match="SHOP_PASSWORD"):
            source_file.added("", [Variable("SHOP_PASSWORD", value)], "title")
        return
    text = source_file.added("A=1", [Variable("SHOP_PASSWORD", value)], "title")
    read = dict(dotenv.dotenv_values(stream=StringIO(text)))
    assert read == {"A": "1", "SHOP_PASSWORD": value}


def test_what_is_there_stays_and_what_is_not_known_is_not_set() -> None:
    before = "SHOP_HOST=mine\n"
    variables = [Variable("SHOP_HOST", "other"), Variable("SHOP_KEY")]
    after = source_file.added(before, variables, "Shop.")
    assert after == "SHOP_HOST=mine\n\n# Shop.\n# SHOP_KEY=\n"
    assert source_file.added(before, variables[:1], "Shop.") == before


@pytest.mark.parametrize("mode", [None, 0o644])
def test_an_env_file_is_its_owners_alone(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / ".env"
    if mode:
        path.write_text("A=1\n")
        path.chmod(mode)
    scratch.put({path: "A=2\n"}, source_file.PRIVATE)
    assert path.read_text() == "A=2\n"
    assert path.stat().st_mode & 0o777 == 0o600
