from __future__ import annotations

import pytest
import torch

from striate.layers import Subsampling2d


def by_loop(x: torch.Tensor, coefficient: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    out = torch.empty(n, c, h // 2, w // 2, dtype=x.dtype)
    for k in range(c):
        for i in range(h // 2):
            for j in range(w // 2):
                block = x[:, k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                out[:, k, i, j] = coefficient[k] * block.sum((1, 2)) + bias[k]
    return out


@pytest.mark.parametrize(("h", "w"), [(4, 6), (5, 7), (2, 3), (3, 2)])
def test_it_adds_scales_and_shifts_each_block(h: int, w: int) -> None:
    torch.manual_seed(0)
    layer = Subsampling2d(3).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 3, h, w, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_loop(x, layer.coefficient, layer.bias))
    assert not torch.allclose(layer(x), by_loop(x, layer.coefficient.flip(0), layer.bias))


def test_it_starts_as_the_mean_with_two_parameters_a_map() -> None:
    layer = Subsampling2d(6)
    assert sum(p.numel() for p in layer.parameters()) == 12
    x = torch.arange(6 * 16.0).view(1, 6, 4, 4)
    assert torch.equal(layer(x)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
