"""Does a map lie where the object is? The pointing game, and the share of the map inside; to be read beside a map that
looks at nothing (`center_prior`): objects mostly are in the middle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from striate.errors import InputError
from striate.shapes import Bool, Float, Tensor


def box_regions(edges: Float[Tensor, "n 4"], space: Sequence[int]) -> Bool[Tensor, "n h w"]:
    """Which pixels of an image (h, w) a box covers, given by its edges (left, top, right, bottom) as in `ops.boxes`.

    A pixel counts where its center is inside: pixel i covers i to i + 1. Raises InputError for a space without two
    sides.

    >>> box_regions(torch.tensor([[1.0, 0.0, 3.0, 1.0]]), (2, 4)).int().tolist()
    [[[0, 1, 1, 0], [0, 0, 0, 0]]]
    """
    if len(space) != 2:
        raise InputError("boxes lie in images", expected="(height, width)", got=tuple(space))
    rows, columns = (torch.arange(side) + 0.5 for side in space)
    left, top, right, bottom = edges.cpu()[..., None].unbind(1)
    tall, wide = (rows > top) & (rows < bottom), (columns > left) & (columns < right)
    return tall[:, :, None] & wide[:, None, :]


def pointing_game(
    heat: Float[Tensor, "n *space"], regions: Bool[Tensor, "..."], tolerance: int = 0
) -> Bool[Tensor, " n"]:
    """Whether the highest position of each map lies in the item's region, or at most `tolerance` positions beside it.

    The mean over items is the accuracy of the game; the paper's tolerance is 15 pixels of images some 400 wide. Of
    several highest positions the first counts; a map that is NaN or the same everywhere points nowhere.

    Raises InputError for other shapes and a tolerance below 0.
    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", sec. 4.1.

    >>> heat = torch.tensor([[0.0, 3.0, 1.0, 0.0]])
    >>> region = torch.tensor([[False, False, True, True]])
    >>> pointing_game(heat, region).tolist(), pointing_game(heat, region, tolerance=1).tolist()
    ([False], [True])
    """
    _check(heat, regions)
    if tolerance < 0:
        raise InputError("wrong tolerance", expected="0 or more positions", got=tolerance)
    near = regions.float()
    for axis in range(1, near.dim()):
        lines = near.movedim(axis, -1)
        shape = lines.shape
        lines = F.max_pool1d(lines.reshape(-1, 1, shape[-1]), 2 * tolerance + 1, 1, tolerance)
        near = lines.reshape(shape).movedim(-1, axis)
    flat = heat.flatten(1).nan_to_num(-math.inf, -math.inf)
    tells = flat.amax(1) > flat.amin(1)
    return near.flatten(1).gather(1, flat.argmax(1, keepdim=True))[:, 0].bool() & tells


def energy_inside(heat: Float[Tensor, "n *space"], regions: Bool[Tensor, "..."]) -> Float[Tensor, " n"]:
    """The share of each map's positive values that lies in the item's region: the energy-based pointing game.

    A map that knows nothing has the region's share of the positions. NaN counts as nothing; NaN for a map without
    positive values. Raises InputError for other shapes. Source: Wang et al. 2020 (Score-CAM), sec. 4.3.

    >>> energy_inside(torch.tensor([[1.0, 3.0, -5.0]]), torch.tensor([[False, True, True]])).tolist()
    [0.75]
    """
    _check(heat, regions)
    energy = heat.flatten(1).nan_to_num(0).clamp_min(0)
    return (energy * regions.flatten(1)).sum(1) / energy.sum(1)


def _check(heat: Tensor, regions: Tensor) -> None:
    if heat.shape != regions.shape:
        fix = "Make a region of a box: box_regions(edges, space)."
        raise InputError(
            "the regions do not fit the maps", expected=tuple(heat.shape), got=tuple(regions.shape), fix=fix
        )
