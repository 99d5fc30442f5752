"""Winograd's minimal filtering: windows of three, with fewer multiplications than the definition."""

from __future__ import annotations

from functools import cache, reduce

import torch

from striate.ops.algorithms.kept import kept
from striate.ops.algorithms.setting import Setting, output_space, pad, part
from striate.shapes import Float, Tensor


def winograd(
    x: Float[Tensor, "n c *space"], kernel: Float[Tensor, "k d *window"], setting: Setting, outputs: int | None = None
) -> Float[Tensor, "n k *output"]:
    """F(2, 3) or F(4, 3) along every axis; window of three everywhere, stride and dilation one.

    Y = Aᵀ[(G g) ⊙ (Bᵀ d)] for a tile d of `outputs` + 2 places: 4 products for 2 outputs, 6 for 4. Nested over
    the axes, F(4×4, 3×3) multiplies 4 times less than the definition, F(2×2, 3×3) 2.25 times. In float32 F(2, 3)
    is about as exact as the definition and F(4, 3) about ten times less. outputs: 2, 4, or None for 4 where the
    map is larger than 4.

    Source: Lavin and Gray, Fast algorithms for convolutional neural networks (CVPR 2016), section 4.
    """
    rank, groups, items, fields = x.ndim - 2, setting.groups, len(x), kernel.shape[0]
    output = output_space(x.shape[2:], kernel.shape[2:], setting)
    outputs = outputs or (4 if min(output) > 4 else 2)
    data, weights, back = (_nested(matrix, rank).to(x) for matrix in transforms(outputs))
    tiles = [-(-size // outputs) for size in output]
    ends = [
        (before, count * outputs + 2 - size - before)
        for (before, _), count, size in zip(setting.padding, tiles, x.shape[2:], strict=True)
    ]
    places = pad(x, ends)
    for axis in range(rank):
        places = places.unfold(2 + axis, outputs + 2, outputs)
    places = places.permute(*range(2 + rank, 2 + 2 * rank), 1, 0, *range(2, 2 + rank))
    spectrum = (data @ places.reshape(len(weights), -1)).view(len(weights), groups, kernel.shape[1], -1)
    points = kept(kernel, ("winograd", outputs, groups), lambda: _points(kernel, weights, groups))
    results = back @ (points @ spectrum).view(len(weights), -1)
    results = results.view(*[outputs] * rank, fields, items, *tiles)
    interleaved = [rank + 1, rank, *[axis for a in range(rank) for axis in (rank + 2 + a, a)]]
    whole = results.permute(interleaved).reshape(items, fields, *[count * outputs for count in tiles])
    return part(whole, [slice(size) for size in output]).contiguous()


@cache
def transforms(outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bᵀ, G and Aᵀ of F(outputs, 3) (Lavin and Gray, equations 7 and 14), in float64."""
    if outputs == 2:
        data = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
        weights = [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]
        back = [[1, 1, 1, 0], [0, 1, -1, -1]]
    else:
        data = [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
        weights = [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
        back = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    return tuple(torch.tensor(rows, dtype=torch.float64) for rows in (data, weights, back))  # type: ignore[return-value]


def _nested(matrix: Tensor, rank: int) -> Tensor:
    """The matrix applied along each of `rank` axes, as one matrix over all places of a tile."""
    return reduce(torch.kron, [matrix] * rank)


def _points(kernel: Tensor, weights: Tensor, groups: int) -> Tensor:
    """The transformed kernel as (points, groups, fields / groups, depth)."""
    fields, depth = kernel.shape[:2]
    return (weights @ kernel.reshape(fields * depth, -1).T).view(-1, groups, fields // groups, depth)
