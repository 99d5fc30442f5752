"""U-Nets: an encoder that halves, a decoder that doubles, and copies carried across at each size."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import nn

from striate.errors import InputError
from striate.layers.by_rank import BATCH_NORM, CONV, CONV_TRANSPOSE, MAX_POOL
from striate.layers.fit import crop, pad
from striate.layers.initialization import initialize_he
from striate.layers.stage import conv_stage
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

Rank = Literal[1, 2, 3]

PAPER = "Ronneberger, Fischer, Brox 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation, figure 1"
# Channels at each size, from the finest to the coarsest.
WIDTHS = (64, 128, 256, 512, 1024)


@architecture(
    paper=PAPER,
    year=2015,
    input=(1, 572, 572),
    output=(2, 388, 388),
    least=188,
    parameters=31_030_658,
    macs=150_428_424_448,
    note="The paper gives no number of parameters, places dropout at the end of the contracting path and does not say "
    "its rate: here 0.5 after the two coarsest stages. Sides of 16k + 12 (572 is one) let every pooling halve evenly; "
    "of others the rest is left out, and the copies are cropped around their centers.",
)
def unet_valid(num_classes: int = 2, in_channels: int = 1, width: Width = 1.0, dropout: Chance = 0.5) -> nn.Module:
    """U-Net as published: convolutions without padding, so that each output pixel has seen only true pixels.

    Maps 572 -> 568 -> 280 -> 136 -> 64 -> 28 (each after two convolutions), back over 52, 100, 196 to 388 pixels, the
    middle of the image. `width` multiplies the channels.
    """
    return UNet(2, in_channels, num_classes, width, padding=0, dropout=dropout)


@architecture(
    paper=PAPER + ", with padded convolutions",
    year=2015,
    input=(1, 512, 512),
    output=(2, 512, 512),
    least=16,
    parameters=31_030_658,
    macs=192_384_335_872,
    lectures="encoder-decoder with skips; also used for denoising",
    note="The padded form is not the paper's; its weights are those of `unet_valid`, its output has the image's size.",
)
def unet(
    num_classes: int = 2,
    in_channels: int = 1,
    rank: Rank = 2,
    width: Width = 1.0,
    dropout: Chance = 0.5,
    batch_norm: bool = False,
) -> nn.Module:
    """U-Net with padded convolutions, for signals, images or volumes of any size from 16 on.

    Maps 512 -> 256 -> 128 -> 64 -> 32 and back. Where a side is odd, the doubled maps get zeros at the end.
    `rank` is the number of spatial axes, `width` multiplies the channels, `batch_norm` follows each 3x3 convolution.
    """
    return UNet(rank, in_channels, num_classes, width, dropout=dropout, batch_norm=batch_norm)


@architecture(
    paper="The lectures' vanilla encoder-decoder: " + PAPER + ", without its copies",
    year=2015,
    input=(1, 512, 512),
    output=(2, 512, 512),
    least=16,
    parameters=27_897_218,
    macs=153_729_630_208,
    lectures="without skips",
    note="The lectures draw it without numbers: here it is `unet` less the copies, so that the two can be compared.",
)
def encoder_decoder(
    num_classes: int = 2,
    in_channels: int = 1,
    rank: Rank = 2,
    width: Width = 1.0,
    dropout: Chance = 0.5,
    batch_norm: bool = False,
) -> nn.Module:
    """An encoder-decoder without skip connections: all that the output knows has passed the coarsest maps.

    Maps 512 -> 256 -> 128 -> 64 -> 32 and back. Options as of `unet`.
    """
    return UNet(rank, in_channels, num_classes, width, skips=False, dropout=dropout, batch_norm=batch_norm)


@architecture(
    paper="The lectures' denoiser: " + PAPER + ", trained with the squared error",
    year=2015,
    input=(1, 256, 256),
    output=(1, 256, 256),
    least=16,
    parameters=31_030_593,
    macs=48_091_889_664,
    lectures="x = x_clean + noise -> estimate, trained on the squared distance to x_clean",
    note="The lectures give no numbers: `unet` without dropout, with as many outputs as inputs.",
)
def denoising_unet(
    num_classes: int = 1,
    in_channels: int = 1,
    rank: Rank = 2,
    width: Width = 1.0,
    batch_norm: bool = False,
    residual: bool = False,
) -> nn.Module:
    """A padded U-Net from noisy to clean images: `num_classes` is the number of channels that it restores.

    Maps 256 -> 128 -> 64 -> 32 -> 16 and back. With `residual` the network estimates the noise and returns the image
    less it. Other options as of `unet`. Raises InputError where `residual` meets unequal numbers of channels.
    """
    if residual and num_classes != in_channels:
        raise InputError(
            "a residual network restores the channels that it is given",
            where="network denoising_unet",
            expected=f"num_classes {in_channels}, as many as in_channels",
            got=num_classes,
            fix="Set both alike, or residual=False.",
        )
    net = UNet(rank, in_channels, num_classes, width, dropout=0.0, batch_norm=batch_norm)
    if residual:
        assert isinstance(net.score.weight, Tensor)
        nn.init.zeros_(net.score.weight)  # it begins with the image as it is given
        return Residual(net)
    return net


class UNet(nn.Module):
    """Stages of two convolutions, halved by pooling and doubled by transposed convolutions; see `unet`."""

    def __init__(
        self,
        rank: int,
        in_channels: int,
        num_classes: int,
        width: float,
        *,
        padding: int = 1,
        skips: bool = True,
        dropout: float,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = [scaled(channels, width) for channels in WIDTHS]
        norm = BATCH_NORM[rank] if batch_norm else None
        stage = partial(conv_stage, conv=CONV[rank], norm=norm, padding=padding)
        self.skips, self.same_size = skips, padding > 0
        self.down, self.up, self.right = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for channels in widths:
            self.down.append(stage(in_channels, (channels, channels)))
            in_channels = channels
        for channels in reversed(widths[:-1]):
            self.up.append(CONV_TRANSPOSE[rank](in_channels, channels, 2, stride=2))
            joined = channels * (1 + skips)
            self.right.append(stage(joined, (channels, channels)))
            in_channels = channels
        self.pool = MAX_POOL[rank](2)
        self.dropout = nn.Dropout(dropout)
        self.score = CONV[rank](in_channels, num_classes, 1)
        self.apply(initialize_he)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *out"]:
        """Scores, or values, of each position."""
        copies: list[Tensor] = []
        for depth, stage in enumerate(self.down):
            x = stage(self.pool(x) if copies else x)
            x = self.dropout(x) if depth > 2 else x
            copies.append(x)
        copies.pop()
        for up, stage in zip(self.up, self.right, strict=True):
            x, copy = up(x), copies.pop()
            if self.same_size:
                x = pad(x, copy.shape[2:])
            else:
                copy = crop(copy, x.shape[2:])
            x = stage(torch.cat((copy, x), 1) if self.skips else x)
        scores: Tensor = self.score(x)
        return scores


class Residual(nn.Module):
    """The input less what the network finds in it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
        """The restored input."""
        restored: Tensor = x - self.net(x)
        return restored
