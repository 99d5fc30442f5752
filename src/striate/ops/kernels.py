"""Kernels with a name."""

from __future__ import annotations

import math

import torch

from striate.errors import InputError
from striate.shapes import Float, Tensor

SMOOTHING = (1.0, 2.0, 1.0)
"""Sobel's average along the edge."""

DIFFERENTIATION = (-1.0, 0.0, 1.0)
"""Sobel's difference across the edge, as a cross-correlation: right minus left, below minus above."""


def sobel_kernels() -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 3"]]:
    """Sobel's kernels for changes along x (columns) and along y (rows), to be cross-correlated.

    Each is an outer product. The convolution kernels that books print, with +1 in the left column and in the upper
    row, are these rotated by 180°. Source: Sobel and Feldman 1968.

    >>> sobel_kernels()[0]
    tensor([[-1.,  0.,  1.],
            [-2.,  0.,  2.],
            [-1.,  0.,  1.]])
    """
    smooth, differ = torch.tensor(SMOOTHING), torch.tensor(DIFFERENTIATION)
    return torch.outer(smooth, differ), torch.outer(differ, smooth)


def binomial(size: int) -> Float[Tensor, "size"]:
    """The binomial coefficients of `size` - 1, divided by their sum: the smallest smoothing kernels of that size.

    `torch.outer(binomial(3), binomial(3))` is the blur 1/16 [[1, 2, 1], [2, 4, 2], [1, 2, 1]] of anti-aliased pooling
    (Zhang 2019), `binomial(5)` the pyramids' (Burt and Adelson 1983, a = 3/8). Raises InputError below 1.

    >>> binomial(3) * 4, binomial(5) * 16
    (tensor([1., 2., 1.]), tensor([1., 4., 6., 4., 1.]))
    """
    if size < 1:
        raise InputError("no binomial kernel", where="size", expected="1 or more", got=size)
    return torch.tensor([math.comb(size - 1, k) / 2 ** (size - 1) for k in range(size)])


def random_filters(
    number: int, channels: int, window: tuple[int, ...], generator: torch.Generator | None = None
) -> Float[Tensor, "number channels *window"]:
    """A bank of filters with standard normal entries, for `correlate`: Sobel's idea with weights left to chance.

    Source: Jarrett, Kavukcuoglu, Ranzato and LeCun 2009, where untrained filters do surprisingly well.

    >>> random_filters(8, 3, (5, 5)).shape
    torch.Size([8, 3, 5, 5])
    """
    return torch.randn(number, channels, *window, generator=generator)
