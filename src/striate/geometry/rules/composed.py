"""Operations that are others in turn: they are run as those, whose rules say all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Channels (c f f) into positions (h f, w f)."""
    f = upscale_factor
    *lead, c, h, w = x.shape
    if c % (f * f):
        raise ValueError(f"pixel_shuffle by {f} wants a multiple of {f * f} channels, got {c}")
    n = len(lead)
    turned = x.reshape(*lead, c // (f * f), f, f, h, w).permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return turned.reshape(*lead, c // (f * f), h * f, w * f)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """The inverse."""
    f = downscale_factor
    *lead, c, h, w = x.shape
    if h % f or w % f:
        raise ValueError(f"pixel_unshuffle by {f} wants multiples of {f} positions, got {h}x{w}")
    n = len(lead)
    turned = x.reshape(*lead, c, h // f, f, w // f, f).permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return turned.reshape(*lead, c * f * f, h // f, w // f)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels (g k) in the order (k g)."""
    n, c, *space = x.shape
    return x.reshape(n, groups, c // groups, *space).transpose(1, 2).reshape(x.shape)


def rot90(x: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k right angles in a plane."""
    first, second = dims
    return (x.clone(), x.flip(second).transpose(*dims), x.flip(first, second), x.flip(first).transpose(*dims))[k % 4]


def addbmm(x: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """A sum of matrix products."""
    return beta * x + alpha * torch.bmm(batch1, batch2).sum(0)


def select_scatter(x: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with one index of an axis overwritten."""
    out = x.clone()
    out.select(dim, index).copy_(src)
    return out


def slice_scatter(
    x: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy with a slice of an axis overwritten."""
    out = x.clone()
    torch.ops.aten.slice(out, dim, start, end, step).copy_(src)
    return out


COMPOSED: dict[str, Callable[..., Any]] = {
    f"aten::{function.__name__}": function
    for function in (pixel_shuffle, pixel_unshuffle, channel_shuffle, rot90, addbmm, select_scatter, slice_scatter)
}
COMPOSED["aten::native_channel_shuffle"] = channel_shuffle
