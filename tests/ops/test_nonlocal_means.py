from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from striate import ops
from striate.errors import InputError


def by_definition(x: np.ndarray, strength: float, noise: float, patch: int, search: int) -> np.ndarray:
    """Place by place, on one picture c h w."""
    p, s = patch // 2, search // 2
    _, height, width = x.shape
    wide = np.pad(x, ((0, 0), (s, s), (s, s)), mode="reflect")
    out = np.zeros_like(x)
    differences = {}
    for dy, dx in product(range(-s, s + 1), repeat=2):
        moved = wide[:, s + dy : s + dy + height, s + dx : s + dx + width]
        differences[dy, dx] = np.pad(((x - moved) ** 2).mean(0), p, mode="reflect")
    for row, column in product(range(height), range(width)):
        total, weights = 0.0, 0.0
        for (dy, dx), difference in differences.items():
            apart = difference[row : row + patch, column : column + patch].mean()
            weight = math.exp(-max(apart - 2 * noise**2, 0) / strength**2)
            total = total + weight * wide[:, s + row + dy, s + column + dx]
            weights += weight
        out[:, row, column] = total / weights
    return out


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_it_is_its_definition(noise: float) -> None:
    x = torch.rand(2, 3, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = ops.non_local_means(x, 0.3, noise=noise, patch=3, search=5)
    want = np.stack([by_definition(one, 0.3, noise, 3, 5) for one in x.numpy()])
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


def test_it_keeps_what_is_flat_and_mean_and_edges() -> None:
    flat = torch.full((1, 1, 12), 0.25)
    torch.testing.assert_close(ops.non_local_means(flat, 0.1), flat)
    step = torch.cat((torch.zeros(1, 1, 10), torch.ones(1, 1, 10)), 2)
    noisy = step + 0.05 * torch.randn(step.shape, generator=torch.Generator().manual_seed(0))
    restored = ops.non_local_means(noisy, 0.05, noise=0.05, patch=3, search=13)
    assert (restored - step).square().mean() < 0.6 * (noisy - step).square().mean()


def test_a_volume_is_averaged_alike() -> None:
    x = torch.rand(1, 1, 6, 5, 4, dtype=torch.float64)
    got = ops.non_local_means(x, 0.2, patch=3, search=3)
    turned = ops.non_local_means(x.permute(0, 1, 4, 2, 3), 0.2, patch=3, search=3)
    torch.testing.assert_close(got.permute(0, 1, 4, 2, 3), turned)


def test_windows_and_strength_that_cannot_be_are_told() -> None:
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(InputError, match="cannot average alike places: patch: expected an odd number below 16, got 4"):
        ops.non_local_means(x, 0.1, patch=4)
    with pytest.raises(InputError, match="cannot average alike places: search: expected an odd number below 16"):
        ops.non_local_means(x, 0.1, search=17)
    with pytest.raises(InputError, match="cannot average alike places: strength: expected a positive number, got 0"):
        ops.non_local_means(x, 0.0)
