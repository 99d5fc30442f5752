"""Augmentations that move pixels: one motion a picture, drawn once, for pictures, masks, boxes and points alike.

A motion says where each output pixel is read: at matrix @ (x, y, 1), in pixels from the picture's center (x right,
y down). What is not read pixel by pixel goes through the inverse. Pixel i lies at i + 0.5 from the picture's corner.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from striate.data.augment.registry import Pictures, augmentation, uniform, whole
from striate.errors import InputError
from striate.registry import Between
from striate.shapes import Bool, Float, Int64, Tensor, UInt8

# How the outside of a picture is filled, in the words of F.pad and of F.grid_sample.
OUTSIDE = {
    "reflect": ("reflect", "reflection"),
    "edge": ("replicate", "border"),
    "zeros": ("constant", "zeros"),
}
MODES = tuple(OUTSIDE)
VOID = 255  # the class of a mask's pixels of which nothing is known


@dataclass(frozen=True, eq=False)
class Move(ABC):
    """Where each output pixel of each picture is read: the last two axes by `matrix`."""

    matrix: Float[Tensor, "n 2 3"]

    @abstractmethod
    def pictures(self, images: Pictures) -> Float[Tensor, "n c *out"]:
        """The moved pictures."""

    def nearest(self, images: Pictures) -> Float[Tensor, "n c *out"]:
        """The moved pictures where every value is one of the old ones (or the filling): nothing is interpolated."""
        return self.pictures(images)

    def masks(self, masks: UInt8[Tensor, "n *space"]) -> UInt8[Tensor, "n *out"]:
        """The moved masks: the nearest pixel's class; outside filled as the picture's, `VOID` where that is zeros."""
        turned_over = (VOID - masks[:, None]).float()  # void is 0 now, which is what zeros fill in
        return VOID - self.nearest(turned_over)[:, 0].round().to(torch.uint8)

    def places(self, xy: Float[Tensor, "n p 2"]) -> Float[Tensor, "n p 2"]:
        """Where what lay at (x, y), in pixels from the center, is afterwards: the inverse of `matrix`."""
        matrix = self.matrix.to(xy.dtype)
        inverse: Tensor = torch.linalg.inv(matrix[:, :, :2])
        return (xy - matrix[:, None, :, 2]) @ inverse.mT

    @property
    def mirrors(self) -> Bool[Tensor, " n"]:
        """Which pictures show a mirror image; a half turn (both axes flipped) is none."""
        return self.matrix[:, 0, 0] * self.matrix[:, 1, 1] < self.matrix[:, 0, 1] * self.matrix[:, 1, 0]


@dataclass(frozen=True, eq=False)
class Flip(Move):
    """Axes reversed in some of the pictures; exact."""

    flipped: tuple[tuple[int, Bool[Tensor, " n"]], ...]

    def pictures(self, images: Pictures) -> Pictures:
        """See `Move.pictures`."""
        for axis, which in self.flipped:
            images = torch.where(which.view(-1, *(1,) * (images.ndim - 1)), images.flip(axis), images)
        return images


def flipped(images: Pictures, axes: tuple[tuple[int, Bool[Tensor, " n"]], ...]) -> Flip:
    """The motion that reverses the pictures' `axes` (-1 is x, -2 is y), each in some of the pictures."""
    diagonal = torch.ones(len(images), 2, device=images.device, dtype=images.dtype)
    for axis, which in axes:
        diagonal[:, -1 - axis] = torch.where(which, -1.0, 1.0)
    return Flip(F.pad(torch.diag_embed(diagonal), (0, 1)), axes)


@dataclass(frozen=True, eq=False)
class Window(Move):
    """A window of the old size cut from the picture padded by `pad` on every side; exact.

    `corner` is where the window begins in the padded picture, axis by axis (d h w or h w).
    """

    pad: int
    mode: str
    corner: tuple[Int64[Tensor, " n"], ...]

    def pictures(self, images: Pictures) -> Pictures:
        """See `Move.pictures`."""
        rank = images.ndim - 2
        windows: Tensor = F.pad(images, (self.pad,) * 2 * rank, mode=OUTSIDE[self.mode][0])
        for axis in range(2, images.ndim):
            windows = windows.unfold(axis, images.shape[axis], 1)  # nothing copied
        each = torch.arange(len(images), device=images.device)
        index: tuple[Tensor | slice, ...] = (each, slice(None), *self.corner)
        return windows[index]


def window(images: Pictures, pad: int, mode: str, corner: tuple[Int64[Tensor, " n"], ...]) -> Window:
    """The motion that cuts windows at `corner` from padded pictures."""
    y, x = ((first - pad).to(images.dtype) for first in corner[-2:])
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return Window(rows((one, zero, x), (zero, one, y)), pad, mode, corner)


@dataclass(frozen=True, eq=False)
class Warp(Move):
    """Pictures shifted, scaled or turned by their matrix; between pixels it is interpolated."""

    mode: str

    def pictures(self, images: Pictures) -> Pictures:
        """See `Move.pictures`."""
        return warp(images, self.matrix, self.mode)

    def nearest(self, images: Pictures) -> Pictures:
        """See `Move.nearest`."""
        return warp(images, self.matrix, self.mode, "nearest")


def warp(
    images: Float[Tensor, "n c *space"], matrix: Float[Tensor, "n r q"], mode: str, how: str = "bilinear"
) -> Float[Tensor, "n c *space"]:
    """Read each output pixel at matrix @ (x, y, 1), in pixels from the center (x right, y down).

    Volumes have z, the first axis, after y. Signals are moved as images of one row: with x alone.
    """
    if images.ndim == 3:
        row = F.pad(matrix[:, :, :1], (0, 1, 0, 1))
        row[:, 1, 1] = 1
        shift = F.pad(matrix[:, :, 1:], (0, 0, 0, 1))
        return warp(images[:, :, None], torch.cat([row, shift], 2), mode, how)[:, :, 0]
    sides = [side / 2 for side in reversed(images.shape[2:])]
    half = torch.tensor(sides, device=matrix.device, dtype=matrix.dtype)
    # affine_grid counts in halves of the width and height: p = half * u, so u' = (M p + t) / half.
    units = torch.cat([matrix[:, :, :-1] * half, matrix[:, :, -1:]], dim=2) / half[:, None]
    grid = F.affine_grid(units, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, how, OUTSIDE[mode][1], align_corners=False)


def turned(degrees: Float[Tensor, " n"]) -> Float[Tensor, "n 2 3"]:
    """The matrices for `warp` that turn pictures counterclockwise, as torch.rot90 does."""
    angle = degrees * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return rows((cos, -sin, zero), (sin, cos, zero))


def rows(*entries: tuple[Tensor, ...]) -> Tensor:
    """Matrices from their entries, row by row; each entry is one number a picture."""
    return torch.stack([torch.stack(row, dim=-1) for row in entries], dim=-2)


@augmentation("flip", takes=("pictures", "volumes"), p=Between(0, 1), vertical=(False, True))
def flip(images: Pictures, generator: torch.Generator, p: float = 0.5, vertical: bool = False) -> Move:
    """Mirror left and right with probability p; with vertical=True also, independently, top and bottom."""
    axes = (-1, -2) if vertical else (-1,)
    return flipped(images, tuple((axis, uniform(images, generator, 0, 1).flatten() < p) for axis in axes))


@augmentation("crop:pad=4", takes=("pictures", "volumes"), pad=Between(0, 512, whole=True), mode=MODES)
def crop(images: Pictures, generator: torch.Generator, pad: int = 4, mode: str = "reflect") -> Move:
    """Pad every side by `pad` pixels (mode reflect, edge or zeros) and cut a picture of the old size out."""
    space = images.shape[2:]
    if mode == "reflect" and pad >= min(space):
        fix = "Pad less, or with mode=edge."
        expected = f"pad below {min(space)} to reflect"
        raise InputError("augmentation option", where="crop:pad", expected=expected, got=pad, fix=fix)
    return window(images, pad, mode, tuple(whole(images, generator, 2 * pad + 1) for _ in space))


@augmentation("shift:0.1", fraction=Between(0, 1), mode=MODES)
def shift(images: Pictures, generator: torch.Generator, fraction: float = 0.1, mode: str = "reflect") -> Move:
    """Move by up to `fraction` of the width and of the height, not only by whole pixels."""
    if fraction == 0:
        return flipped(images, ())
    x, y = (uniform(images, generator, -fraction, fraction).flatten() for _ in range(2))
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return Warp(rows((one, zero, x * images.shape[3]), (zero, one, y * images.shape[2])), mode)


@augmentation("scale:0.1", amount=Between(0, 0.9), mode=MODES)
def scale(images: Pictures, generator: torch.Generator, amount: float = 0.1, mode: str = "reflect") -> Move:
    """Make smaller or larger about the center, to 1 - amount up to 1 + amount of the size."""
    if amount == 0:
        return flipped(images, ())
    size = uniform(images, generator, 1 - amount, 1 + amount).flatten()
    zero = torch.zeros_like(size)
    return Warp(rows((1 / size, zero, zero), (zero, 1 / size, zero)), mode)


@augmentation("rotate:15", degrees=Between(0, 180), mode=MODES)
def rotate(images: Pictures, generator: torch.Generator, degrees: float = 10, mode: str = "reflect") -> Move:
    """Turn about the center by up to `degrees` either way."""
    if degrees == 0:
        return flipped(images, ())
    return Warp(turned(uniform(images, generator, -degrees, degrees).flatten()), mode)
