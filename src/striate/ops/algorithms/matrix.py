"""The cross-correlation as one sparse matrix: its rows are the kernel, shifted (Toeplitz; by blocks from 2-D on)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from striate.ops.algorithms.setting import Problem, Setting, output_space
from striate.shapes import Float, Tensor


def toeplitz(
    kernel: Float[Tensor, "k c *window"],
    space: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int = 1,
) -> Float[Tensor, "rows columns"]:
    """Sparse matrix M with `M @ x.flatten() == correlation(x, kernel).flatten()` for one item x of c * groups channels.

    Rows are (k, *output) and columns (c * groups, *space), both in row-major order; taps that fall on padding have no
    entry. Differentiable with respect to the kernel.

    >>> toeplitz(torch.tensor([[[1.0, 2.0]]]), (3,), (1,), ((0, 0),), (1,)).to_dense()
    tensor([[1., 2., 0.],
            [0., 1., 2.]])

    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016), section 4.1.
    """
    fields, depth, window, rank = kernel.shape[0], kernel.shape[1], kernel.shape[2:], len(space)
    output = [
        (size + sum(pad) - d * (k - 1) - 1) // s + 1
        for size, pad, d, k, s in zip(space, padding, dilation, window, stride, strict=True)
    ]

    def along(axis: int, size: int) -> Tensor:  # 0 .. size-1 on one of the axes (k, c, *output, *window)
        return torch.arange(size, device=kernel.device).view([-1 if a == axis else 1 for a in range(2 + 2 * rank)])

    row = along(0, fields)
    column = row // (fields // groups) * depth + along(1, depth)
    seen = torch.ones((), dtype=torch.bool, device=kernel.device)
    for a in range(rank):
        place = along(2 + a, output[a])
        source = place * stride[a] + along(2 + rank + a, window[a]) * dilation[a] - padding[a][0]
        row, column = row * output[a] + place, column * space[a] + source
        seen = seen & (source >= 0) & (source < space[a])
    values = kernel.view(fields, depth, *[1] * rank, *window)
    row, column, values, seen = torch.broadcast_tensors(row, column, values, seen)  # type: ignore[no-untyped-call]
    shape = (fields * math.prod(output), depth * groups * math.prod(space))
    return torch.sparse_coo_tensor(torch.stack([row[seen], column[seen]]), values[seen], shape, check_invariants=False)


def matrix(
    x: Float[Tensor, "n c *space"], kernel: Float[Tensor, "k d *window"], setting: Setting
) -> Float[Tensor, "n k *output"]:
    """The correlation as the product with its Toeplitz matrix: to look at and to check by, not to be fast."""
    rows = toeplitz(kernel, x.shape[2:], setting.stride, setting.padding, setting.dilation, setting.groups)
    output = output_space(x.shape[2:], kernel.shape[2:], setting)
    return (rows @ x.flatten(1).T).T.reshape(len(x), kernel.shape[0], *output)


def entries(problem: Problem) -> int:
    """Most entries that the matrix can have."""
    return problem.fields * problem.depth * problem.taps * math.prod(problem.output)
