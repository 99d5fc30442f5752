"""Other sizes: values between the positions, channels turned into positions and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from striate.errors import InputError
from striate.shapes import Float, Num, Tensor


def resize(x: Float[Tensor, "n c *space"], size: Sequence[int]) -> Float[Tensor, "n c *out"]:
    """x at another size, linear between positions; where it shrinks, averaged, so that nothing aliases.

    Along each axis, output i lies at u = (i + 1/2) f - 1/2 with f = old / new, and is the mean of x(j) weighted by the
    triangle max(0, 1 - |j - u| / max(1, f)): as Pillow and `torch.nn.functional.interpolate(antialias=True)` do in 2-D.
    Raises InputError for a size with other axes than x, or with a side below 1.

    >>> resize(torch.tensor([[[0.0, 4.0, 8.0, 12.0]]]), (2,))
    tensor([[[2.8571, 9.1429]]])
    """
    if len(size) != x.ndim - 2 or min(size, default=0) < 1:
        expected = f"{x.ndim - 2} sides of 1 or more"
        raise InputError("cannot resize", where="size", expected=expected, got=tuple(size))
    for axis, new in enumerate(size, 2):
        old = x.shape[axis]
        if old != new:
            factor = old / new
            places = (torch.arange(new, dtype=torch.float64) + 0.5) * factor - 0.5
            distance = (torch.arange(old) - places[:, None]).abs() / max(1.0, factor)
            weights = (1 - distance).clamp_min(0)
            weights /= weights.sum(1, keepdim=True)
            x = (x.movedim(axis, -1) @ weights.T.to(x)).movedim(-1, axis)
    return x


def pixel_shuffle(x: Num[Tensor, "n c *space"], factor: int) -> Num[Tensor, "n k *out"]:
    """Channels as positions between the positions: (n, k·f^rank, *space) becomes (n, k, *(f·space)).

    out(k, f·r + a, f·c + b) = x(k·f² + a·f + b, r, c) in 2-D, where it is torch.nn.functional.pixel_shuffle.
    Raises InputError where the channels are no multiple of f^rank. Source: Shi et al. 2016, section 3.2.

    >>> import torch
    >>> pixel_shuffle(torch.tensor([[[1, 2, 3], [10, 20, 30]]]), 2).tolist()
    [[[1, 10, 2, 20, 3, 30]]]
    """
    n, c, *space = x.shape
    rank = len(space)
    _check(factor, c, factor**rank, "channels")
    turned = x.reshape(n, c // factor**rank, *[factor] * rank, *space)
    order = [axis for a in range(rank) for axis in (2 + rank + a, 2 + a)]
    return turned.permute(0, 1, *order).reshape(n, c // factor**rank, *(factor * side for side in space))


def pixel_unshuffle(x: Num[Tensor, "n k *out"], factor: int) -> Num[Tensor, "n c *space"]:
    """The inverse of `pixel_shuffle`: (n, k, *(f·space)) becomes (n, k·f^rank, *space).

    Raises InputError where a side is no multiple of f.
    """
    n, k, *sides = x.shape
    rank = len(sides)
    for side in sides:
        _check(factor, side, factor, "positions")
    space = [side // factor for side in sides]
    turned = x.reshape(n, k, *(part for side in space for part in (side, factor)))
    positions, parts = range(2, 2 + 2 * rank, 2), range(3, 3 + 2 * rank, 2)
    return turned.permute(0, 1, *parts, *positions).reshape(n, k * factor**rank, *space)


def _check(factor: int, size: int, multiple: int, what: str) -> None:
    if factor < 1 or size % multiple:
        raise InputError(f"cannot shuffle {what} by {factor}", expected=f"a multiple of {multiple}", got=size)
