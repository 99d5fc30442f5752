"""Maps of one size made those of another, where two paths of a network join."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F

from striate.shapes import Float, Tensor


def crop(x: Float[Tensor, "n c *space"], size: Sequence[int], offset: int | None = None) -> Float[Tensor, "n c *out"]:
    """The part of that size, from `offset` on along each axis, or around the center (an odd rest stays at the end)."""
    for axis, side in enumerate(size, 2):
        start = (x.shape[axis] - side) // 2 if offset is None else offset
        x = x.narrow(axis, start, side)
    return x


def pad(x: Float[Tensor, "n c *space"], size: Sequence[int]) -> Float[Tensor, "n c *out"]:
    """Zeros after the last position of each axis, up to that size."""
    missing = [n for side, given in zip(reversed(size), reversed(x.shape), strict=False) for n in (0, side - given)]
    return F.pad(x, missing) if any(missing) else x
