"""The gradients of a cross-correlation, themselves a cross-correlation and a convolution.

    y = correlate(x, kernel)                   y(r)  = Σ_a x(r + a) k(a)
    with respect to the kernel                 g(a)  = Σ_r u(r) x(r + a)      cross-correlation of input and upstream
    with respect to the input                  g(r') = Σ_a u(r' - a) k(a)     full convolution of upstream and kernel

u is the upstream gradient, of the loss with respect to y; the sums go over its indices 0 … H - 1, 0 … W - 1.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from striate.errors import InputError
from striate.ops.convolve import correlate, output_size
from striate.ops.padding import Axes, Padding, Pairs, Whole, extend, padding_pairs, per_axis, sources, whole
from striate.ops.transpose import transposed
from striate.shapes import Float, Tensor


def kernel_gradient(
    x: Float[Tensor, "n c *space"],
    upstream: Float[Tensor, "n k *out"],
    window: Axes,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
    groups: Whole = 1,
) -> Float[Tensor, "k c_group *window"]:
    """The gradient of the loss with respect to the kernel: the input, cross-correlated with the upstream gradient.

    The sum over the batch takes the place of that over channels, and stride and dilation change places. Arguments are
    those of the `correlate` whose gradient it is, and `window` the size of its kernel. Raises InputError where
    `upstream` has not the shape of its output.

    >>> x, upstream = torch.tensor([[[1.0, 2.0, 4.0]]]), torch.tensor([[[1.0, 10.0]]])
    >>> kernel_gradient(x, upstream, (2,))
    tensor([[[21., 42.]]])
    """
    window = per_axis("window", window, x.ndim - 2)
    steps, spread, pairs = _options(window, stride, padding, dilation)
    _check(upstream, (x.shape[0], tuple(x.shape[2:])), window, steps, pairs, spread)
    n, c, k = *x.shape[:2], upstream.shape[1]
    parts = whole(groups)
    if parts is None or c % parts or k % parts:
        expected = f"a divisor of {c} channels and of {k} kernels"
        raise InputError("cannot take a gradient", where="groups", expected=expected, got=groups)
    if n == 0:
        return x.new_zeros(k, c // parts, *window)
    padded = extend(x, pairs, padding_mode)
    # The items of the batch become channels: (c/groups, groups·n, *padded) with (k, n, *out).
    items = torch.unflatten(padded, 1, (parts, -1)).permute(2, 1, 0, *range(3, x.ndim + 1)).flatten(1, 2)
    found = correlate(items, upstream.transpose(0, 1), stride=spread, dilation=steps, groups=parts)
    taps: Any = (..., *map(slice, window))  # a stride may leave values over at the end
    return found.transpose(0, 1)[taps]


def input_gradient(
    kernel: Float[Tensor, "k c_group *window"],
    upstream: Float[Tensor, "n k *out"],
    size: Axes,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
    groups: Whole = 1,
) -> Float[Tensor, "n c *space"]:
    """The gradient of the loss with respect to the input: the upstream gradient, convolved with the kernel.

    Zeros stand between its values where there was a stride, and around it ("full"); what fell on padding is cut off,
    or goes back to where padding copied it from. Arguments are those of the `correlate` whose gradient it is, and
    `size` the spatial size of its input. Raises InputError where `upstream` has not the shape of its output.

    >>> input_gradient(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 10.0]]]), (3,))
    tensor([[[ 1., 12., 20.]]])
    """
    window = tuple(kernel.shape[2:])
    size = per_axis("size", size, len(window))
    steps, spread, pairs = _options(window, stride, padding, dilation)
    _check(upstream, (upstream.shape[0], size), window, steps, pairs, spread)
    back = transposed(upstream, kernel, stride=steps, dilation=spread, groups=groups, form="insertion")
    source = sources(size, pairs, padding_mode, kernel.device)
    source = source[tuple(map(slice, back.shape[2:]))]  # what a stride left over has no gradient
    gradient = back.new_zeros(*back.shape[:2], 1 + math.prod(size))
    gradient = gradient.index_add(2, source.flatten(), back.flatten(2))
    return torch.unflatten(gradient[..., 1:], 2, size)


def _options(
    window: tuple[int, ...], stride: Axes, padding: Padding, dilation: Axes
) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:
    spread = per_axis("dilation", dilation, len(window))
    return per_axis("stride", stride, len(window)), spread, padding_pairs(padding, window, spread)


def _check(
    upstream: Tensor,
    batch: tuple[int, tuple[int, ...]],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
) -> None:
    n, size = batch
    expected = (n, upstream.shape[1], *output_size(size, window, stride, padding, dilation))
    if tuple(upstream.shape) != expected:
        what = "the upstream gradient is not of this output"
        raise InputError(what, expected=f"shape {expected}", got=tuple(upstream.shape))
