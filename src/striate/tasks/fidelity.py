"""How like the truth a picture is: peak signal-to-noise ratio and structural similarity, one number a picture."""

from __future__ import annotations

import torch

from striate.errors import InputError
from striate.ops import correlate_separable
from striate.shapes import Float, Tensor

WINDOW = 11  # side of the window in which structure is compared, weighed by a Gaussian of 1.5 pixels


def psnr(estimate: Float[Tensor, "n c *space"], truth: Float[Tensor, "n c *space"]) -> Float[Tensor, " n"]:
    """10 log10(1 / mean squared error) in decibels, of values in 0..1; infinite where nothing differs.

    >>> psnr(torch.full((1, 1, 4), 0.6), torch.full((1, 1, 4), 0.5)).round()
    tensor([20.], dtype=torch.float64)
    """
    return -10 * (estimate.double() - truth.double()).square().flatten(1).mean(1).log10()


def ssim(estimate: Float[Tensor, "n c *space"], truth: Float[Tensor, "n c *space"]) -> Float[Tensor, " n"]:
    """Mean over places and channels of the structural similarity, 1 where nothing differs; of values in 0..1.

        (2 µx µy + C1) (2 σxy + C2) / ((µx² + µy² + C1) (σx² + σy² + C2)),   C1 = 0.01², C2 = 0.03²

    with means and variances under a Gaussian window of 11 places (σ 1.5) that lies within the picture. Raises
    InputError for smaller pictures. Source: Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, "Image quality assessment:
    from error visibility to structural similarity" (2004), section 3.
    """
    sides = tuple(truth.shape[2:])
    if min(sides) < WINDOW:
        raise InputError("too small for structural similarity", expected=f"sides of {WINDOW} or more", got=sides)
    x, y = (values.double().flatten(0, 1)[:, None] for values in (estimate, truth))
    place = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    bell = (-(place**2) / (2 * 1.5**2)).exp()
    lines = [bell / bell.sum()] * len(sides)

    def mean(values: Tensor) -> Tensor:
        return correlate_separable(values, lines)

    mean_x, mean_y = mean(x), mean(y)
    # A variance is never negative, whatever rounding says.
    var_x, var_y = (mean(x * x) - mean_x**2).clamp(min=0), (mean(y * y) - mean_y**2).clamp(min=0)
    both = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return alike.view(len(truth), -1).mean(1)
