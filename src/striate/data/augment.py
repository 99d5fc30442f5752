"""Random changes of pictures that keep their class: whole batches at once, each picture with its own draw.

Every function takes pictures in 0..1 and a generator, gives pictures of the same shape on the same device,
and leaves them as they are at zero strength. Draws come from the generator's own device, so a CPU generator
gives the same changes on any device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from striate.data.images import moments
from striate.errors import InputError
from striate.registry import Between, Registry, bind_options, parse_spec
from striate.shapes import Float, Tensor, UInt8

Pictures = Float[Tensor, "n c h w"]
# How the outside of a picture is filled, in the words of F.pad and of F.grid_sample.
OUTSIDE = {
    "reflect": ("reflect", "reflection"),
    "edge": ("replicate", "border"),
    "zeros": ("constant", "zeros"),
}
MODES = tuple(OUTSIDE)


Allowed = Between | tuple[Any, ...]


@dataclass(frozen=True)
class Augmentation:
    """A registered augmentation: the values its options may have, and what it needs of the pictures.

    `fit` measures the training set once; its result is the third argument of `function`.
    """

    name: str
    function: Callable[..., Tensor]
    example: str
    allowed: Mapping[str, Allowed]
    rgb_only: bool
    fit: Callable[[Tensor], Tensor] | None

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").partition("\n")[0]


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")
Function = Callable[..., Tensor]


def augmentation(
    example: str,
    *,
    rgb_only: bool = False,
    fit: Callable[[Tensor], Tensor] | None = None,
    **allowed: Allowed,
) -> Callable[[Function], Function]:
    """Register the decorated function under its name, with an `example` spec and the `allowed` values."""

    def add(function: Function) -> Function:
        AUGMENTATIONS.add(Augmentation(function.__name__, function, example, allowed, rgb_only, fit))
        return function

    return add


def build_augmentation(
    specs: Sequence[str],
    images: UInt8[Tensor, "n c h w"],
    meaning: object = None,  # noqa: ARG001
) -> Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]] | None:
    """One function (images, targets, generator) -> (images, targets) that applies `specs` in order; None without specs.

    `images` is the training set: its shape is checked against each augmentation, and `pca_color` measures it.
    An unknown name or option, a value out of range or a picture that does not fit raises InputError here.

    >>> pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    >>> change = build_augmentation(["crop:pad=2", "rotate:10"], pixels)
    >>> change(pixels / 255, torch.zeros(2), torch.Generator().manual_seed(0))[0].shape
    torch.Size([2, 1, 8, 8])
    """
    steps = [_step(spec, images) for spec in specs]
    if not steps:
        return None

    def augment(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for step in steps:
            images = step(images, generator)
        return images, targets

    augment(images[:1] / 255, torch.empty(1, 0), torch.Generator())  # what does not fit these pictures fails now
    return augment


def _step(spec: str, images: UInt8[Tensor, "n c h w"]) -> Callable[[Tensor, torch.Generator], Tensor]:
    name, given = parse_spec(spec)
    entry = AUGMENTATIONS[name]
    options = bind_options("augmentation", name, entry.function, given, skip=2 + (entry.fit is not None))
    for key, value in options.items():
        if value not in entry.allowed[key]:
            where = f"{name}:{key}"
            raise InputError("augmentation option", where=where, expected=words(entry.allowed[key]), got=value)
    if entry.rgb_only and images.shape[1] != 3:
        fix = "Use grey, or load the images with 3 channels."
        found = f"{images.shape[1]} channel"
        raise InputError("augmentation of colors", where=name, expected="RGB images", got=found, fix=fix)
    fitted = () if entry.fit is None else (entry.fit(images),)
    return lambda images, generator: entry.function(images, generator, *fitted, **options)


def words(allowed: Allowed) -> str:
    """The allowed values in an error or a table.

    >>> words(Between(0, 1)), words(Between(0, 64, whole=True)), words(("reflect", "zeros"))
    ('a number in 0..1', 'a whole number in 0..64', 'reflect or zeros')
    """
    return str(allowed) if isinstance(allowed, Between) else " or ".join(map(str, allowed))


def uniform(images: Pictures, generator: torch.Generator, low: float, high: float) -> Float[Tensor, "n 1 1 1"]:
    """One number per picture, from low to high."""
    drawn = torch.rand(len(images), generator=generator, device=generator.device)
    return (low + (high - low) * drawn).to(images.device, images.dtype).view(-1, 1, 1, 1)


def whole(images: Pictures, generator: torch.Generator, high: int) -> Tensor:
    """One whole number per picture, 0 to high - 1."""
    return torch.randint(high, (len(images),), generator=generator, device=generator.device).to(images.device)


@augmentation("flip", p=Between(0, 1), vertical=(False, True))
def flip(images: Pictures, generator: torch.Generator, p: float = 0.5, vertical: bool = False) -> Pictures:
    """Mirror left and right with probability p; with vertical=True also, independently, top and bottom."""
    for axis in (3, 2) if vertical else (3,):
        images = torch.where(uniform(images, generator, 0, 1) < p, images.flip(axis), images)
    return images


@augmentation("crop:pad=4", pad=Between(0, 512, whole=True), mode=MODES)
def crop(images: Pictures, generator: torch.Generator, pad: int = 4, mode: str = "reflect") -> Pictures:
    """Pad every side by `pad` pixels (mode reflect, edge or zeros) and cut a picture of the old size out."""
    height, width = images.shape[2:]
    if mode == "reflect" and pad >= min(height, width):
        fix = "Pad less, or with mode=edge."
        expected = f"pad below {min(height, width)} to reflect"
        raise InputError("augmentation option", where="crop:pad", expected=expected, got=pad, fix=fix)
    padded = F.pad(images, (pad,) * 4, mode=OUTSIDE[mode][0])
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # n c top left h w, nothing copied
    each = torch.arange(len(images), device=images.device)
    return windows[each, :, whole(images, generator, 2 * pad + 1), whole(images, generator, 2 * pad + 1)]


@augmentation("shift:0.1", fraction=Between(0, 1), mode=MODES)
def shift(images: Pictures, generator: torch.Generator, fraction: float = 0.1, mode: str = "reflect") -> Pictures:
    """Move by up to `fraction` of the width and of the height, not only by whole pixels."""
    if fraction == 0:
        return images
    x, y = (uniform(images, generator, -fraction, fraction).flatten() for _ in range(2))
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    width = images.shape[3]
    return warp(images, _rows((one, zero, x * width), (zero, one, y * images.shape[2])), mode)


@augmentation("scale:0.1", amount=Between(0, 0.9), mode=MODES)
def scale(images: Pictures, generator: torch.Generator, amount: float = 0.1, mode: str = "reflect") -> Pictures:
    """Make smaller or larger about the center, to 1 - amount up to 1 + amount of the size."""
    if amount == 0:
        return images
    size = uniform(images, generator, 1 - amount, 1 + amount).flatten()
    zero = torch.zeros_like(size)
    return warp(images, _rows((1 / size, zero, zero), (zero, 1 / size, zero)), mode)


@augmentation("rotate:15", degrees=Between(0, 180), mode=MODES)
def rotate(images: Pictures, generator: torch.Generator, degrees: float = 10, mode: str = "reflect") -> Pictures:
    """Turn about the center by up to `degrees` either way."""
    if degrees == 0:
        return images
    return warp(images, turned(uniform(images, generator, -degrees, degrees).flatten()), mode)


def turned(degrees: Float[Tensor, " n"]) -> Float[Tensor, "n 2 3"]:
    """The matrices for `warp` that turn pictures counterclockwise, as torch.rot90 does."""
    angle = degrees * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _rows((cos, -sin, zero), (sin, cos, zero))


def warp(images: Pictures, matrix: Float[Tensor, "n 2 3"], mode: str) -> Pictures:
    """Read each output pixel at matrix @ (x, y, 1), in pixels from the center (x right, y down); bilinear."""
    height, width = images.shape[2:]
    half = torch.tensor([width / 2, height / 2], device=matrix.device, dtype=matrix.dtype)
    # affine_grid counts in halves of the width and height: p = half * u, so u' = (M p + t) / half.
    units = torch.cat([matrix[:, :, :2] * half, matrix[:, :, 2:]], dim=2) / half[:, None]
    grid = F.affine_grid(units, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, "bilinear", OUTSIDE[mode][1], align_corners=False)


def _rows(*rows: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@augmentation(
    "color:brightness=0.3,contrast=0.3,saturation=0.3,hue=0.05",
    rgb_only=True,
    brightness=Between(0, 1),
    contrast=Between(0, 1),
    saturation=Between(0, 1),
    hue=Between(0, 0.5),
)
def color(
    images: Pictures,
    generator: torch.Generator,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.02,
) -> Pictures:
    """Multiply brightness, contrast and saturation by 1 - x up to 1 + x; turn hues by up to `hue` full turns.

    Saturation scales and hue turns the color plane of the YIQ space, so both are one 3x3 matrix per picture.
    """
    light, contrasts, vivid = (uniform(images, generator, 1 - x, 1 + x) for x in (brightness, contrast, saturation))
    angle = uniform(images, generator, -hue, hue) * (2 * math.pi)
    change = color_matrix((light * contrasts).flatten(), vivid.flatten(), angle.flatten())
    to_grey = torch.tensor(YIQ[0], device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    mean = (images * to_grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    mixed: Tensor = torch.einsum("nij,njhw->nihw", change, images)
    return (mixed + mean * light * (1 - contrasts)).clamp(0, 1)


def color_matrix(
    light: Float[Tensor, " n"], vivid: Float[Tensor, " n"], angle: Float[Tensor, " n"]
) -> Float[Tensor, "n 3 3"]:
    """RGB to RGB: brightness times `light`, saturation times `vivid`, hue turned by `angle` radians."""
    yiq = torch.tensor(YIQ, device=light.device, dtype=torch.float64)
    cos, sin = (vivid * angle.cos()).double(), (vivid * angle.sin()).double()
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    plane = _rows((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))
    return (light.double()[:, None, None] * (yiq.inverse() @ plane @ yiq)).to(light.dtype)


@augmentation(
    "grey:brightness=0.2,contrast=0.3,gamma=0.3",
    brightness=Between(0, 1),
    contrast=Between(0, 1),
    gamma=Between(0, 4),
)
def grey(
    images: Pictures,
    generator: torch.Generator,
    brightness: float = 0.1,
    contrast: float = 0.1,
    gamma: float = 0.1,
) -> Pictures:
    """Change grey levels: x^g, then contrast about the mean, then brightness added.

    g is 1 / (1 + gamma) up to 1 + gamma, contrast is multiplied by 1 - contrast up to 1 + contrast, and
    -brightness up to brightness is added.
    """
    bound = math.log1p(gamma)
    bent = images.clamp(0, 1) ** uniform(images, generator, -bound, bound).exp()
    mean = bent.mean((1, 2, 3), keepdim=True)
    spread = torch.lerp(mean, bent, uniform(images, generator, 1 - contrast, 1 + contrast))
    return (spread + uniform(images, generator, -brightness, brightness)).clamp(0, 1)


def color_axes(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "c c"]:
    """Eigenvectors of the covariance of the colors in columns, each times its eigenvalue (units 0..1)."""
    values, vectors = torch.linalg.eigh(moments(images)[1])
    axes: Tensor = vectors * values
    return axes.float()


@augmentation("pca_color:0.5", rgb_only=True, fit=color_axes, sigma=Between(0, 10))
def pca_color(images: Pictures, generator: torch.Generator, axes: Float[Tensor, "c c"], sigma: float = 0.1) -> Pictures:
    """Add one random color per picture, along the principal components of the training set (paper: 0.1).

    The color is [p1 p2 p3] [a1 l1, a2 l2, a3 l3] with eigenvectors p and eigenvalues l of the covariance C of
    the colors (in 0..1) and a drawn from N(0, sigma^2), so its own covariance is sigma^2 C^2. Source:
    A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks"
    (2012), section 4.1.
    """
    drawn = torch.randn(len(images), 3, generator=generator, device=generator.device) * sigma
    added: Tensor = drawn.to(images.device, images.dtype) @ axes.to(images.device, images.dtype).T
    return (images + added[:, :, None, None]).clamp(0, 1)


@augmentation("cutout:16", size=Between(0, 1024, whole=True))
def cutout(images: Pictures, generator: torch.Generator, size: int = 8) -> Pictures:
    """Cover a square of `size` pixels, centered anywhere, with the picture's mean color.

    Source: T. DeVries, G. Taylor, "Improved regularization of convolutional neural networks with cutout"
    (2017).
    """
    height, width = images.shape[2:]
    top, left = (whole(images, generator, side).view(-1, 1) - size // 2 for side in (height, width))
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    in_rows, in_columns = (rows >= top) & (rows < top + size), (columns >= left) & (columns < left + size)
    covered = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return torch.where(covered, images.mean((2, 3), keepdim=True), images)
