"""Fields that a manifest removes from records: those that the CDK would remove."""

from copy import deepcopy
from typing import Any

from airbyte_cdk.sources.declarative.transformations import RemoveFields
from hypothesis import example, given
from hypothesis import strategies as st
from tap_airbyte_manifest.runtime import DirectRemoval

NAMES = st.sampled_from(["a", "b", "ab", "custom.a", "0", "1"])
VALUES = st.recursive(
    st.none() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)
STEPS = NAMES | st.sampled_from(["*", "a*", "custom.*", "?", "[ab]", "**"])
POINTERS = st.lists(STEPS, min_size=1, max_size=3).filter(lambda steps: steps.count("**") < 2)


@given(
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.lists(POINTERS, max_size=3),
)
@example({"a": {"b": 1, "ab": 2}, "b": 3}, [["a", "b"], ["b"]])
@example({"a": [{"b": 1}, 2]}, [["a", "0", "b"], ["a", "1"]])
@example({"custom.a": 1, "a": {"custom.a": 2}}, [["custom.*"]])
def test_the_same_fields_are_removed(record: dict[str, Any], pointers: list[list[str]]) -> None:
    expected = deepcopy(record)
    RemoveFields(field_pointers=pointers, parameters={}).transform(expected)
    DirectRemoval(field_pointers=pointers, parameters={}).transform(record)
    assert record == expected
