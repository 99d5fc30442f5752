"""A convolution as the matrix that it is: sparse, with the kernel in every row (a Toeplitz matrix)."""

from __future__ import annotations

import math

import torch

from striate.ops.convolve import check_shapes
from striate.ops.padding import Axes, Padding, per_axis
from striate.ops.patches import patches
from striate.shapes import Float, Tensor


def convolution_matrix(
    kernel: Float[Tensor, "k c_group *window"],
    size: Axes,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
    groups: int = 1,
) -> Float[Tensor, "outputs inputs"]:
    """The sparse matrix M of `correlate`: M @ x.flatten() is correlate(x[None], kernel).flatten(), for x (c, *size).

    Rows are output values, columns input values, both in row-major order: channel, then place. M.T is the matrix of
    `transposed`, and what a gradient is multiplied with on its way back. Arguments and errors are those of `correlate`.
    The matrix can be differentiated with respect to the kernel.

    >>> convolution_matrix(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), (2, 3)).to_dense()
    tensor([[1., 2., 0., 3., 4., 0.],
            [0., 1., 2., 0., 3., 4.]])
    """
    filters, window = kernel.shape[0], tuple(kernel.shape[2:])
    size = per_axis("size", size, len(window))
    inputs = kernel.shape[1] * groups * math.prod(size)
    index = torch.arange(1, 1 + inputs, dtype=torch.float64, device=kernel.device)  # 0 will be padding
    index = index.view(1, kernel.shape[1] * groups, *size)
    check_shapes(index.to(kernel), kernel, None, groups, what="no matrix")
    seen = patches(index, window, stride=stride, padding=padding, padding_mode=padding_mode, dilation=dilation)[0]
    places, taps = len(seen), kernel[0].numel()
    shape = groups, filters // groups, places, taps
    columns = (seen.long().view(places, groups, 1, -1).permute(1, 2, 0, 3) - 1).expand(shape)
    rows = torch.arange(filters * places, device=kernel.device).view(groups, -1, places, 1).expand(shape)
    values = kernel.reshape(groups, -1, 1, taps).expand(shape)
    real = columns >= 0
    entries = torch.stack([rows[real], columns[real]])
    return torch.sparse_coo_tensor(entries, values[real], (filters * places, inputs), check_invariants=False).coalesce()
