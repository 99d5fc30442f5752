from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.layers import RBF


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_logits_are_minus_the_squared_distances(classes: int, length: int, items: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes, x = (torch.randn(k, length, generator=generator, dtype=torch.float64) for k in (classes, items))
    torch.testing.assert_close(RBF(codes)(x), -(torch.cdist(x, codes, p=2) ** 2))


def test_the_codes_are_saved_but_not_trained() -> None:
    layer = RBF(torch.ones(10, 84))
    assert not list(layer.parameters())
    assert list(layer.state_dict()) == ["codes"]
