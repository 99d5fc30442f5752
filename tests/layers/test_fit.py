from __future__ import annotations

import pytest
import torch

from striate.layers.fit import crop, pad


def test_a_crop_is_the_middle_and_an_odd_rest_stays_at_the_end() -> None:
    x = torch.arange(7.0).view(1, 1, 7)
    assert crop(x, (3,)).flatten().tolist() == [2, 3, 4]
    assert crop(x, (4,)).flatten().tolist() == [1, 2, 3, 4]
    assert crop(x, (3,), 1).flatten().tolist() == [1, 2, 3]


def test_a_crop_outside_is_refused() -> None:
    with pytest.raises((RuntimeError, IndexError), match="size|range"):
        crop(torch.zeros(1, 1, 4, 4), (4, 4), 1)


def test_padding_stands_at_the_end() -> None:
    x = torch.ones(1, 1, 1, 2)
    assert pad(x, (2, 4)).tolist() == [[[[1, 1, 0, 0], [0, 0, 0, 0]]]]
    assert pad(x, (1, 2)) is x
