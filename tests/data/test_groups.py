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


@given(st.lists(st.integers(0, 2), min_size=3, max_size=9), st.integers(0, 2**70), st.booleans())
def test_every_number_of_folds_and_every_seed_will_do(classes: list[int], seed: int, grouped: bool) -> None:
    """Also leaving out each item once, for which scikit-learn's stratified folds are refused."""
    labels, given = np.array(classes), {"train": np.arange(len(classes))}
    groups = np.arange(len(classes)) // 2 if grouped else None
    folds = len(classes) if groups is None else int(groups.max()) + 1
    tested = [fold_of(labels, given, folds, fold, groups, seed)["test"] for fold in range(folds)]
    assert np.array_equal(np.sort(np.concatenate(tested)), given["train"])
    assert all(len(part) for part in tested)
    assert groups is None or all(len(set(groups[part].tolist())) == 1 for part in tested)
