"""Scores of regions against their definition over all pairs of pixels, scikit-learn, and worked cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from striate.tasks.regions import region_scores, regions, thinned

labelings = hnp.arrays(np.int32, st.just((5, 6)), elements=st.integers(0, 3))
pictures = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))
checked = settings(max_examples=60, deadline=None)


def alone(labels: np.ndarray) -> np.ndarray:
    """Each pixel outside as a region of its own."""
    flat = labels.ravel().astype(int)
    return np.where(flat == 0, flat.max() + 1 + np.arange(len(flat)), flat)


@checked
@given(labelings, labelings)
def test_rand_over_all_pairs_of_pixels(truth: np.ndarray, proposal: np.ndarray) -> None:
    """A pair of the same true region and of the same proposed one, a pixel with itself among them."""
    inside = truth.ravel() > 0
    scores = region_scores(truth, proposal)
    if not inside.any():
        assert all(math.isnan(value) for value in scores.values())
        return
    t, s = truth.ravel()[inside], alone(proposal)[inside]
    both = same_t = same_s = 0
    for i, j in itertools.product(range(len(t)), repeat=2):
        both += t[i] == t[j] and s[i] == s[j]
        same_t += t[i] == t[j]
        same_s += s[i] == s[j]
    split, merge = both / same_t, both / same_s
    assert scores["rand_split"] == pytest.approx(split)
    assert scores["rand_merge"] == pytest.approx(merge)
    assert scores["rand"] == pytest.approx(2 * split * merge / (split + merge))  # their F-score


@checked
@given(labelings, labelings)
def test_information_against_scikit_learn(truth: np.ndarray, proposal: np.ndarray) -> None:
    inside = truth.ravel() > 0
    if not inside.any():
        return
    scores = region_scores(truth, proposal)
    merge, split, v = sk.homogeneity_completeness_v_measure(truth.ravel()[inside], alone(proposal)[inside])
    assert scores["info"] == pytest.approx(v, abs=1e-9)
    assert scores["info_split"] == pytest.approx(split, abs=1e-9)
    assert scores["info_merge"] == pytest.approx(merge, abs=1e-9)


@checked
@given(labelings)
def test_the_truth_itself_is_perfect(truth: np.ndarray) -> None:
    if truth.any():
        assert all(value == pytest.approx(1) for value in region_scores(truth, truth).values())


def test_a_split_and_a_merge_tell_themselves_apart() -> None:
    one, two = np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2])
    merged, parted = region_scores(two, one), region_scores(one, two)
    assert (merged["rand_split"], merged["rand_merge"]) == (1, 0.5)
    assert (parted["rand_split"], parted["rand_merge"]) == (0.5, 1)


def test_one_wrong_pixel_that_joins_two_cells_costs_much_and_a_thick_border_nothing_once_thinned() -> None:
    cells = np.ones((20, 21), bool)
    cells[:, 10] = False
    broken, thick = cells.copy(), cells.copy()
    broken[7, 10], thick[:, 8:13] = True, False
    truth = regions(cells)
    assert region_scores(truth, regions(broken))["rand"] == pytest.approx(2 / 3, abs=1e-3)
    assert region_scores(truth, regions(thick))["rand"] < 0.9
    assert region_scores(truth, thinned(regions(thick)))["rand"] == 1


@checked
@given(pictures)
def test_regions_are_connected_at_the_sides_only(inside: np.ndarray) -> None:
    """Against a flood fill."""
    labels, wanted, number = regions(inside), np.zeros(inside.shape, int), 0
    for start in zip(*np.nonzero(inside), strict=True):
        if wanted[start]:
            continue
        number, stack = number + 1, [start]
        while stack:
            i, j = stack.pop()
            if 0 <= i < len(inside) and 0 <= j < inside.shape[1] and inside[i, j] and not wanted[i, j]:
                wanted[i, j] = number
                stack += [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    assert np.array_equal(labels, wanted)


@checked
@given(pictures)
def test_thinned_borders(inside: np.ndarray) -> None:
    labels = regions(inside)
    grown = thinned(labels)
    assert np.array_equal(grown[inside], labels[inside])  # what was inside stays
    if not inside.any():
        assert not grown.any()
        return
    for axis in range(2):
        ahead, behind = np.moveaxis(grown, axis, 0)[1:], np.moveaxis(grown, axis, 0)[:-1]
        assert not ((ahead != behind) & (ahead > 0) & (behind > 0)).any()  # no two regions touch
    # A border pixel has a neighbor that belongs, or is as near, to another region: else it need not be one.
    steps = np.stack([flood(labels == label) for label in range(1, labels.max() + 1)])
    for place in zip(*np.nonzero(grown == 0), strict=True):
        near = np.argsort(steps[(slice(None), *place)], kind="stable")
        assert len(near) > 1
        first, second = steps[(near[0], *place)], steps[(near[1], *place)]
        assert second - first <= 2
    for place in zip(*np.nonzero(grown), strict=True):
        assert steps[(grown[place] - 1, *place)] == steps[(slice(None), *place)].min()


def flood(region: np.ndarray) -> np.ndarray:
    """Steps from side to side to the nearest pixel of a region."""
    rows, columns = np.nonzero(region)
    i, j = np.indices(region.shape)
    return (abs(i[..., None] - rows) + abs(j[..., None] - columns)).min(-1)


def test_thinning_works_in_volumes() -> None:
    labels = np.zeros((3, 3, 7), int)
    labels[..., :2], labels[..., 5:] = 1, 2
    assert np.array_equal(thinned(labels)[1, 1], [1, 1, 1, 0, 2, 2, 2])


def test_without_an_outside_nothing_changes() -> None:
    labels = np.array([[1, 1], [1, 1]])
    assert np.array_equal(thinned(labels), labels)
