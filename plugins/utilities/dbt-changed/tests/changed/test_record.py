"""The record of what was built, as BigQuery answers; and what is said if there is nothing to do."""

from collections.abc import Mapping
from typing import Any

import pytest
from dbt_changed.build import NOTHING, Request, nothing
from dbt_changed.decision import SOURCE, Node
from dbt_changed.project import Target
from dbt_changed.warehouse import COLUMNS, Warehouse

SETTINGS = {"project": "acme", "dataset": "dbt", "method": "oauth-secrets", "token": "t"}


class Recorded(Warehouse):
    """BigQuery with a record of one row."""

    def __init__(self, inputs: str | None) -> None:
        super().__init__(Target("prod", SETTINGS))
        self.inputs = inputs

    def _get(self, path: str, **_: Any) -> Mapping[str, Any]:
        if not path.endswith("/data"):
            return {"schema": {"fields": [{"name": name} for name in COLUMNS]}}
        values = dict.fromkeys(COLUMNS, "x") | {"inputs": self.inputs}
        return {"rows": [{"f": [{"v": value} for value in values.values()]}]}


@pytest.mark.parametrize(
    ("inputs", "known"), [('{"a": null}', ["x"]), ("{oops", []), (None, []), ("3", [])]
)
def test_a_record_that_is_damaged_is_none(inputs: str | None, known: list[str]) -> None:
    """So everything is built, and recorded anew."""
    assert [*Recorded(inputs).record()] == known


def test_a_source_that_dbt_does_not_have_is_named() -> None:
    graph = {"source.acme.product.users": Node("source.acme.product.users", SOURCE, "")}
    assert nothing(graph, Request(["product"], False, False, [], [])) == NOTHING
    assert "dbt has no source prodcut" in nothing(graph, Request(["prodcut"], False, False, [], []))
