"""The windows that slide over a map, as a view of it."""

from __future__ import annotations

from collections.abc import Sequence

from striate.errors import InputError
from striate.ops.padding import Axes, per_axis
from striate.shapes import Num, Tensor


def unfold(x: Tensor, axis: int, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Tensor:
    """The windows along the axes from `axis` on, as a view: their taps are new last axes.

    >>> import torch
    >>> unfold(torch.arange(6), 0, [2], [2], [3])
    tensor([[0, 3],
            [2, 5]])
    """
    for size, stride, dilation in zip(sizes, strides, dilations, strict=True):
        x = x.unfold(axis, dilation * (size - 1) + 1, stride)
        x = x if dilation == 1 else x[..., ::dilation]
        axis += 1
    return x


def windows(
    x: Num[Tensor, "n c *space"], size: Axes, stride: Axes | None = None, dilation: Axes = 1
) -> Num[Tensor, "n c *out_and_taps"]:
    """Every window of a map, as a view: (n, c, *out, *size). The stride is the size unless given.

    Pad before (`ops.extend`, or torch.nn.functional.pad with the number that the function over the windows ignores:
    -inf for a maximum, NaN for torch.nanmean). Raises InputError for options out of range, and where no window fits.

    >>> import torch
    >>> windows(torch.arange(5).view(1, 1, 5), 3, stride=1)
    tensor([[[[0, 1, 2],
              [1, 2, 3],
              [2, 3, 4]]]])
    """
    sizes, strides, dilations = sliding(x.ndim - 2, size, stride, dilation)
    check_fit(x, sizes, dilations)
    return unfold(x, 2, sizes, strides, dilations)


def sliding(
    rank: int, size: Axes, stride: Axes | None, dilation: Axes = 1
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Size, stride (the size where it is None) and dilation on each of 1 to 3 axes; InputError for another number."""
    if not 1 <= rank <= 3:
        raise InputError("windows slide over maps (n, c, *space)", expected="1 to 3 axes of space", got=rank)
    sizes = per_axis("window size", size, rank)
    strides = sizes if stride is None else per_axis("stride", stride, rank)
    return sizes, strides, per_axis("dilation", dilation, rank)


def check_fit(x: Tensor, sizes: Sequence[int], dilations: Sequence[int]) -> None:
    """Raise InputError where a window is larger than the map."""
    extents = tuple(d * (s - 1) + 1 for s, d in zip(sizes, dilations, strict=True))
    if any(e > side for e, side in zip(extents, x.shape[2:], strict=True)):
        raise InputError(
            "no window fits into the map",
            expected=f"{'x'.join(map(str, extents))} or more",
            got="x".join(map(str, x.shape[2:])),
            fix="Pad the map, or take a smaller window.",
        )
