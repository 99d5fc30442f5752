"""The neocognitron (Fukushima 1980): S-cells find features, C-cells forgive where, learning needs no teacher.

One array of cells for one feature is a plane, here a channel. All cells answer with numbers from zero up.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.registry import architecture

SIDE = 5  # of every connected area, and of an S-column
DECAY = 0.9  # of the fixed weights c and d, for each pixel from the center
INITIAL = 0.3  # of the initial weights, beside c: small, so that planes which have learned win over others
ALPHA = 0.5  # where a C-cell's answer is half of its largest
# Module by module: padding of the S-cells, selectivity r, speed of reinforcement q.
MODULES = ((2, 4.0, 1.0), (1, 1.5, 16.0), (0, 1.5, 16.0))


@architecture(
    paper="Fukushima 1980, Neocognitron, Biological Cybernetics 36, sections 2 to 4",
    year=1980,
    input=(1, 16, 16),
    least=9,
    parameters=29_472,
    macs=1_222_500,
    note="Counted are the modifiable connections a and b, once for each plane. Of the fixed weights c and d the paper "
    "says that they fall with the distance: here by 0.9 for each pixel, c with the sum one, d with one at the center "
    "and one everywhere in the last layer. The initial a are small, here random; b starts at zero there, here just "
    "above it, so that gradients reach it.",
)
def neocognitron(
    num_classes: int = 24,
    in_channels: int = 1,
    planes: Annotated[int, Between(1, 4096, whole=True)] = 24,
) -> nn.Module:
    """Three modules of S-cells (modifiable convolution with shunting inhibition) and C-cells (fixed, blurred, halved).

    Maps 16 -> 16 (S1) -> 10 (C1) -> 8 (S2) -> 6 (C2) -> 2 (S3) -> 1 (C3), with 24 planes each (`planes`; in the last
    module `num_classes`). Takes images of any size from 9 pixels on, with values from zero up. It can be trained by
    gradient like any network, or as Fukushima did, by `learn`.
    """
    return Neocognitron(num_classes, in_channels, planes)


class Neocognitron(nn.Module):
    """See `neocognitron`."""

    def __init__(self, num_classes: int, in_channels: int, planes: int) -> None:
        super().__init__()
        sizes = (in_channels, planes, planes, num_classes)
        self.s1, self.s2, self.s3 = (
            SCells(a, b, *module) for (a, b), module in zip(pairwise(sizes), MODULES, strict=True)
        )
        self.c = CCells()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits: the last C-cells before their saturation, which takes negative ones to zero."""
        x = self.s3(self.c(self.s2(self.c(self.s1(x)))))
        total = x.sum((2, 3))
        return shunt(total, total.mean(1, keepdim=True))

    @torch.no_grad()
    def learn(self, images: Float[Tensor, "n c h w"], presentations: int = 1) -> None:
        """Reinforce the S-cells by showing the images one after another, `presentations` times; no labels, no gradient.

        For each image, each module, and each S-column (all planes' cells within 5x5 positions) the S-cell with the
        strongest answer is a candidate; the strongest candidate of a plane, if any, is its representative. Its input
        connections grow in proportion to what they carried, and the whole plane shares them:

            Δa(v) = q c(v) u(v)        Δb = q/2 · sqrt(Σ c(v) u(v)²)

        so that a plane answers the more selectively to one feature, the more often it has won.

        Raises InputError for images with values below zero.
        """
        if (images < 0).any():
            raise InputError(
                "the neocognitron learns from brightness",
                where="images",
                expected="values from zero up",
                got=f"a least value of {images.min().item():.4g}",
                fix="Leave out the normalization, or shift the images to start at zero.",
            )
        for image in images.repeat(presentations, 1, 1, 1):
            u = image[None]
            for cells in (self.s1, self.s2, self.s3):
                answers = cells(u)
                cells.reinforce(u, answers)
                u = self.c(answers)


class SCells(nn.Module):
    """Feature detectors: convolution `a`, divided by inhibition `b` times the local mean square of the input.

    u = r φ((1 + Σ a u) / (1 + 2r/(1+r) b v) - 1) with φ(x) = max(x, 0) and v = sqrt(Σ c u²).
    """

    def __init__(self, inputs: int, planes: int, padding: int, r: float, q: float) -> None:
        super().__init__()
        self.padding, self.r, self.q = padding, r, q
        self.register_buffer("near", falling() / (inputs * falling().sum()), persistent=False)
        self.near: Tensor  # c in the paper: one window for all input planes, summing to one over them
        self.a = nn.Parameter(INITIAL * torch.rand(planes, inputs, SIDE, SIDE) * self.near)
        self.b = nn.Parameter(torch.rand(planes) * 0.001)

    def inhibition(self, u: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h2 w2"]:
        """v: root of the weighted mean square of all inputs."""
        square = F.conv2d((u * u).sum(1, keepdim=True), self.near[None, None], padding=self.padding)
        return (square + 1e-12).sqrt()  # a gradient exists where nothing is seen, too

    def forward(self, u: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Answers."""
        excitation = F.conv2d(u, self.a, padding=self.padding)
        # The paper's b is never negative; gradients do not know that.
        strength = 2 * self.r / (1 + self.r) * self.b.abs()[:, None, None]
        return self.r * shunt(excitation, strength * self.inhibition(u)).relu()

    def reinforce(self, u: Float[Tensor, "1 c h w"], answers: Float[Tensor, "1 k h2 w2"]) -> None:
        """One step of `Neocognitron.learn`, given this layer's inputs and answers."""
        v = self.inhibition(u)[0, 0]
        padded = F.pad(u[0], (self.padding,) * 4)
        for plane, row, column in representatives(answers[0]):
            seen = padded[:, row : row + SIDE, column : column + SIDE]
            self.a[plane] += self.q * self.near * seen
            self.b[plane] += self.q / 2 * v[row, column]


class CCells(nn.Module):
    """Blur each plane with the fixed weights d, at every second position, inhibited by the mean of all planes.

    u = ψ((1 + Σ d u) / (1 + mean over planes of Σ d u) - 1) with ψ(x) = φ(x) / (α + φ(x)).
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("near", falling(), persistent=False)
        self.near: Tensor

    def forward(self, u: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Answers, from 0 to 1."""
        planes = u.shape[1]
        total = F.conv2d(u, self.near.expand(planes, 1, SIDE, SIDE), stride=2, padding=SIDE - 1, groups=planes)
        return saturate(shunt(total, total.mean(1, keepdim=True)))


def shunt(excitation: Float[Tensor, "*shape"], inhibition: Float[Tensor, "*other"]) -> Float[Tensor, "*shape"]:
    """(1 + excitation) / (1 + inhibition) - 1, without the loss of digits."""
    return (excitation - inhibition) / (1 + inhibition)


def saturate(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """ψ: zero below zero, then x / (α + x)."""
    x = x.relu()
    return x / (ALPHA + x)


def falling() -> Float[Tensor, "h w"]:
    """Weights of a connected area: one at its center, falling with the distance."""
    along = torch.arange(SIDE) - SIDE // 2
    return DECAY ** (along[:, None] ** 2 + along**2).sqrt()


def representatives(answers: Float[Tensor, "k h w"]) -> list[tuple[int, int, int]]:
    """(plane, row, column) of the S-cells to reinforce: each plane's strongest winner of an S-column, if it has one."""
    _, h, w = answers.shape
    height, width = min(SIDE, h), min(SIDE, w)
    columns = answers.unfold(1, height, 1).unfold(2, width, 1)  # k, rows, columns, height, width
    strengths, places = columns.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1).max(1)
    best: dict[int, tuple[float, int, int]] = {}
    for i, (strength, place) in enumerate(zip(strengths.tolist(), places.tolist(), strict=True)):
        plane, dy, dx = place // (height * width), place // width % height, place % width
        if strength > best.get(plane, (0.0,))[0]:
            best[plane] = (strength, i // (w - width + 1) + dy, i % (w - width + 1) + dx)
    return [(plane, row, column) for plane, (_, row, column) in best.items()]
