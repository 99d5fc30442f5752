from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from striate import ops
from striate.errors import InputError


def test_in_two_dimensions_it_is_torchs() -> None:
    x = torch.randn(2, 18, 4, 5)
    assert torch.equal(ops.pixel_shuffle(x, 3), F.pixel_shuffle(x, 3))
    assert not torch.equal(ops.pixel_shuffle(x, 3).mT, F.pixel_shuffle(x.mT, 3).roll(1, 3))
    y = torch.randn(2, 2, 12, 15)
    assert torch.equal(ops.pixel_unshuffle(y, 3), F.pixel_unshuffle(y, 3))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_each_channel_is_a_position_between(rank: int, factor: int) -> None:
    x = torch.randn(2, 2 * factor**rank, *(3, 4, 2)[:rank])
    y = ops.pixel_shuffle(x, factor)
    assert torch.equal(ops.pixel_unshuffle(y, factor), x)
    parts = x.view(2, 2, *[factor] * rank, *x.shape[2:])
    for part in itertools.product(range(factor), repeat=rank):
        where = tuple(slice(p, None, factor) for p in part)
        assert torch.equal(y[(slice(None), slice(None), *where)], parts[(slice(None), slice(None), *part)])
    assert ops.pixel_shuffle(x[:0], factor).shape == (0, *y.shape[1:])


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="cannot shuffle channels by 2: expected a multiple of 4, got 6"):
        ops.pixel_shuffle(torch.zeros(1, 6, 2, 2), 2)
    with pytest.raises(InputError, match="cannot shuffle positions by 2: expected a multiple of 2, got 3"):
        ops.pixel_unshuffle(torch.zeros(1, 6, 2, 3), 2)
