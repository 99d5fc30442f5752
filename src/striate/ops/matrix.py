"""A convolution as the matrix that it is: sparse, with the kernel in every row (a Toeplitz matrix)."""

from __future__ import annotations

import math

import torch

from striate.ops.algorithms import toeplitz
from striate.ops.convolve import check_shapes, output_size
from striate.ops.padding import Axes, Padding, Whole, padding_pairs, per_axis, sources, whole
from striate.shapes import Float, Tensor


def convolution_matrix(
    kernel: Float[Tensor, "k c_group *window"],
    size: Axes,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
    groups: Whole = 1,
) -> Float[Tensor, "outputs inputs"]:
    """The sparse matrix M of `correlate`: M @ x.flatten() is correlate(x[None], kernel).flatten(), for x (c, *size).

    Rows are output values, columns input values, both in row-major order: channel, then place. M.T is the matrix of
    `transposed`, and what a gradient is multiplied with on its way back. Arguments and errors are those of `correlate`.
    The matrix can be differentiated with respect to the kernel.

    >>> convolution_matrix(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), (2, 3)).to_dense()
    tensor([[1., 2., 0., 3., 4., 0.],
            [0., 1., 2., 0., 3., 4.]])
    """
    window, channels = tuple(kernel.shape[2:]), kernel.shape[1] * (whole(groups) or 0)
    rank, size = len(window), per_axis("size", size, len(window))
    parts = check_shapes(kernel.new_empty(1).expand(1, channels, *size), kernel, None, groups, what="no matrix")
    steps, spread = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    pairs = padding_pairs(padding, window, spread)
    output_size(size, window, steps, pairs, spread)
    if padding_mode == "zeros":
        return toeplitz(kernel, size, steps, pairs, spread, parts).coalesce()
    places, source = math.prod(size), sources(size, pairs, padding_mode, kernel.device) - 1
    wide = toeplitz(kernel, source.shape, steps, ((0, 0),) * rank, spread, parts).coalesce()
    rows, columns = wide.indices()
    columns = columns // source.numel() * places + source.flatten()[columns % source.numel()]
    shape = wide.shape[0], channels * places
    entries = torch.stack([rows, columns])
    return torch.sparse_coo_tensor(entries, wide.values(), shape, check_invariants=False).coalesce()  # adds copies up
