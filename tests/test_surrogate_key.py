"""`surrogate_key` has one key for each combination of values, and the keys that it always had."""

from hashlib import md5
from pathlib import Path

import jinja2
import pytest
from google.cloud import bigquery
from local_servers.emulator import Emulator
from local_servers.fixtures import emulator_of_the_session  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


MACRO = (ROOT / "transform/macros/surrogate_key.sql").read_text()
VALUES = ["", "a", "/", "\\", "b/c", "a/b", "c", "a/", "/a", "\\/", "/\\", "a\\", "\\\\", "é", "'"]


def keys(emulator: Emulator, count: int) -> dict[tuple[str, ...], str]:
    """Return the key of each combination of so many values."""
    names = [f"c{position}" for position in range(count)]
    key = jinja2.Environment().from_string(f"{MACRO}{{{{ surrogate_key({names}) }}}}").render()
    found = emulator.client().query_and_wait(
        f"select {', '.join(names)}, {key} as key "
        f"from {', '.join(f'unnest(@values) as {name}' for name in names)}",
        job_config=bigquery.QueryJobConfig(
            query_parameters=[bigquery.ArrayQueryParameter("values", "STRING", VALUES)]
        ),
    )
    return {tuple(row[name] for name in names): row["key"] for row in found}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_two_combinations_have_one_key(emulator: Emulator, count: int) -> None:
    found = keys(emulator, count)
    assert len(found) == len(VALUES) ** count
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_keys_without_a_slash_in_their_midst_are_what_they_were(
    emulator: Emulator, count: int
) -> None:
    for values, key in keys(emulator, count).items():
        if not {"/", "\\"} & set("".join(values[:-1])):
            assert key == md5("/".join(values).encode(), usedforsecurity=False).hexdigest()


def test_a_key_of_which_a_part_is_missing_is_missing(emulator: Emulator) -> None:
    key = jinja2.Environment().from_string(f"{MACRO}{{{{ surrogate_key(['a', 'b']) }}}}").render()
    (row,) = emulator.client().query_and_wait(
        f"select countif({key} is not null) as found from unnest(["
        "struct(cast(null as string) as a, '' as b), struct('' as a, cast(null as string) as b)])"
    )
    assert row["found"] == 0
