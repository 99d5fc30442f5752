"""Items that belong together stay together, however a part is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data.splits import fold_of, split
from striate.errors import InputError


@given(st.lists(st.integers(0, 5), min_size=12, max_size=60), st.integers(0, 99))
def test_no_group_is_torn(of: list[int], seed: int) -> None:
    groups = np.array([*range(4), *of])
    given = {"train": np.arange(len(groups))}
    parts = split(np.zeros(len(groups), int), given, ("item",), 0.2, 0.25, seed, groups)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), given["train"])
    where = [set(groups[part]) for part in parts.values()]
    assert all(where)
    assert sum(map(len, where)) == len(set(groups))
    folded = fold_of(np.zeros(len(groups), int), given, 2, 0, groups, seed)
    assert not set(groups[folded["train"]]) & set(groups[folded["test"]])


def test_one_group_cannot_be_divided() -> None:
    with pytest.raises(InputError, match="no group is left to split off test 0.2: expected 2 or more .*Set test to 0"):
        split(np.zeros(4, int), {"train": np.arange(4)}, ("item",), 0.1, 0.2, 0, np.zeros(4, int))
