"""The windows of a convolution as rows of a matrix (im2col)."""

from __future__ import annotations

from striate.ops.convolve import output_size
from striate.ops.padding import Axes, Padding, extend, padding_pairs, per_axis
from striate.shapes import Num, Tensor


def patches(
    x: Num[Tensor, "n c *space"],
    window: Axes,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
) -> Num[Tensor, "n places c_window"]:
    """Lay out what the kernel sees at each place as a row: (n, places, c · window), all in row-major order.

    `patches(x, window) @ kernel.flatten(1).T` is `correlate(x, kernel)`, of shape (n, places, k): one matrix product.
    Arguments and errors are those of `correlate`. Source: Chellapilla, Puri and Simard 2006.

    >>> import torch
    >>> patches(torch.tensor([[[1, 2, 3, 4]]]), (2,))
    tensor([[[1, 2],
             [2, 3],
             [3, 4]]])
    """
    rank = x.ndim - 2
    window = per_axis("window", window, rank)
    steps, spread = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    pairs = padding_pairs(padding, window, spread)
    output_size(tuple(x.shape[2:]), window, steps, pairs, spread)
    x = extend(x, pairs, padding_mode)
    for axis in range(rank):
        x = x.unfold(2 + axis, spread[axis] * (window[axis] - 1) + 1, steps[axis])[..., :: spread[axis]]
    return x.movedim(1, 1 + rank).flatten(1 + rank).flatten(1, rank)
