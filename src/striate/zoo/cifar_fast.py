"""A network made to learn CIFAR-10 with little arithmetic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture

SCALE = 16  # the logits are divided by it: they start small, and one learning rate serves all layers


@architecture(
    paper='Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, section 3',
    year=2024,
    input=(3, 32, 32),
    least=9,
    parameters=1_972_768,
    macs=118_147_360,
    note="As in the paper, but: the whitening layer has no bias, the head starts as torch draws it, divided by 16 "
    "(paper: unit variance, by 9), and the last pooling takes the whole map (the same at 32 pixels).",
)
def cifar_fast(num_classes: int = 10, in_channels: int = 3, width: Width = 1.0) -> nn.Module:
    """A frozen 2x2 convolution that whitens patches, then six 3x3 convolutions in three groups, each pooled once.

    Maps 32 -> 31 -> 15 -> 7 -> 3 -> 1 with 24, 64, 256 and 256 channels (`width` multiplies the last three). Norms have
    a bias and no scale, activations are GELU. 3x3 convolutions start as the identity on their first channels (and
    randomly on the others). A run gives `prepare` the training images: the first layer's weights are computed, not
    learned.
    """
    return CIFARFast(num_classes, in_channels, tuple(scaled(channels, width) for channels in (64, 256, 256)))


class CIFARFast(nn.Module):
    """See `cifar_fast`."""

    def __init__(self, num_classes: int, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        patch = 4 * in_channels
        self.whiten = nn.Conv2d(in_channels, 2 * patch, 2, bias=False).requires_grad_(False)
        inputs = (2 * patch, *widths)
        self.groups = nn.Sequential(*(Group(*channels) for channels in zip(inputs, widths, strict=False)))
        self.head = nn.Linear(widths[-1], num_classes, bias=False)

    def prepare(self, images: Float[Tensor, "n c h w"]) -> None:
        """Compute the filters of the first layer from training images, as the network takes them; see `whitening`."""
        filters = whitening(images, self.whiten.kernel_size[0])
        with torch.no_grad():
            self.whiten.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.groups(F.gelu(self.whiten(x)))
        logits: Tensor = self.head(x.amax((2, 3))) / SCALE
        return logits


class Group(nn.Module):
    """Two 3x3 convolutions with norms, the first one pooled."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(in_channels, channels), _norm(channels)
        self.conv2, self.norm2 = _convolution(channels, channels), _norm(channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k i j"]:
        """Maps of half the size."""
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


def _convolution(in_channels: int, channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[: min(in_channels, channels)])
    return layer


def _norm(channels: int) -> nn.BatchNorm2d:
    # Statistics of a few batches: there are only a few hundred.
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def whitening(images: Float[Tensor, "n c h w"], size: int, floor: float = 5e-4) -> Float[Tensor, "k c size size"]:
    """Filters whose responses on the patches of `images` are uncorrelated and of variance 1: k = c * size * size.

    They are the eigenvectors v of the second moments of patches, each divided by sqrt(eigenvalue + floor). Source: Page
    2019, "How to train your ResNet"; Jordan 2024, section 3.2.
    """
    patches = images.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5)
    rows = patches.reshape(-1, images.shape[1] * size * size)
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    filters: Tensor = vectors.T / (values + floor).sqrt()[:, None]
    return filters.view(-1, images.shape[1], size, size)
