"""JSON that every reader takes."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from striate.plain import from_null, to_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@given(VALUES)
def test_any_plain_value_is_valid_json(value: object) -> None:
    read = json.loads(to_json(value), parse_constant=refuse)
    text = json.dumps(value)
    if "NaN" not in text and "Infinity" not in text:
        assert read == value


def test_what_is_not_defined_is_null_and_comes_back() -> None:
    assert to_json([math.nan, -math.inf, 1.5, {"a": (math.inf,)}]) == '[null, null, 1.5, {"a": [null]}]'
    assert math.isnan(from_null(None))
    assert from_null(2.0) == 2.0
