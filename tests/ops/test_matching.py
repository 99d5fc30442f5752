from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_sample_image
from tests.ops.problems import some
from torch import Tensor

from striate.errors import InputError
from striate.ops import match_template
from striate.ops.matching import METHODS

close = torch.testing.assert_close


def by_definition(image: Tensor, template: Tensor, method: str) -> np.ndarray:
    """One window after the other."""
    i, t = image.double().numpy(), template.double().numpy()
    windows = np.lib.stride_tricks.sliding_window_view(i, t.shape)
    scores = np.empty(windows.shape[: i.ndim])
    for place in np.ndindex(scores.shape):
        a, b = windows[place], t
        if method == "normalized":
            a, b = a - a.mean(), b - b.mean()
            norm = np.sqrt((a**2).sum() * (b**2).sum())
            scores[place] = (a * b).sum() / norm if norm > 1e-9 else 0
        else:
            scores[place] = (a * b).sum() if method == "correlation" else ((a - b) ** 2).sum()
    return scores


@some
@given(st.data())
def test_scores_are_those_of_the_definition(data: st.DataObject) -> None:
    rank, channels = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
    if channels == 0 and rank == 3:
        rank = 2
    if channels and rank == 1:
        rank = 2
    window = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    more = data.draw(st.lists(st.integers(0, 3), min_size=rank, max_size=rank))
    size = [a + b for a, b in zip(window, more, strict=True)]
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    image = torch.randn([channels, *size] if channels else size, generator=random, dtype=torch.float64)
    template = torch.randn([channels, *window] if channels else window, generator=random, dtype=torch.float64)
    for method in METHODS:
        if method == "normalized" and template.numel() == 1:
            continue
        expected = torch.from_numpy(by_definition(image, template, method))
        expected = expected[0] if channels else expected
        match = match_template(image, template, method)
        close(match.map, expected, atol=1e-9, rtol=1e-9)
        best = expected.min() if method == "squared" else expected.max()
        close(match.score, best.item(), atol=1e-9, rtol=1e-9)
        close(match.map[match.position].item(), match.score)


@pytest.mark.parametrize("method", ["normalized", "squared"])
def test_a_piece_of_a_photo_is_found_where_it_was_cut(method: str) -> None:
    photo = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[:, 100:220, 200:360]
    template = photo[:, 37:57, 81:111]
    match = match_template(photo, template, method)
    assert match.position == (37, 81)
    close(match.score, 1.0 if method == "normalized" else 0.0, atol=1e-6, rtol=0)
    if method == "normalized":  # contrast and brightness do not matter
        assert match_template(photo, 0.2 * template.double() + 30).position == (37, 81)


def test_plain_correlation_prefers_what_is_bright() -> None:
    image = torch.zeros(8, 8)
    image[1:3, 1:3] = torch.tensor([[1.0, 0], [0, 1]])
    image[5:7, 5:7] = 9
    template = image[1:3, 1:3]
    assert match_template(image, template, "correlation").position == (5, 5)
    assert match_template(image, template).position == (1, 1)


def test_peaks_are_apart_and_the_best_come_first() -> None:
    signal = torch.tensor([0.0, 5, 4, 0, 3, 3, 0, 9, 0])
    match = match_template(signal, torch.ones(1), "correlation")
    assert match.peaks(9, apart=2) == (((7,), 9.0), ((1,), 5.0), ((4,), 3.0))
    assert match.peaks(1, apart=2) == (((7,), 9.0),)
    assert [place for place, _ in match.peaks(9, apart=4)] == [(7,), (1,)]
    squared = match_template(signal, torch.full((1,), 4.0), "squared")
    assert squared.peaks(2, apart=1) == (((2,), 0.0), ((1,), 1.0))


def test_copies_are_all_found() -> None:
    template = torch.tensor([[1.0, 2], [3, 1]])
    image = torch.rand(12, 14, generator=torch.Generator().manual_seed(0)) * 0.5
    places = [(2, 3), (6, 9), (9, 1)]
    for row, column in places:
        image[row : row + 2, column : column + 2] = template
    found = match_template(image, template).peaks(3, apart=2)
    assert sorted(place for place, _ in found) == places
    assert all(abs(score - 1) < 1e-6 for _, score in found)


def test_a_flat_window_scores_nothing() -> None:
    image = torch.full((6, 6), 1e4)
    image[4, 4] += 1
    scores = match_template(image, torch.tensor([[0.0, 1]])).map
    assert scores[:4].abs().max() == 0
    close(scores.max().item(), 1.0)


IMAGE = torch.zeros(3, 5, 5)


@pytest.mark.parametrize(
    ("image", "template", "method", "text"),
    [
        (IMAGE, torch.ones(3, 2, 2), "ncc", "unknown method: got 'ncc'. Known: correlation, normalized, squared."),
        (
            IMAGE,
            torch.ones(3, 6, 2),
            "squared",
            "template: expected the channels of the image, and no longer on any axis",
        ),
        (IMAGE, torch.ones(2, 2, 2), "squared", "than (3, 5, 5), got (2, 2, 2)"),
        (IMAGE, torch.ones(2, 2), "squared", "than (3, 5, 5), got (2, 2)"),
        (IMAGE, torch.ones(3, 2, 2), "normalized", 'values that differ, got a flat one. Use method="squared".'),
    ],
)
def test_bad_input(image: Tensor, template: Tensor, method: str, text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        match_template(image, template, method)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    for image, template in ((torch.tensor([1.0, value]), torch.ones(1)), (torch.ones(2), torch.tensor([value]))):
        with pytest.raises(InputError, match="cannot match: expected finite values, got NaN or infinity"):
            match_template(image, template, "squared")


def test_numbers_of_peaks() -> None:
    match = match_template(torch.ones(3), torch.ones(1), "squared")
    with pytest.raises(
        InputError, match=re.escape("cannot find peaks: expected number and apart of 1 or more, got (1, 0)")
    ):
        match.peaks(1, apart=0)
