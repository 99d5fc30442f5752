"""Augmentations for segmentation: elastic deformation, and windows smaller than the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from striate.data.augment.move import MODES, OUTSIDE, Move, flipped, rows
from striate.data.augment.registry import Pictures, augmentation, whole
from striate.registry import Between
from striate.shapes import Float, Int64, Tensor


@dataclass(frozen=True, eq=False)
class Bend(Move):
    """Each output pixel is read `offset` (x, y) pixels beside its own place; `matrix` is the identity."""

    offset: Float[Tensor, "n 2 h w"]
    mode: str

    def pictures(self, images: Pictures) -> Pictures:
        """See `Move.pictures`."""
        return self._read(images, "bilinear")

    def nearest(self, images: Pictures) -> Pictures:
        """See `Move.nearest`."""
        return self._read(images, "nearest")

    def _read(self, images: Pictures, how: str) -> Pictures:
        height, width = images.shape[2:]
        scale = torch.tensor([2 / width, 2 / height], device=images.device, dtype=images.dtype)
        grid = F.affine_grid(self.matrix, list(images.shape), align_corners=False)
        grid = grid + self.offset.to(images.dtype).movedim(1, -1) * scale
        return F.grid_sample(images, grid, how, OUTSIDE[self.mode][1], align_corners=False)

    def places(self, xy: Float[Tensor, "n p 2"]) -> Float[Tensor, "n p 2"]:
        """The place whose offset leads to (x, y), by repeated correction: it is reached where bends are gentle."""
        height, width = self.offset.shape[2:]
        scale = torch.tensor([2 / width, 2 / height], device=xy.device, dtype=xy.dtype)
        place = xy
        for _ in range(20):
            at = torch.nan_to_num(place * scale)[:, None]
            moved = F.grid_sample(self.offset.to(xy.dtype), at, "bilinear", "border", align_corners=False)
            place = xy - moved[:, :, 0].mT
        return place


@augmentation("elastic:deviation=10", deviation=Between(0, 100), points=Between(2, 64, whole=True), mode=MODES)
def elastic(
    images: Pictures, generator: torch.Generator, deviation: float = 10, points: int = 3, mode: str = "reflect"
) -> Move:
    """Bend by random offsets (normal, `deviation` in pixels) at points x points places, smoothly in between (bicubic).

    Source: O. Ronneberger, P. Fischer, T. Brox, "U-Net" (2015), section 3.1: 3x3 places, deviation 10.
    """
    if deviation == 0:
        return flipped(images, ())
    drawn = torch.randn(len(images), 2, points, points, generator=generator, device=generator.device) * deviation
    offset = F.interpolate(drawn, list(images.shape[2:]), mode="bicubic", align_corners=True)
    matrix = torch.eye(2, 3, dtype=images.dtype, device=images.device).expand(len(images), 2, 3)
    return Bend(matrix, offset.to(images.device, images.dtype), mode)


@dataclass(frozen=True, eq=False)
class Cut(Move):
    """Windows of `size` (axis by axis) from `corner` on; exact."""

    size: tuple[int, ...]
    corner: tuple[Int64[Tensor, " n"], ...]

    def pictures(self, images: Pictures) -> Float[Tensor, "n c *out"]:
        """See `Move.pictures`."""
        windows: Tensor = images
        for axis, side in enumerate(self.size, start=2):
            windows = windows.unfold(axis, side, 1)  # nothing copied
        index: tuple[Tensor | slice, ...] = (torch.arange(len(images), device=images.device), slice(None), *self.corner)
        return windows[index]


@augmentation("cut:0.5", takes=("pictures", "volumes"), fraction=Between(0.01, 1))
def cut(images: Pictures, generator: torch.Generator, fraction: float = 0.5) -> Move:
    """Keep a window of that fraction of the height and of the width at a random place, for networks of any size.

    Each step costs less so, while the pixels stay as large as they are. Volumes keep their depth.
    """
    *deep, high, wide = images.shape[2:]
    size = [max(1, round(fraction * side)) for side in (high, wide)]
    top, left = (whole(images, generator, side - own + 1) for side, own in zip((high, wide), size, strict=True))
    # From the window's center to the picture's.
    x, y = left + (size[1] - wide) / 2, top + (size[0] - high) / 2
    matrix = rows((torch.ones_like(x), torch.zeros_like(x), x), (torch.zeros_like(y), torch.ones_like(y), y))
    return Cut(matrix.to(images.dtype), (*deep, *size), (*(torch.zeros_like(top) for _ in deep), top, left))
