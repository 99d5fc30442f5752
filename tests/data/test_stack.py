"""Blocks that cover a volume, and the ISBI stack as blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.data.sources.stack import corners, cut
from striate.errors import InputError


@given(st.data())
def test_blocks_cover_the_volume(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 7)) for _ in range(3))
    block = tuple(data.draw(st.integers(1, size)) for size in shape)
    step = tuple(data.draw(st.integers(1, size)) for size in block)
    volume = torch.arange(np.prod(shape)).view(shape).to(torch.uint8)
    firsts = corners(shape, block, step)
    assert len(firsts.unique(dim=0)) == len(firsts)
    blocks = cut(volume, firsts, block)
    assert blocks.shape == (len(firsts), *block)
    assert set(blocks.flatten().tolist()) == set(volume.flatten().tolist())


def test_a_block_larger_than_the_volume() -> None:
    with pytest.raises(InputError, match=r"a block is larger than the volume: expected at most \(4, 4\), got \(4, 5\)"):
        corners((4, 4), (4, 5), (1, 1))
