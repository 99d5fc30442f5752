"""Augmentations that change colors and cover parts: targets stay what they are."""

from __future__ import annotations

import math

import torch

from striate.data.augment.move import rows
from striate.data.augment.registry import augmentation, uniform, whole
from striate.data.images import moments
from striate.registry import Between
from striate.shapes import Float, Tensor, UInt8

Pictures = Float[Tensor, "n c h w"]
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
    plane = rows((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))
    return (light.double()[:, None, None] * (yiq.inverse() @ plane @ yiq)).to(light.dtype)


@augmentation(
    "grey:brightness=0.2,contrast=0.3,gamma=0.3",
    takes=("pictures", "volumes"),
    brightness=Between(0, 1),
    contrast=Between(0, 1),
    gamma=Between(0, 4),
)
def grey(
    images: Float[Tensor, "n c *space"],
    generator: torch.Generator,
    brightness: float = 0.1,
    contrast: float = 0.1,
    gamma: float = 0.1,
) -> Float[Tensor, "n c *space"]:
    """Change grey levels: x^g, then contrast about the mean, then brightness added.

    g is 1 / (1 + gamma) up to 1 + gamma, contrast is multiplied by 1 - contrast up to 1 + contrast, and
    -brightness up to brightness is added.
    """
    bound = math.log1p(gamma)
    bent = images.clamp(0, 1) ** uniform(images, generator, -bound, bound).exp()
    mean = bent.mean(tuple(range(1, bent.ndim)), keepdim=True)
    spread = torch.lerp(mean, bent, uniform(images, generator, 1 - contrast, 1 + contrast))
    return (spread + uniform(images, generator, -brightness, brightness)).clamp(0, 1)


def color_axes(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "c c"]:
    """Eigenvectors of the covariance of the colors in columns, each times its eigenvalue (units 0..1)."""
    values, vectors = torch.linalg.eigh(moments(images)[1])
    axes: Tensor = vectors * values
    return axes.float()


@augmentation("pca_color:0.5", rgb_only=True, fit=lambda images, _: color_axes(images), sigma=Between(0, 10))
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
