"""Channels turned into positions and back."""

from __future__ import annotations

from striate.errors import InputError
from striate.shapes import Num, Tensor


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
