"""Sobel's edges of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from striate.errors import InputError
from striate.ops.kernels import DIFFERENTIATION, SMOOTHING
from striate.ops.padding import Padding
from striate.ops.separable import correlate_separable
from striate.shapes import Bool, Float, Num, Tensor, UInt8


@dataclass(frozen=True, eq=False)
class ImageGradient:
    """How fast an image changes along x (columns, to the right) and y (rows, downwards)."""

    x: Float[Tensor, "*batch h w"]
    y: Float[Tensor, "*batch h w"]

    @property
    def magnitude(self) -> Float[Tensor, "*batch h w"]:
        """√(x² + y²)."""
        return torch.hypot(self.x, self.y)

    @property
    def direction(self) -> Float[Tensor, "*batch h w"]:
        """Angle in radians at which the image rises fastest: 0 to the right, π/2 downwards."""
        return torch.atan2(self.y, self.x)

    def edges(self, threshold: float) -> Bool[Tensor, "*batch h w"]:
        """The edge map: where the magnitude is `threshold` or more."""
        return self.magnitude >= threshold


def sobel(image: Num[Tensor, "*batch h w"], padding: Padding = "valid", padding_mode: str = "zeros") -> ImageGradient:
    """Sobel's gradient of images: x has changes to the right positive, y those downwards; each over 8 times the slope.

    Cross-correlation with [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]] and its transpose, computed as columns and rows.
    (A convolution with [[1, 0, -1], …] is the same.) An image of h x w gives h - 2 x w - 2, unless padded. Whole
    numbers are made float32. Raises InputError as `correlate` does. Source: Sobel and Feldman 1968.

    >>> sobel(torch.tensor([[0, 255, 255], [0, 0, 255], [0, 255, 255]])).x
    tensor([[1020.]])
    """
    if image.ndim < 2:
        raise InputError("cannot find edges", where="image", expected="axes (…, h, w)", got=tuple(image.shape))
    x = image if image.is_floating_point() else image.float()
    maps = x.reshape(math.prod(x.shape[:-2]), 1, *x.shape[-2:])
    smooth, differ = x.new_tensor(SMOOTHING), x.new_tensor(DIFFERENTIATION)

    def gradient(rows: Tensor, columns: Tensor) -> Tensor:
        found = correlate_separable(maps, (rows, columns), padding=padding, padding_mode=padding_mode)
        return found.view(*x.shape[:-2], *found.shape[-2:])

    return ImageGradient(gradient(smooth, differ), gradient(differ, smooth))


def grey_values(values: Num[Tensor, "*size"]) -> UInt8[Tensor, "*size"]:
    """A map as a picture: its least value black (0), its greatest white (255), rounded to the nearest between.

    A map of one value is all black. Raises InputError for an empty one, or one that is not finite.

    >>> grey_values(torch.tensor([-1020.0, 0.0, 510.0, 1020.0]))
    tensor([  0, 128, 191, 255], dtype=torch.uint8)
    """
    if not values.numel() or not torch.isfinite(values).all():
        raise InputError("no picture", where="values", expected="finite numbers", got=f"shape {tuple(values.shape)}")
    values = values.double()
    low, high = values.min(), values.max()
    return ((values - low) / (high - low).clamp(min=1e-300) * 255).round().to(torch.uint8)
