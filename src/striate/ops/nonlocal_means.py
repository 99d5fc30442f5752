"""Non-local means: each place becomes the mean of the places whose surroundings look alike."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from striate.errors import InputError
from striate.shapes import Float, Tensor


def non_local_means(
    x: Float[Tensor, "n c *space"], strength: float, *, noise: float = 0.0, patch: int = 5, search: int = 13
) -> Float[Tensor, "n c *space"]:
    """The mean of the places within `search`, weighted by how alike their patches are.

        y(p) = Σ_q w(p, q) x(q) / Σ_q w(p, q),   w(p, q) = exp(-max(d²(p, q) - 2 noise², 0) / strength²)

    with d² the mean squared difference of the patches around p and q over all channels. `patch` and `search` are odd
    sides of windows, `strength` and `noise` (its standard deviation) in units of x; what lies outside is mirrored.
    The work grows with search^rank, and nothing of that size is stored. Raises InputError for even or too large windows
    and a strength that is not positive. Source: A. Buades, B. Coll, J. Morel, "A non-local algorithm for image
    denoising" (2005), with the noise subtracted as in their "Non-local means denoising" (2011).
    """
    rank, half = x.ndim - 2, search // 2
    _check(x, strength, patch, search)
    wide = _mirrored(x, half)
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:, :1])
    for offset in product(range(search), repeat=rank):
        where = tuple(slice(first, first + side) for first, side in zip(offset, x.shape[2:], strict=True))
        there = wide[(slice(None), slice(None), *where)]
        apart = _box_mean((x - there).square().mean(1, keepdim=True), patch)
        weight = (-(apart - 2 * noise**2).clamp(min=0) / strength**2).exp()
        total += weight * there
        weights += weight
    return total / weights


def _box_mean(x: Tensor, side: int) -> Tensor:
    """The mean over windows of `side`, axis by axis; the outside is mirrored."""
    wide = _mirrored(x, side // 2)
    for axis in range(2, x.ndim):
        parts = [wide.narrow(axis, first, x.shape[axis]) for first in range(side)]
        wide = sum(parts[1:], parts[0])
    mean: Tensor = wide / side ** (x.ndim - 2)
    return mean


def _mirrored(x: Tensor, by: int) -> Tensor:
    """All of space mirrored at its ends, without repeating the last value."""
    for axis in range(2, x.ndim):
        line = x.movedim(axis, -1)
        flat = F.pad(line.reshape(-1, 1, line.shape[-1]), (by, by), mode="reflect")
        x = flat.view(*line.shape[:-1], -1).movedim(-1, axis)
    return x


def _check(x: Tensor, strength: float, patch: int, search: int) -> None:
    for name, side in (("patch", patch), ("search", search)):
        if side < 1 or side % 2 == 0 or side // 2 >= min(x.shape[2:]):
            expected = f"an odd number below {2 * min(x.shape[2:])}"
            raise InputError("cannot average alike places", where=name, expected=expected, got=side)
    if not strength > 0:
        raise InputError("cannot average alike places", where="strength", expected="a positive number", got=strength)
